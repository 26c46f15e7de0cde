/** Commit windows that the database does not have yet, and which of their recipients keep what is in them already. */
import { equal, hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { partsBytes } from './entry.ts';
import type { BatchRecord, MessageRecord, StoredMessage, WindowRecord } from './store.ts';

/** A row's worth of a message beside its parts, in memory. */
const MESSAGE_BYTES = 1024;
const RECIPIENT_BYTES = 64;
const NO_PARTS: readonly Uint8Array[] = [];

interface WaitingMessage {
  readonly record: MessageRecord;
  readonly bytes: number;
  readonly keptBy: number[];
  isReached: boolean;
}
interface WaitingWindow {
  readonly window: WindowRecord;
  readonly answers: StoredMessage[][];
  readonly messages: readonly (readonly WaitingMessage[])[];
}

/** Of a transaction, but for its last window: SQLite takes so many parameters. */
const MAX_ENTRIES = 4096;

export class Waiting {
  #windows: WaitingWindow[] = [];
  /** device → cursor → what is not acknowledged */
  readonly #boxes = new Map<number, Map<number, WaitingMessage>>();
  readonly #senders = new Set<string>();
  readonly #sessions = new Set<string>();
  readonly #conversations = new Set<string>();
  readonly #certificates = new Set<string>();
  readonly #batches = new Set<string>();
  messages = 0;
  bytes = 0;
  /** Unix ms: when the first of them expires */
  expiresAt = Infinity;

  get isEmpty(): boolean {
    return this.#windows.length === 0;
  }
  hasSender(fingerprint: Uint8Array): boolean {
    return this.#senders.has(hex(fingerprint));
  }
  hasSession(id: Uint8Array): boolean {
    return this.#sessions.has(hex(id));
  }
  /** @param key hex of its id */
  hasConversation(key: string): boolean {
    return this.#conversations.has(key);
  }
  hasCertificate(fingerprint: Uint8Array): boolean {
    return this.#certificates.has(hex(fingerprint));
  }
  hasDevice(id: number): boolean {
    return this.#boxes.has(id);
  }
  /** Something that the device has not acknowledged. */
  waitsFor(id: number): boolean {
    return (this.#boxes.get(id)?.size ?? 0) > 0;
  }
  /** One with these counters. */
  hasBatch(batch: BatchRecord): boolean {
    return this.#batches.has(countersOf(batch));
  }

  add(window: WindowRecord, answers: StoredMessage[][]): void {
    const messages = window.batches.map((batch, i) => {
      this.#senders.add(hex(batch.batch.fingerprint));
      this.#sessions.add(hex(batch.batch.session));
      this.#batches.add(countersOf(batch.batch));
      return batch.messages.map((record, j) => this.#take(record, answers[i]![j]!.cursors));
    });
    for (const fingerprint of window.certificates) this.#certificates.add(hex(fingerprint));
    this.#windows.push({ window, answers, messages });
  }

  #take(record: MessageRecord, cursors: readonly number[]): WaitingMessage {
    const { conversation, content } = record;
    if (conversation !== null) this.#conversations.add(hex(conversation));
    const bytes = content === null ? 0 : partsBytes(content.parts);
    const message: WaitingMessage = { record, bytes, keptBy: [], isReached: false };
    for (const [i, cursor] of cursors.entries()) this.#boxOf(content!.recipients[i]!).set(cursor, message);
    if (content !== null) this.expiresAt = Math.min(this.expiresAt, content.expiresAt);
    this.messages++;
    this.bytes += MESSAGE_BYTES + bytes + cursors.length * RECIPIENT_BYTES;
    return message;
  }

  /** Those that have come since. */
  addAll(later: Waiting): void {
    this.#windows.push(...later.#windows);
    for (const [id, box] of later.#boxes) for (const [cursor, message] of box) this.#boxOf(id).set(cursor, message);
    for (const [to, from] of [
      [this.#senders, later.#senders],
      [this.#sessions, later.#sessions],
      [this.#conversations, later.#conversations],
      [this.#certificates, later.#certificates],
      [this.#batches, later.#batches],
    ] as const)
      for (const key of from) to.add(key);
    this.expiresAt = Math.min(this.expiresAt, later.expiresAt);
    this.messages += later.messages;
    this.bytes += later.bytes;
  }

  /** @returns the cursors that are not of these windows, or were acknowledged before */
  acknowledge(deviceId: number, cursors: readonly number[], userId: number): number[] {
    const box = this.#boxes.get(deviceId);
    if (box === undefined) return [...cursors];
    return cursors.filter((cursor) => {
      const message = box.get(cursor);
      if (message === undefined) return true;
      box.delete(cursor);
      message.keptBy.push(deviceId);
      if (message.record.senderUserId !== userId) message.isReached = true;
      return false;
    });
  }

  usageOf(deviceId: number): { bytes: number; rows: number } {
    const box = this.#boxes.get(deviceId);
    if (box === undefined) return { bytes: 0, rows: 0 };
    let bytes = 0;
    for (const message of box.values()) bytes += message.bytes;
    return { bytes, rows: box.size };
  }

  /** Null: not one of these. @throws LOG_CORRUPT when it is one, with other messages */
  answersOf(wanted: WindowRecord): StoredMessage[][] | null {
    const { origin, logSize } = wanted;
    const known = this.#windows.find(({ window }) => window.origin === origin && window.logSize === logSize);
    if (known === undefined) return null;
    const [ours, theirs] = [known.window, wanted].map(({ batches }) => batches.flatMap(({ messages }) => messages));
    for (const [i, { index, statementHash }] of theirs!.entries())
      if (ours![i]?.index !== index || !equal(ours![i].statementHash, statementHash))
        throw new ChatError('LOG_CORRUPT', `the log and the database disagree at entry ${index}`, { field: 'index' });
    return known.answers;
  }

  /**
   * The first of them as one, as far as one transaction should go and up to where another log begins, with what is kept already said.
   * Null: there is none.
   */
  first(): { readonly window: WindowRecord; readonly answers: readonly StoredMessage[][] } | null {
    const origin = this.#windows[0]?.window.origin;
    if (origin === undefined) return null;
    let entries = 0;
    const end = this.#windows.findIndex(({ window }) => {
      const isFull = entries >= MAX_ENTRIES;
      entries += window.batches.reduce((sum, { messages }) => sum + 1 + messages.length, 0);
      return isFull || window.origin !== origin;
    });
    const windows = end < 0 ? this.#windows : this.#windows.slice(0, end);
    return {
      window: {
        origin,
        logSize: windows.at(-1)!.window.logSize,
        batches: windows.flatMap(({ window, messages }) =>
          window.batches.map(({ batch }, i) => ({ batch, messages: messages[i]!.map(recordOf) })),
        ),
        certificates: windows.flatMap(({ window }) => window.certificates),
      },
      answers: windows.flatMap(({ answers }) => answers),
    };
  }

  /** The first of them that are of this log, as far as the database has them. */
  forget(origin: string, size: number): void {
    const left = this.#windows.findIndex(({ window }) => window.origin !== origin || window.logSize > size);
    this.#windows.splice(0, left < 0 ? this.#windows.length : left);
  }

  #boxOf(deviceId: number): Map<number, WaitingMessage> {
    let box = this.#boxes.get(deviceId);
    if (box === undefined) this.#boxes.set(deviceId, (box = new Map()));
    return box;
  }
}

const countersOf = ({ fingerprint, session, firstCtr }: BatchRecord): string =>
  `${hex(fingerprint)} ${hex(session)} ${firstCtr}`;

/** Content that nobody waits for stays here. */
function recordOf({ record, keptBy, isReached }: WaitingMessage): MessageRecord {
  const { content } = record;
  if (content === null || keptBy.length === 0) return record;
  const parts = keptBy.length === content.recipients.length ? NO_PARTS : content.parts;
  return { ...record, content: { ...content, parts, keptBy: [...keptBy], isReached } };
}
