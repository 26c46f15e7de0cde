/**
 * The least that a relay on Node can cost: mutual TLS 1.3, frames copied from one socket to another, corked per destination and turn. No
 * handshake inside, no signatures, no log, no store, no acknowledgement, nothing on disk. `node bench/floor.ts PORT FOLDER-OF-CERTIFICATES`.
 * Frame: u32 length ‖ u32 destination ‖ body. The first frame of a client has no body and names the client; it comes back as the answer.
 * Destination 2^32 - 1: everybody else.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer, type TLSSocket } from 'node:tls';

const [port, folder = '.'] = process.argv.slice(2);
const EVERYBODY = 2 ** 32 - 1;
const clients = new Map<number, TLSSocket>();
const corked = new Set<TLSSocket>();

function write(socket: TLSSocket, bytes: Buffer): void {
  if (corked.size === 0) setImmediate(flush);
  if (!corked.has(socket)) {
    socket.cork();
    corked.add(socket);
  }
  socket.write(bytes);
}
function flush(): void {
  for (const socket of corked) socket.uncork();
  corked.clear();
}

function serve(socket: TLSSocket): void {
  let name = -1;
  let rest: Buffer | null = null;
  socket.on('error', () => {});
  socket.on('close', () => clients.get(name) === socket && clients.delete(name));
  socket.on('data', (chunk: Buffer) => {
    const bytes: Buffer = rest === null ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (bytes.length - at >= 8) {
      const end = at + 4 + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      const to = bytes.readUInt32BE(at + 4);
      const frame = bytes.subarray(at, end);
      if (name < 0) {
        name = to;
        clients.set(name, socket);
        write(socket, frame);
      } else {
        const recipient = clients.get(to);
        if (recipient) write(recipient, frame);
        else if (to === EVERYBODY) for (const other of clients.values()) if (other !== socket) write(other, frame);
      }
      at = end;
    }
    rest = at < bytes.length ? bytes.subarray(at) : null;
  });
}

const server = createServer(
  {
    cert: readFileSync(join(folder, 'server.crt')),
    key: readFileSync(join(folder, 'server.key')),
    ca: readFileSync(join(folder, 'ca.crt')),
    minVersion: 'TLSv1.3',
    requestCert: true,
    rejectUnauthorized: true,
    noDelay: true,
  },
  serve,
);
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 2048 }, () => console.log('listening'));
process.once('SIGTERM', () => process.exit(0));
