/**
 * What is measured in the same way on every server: pairs of clients, of which one writes to the other, rooms, people who are away, and
 * single connections.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Authority } from '../test/support/pki.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import { Author } from './author.ts';
import { bodiesOf, inParallel, SEALED_BYTES } from './bodies.ts';
import { Client, newAccount, type Account } from './client.ts';
import { Room } from './room.ts';
import type { ServerProcess } from './server-process.ts';
import { Witness } from './witness.ts';

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

/** Somebody who is away, and a sender who is not. */
export interface Mailbox {
  /** `delivered` means nothing here */
  readonly sender: Line;
  /** The recipient comes, and takes what waits. */
  open(): Promise<Inbox>;
}
export interface Inbox extends Connection {
  readonly delivered: number;
  onProgress: () => void;
  /** Resolves when everything that was taken is acknowledged. */
  settle(): Promise<void>;
}

/** Whatever uses processor time for a server: itself, its database. */
export interface Worker {
  /** ever */
  readonly cpuSeconds: number;
}

export interface Target {
  readonly name: string;
  readonly server: ServerProcess;
  /** of the server, where it is a process of its own */
  readonly database: Worker | null;
  /** Pairs i of 0..count-1. */
  lines(count: number): Promise<Line[]>;
  /** Makes what connect() needs: accounts and tokens. Not measured. */
  prepare(count: number): Promise<void>;
  /** User i, who is then logged in. */
  connect(i: number): Promise<Connection>;
  /** A sender in a room of so many, all connected; `delivered` counts what has reached all others. A reason: it can't be done. */
  room(members: number): Promise<Line | string>;
  /** User 1 is away, and user 0 writes to him. A reason: it can't be done. */
  mailbox(): Promise<Mailbox | string>;
}

/** Of the clients' certificates. */
export const KEY_TYPES = ['ec256', 'ed25519', 'rsa2048'] as const;
export interface TargetOptions {
  readonly key: (typeof KEY_TYPES)[number];
  readonly isChecking: boolean;
}

export class ChatTarget implements Target {
  readonly name = 'chat-server';
  readonly server: ServerProcess;
  readonly database: Worker | null;
  readonly #authority: Authority;
  readonly #root: Certificate;
  readonly #o: TargetOptions;
  readonly #accounts: Account[] = [];
  readonly #authors = new Map<number, Author>();
  /** by name of the account */
  readonly #witnesses = new Map<string, Witness>();
  /** by the number of members */
  readonly #rooms = new Map<number, Room>();
  /** of rooms, by name */
  readonly #members = new Map<string, Account>();

  constructor(server: ServerProcess, authority: Authority, options: TargetOptions, database: Worker | null = null) {
    this.server = server;
    this.database = database;
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
    const bodies = bodiesOf(SEALED_BYTES);
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
    sender.send(author.found());
    while (sender.accepted === 0) await new Promise<void>((resolve) => (sender.onProgress = resolve));
    await recipient.request({ type: 'sync' }, 'synced'); // the commit has come
    await recipient.settled();
    await recipient.close();
    sender.accepted = 0;
    return author;
  }

  /** The conversation of pair i, whose group is there, and nobody of it connected. */
  async founded(i: number): Promise<Uint8Array> {
    const sender = await this.connect(2 * i);
    await this.author(i, sender);
    const { conversation } = await sender.openConversation(this.#accounts[2 * i + 1]!.name);
    await sender.close();
    return conversation;
  }

  /** Where it is, and who vouches for it. */
  get place(): { readonly port: number; readonly root: Uint8Array } {
    return { port: this.server.port, root: this.#root.der };
  }
  /** User i, prepared. */
  account(i: number): Account {
    return this.#accounts[i]!;
  }
  /** Of a room that was made. */
  members(count: number): Account[] {
    return Array.from({ length: count }, (_, i) => this.#members.get(`member${i}`)!);
  }

  /** Who says of messages of `author` that they came: the same over all connections. */
  #receipting(client: Client, author: string): Client {
    const { name, own } = client.account;
    const witness = this.#witnesses.get(name) ?? new Witness(own, client.origin, author);
    this.#witnesses.set(name, witness);
    client.receiptBy(witness);
    return client;
  }

  async room(members: number): Promise<Line | string> {
    const room = await this.roomOf(members);
    return typeof room === 'string' ? room : room.line();
  }
  /** With nobody connected. A reason: it is not allowed. */
  async roomOf(members: number): Promise<Room | string> {
    const known = this.#rooms.get(members);
    const room = known ?? (await Room.create(members, this.#rooms.size, (i) => this.#member(i)));
    if (typeof room !== 'string') this.#rooms.set(members, room);
    return room;
  }
  /** Of a room: nobody of the pairs. The first one writes. */
  async #member(i: number): Promise<Client> {
    const [writer, name] = ['member0', `member${i}`];
    const account = this.#members.get(name) ?? newAccount(this.#authority, name, this.#o.key);
    this.#members.set(name, account);
    const client = await this.#login(account);
    return name === writer ? client : this.#receipting(client, writer);
  }

  async mailbox(): Promise<Mailbox> {
    await this.prepare(2);
    const sender = await this.connect(0);
    const author = await this.author(0, sender);
    const bodies = bodiesOf(SEALED_BYTES);
    const line: Line = {
      send: (n) => sender.send(author.batch(bodies(n))),
      delivered: 0,
      get accepted() {
        return sender.accepted;
      },
      onProgress: () => {},
      close: () => sender.close(),
    };
    sender.onProgress = () => line.onProgress();
    return { sender: line, open: () => this.#inbox() };
  }
  async #inbox(): Promise<Inbox> {
    const recipient = await this.connect(1);
    const inbox: Inbox = {
      get delivered() {
        return recipient.delivered;
      },
      onProgress: () => {},
      settle: async () => {
        while (recipient.owed > 0) await sleep(5);
        await recipient.settled();
      },
      close: () => recipient.close(),
    };
    recipient.onProgress = () => inbox.onProgress();
    return inbox;
  }

  async prepare(count: number): Promise<void> {
    const from = this.#accounts.length;
    for (let i = from; i < count; i++) this.#accounts.push(newAccount(this.#authority, `user${i}`, this.#o.key));
    await inParallel(Math.max(0, count - from), 8, async (i) => {
      const client = await this.connect(from + i);
      await client.close();
    });
  }

  /** In a pair, the second one gets what the first one writes. */
  async connect(i: number): Promise<Client> {
    const client = await this.#login(this.#accounts[i]!);
    return i % 2 === 1 ? this.#receipting(client, this.#accounts[i - 1]!.name) : client;
  }

  async #login(account: Account): Promise<Client> {
    const client = await Client.dial(this.server.port, this.#root, account, this.#o.isChecking);
    await client.login();
    return client;
  }
}
