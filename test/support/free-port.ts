/** A port for a server that is ended and started again while other tests run. */
import { createServer, type Server } from 'node:net';

/** Below those that a kernel gives to whoever asks for any: else somebody else may have it while nobody listens. */
const [FIRST, COUNT] = [10_000, 20_000];
/** Where nobody serves: whoever listens there has the port to himself, as long as his process lives. */
const RESERVATION = '127.0.0.2';

export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    const reservation = await listen(port, RESERVATION);
    if (reservation === null) continue;
    const probe = await listen(port, '127.0.0.1');
    if (probe !== null) return new Promise((resolve) => probe.close(() => resolve(port)));
    reservation.close();
  }
}

/** Null: it is taken. */
function listen(port: number, host: string): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer().unref();
    server.once('error', () => resolve(null));
    server.listen(port, host, () => resolve(server));
  });
}
