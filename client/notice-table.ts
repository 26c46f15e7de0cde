/**
 * What a person must hear about the keys of others, in words: another device, another certificate or authority, a device that is out, a
 * comparison that is over. Kept in the transaction of what it is about, and told until somebody has shown it: a program that is killed before, or is to
 * be quiet, leaves it to the next one.
 */
import { fromUtf8, utf8 } from '../base/bytes.ts';
import type { Database } from './database.ts';
import type { Seal } from './seal.ts';

export interface Notice {
  readonly row: number;
  /** Unix ms */
  readonly at: number;
  readonly text: string;
}

export class NoticeTable {
  readonly #db: Database;
  readonly #seal: Seal;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  /** @param subject a hash; what is told of one subject is told once. Null: it happens once */
  add(at: number, text: string, subject: Uint8Array | null = null): void {
    const sql = 'INSERT OR IGNORE INTO notice (at, subject, sealed) VALUES (?,?,?)';
    this.#db.run(sql, at, subject, this.#seal.seal('notice', utf8(text)));
  }

  /** In the order in which they came. @param after a row */
  untold(after = 0): Notice[] {
    return this.#db
      .all('SELECT row, at, sealed FROM notice WHERE sealed IS NOT NULL AND row > ? ORDER BY row', after)
      .map((row) => ({
        row: row['row'] as number,
        at: row['at'] as number,
        text: fromUtf8(this.#seal.open('notice', row['sealed'] as Uint8Array)) ?? '',
      }));
  }

  /** Somebody has seen it: of one with a subject nothing is left but that. */
  told(row: number): void {
    this.#db.transaction(() => {
      this.#db.run('DELETE FROM notice WHERE row = ? AND subject IS NULL', row);
      this.#db.run('UPDATE notice SET sealed = NULL WHERE row = ?', row);
    });
  }
}
