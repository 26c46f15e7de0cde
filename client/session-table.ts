/** The lineages of this device's statements: one for each of its sessions, and how far each is acknowledged. */
import { randomBytes } from 'node:crypto';
import type { Fingerprint, Hash, SessionId } from '../base/bytes.ts';
import { NO_HASH } from '../transcript/merkle.ts';
import type { SessionEnd } from '../transcript/opening.ts';
import { SESSION_BYTES } from '../transcript/statement.ts';
import type { Database, Row } from './database.ts';

/** The lineage of this device's statements, as far as it is acknowledged. */
export interface Session {
  readonly id: SessionId;
  readonly lastCtr: number;
  readonly lastBatch: Hash;
  /** How the session before it ended; null: there was none, or what is known of it is wrong. Said with its first statement. */
  readonly before: SessionEnd | null;
}

export class SessionTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** The session of this certificate; a new certificate, or `restart`, begins a new one. */
  current(fingerprint: Fingerprint): Session {
    const row = this.#db.one('SELECT * FROM session WHERE fingerprint = ? AND is_current = 1', fingerprint);
    return row === undefined ? this.restart(fingerprint) : this.#sessionOf(row);
  }
  /** Whether this certificate has a session that has said something, and not its end. */
  isOpen(fingerprint: Fingerprint): boolean {
    const sql = 'SELECT 1 FROM session WHERE fingerprint = ? AND is_current = 1 AND last_ctr > 0';
    return this.#db.one(sql, fingerprint) !== undefined;
  }
  /** All sessions of this profile, oldest first, each with how far it is acknowledged. */
  all(): (Session & { readonly fingerprint: Fingerprint })[] {
    return this.#db
      .all('SELECT * FROM session ORDER BY rowid')
      .map((row) => ({ ...this.#sessionOf(row), fingerprint: row['fingerprint'] as Uint8Array as Fingerprint }));
  }
  /**
   * A session that begins at counter 1. @param isAfterLoss what this device knows of its earlier statements is wrong (its disk was put
   * back to an older state): the new ones link to nothing, which says exactly that
   */
  restart(fingerprint: Fingerprint, isAfterLoss = false): Session {
    const id = randomBytes(SESSION_BYTES) as Uint8Array as SessionId;
    this.#db.transaction(() => {
      if (isAfterLoss) this.#db.run('UPDATE thread SET last_leaf = ?', NO_HASH);
      this.#db.run('UPDATE session SET is_current = 0');
      this.#db.run(
        'INSERT INTO session (id, fingerprint, last_ctr, last_batch, is_current, is_after_loss) VALUES (?,?,0,?,1,?)',
        ...[id, fingerprint, NO_HASH, isAfterLoss ? 1 : 0],
      );
    });
    return this.current(fingerprint);
  }
  #sessionOf(row: Row): Session {
    const before =
      row['is_after_loss'] === 1
        ? undefined
        : this.#db.one(
            'SELECT * FROM session WHERE last_ctr > 0 AND rowid < (SELECT rowid FROM session WHERE id = ?) ORDER BY rowid DESC LIMIT 1',
            row['id'] as Uint8Array,
          );
    return { ...endOf(row), id: endOf(row).session, before: before === undefined ? null : endOf(before) };
  }
  /** The log has its statements up to this one. */
  advance(id: SessionId, lastCtr: number, lastBatch: Hash): void {
    this.#db.run('UPDATE session SET last_ctr = ?, last_batch = ? WHERE id = ?', lastCtr, lastBatch, id);
  }
  /** Its last statement is in the log. */
  end(id: SessionId): void {
    this.#db.run('UPDATE session SET is_current = 0 WHERE id = ?', id);
  }
}

function endOf(row: Row): SessionEnd {
  return {
    session: row['id'] as Uint8Array as SessionId,
    lastCtr: row['last_ctr'] as number,
    lastBatch: row['last_batch'] as Uint8Array as Hash,
  };
}
