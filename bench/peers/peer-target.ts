/** Pairs, rooms and mailboxes out of the clients of a peer. */
import type { ConnectionOptions } from 'node:tls';
import type { Authority } from '../../test/support/pki.ts';
import { inParallel } from '../bodies.ts';
import type { ServerProcess } from '../server-process.ts';
import type { Inbox, Line, Mailbox, Target } from '../target.ts';
import type { Login, Peer, PeerClient } from './peer.ts';

const AT_ONCE = 8;
const ONLINE: Login = { isKept: false };
const KEPT: Login = { isKept: true };

export class PeerTarget implements Target {
  readonly name: string;
  readonly server: ServerProcess;
  readonly database = null;
  readonly #peer: Peer;
  readonly #authority: Authority;
  readonly #options: ConnectionOptions[] = [];
  #rooms = 0;

  constructor(peer: Peer, server: ServerProcess, authority: Authority) {
    this.name = peer.name;
    this.server = server;
    this.#peer = peer;
    this.#authority = authority;
  }

  async lines(count: number): Promise<Line[]> {
    await this.prepare(2 * count);
    return inParallel(count, AT_ONCE, async (i) => {
      const sender = await this.connect(2 * i);
      const recipient = await this.connect(2 * i + 1);
      return this.#line(sender, [recipient], (n) => sender.send(recipient.name, n));
    });
  }

  async room(members: number): Promise<Line | string> {
    if (!this.#peer.can.rooms) return 'it has no rooms';
    await this.prepare(members);
    const room = `room${this.#rooms++}`;
    const sender = await this.connect(0);
    await sender.join(room); // whoever comes first may have to make it
    const others = await inParallel(members - 1, AT_ONCE, async (i) => {
      const member = await this.connect(i + 1);
      await member.join(room);
      return member;
    });
    return this.#line(sender, others, (n) => sender.sendRoom(room, n));
  }

  async mailbox(): Promise<Mailbox | string> {
    if (!this.#peer.can.keeps) return 'it stores nothing';
    await this.prepare(2);
    const away = await this.connect(1, KEPT); // where it has to be said that messages are to be kept
    await away.close();
    const sender = await this.connect(0);
    return { sender: this.#line(sender, [], (n) => sender.send(away.name, n)), open: () => this.#inbox() };
  }
  async #inbox(): Promise<Inbox> {
    const recipient = await this.connect(1, KEPT);
    const inbox: Inbox = {
      get delivered() {
        return recipient.received;
      },
      onProgress: () => {},
      settle: async () => {},
      close: () => recipient.close(),
    };
    recipient.onProgress = () => inbox.onProgress();
    return inbox;
  }

  /** Certificates, and accounts where the peer has such. */
  async prepare(count: number): Promise<void> {
    const from = this.#options.length;
    for (let i = from; i < count; i++) {
      const { pem: cert, keyPem: key } = this.#authority.client(`user${i}`);
      this.#options.push({ cert, key, ca: this.#authority.pem });
    }
    await inParallel(Math.max(0, count - from), AT_ONCE, async (i) => {
      const client = await this.#dial(from + i);
      await client.register();
      await client.close();
    });
  }

  async connect(i: number, how = ONLINE): Promise<PeerClient> {
    const client = await this.#dial(i);
    await client.login(how);
    return client;
  }

  async #dial(i: number): Promise<PeerClient> {
    const client = this.#peer.client(`user${i}`);
    await client.dial(this.server.port, this.#options[i]!);
    return client;
  }

  #line(sender: PeerClient, others: readonly PeerClient[], send: (count: number) => void): Line {
    const { keeps } = this.#peer.can;
    const came = (): number => Math.floor(others.reduce((sum, { received }) => sum + received, 0) / others.length);
    let delivered = 0;
    const line: Line = {
      send,
      get delivered() {
        return delivered;
      },
      get accepted() {
        return keeps ? sender.accepted : delivered;
      },
      onProgress: () => {},
      close: async () => void (await Promise.all([sender, ...others].map((client) => client.close()))),
    };
    sender.onProgress = () => line.onProgress();
    for (const other of others) {
      let seen = other.received;
      let total = 0;
      other.onProgress = () => {
        total += other.received - seen;
        seen = other.received;
        delivered = others.length === 1 ? total : came();
        line.onProgress();
      };
    }
    return line;
  }
}
