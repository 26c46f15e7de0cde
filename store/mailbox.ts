/**
 * Handing out cursors. A writer takes the mailboxes it needs all at once and by ascending device, changes them in memory, and writes
 * them back: cursors of one device become visible in their order (a reader that has seen n will not find a new row below n), and two
 * writers never wait for each other in a circle.
 */
import { ChatError } from '../base/errors.ts';
import type { QueueTarget } from './entry.ts';
import { insert, select, type Operation, type Row, type Scalar, type Target } from './operation.ts';
import { integer } from './row.ts';

export const KIND = { message: 0, expired: 2 } as const;

const MAILBOXES: Target = {
  table: 'mailboxes',
  columns: ['device_id', 'last_cursor', 'bytes', 'items'],
  key: ['device_id'],
  onConflict: ['last_cursor', 'bytes', 'items'],
};
const QUEUE: Target = {
  table: 'queue',
  columns: ['device_id', 'cursor_no', 'kind', 'entry', 'bytes', 'by_user_id', 'at_ms'],
  key: ['device_id', 'cursor_no'],
  onConflict: 'fail',
};

const HOLD =
  'SELECT device_id, last_cursor, bytes, items FROM mailboxes WHERE device_id IN (?...) ORDER BY device_id FOR UPDATE';
/** Devices in one statement: a window may be for more than either dialect takes values (SQLite 32,766, MySQL 65,535). */
const MAX_LISTED = 4096;

interface Box {
  lastCursor: number;
  bytes: number;
  items: number;
}

export class Mailboxes {
  readonly #boxes: Map<number, Box>;
  readonly #rows: Scalar[][] = [];

  constructor(boxes: Map<number, Box>) {
    this.#boxes = boxes;
  }

  /** Holds the mailboxes of these devices until the transaction ends. @throws NOT_FOUND/device */
  static *hold(deviceIds: Iterable<number>): Operation<Mailboxes> {
    const ids = [...new Set(deviceIds)].sort((a, b) => a - b);
    const rows: Row[] = [];
    for (let from = 0; from < ids.length; from += MAX_LISTED)
      rows.push(...(yield* select(HOLD, ids.slice(from, from + MAX_LISTED))));
    if (rows.length !== ids.length) throw new ChatError('NOT_FOUND', 'no device has this id', { field: 'device' });
    return new Mailboxes(
      new Map(
        rows.map((row) => [
          integer(row, 'device_id'),
          { lastCursor: integer(row, 'last_cursor'), bytes: integer(row, 'bytes'), items: integer(row, 'items') },
        ]),
      ),
    );
  }

  addMessage(deviceId: number, entry: number, bytes: number): QueueTarget {
    return this.#add(deviceId, [KIND.message, entry, bytes, null, null], bytes);
  }

  /** The next cursor, for what the device keeps already. */
  skip(deviceId: number): QueueTarget {
    const box = this.#box(deviceId);
    return { deviceId, cursor: ++box.lastCursor };
  }

  /** @param byUserId whom the message did not reach */
  addExpiry(deviceId: number, entry: number, byUserId: number, at: number): QueueTarget {
    return this.#add(deviceId, [KIND.expired, entry, 0, byUserId, at], 0);
  }

  #add(deviceId: number, rest: readonly Scalar[], bytes: number): QueueTarget {
    const box = this.#box(deviceId);
    box.lastCursor++;
    box.items++;
    box.bytes += bytes;
    this.#rows.push([deviceId, box.lastCursor, ...rest]);
    return { deviceId, cursor: box.lastCursor };
  }

  /** Counts a row that the caller deletes. */
  removed(deviceId: number, bytes: number): void {
    const box = this.#box(deviceId);
    box.items--;
    box.bytes -= bytes;
  }

  #box(deviceId: number): Box {
    const box = this.#boxes.get(deviceId);
    if (!box) throw new ChatError('INTERNAL', 'a mailbox is changed that is not held', { field: 'device' });
    return box;
  }

  /** Once, at the end. */
  *write(): Operation<void> {
    yield* insert(QUEUE, this.#rows);
    yield* insert(
      MAILBOXES,
      [...this.#boxes].map(([deviceId, { lastCursor, bytes, items }]) => [deviceId, lastCursor, bytes, items]),
    );
  }
}
