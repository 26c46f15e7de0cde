/**
 * What a sender states: MS, 248 bytes, about one message, and BS, 172 bytes, about a batch of them; the BS is what is signed. Fixed
 * layouts, big-endian, no optional fields, so that a statement has one encoding. Times are Unix milliseconds. docs/TRANSCRIPT.md §a.
 */
import {
  concat,
  equal,
  readU64,
  same,
  u64,
  utf8,
  view,
  writeU64,
  type ConversationId,
  type Fingerprint,
  type Hash,
  type SessionId,
} from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { hmacSha256, sha256 } from '../base/hash.ts';
import { HASH_BYTES, leafHash, NO_HASH, rootOf } from './merkle.ts';
import { rootFromSome } from './some-leaves.ts';
import { isReceiptLength } from './receipt.ts';

export const MS_BYTES = 248;
export const BS_BYTES = 172;
export const SESSION_BYTES = 16;
/** Messages under one signature. */
export const MAX_BATCH = 1024;
export const COMMITMENT_KEY_BYTES = 32;

export const KIND = {
  message: 1,
  attachment: 2,
  delivered: 3,
  read: 4,
  membership: 5,
  open: 6,
  close: 7,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];
/** Bytes of the part of kind 6: session id, its last session_ctr, leaf of its last BS; zeros for a device's first session. */
export const OPEN_BYTES = SESSION_BYTES + 8 + HASH_BYTES;

/** Whether statements of this kind are counted and linked in their conversation. The others stand in the session's chain alone. */
export const isThreaded = (kind: Kind): boolean => kind < KIND.delivered || kind === KIND.membership;
export const isReceipt = (kind: Kind): boolean => kind === KIND.delivered || kind === KIND.read;
/** Of no conversation: where a session begins or ends. */
export const isOfSession = (kind: Kind): boolean => kind === KIND.open || kind === KIND.close;

export interface MessageStatement {
  readonly kind: Kind;
  /** Ciphertext parts, 1..65535. */
  readonly parts: number;
  /** Length of all parts together, u32. */
  readonly ciphertextBytes: number;
  readonly sender: Fingerprint;
  readonly session: SessionId;
  /** The replay counter: 1, 2, 3… over all conversations of the session. */
  readonly sessionCtr: number;
  readonly clientTime: number;
  readonly conversation: ConversationId;
  /** 1, 2, 3… within (sender, session, conversation); 0 for what is not threaded. */
  readonly convCtr: number;
  /** leaf(MS) of the device's previous message in this conversation, also of an earlier session; zeros: there is none. */
  readonly prevConv: Hash;
  readonly rosterHash: Hash;
  readonly commitment: Hash;
  readonly ciphertextHash: Hash;
}

export interface BatchStatement {
  readonly sender: Fingerprint;
  readonly session: SessionId;
  /** sessionCtr of the first message. */
  readonly firstCtr: number;
  /** 1..1024 */
  readonly count: number;
  readonly signTime: number;
  /** leaf(BS) of the session's previous batch; zeros for its first. */
  readonly prevBatch: Hash;
  /** MTH with the encoded MS as leaves. */
  readonly batchRoot: Hash;
  /** SHA-256 of the origin of the log that this batch is made for. */
  readonly audience: Hash;
}

const MS_MAGIC = utf8('clog-ms1');
const BS_MAGIC = utf8('clog-bs1');
const MS_SIZE = { at: 10, bytes: 6 }; // number of parts and length of the ciphertext
const MS_COMMITMENT = 184; // offset: the commitment covers what is before it
const MS_CIPHERTEXT_HASH = 216; // offset: the AEAD's associated data ends here

/** @throws BAD_FRAME naming the field that is out of range */
export function encodeMs(ms: MessageStatement): Buffer {
  const out = Buffer.alloc(MS_BYTES);
  checkMs(ms);
  MS_MAGIC.copy(out);
  out.writeUInt8(ms.kind, 8);
  out.writeUInt16BE(ms.parts, 10);
  out.writeUInt32BE(ms.ciphertextBytes, 12);
  out.set(ms.sender, 16);
  out.set(ms.session, 48);
  writeU64(out, ms.sessionCtr, 64);
  writeU64(out, ms.clientTime, 72);
  out.set(ms.conversation, 80);
  writeU64(out, ms.convCtr, 112);
  out.set(ms.prevConv, 120);
  out.set(ms.rosterHash, 152);
  out.set(ms.commitment, MS_COMMITMENT);
  out.set(ms.ciphertextHash, MS_CIPHERTEXT_HASH);
  return out;
}

/** The fields are views of `bytes`, not copies. @throws BAD_FRAME naming the field */
export function decodeMs(bytes: Uint8Array): MessageStatement {
  const b = exactly(bytes, MS_BYTES, MS_MAGIC, 'ms');
  if (b[9] !== 0) bad('ms.reserved', 'zero');
  const ms: MessageStatement = {
    kind: b.readUInt8(8) as Kind, // proven by checkMs
    parts: b.readUInt16BE(10),
    ciphertextBytes: b.readUInt32BE(12),
    sender: at<Fingerprint>(b, 16),
    session: b.subarray(48, 64) as Uint8Array as SessionId,
    sessionCtr: readU64(b, 64, 'ms.session_ctr'),
    clientTime: readU64(b, 72, 'ms.client_time'),
    conversation: at<ConversationId>(b, 80),
    convCtr: readU64(b, 112, 'ms.conv_ctr'),
    prevConv: at<Hash>(b, 120),
    rosterHash: at<Hash>(b, 152),
    commitment: at<Hash>(b, MS_COMMITMENT),
    ciphertextHash: at<Hash>(b, MS_CIPHERTEXT_HASH),
  };
  checkMs(ms);
  return ms;
}

/** @throws BAD_FRAME naming the field that is out of range */
export function encodeBs(bs: BatchStatement): Buffer {
  const out = Buffer.alloc(BS_BYTES);
  checkBs(bs);
  BS_MAGIC.copy(out);
  out.set(bs.sender, 8);
  out.set(bs.session, 40);
  writeU64(out, bs.firstCtr, 56);
  out.writeUInt32BE(bs.count, 64);
  writeU64(out, bs.signTime, 68);
  out.set(bs.prevBatch, 76);
  out.set(bs.batchRoot, 108);
  out.set(bs.audience, 140);
  return out;
}

/** The fields are views of `bytes`, not copies. @throws BAD_FRAME naming the field */
export function decodeBs(bytes: Uint8Array): BatchStatement {
  const b = exactly(bytes, BS_BYTES, BS_MAGIC, 'bs');
  const bs: BatchStatement = {
    sender: at<Fingerprint>(b, 8),
    session: b.subarray(40, 56) as Uint8Array as SessionId,
    firstCtr: readU64(b, 56, 'bs.first_ctr'),
    count: b.readUInt32BE(64),
    signTime: readU64(b, 68, 'bs.sign_time'),
    prevBatch: at<Hash>(b, 76),
    batchRoot: at<Hash>(b, 108),
    audience: at<Hash>(b, 140),
  };
  checkBs(bs);
  return bs;
}

/** What a batch names as its only log. */
export const audienceOf = (origin: string): Hash => sha256(utf8(origin)) as Uint8Array as Hash;

const ROSTER_LABEL = utf8('chatlog/v1, roster\0');
/**
 * The signed audience of a message. Members in any order; the hash takes them sorted bytewise.
 * @throws BAD_FRAME for no member, a member twice (a second spelling of the same roster) or wrong lengths
 */
export function rosterHash(conversation: ConversationId, epoch: number, members: readonly Fingerprint[]): Hash {
  wide('roster.conversation', conversation);
  within('roster.epoch', epoch, 0);
  const sorted = [...members].sort((a, b) => Buffer.compare(a, b));
  if (sorted.length === 0 || sorted.some((member) => member.length !== 32)) bad('roster.members', 'fingerprints');
  if (sorted.some((member, i) => i > 0 && equal(member, sorted[i - 1]!))) bad('roster.members', 'no member twice');
  return sha256(ROSTER_LABEL, conversation, u64(epoch), ...sorted) as Uint8Array as Hash;
}

const COMMITMENT_LABEL = utf8('chatlog/v1, plaintext commitment\0');
/**
 * HMAC-SHA-256(kf, label ‖ MS[0..184) ‖ plaintext). It binds the plaintext to everything in the statement that precedes it, so that it
 * can't be lifted into another message.
 * @param kf exactly 32 fresh random bytes: HMAC pads shorter and hashes longer keys with zeros, which would give two openings
 * @param ms an encoded MS; its commitment and ciphertext hash may still be zeros
 * @throws BAD_FRAME for another length of `kf` or `ms`
 */
export function commitment(kf: Uint8Array, ms: Uint8Array, plaintext: Uint8Array): Hash {
  if (kf.length !== COMMITMENT_KEY_BYTES) bad('opening.kf', `${COMMITMENT_KEY_BYTES} bytes`);
  return hmacSha256(kf, COMMITMENT_LABEL, head(ms, MS_COMMITMENT), plaintext) as Uint8Array as Hash;
}

/** Constant time. False also for a `kf` that is not 32 bytes. @throws BAD_FRAME for an `ms` of another length than 248 */
export function isCommitted(kf: Uint8Array, ms: Uint8Array, plaintext: Uint8Array): boolean {
  const committed = head(ms, MS_CIPHERTEXT_HASH).subarray(MS_COMMITMENT);
  return kf.length === COMMITMENT_KEY_BYTES && equal(commitment(kf, ms, plaintext), committed);
}

/** An opening is kf ‖ plaintext: what is encrypted, and what is disclosed. @throws BAD_FRAME if it is too short to hold a key */
export function splitOpening(opening: Uint8Array): { kf: Uint8Array; plaintext: Uint8Array } {
  if (opening.length < COMMITMENT_KEY_BYTES) bad('opening', `at least ${COMMITMENT_KEY_BYTES} bytes`);
  return { kf: opening.subarray(0, COMMITMENT_KEY_BYTES), plaintext: opening.subarray(COMMITMENT_KEY_BYTES) };
}

const AAD_LABEL = utf8('chatlog/v1, message aad\0');
/**
 * Associated data of the encryption of a message or commit: label ‖ MS[0..216) with zeros for the number of parts and their length.
 * What is sealed does not know its own size; the hash of the ciphertext, which follows, covers both. docs/decisions/0009.
 * @throws BAD_FRAME as commitment()
 */
export function messageAad(ms: Uint8Array): Buffer {
  const aad = concat(AAD_LABEL, head(ms, MS_CIPHERTEXT_HASH));
  return aad.fill(0, AAD_LABEL.length + MS_SIZE.at, AAD_LABEL.length + MS_SIZE.at + MS_SIZE.bytes);
}

/** MTH over the ciphertext parts; leaf(ciphertext) for the usual single part. @throws BAD_FRAME unless 1..65535 parts */
export function ciphertextHash(parts: readonly Uint8Array[]): Hash {
  if (parts.length < 1 || parts.length > 0xffff) bad('ciphertext.parts', '1..65535');
  return rootOf(parts.map(leafHash));
}

/** Whether these are the parts that the statement speaks of: their number, total length and hash. */
export function isCiphertextOf(ms: MessageStatement, parts: readonly Uint8Array[]): boolean {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  return parts.length === ms.parts && bytes === ms.ciphertextBytes && same(ciphertextHash(parts), ms.ciphertextHash);
}

/**
 * The same of some of the parts.
 * @param places which of them these are, rising
 * @param others hashes of the rest, as in some-leaves.ts; how long that is is not told
 */
export function isPartOfCiphertext(
  ms: MessageStatement,
  parts: readonly Uint8Array[],
  places: readonly number[],
  others: readonly Uint8Array[],
): boolean {
  if (parts.length !== places.length) return false;
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  const shown = parts.map((part, i) => ({ at: places[i]!, leaf: leafHash(part) }));
  const root = rootFromSome(ms.parts, shown, others);
  return root !== null && bytes <= ms.ciphertextBytes && equal(root, ms.ciphertextHash);
}

const at = <T extends Uint8Array>(b: Buffer, offset: number): T =>
  b.subarray(offset, offset + HASH_BYTES) as Uint8Array as T;

function exactly(bytes: Uint8Array, length: number, magic: Buffer, what: string): Buffer {
  if (bytes.length !== length) bad(`${what}.length`, `${length} bytes`);
  const b = view(bytes);
  if (b.compare(magic, 0, magic.length, 0, magic.length) !== 0) bad(`${what}.magic`, magic.toString('latin1'));
  return b;
}

function head(ms: Uint8Array, bytes: number): Uint8Array {
  if (ms.length !== MS_BYTES) bad('ms.length', `${MS_BYTES} bytes`);
  return ms.subarray(0, bytes);
}

function within(field: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) bad(field, `an integer in ${min}..${max}`);
}
function wide(field: string, bytes: Uint8Array, length = HASH_BYTES): void {
  if (bytes.length !== length) bad(field, `${length} bytes`);
}

function checkMs(ms: MessageStatement): void {
  within('ms.kind', ms.kind, KIND.message, KIND.close);
  within('ms.parts', ms.parts, 1, 0xffff);
  within('ms.ciphertext_bytes', ms.ciphertextBytes, 0, 0xffff_ffff);
  wide('ms.sender', ms.sender);
  wide('ms.session', ms.session, SESSION_BYTES);
  within('ms.session_ctr', ms.sessionCtr, 1);
  within('ms.client_time', ms.clientTime, 0);
  wide('ms.conversation', ms.conversation);
  within('ms.conv_ctr', ms.convCtr, isThreaded(ms.kind) ? 1 : 0);
  wide('ms.prev_conv', ms.prevConv);
  wide('ms.roster_hash', ms.rosterHash);
  wide('ms.commitment', ms.commitment);
  wide('ms.ct_hash', ms.ciphertextHash);
  if (!isThreaded(ms.kind)) checkPlain(ms);
}

/** Receipts, and how a session begins and ends: in the clear, to nobody in particular, and outside the chain of the conversation. */
function checkPlain(ms: MessageStatement): void {
  if (ms.convCtr !== 0) bad('ms.conv_ctr', 'zero');
  for (const [field, value] of [
    ['ms.prev_conv', ms.prevConv],
    ['ms.roster_hash', ms.rosterHash],
    ['ms.commitment', ms.commitment],
  ] as const)
    if (!equal(value, NO_HASH)) bad(field, 'zeros');
  within('ms.parts', ms.parts, 1, 1);
  if (isReceipt(ms.kind)) {
    if (!isReceiptLength(ms.ciphertextBytes)) bad('ms.ciphertext_bytes', 'those of 1..1024 hashes');
    return;
  }
  if (!equal(ms.conversation, NO_HASH)) bad('ms.conversation', 'zeros');
  const isOpen = ms.kind === KIND.open;
  if (isOpen) within('ms.session_ctr', ms.sessionCtr, 1, 1);
  const bytes = isOpen ? OPEN_BYTES : 0;
  within('ms.ciphertext_bytes', ms.ciphertextBytes, bytes, bytes);
}

function checkBs(bs: BatchStatement): void {
  wide('bs.sender', bs.sender);
  wide('bs.session', bs.session, SESSION_BYTES);
  within('bs.count', bs.count, 1, MAX_BATCH);
  within('bs.first_ctr', bs.firstCtr, 1, Number.MAX_SAFE_INTEGER - MAX_BATCH); // so that the last counter is exact, too
  within('bs.sign_time', bs.signTime, 0);
  wide('bs.prev_batch', bs.prevBatch);
  wide('bs.batch_root', bs.batchRoot);
  wide('bs.audience', bs.audience);
}
