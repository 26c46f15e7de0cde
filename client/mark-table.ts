/**
 * Whose keys a person has compared, as a mark on each of these people: what was compared, when, and whether it is over. Also what was
 * shown last to be compared, for only that can be confirmed. What a mark is worth now is decided in marks.ts.
 */
import { decode, encode, type Encodable } from '../base/cbor.ts';
import { bytes, list, optional, record, text, uint, type Decode, type Decoded } from '../base/decode.ts';
import type { Database } from './database.ts';
import type { Seal } from './seal.ts';

const key = record({ key: bytes(32), issuer: bytes(32) });
/** Of one certificate: SHA-256 of its SubjectPublicKeyInfo, and of the name (DER) of the authority that has issued it. */
export type MarkedKey = Decoded<typeof key>;
export const markedKeys = list(key, 64);

const mark = record({
  user: text(64),
  at: uint(),
  keys: markedKeys,
  on: optional(bytes(32)),
  ended: optional(uint()),
});
/** `at` and `ended` are Unix ms; `on`: the device of this user that it was confirmed on, by its certificate; left out: this one. */
export type Mark = Decoded<typeof mark>;
const marks = list(mark, 10_000);
const shown = list(record({ user: text(64), digest: bytes(32) }), 64);

export class MarkTable {
  readonly #db: Database;
  readonly #seal: Seal;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  all(): Mark[] {
    return this.#value('marks', marks) ?? [];
  }
  of(user: string): Mark | null {
    return this.all().find((each) => each.user === user) ?? null;
  }
  put(value: Mark): void {
    this.#set('marks', [...this.all().filter(({ user }) => user !== value.user), value]);
  }
  remove(user: string): void {
    this.#set(
      'marks',
      this.all().filter((each) => each.user !== user),
    );
  }

  /** What somebody's number was made of when it was shown last; null: it was not, or long ago. */
  shown(user: string): Uint8Array | null {
    return (this.#value('shown_numbers', shown) ?? []).find((each) => each.user === user)?.digest ?? null;
  }
  setShown(user: string, digest: Uint8Array): void {
    const others = (this.#value('shown_numbers', shown) ?? []).filter((each) => each.user !== user);
    this.#set('shown_numbers', [...others.slice(-63), { user, digest }]);
  }

  #value<T>(name: string, shape: Decode<T>): T | null {
    const row = this.#db.one('SELECT sealed FROM value WHERE name = ?', name);
    return row === undefined
      ? null
      : shape(decode(this.#seal.open(`value/${name}`, row['sealed'] as Uint8Array)), name);
  }
  #set(name: string, value: Encodable): void {
    const sealed = this.#seal.seal(`value/${name}`, encode(value));
    this.#db.run('INSERT OR REPLACE INTO value (name, sealed) VALUES (?,?)', name, sealed);
  }
}
