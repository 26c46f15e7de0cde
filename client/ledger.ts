/**
 * The part of the vault that can prove something later: log keys as they were first seen, every checkpoint that the client was shown,
 * the signed batches with their acknowledgements, certificates of senders, and what was found to be false. Nothing here is ever
 * deleted: it is small, and evidence that its holder thins out is worth less. What proves nothing to others is kept as far as there is room.
 */
import { sha256 } from '../base/hash.ts';
import { equal, utf8, type Fingerprint, type Hash } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { bytes, list, literal, optional, record, text, uint, type Decoded } from '../base/decode.ts';
import type { Code } from '../base/errors.ts';
import { hex } from '../base/bytes.ts';
import { formatTakeovers, parseTakeovers, tiedTo, type Takeover } from '../transcript/takeovers.ts';
import { decodeAck } from '../transcript/ack.ts';
import type { LogKeys } from '../transcript/checkpoint.ts';
import { parseVkey } from '../transcript/note.ts';
import type { Database, Row } from './database.ts';
import { MessageTable } from './message-table.ts';
import type { Seal } from './seal.ts';

/** A log's key as this client first saw it, and the statement by which a server certificate vouched for it. */
export interface PinnedLog {
  readonly origin: string;
  readonly vkey: string;
  readonly statement: string;
  readonly algorithm: number;
  readonly signature: Uint8Array;
  /** DER of the server certificate that signed the statement */
  readonly certificate: Uint8Array;
}

/** A checkpoint whose signature was verified; `note` is what the log signed. */
export interface SeenCheckpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
  readonly note: string;
  /** true: shown to be one history with the others that are marked so */
  readonly isProven: boolean;
}

export const evidenceItem = record({
  statement: optional(bytes(248)),
  statement_hash: optional(bytes(32)),
  leaf_hash: optional(bytes(32)),
});
export const evidenceRecord = record({
  v: literal(1),
  algorithm: uint(255),
  signature: bytes(0, 4096),
  batch: bytes(172),
  ack: bytes(1, 65_536),
  note: text(1_000_000),
  items: list(evidenceItem, 1024, 1),
});
/**
 * One signed batch and its place in the log. An item is a statement, or the two leaf hashes of a message that belongs to a conversation
 * of others. `note` is the checkpoint that the acknowledgement proves into, also when the acknowledgement itself came without one.
 */
export type Evidence = Omit<Decoded<typeof evidenceRecord>, 'v'>;

const MAX_DETAIL_BYTES = 4_000_000;
const alarmDetail = record({ message: text(4096), detail: bytes(0, MAX_DETAIL_BYTES) });
/** Found in what the log has signed, so that it can be proven to others. Anything else that is false a server makes up for nothing. */
export const PROVABLE: ReadonlySet<Code> = new Set<Code>(['FORK', 'ROLLBACK', 'REPLAY', 'LINEAGE', 'WITHHELD']);
/** Of all alarms that are not: beyond it what was refused is not kept with them. */
const MAX_UNPROVABLE_BYTES = 16 * 1024 * 1024;
export interface Alarm {
  readonly at: number;
  readonly code: Code;
  readonly message: string;
  /** what was refused, in CBOR; empty: there was no room for it */
  readonly detail: Uint8Array;
}

const keyStatement = record({
  origin: text(300),
  vkey: text(512),
  statement: text(4096),
  algorithm: uint(255),
  signature: bytes(1, 4096),
  certificate: bytes(1, 65_535),
});
const chainOf = list(bytes(1, 65_535), 16, 1);

export class Ledger {
  readonly #db: Database;
  readonly #seal: Seal;
  readonly #messages: MessageTable;
  /** of alarms that are not provable; null: not counted yet */
  #unprovableBytes: number | null = null;

  constructor(db: Database, seal: Seal) {
    this.#db = db;
    this.#seal = seal;
    this.#messages = new MessageTable(db, seal);
  }

  pinnedLog(origin: string): PinnedLog | null {
    const row = this.#db.one('SELECT * FROM origin WHERE origin = ?', origin);
    return row === undefined
      ? null
      : {
          origin,
          vkey: row['vkey'] as string,
          statement: row['statement'] as string,
          algorithm: row['algorithm'] as number,
          signature: row['signature'] as Uint8Array,
          certificate: row['certificate'] as Uint8Array,
        };
  }
  /** Adds a pin, or replaces it (the caller has checked that the old key signed for the new one). */
  pinLog(log: PinnedLog): void {
    this.#db.run(
      'INSERT OR REPLACE INTO origin (origin, vkey, statement, algorithm, signature, certificate) VALUES (?,?,?,?,?,?)',
      ...[log.origin, log.vkey, log.statement, log.algorithm, log.signature, log.certificate],
    );
  }
  /** Another key of a log; the caller has checked that the one before signed for it. All that vouched for that one stay. */
  replaceKey(log: PinnedLog, takeovers: readonly Takeover[]): void {
    this.#db.transaction(() => {
      const before = this.pinnedLog(log.origin);
      this.pinLog(log);
      if (before !== null) this.addKeyStatement(before);
      this.setTakeovers(log.origin, takeovers);
    });
  }
  setTakeovers(origin: string, takeovers: readonly Takeover[]): void {
    const name = `takeovers/${origin}`;
    const sealed = this.#seal.seal(`value/${name}`, formatTakeovers(takeovers));
    this.#db.run('INSERT OR REPLACE INTO value (name, sealed) VALUES (?,?)', name, sealed);
  }
  /** Of a log that is pinned: the key that it has now, then those that it had before. */
  logKeys(origin: string): LogKeys {
    const { vkey } = this.pinnedLog(origin)!;
    return tiedTo(parseVkey(vkey), this.takeovers(origin));
  }
  /** How the log came to the key that it has now. */
  takeovers(origin: string): Takeover[] {
    const name = `takeovers/${origin}`;
    const row = this.#db.one('SELECT sealed FROM value WHERE name = ?', name);
    return row === undefined ? [] : parseTakeovers(this.#seal.open(`value/${name}`, row['sealed'] as Uint8Array));
  }
  /** Another statement of a log: by another certificate of the server, or of a key that it had before. Each is kept once. */
  addKeyStatement(log: PinnedLog): void {
    const known = this.keyStatements(log.origin);
    if (known.some(({ certificate, vkey }) => vkey === log.vkey && equal(certificate, log.certificate))) return;
    const name = `key_statement/${log.origin}/${known.length + 1}`;
    this.#db.run(
      'INSERT INTO value (name, sealed) VALUES (?,?)',
      name,
      this.#seal.seal(`value/${name}`, encode({ ...log })),
    );
  }
  /** All that vouched for the key of a log, in the order in which they were seen. */
  keyStatements(origin: string): PinnedLog[] {
    const first = this.pinnedLog(origin);
    const found: PinnedLog[] = first === null ? [] : [first];
    for (;;) {
      const name = `key_statement/${origin}/${found.length + 1}`;
      const row = this.#db.one('SELECT sealed FROM value WHERE name = ?', name);
      if (row === undefined) return found;
      found.push(keyStatement(decode(this.#seal.open(`value/${name}`, row['sealed'] as Uint8Array)), name));
    }
  }
  /** Of the log that was pinned last. */
  lastOrigin(): string | null {
    return (this.#db.one('SELECT origin FROM origin ORDER BY rowid DESC LIMIT 1')?.['origin'] as string) ?? null;
  }
  origins(): string[] {
    return this.#db.all('SELECT origin FROM origin ORDER BY origin').map((row) => row['origin'] as string);
  }

  /** Keeps a checkpoint; one that is known already keeps its mark. The first of an origin is proven: there is nothing to contradict it. */
  addCheckpoint(checkpoint: Omit<SeenCheckpoint, 'isProven'>): void {
    const { origin, size, root, note } = checkpoint;
    const isFirst = this.#db.one('SELECT 1 FROM checkpoint WHERE origin = ?', origin) === undefined;
    this.#db.run(
      'INSERT OR IGNORE INTO checkpoint (origin, size, root, note, is_proven) VALUES (?,?,?,?,?)',
      ...[origin, size, root, note, isFirst ? 1 : 0],
    );
  }
  /** The largest that is proven to continue the others. */
  head(origin: string): SeenCheckpoint | null {
    return checkpointOf(
      this.#db.one('SELECT * FROM checkpoint WHERE origin = ? AND is_proven = 1 ORDER BY size DESC LIMIT 1', origin),
    );
  }
  /** The largest that the log has signed for us, proven or not. */
  newest(origin: string): SeenCheckpoint | null {
    return checkpointOf(this.#db.one('SELECT * FROM checkpoint WHERE origin = ? ORDER BY size DESC LIMIT 1', origin));
  }
  /** The largest that still needs its proof, so that one proof moves the head as far as possible. */
  unproven(origin: string): SeenCheckpoint | null {
    return checkpointOf(
      this.#db.one('SELECT * FROM checkpoint WHERE origin = ? AND is_proven = 0 ORDER BY size DESC LIMIT 1', origin),
    );
  }
  markProven({ origin, size, root }: SeenCheckpoint): void {
    this.#db.run('UPDATE checkpoint SET is_proven = 1 WHERE origin = ? AND size = ? AND root = ?', origin, size, root);
  }
  /** Another one of the same size with another root, which only a fork can explain. */
  rivalOf({ origin, size, root }: Pick<SeenCheckpoint, 'origin' | 'size' | 'root'>): SeenCheckpoint | null {
    return checkpointOf(
      this.#db.one('SELECT * FROM checkpoint WHERE origin = ? AND size = ? AND root <> ?', origin, size, root),
    );
  }
  /** Notes of one size that say different things, of which any two prove a fork. */
  forkedNotes(origin: string): string[] {
    const twice = 'SELECT size FROM checkpoint WHERE origin = ? GROUP BY size HAVING count(*) > 1';
    const sql = `SELECT note FROM checkpoint WHERE origin = ? AND size IN (${twice}) ORDER BY size DESC LIMIT 16`;
    return this.#db.all(sql, origin, origin).map((row) => row['note'] as string);
  }
  checkpointCount(): number {
    return this.#db.one('SELECT count(*) AS n FROM checkpoint')?.['n'] as number;
  }

  evidence(batchHash: Hash): Evidence | null {
    const row = this.#db.one('SELECT sealed FROM evidence WHERE hash = ?', batchHash);
    return row === undefined ? null : this.#openEvidence(batchHash, row);
  }
  /** Keeps a batch, at the first place that was shown; what an earlier delivery of it showed and this one hides is kept as well. */
  addEvidence(batchHash: Hash, origin: string, found: Evidence): void {
    const known = this.evidence(batchHash);
    const items = found.items.map((item, i) => (item.statement ? item : (known?.items[i] ?? item)));
    const { ack, note } = known !== null && placeOf(known) !== placeOf(found) ? known : found;
    const sealed = this.#seal.seal(`evidence/${hex(batchHash)}`, encode({ v: 1, ...found, ack, note, items }));
    this.#db.run('INSERT OR REPLACE INTO evidence (hash, origin, sealed) VALUES (?,?,?)', batchHash, origin, sealed);
  }
  allEvidence(): Evidence[] {
    return this.#db
      .all('SELECT hash, sealed FROM evidence ORDER BY rowid')
      .map((row) => this.#openEvidence(row['hash'] as Uint8Array as Hash, row));
  }

  /** What opens the commitment of a message, by leaf(MS). */
  opening(leaf: Hash): ReturnType<MessageTable['opening']> {
    return this.#messages.opening(leaf);
  }

  /** DER, leaf first. */
  certificate(fingerprint: Fingerprint): Uint8Array[] | null {
    const row = this.#db.one('SELECT sealed FROM certificate WHERE fingerprint = ?', fingerprint);
    if (row === undefined) return null;
    return chainOf(decode(this.#seal.open(`certificate/${hex(fingerprint)}`, row['sealed'] as Uint8Array)), 'chain');
  }
  addCertificate(fingerprint: Fingerprint, chain: readonly Uint8Array[]): void {
    const sealed = this.#seal.seal(`certificate/${hex(fingerprint)}`, encode([...chain]));
    this.#db.run('INSERT OR REPLACE INTO certificate (fingerprint, sealed) VALUES (?,?)', fingerprint, sealed);
  }

  /** False when the same finding about the same subject is kept already. @param subject what tells one finding from another */
  addAlarm(at: number, code: Code, subject: string, message: string, detail: Uint8Array): boolean {
    const key = sha256(utf8(subject));
    const kept = this.#hasRoom(code, detail.length) ? detail : new Uint8Array(0);
    const sealed = this.#seal.seal(`alarm/${code}/${hex(key)}`, encode({ message, detail: kept }));
    const sql = 'INSERT OR IGNORE INTO alarm (at, code, subject, sealed) VALUES (?,?,?,?)';
    const isNew = this.#db.run(sql, at, code, key, sealed) === 1;
    if (isNew && !PROVABLE.has(code)) this.#unprovableBytes! += sealed.length;
    return isNew;
  }
  #hasRoom(code: Code, bytes: number): boolean {
    if (PROVABLE.has(code)) return bytes <= MAX_DETAIL_BYTES;
    const codes = [...PROVABLE];
    const sql = `SELECT total(length(sealed)) AS bytes FROM alarm WHERE code NOT IN (${codes.map(() => '?').join()})`;
    this.#unprovableBytes ??= Number(this.#db.one(sql, ...codes)?.['bytes']);
    return bytes <= MAX_DETAIL_BYTES && this.#unprovableBytes + bytes <= MAX_UNPROVABLE_BYTES;
  }
  hasAlarm(code: Code, subject: string): boolean {
    return (
      this.#db.one('SELECT 1 FROM alarm WHERE code = ? AND subject = ?', code, sha256(utf8(subject))) !== undefined
    );
  }
  alarms(): Alarm[] {
    return this.#db.all('SELECT * FROM alarm ORDER BY row').map((row) => {
      const place = `alarm/${row['code']}/${hex(row['subject'] as Uint8Array)}`;
      const opened = alarmDetail(decode(this.#seal.open(place, row['sealed'] as Uint8Array)), 'alarm');
      return { at: row['at'] as number, code: row['code'] as Code, ...opened };
    });
  }

  #openEvidence(hash: Hash, row: Row): Evidence {
    return evidenceRecord(decode(this.#seal.open(`evidence/${hex(hash)}`, row['sealed'] as Uint8Array)), 'evidence');
  }
}

/** Index of the batch in its log. */
export const placeOf = ({ ack }: Pick<Evidence, 'ack'>): number => decodeAck(ack).first;

function checkpointOf(row: Row | undefined): SeenCheckpoint | null {
  if (row === undefined) return null;
  return {
    origin: row['origin'] as string,
    size: row['size'] as number,
    root: row['root'] as Uint8Array as Hash,
    note: row['note'] as string,
    isProven: row['is_proven'] === 1,
  };
}
