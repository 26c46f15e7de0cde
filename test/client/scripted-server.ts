/**
 * A server for tests of the client: honest unless a script makes it lie. It keeps a real log (the transcript room's own tree, checkpoints
 * and acknowledgements), real certificates, and no storage. Links come from memory, so that every frame still goes through its encoding.
 */
import { createPublicKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { equal, hex, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../../base/bytes.ts';
import type { Code } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import { Secret } from '../../base/secret.ts';
import { CONTEXT, sign } from '../../base/signature.ts';
import { decodeReplies, decodeRequests, encodeFrame } from '../../protocol/frame-codec.ts';
import type { Reply, Request } from '../../protocol/messages.ts';
import type { ClientLink, Link, ServerLink } from '../../runtime/link.ts';
import type { Chain } from '../../runtime/tls.ts';
import { encodeAck } from '../../transcript/ack.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import {
  formatKeyStatement,
  parseOrigin,
  signKeyStatement,
  type KeyStatement,
} from '../../transcript/key-statement.ts';
import { batchEntries } from '../../transcript/leaf.ts';
import { leafHash, NO_HASH, nodesOver, rootOf, Tree } from '../../transcript/merkle.ts';
import { verifierKey } from '../../transcript/note.ts';
import {
  audienceOf,
  ciphertextHash,
  commitment,
  decodeMs,
  encodeBs,
  encodeMs,
  isThreaded,
  KIND,
  messageAad,
  rosterHash,
  type MessageStatement,
} from '../../transcript/statement.ts';
import { parseCertificate, type Certificate } from '../../x509/certificate.ts';
import type { ClientIdentity } from '../../client/identity.ts';
import { openingOf, partBytes } from '../../client/body.ts';
import { textBytes, type Said } from './text-bytes.ts';
import { authority, type Authority, type Issued } from '../support/pki.ts';
import { ScriptedPeer } from './scripted-peer.ts';

export const ORIGIN = 'localhost/log/n1';

export interface Person {
  readonly name: string;
  readonly issued: Issued;
  readonly certificate: Certificate;
  readonly fingerprint: Fingerprint;
}

/** A delivery before it is encoded; scripts alter it. */
export type Delivery = Reply<'msg_deliver'>;
type Sent = Request<'msg_send'>;

export class ScriptedServer {
  presence: { state: 'online' | 'away' | 'dnd' | 'invisible'; last_seen: boolean } = {
    state: 'online',
    last_seen: true,
  };
  readonly ca: Authority = authority();
  server: Issued = this.ca.server();
  readonly conversation = randomBytes(32) as unknown as ConversationId;
  logKey: KeyObject = generateKeyPairSync('ed25519').privateKey;
  entries: Buffer[] = [];
  time = 1_800_000_000_000;
  epoch = 2;
  /** every frame that came, over all links */
  readonly received: Request[] = [];
  readonly links: ServerLink[] = [];
  /** Answers a frame in the place of the server when it gives true. */
  script: (frame: Request, link: ServerLink) => boolean = () => false;
  /** extra devices that it claims a member has */
  ghosts: { readonly username: string; readonly fingerprint: Fingerprint }[] = [];
  readonly people = new Map<string, Person>();
  /** key packages that it hands out, by the fingerprint that it says */
  packages: { readonly device: Uint8Array; readonly package: Uint8Array }[] = [];
  /** in place of the group as it is */
  group: { readonly generation: number; readonly epoch: number; readonly group_info?: Uint8Array } | null = null;
  #peer: Promise<ScriptedPeer> | null = null;
  #cursor = 0;
  #seq = 0;
  readonly #lineage = new Map<string, { ctr: number; batch: Hash; conv: number; leaf: Hash; session: SessionId }>();

  constructor() {
    this.person('alice');
    this.person('bob');
  }

  /** Bob, who shares a group with Alice. */
  get peer(): Promise<ScriptedPeer> {
    const [alice, bob] = [this.get('alice').issued, this.get('bob').issued];
    return (this.#peer ??= ScriptedPeer.create(this.ca, this.conversation, alice, bob));
  }

  person(name: string, ca: Authority = this.ca, key: 'ec256' | 'rsa2048' | 'ed25519' = 'ec256'): Person {
    const issued = ca.client(name, { key });
    const certificate = parseCertificate(issued.der);
    const person = { name, issued, certificate, fingerprint: certificate.fingerprint };
    if (ca === this.ca) this.people.set(name, person);
    return person;
  }
  get(name: string): Person {
    return this.people.get(name)!;
  }

  identity(name: string): ClientIdentity {
    const { issued, certificate } = this.get(name);
    return {
      chain: [certificate],
      roots: [parseCertificate(this.ca.der)],
      intermediates: [],
      privateKey: issued.key,
      fingerprint: certificate.fingerprint,
      username: name,
      email: `${name}@example.org`,
      notAfter: certificate.notAfter,
      certPem: issued.pem,
      caPem: this.ca.pem,
    };
  }

  /** A link of this person to the server. */
  connect(name: string): ClientLink {
    const { fingerprint, certificate } = this.get(name);
    const serverChain: Chain = [parseCertificate(this.server.der), parseCertificate(this.ca.der)];
    const { client, server } = linkPair(fingerprint, serverChain, [certificate, parseCertificate(this.ca.der)]);
    this.links.push(server);
    server.onFrame((frame) => {
      this.received.push(frame);
      if (!this.script(frame, server)) this.answer(frame, server, name);
    });
    return client;
  }

  get latest(): ServerLink {
    return this.links.at(-1)!;
  }
  /** Batches of messages or commits, and not of receipts alone. */
  get written(): Request<'msg_send'>[] {
    return this.frames('msg_send').filter(({ messages }) =>
      messages.some(({ statement }) => isThreaded(decodeMs(statement).kind)),
    );
  }
  frames<T extends Request['type']>(type: T): Request<T>[] {
    return this.received.filter((frame) => frame.type === type) as unknown as Request<T>[];
  }

  answer(frame: Request, link: ServerLink, name: string): void {
    switch (frame.type) {
      case 'resume':
        return link.send(this.loginOk(frame.id, name));
      case 'conversation_open':
      case 'conversation_get':
        return link.send(this.roster(frame.id));
      case 'certificate_get': {
        const person = [...this.people.values()].find((p) => equal(p.fingerprint, frame.fingerprint));
        if (person === undefined) return link.send({ type: 'error', id: frame.id, code: 'NOT_FOUND' });
        return link.send({ type: 'certificate', id: frame.id, chain: [person.issued.der] });
      }
      case 'presence_set':
        this.presence = {
          state: frame.state ?? this.presence.state,
          last_seen: frame.last_seen ?? this.presence.last_seen,
        };
        return link.send({ type: 'presence_choice', id: frame.id, ...this.presence });
      case 'typing':
        return;
      case 'presence_watch':
        return link.send({ type: 'presence', id: frame.id, username: frame.username, online: true });
      case 'msg_send':
        return this.ack(link, frame, this.append(frame));
      case 'log_consistency':
        return link.send({
          type: 'log_consistency',
          id: frame.id,
          hashes: this.tree(frame.to).consistency(frame.from) as Uint8Array[],
        });
      case 'room_list':
        return link.send({ type: 'rooms', id: frame.id, rooms: [], has_more: false });
      case 'contact_list':
        return link.send({ type: 'contacts', id: frame.id, people: [], has_more: false });
      case 'sync':
        return link.send({ type: 'synced', id: frame.id });
      case 'binding_put':
        return link.send({ type: 'ok', id: frame.id });
      case 'keypackages_put':
        return link.send({ type: 'keypackages', id: frame.id, count: 50 });
      case 'keypackages_take': {
        const packages = this.packages.filter((p) => frame.devices.some((device) => equal(device, p.device)));
        return link.send({ type: 'keypackages_taken', id: frame.id, packages });
      }
      case 'binding_get':
      case 'group_get':
        return void this.#answerLater(frame, link);
      case 'ping':
        return link.send({ type: 'pong', id: frame.id, server_time: this.time });
      default:
        return;
    }
  }

  async #answerLater(frame: Request<'binding_get' | 'group_get'>, link: ServerLink): Promise<void> {
    const peer = await this.peer;
    if (frame.type === 'binding_get') {
      const binding = peer.bindings.get(hex(frame.hash));
      if (binding === undefined) return link.send({ type: 'error', id: frame.id, code: 'NOT_FOUND' });
      return link.send({ type: 'binding', id: frame.id, binding });
    }
    const { generation, epoch } = peer;
    const group = this.group ?? { generation, epoch, group_info: await peer.door() };
    link.send({ type: 'group', id: frame.id, conversation: frame.conversation, ...group });
  }

  loginOk(id: number, username: string, origin = ORIGIN, change: Partial<KeyStatement> = {}): Reply<'login_ok'> {
    const statement = formatKeyStatement({
      log: verifierKey(origin, createPublicKey(this.logKey)),
      notBefore: 0,
      notAfter: 4_000_000_000_000,
      serverCertificate: parseCertificate(this.server.der).fingerprint,
      previous: null,
      recovery: parseOrigin(origin).epoch === 1 ? null : { kept: 5, known: { size: 7, root: NO_HASH } },
      ...change,
    });
    const signature = signKeyStatement(statement, this.server.key);
    return {
      type: 'login_ok',
      id,
      username,
      email: `${username}@example.org`,
      token: 'token',
      token_expires: 4_000_000_000_000,
      server_time: Date.now(),
      log: { statement: statement.toString(), algorithm: signature[0]!, signature: signature.subarray(1) },
    };
  }

  roster(id: number): Reply<'conversation'> {
    const members = ['alice', 'bob'].map((username) => ({
      username,
      devices: [
        this.get(username).fingerprint,
        ...this.ghosts.filter((g) => g.username === username).map((g) => g.fingerprint),
      ] as Uint8Array[],
    }));
    return { type: 'conversation', id, conversation: this.conversation, epoch: this.epoch, members };
  }

  tree(size = this.entries.length): Tree {
    return new Tree(size, nodesOver(this.entries.slice(0, size).map(leafHash)));
  }
  note(size = this.entries.length, key = this.logKey): Buffer {
    return signCheckpoint({ origin: ORIGIN, size, root: this.tree(size).root() }, key);
  }

  /** Logs a batch; answers the index of its first leaf. */
  append(frame: Pick<Sent, 'algorithm' | 'signature' | 'batch' | 'messages'>): number {
    const first = this.entries.length;
    const statements = frame.messages.map(({ statement }) => statement);
    this.entries.push(...batchEntries(this.time, frame.algorithm, frame.signature, frame.batch, statements));
    if (!equal(decodeMs(statements[0]!).sender, this.get('alice').fingerprint)) return first;
    void this.peer.then((peer) => peer.heard(frame.messages));
    return first;
  }
  /** The acknowledgement of the batch at `first`. @param isWhole with its checkpoint inside */
  ackBytes(first: number, count: number, isWhole = true, size = this.entries.length): Buffer {
    const tree = this.tree(size);
    return encodeAck({
      first,
      count,
      serverTime: this.time,
      treeSize: tree.size,
      proof: tree.range(first, first + count + 1),
      checkpoint: isWhole ? this.note(size) : Buffer.alloc(0),
    });
  }
  ack(
    link: ServerLink,
    frame: Sent,
    first: number,
    change: (reply: Reply<'msg_ack'>) => Reply<'msg_ack'> = (r) => r,
  ): void {
    const messages = frame.messages.map(({ statement }) => ({ seq: this.#seqOf(statement), queued: false }));
    link.send({ type: 'checkpoint', note: this.note().toString() });
    link.send(change({ type: 'msg_ack', id: frame.id, ack: this.ackBytes(first, messages.length, false), messages }));
  }
  /** What a person writes, as that person's own client would have signed and sealed it. */
  async compose(name: string, bodies: readonly Said[], change: Change = {}): Promise<Sent> {
    const peer = await this.peer;
    return this.state(name, bodies.length, change, async (draft, i) => {
      const body = bodies[i]!;
      const bytes = textBytes(body);
      const kf = randomBytes(32);
      const committed = change.committed === undefined ? bytes : textBytes(change.committed);
      const sized = { ...draft, kind: KIND.message, ciphertextBytes: partBytes(bytes.length) };
      const ms = { ...sized, commitment: commitment(kf, encodeMs(sized), committed) };
      const { parts, generation, epoch } = await peer.seal(
        openingOf(kf, bytes),
        change.aad ?? messageAad(encodeMs(ms)),
      );
      return {
        statement: encodeMs({ ...ms, ciphertextHash: ciphertextHash(parts) }),
        parts,
        group: { generation, epoch },
      };
    });
  }
  /** A commit of his. @param add key packages. @param isAdopted false: he goes on as if he had not made it */
  async composeCommit(add: readonly Uint8Array[] = [], isAdopted = true, change: Change = {}): Promise<Sent> {
    const peer = await this.peer;
    return this.state('bob', 1, change, async (draft) => {
      const ms = { ...draft, kind: KIND.membership };
      const { parts, generation, epoch } = await peer.commit(change.aad ?? messageAad(encodeMs(ms)), add, isAdopted);
      const ciphertextBytes = parts.reduce((sum, part) => sum + part.length, 0);
      const whole = { ...ms, parts: parts.length, ciphertextBytes, ciphertextHash: ciphertextHash(parts) };
      return { statement: encodeMs(whole), parts, group: { generation, epoch } };
    });
  }
  /** What he says about messages, by leaf(MS). @param ms what he says otherwise */
  receipt(
    name: string,
    messages: readonly Uint8Array[],
    kind: MessageStatement['kind'] = KIND.delivered,
    change: Change = {},
    ms: Partial<MessageStatement> = {},
  ): Promise<Sent> {
    const parts = [Buffer.concat(messages)];
    return this.state(name, 1, change, async (draft) => {
      const plain = { convCtr: 0, prevConv: NO_HASH, rosterHash: NO_HASH, ciphertextHash: ciphertextHash(parts) };
      const statement = encodeMs({ ...draft, ...plain, kind, ciphertextBytes: parts[0]!.length, ...ms });
      return { statement, parts, to: 'alice' };
    });
  }
  /** The same, logged and delivered. */
  async receipts(
    link: ServerLink,
    name: string,
    messages: readonly Uint8Array[],
    kind: MessageStatement['kind'] = KIND.delivered,
    change: Change = {},
  ): Promise<Delivery> {
    const sent = await this.receipt(name, messages, kind, change);
    const delivery = this.delivery(sent, this.append(sent));
    link.send(delivery);
    return delivery;
  }
  #seqOf(statement: Uint8Array): number {
    return isThreaded(decodeMs(statement).kind) ? ++this.#seq : 0;
  }
  /** A signed batch of so many statements, each made from what its place in the sender's lineage says. */
  async state(
    name: string,
    count: number,
    change: Change,
    make: (draft: Omit<MessageStatement, 'kind'>, i: number) => Promise<Sent['messages'][number]>,
  ): Promise<Sent> {
    const { fingerprint, issued } = this.get(name);
    const state = this.#lineage.get(name) ?? {
      ctr: 0,
      batch: NO_HASH,
      conv: 0,
      leaf: NO_HASH,
      session: randomBytes(16) as unknown as SessionId,
    };
    if (change.isAnew === true)
      Object.assign(state, { ctr: 0, batch: NO_HASH, conv: 0, session: randomBytes(16) as unknown as SessionId });
    const sender = change.sender ?? fingerprint;
    const firstCtr = state.ctr + 1;
    const members = ['alice', 'bob'].map((who) => this.get(who).fingerprint);
    const messages: Sent['messages'] = [];
    for (let i = 0; i < count; i++) {
      state.ctr++;
      const convCtr = state.conv + 1 + (change.skip ?? 0);
      const message = await make(
        {
          parts: 1,
          ciphertextBytes: 0,
          sender: change.stated ?? sender,
          session: state.session,
          sessionCtr: state.ctr + (change.ahead ?? 0),
          clientTime: this.time,
          conversation: this.conversation,
          convCtr,
          prevConv: state.leaf,
          rosterHash: rosterHash(this.conversation, this.epoch, members),
          commitment: NO_HASH,
          ciphertextHash: NO_HASH,
        },
        i,
      );
      messages.push(message);
      if (!isThreaded(decodeMs(message.statement).kind)) continue;
      state.conv = convCtr;
      state.leaf = leafHash(message.statement);
    }
    const batch = encodeBs({
      sender,
      session: state.session,
      firstCtr,
      count: messages.length,
      signTime: this.time,
      prevBatch: state.batch,
      batchRoot: rootOf(messages.map(({ statement }) => leafHash(statement))),
      audience: audienceOf(change.audience ?? ORIGIN),
    });
    state.batch = leafHash(batch);
    this.#lineage.set(name, state);
    return { type: 'msg_send', id: 1, ...sign(change.key ?? issued.key, CONTEXT.senderBatch, batch), batch, messages };
  }
  /** The delivery of a batch that append() has logged at `first`. */
  delivery(sent: Sent, first: number, size = this.entries.length): Delivery {
    const { algorithm, signature, batch } = sent;
    const items = sent.messages.map(({ statement, parts, group }) => ({
      cursor: ++this.#cursor,
      seq: this.#seqOf(statement),
      statement,
      parts,
      ...group,
    }));
    return {
      type: 'msg_deliver',
      algorithm,
      signature,
      batch,
      ack: this.ackBytes(first, items.length, true, size),
      items,
    };
  }
  /** Composes, logs, delivers. */
  async say(link: ServerLink, name: string, bodies: readonly Said[], change: Change = {}): Promise<Delivery> {
    const sent = await this.compose(name, bodies, change);
    const delivery = this.delivery(sent, this.append(sent));
    link.send(delivery);
    return delivery;
  }
}

interface Change {
  readonly sender?: Fingerprint;
  /** sender in the statements alone */
  readonly stated?: Fingerprint;
  /** added to the session counters in the statements alone */
  readonly ahead?: number;
  readonly key?: KeyObject;
  readonly audience?: string;
  /** what the commitment is made over, in place of the body */
  readonly committed?: string;
  /** what it is sealed for, in place of its statement */
  readonly aad?: Uint8Array;
  /** conversation counters left out before each message */
  readonly skip?: number;
  /** another session begins, which links to what was said before */
  readonly isAnew?: boolean;
}

/** Two ends in memory; frames are encoded and decoded on the way, and arrive in later ticks, those of one tick together. */
export function linkPair(
  client: Fingerprint,
  serverChain: Chain,
  clientChain: Chain,
): { readonly client: ClientLink; readonly server: ServerLink } {
  const exporter = randomBytes(32);
  const a = new MemoryLink<Reply, Request>(client, serverChain, exporter, (bytes) => decodeReplies(bytes));
  const b = new MemoryLink<Request, Reply>(serverChain[0].fingerprint, clientChain, exporter, (bytes) =>
    decodeRequests(bytes),
  );
  a.other = b;
  b.other = a;
  return { client: a, server: b };
}

class MemoryLink<In, Out> implements Link<In, Out> {
  readonly peerChain: Chain;
  readonly ownFingerprint: Fingerprint;
  readonly address = 'memory';
  readonly suite = 1;
  readonly confirmation = '0123456789abcdef';
  readonly exporter: Secret;
  queuedBytes = 0;
  receivedBytes = 0;
  readonly closed: Promise<{ code: Code | null }>;
  other!: { arrive(bytes: Uint8Array): void; end(code: Code | null): void };
  readonly #decode: (bytes: Uint8Array) => Iterable<In>;
  #handler: ((frame: In) => void) | null = null;
  #waiting: In[] = [];
  #out: Buffer[] = [];
  #isClosed = false;
  #resolve!: (closed: { code: Code | null }) => void;

  constructor(own: Fingerprint, peers: Chain, exporter: Buffer, decode: (b: Uint8Array) => Iterable<In>) {
    this.ownFingerprint = own;
    this.peerChain = peers;
    this.exporter = new Secret(Buffer.from(exporter));
    this.#decode = decode;
    this.closed = new Promise((resolve) => (this.#resolve = resolve));
  }
  send(frame: Out): void {
    if (this.#isClosed) return;
    if (this.#out.push(encodeFrame(frame as Reply | Request)) === 1) setImmediate(() => this.#flush());
  }
  sendShared(): void {
    throw new Error('a script sends frame by frame');
  }
  onFrame(handler: (frame: In) => void): void {
    this.#handler = handler;
    for (const frame of this.#waiting.splice(0)) handler(frame);
  }
  onDrain(): void {}
  pause(): void {}
  resume(): void {}
  close(code?: Code): void {
    if (this.#isClosed) return;
    this.#flush();
    this.#isClosed = true;
    this.#resolve({ code: code ?? null });
    setImmediate(() => this.other.end(code ?? null));
  }
  /** As when the network goes: what is on its way is lost. */
  drop(): void {
    this.#out = [];
    this.close('CONNECTION_LOST');
  }
  arrive(bytes: Uint8Array): void {
    if (this.#isClosed) return;
    this.receivedBytes += bytes.length;
    for (const frame of this.#decode(bytes)) {
      if (this.#handler === null) this.#waiting.push(frame);
      else this.#handler(frame);
    }
  }
  end(code: Code | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#resolve({ code });
  }
  #flush(): void {
    const bytes = Buffer.concat(this.#out.splice(0));
    if (bytes.length > 0) this.other.arrive(bytes);
  }
}

/** Cuts a link of linkPair(). */
export const drop = (link: ServerLink): void => (link as unknown as MemoryLink<Request, Reply>).drop();

export const idOf = (bytes: Uint8Array): string => hex(sha256(bytes));
