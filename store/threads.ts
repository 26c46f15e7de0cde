/**
 * Threads: the order of messages in their conversations (seq), and of those of each device there (the hash of the one before). What a window
 * adds to them, and what is taken off again when the log has lost it.
 */
import type { ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import type { MessageRecord } from './contract/log.ts';
import { insert, run, select, type Operation, type Row, type Scalar, type Target } from './operation.ts';
import { blob, blobOrNull, integer } from './row.ts';

const SEQUENCES: Target = {
  table: 'sequences',
  columns: ['conversation_id', 'last_seq'],
  key: ['conversation_id'],
  onConflict: ['last_seq'],
};
const HEADS: Target = {
  table: 'lineage_heads',
  columns: ['conversation_id', 'fingerprint', 'statement_hash'],
  key: ['conversation_id', 'fingerprint'],
  onConflict: ['statement_hash'],
};

/** Of one message; `id` is that of its conversation, 0 for what is of none. */
interface Place {
  readonly id: number;
  readonly seq: number;
  readonly previous: Uint8Array | null;
}

/** The conversations of a window, those held in which messages get a place: their newest seq, and the newest message of each device. */
export class Threads {
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
  static *hold(messages: readonly MessageRecord[]): Operation<Threads> {
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
    return new Threads(
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

/**
 * Takes lost threaded messages off the ends of their chains (seq, conv_ctr, previous hash). What another log has added on top stays, and
 * keeps its numbers.
 */
export function* rewindThreads(lost: readonly Row[]): Operation<void> {
  const ids = [...new Set(lost.map((row) => integer(row, 'conversation_id')))].sort((a, b) => a - b);
  const seqRows = yield* select(
    'SELECT conversation_id, last_seq FROM sequences WHERE conversation_id IN (?...) ORDER BY conversation_id FOR UPDATE',
    ids,
  );
  const seqs = new Map(seqRows.map((row) => [integer(row, 'conversation_id'), integer(row, 'last_seq')]));
  for (const row of lost.toReversed()) {
    const conversation = integer(row, 'conversation_id');
    const session = integer(row, 'session_id');
    const fingerprint = blob(row, 'fingerprint');
    if (seqs.get(conversation) === row['seq']) seqs.set(conversation, integer(row, 'seq') - 1);
    yield* run(
      'UPDATE lineage_counters SET conv_ctr = conv_ctr - 1 WHERE session_id = ? AND conversation_id = ? AND conv_ctr = ?',
      session,
      conversation,
      integer(row, 'conv_ctr'),
    );
    const hash = blob(row, 'statement_hash');
    const previous = blobOrNull(row, 'previous_hash');
    if (previous)
      yield* run(
        'UPDATE lineage_heads SET statement_hash = ? WHERE conversation_id = ? AND fingerprint = ? AND statement_hash = ?',
        previous,
        conversation,
        fingerprint,
        hash,
      );
    else
      yield* run(
        'DELETE FROM lineage_heads WHERE conversation_id = ? AND fingerprint = ? AND statement_hash = ?',
        conversation,
        fingerprint,
        hash,
      );
  }
  yield* insert(SEQUENCES, [...seqs]);
}
