/** What waits for devices: reading it, keeping it, giving up on it. */
import { view, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { decodeParts, decodeTargets, indexOf, logOf, type QueueTarget } from './entry.ts';
import { KIND, Mailboxes } from './mailbox.ts';
import { first, run, select, type Operation, type Row } from './operation.ts';
import { blob, blobOrNull, integer, integerOrNull, text } from './row.ts';
import type { QueuedExpiry, QueueItem, QueuePage } from './contract/queue.ts';

/** What became of a message: `messages.reached`. Of a commit, and of what is not threaded, nobody is told anything. */
export const REACHED = { nobody: 0, recipient: 1, expired: 2, nobodyAsks: 3 } as const;

export function* backlog(deviceId: number, after: number, maxItems: number, maxBytes: number): Operation<QueuePage> {
  const { last, isCut } = yield* lastWithin(deviceId, after, maxItems, maxBytes);
  const rows = yield* select(
    'SELECT q.cursor_no, q.kind, q.entry, m.batch_entry, m.conversation_id, m.seq, t.statement, t.parts, t.generation, t.epoch ' +
      'FROM queue q JOIN messages m ON m.entry = q.entry LEFT JOIN contents t ON q.kind = 0 AND t.entry = q.entry ' +
      'WHERE q.device_id = ? AND q.cursor_no > ? AND q.cursor_no <= ? ORDER BY q.cursor_no LIMIT ?',
    deviceId,
    after,
    last,
    maxItems,
  );
  // What many rows have in common is asked for once: a row costs as much as its columns.
  const conversations = yield* conversationsOf(rows);
  const origins = yield* originsOf(rows);
  const expiries = yield* expiriesOf(deviceId, rows);
  const items = rows.flatMap((row): QueueItem[] => {
    const cursor = integer(row, 'cursor_no');
    const conversation = conversations.get(integer(row, 'conversation_id'));
    const origin = origins.get(logOf(integer(row, 'entry')));
    if (conversation === undefined || origin === undefined)
      throw new ChatError('STORE_FAILED', 'the database has a message, and not its conversation or log');
    if (row['kind'] === KIND.message) return [messageOf(row, cursor, conversation, origin)];
    const expiry = expiries.get(cursor);
    return expiry === undefined ? [] : [{ kind: 'expired', cursor, conversation, ...expiry }]; // acknowledged in between
  });
  return { items, isWhole: !isCut && rows.length < maxItems };
}

/** The highest cursor to read up to, so that no more than `maxBytes` are read. Mostly the whole mailbox is smaller than that. */
function* lastWithin(
  deviceId: number,
  after: number,
  maxItems: number,
  maxBytes: number,
): Operation<{ last: number; isCut: boolean }> {
  const box = yield* first('SELECT last_cursor, bytes FROM mailboxes WHERE device_id = ?', deviceId);
  if (!box) return { last: after, isCut: false };
  if (integer(box, 'bytes') <= maxBytes) return { last: integer(box, 'last_cursor'), isCut: false };
  const row = yield* first(SIZES, maxBytes, deviceId, after, maxItems);
  if (row === null || row['newest'] === null) return { last: after, isCut: false };
  const newest = integer(row, 'newest');
  const last = integerOrNull(row, 'fitting') ?? integer(row, 'oldest');
  return { last, isCut: last !== newest || integer(row, 'items') === maxItems };
}

/** Of the next rows, so many at most: how many there are, and the cursor up to which they are no more than so many bytes. */
const SIZES =
  'SELECT COUNT(*) AS items, MIN(s.cursor_no) AS oldest, MAX(s.cursor_no) AS newest, ' +
  'MAX(CASE WHEN s.total <= ? THEN s.cursor_no END) AS fitting FROM (SELECT cursor_no, ' +
  'SUM(bytes) OVER (ORDER BY cursor_no) AS total FROM (SELECT cursor_no, bytes FROM queue ' +
  'WHERE device_id = ? AND cursor_no > ? ORDER BY cursor_no LIMIT ?) q) s';

const messageOf = (row: Row, cursor: number, conversation: ConversationId, origin: string): QueueItem => ({
  kind: 'message',
  cursor,
  origin,
  batchFirstIndex: indexOf(integer(row, 'batch_entry')),
  index: indexOf(integer(row, 'entry')),
  conversation,
  seq: integer(row, 'seq'),
  statement: blob(row, 'statement'),
  parts: decodeParts(blob(row, 'parts')),
  group: row['generation'] === 0 ? null : { generation: integer(row, 'generation'), epoch: integer(row, 'epoch') },
});

/** By the number of the log. */
function* originsOf(rows: readonly Row[]): Operation<Map<number, string>> {
  const ids = [...new Set(rows.map((row) => logOf(integer(row, 'entry'))))];
  const logs = yield* select('SELECT id, origin FROM logs WHERE id IN (?...)', ids);
  return new Map(logs.map((row) => [integer(row, 'id'), view(blob(row, 'origin')).toString('utf8')]));
}

/** What else is to be said of messages that have expired, by cursor. */
function* expiriesOf(
  deviceId: number,
  rows: readonly Row[],
): Operation<Map<number, { message: Hash; by: string; at: number }>> {
  const cursors = rows.flatMap((row) => (row['kind'] === KIND.message ? [] : [integer(row, 'cursor_no')]));
  const found = yield* select(
    'SELECT q.cursor_no, q.at_ms, m.statement_hash, u.username FROM queue q JOIN messages m ON m.entry = q.entry ' +
      'JOIN users u ON u.id = q.by_user_id WHERE q.device_id = ? AND q.cursor_no IN (?...)',
    deviceId,
    cursors,
  );
  return new Map(
    found.map((row) => [
      integer(row, 'cursor_no'),
      { message: blob<Hash>(row, 'statement_hash'), by: text(row, 'username'), at: integer(row, 'at_ms') },
    ]),
  );
}

export function* queueUsages(deviceIds: readonly number[]): Operation<{ bytes: number; rows: number }[]> {
  const rows = yield* select('SELECT device_id, bytes, items FROM mailboxes WHERE device_id IN (?...)', deviceIds);
  const usages = new Map(
    rows.map((row) => [integer(row, 'device_id'), { bytes: integer(row, 'bytes'), rows: integer(row, 'items') }]),
  );
  return deviceIds.map((id) => usages.get(id) ?? { bytes: 0, rows: 0 });
}

export function* queueShares(deviceId: number): Operation<{ senderUserId: number; bytes: number; rows: number }[]> {
  const rows = yield* select(
    'SELECT m.sender_user_id, SUM(q.bytes) AS bytes, COUNT(*) AS items FROM queue q JOIN messages m ON m.entry = q.entry ' +
      'WHERE q.device_id = ? GROUP BY m.sender_user_id ORDER BY m.sender_user_id',
    deviceId,
  );
  return rows.map((row) => ({
    senderUserId: integer(row, 'sender_user_id'),
    bytes: Number(row['bytes']),
    rows: Number(row['items']),
  }));
}

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

/** A message that some of the devices have acknowledged. */
interface Acknowledged {
  readonly row: Row;
  /** devices that did so now */
  count: number;
  /** one of them is the first of a person whom it was meant for */
  isReached: boolean;
}

const senderOf = (row: Row): number => integer(row, 'sender_user_id');

const WAITING =
  'SELECT q.cursor_no, q.kind, q.entry, q.bytes, m.sender_user_id, m.waiting, m.reached, m.expires_at ' +
  'FROM queue q JOIN messages m ON m.entry = q.entry WHERE q.device_id = ? AND q.cursor_no IN (?...) ' +
  'ORDER BY q.cursor_no FOR UPDATE';

const entriesOf = (rows: readonly Row[]): number[] => rows.map((row) => integer(row, 'entry'));

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

function* forgetExpiry(messages: readonly Row[]): Operation<void> {
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

function* conversationsOf(messages: readonly Row[]): Operation<Map<number, ConversationId>> {
  const ids = [...new Set(messages.map((row) => integer(row, 'conversation_id')))];
  const names = yield* select('SELECT id, conversation FROM conversations WHERE id IN (?...)', ids);
  return new Map(names.map((row) => [integer(row, 'id'), blob<ConversationId>(row, 'conversation')]));
}
