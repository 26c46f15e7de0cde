/** Devices say that they keep something: it leaves their queues, and a message that no queue has any more loses its content. */
import { entriesOf, forgetExpiry, REACHED } from './expiry.ts';
import { KIND, Mailboxes } from './mailbox.ts';
import { run, select, type Operation, type Row } from './operation.ts';
import { integer } from './row.ts';

export interface Acknowledgement {
  readonly deviceId: number;
  readonly cursors: readonly number[];
  readonly userId: number;
}

export function* acknowledge(deviceId: number, cursors: readonly number[], userId: number): Operation<void> {
  yield* acknowledgeAll([{ deviceId, cursors, userId }]);
}

/** What several devices, each once, say at the same time: most statements are made once for all of them. */
export function* acknowledgeAll(acks: readonly Acknowledgement[]): Operation<void> {
  const mailboxes = yield* Mailboxes.hold(acks.map(({ deviceId }) => deviceId));
  const messages = new Map<number, Acknowledged>();
  for (const { deviceId, cursors, userId } of acks) {
    const rows = yield* select(WAITING, deviceId, cursors);
    for (const row of rows) {
      mailboxes.removed(deviceId, integer(row, 'bytes'));
      if (row['kind'] !== KIND.message) continue;
      const entry = integer(row, 'entry');
      const message = messages.get(entry) ?? { row, count: 0, isReached: false };
      messages.set(entry, message);
      message.count++;
      message.isReached ||= row['reached'] === REACHED.nobody && row['sender_user_id'] !== userId;
    }
    const taken = rows.map((row) => integer(row, 'cursor_no'));
    yield* run('DELETE FROM queue WHERE device_id = ? AND cursor_no IN (?...)', deviceId, taken);
  }
  const all = [...messages.values()];
  for (const count of new Set(all.map((message) => message.count))) {
    const [fresh, known] = [true, false].map((isReached) =>
      entriesOf(all.filter((each) => each.count === count && each.isReached === isReached).map(({ row }) => row)),
    );
    yield* run('UPDATE messages SET waiting = waiting - ?, reached = 1 WHERE entry IN (?...)', count, fresh!);
    yield* run('UPDATE messages SET waiting = waiting - ? WHERE entry IN (?...)', count, known!);
  }
  const finished = all.filter(({ row, count }) => row['waiting'] === count);
  yield* run('DELETE FROM contents WHERE entry IN (?...)', entriesOf(finished.map(({ row }) => row)));
  // Until somebody is reached, the sender is still to be told when the time is over.
  const over = finished.filter(({ row, isReached }) => row['reached'] !== REACHED.nobody || isReached);
  yield* forgetExpiry(over.map(({ row }) => row));
  yield* mailboxes.write();
}

const WAITING =
  'SELECT q.cursor_no, q.kind, q.entry, q.bytes, m.sender_user_id, m.waiting, m.reached, m.expires_at ' +
  'FROM queue q JOIN messages m ON m.entry = q.entry WHERE q.device_id = ? AND q.cursor_no IN (?...) ' +
  'ORDER BY q.cursor_no FOR UPDATE';

/** A message that some of the devices have acknowledged. */
interface Acknowledged {
  readonly row: Row;
  /** devices that did so now */
  count: number;
  /** one of them is the first of a person whom it was meant for */
  isReached: boolean;
}
