/**
 * Windows on their way from the journal to the database: the records as they stand there, and beside them what has been said of their messages
 * meanwhile, the places that were given out and who keeps what. Bytes, for a thread that gets an object for each message costs more than
 * what it does with it.
 */
import { ChatError } from '../base/errors.ts';
import { decodeWindow } from './journal-record.ts';
import type { Operation } from './operation.ts';
import type { MessageRecord, StoredMessage, WindowRecord } from './contract/log.ts';
import { commitWindow } from './window.ts';

export interface Said {
  /** what its sender and its recipients were told */
  readonly place: StoredMessage;
  /** devices that have acknowledged it */
  readonly keptBy: readonly number[];
  /** one of them is not its sender's own */
  readonly isReached: boolean;
}

/** Of each message, in order: seq, isReached, number of cursors, cursors, number of devices, devices. Numbers as this machine has them. */
export function encodeSaid(messages: readonly Said[]): Uint8Array {
  const numbers = new Float64Array(
    messages.reduce((sum, { place, keptBy }) => sum + 4 + place.cursors.length + keptBy.length, 0),
  );
  let at = 0;
  for (const { place, keptBy, isReached } of messages) {
    numbers[at++] = place.seq;
    numbers[at++] = isReached ? 1 : 0;
    numbers[at++] = place.cursors.length;
    for (const cursor of place.cursors) numbers[at++] = cursor;
    numbers[at++] = keptBy.length;
    for (const device of keptBy) numbers[at++] = device;
  }
  return new Uint8Array(numbers.buffer);
}

class SaidReader {
  readonly #numbers: Float64Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#numbers = new Float64Array(new Uint8Array(bytes).buffer); // a copy, for these may begin anywhere in a buffer
  }

  next(): Said {
    const seq = this.#number();
    const isReached = this.#number() === 1;
    return { place: { seq, cursors: this.#list() }, isReached, keptBy: this.#list() };
  }

  #number(): number {
    return this.#numbers[this.#at++]!;
  }
  #list(): number[] {
    const list: number[] = [];
    for (let count = this.#number(); count > 0; count--) list.push(this.#number());
    return list;
  }
}

/** See Store.commitRecords(). */
export function* commitRecords(records: readonly Uint8Array[], said: Uint8Array): Operation<void> {
  const reader = new SaidReader(said);
  const windows = records.map((record) => decodeWindow(record).window);
  const places: StoredMessage[] = [];
  const withSaid = (message: MessageRecord): MessageRecord => {
    const { place, keptBy, isReached } = reader.next();
    places.push(place);
    const { content } = message;
    return content === null || keptBy.length === 0
      ? message
      : { ...message, content: { ...content, keptBy, isReached } };
  };
  const last = windows.at(-1)!;
  const window: WindowRecord = {
    origin: last.origin,
    logSize: last.logSize,
    batches: windows.flatMap(({ batches }) =>
      batches.map(({ batch, messages }) => ({ batch, messages: messages.map(withSaid) })),
    ),
    certificates: windows.flatMap(({ certificates }) => certificates),
  };
  const given = (yield* commitWindow(window)).flat();
  if (!given.every((place, i) => isSame(place, places[i]!)))
    throw new ChatError('STORE_FAILED', 'the database gave other places than were told: somebody else writes to it', {
      sub: 'places',
    });
}

const isSame = (a: StoredMessage, b: StoredMessage): boolean =>
  a.seq === b.seq && a.cursors.length === b.cursors.length && a.cursors.every((cursor, i) => cursor === b.cursors[i]);
