/**
 * Histories on their way between this device and others of its user, in pieces, and which of those devices this profile has approved. What
 * each step means is decided in handover.ts, inside whose transactions all of this happens.
 */
import { hex, type Fingerprint } from '../base/bytes.ts';
import { decode, encode, type Encodable } from '../base/cbor.ts';
import { bytes, list, optional, record, uint, type Decode, type Decoded } from '../base/decode.ts';
import type { Database } from './database.ts';
import { announcement, ARCHIVE_ID_BYTES } from './handover-content.ts';
import type { Seal } from './seal.ts';

const outgoing = record({ announcement, next: uint(), row: optional(uint()) });
/** `next`: what is sent next, 0 the announcement, then the pieces from 1 on; `row`: the message that it is, once it waits to be sent. */
export type Outgoing = Decoded<typeof outgoing>;
const incoming = record({ from: bytes(32), announcement: optional(announcement) });
/** `from`: the device that hands it over; without an announcement pieces have come first. */
export type Incoming = Decoded<typeof incoming>;
const approvals = list(record({ fingerprint: bytes(32), at: uint() }), 1024);

type Direction = 'out' | 'in' | 'done';

export class HandoverTable {
  readonly #db: Database;
  readonly #seal: Seal;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
  }

  /** Fingerprints in hexadecimal. */
  approved(): Set<string> {
    return new Set(this.#approvals().map(({ fingerprint }) => hex(fingerprint)));
  }
  approve(fingerprint: Fingerprint, at: number): void {
    if (!this.approved().has(hex(fingerprint))) this.#setApprovals([...this.#approvals(), { fingerprint, at }]);
  }
  /** Another certificate of a device: approved if the device was. */
  inherit(fingerprint: Fingerprint, isEarlier: (approved: Uint8Array) => boolean, at: number): void {
    if (this.#approvals().some((each) => isEarlier(each.fingerprint))) this.approve(fingerprint, at);
  }
  withdraw(fingerprint: Uint8Array): void {
    this.#setApprovals(this.#approvals().filter((each) => hex(each.fingerprint) !== hex(fingerprint)));
  }

  outgoing(): Outgoing[] {
    return this.#all('out', outgoing);
  }
  setOutgoing(value: Outgoing): void {
    this.#set(value.announcement.archive, 'out', value);
  }
  /** Devices for which something is on its way, in hexadecimal. */
  targets(): string[] {
    return [...new Set(this.outgoing().map(({ announcement: { to } }) => hex(to)))].sort();
  }

  /** Null: nothing of it has come. `done`: nothing more of it is taken, for it is here, for others, or of this device. */
  incoming(archive: Uint8Array): Incoming | 'done' | null {
    const row = this.#db.one('SELECT * FROM handover WHERE archive = ?', archive);
    if (row === undefined) return null;
    return row['direction'] !== 'in' ? 'done' : this.#open(archive, row['sealed'] as Uint8Array, incoming);
  }
  allIncoming(): (Incoming & { readonly archive: Uint8Array })[] {
    return this.#db.all("SELECT * FROM handover WHERE direction = 'in' ORDER BY rowid").map((row) => {
      const archive = row['archive'] as Uint8Array;
      return { archive, ...this.#open(archive, row['sealed'] as Uint8Array, incoming) };
    });
  }
  setIncoming(archive: Uint8Array, value: Incoming): void {
    this.#set(archive, 'in', value);
  }

  /** Nothing more is done with it; what comes of it again is known. */
  finish(archive: Uint8Array): void {
    this.#db.run('DELETE FROM handover_piece WHERE archive = ?', archive);
    this.#set(archive, 'done', {});
  }

  addPiece(archive: Uint8Array, n: number, sealed: Uint8Array): void {
    const place = `handover_piece/${hex(archive)}/${n}`;
    const sql = 'INSERT OR IGNORE INTO handover_piece (archive, n, sealed) VALUES (?,?,?)';
    this.#db.run(sql, archive, n, this.#seal.seal(place, sealed));
  }
  piece(archive: Uint8Array, n: number): Buffer | null {
    const row = this.#db.one('SELECT sealed FROM handover_piece WHERE archive = ? AND n = ?', archive, n);
    return row === undefined
      ? null
      : this.#seal.open(`handover_piece/${hex(archive)}/${n}`, row['sealed'] as Uint8Array);
  }
  dropPiece(archive: Uint8Array, n: number): void {
    this.#db.run('DELETE FROM handover_piece WHERE archive = ? AND n = ?', archive, n);
  }
  pieceCount(archive: Uint8Array): number {
    return this.#db.one('SELECT count(*) AS n FROM handover_piece WHERE archive = ?', archive)?.['n'] as number;
  }

  #approvals(): Decoded<typeof approvals> {
    const row = this.#db.one('SELECT sealed FROM value WHERE name = ?', 'approved_devices');
    return row === undefined
      ? []
      : approvals(decode(this.#seal.open('value/approved_devices', row['sealed'] as Uint8Array)), 'approved_devices');
  }
  #setApprovals(value: Decoded<typeof approvals>): void {
    const sealed = this.#seal.seal('value/approved_devices', encode(value as unknown as Encodable));
    this.#db.run('INSERT OR REPLACE INTO value (name, sealed) VALUES (?,?)', 'approved_devices', sealed);
  }

  #all<T>(direction: Direction, shape: Decode<T>): T[] {
    return this.#db
      .all('SELECT * FROM handover WHERE direction = ? ORDER BY rowid', direction)
      .map((row) => this.#open(row['archive'] as Uint8Array, row['sealed'] as Uint8Array, shape));
  }
  #set(archive: Uint8Array, direction: Direction, value: object): void {
    if (archive.length !== ARCHIVE_ID_BYTES) throw new RangeError('an archive is named by 16 bytes');
    const sealed = this.#seal.seal(`handover/${hex(archive)}`, encode(value as Encodable));
    this.#db.run(
      `INSERT INTO handover (archive, direction, sealed) VALUES (?,?,?)
       ON CONFLICT (archive) DO UPDATE SET direction = excluded.direction, sealed = excluded.sealed`,
      ...[archive, direction, sealed],
    );
  }
  #open<T>(archive: Uint8Array, sealed: Uint8Array, shape: Decode<T>): T {
    return shape(decode(this.#seal.open(`handover/${hex(archive)}`, sealed)), 'handover');
  }
}
