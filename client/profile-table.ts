/**
 * What a profile is set to and reminded of, each under a name: whose it is, by what it may log in without a password, its contacts, and what
 * others are told of this user.
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { bool, bytes, list, oneOf, record, text, uint, type Decode, type Decoded } from '../base/decode.ts';
import type { Database } from './database.ts';
import type { Seal } from './seal.ts';

/** Each is five items, of the 131,072 that a value may have; a server that names more people is not remembered whole. */
const MAX_CONTACTS = 20_000;
const contacts = list(
  record({ username: text(64), state: oneOf('none', 'asked', 'asking', 'contact', 'blocked') }),
  MAX_CONTACTS,
);
/** What the server said last about somebody. */
export type KnownContact = Decoded<typeof contacts>[number];
const account = record({ username: text(64), email: text(254), server: text(300) });
/** `server` is HOST:PORT as it was dialled. */
export type Account = Decoded<typeof account>;
const token = record({ token: text(2048), expires: uint(), fingerprint: bytes(32) });
export type ResumeToken = Decoded<typeof token>;

const readExceptions = list(record({ peer: text(64), read: bool }), 10_000);
export type ReadException = Decoded<typeof readExceptions>[number];

export class ProfileTable {
  readonly #db: Database;
  readonly #seal: Seal;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  account(): Account | null {
    return this.#value('account', account);
  }
  setAccount(value: Account): void {
    this.#setValue('account', encode(value));
  }
  resumeToken(): ResumeToken | null {
    return this.#value('resume', token);
  }
  /** null: forget it */
  setResumeToken(value: ResumeToken | null): void {
    if (value === null) this.#db.run('DELETE FROM value WHERE name = ?', 'resume');
    else this.#setValue('resume', encode(value));
  }
  /** The conversation that the interactive mode was last in. */
  lastPeer(): string | null {
    return this.#value('last_peer', text(64));
  }
  setLastPeer(peer: string): void {
    this.#setValue('last_peer', encode(peer));
  }

  /** Whether others are told what has been read here, unless there is an exception for them. */
  sendsRead(): boolean {
    return this.#value('sends_read', bool) ?? false;
  }
  setSendsRead(value: boolean): void {
    this.#setValue('sends_read', encode(value));
  }
  /** People and rooms for which it is otherwise. */
  readExceptions(): ReadException[] {
    return this.#value('sends_read_to', readExceptions) ?? [];
  }
  /** @param read null: no exception any more */
  setReadException(peer: string, read: boolean | null): void {
    const others = this.readExceptions().filter((each) => each.peer !== peer);
    this.#setValue('sends_read_to', encode(read === null ? others : [...others, { peer, read }]));
  }
  /** @param peer username, or name of a room */
  sendsReadTo(peer: string): boolean {
    return this.readExceptions().find((each) => each.peer === peer)?.read ?? this.sendsRead();
  }
  /** Whether others are told that this user is typing. */
  sendsTyping(): boolean {
    return this.#value('sends_typing', bool) ?? false;
  }
  setSendsTyping(value: boolean): void {
    this.#setValue('sends_typing', encode(value));
  }
  /** After how many ms what this user writes in the conversation disappears; null: never. */
  expiry(id: ConversationId): number | null {
    return this.#value(`expiry/${hex(id)}`, uint());
  }
  /** @param ms null: never */
  setExpiry(id: ConversationId, ms: number | null): void {
    if (ms === null) this.#db.run('DELETE FROM value WHERE name = ?', `expiry/${hex(id)}`);
    else this.#setValue(`expiry/${hex(id)}`, encode(ms));
  }

  contacts(): KnownContact[] {
    return this.#value('contacts', contacts) ?? [];
  }
  setContacts(value: readonly KnownContact[]): void {
    this.#setValue('contacts', encode(value.slice(0, MAX_CONTACTS)));
  }

  #value<T>(name: string, shape: Decode<T>): T | null {
    const row = this.#db.one('SELECT sealed FROM value WHERE name = ?', name);
    return row === undefined
      ? null
      : shape(decode(this.#seal.open(`value/${name}`, row['sealed'] as Uint8Array)), name);
  }
  #setValue(name: string, value: Uint8Array): void {
    const sealed = this.#seal.seal(`value/${name}`, value);
    this.#db.run('INSERT OR REPLACE INTO value (name, sealed) VALUES (?,?)', name, sealed);
  }
}
