/**
 * Entries of the log: type u8 ‖ 0 ‖ aux u16 ‖ server time u64 ‖ body, at most 65535 bytes (the length prefix of an entry bundle is a
 * u16). Encoding and decoding only: whether the statements inside hold is not decided here. docs/TRANSCRIPT.md §a.
 */
import { concat, u16, u32, u64, view, writeU64, type Hash } from '../base/bytes.ts';
import { Cursor } from '../base/cursor.ts';
import { bad } from '../base/decode.ts';
import { MAX_SIGNATURE_BYTES } from '../base/signature.ts';
import { HASH_BYTES } from './merkle.ts';
import { BS_BYTES, MAX_BATCH, MS_BYTES } from './statement.ts';

export const MAX_ENTRY_BYTES = 0xffff;
/** Bytes before the body. */
export const LEAF_HEADER_BYTES = 12;
/** Certificates in a CERT leaf, the sender's own first. */
export const MAX_CHAIN = 16;

/** 7 is not assigned. */
const TYPE = { msg: 1, sigb: 2, link: 3, time: 4, crl: 5, key: 6, cert: 8 } as const;

/** One message. `position` 1..1024 is its place in the batch and the distance back to the batch's SIGB leaf. */
export interface MsgLeaf {
  readonly type: 'msg';
  readonly serverTime: number;
  readonly position: number;
  /** An encoded MS, not looked into. */
  readonly ms: Uint8Array;
}
/** A signed batch statement; the MSG leaves of the batch follow at once. */
export interface SigbLeaf {
  readonly type: 'sigb';
  readonly serverTime: number;
  readonly algorithm: number;
  readonly signature: Uint8Array;
  /** An encoded BS, not looked into but for its count, which is the leaf's aux. */
  readonly bs: Uint8Array;
}
/** The checkpoint of another node's log: a signed note, as it was fetched. */
export interface LinkLeaf {
  readonly type: 'link';
  readonly serverTime: number;
  readonly checkpoint: Uint8Array;
}
/** A sign of life (empty), or a time-stamp of a checkpoint that was published earlier: see stamp.ts. */
export interface TimeLeaf {
  readonly type: 'time';
  readonly serverTime: number;
  readonly stamp: Uint8Array;
}
/** Which revocation list was in force. `nextUpdate` is 0 for a list without one. */
export interface CrlLeaf {
  readonly type: 'crl';
  readonly serverTime: number;
  /** SHA-256 of the DER. */
  readonly digest: Hash;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}
/** A log key statement; see key-statement.ts. Body: u16 length ‖ text ‖ algorithm u8 ‖ u16 length ‖ signature ‖ u16 length ‖ signature. */
export interface KeyLeaf {
  readonly type: 'key';
  readonly serverTime: number;
  readonly statement: Uint8Array;
  readonly algorithm: number;
  readonly signature: Uint8Array;
  /** By the log key that this one replaces; empty if it replaces none. */
  readonly previousSignature: Uint8Array;
}
/** A certificate chain, logged when a fingerprint is first used. Body: u16 count, then u32 length ‖ DER for each. */
export interface CertLeaf {
  readonly type: 'cert';
  readonly serverTime: number;
  /** DER, the sender's own certificate first. */
  readonly chain: readonly Uint8Array[];
}
export type Leaf = MsgLeaf | SigbLeaf | LinkLeaf | TimeLeaf | CrlLeaf | KeyLeaf | CertLeaf;

/** @throws BAD_FRAME for a field out of its range, or more than 65535 bytes */
export function encodeLeaf(leaf: Leaf): Buffer {
  switch (leaf.type) {
    case 'msg':
      return entry(leaf, leaf.position, [leaf.ms]);
    case 'sigb': {
      const { algorithm, signature, bs } = leaf;
      return entry(leaf, countOf(bs), [Buffer.of(algorithm), prefixed16(signature), bs]);
    }
    case 'link':
      return entry(leaf, 0, [leaf.checkpoint]);
    case 'time':
      return entry(leaf, 0, [leaf.stamp]);
    case 'crl':
      return entry(leaf, 0, [leaf.digest, u64(leaf.thisUpdate), u64(leaf.nextUpdate)]);
    case 'key': {
      const { statement, algorithm, signature, previousSignature } = leaf;
      return entry(leaf, 0, [
        prefixed16(statement),
        Buffer.of(algorithm),
        prefixed16(signature),
        prefixed16(previousSignature),
      ]);
    }
    case 'cert':
      return entry(leaf, 0, [u16(leaf.chain.length), ...leaf.chain.flatMap((der) => [u32(der.length), der])]);
  }
}

/** Byte strings in the result are views of `bytes`. @throws BAD_FRAME naming the field */
export function decodeLeaf(bytes: Uint8Array): Leaf {
  if (bytes.length > MAX_ENTRY_BYTES) bad('leaf.length', `at most ${MAX_ENTRY_BYTES} bytes`);
  const c = new Cursor(bytes, 'leaf');
  const type = c.u8('type');
  c.zeros(1, 'reserved');
  const aux = c.u16('aux');
  const serverTime = c.u64('server_time');
  const leaf = decodeBody(c, type, aux, serverTime);
  c.end();
  return leaf;
}

/** The entries of a batch as the log appends them: SIGB, MSG 1, MSG 2…; server and client build the same bytes. @throws BAD_FRAME */
export function batchEntries(
  serverTime: number,
  algorithm: number,
  signature: Uint8Array,
  bs: Uint8Array,
  messages: readonly Uint8Array[],
): Buffer[] {
  if (countOf(bs) !== messages.length) bad('batch.count', `${messages.length}, the number of messages`);
  return [
    encodeLeaf({ type: 'sigb', serverTime, algorithm, signature, bs }),
    ...messages.map((ms, i) => messageEntry(serverTime, i + 1, ms)),
  ];
}

/** encodeLeaf() of what most leaves are. @param position within a batch, whose count is that of its statement */
function messageEntry(serverTime: number, position: number, ms: Uint8Array): Buffer {
  if (ms.length !== MS_BYTES) bad('leaf.ms', `${MS_BYTES} bytes`);
  const bytes = Buffer.allocUnsafe(LEAF_HEADER_BYTES + MS_BYTES);
  writeHeader(bytes, TYPE.msg, position, serverTime);
  bytes.set(ms, LEAF_HEADER_BYTES);
  return bytes;
}

function decodeBody(c: Cursor, type: number, aux: number, serverTime: number): Leaf {
  if (type !== TYPE.msg && type !== TYPE.sigb && aux !== 0) c.refuse('aux', '0');
  switch (type) {
    case TYPE.msg:
      if (aux < 1 || aux > MAX_BATCH) c.refuse('aux', `a position in 1..${MAX_BATCH}`);
      return { type: 'msg', serverTime, position: aux, ms: c.take(MS_BYTES, 'ms') };
    case TYPE.sigb: {
      const algorithm = c.u8('algorithm');
      const signature = signatureAt(c, 'signature');
      const bs = c.take(BS_BYTES, 'bs');
      if (countOf(bs) !== aux) c.refuse('aux', 'the count of the batch statement');
      return { type: 'sigb', serverTime, algorithm, signature, bs };
    }
    case TYPE.link: {
      const checkpoint = c.rest();
      if (checkpoint.length === 0) c.refuse('checkpoint', 'a signed note');
      return { type: 'link', serverTime, checkpoint };
    }
    case TYPE.time:
      return { type: 'time', serverTime, stamp: c.rest() };
    case TYPE.crl: {
      const digest = c.take(HASH_BYTES, 'digest') as Uint8Array as Hash;
      return { type: 'crl', serverTime, digest, thisUpdate: c.u64('this_update'), nextUpdate: c.u64('next_update') };
    }
    case TYPE.key: {
      const statement = c.take(c.u16('statement'), 'statement');
      const algorithm = c.u8('algorithm');
      const signature = signatureAt(c, 'signature');
      const length = c.u16('previous_signature');
      if (length > MAX_SIGNATURE_BYTES) c.refuse('previous_signature', `at most ${MAX_SIGNATURE_BYTES} bytes`);
      const previousSignature = c.take(length, 'previous_signature');
      return { type: 'key', serverTime, statement, algorithm, signature, previousSignature };
    }
    case TYPE.cert: {
      const count = c.u16('count');
      if (count < 1 || count > MAX_CHAIN) c.refuse('count', `1..${MAX_CHAIN} certificates`);
      const chain = Array.from({ length: count }, (_, i) => c.take(c.u32(`chain[${i}]`), `chain[${i}]`));
      if (chain.some((der) => der.length === 0)) c.refuse('chain', 'no empty certificate');
      return { type: 'cert', serverTime, chain };
    }
  }
  return c.refuse('type', 'a known type');
}

function signatureAt(c: Cursor, field: string): Buffer {
  const length = c.u16(field);
  if (length < 1 || length > MAX_SIGNATURE_BYTES) c.refuse(field, `1..${MAX_SIGNATURE_BYTES} bytes`);
  return c.take(length, field);
}

function countOf(bs: Uint8Array): number {
  if (bs.length !== BS_BYTES) bad('leaf.bs', `${BS_BYTES} bytes`);
  const count = view(bs).readUInt32BE(64);
  return count >= 1 && count <= MAX_BATCH ? count : bad('leaf.bs.count', `1..${MAX_BATCH}`);
}

/** Longer ones are refused by the limit of the whole entry, after which the prefix no longer matters. */
const prefixed16 = (bytes: Uint8Array): Buffer => concat(u16(Math.min(bytes.length, 0xffff)), bytes);

function entry(leaf: Leaf, aux: number, body: readonly Uint8Array[]): Buffer {
  const header = Buffer.allocUnsafe(LEAF_HEADER_BYTES);
  writeHeader(header, TYPE[leaf.type], aux, leaf.serverTime);
  const bytes = concat(header, ...body);
  decodeLeaf(bytes); // one set of rules for both directions
  return bytes;
}

function writeHeader(into: Buffer, type: number, aux: number, serverTime: number): void {
  into.writeUInt8(type, 0);
  into.writeUInt8(0, 1);
  into.writeUInt16BE(aux, 2);
  writeU64(into, serverTime, 4);
}
