/**
 * Applying what the log has committed: commitWindow and complete. The order in which rows are held is the same everywhere (log,
 * sequences, mailboxes, groups, messages), so that writers wait and do not deadlock.
 */
import { equal, utf8 } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import { useBlobs } from './blobs.ts';
import { Deliveries } from './deliveries.ts';
import { decodeTargets, entryOf } from './entry.ts';
import { completeCommit, Groups } from './groups.ts';
import {
  Conflict,
  first,
  insert,
  run,
  select,
  type Operation,
  type Row,
  type Scalar,
  type Target,
} from './operation.ts';
import { REACHED } from './expiry.ts';
import { blob, blobOrNull, integer } from './row.ts';
import type { MessageRecord, StoredMessage, WindowRecord } from './contract/log.ts';
import { Threads } from './threads.ts';

const LOGS: Target = { table: 'logs', columns: ['origin', 'size'], key: ['id'], onConflict: 'fail' };
const CERTIFICATES: Target = {
  table: 'log_certificates',
  columns: ['log_id', 'fingerprint', 'window_end'],
  key: ['log_id', 'fingerprint'],
  onConflict: 'keep',
};
const SESSIONS: Target = {
  table: 'sessions',
  columns: ['fingerprint', 'session'],
  key: ['fingerprint', 'session'],
  onConflict: 'keep',
};
const BATCHES: Target = {
  table: 'batches',
  columns: ['entry', 'session_id', 'first_ctr', 'message_count', 'server_time', 'batch_hash', 'sigb'],
  key: ['entry'],
  onConflict: 'fail',
};
const MESSAGES: Target = {
  table: 'messages',
  columns: [
    'entry',
    'batch_entry',
    'session_id',
    'conversation_id',
    'seq',
    'conv_ctr',
    'sender_user_id',
    'sender_device_id',
    'waiting',
    'reached',
    'expires_at',
    'statement_hash',
    'previous_hash',
    'targets',
  ],
  key: ['entry'],
  onConflict: 'fail',
};
const COUNTERS: Target = {
  table: 'lineage_counters',
  columns: ['session_id', 'conversation_id', 'conv_ctr'],
  key: ['session_id', 'conversation_id'],
  onConflict: ['conv_ctr'],
};

const LOG = 'SELECT id, size FROM logs WHERE origin = ? FOR UPDATE';

export function* commitWindow(window: WindowRecord): Operation<StoredMessage[][]> {
  const { origin, logSize, batches, certificates } = window;
  const log = yield* holdLog(origin);
  if (logSize <= log.size) return yield* storedAnswers(log.id, window);

  const sessions = yield* sessionIds(batches.map(({ batch }) => batch));
  const messages = batches.flatMap((batch) => batch.messages);
  const threads = yield* Threads.hold(messages);
  const deliveries = yield* Deliveries.hold(messages.flatMap((message) => message.content?.recipients ?? []));
  const commits = messages.filter((message) => message.isCommit);
  const groups = yield* Groups.hold(commits.map((message) => threads.idOf(message)));

  const rows: Scalar[][] = [];
  const batchRows: Scalar[][] = [];
  const counters = new Map<string, Scalar[]>();
  const closed: number[] = [];
  const answers = batches.map(({ batch, messages }) => {
    const batchEntry = entryOf(log.id, batch.firstIndex);
    const sessionId = sessions.get(sessionKey(batch)) as number;
    const { firstCtr, count, serverTime, batchHash, sigb, fingerprint } = batch;
    batchRows.push([batchEntry, sessionId, firstCtr, count, serverTime, batchHash, sigb]);
    return messages.map((message) => {
      const entry = entryOf(log.id, message.index);
      const place = threads.append(message, fingerprint);
      const { targets, columns } = deliveries.deliver(entry, message);
      const asked = columns.isReached ? REACHED.recipient : REACHED.nobody;
      if (message.isCommit) groups.commit(place.id, entry, message.content);
      if (message.isThreaded) counters.set(`${sessionId} ${place.id}`, [sessionId, place.id, message.convCtr]);
      if (message.isClose) closed.push(sessionId);
      rows.push([
        entry,
        batchEntry,
        sessionId,
        place.id,
        place.seq,
        message.convCtr,
        message.senderUserId,
        message.senderDeviceId,
        columns.waiting,
        message.isCommit || !message.isThreaded ? REACHED.nobodyAsks : asked,
        columns.expiresAt,
        message.statementHash,
        place.previous,
        columns.targets,
      ]);
      return { seq: place.seq, cursors: targets.map((target) => target.cursor) };
    });
  });

  try {
    yield* insert(BATCHES, batchRows);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    throw new ChatError('COUNTER_REUSED', 'a batch with these counters is in the log at another place', {
      field: 'batch',
    });
  }
  yield* insert(MESSAGES, rows);
  yield* deliveries.write();
  yield* threads.write();
  yield* groups.write();
  const lacking = new Set<MessageRecord>();
  for (const message of commits) if (!(yield* useBlobs(entryOf(log.id, message.index), message))) lacking.add(message);
  yield* insert(COUNTERS, [...counters.values()]);
  yield* run('UPDATE sessions SET is_closed = 1 WHERE id IN (?...)', closed);
  yield* insert(
    CERTIFICATES,
    certificates.map((fingerprint) => [log.id, fingerprint, logSize]),
  );
  yield* run('UPDATE logs SET size = ? WHERE id = ?', logSize, log.id);
  return answers.map((batch, i) =>
    batch.map((answer, j) => (lacking.has(batches[i]!.messages[j]!) ? { ...answer, lacksBlob: true } : answer)),
  );
}

export function* complete(origin: string, messages: readonly MessageRecord[]): Operation<(StoredMessage | null)[]> {
  const log = yield* holdLog(origin);
  const entries = messages.map((message) => entryOf(log.id, message.index));
  const stored = yield* messageRows(entries);
  const deliveries = yield* Deliveries.hold(
    messages.flatMap((message, i) =>
      stored.get(entries[i] as number)?.['targets'] === null ? (message.content?.recipients ?? []) : [],
    ),
  );
  const answers: (StoredMessage | null)[] = [];
  for (const [i, message] of messages.entries()) {
    const entry = entries[i] as number;
    const row = sameMessage(stored.get(entry), message);
    // Its cursors are those of the recipients that it had then; here it may have others.
    if (blobOrNull(row, 'targets') !== null || !message.content) {
      answers.push(null);
      continue;
    }
    const { targets, columns } = deliveries.deliver(entry, message);
    const { waiting, expiresAt, targets: bytes } = columns;
    yield* run(
      'UPDATE messages SET waiting = ?, expires_at = ?, targets = ? WHERE entry = ?',
      waiting,
      expiresAt,
      bytes,
      entry,
    );
    let isWhole = true;
    if (message.isCommit) {
      yield* completeCommit(entry, message.content);
      isWhole = yield* useBlobs(entry, message);
    }
    answers.push({
      seq: integer(row, 'seq'),
      cursors: targets.map((target) => target.cursor),
      ...(!isWhole && { lacksBlob: true as const }),
    });
  }
  yield* deliveries.write();
  return answers;
}

/** The window is in the database already: the answers that it got. @throws LOG_CORRUPT when the database holds something else there */
function* storedAnswers(logId: number, { batches }: WindowRecord): Operation<StoredMessage[][]> {
  const stored = yield* messageRows(
    batches.flatMap(({ messages }) => messages.map(({ index }) => entryOf(logId, index))),
  );
  return batches.map(({ messages }) =>
    messages.map((message) => {
      const row = sameMessage(stored.get(entryOf(logId, message.index)), message);
      const targets = blobOrNull(row, 'targets');
      return { seq: integer(row, 'seq'), cursors: targets ? decodeTargets(targets).map(({ cursor }) => cursor) : [] };
    }),
  );
}

function* messageRows(entries: readonly number[]): Operation<Map<number, Row>> {
  const rows = yield* select(
    'SELECT entry, seq, statement_hash, targets FROM messages WHERE entry IN (?...) ORDER BY entry FOR UPDATE',
    entries,
  );
  return new Map(rows.map((row) => [integer(row, 'entry'), row]));
}

function sameMessage(row: Row | undefined, { index, statementHash }: MessageRecord): Row {
  if (row && equal(blob(row, 'statement_hash'), statementHash)) return row;
  throw new ChatError('LOG_CORRUPT', `the log and the database disagree at entry ${index}`, { field: 'index' });
}

function* holdLog(origin: string): Operation<{ id: number; size: number }> {
  const key = utf8(origin);
  let row = yield* first(LOG, key);
  if (!row) {
    try {
      yield* insert(LOGS, [[key, 0]]);
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
    }
    row = (yield* first(LOG, key)) as Row;
  }
  return { id: integer(row, 'id'), size: integer(row, 'size') };
}

type Signer = WindowRecord['batches'][number]['batch'];
const sessionKey = ({ fingerprint, session }: Pick<Signer, 'fingerprint' | 'session'>): string =>
  idKey(fingerprint) + idKey(session);

/** The numbers of these sessions by `sessionKey`; new ones get one. */
function* sessionIds(signers: readonly Signer[]): Operation<Map<string, number>> {
  const ids = new Map<string, number>();
  const unknown = new Map(signers.map((signer) => [sessionKey(signer), signer]));
  for (const attempt of ['read', 'insert and read']) {
    if (unknown.size === 0) break;
    const wanted = [...unknown.values()];
    if (attempt !== 'read')
      yield* insert(
        SESSIONS,
        wanted.map(({ fingerprint, session }) => [fingerprint, session]),
      );
    const rows = yield* select(
      'SELECT id, fingerprint, session FROM sessions WHERE session IN (?...)',
      wanted.map(({ session }) => session),
    );
    for (const row of rows) {
      const key = idKey(blob(row, 'fingerprint')) + idKey(blob(row, 'session'));
      if (unknown.delete(key)) ids.set(key, integer(row, 'id'));
    }
  }
  return ids;
}
