/**
 * What this device needs to be found and let in: its own key with the binding, the private parts of its key packages, the bindings of
 * others, and which devices of whom it has met. Private parts are here before the public ones leave.
 */
import { concat, equal, hex, u16, utf8 } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { bytes, record, text, type Decoded } from '../base/decode.ts';
import { sha256 } from '../base/hash.ts';
import type { Database } from './database.ts';
import type { Seal } from './seal.ts';

const device = record({
  user: text(64),
  device_id: bytes(16),
  mls_key: bytes(32),
  mls_private_key: bytes(1, 64),
  binding: bytes(1, 65_536),
  certificate: bytes(32),
  organisation: text(255, 1),
});
/** This device; `certificate` is the fingerprint of the certificate that signed the binding. */
export type StoredDevice = Decoded<typeof device>;

export interface StoredPackage {
  readonly reference: Uint8Array;
  readonly isLastResort: boolean;
  /** Unix ms */
  readonly notAfter: number;
  readonly secret: Uint8Array;
}

/**
 * How somebody's device appears the first time: his first of all, one more, or a known one with another certificate, which its MLS key
 * shows that it is.
 */
export type Meeting = 'first' | 'new' | 'renewed' | 'known';

export class KeyTable {
  readonly #db: Database;
  readonly #seal: Seal;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  device(): StoredDevice | null {
    const row = this.#db.one('SELECT sealed FROM value WHERE name = ?', 'device');
    return row === undefined
      ? null
      : device(decode(this.#seal.open('value/device', row['sealed'] as Uint8Array)), 'device');
  }
  /** What was published with another binding has to be replaced; its private parts stay, for invitations that are on their way. */
  setDevice(value: StoredDevice): void {
    this.#db.transaction(() => {
      this.withdrawPackages();
      const sealed = this.#seal.seal('value/device', encode(value));
      this.#db.run('INSERT OR REPLACE INTO value (name, sealed) VALUES (?,?)', 'device', sealed);
    });
  }

  /** By the hash that names it, in hexadecimal. */
  bindings(): Map<string, Uint8Array> {
    return new Map(
      this.#db.all('SELECT hash, sealed FROM binding').map((row) => {
        const name = hex(row['hash'] as Uint8Array);
        return [name, this.#seal.open(`binding/${name}`, row['sealed'] as Uint8Array)];
      }),
    );
  }
  addBinding(binding: Uint8Array): void {
    const hash = sha256(binding);
    const sealed = this.#seal.seal(`binding/${hex(hash)}`, binding);
    this.#db.run('INSERT OR REPLACE INTO binding (hash, sealed) VALUES (?,?)', hash, sealed);
  }

  addPackages(packages: readonly StoredPackage[]): void {
    this.#db.transaction(() => {
      for (const { reference, isLastResort, notAfter, secret } of packages) {
        const sealed = this.#seal.seal(`key_package/${hex(reference)}`, secret);
        this.#db.run(
          'INSERT INTO key_package (reference, is_last_resort, is_published, not_after, sealed) VALUES (?,?,0,?,?)',
          ...[reference, isLastResort ? 1 : 0, notAfter, sealed],
        );
      }
    });
  }
  markPublished(references: readonly Uint8Array[]): void {
    this.#db.transaction(() => {
      for (const reference of references)
        this.#db.run('UPDATE key_package SET is_published = 1 WHERE reference = ?', reference);
    });
  }
  /** The private part of one of ours, and whether it may serve again. */
  package(reference: Uint8Array): { readonly secret: Uint8Array; readonly isLastResort: boolean } | null {
    const row = this.#db.one('SELECT * FROM key_package WHERE reference = ?', reference);
    if (row === undefined) return null;
    const secret = this.#seal.open(`key_package/${hex(reference)}`, row['sealed'] as Uint8Array);
    return { secret, isLastResort: row['is_last_resort'] === 1 };
  }
  deletePackage(reference: Uint8Array): void {
    this.#db.run('DELETE FROM key_package WHERE reference = ?', reference);
  }
  hasPackages(): boolean {
    return this.#db.one('SELECT 1 FROM key_package WHERE is_published = 1 LIMIT 1') !== undefined;
  }
  /** Those that no Welcome can name any more. */
  deletePackagesBefore(notAfter: number): void {
    this.#db.run('DELETE FROM key_package WHERE not_after < ?', notAfter);
  }
  /**
   * Whether something that the server may have is over before `soon`, or ends later than anything can that is made now: then a clock was
   * ahead. Unix ms, all three. @param longest for those that serve once @param longestLastResort for the last resort
   */
  hasUntimely(soon: number, longest: number, longestLastResort: number): boolean {
    const ordinary = 'is_last_resort = 0 AND (not_after < ? OR not_after > ?)';
    const lastResort = 'is_last_resort = 1 AND not_after > ?';
    const sql = `SELECT 1 FROM key_package WHERE is_published = 1 AND ((${ordinary}) OR (${lastResort})) LIMIT 1`;
    return this.#db.one(sql, soon, longest, longestLastResort) !== undefined;
  }
  /** The server has none of them any more; invitations by them may be on their way. */
  withdrawPackages(): void {
    this.#db.run('UPDATE key_package SET is_published = 0');
  }
  /** Whether a last resort that the server has is good until then. */
  hasLastResort(until: number): boolean {
    const sql = 'SELECT 1 FROM key_package WHERE is_last_resort = 1 AND is_published = 1 AND not_after >= ?';
    return this.#db.one(sql, until) !== undefined;
  }

  /** Remembers who has issued a certificate of somebody, by a hash. Whoever is met for the first time has no new one. */
  meetIssuer(user: string, issuer: string): 'first' | 'new' | 'known' {
    const all = sha256(utf8('issuers of '), named(user));
    const hash = sha256(utf8('issuer of '), named(user), utf8(issuer));
    const known = this.#db.all('SELECT hash FROM known_device WHERE user_hash = ?', all);
    if (known.some((row) => equal(row['hash'] as Uint8Array, hash))) return 'known';
    this.#db.run('INSERT INTO known_device (hash, user_hash, device_hash) VALUES (?,?,?)', hash, all, all);
    return known.length === 0 ? 'first' : 'new';
  }
  /** Whether the device was met with this certificate. */
  hasMet(user: string, deviceId: Uint8Array, certificate: Uint8Array): boolean {
    const hash = sha256(named(user), deviceId, certificate);
    return this.#db.one('SELECT 1 FROM known_device WHERE hash = ?', hash) !== undefined;
  }
  /**
   * Remembers it. Names are kept as hashes, so that the file tells nobody whom this profile knows.
   * @param mlsKey by which it is in a group: its id anybody can copy
   */
  meet(user: string, deviceId: Uint8Array, certificate: Uint8Array, mlsKey: Uint8Array): Meeting {
    const userHash = sha256(utf8(user));
    const deviceHash = sha256(utf8('key of '), named(user), deviceId, mlsKey);
    const hash = sha256(named(user), deviceId, certificate);
    return this.#db.transaction(() => {
      if (this.#db.run('UPDATE known_device SET device_hash = ? WHERE hash = ?', deviceHash, hash) > 0) return 'known';
      const isRenewed = this.#db.one('SELECT 1 FROM known_device WHERE device_hash = ?', deviceHash) !== undefined;
      const isFirst = this.#db.one('SELECT 1 FROM known_device WHERE user_hash = ?', userHash) === undefined;
      this.#db.run(
        'INSERT INTO known_device (hash, user_hash, device_hash) VALUES (?,?,?)',
        hash,
        userHash,
        deviceHash,
      );
      return isRenewed ? 'renewed' : isFirst ? 'first' : 'new';
    });
  }
}

function named(user: string): Buffer {
  const name = utf8(user);
  return concat(u16(name.length), name);
}
