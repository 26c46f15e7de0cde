/** A server of somebody else, for comparison: how it is found and started on this machine, and a client of it that sends, receives and counts. */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { fail } from '../client.ts';
import type { ServerProcess } from '../server-process.ts';
import type { Connection } from '../target.ts';

export interface Login {
  /** what comes while the user is away is kept for him */
  readonly isKept: boolean;
}
export interface Abilities {
  readonly rooms: boolean;
  /** it acknowledges what it has accepted, and keeps it for who is away */
  readonly keeps: boolean;
}
export interface Peer {
  readonly name: string;
  readonly can: Abilities;
  /** Path of the program; null: it is not installed. */
  find(): string | null;
  /** Mutual TLS 1.3 on a port of the loopback. Certificates are in `folder`; the users are user0..user<users - 1>. */
  start(program: string, folder: string, users: number): Promise<ServerProcess>;
  client(name: string): PeerClient;
}

/** Text of the messages: no two need differ, for nobody compares them. */
export const BODY = 'abcdefgh'.repeat(32);

export abstract class PeerClient implements Connection {
  readonly name: string;
  /** messages that came; messages that the server has acknowledged */
  received = 0;
  accepted = 0;
  onProgress: () => void = () => {};
  #socket: TLSSocket | null = null;
  #answer: ((word: string) => void) | null = null;
  #wanted: RegExp | null = null;

  constructor(name: string) {
    this.name = name;
  }

  async dial(port: number, tls: ConnectionOptions): Promise<void> {
    const socket = await this.secure(port, { ...tls, minVersion: 'TLSv1.3', servername: 'localhost' });
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.once('close', () => this.#wanted && fail(`${this.name} was cut off before ${this.#wanted}`));
  }
  /** Once, before login(); what a registration takes is not measured. */
  async register(): Promise<void> {}
  abstract login(how: Login): Promise<void>;
  abstract send(to: string, count: number): void;
  abstract join(room: string): Promise<void>;
  abstract sendRoom(room: string, count: number): void;

  async close(): Promise<void> {
    const socket = this.#socket;
    if (socket === null || socket.destroyed) return;
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve());
      socket.end();
      setTimeout(() => socket.destroy(), 1000).unref();
    });
  }

  protected abstract take(chunk: Buffer): void;

  protected secure(port: number, options: ConnectionOptions): Promise<TLSSocket> {
    return secured(connect({ ...options, host: '127.0.0.1', port }), this.name);
  }
  protected write(bytes: string | Buffer): void {
    if (this.#socket?.writable) this.#socket.write(bytes); // an answer may come when the end was said
  }
  /** Writes, and resolves with the next word that is like this. */
  protected ask(bytes: string | Buffer, wanted: RegExp): Promise<string> {
    return new Promise((resolve) => {
      this.#wanted = wanted;
      this.#answer = resolve;
      this.write(bytes);
    });
  }
  /** Something that the server said, and that is no message. */
  protected heard(word: string): void {
    if (!this.#wanted?.test(word)) return;
    this.#wanted = null;
    this.#answer?.(word);
  }
}

export function secured(socket: TLSSocket, name: string): Promise<TLSSocket> {
  socket.on('error', (error) => fail(`${name}: ${error.message}`));
  return new Promise((resolve) => socket.once('secureConnect', () => resolve(socket)));
}

export function program(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}
