/**
 * A history as bytes: what one profile can prove, written so that another device of the same user can prove it too. Records one behind the
 * other, each `u32 length ‖ deterministic CBOR`: certificates, what vouches for the keys of logs, conversations, whose keys were compared, then batches in the order of the log,
 * each with its evidence and the openings of its messages. Nothing in it is believed because it is there: archive-reader.ts.
 */
import { concat, hex, u32, type ConversationId, type Fingerprint, type Hash } from '../base/bytes.ts';
import { decode, encode, type Encodable } from '../base/cbor.ts';
import { bool, bytes, list, literal, optional, record, text, uint, type Decoded } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { isReceipt, KIND } from '../transcript/statement.ts';
import { provenStatements, type Proven } from './evidence.ts';
import { evidenceItem, type Evidence } from './ledger.ts';
import { markedKeys } from './mark-table.ts';
import { ownMarks } from './marks.ts';
import type { Roster } from './roster.ts';
import type { Vault } from './vault.ts';

/** A batch of 1024 statements with the openings of its messages. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024;

const certificate = record({ t: literal('certificate'), chain: list(bytes(1, 65_535), 16, 1) });
const logKey = record({
  t: literal('log_key'),
  chain: list(bytes(1, 65_535), 16, 1),
  statement: text(4096),
  algorithm: uint(255),
  signature: bytes(1, 4096),
});
const conversation = record({
  t: literal('conversation'),
  id: bytes(32),
  peer: text(64),
  epoch: uint(),
  members: list(record({ username: text(64), devices: list(bytes(32), 64) }), 1024, 1),
  room: optional(record({ public: bool, founder: bool, closed: bool })),
});
const batch = record({
  t: literal('batch'),
  origin: text(300),
  algorithm: uint(255),
  signature: bytes(0, 4096),
  batch: bytes(172),
  ack: bytes(1, 65_536),
  note: text(1_000_000),
  items: list(evidenceItem, 1024, 1),
  messages: list(record({ i: uint(1023), seq: uint(), opening: optional(bytes(32, 2_000_000)) }), 1024),
  receipts: list(record({ i: uint(1023), part: bytes(32, 32_768) }), 1024),
});
const verified = record({ t: literal('verified'), user: text(64), at: uint(), keys: markedKeys });
export type VerifiedRecord = Decoded<typeof verified>;
export type CertificateRecord = Decoded<typeof certificate>;
/** That a server's certificate, the first of `chain`, vouches for the key of a log. */
export type LogKeyRecord = Decoded<typeof logKey>;
export type ConversationRecord = Decoded<typeof conversation>;
/**
 * `messages`: which items are messages, with their places in the conversation, and kf ‖ plaintext where the writer has it; `receipts`: which
 * are receipts, with what they are about.
 */
export type BatchRecord = Decoded<typeof batch>;
export type ArchiveRecord = CertificateRecord | LogKeyRecord | ConversationRecord | VerifiedRecord | BatchRecord;

/**
 * @param self conversation of the own devices, which is left out
 * @param since Unix ms by the server's clock
 */
export function* archiveRecords(vault: Vault, self: ConversationId, since: number): Generator<Buffer> {
  const isWanted = ({ ms, batch: { ack } }: Proven): boolean =>
    hex(ms.conversation) !== hex(self) && ack.serverTime >= since;
  const proven = provenStatements(vault.ledger, null).filter(isWanted);
  for (const sender of new Map(proven.map(({ ms }) => [hex(ms.sender), ms.sender])).values()) {
    const chain = vault.ledger.certificate(sender as Fingerprint);
    if (chain !== null) yield framed({ t: 'certificate', chain });
  }
  for (const origin of new Set(proven.map(({ batch: { origin } }) => origin)))
    for (const { certificate: own, statement, algorithm, signature } of vault.ledger.keyStatements(origin)) {
      const chain = vault.ledger.certificate(sha256(own) as Uint8Array as Fingerprint) ?? [own];
      yield framed({ t: 'log_key', chain, statement, algorithm, signature });
    }
  const mentioned = new Set(proven.map(({ ms }) => hex(ms.conversation)));
  for (const { id, peer, epoch, members, room } of vault.conversations())
    if (mentioned.has(hex(id)))
      yield framed({ t: 'conversation', id, peer, epoch, members, ...(room === undefined ? {} : { room }) });
  for (const { user, at, keys } of ownMarks(vault)) yield framed({ t: 'verified', user, at, keys });
  const conversations = new Map(proven.map(({ ms }) => [hex(ms.conversation), ms.conversation]));
  const receipts = new Map(
    [...conversations.values()].flatMap((id) => vault.receipts.in(id)).map(({ hash, part }) => [hex(hash), part]),
  );
  let open: Proven[] = [];
  for (const each of proven) {
    if (open.length > 0 && open[0]!.batch !== each.batch) yield batchOf(vault, receipts, open.splice(0));
    open.push(each);
  }
  if (open.length > 0) yield batchOf(vault, receipts, open);
}

function batchOf(vault: Vault, known: ReadonlyMap<string, Uint8Array>, statements: readonly Proven[]): Buffer {
  const { origin, evidence } = statements[0]!.batch;
  const { algorithm, signature, batch, ack, note, items } = evidence satisfies Evidence;
  const messages = statements.flatMap(({ ms, leaf, position }) => {
    const message = ms.kind === KIND.message ? vault.messageByHash(leaf as Hash) : null;
    if (message === null || message.seq === null) return [];
    const opening = vault.ledger.opening(leaf as Hash);
    return [
      {
        i: position - 1,
        seq: message.seq,
        ...(opening === null ? {} : { opening: concat(opening.kf, opening.body) }),
      },
    ];
  });
  const receipts = statements.flatMap(({ ms, leaf, position }) => {
    const part = isReceipt(ms.kind) ? known.get(hex(leaf)) : undefined;
    return part === undefined ? [] : [{ i: position - 1, part }];
  });
  return framed({ t: 'batch', origin, algorithm, signature, batch, ack, note, items, messages, receipts });
}

function framed(value: object): Buffer {
  const content = encode(value as Encodable);
  return concat(u32(content.length), content);
}

/** Reads records out of pieces, in whatever lengths these come. */
export class ArchiveParser {
  #rest: Buffer = Buffer.alloc(0);

  /** @throws BAD_FRAME for what is no archive; TOO_LARGE */
  *push(piece: Uint8Array): Generator<ArchiveRecord> {
    this.#rest = concat(this.#rest, piece);
    let at = 0;
    while (this.#rest.length - at >= 4) {
      const length = this.#rest.readUInt32BE(at);
      if (length > MAX_RECORD_BYTES) throw new ChatError('TOO_LARGE', 'a record of a history above 4 MiB');
      if (this.#rest.length - at - 4 < length) break;
      yield parsed(this.#rest.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.#rest = this.#rest.subarray(at);
  }
  /** @throws BAD_FRAME when a record is cut off */
  end(): void {
    if (this.#rest.length > 0) throw new ChatError('BAD_FRAME', 'a history that is cut off', { field: 'archive' });
  }
}

function parsed(content: Uint8Array): ArchiveRecord {
  const value = decode(content);
  const kind = value instanceof Map ? value.get('t') : undefined;
  if (kind === 'certificate') return certificate(value, 'archive');
  if (kind === 'log_key') return logKey(value, 'archive');
  if (kind === 'conversation') return conversation(value, 'archive');
  if (kind === 'verified') return verified(value, 'archive');
  return batch(value, 'archive');
}

export const rosterIn = ({ peer, epoch, members, room }: ConversationRecord): Roster => ({
  peer,
  epoch,
  members,
  ...(room === undefined ? {} : { room }),
});
