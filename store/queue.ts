/** What waits for devices: reading it, and how much it is. */
import { view, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { conversationsOf } from './conversations.ts';
import { decodeParts, indexOf, logOf } from './entry.ts';
import { KIND } from './mailbox.ts';
import { first, select, type Operation, type Row } from './operation.ts';
import { blob, integer, integerOrNull, text } from './row.ts';
import type { QueueItem, QueuePage } from './contract/queue.ts';

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
