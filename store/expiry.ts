/** Giving up on what has waited too long: it leaves the queues, and the sender is told, unless it has reached whom it was for. */
import type { Hash } from '../base/bytes.ts';
import type { QueuedExpiry } from './contract/queue.ts';
import { conversationsOf } from './conversations.ts';
import { decodeTargets, type QueueTarget } from './entry.ts';
import { Mailboxes } from './mailbox.ts';
import { first, run, select, type Operation, type Row } from './operation.ts';
import { blob, blobOrNull, integer, text } from './row.ts';

/** What became of a message: `messages.reached`. Of a commit, and of what is not threaded, nobody is told anything. */
export const REACHED = { nobody: 0, recipient: 1, expired: 2, nobodyAsks: 3 } as const;

const HELD_MESSAGES =
  'SELECT entry, conversation_id, sender_user_id, waiting, reached, expires_at, statement_hash, targets FROM messages ' +
  'WHERE entry IN (?...) ORDER BY entry FOR UPDATE';

export function* nextExpiry(): Operation<number | null> {
  const row = yield* first('SELECT expires_at FROM expiries ORDER BY expires_at LIMIT 1');
  return row && integer(row, 'expires_at');
}

export function* expire(now: number, maxMessages: number): Operation<QueuedExpiry[]> {
  const due = yield* select(
    'SELECT e.entry, m.sender_user_id, m.targets FROM expiries e JOIN messages m ON m.entry = e.entry ' +
      'WHERE e.expires_at <= ? ORDER BY e.expires_at, e.entry LIMIT ?',
    now,
    maxMessages,
  );
  const devices = yield* activeDevices([...new Set(due.map((row) => integer(row, 'sender_user_id')))], now);
  const mailboxes = yield* Mailboxes.hold([
    ...[...devices.values()].flat(),
    ...due.flatMap(targetsOf).map((target) => target.deviceId),
  ]);
  const rows = yield* select(HELD_MESSAGES, entriesOf(due));
  yield* removeFromQueues(mailboxes, rows);
  const entries = entriesOf(rows);
  yield* run('DELETE FROM contents WHERE entry IN (?...)', entries);
  yield* run('UPDATE messages SET waiting = 0 WHERE entry IN (?...)', entries);
  yield* forgetExpiry(rows);

  const failed = rows.filter((row) => row['reached'] === REACHED.nobody);
  // So that of two who expire at the same time only one tells the sender.
  yield* run('UPDATE messages SET reached = 2 WHERE entry IN (?...)', entriesOf(failed));
  const others = yield* otherMembers(failed);
  const names = yield* conversationsOf(failed);
  const expiries = failed.flatMap((row) => {
    const person = others.get(`${integer(row, 'conversation_id')} ${senderOf(row)}`);
    const conversation = names.get(integer(row, 'conversation_id'));
    if (!person || !conversation) return [];
    return (devices.get(senderOf(row)) ?? []).map((deviceId) => {
      const { cursor } = mailboxes.addExpiry(deviceId, integer(row, 'entry'), person.userId, now);
      const message = blob<Hash>(row, 'statement_hash');
      return { deviceId, cursor, conversation, message, by: person.username, at: now };
    });
  });
  yield* mailboxes.write();
  return expiries;
}

export const entriesOf = (rows: readonly Row[]): number[] => rows.map((row) => integer(row, 'entry'));
const senderOf = (row: Row): number => integer(row, 'sender_user_id');
const targetsOf = (row: Row): QueueTarget[] => decodeTargets(blobOrNull(row, 'targets') ?? new Uint8Array());

function* removeFromQueues(mailboxes: Mailboxes, messages: readonly Row[]): Operation<void> {
  const cursors = new Map<number, number[]>();
  for (const { deviceId, cursor } of messages.filter((row) => row['waiting'] !== 0).flatMap(targetsOf))
    cursors.set(deviceId, [...(cursors.get(deviceId) ?? []), cursor]);
  for (const [deviceId, wanted] of cursors) {
    const rows = yield* select(
      'SELECT cursor_no, bytes FROM queue WHERE device_id = ? AND cursor_no IN (?...)',
      deviceId,
      wanted,
    );
    for (const row of rows) mailboxes.removed(deviceId, integer(row, 'bytes'));
    yield* run('DELETE FROM queue WHERE device_id = ? AND cursor_no IN (?...)', deviceId, wanted);
  }
}

/** Nobody is to be told any more when the time of these is over. */
export function* forgetExpiry(messages: readonly Row[]): Operation<void> {
  const byTime = new Map<number, number[]>();
  for (const row of messages) {
    if (row['expires_at'] === null) continue;
    const at = integer(row, 'expires_at');
    const entries = byTime.get(at);
    if (entries) entries.push(integer(row, 'entry'));
    else byTime.set(at, [integer(row, 'entry')]);
  }
  for (const [at, entries] of byTime)
    yield* run('DELETE FROM expiries WHERE expires_at = ? AND entry IN (?...)', at, entries);
}

/** Devices that are neither revoked nor expired, by user. */
function* activeDevices(userIds: readonly number[], now: number): Operation<Map<number, number[]>> {
  const rows = yield* select(
    'SELECT id, user_id FROM devices WHERE user_id IN (?...) AND revoked_at IS NULL AND not_after >= ? ORDER BY id',
    userIds,
    now,
  );
  const devices = new Map<number, number[]>();
  for (const row of rows) {
    const userId = integer(row, 'user_id');
    devices.set(userId, [...(devices.get(userId) ?? []), integer(row, 'id')]);
  }
  return devices;
}

interface Person {
  readonly userId: number;
  readonly username: string;
}

/** Whom a message is for, by `conversation_id sender_user_id`: the other member, or in a room nobody in particular but the sender. */
function* otherMembers(messages: readonly Row[]): Operation<Map<string, Person>> {
  const rows = yield* select(
    'SELECT c.id, c.user_low, c.user_high, a.username AS low_name, b.username AS high_name FROM conversations c ' +
      'JOIN users a ON a.id = c.user_low JOIN users b ON b.id = c.user_high WHERE c.id IN (?...)',
    [...new Set(messages.map((row) => integer(row, 'conversation_id')))],
  );
  const others = new Map<string, Person>();
  for (const row of rows) {
    const low = { userId: integer(row, 'user_low'), username: text(row, 'low_name') };
    const high = { userId: integer(row, 'user_high'), username: text(row, 'high_name') };
    others.set(`${integer(row, 'id')} ${low.userId}`, high);
    others.set(`${integer(row, 'id')} ${high.userId}`, low);
  }
  const senders = yield* select('SELECT id, username FROM users WHERE id IN (?...)', [
    ...new Set(messages.map((row) => integer(row, 'sender_user_id'))),
  ]);
  const names = new Map(senders.map((row) => [integer(row, 'id'), text(row, 'username')]));
  for (const row of messages) {
    const userId = integer(row, 'sender_user_id');
    const key = `${integer(row, 'conversation_id')} ${userId}`;
    if (!others.has(key)) others.set(key, { userId, username: names.get(userId) as string });
  }
  return others;
}
