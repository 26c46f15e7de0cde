/** What is measured in the same way on both servers: pairs of clients, of which one writes to the other, and single connections. */
import { randomBytes } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import type { Authority } from '../test/support/pki.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import { Author } from './author.ts';
import { Client, fail, newAccount, type Account } from './client.ts';
import type { ServerProcess } from './server-process.ts';
import { Witness } from './witness.ts';

/** The text of a message, and the commitment key that travels with it in chat-server. */
export const BODY_BYTES = 256;
const KEY_BYTES = 32;

/** One sender and one recipient, both connected. */
export interface Line {
  /** Sends so many messages at once: one batch, one signature. */
  send(count: number): void;
  /** messages that reached the recipient, ever */
  readonly delivered: number;
  /** messages that the server has made durable, ever; where it promises nothing: those delivered */
  readonly accepted: number;
  /** called after each change of either */
  onProgress: () => void;
  close(): Promise<void>;
}
export interface Connection {
  close(): Promise<void>;
}

export interface Target {
  readonly server: ServerProcess;
  /** Pairs i of 0..count-1. */
  lines(count: number): Promise<Line[]>;
  /** Makes what connect() needs: accounts and tokens. Not measured. */
  prepare(count: number): Promise<void>;
  /** User i, who is then logged in. */
  connect(i: number): Promise<Connection>;
}

/** Of the clients' certificates. */
export const KEY_TYPES = ['ec256', 'ed25519', 'rsa2048'] as const;
export interface TargetOptions {
  readonly key: (typeof KEY_TYPES)[number];
  readonly isChecking: boolean;
}

export class ChatTarget implements Target {
  readonly server: ServerProcess;
  readonly #authority: Authority;
  readonly #root: Certificate;
  readonly #o: TargetOptions;
  readonly #accounts: Account[] = [];
  readonly #authors = new Map<number, Author>();
  readonly #witnesses = new Map<number, Witness>();

  constructor(server: ServerProcess, authority: Authority, options: TargetOptions) {
    this.server = server;
    this.#authority = authority;
    this.#root = parseCertificate(authority.der);
    this.#o = options;
  }

  async lines(count: number): Promise<Line[]> {
    await this.prepare(2 * count);
    return inParallel(count, 8, (i) => this.line(i));
  }

  /** Users 2i and 2i + 1. */
  async line(i: number): Promise<Line> {
    const sender = await this.connect(2 * i);
    const author = await this.author(i, sender);
    const recipient = await this.connect(2 * i + 1);
    const bodies = bodiesOf(BODY_BYTES + KEY_BYTES);
    const line: Line = {
      send: (n) => sender.send(author.batch(bodies(n))),
      get delivered() {
        return recipient.delivered;
      },
      get accepted() {
        return sender.accepted;
      },
      onProgress: () => {},
      close: async () => {
        await Promise.all([sender.close(), recipient.close()]);
      },
    };
    sender.onProgress = recipient.onProgress = () => line.onProgress();
    return line;
  }

  /** Who writes for pair i, as the same device over all connections. Its group is there, and its recipient not connected. */
  async author(i: number, sender: Client): Promise<Author> {
    const known = this.#authors.get(i);
    if (known) return known;
    const conversation = await sender.openConversation(this.#accounts[2 * i + 1]!.name);
    const author = new Author(sender.account.own, sender.origin, conversation);
    this.#authors.set(i, author);
    const recipient = await this.connect(2 * i + 1);
    await new Promise<void>((resolve) => {
      recipient.onProgress = sender.onProgress = () => {
        if (recipient.delivered > 0 && sender.accepted > 0) resolve();
      };
      sender.send(author.found());
    });
    await recipient.request({ type: 'ping' }, 'pong'); // what is acknowledged before it is deleted when the answer comes
    await recipient.close();
    sender.accepted = 0;
    return author;
  }

  /** User i, who gets what the one before him writes. */
  #witness(i: number, { account, origin }: Client): Witness {
    const known = this.#witnesses.get(i);
    if (known) return known;
    const witness = new Witness(account.own, origin, this.#accounts[i - 1]!.name);
    this.#witnesses.set(i, witness);
    return witness;
  }

  async prepare(count: number): Promise<void> {
    const from = this.#accounts.length;
    for (let i = from; i < count; i++) this.#accounts.push(newAccount(this.#authority, `user${i}`, this.#o.key));
    await inParallel(Math.max(0, count - from), 8, async (i) => {
      const client = await this.connect(from + i);
      await client.close();
    });
  }

  async connect(i: number): Promise<Client> {
    const client = await Client.dial(this.server.port, this.#root, this.#accounts[i]!, this.#o.isChecking);
    await client.login();
    if (i % 2 === 1) client.receiptBy(this.#witness(i, client));
    return client;
  }
}

export class FloorTarget implements Target {
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

/** Runs `work` for 0..count-1, so many at a time. */
export async function inParallel<T>(count: number, atOnce: number, work: (i: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const run = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) results[i] = await work(i);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, run));
  return results;
}

/** No two bodies are the same. */
export function bodiesOf(length: number): (count: number) => Buffer[] {
  const base = randomBytes(length);
  let n = 0;
  return (count) =>
    Array.from({ length: count }, () => {
      const body = Buffer.from(base);
      body.writeUInt32BE(n++ >>> 0, 0);
      return body;
    });
}

function frameOf(to: number, bodyBytes: number): Buffer {
  const frame = randomBytes(8 + bodyBytes);
  frame.writeUInt32BE(4 + bodyBytes, 0);
  frame.writeUInt32BE(to, 4);
  return frame;
}
