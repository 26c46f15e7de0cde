/**
 * Applying what the log has committed: commitWindow and complete. The order in which rows are held is the same everywhere (log,
 * sequences, mailboxes, groups, messages), so that writers wait and do not deadlock.
 */
import { equal, utf8, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import { useBlobs } from './blobs.ts';
import { decodeTargets, encodeParts, encodeTargets, entryOf, partsBytes } from './entry.ts';
import { completeCommit, Groups } from './groups.ts';
import { Mailboxes } from './mailbox.ts';
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
import { REACHED } from './queue.ts';
import { blob, blobOrNull, integer } from './row.ts';
import type { MessageRecord, StoredMessage, WindowRecord } from './contract/log.ts';

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
const CONTENTS: Target = {
  table: 'contents',
  columns: ['entry', 'statement', 'parts', 'generation', 'epoch'],
  key: ['entry'],
  onConflict: 'fail',
};
const EXPIRIES: Target = {
  table: 'expiries',
  columns: ['expires_at', 'entry'],
  key: ['expires_at', 'entry'],
  onConflict: 'keep',
};
const SEQUENCES: Target = {
  table: 'sequences',
  columns: ['conversation_id', 'last_seq'],
  key: ['conversation_id'],
  onConflict: ['last_seq'],
};
const COUNTERS: Target = {
  table: 'lineage_counters',
  columns: ['session_id', 'conversation_id', 'conv_ctr'],
  key: ['session_id', 'conversation_id'],
  onConflict: ['conv_ctr'],
};
const HEADS: Target = {
  table: 'lineage_heads',
  columns: ['conversation_id', 'fingerprint', 'statement_hash'],
  key: ['conversation_id', 'fingerprint'],
  onConflict: ['statement_hash'],
};

const LOG = 'SELECT id, size FROM logs WHERE origin = ? FOR UPDATE';

export function* commitWindow(window: WindowRecord): Operation<StoredMessage[][]> {
  const { origin, logSize, batches, certificates } = window;
  const log = yield* holdLog(origin);
  if (logSize <= log.size) return yield* storedAnswers(log.id, window);

  const sessions = yield* sessionIds(batches.map(({ batch }) => batch));
  const messages = batches.flatMap((batch) => batch.messages);
  const conversations = yield* Conversations.hold(messages);
  const mailboxes = yield* Mailboxes.hold(messages.flatMap((message) => message.content?.recipients ?? []));
  const commits = messages.filter((message) => message.isCommit);
  const groups = yield* Groups.hold(commits.map((message) => conversations.idOf(message)));

  const rows: Rows = { messages: [], contents: [], expiries: [] };
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
      const place = conversations.append(message, fingerprint);
      const { targets, columns } = deliver(entry, message, mailboxes, rows);
      const asked = columns.isReached ? REACHED.recipient : REACHED.nobody;
      if (message.isCommit) groups.commit(place.id, entry, message.content);
      if (message.isThreaded) counters.set(`${sessionId} ${place.id}`, [sessionId, place.id, message.convCtr]);
      if (message.isClose) closed.push(sessionId);
      rows.messages.push([
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
  yield* insert(MESSAGES, rows.messages);
  yield* insert(CONTENTS, rows.contents);
  yield* insert(EXPIRIES, rows.expiries);
  yield* mailboxes.write();
  yield* conversations.write();
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
  const mailboxes = yield* Mailboxes.hold(
    messages.flatMap((message, i) =>
      stored.get(entries[i] as number)?.['targets'] === null ? (message.content?.recipients ?? []) : [],
    ),
  );
  const rows: Rows = { messages: [], contents: [], expiries: [] };
  const answers: (StoredMessage | null)[] = [];
  for (const [i, message] of messages.entries()) {
    const entry = entries[i] as number;
    const row = sameMessage(stored.get(entry), message);
    // Its cursors are those of the recipients that it had then; here it may have others.
    if (blobOrNull(row, 'targets') !== null || !message.content) {
      answers.push(null);
      continue;
    }
    const { targets, columns } = deliver(entry, message, mailboxes, rows);
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
  yield* insert(CONTENTS, rows.contents);
  yield* insert(EXPIRIES, rows.expiries);
  yield* mailboxes.write();
  return answers;
}

interface Rows {
  readonly messages: Scalar[][];
  readonly contents: Scalar[][];
  readonly expiries: Scalar[][];
}

/** Queues a message for those who do not keep it yet; answers what the message's row says of that. */
function deliver(entry: number, message: MessageRecord, mailboxes: Mailboxes, rows: Rows) {
  const { statement, content, isThreaded, isCommit } = message;
  if (!content) return { targets: [], columns: { waiting: 0, expiresAt: null, targets: null, isReached: false } };
  const { parts, recipients, expiresAt, group, keptBy = [], isReached = false } = content;
  const bytes = partsBytes(parts) + (content.blobs?.parts?.size ?? 0);
  const kept = new Set(keptBy);
  const targets = recipients.map((deviceId) =>
    kept.has(deviceId) ? mailboxes.skip(deviceId) : mailboxes.addMessage(deviceId, entry, bytes),
  );
  const waiting = targets.length - kept.size;
  if (waiting > 0)
    rows.contents.push([entry, statement, encodeParts(parts), group?.generation ?? 0, group?.epoch ?? 0]);
  // Of a message also that has no recipient, or has reached none but its sender's own devices: the sender is told when the time is over.
  const isAnswered = isCommit || !isThreaded || isReached;
  if (waiting > 0 || (isThreaded && (targets.length === 0 || !isAnswered))) rows.expiries.push([expiresAt, entry]);
  return { targets, columns: { waiting, expiresAt, targets: encodeTargets(targets), isReached } };
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

interface Place {
  readonly id: number;
  readonly seq: number;
  readonly previous: Uint8Array | null;
}

/** The conversations of a window, those held in which messages get a place: their newest seq, and the newest message of each device. */
class Conversations {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #seqs: Map<number, number>;
  readonly #heads: Map<string, Uint8Array>;
  readonly #changed = new Map<string, Scalar[]>();

  constructor(ids: ReadonlyMap<string, number>, seqs: Map<number, number>, heads: Map<string, Uint8Array>) {
    this.#ids = ids;
    this.#seqs = seqs;
    this.#heads = heads;
  }

  /** @throws NOT_FOUND/conversation */
  static *hold(messages: readonly MessageRecord[]): Operation<Conversations> {
    const keys = new Map<string, ConversationId>();
    const threaded = new Set<string>();
    for (const { conversation: id, isThreaded } of messages) {
      if (id === null) continue;
      keys.set(idKey(id), id);
      if (isThreaded) threaded.add(idKey(id));
    }
    const rows = yield* select('SELECT id, conversation FROM conversations WHERE conversation IN (?...)', [
      ...keys.values(),
    ]);
    if (rows.length !== keys.size)
      throw new ChatError('NOT_FOUND', 'no conversation has this id', { field: 'conversation' });
    const ids = rows
      .flatMap((row) => (threaded.has(idKey(blob(row, 'conversation'))) ? [integer(row, 'id')] : []))
      .sort((a, b) => a - b);
    const seqs = yield* select(
      'SELECT conversation_id, last_seq FROM sequences WHERE conversation_id IN (?...) ORDER BY conversation_id FOR UPDATE',
      ids,
    );
    const heads = yield* select(
      'SELECT conversation_id, fingerprint, statement_hash FROM lineage_heads WHERE conversation_id IN (?...)',
      ids,
    );
    return new Conversations(
      new Map(rows.map((row) => [idKey(blob(row, 'conversation')), integer(row, 'id')])),
      new Map(seqs.map((row) => [integer(row, 'conversation_id'), integer(row, 'last_seq')])),
      new Map(
        heads.map((row) => [
          `${integer(row, 'conversation_id')} ${idKey(blob(row, 'fingerprint'))}`,
          blob(row, 'statement_hash'),
        ]),
      ),
    );
  }

  /** 0 for what is of no conversation. */
  idOf({ conversation }: MessageRecord): number {
    return conversation === null ? 0 : (this.#ids.get(idKey(conversation)) as number);
  }

  append(message: MessageRecord, fingerprint: Uint8Array): Place {
    const id = this.idOf(message);
    const { isThreaded, statementHash } = message;
    if (!isThreaded) return { id, seq: 0, previous: null };
    const seq = (this.#seqs.get(id) as number) + 1;
    this.#seqs.set(id, seq);
    const head = `${id} ${idKey(fingerprint)}`;
    const previous = this.#heads.get(head) ?? null;
    this.#heads.set(head, statementHash);
    this.#changed.set(head, [id, fingerprint, statementHash]);
    return { id, seq, previous };
  }

  *write(): Operation<void> {
    yield* insert(SEQUENCES, [...this.#seqs]);
    yield* insert(HEADS, [...this.#changed.values()]);
  }
}
