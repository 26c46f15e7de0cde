/**
 * The conversations of the vault: who is in each, and how far this device has got there. These are two rows, for the one of a large room has 60 kB
 * and stays as it is with each message; and what was read of it is remembered.
 */
import { equal, hex, type ConversationId, type Hash, type SessionId } from '../base/bytes.ts';
import { decode, encode, type Encodable } from '../base/cbor.ts';
import { NO_HASH } from '../transcript/merkle.ts';
import type { Database, Row } from './database.ts';
import { roster, type Conversation, type Roster } from './roster.ts';
import type { Seal } from './seal.ts';

/** Bytes of the sealed value that no other has: it begins with a random nonce. */
const MARK_BYTES = 12;
/** Rosters that are remembered; the one that was read last stands last. */
const MAX_KNOWN = 256;

const SELECT =
  `SELECT c.id, substr(c.sealed, 1, ${MARK_BYTES}) AS mark, t.session, t.conv_ctr, t.last_leaf ` +
  'FROM conversation c JOIN thread t ON t.conversation = c.id';

export class ConversationTable {
  readonly #db: Database;
  readonly #seal: Seal;
  /** conversation → its roster, and the value on disk that it was read from: another one may be there since, or again */
  readonly #known = new Map<string, { readonly mark: Uint8Array; readonly roster: Roster }>();

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  all(): Conversation[] {
    return this.#db.all(`${SELECT} ORDER BY c.rowid`).map((row) => this.#of(row));
  }
  one(id: ConversationId): Conversation | null {
    const row = this.#db.one(`${SELECT} WHERE c.id = ?`, id);
    return row === undefined ? null : this.#of(row);
  }

  put(id: ConversationId, value: Roster): void {
    const sealed = this.#seal.seal(placeOf(id), encode(value as unknown as Encodable));
    this.#db.transaction(() => {
      this.#db.run(
        'INSERT INTO conversation (id, sealed) VALUES (?,?) ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed',
        ...[id, sealed],
      );
      this.#db.run(
        'INSERT OR IGNORE INTO thread (conversation, session, conv_ctr, last_leaf) VALUES (?,NULL,0,?)',
        ...[id, NO_HASH],
      );
    });
  }
  /** This device's last statement in it. */
  advance(id: ConversationId, session: SessionId, convCtr: number, lastLeaf: Hash): void {
    const sql = 'UPDATE thread SET session = ?, conv_ctr = ?, last_leaf = ? WHERE conversation = ?';
    this.#db.run(sql, session, convCtr, lastLeaf, id);
  }

  #of(row: Row): Conversation {
    const id = row['id'] as Uint8Array as ConversationId;
    return {
      id,
      ...this.#roster(id, row['mark'] as Uint8Array),
      session: row['session'] as Uint8Array as SessionId | null,
      convCtr: row['conv_ctr'] as number,
      lastLeaf: row['last_leaf'] as Uint8Array as Hash,
    };
  }

  #roster(id: ConversationId, mark: Uint8Array): Roster {
    const known = this.#known.get(hex(id));
    this.#known.delete(hex(id));
    const isSame = known !== undefined && equal(known.mark, mark);
    const found = isSame ? known : { mark, roster: this.#read(id) };
    this.#known.set(hex(id), found);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= MAX_KNOWN) break;
      this.#known.delete(oldest);
    }
    return found.roster;
  }
  #read(id: ConversationId): Roster {
    const row = this.#db.one('SELECT sealed FROM conversation WHERE id = ?', id) as Row;
    return roster(decode(this.#seal.open(placeOf(id), row['sealed'] as Uint8Array)), 'conversation');
  }
}

const placeOf = (id: ConversationId): string => `conversation/${hex(id)}`;
