/**
 * Whom this profile has invited into rooms, and has not seen in their groups yet; and members whose last device it took out. Only they, and devices of those who are inside, are ever
 * let in by this device on its own: a name on the server's list is no reason. Names are sealed, and found by their hash.
 */
import { hex, utf8, type ConversationId } from '../base/bytes.ts';
import { fromUtf8 } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import type { Database } from './database.ts';
import type { Seal } from './seal.ts';

export class RoomTable {
  readonly #db: Database;
  readonly #seal: Seal;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  invited(id: ConversationId): string[] {
    return this.#db
      .all('SELECT user_hash, sealed FROM room_invitation WHERE conversation = ? ORDER BY rowid', id)
      .map((row) => fromUtf8(this.#seal.open(place(id, row['user_hash'] as Uint8Array), row['sealed'] as Uint8Array)))
      .filter((user) => user !== null);
  }
  invite(id: ConversationId, user: string): void {
    const hash = sha256(utf8(user));
    const sealed = this.#seal.seal(place(id, hash), utf8(user));
    const sql = 'INSERT OR REPLACE INTO room_invitation (conversation, user_hash, sealed) VALUES (?,?,?)';
    this.#db.run(sql, id, hash, sealed);
  }
  /** They came in, or are not wanted any more. */
  forget(id: ConversationId, users: readonly string[]): void {
    for (const user of users)
      this.#db.run('DELETE FROM room_invitation WHERE conversation = ? AND user_hash = ?', id, sha256(utf8(user)));
  }
}

const place = (id: ConversationId, userHash: Uint8Array): string => `room_invitation/${hex(id)}/${hex(userHash)}`;
