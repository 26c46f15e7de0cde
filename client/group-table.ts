/**
 * The MLS groups of the vault, one for each conversation: a snapshot and the deltas after it, the state that a commit of this device
 * would let it enter, and which commits were dealt with. Bytes alone: what they mean is known to group-store.ts.
 */
import { hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { bytes, optional, record, uint } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import type { Database } from './database.ts';
import type { Seal } from './seal.ts';

/** Of each part: also what is read is bounded by it. */
const MAX_STATE_BYTES = 64 * 1024 * 1024;
const sketch = optional(bytes(1, MAX_STATE_BYTES));
const current = record({ since: uint(), state: bytes(1, MAX_STATE_BYTES), sketch });
const entry = record({ commit: bytes(1, MAX_STATE_BYTES), state: bytes(1, MAX_STATE_BYTES), sketch });

export interface StoredGroup {
  readonly generation: number;
  /** first epoch that this device can read */
  readonly since: number;
  readonly snapshot: Uint8Array;
  /** of a large group: what of it can be known without reading the snapshot; null: a small one */
  readonly sketch: Uint8Array | null;
  /** in their order */
  readonly deltas: readonly Uint8Array[];
}
/** Counts once the server has accepted the commit. */
export interface StoredEntry {
  readonly generation: number;
  readonly commit: Uint8Array;
  readonly snapshot: Uint8Array;
  /** as in StoredGroup */
  readonly sketch: Uint8Array | null;
}

export class GroupTable {
  readonly #db: Database;
  readonly #seal: Seal;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  current(id: ConversationId): StoredGroup | null {
    const row = this.#state(id, 'current');
    if (row === null) return null;
    const { since, state: snapshot, sketch = null } = current(decode(row.opened), 'group');
    const deltas = this.#db
      .all('SELECT n, sealed FROM group_delta WHERE conversation = ? ORDER BY n', id)
      .map((each) => this.#seal.open(deltaPlace(id, each['n'] as number), each['sealed'] as Uint8Array));
    return { generation: row.generation, since, snapshot, sketch, deltas };
  }
  /** @throws TOO_LARGE/group */
  setCurrent(id: ConversationId, { generation, since, snapshot, sketch }: Omit<StoredGroup, 'deltas'>): void {
    checkSize(snapshot, sketch);
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM group_delta WHERE conversation = ?', id);
      this.#setState(id, 'current', generation, encode({ since, state: snapshot, ...(sketch && { sketch }) }));
    });
  }
  /** Answers how many there are since the snapshot. */
  addDelta(id: ConversationId, delta: Uint8Array): number {
    return this.#db.transaction(() => {
      const last = this.#db.one('SELECT max(n) AS n FROM group_delta WHERE conversation = ?', id)?.['n'];
      const n = 1 + Number(last ?? 0);
      const sealed = this.#seal.seal(deltaPlace(id, n), delta);
      this.#db.run('INSERT INTO group_delta (conversation, n, sealed) VALUES (?,?,?)', id, n, sealed);
      return n;
    });
  }
  dropCurrent(id: ConversationId): void {
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM group_delta WHERE conversation = ?', id);
      this.#db.run("DELETE FROM group_state WHERE conversation = ? AND kind = 'current'", id);
    });
  }

  entry(id: ConversationId): StoredEntry | null {
    const row = this.#state(id, 'entry');
    if (row === null) return null;
    const { commit, state: snapshot, sketch = null } = entry(decode(row.opened), 'group');
    return { generation: row.generation, commit, snapshot, sketch };
  }
  /** @throws TOO_LARGE/group */
  setEntry(id: ConversationId, { generation, commit, snapshot, sketch }: StoredEntry): void {
    checkSize(commit, snapshot, sketch);
    this.#setState(id, 'entry', generation, encode({ commit, state: snapshot, ...(sketch && { sketch }) }));
  }
  dropEntry(id: ConversationId): void {
    this.#db.run("DELETE FROM group_state WHERE conversation = ? AND kind = 'entry'", id);
  }

  /** @param hash leaf(MS) of a commit that needs no look any more. @param seq its place in the conversation */
  addCommit(hash: Hash, id: ConversationId, seq: number): void {
    this.#db.run('INSERT OR IGNORE INTO group_commit (hash, conversation, seq) VALUES (?,?,?)', hash, id, seq);
  }
  hasCommit(hash: Hash): boolean {
    return this.#db.one('SELECT 1 FROM group_commit WHERE hash = ?', hash) !== undefined;
  }
  /** The places that commits took in a conversation. */
  commits(id: ConversationId): number[] {
    const rows = this.#db.all('SELECT seq FROM group_commit WHERE conversation = ? ORDER BY seq', id);
    return rows.map((row) => row['seq'] as number);
  }

  #state(id: ConversationId, kind: 'current' | 'entry') {
    const row = this.#db.one('SELECT * FROM group_state WHERE conversation = ? AND kind = ?', id, kind);
    if (row === undefined) return null;
    const generation = row['generation'] as number;
    return { generation, opened: this.#seal.open(statePlace(id, kind, generation), row['sealed'] as Uint8Array) };
  }
  #setState(id: ConversationId, kind: 'current' | 'entry', generation: number, value: Uint8Array): void {
    this.#db.run(
      'INSERT OR REPLACE INTO group_state (conversation, kind, generation, sealed) VALUES (?,?,?,?)',
      ...[id, kind, generation, this.#seal.seal(statePlace(id, kind, generation), value)],
    );
  }
}

/** What could not be read again is not written: the group stays as it is. */
function checkSize(...parts: readonly (Uint8Array | null)[]): void {
  for (const part of parts)
    if (part !== null && part.length > MAX_STATE_BYTES)
      throw new ChatError('TOO_LARGE', `the state of a group of ${part.length} bytes`, { field: 'group' });
}

const statePlace = (id: ConversationId, kind: string, generation: number): string =>
  `group/${hex(id)}/${kind}/${generation}`;
const deltaPlace = (id: ConversationId, n: number): string => `group_delta/${hex(id)}/${n}`;
