/**
 * Which statements of each device this one has seen in a conversation, the last ones of each, and what of it the others were told: for the
 * vectors of docs/TRANSCRIPT.md §d. Hashes and counters only, of which the evidence has the whole.
 */
import type { ConversationId, Fingerprint, Hash, SessionId } from '../base/bytes.ts';
import { MAX_SEEN, type SeenStatement } from '../transcript/gossip.ts';
import type { Database, Row } from './database.ts';

/** Of one device, in one conversation: others speak of the last ones. */
const KEPT = 256;

/** Where a statement stands in the log that its batch names. */
export interface Place {
  /** leaf(BS) */
  readonly batch: Hash;
  readonly index: number;
}
type Counted = Pick<SeenStatement, 'device' | 'session' | 'convCtr'>;
export interface Seen extends Counted {
  /** leaf(MS) */
  readonly leaf: Hash;
  /** null: of this device, or taken in by a version that did not keep it */
  readonly place: Place | null;
}

export class SeenTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** A statement stands in the conversation. @param isOwn of this device */
  add(id: ConversationId, { device, session, convCtr, leaf, place }: Seen, isOwn: boolean): void {
    this.#db.run(
      `INSERT OR IGNORE INTO seen (conversation, device, session, conv_ctr, leaf, is_told, batch, log_index) VALUES (?,?,?,?,?,?,?,?)`,
      ...[id, device, session, convCtr, leaf, isOwn ? 1 : 0, place?.batch ?? null, place?.index ?? null],
    );
    this.#db.run(
      'DELETE FROM seen WHERE conversation = ? AND device = ? AND session = ? AND conv_ctr <= ?',
      ...[id, device, session, convCtr - KEPT],
    );
  }

  /** The last of each device that nobody was told of, the newest first; from now on all are told. */
  take(id: ConversationId): SeenStatement[] {
    const rows = this.#db.all(
      `SELECT device, session, max(conv_ctr) AS conv_ctr, leaf FROM seen WHERE conversation = ? AND is_told = 0
       GROUP BY device, session ORDER BY max(rowid) DESC LIMIT ${MAX_SEEN}`,
      id,
    );
    if (rows.length > 0) this.pass(id);
    return rows.map((row) => ({
      device: row['device'] as Uint8Array as Fingerprint,
      session: row['session'] as Uint8Array as SessionId,
      convCtr: row['conv_ctr'] as number,
      leaf: row['leaf'] as Uint8Array,
    }));
  }

  /**
   * A message is sealed now: what was not told before is told no more. Whoever reads this one as his first has not seen that, and the next
   * message would accuse the server of it.
   */
  pass(id: ConversationId): void {
    this.#db.run('UPDATE seen SET is_told = 1 WHERE conversation = ? AND is_told = 0', id);
  }

  leaf(id: ConversationId, statement: Counted): Hash | null {
    return this.find(id, statement)?.leaf ?? null;
  }
  find(id: ConversationId, { device, session, convCtr }: Counted): Seen | null {
    return seenOf(this.#db.one(`${OF_SESSION} AND conv_ctr = ?`, id, device, session, convCtr));
  }
  /** Those of the session with the next lower and the next higher counter, as far as they are here. */
  around(id: ConversationId, { device, session, convCtr }: Counted): Seen[] {
    const place = [id, device, session, convCtr] as const;
    return [
      seenOf(this.#db.one(`${OF_SESSION} AND conv_ctr < ? ORDER BY conv_ctr DESC LIMIT 1`, ...place)),
      seenOf(this.#db.one(`${OF_SESSION} AND conv_ctr > ? ORDER BY conv_ctr LIMIT 1`, ...place)),
    ].filter((each) => each !== null);
  }
  /** In any session of the device. */
  has(id: ConversationId, device: Fingerprint, leaf: Hash): boolean {
    const sql = 'SELECT 1 FROM seen WHERE conversation = ? AND device = ? AND leaf = ?';
    return this.#db.one(sql, id, device, leaf) !== undefined;
  }
  /** The highest counter of a device's session that was seen; null: none was. */
  last(id: ConversationId, { device, session }: SeenStatement): number | null {
    const sql = 'SELECT max(conv_ctr) AS n FROM seen WHERE conversation = ? AND device = ? AND session = ?';
    return (this.#db.one(sql, id, device, session)?.['n'] as number | null | undefined) ?? null;
  }

  /** Whether this checkpoint is news there, and it is time to tell it; then it is told. @param now Unix ms */
  tells(id: ConversationId, root: Hash, now: number, atMostEveryMs: number): boolean {
    const sql = 'SELECT 1 FROM told WHERE conversation = ? AND (root = ? OR (at > ? AND at <= ?))';
    // After now: the clock was set back.
    if (this.#db.one(sql, id, root, now - atMostEveryMs, now) !== undefined) return false;
    this.#db.run('INSERT OR REPLACE INTO told (conversation, root, at) VALUES (?,?,?)', id, root, now);
    return true;
  }
}

const OF_SESSION = 'SELECT * FROM seen WHERE conversation = ? AND device = ? AND session = ?';

function seenOf(row: Row | undefined): Seen | null {
  if (row === undefined) return null;
  const batch = row['batch'] as Uint8Array | null;
  return {
    device: row['device'] as Uint8Array as Fingerprint,
    session: row['session'] as Uint8Array as SessionId,
    convCtr: row['conv_ctr'] as number,
    leaf: row['leaf'] as Uint8Array as Hash,
    place: batch === null ? null : { batch: batch as Hash, index: row['log_index'] as number },
  };
}
