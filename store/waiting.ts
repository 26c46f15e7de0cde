/**
 * Commit windows that the database does not have yet, and which of their recipients keep what is in them already. Of a window its record in
 * the journal is kept, and an object for each message: what lives half a second and is made of many pieces costs the most to clean up.
 */
import { equal } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import { partsBytes } from './entry.ts';
import { decodeWindow } from './journal-record.ts';
import type { Acknowledgement } from './acknowledgement.ts';
import type { BatchRecord, MessageRecord, StoredMessage, WindowRecord } from './contract/log.ts';
import { encodeSaid, type Said } from './told.ts';

/** A row's worth of a message beside its parts, in memory. */
const MESSAGE_BYTES = 1024;
const RECIPIENT_BYTES = 64;

interface WaitingMessage extends Said {
  readonly senderUserId: number;
  /** in the order of the cursors of its place */
  readonly recipients: readonly number[];
  readonly bytes: number;
  readonly keptBy: number[];
  isReached: boolean;
}
interface WaitingWindow {
  readonly origin: string;
  readonly logSize: number;
  readonly record: Uint8Array;
  readonly answers: StoredMessage[][];
  readonly messages: readonly WaitingMessage[];
  readonly bytes: number;
}

/** Windows of one log as the database gets them. */
export interface Leaving {
  readonly origin: string;
  readonly logSize: number;
  readonly records: readonly Uint8Array[];
  readonly said: Uint8Array;
}

/** Of a transaction, but for its last window: some 30 ms of work, for so long does whoever needs room wait. */
const MAX_ROWS = 1024;
const MAX_BYTES = 4 * 1024 * 1024;

export class Waiting {
  readonly #windows: WaitingWindow[] = [];
  /** device → cursor → what is not acknowledged */
  readonly #boxes = new Map<number, Map<number, WaitingMessage>>();
  /** whose the devices are that have acknowledged something */
  readonly #keepers = new Map<number, number>();
  readonly #senders = new Set<string>();
  readonly #sessions = new Set<string>();
  readonly #conversations = new Set<string>();
  readonly #certificates = new Set<string>();
  readonly #batches = new Set<string>();
  /** messages, and devices that have not acknowledged one */
  rows = 0;
  /** in memory */
  bytes = 0;
  /** Unix ms: when the first of them expires */
  expiresAt = Infinity;

  get isEmpty(): boolean {
    return this.#windows.length === 0;
  }
  hasSender(fingerprint: Uint8Array): boolean {
    return this.#senders.has(idKey(fingerprint));
  }
  hasSession(id: Uint8Array): boolean {
    return this.#sessions.has(idKey(id));
  }
  /** @param key hex of its id */
  hasConversation(key: string): boolean {
    return this.#conversations.has(key);
  }
  hasCertificate(fingerprint: Uint8Array): boolean {
    return this.#certificates.has(idKey(fingerprint));
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

  /** @param record body of the window's record in the journal */
  add(window: WindowRecord, answers: StoredMessage[][], record: Uint8Array): void {
    const { origin, logSize, batches, certificates } = window;
    const messages = batches.flatMap((batch, i) => {
      this.#senders.add(idKey(batch.batch.fingerprint));
      this.#sessions.add(idKey(batch.batch.session));
      this.#batches.add(countersOf(batch.batch));
      return batch.messages.map((message, j) => this.#take(message, answers[i]![j]!));
    });
    for (const fingerprint of certificates) this.#certificates.add(idKey(fingerprint));
    const bytes = messages.reduce(
      (sum, message) => sum + MESSAGE_BYTES + message.bytes + message.place.cursors.length * RECIPIENT_BYTES,
      0,
    );
    this.bytes += bytes;
    this.rows += messages.reduce((sum, message) => sum + rowsOf(message), 0);
    this.#windows.push({ origin, logSize, record, answers, messages, bytes });
  }

  #take({ conversation, content, senderUserId }: MessageRecord, place: StoredMessage): WaitingMessage {
    if (conversation !== null) this.#conversations.add(idKey(conversation));
    const bytes = content === null ? 0 : partsBytes(content.parts);
    const recipients = content?.recipients ?? [];
    const message: WaitingMessage = { senderUserId, recipients, bytes, place, keptBy: [], isReached: false };
    for (const [i, cursor] of place.cursors.entries()) this.#boxOf(recipients[i]!).set(cursor, message);
    if (content !== null) this.expiresAt = Math.min(this.expiresAt, content.expiresAt);
    return message;
  }

  /** @returns the cursors that are not of these windows, or were acknowledged before */
  acknowledge(deviceId: number, cursors: readonly number[], userId: number): number[] {
    const box = this.#boxes.get(deviceId);
    if (box === undefined) return [...cursors];
    this.#keepers.set(deviceId, userId);
    return cursors.filter((cursor) => {
      const message = box.get(cursor);
      if (message === undefined) return true;
      box.delete(cursor);
      message.keptBy.push(deviceId);
      this.rows--;
      if (message.senderUserId !== userId) message.isReached = true;
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
    const known = this.#windows.find((window) => window.origin === origin && window.logSize === logSize);
    if (known === undefined) return null;
    const [ours, theirs] = [decodeWindow(known.record).window, wanted].map(({ batches }) =>
      batches.flatMap(({ messages }) => messages),
    );
    for (const [i, { index, statementHash }] of theirs!.entries())
      if (ours![i]?.index !== index || !equal(ours![i].statementHash, statementHash))
        throw new ChatError('LOG_CORRUPT', `the log and the database disagree at entry ${index}`, { field: 'index' });
    return known.answers;
  }

  /** The first of them, as far as one transaction should go and up to where another log begins. Null: there is none. */
  first(): Leaving | null {
    const origin = this.#windows[0]?.origin;
    if (origin === undefined) return null;
    let [rows, bytes] = [0, 0];
    const end = this.#windows.findIndex((window) => {
      const isFull = rows >= MAX_ROWS || bytes >= MAX_BYTES;
      bytes += window.bytes;
      rows += window.messages.reduce((sum, message) => sum + rowsOf(message), 0);
      return isFull || window.origin !== origin;
    });
    const windows = end < 0 ? this.#windows : this.#windows.slice(0, end);
    return {
      origin,
      logSize: windows.at(-1)!.logSize,
      records: windows.map(({ record }) => record),
      said: encodeSaid(windows.flatMap((window) => window.messages)),
    };
  }

  /** What devices have acknowledged of the first of them that are of this log: nothing, perhaps, that the database was not told with these. */
  keptOf(origin: string, size: number): Acknowledgement[] {
    const cursors = new Map<number, number[]>();
    for (const { messages } of this.#windows.slice(0, this.#count(origin, size)))
      for (const { recipients, place, keptBy } of messages)
        for (const deviceId of keptBy) {
          const cursor = place.cursors[recipients.indexOf(deviceId)]!;
          cursors.set(deviceId, [...(cursors.get(deviceId) ?? []), cursor]);
        }
    return [...cursors].map(([deviceId, all]) => ({ deviceId, cursors: all, userId: this.#keepers.get(deviceId)! }));
  }

  /** The first of them that are of this log, as far as the database has them: what is acknowledged of them from now on is said to it. */
  forget(origin: string, size: number): void {
    for (const { bytes, messages } of this.#windows.splice(0, this.#count(origin, size))) {
      this.bytes -= bytes;
      for (const message of messages) {
        this.rows -= rowsOf(message);
        for (const [i, cursor] of message.place.cursors.entries())
          this.#boxes.get(message.recipients[i]!)?.delete(cursor);
      }
    }
  }

  /** Of how many windows, from the first on, this log has them up to this size. */
  #count(origin: string, size: number): number {
    const left = this.#windows.findIndex((window) => window.origin !== origin || window.logSize > size);
    return left < 0 ? this.#windows.length : left;
  }

  #boxOf(deviceId: number): Map<number, WaitingMessage> {
    let box = this.#boxes.get(deviceId);
    if (box === undefined) this.#boxes.set(deviceId, (box = new Map()));
    return box;
  }
}

const rowsOf = ({ place, keptBy }: WaitingMessage): number => 1 + place.cursors.length - keptBy.length;

const countersOf = ({ fingerprint, session, firstCtr }: BatchRecord): string =>
  `${idKey(fingerprint)} ${idKey(session)} ${firstCtr}`;
