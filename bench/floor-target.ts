/** Clients of the bare relay of floor.ts. */
import { randomBytes } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import type { Authority } from '../test/support/pki.ts';
import { fail } from './client.ts';
import type { ServerProcess } from './server-process.ts';
import { BODY_BYTES, inParallel } from './bodies.ts';
import type { Connection, Line, Target } from './target.ts';

const EVERYBODY = 2 ** 32 - 1;

export class FloorTarget implements Target {
  readonly name = 'relay';
  readonly database = null;
  readonly server: ServerProcess;
  readonly #authority: Authority;
  readonly #options: { readonly cert: string; readonly key: string }[] = [];

  constructor(server: ServerProcess, authority: Authority) {
    this.server = server;
    this.#authority = authority;
  }

  async lines(count: number): Promise<Line[]> {
    await this.prepare(2 * count);
    return inParallel(count, 8, async (i) => {
      const [sender, recipient] = [await this.connect(2 * i), await this.connect(2 * i + 1)];
      const frame = frameOf(2 * i + 1, BODY_BYTES);
      const line: Line & { delivered: number; accepted: number } = {
        send: (n) => void sender.write(Buffer.concat(Array.from({ length: n }, () => frame))),
        delivered: 0,
        accepted: 0,
        onProgress: () => {},
        close: async () => {
          await Promise.all([sender.close(), recipient.close()]);
        },
      };
      let bytes = 0;
      recipient.onData = (chunk) => {
        bytes += chunk.length; // all frames have one length
        line.delivered = line.accepted = Math.floor(bytes / frame.length);
        line.onProgress();
      };
      return line;
    });
  }

  async room(members: number): Promise<Line> {
    await this.prepare(members);
    const all = await inParallel(members, 8, (i) => this.connect(i));
    const [sender, ...others] = all as [FloorClient, ...FloorClient[]];
    const frame = frameOf(EVERYBODY, BODY_BYTES);
    let bytes = 0;
    const line: Line & { delivered: number; accepted: number } = {
      send: (n) => void sender.write(Buffer.concat(Array.from({ length: n }, () => frame))),
      delivered: 0,
      accepted: 0,
      onProgress: () => {},
      close: async () => void (await Promise.all(all.map((client) => client.close()))),
    };
    for (const other of others)
      other.onData = (chunk) => {
        bytes += chunk.length;
        line.delivered = line.accepted = Math.floor(bytes / frame.length / others.length);
        line.onProgress();
      };
    return line;
  }

  async mailbox(): Promise<string> {
    return 'it stores nothing';
  }

  async prepare(count: number): Promise<void> {
    for (let i = this.#options.length; i < count; i++) {
      const { pem: cert, keyPem: key } = this.#authority.client(`user${i}`);
      this.#options.push({ cert, key });
    }
  }

  async connect(i: number): Promise<FloorClient> {
    const socket = connect({
      ...this.#options[i],
      host: '127.0.0.1',
      port: this.server.port,
      ca: this.#authority.pem,
      minVersion: 'TLSv1.3',
    });
    socket.setNoDelay(true);
    const client = new FloorClient(socket);
    await client.login(i);
    return client;
  }
}

class FloorClient implements Connection {
  onData: (chunk: Buffer) => void = () => {};
  readonly #socket: TLSSocket;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on('error', (error) => fail(`the relay: ${error.message}`));
  }

  async login(i: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#socket.once('data', () => resolve());
      this.#socket.write(frameOf(i, 0));
    });
    this.#socket.on('data', (chunk: Buffer) => this.onData(chunk));
  }
  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#socket.once('close', () => resolve());
      this.#socket.end();
    });
  }
}

function frameOf(to: number, bodyBytes: number): Buffer {
  const frame = randomBytes(8 + bodyBytes);
  frame.writeUInt32BE(4 + bodyBytes, 0);
  frame.writeUInt32BE(to, 4);
  return frame;
}
