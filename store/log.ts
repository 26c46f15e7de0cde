/** What the database knows of the logs: their sizes, batches and lineages. */
import { utf8, view, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../base/bytes.ts';
import { entryOf, indexOf } from './entry.ts';
import { first, select, type Operation, type Row } from './operation.ts';
import { blob, integer } from './row.ts';
import type {
  ConversationLineage,
  IncompleteMessage,
  SessionEnd,
  SessionLineage,
  StoredBatch,
} from './contract/log.ts';

const NO_HASH = new Uint8Array(32) as Hash;

export function* logSize(origin: string): Operation<number> {
  const row = yield* first('SELECT size FROM logs WHERE origin = ?', utf8(origin));
  return row ? integer(row, 'size') : 0;
}

export function* timesAfter(origin: string, index: number): Operation<number> {
  const log = yield* first('SELECT id FROM logs WHERE origin = ?', utf8(origin));
  if (!log) return 0;
  const id = integer(log, 'id');
  const row = yield* first(
    'SELECT COUNT(DISTINCT server_time) AS times FROM batches WHERE entry BETWEEN ? AND ?',
    entryOf(id, index),
    entryOf(id + 1, 0) - 1,
  );
  return row ? integer(row, 'times') : 0;
}

export function* incomplete(origin: string, from: number): Operation<IncompleteMessage[]> {
  const log = yield* first('SELECT id FROM logs WHERE origin = ?', utf8(origin));
  if (!log) return [];
  const id = integer(log, 'id');
  const rows = yield* select(
    'SELECT m.entry, c.conversation FROM messages m JOIN conversations c ON c.id = m.conversation_id ' +
      'WHERE m.entry BETWEEN ? AND ? AND m.targets IS NULL AND m.seq > 0 ORDER BY m.entry',
    entryOf(id, from),
    entryOf(id + 1, 0) - 1,
  );
  return rows.map((row) => ({ conversation: blob(row, 'conversation'), index: indexOf(integer(row, 'entry')) }));
}

export function* isCertificateLogged(origin: string, fingerprint: Fingerprint): Operation<boolean> {
  const row = yield* first(
    'SELECT c.window_end FROM log_certificates c JOIN logs l ON l.id = c.log_id WHERE l.origin = ? AND c.fingerprint = ?',
    utf8(origin),
    fingerprint,
  );
  return row !== null;
}

const BATCH =
  'SELECT b.entry, b.first_ctr, b.message_count, b.server_time, b.batch_hash, b.sigb, s.fingerprint, s.session, l.id AS log_id, l.origin ' +
  'FROM batches b JOIN sessions s ON s.id = b.session_id JOIN logs l ON l.id = b.entry >> 40 ';

export function* findBatch(
  fingerprint: Fingerprint,
  session: SessionId,
  firstCtr: number,
): Operation<StoredBatch | null> {
  const row = yield* first(
    BATCH + 'WHERE s.session = ? AND s.fingerprint = ? AND b.first_ctr = ?',
    session,
    fingerprint,
    firstCtr,
  );
  return row && (yield* batchOf(row));
}

export function* batchAt(origin: string, firstIndex: number): Operation<StoredBatch | null> {
  const log = yield* first('SELECT id FROM logs WHERE origin = ?', utf8(origin));
  const row = log && (yield* first(BATCH + 'WHERE b.entry = ?', entryOf(integer(log, 'id'), firstIndex)));
  return row && (yield* batchOf(row));
}

function* batchOf(row: Row): Operation<StoredBatch> {
  const entry = integer(row, 'entry');
  const count = integer(row, 'message_count');
  // Its messages stand right behind it.
  const messages = yield* select(
    'SELECT entry, seq, statement_hash, targets IS NOT NULL AS has_content FROM messages WHERE entry BETWEEN ? AND ? ORDER BY entry',
    entry + 1,
    entry + count,
  );
  return {
    origin: view(blob(row, 'origin')).toString('utf8'),
    firstIndex: indexOf(entry),
    fingerprint: blob(row, 'fingerprint'),
    session: blob(row, 'session'),
    firstCtr: integer(row, 'first_ctr'),
    count,
    sigb: blob(row, 'sigb'),
    batchHash: blob(row, 'batch_hash'),
    serverTime: integer(row, 'server_time'),
    messages: messages.map((message) => ({
      index: indexOf(integer(message, 'entry')),
      seq: integer(message, 'seq'),
      statementHash: blob(message, 'statement_hash'),
      hasContent: message['has_content'] === 1,
    })),
  };
}

export function* sessionLineage(fingerprint: Fingerprint, session: SessionId): Operation<SessionLineage> {
  const row = yield* first(
    'SELECT b.first_ctr, b.message_count, b.batch_hash, s.is_closed FROM sessions s JOIN batches b ON b.session_id = s.id ' +
      'WHERE s.session = ? AND s.fingerprint = ? ORDER BY b.first_ctr DESC LIMIT 1',
    session,
    fingerprint,
  );
  if (!row) return { lastCtr: 0, lastBatchHash: NO_HASH, isClosed: false };
  return {
    lastCtr: integer(row, 'first_ctr') + integer(row, 'message_count') - 1,
    lastBatchHash: blob(row, 'batch_hash'),
    isClosed: row['is_closed'] === 1,
  };
}

export function* sessionEnds(session: SessionId): Operation<SessionEnd[]> {
  const rows = yield* select('SELECT fingerprint FROM sessions WHERE session = ? ORDER BY id', session);
  const ends: SessionEnd[] = [];
  for (const row of rows) {
    const fingerprint = blob<Fingerprint>(row, 'fingerprint');
    const { lastCtr, lastBatchHash } = yield* sessionLineage(fingerprint, session);
    if (lastCtr > 0) ends.push({ fingerprint, session, lastCtr, lastBatch: lastBatchHash });
  }
  return ends;
}

export function* conversationLineage(
  fingerprint: Fingerprint,
  session: SessionId,
  conversation: ConversationId,
): Operation<ConversationLineage> {
  const head = yield* first(
    'SELECT h.statement_hash, n.conv_ctr FROM conversations c JOIN lineage_heads h ON h.conversation_id = c.id ' +
      'LEFT JOIN sessions s ON s.session = ? AND s.fingerprint = h.fingerprint ' +
      'LEFT JOIN lineage_counters n ON n.session_id = s.id AND n.conversation_id = c.id ' +
      'WHERE c.conversation = ? AND h.fingerprint = ?',
    session,
    conversation,
    fingerprint,
  );
  if (!head) return { convCtr: 0, lastStatementHash: NO_HASH };
  return {
    convCtr: head['conv_ctr'] === null ? 0 : integer(head, 'conv_ctr'),
    lastStatementHash: blob(head, 'statement_hash'),
  };
}
