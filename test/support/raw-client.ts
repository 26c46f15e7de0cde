/**
 * A client that does what it is told, also what no honest one would: one link, frames in and out, and a device that keeps its own
 * lineage. Every delivery's evidence is checked as it comes, so no scenario has to.
 */
import { randomBytes, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import type { Template } from '../../base/cbor.ts';
import { equal, hex, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { CONTEXT, sign } from '../../base/signature.ts';
import { startClient, step, type Effect, type Session, type State } from '../../protocol/handshake.ts';
import { ephemeral } from '../../protocol/key-exchange.ts';
import { MAX_RECORD_BYTES } from '../../protocol/limits.ts';
import { decodeReplies, filledInRecord } from '../../protocol/frame-codec.ts';
import type { Delivered, Reply, ReplyType, Request } from '../../protocol/messages.ts';
import { RecordReader } from '../../protocol/record.ts';
import { plaintextOf } from '../../protocol/unsealed.ts';
import type { GroupState } from '../../store/contract/conversations.ts';
import type { ClientLink } from '../../runtime/link.ts';
import { tlsExporter, type Credentials } from '../../runtime/tls.ts';
import { checkAck, decodeAck } from '../../transcript/ack.ts';
import { openCheckpoint } from '../../transcript/checkpoint.ts';
import { openKeyStatement } from '../../transcript/key-statement.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { leafHash, NO_HASH, rootOf } from '../../transcript/merkle.ts';
import { rootFromRange } from '../../transcript/proof.ts';
import type { VerifierKey } from '../../transcript/note.ts';
import { encodeOpening, type SessionEnd } from '../../transcript/opening.ts';
import { decodeReceipt, encodeReceipt } from '../../transcript/receipt.ts';
import {
  audienceOf,
  ciphertextHash,
  decodeBs,
  encodeBs,
  decodeMs,
  encodeMs,
  isPartOfCiphertext,
  isReceipt,
  isThreaded,
  KIND,
  rosterHash,
  type BatchStatement,
  type MessageStatement,
} from '../../transcript/statement.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { dialTls } from './pair.ts';

type WithoutId<T> = T extends { readonly id: number } ? Omit<T, 'id'> : never;
export type Ask = WithoutId<Request>;
export type SendFrame = Omit<Request<'msg_send'>, 'id'>;
export type ConversationFrame = Pick<Reply<'conversation'>, 'conversation' | 'epoch' | 'members'>;

export class RawClient {
  readonly link: ClientLink;
  /** everything that came, in order */
  readonly frames: Reply[] = [];
  /** set by a login */
  log: VerifierKey | null = null;
  /** what comes is acknowledged, all of one turn together; nothing is receipted */
  acknowledges = true;
  /** told of each conversation that comes, before anybody here hears of it */
  onConversation: (id: Uint8Array) => void = () => {};
  readonly #notes: string[] = [];
  readonly #waiting = new Set<() => void>();
  #lastId = 0;
  #isClosed = false;
  #isDue = false;
  readonly #cursors: number[] = [];
  #failure: unknown = null;

  constructor(link: ClientLink) {
    this.link = link;
    link.onFrame((frame) => this.#take(frame));
    void link.closed.then(() => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  /** @throws what the server refused it with; CONNECTION_LOST when the link ends before the answer */
  async request<T extends ReplyType>(ask: Ask, want: T): Promise<Reply<T>> {
    return (await this.answer(this.send(ask), want)) as Reply<T>;
  }

  /** Answers the id. */
  send(ask: Ask): number {
    const id = ++this.#lastId;
    this.link.send({ ...ask, id } as Request);
    return id;
  }

  async answer<T extends ReplyType>(id: number, want: T): Promise<Reply<T>> {
    const frame = await this.until((all) => all.find((f) => 'id' in f && f.id === id));
    if (frame.type === 'error') throw errorOf(frame);
    if (frame.type !== want) throw new Error(`asked for ${want}, got ${frame.type}`);
    return frame as Reply<T>;
  }

  /** Resolves with what `find` finds among all frames so far, now or later. */
  async until<R>(find: (frames: readonly Reply[]) => R | undefined): Promise<R> {
    for (;;) {
      if (this.#failure !== null) throw this.#failure;
      const found = find(this.frames);
      if (found !== undefined) return found;
      if (this.#isClosed) {
        const { code, sub } = await this.link.closed;
        throw new ChatError(code ?? 'CONNECTION_LOST', 'closed', sub === undefined ? {} : { sub });
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Resolves with the n-th frame of this type, from 1. */
  nth<T extends ReplyType>(type: T, n = 1): Promise<Reply<T>> {
    return this.until((all) => all.filter((f) => f.type === type)[n - 1] as Reply<T> | undefined);
  }

  /** Resolves once `count` messages were delivered; answers all that were. */
  delivered(count: number): Promise<Delivered[]> {
    return this.until((all) => {
      const items = deliveredOf(all);
      return items.length >= count ? items : undefined;
    });
  }

  /** Resolves once so many messages were receipted. */
  receipted(count: number): Promise<ReturnType<typeof receiptsOf>> {
    return this.until((all) => {
      const receipts = receiptsOf(all);
      return receipts.length >= count ? receipts : undefined;
    });
  }

  /** After a round trip nothing that was sent before is still on its way. */
  async settled(): Promise<void> {
    await this.request({ type: 'ping' }, 'pong');
  }

  async close(): Promise<void> {
    this.link.close();
    await this.link.closed;
  }

  /** The checkpoint of this tree size that the connection has carried. */
  note(size: number): Buffer | undefined {
    if (this.log === null) return undefined;
    const log = this.log;
    const note = this.#notes.findLast((n) => openCheckpoint(Buffer.from(n), log).size === size);
    return note === undefined ? undefined : Buffer.from(note);
  }
  get newestNote(): string | undefined {
    return this.#notes.at(-1);
  }

  /** @throws when an acknowledgement does not prove the batch */
  check(ack: Reply<'msg_ack'>, batch: SendFrame): void {
    const decoded = decodeAck(ack.ack);
    const { algorithm, signature, messages } = batch;
    const sent = { algorithm, signature, bs: batch.batch, messages: messages.map((m) => m.statement) };
    checkAck(decoded, sent, this.log!, this.note(decoded.treeSize));
  }

  #take(frame: Reply): void {
    if (frame.type === 'checkpoint') this.#notes.push(frame.note);
    if (frame.type === 'conversation') this.onConversation(frame.conversation);
    if (frame.type === 'login_ok') {
      const { statement, algorithm, signature } = frame.log;
      const signed = Buffer.concat([Buffer.of(algorithm), signature]);
      this.log = openKeyStatement(Buffer.from(statement), signed, this.link.peerChain[0].publicKey).log;
    }
    try {
      if (frame.type === 'msg_deliver') this.#checkDelivery(frame);
    } catch (error) {
      this.#failure ??= error;
    }
    this.frames.push(frame);
    if (this.acknowledges) this.#cursors.push(...cursorsOf([frame]));
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      while (this.#cursors.length > 0) this.link.send({ type: 'msg_received', cursors: this.#cursors.splice(0, 1024) });
      this.#wake();
    });
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }

  #checkDelivery(frame: Reply<'msg_deliver'>): void {
    const { algorithm, signature, batch, items } = frame;
    const bs = decodeBs(batch);
    const ack = decodeAck(frame.ack);
    const statements = items.map((i) => ('statement' in i ? leafHash(i.statement) : (i.statement_hash as Hash)));
    if (!equal(rootOf(statements), bs.batchRoot)) throw new Error('a delivery of another batch');
    const { serverTime } = ack;
    const leaves = [
      leafHash(encodeLeaf({ type: 'sigb', serverTime, algorithm, signature, bs: batch })),
      ...items.map((i, at) =>
        'statement' in i
          ? leafHash(encodeLeaf({ type: 'msg', serverTime, position: at + 1, ms: i.statement }))
          : (i.leaf_hash as Hash),
      ),
    ];
    const last = Buffer.from(this.#notes.at(-1) ?? '');
    const checkpoint = openCheckpoint(last, this.log!);
    const root = rootFromRange(ack.first, leaves, ack.treeSize, ack.proof);
    if (checkpoint.size !== ack.treeSize || root === null || !equal(root, checkpoint.root))
      throw new Error('a delivery that the log does not hold');
    for (const i of items) if ('statement' in i && !isWhole(i)) throw new Error('parts of another message');
  }
}

function isWhole({ statement, parts, cut }: Delivered): boolean {
  if (cut !== undefined) return isPartOfCiphertext(decodeMs(statement), parts, cut.at, cut.hashes);
  return equal(ciphertextHash(parts), statement.subarray(216));
}

/** Messages and commits. */
export const deliveredOf = (frames: readonly Reply[]): Delivered[] =>
  itemsOf(frames).filter(({ statement }) => isThreaded(decodeMs(statement).kind));
/** What devices have signed about messages: leaf(MS) of each, and of which kind, as it came. */
export const receiptsOf = (frames: readonly Reply[]): { readonly kind: number; readonly message: string }[] =>
  itemsOf(frames).flatMap(({ statement, parts }) => {
    const { kind } = decodeMs(statement);
    return isReceipt(kind) ? decodeReceipt(parts[0]!).map((hash) => ({ kind, message: hex(hash) })) : [];
  });
const itemsOf = (frames: readonly Reply[]): Delivered[] =>
  frames.flatMap((f) => (f.type === 'msg_deliver' ? f.items.flatMap((i) => ('statement' in i ? [i] : [])) : []));
export const textOf = (item: Delivered): string => Buffer.concat(item.parts).toString();
/** What a link makes of frames that several get. */
export const framesOf = (shared: Template, numbers: readonly number[]): Reply[] => [
  ...decodeReplies(plaintextOf(filledInRecord(shared, numbers))),
];
export const cursorsOf = (frames: readonly Reply[]): number[] =>
  frames.flatMap((f) => {
    if (f.type === 'msg_expired') return [f.cursor];
    return f.type === 'msg_deliver' ? f.items.flatMap((i) => ('cursor' in i ? [i.cursor] : [])) : [];
  });

function errorOf({ code, sub, field, retry_after_ms: retryAfterMs }: Reply<'error'>): ChatError {
  return new ChatError(code, `refused: ${code}`, {
    ...(sub === undefined ? {} : { sub }),
    ...(field === undefined ? {} : { field }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** What a batch may lie about; by default it is honest. */
export interface Lies {
  /** the lineage stays where it is */
  readonly peek?: boolean;
  readonly bs?: Partial<BatchStatement>;
  readonly ms?: Partial<MessageStatement>;
  readonly key?: KeyObject;
}

/** The state of a conversation's group after its first commit. */
export const GROUP: GroupState = { generation: 1, epoch: 1 };

export interface Letter {
  readonly to: ConversationFrame;
  readonly parts: readonly Uint8Array[];
  /** of a message GROUP if left out */
  readonly group?: GroupState;
  /** makes a commit of it */
  readonly groupInfo?: Uint8Array;
  /** makes a receipt of it, for messages of this user */
  readonly receipt?: { readonly kind: MessageStatement['kind']; readonly author: string };
  /** makes the opening or the close of the session of it */
  readonly session?: typeof KIND.open | typeof KIND.close;
}

/** One certificate's lineage: it outlives connections. */
export class Lineage {
  readonly fingerprint: Fingerprint;
  readonly key: KeyObject;
  readonly origin: string;
  session: SessionId = randomBytes(16) as Uint8Array as SessionId;
  ctr = 0;
  prevBatch: Hash = NO_HASH;
  #convCtr = new Map<string, number>();
  #last = new Map<string, Hash>();

  constructor(fingerprint: Fingerprint, key: KeyObject, origin: string) {
    this.fingerprint = fingerprint;
    this.key = key;
    this.origin = origin;
  }

  /** The next batch. */
  batch(letters: readonly Letter[], lies: Lies = {}): SendFrame {
    const convCtr = new Map(this.#convCtr);
    const last = new Map(this.#last);
    const messages = letters.map(({ to, parts, group: named, groupInfo, receipt, session }, i) => {
      const name = hex(to.conversation);
      const ctr = (convCtr.get(name) ?? 0) + 1;
      const kind = lies.ms?.kind ?? (groupInfo ? KIND.membership : KIND.message);
      const group = named ?? (kind === KIND.message && !session ? GROUP : undefined);
      const statement = encodeMs({
        kind,
        parts: parts.length,
        ciphertextBytes: parts.reduce((sum, part) => sum + part.length, 0),
        sender: this.fingerprint,
        session: this.session,
        sessionCtr: this.ctr + 1 + i,
        clientTime: Date.now(),
        conversation: to.conversation as ConversationId,
        convCtr: ctr,
        prevConv: last.get(name) ?? NO_HASH,
        rosterHash: rosterOf(to),
        commitment: NO_HASH,
        ciphertextHash: ciphertextHash(parts),
        ...(receipt && { kind: receipt.kind, convCtr: 0, prevConv: NO_HASH, rosterHash: NO_HASH }),
        ...(session && { kind: session, conversation: NOWHERE, convCtr: 0, prevConv: NO_HASH, rosterHash: NO_HASH }),
        ...lies.ms,
      });
      if (session) return { statement, parts: [...parts], ...(named && { group: named }) };
      if (receipt) return { statement, parts: [...parts], to: receipt.author };
      convCtr.set(name, ctr);
      last.set(name, leafHash(statement));
      return { statement, parts: [...parts], ...(group && { group }), ...(groupInfo && { group_info: groupInfo }) };
    });
    const batch = encodeBs({
      sender: this.fingerprint,
      session: this.session,
      firstCtr: this.ctr + 1,
      count: messages.length,
      signTime: Date.now(),
      prevBatch: this.prevBatch,
      batchRoot: rootOf(messages.map(({ statement }) => leafHash(statement))),
      audience: audienceOf(this.origin),
      ...lies.bs,
    });
    if (!lies.peek) {
      this.ctr += messages.length;
      this.prevBatch = leafHash(batch);
      this.#convCtr = convCtr;
      this.#last = last;
    }
    return { type: 'msg_send', ...sign(lies.key ?? this.key, CONTEXT.senderBatch, batch), batch, messages };
  }

  /** The next batch begins another session. Answers how the one before ended. */
  newSession(): SessionEnd {
    const end = { session: this.session, lastCtr: this.ctr, lastBatch: this.prevBatch };
    this.session = randomBytes(16) as Uint8Array as SessionId;
    Object.assign(this, { ctr: 0, prevBatch: NO_HASH });
    this.#convCtr = new Map();
    return end;
  }

  /** What to call when the batches made from here on were refused. */
  mark(): () => void {
    const { ctr, prevBatch, session } = this;
    const [convCtr, last] = [this.#convCtr, this.#last];
    return () => {
      Object.assign(this, { ctr, prevBatch, session });
      [this.#convCtr, this.#last] = [convCtr, last];
    };
  }

  /** What this device says about messages of somebody. */
  receipt(
    to: ConversationFrame,
    author: string,
    items: readonly Pick<Delivered, 'statement'>[],
    kind: MessageStatement['kind'] = KIND.delivered,
    lies?: Lies,
  ): SendFrame {
    const parts = [encodeReceipt(items.map(({ statement }) => leafHash(statement)))];
    return this.batch([{ to, parts, receipt: { kind, author } }], lies);
  }

  texts(to: ConversationFrame, texts: readonly string[], lies?: Lies): SendFrame {
    return this.batch(
      texts.map((text) => ({ to, parts: [Buffer.from(text)] })),
      lies,
    );
  }
}

const NOWHERE = NO_HASH as Uint8Array as ConversationId;
/** @param to anything: it is of no conversation */
export const openingLetter = (to: ConversationFrame, before: SessionEnd | null): Letter => ({
  to,
  parts: [encodeOpening(before)],
  session: KIND.open,
});
export const closeLetter = (to: ConversationFrame): Letter => ({
  to,
  parts: [new Uint8Array(0)],
  session: KIND.close,
});

export const rosterOf = ({ conversation, epoch, members }: ConversationFrame): Hash =>
  rosterHash(
    conversation as ConversationId,
    epoch,
    members.flatMap(({ devices }) => devices as Fingerprint[]),
  );

/** A channel whose owner writes any bytes, inside it and below it. */
export class Wire {
  readonly socket: TLSSocket;
  readonly replies: Reply[] = [];
  readonly closed: Promise<void>;
  readonly #session: Session;

  /** Both handshakes, as an honest client. */
  static async open(port: number, own: Credentials): Promise<Wire> {
    const socket = dialTls(port, own);
    await once(socket, 'secureConnect');
    const server = parseCertificate(socket.getPeerCertificate(true).raw);
    const [first, opening] = startClient(
      {
        privateKey: own.privateKey,
        peerPublicKey: server.publicKey,
        binding: Buffer.concat([tlsExporter(socket), server.fingerprint, own.chain[0].fingerprint]),
        deadlineMs: Infinity,
      },
      ephemeral([2]),
    );
    const reader = new RecordReader();
    let state: State = first;
    return new Promise((resolve, reject) => {
      const perform = (effects: readonly Effect[]): void => {
        for (const effect of effects) {
          if (effect.do === 'send') socket.write(effect.record);
          if (effect.do === 'close') reject(new ChatError(effect.code, 'no handshake'));
          if (effect.do !== 'open') continue;
          socket.off('data', onData);
          resolve(new Wire(socket, effect.session, reader));
        }
      };
      const onData = (chunk: Buffer): void => {
        for (const payload of reader.push(chunk)) {
          const [next, effects] = step(state, { on: 'record', payload });
          state = next;
          perform(effects);
        }
      };
      socket.on('data', onData);
      perform(opening);
    });
  }

  constructor(socket: TLSSocket, session: Session, reader: RecordReader) {
    this.socket = socket;
    this.#session = session;
    reader.maxRecordBytes = MAX_RECORD_BYTES;
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('data', (chunk: Buffer) => {
      for (const payload of reader.push(chunk)) this.replies.push(...decodeReplies(session.opener.open(payload)));
    });
  }

  /** One record with this plaintext. */
  seal(plaintext: Uint8Array): Buffer {
    return this.#session.sealer.seal([plaintext], performance.now());
  }

  write(plaintext: Uint8Array): void {
    this.socket.write(this.seal(plaintext));
  }
}
