/** A port for a server that is ended and started again while other tests run. */
import { createServer } from 'node:net';

/** Below those that a kernel gives to whoever asks for any: else somebody else may have it while nobody listens. */
const [FIRST, COUNT] = [10_000, 20_000];

export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
