/**
 * The server's receipt for a batch: where its leaves stand, a range proof, and the checkpoint of the commit window. Layout:
 * "clogack1" ‖ first u64 ‖ count u16 ‖ server time u64 ‖ tree size u64 ‖ nh u8 ‖ nh × 32 ‖ u16 length ‖ checkpoint. docs/TRANSCRIPT.md §c.
 */
import { equal, utf8, writeU64, type Hash } from '../base/bytes.ts';
import { Cursor } from '../base/cursor.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { openCheckpoint, type Checkpoint } from './checkpoint.ts';
import { batchEntries } from './leaf.ts';
import { HASH_BYTES, leafHash } from './merkle.ts';
import type { VerifierKey } from './note.ts';
import { inclusionFromRange, rangeProofLength, rootFromRange } from './proof.ts';
import { MAX_BATCH } from './statement.ts';

export interface Ack {
  /** Index of the SIGB leaf; the messages are at first + 1 … first + count. */
  readonly first: number;
  /** Messages, 1..1024. */
  readonly count: number;
  readonly serverTime: number;
  readonly treeSize: number;
  /** Range proof for [first, first + count + 1). */
  readonly proof: readonly Hash[];
  /** A signed note; empty: the one that this connection has already carried for this tree size. */
  readonly checkpoint: Uint8Array;
}
/** The signed batch that an ACK answers, as it was sent. */
export interface SentBatch {
  readonly algorithm: number;
  readonly signature: Uint8Array;
  readonly bs: Uint8Array;
  readonly messages: readonly Uint8Array[];
}
/** What a checked ACK proves: these entries stand at first … in the tree of this checkpoint. */
export interface Receipt {
  readonly checkpoint: Checkpoint;
  /** The signed note of the checkpoint. */
  readonly note: Uint8Array;
  readonly first: number;
  readonly serverTime: number;
  /** SIGB, MSG 1, MSG 2… as logged. */
  readonly entries: readonly Buffer[];
  readonly proof: readonly Hash[];
}

const MAGIC = utf8('clogack1');
/** All but the hashes and the checkpoint. */
const FIXED_BYTES = 37;

/** @throws BAD_FRAME naming the field that is out of range */
export function encodeAck(ack: Ack): Buffer {
  checkPlace(ack.first, ack.count, ack.treeSize, ack.proof.length); // one set of rules for both directions
  if (ack.proof.some(({ length }) => length !== HASH_BYTES)) bad('ack.proof', 'hashes');
  const bytes = Buffer.allocUnsafe(FIXED_BYTES + ack.proof.length * HASH_BYTES + ack.checkpoint.length);
  bytes.set(MAGIC);
  writeU64(bytes, ack.first, 8);
  bytes.writeUInt16BE(ack.count, 16);
  writeU64(bytes, ack.serverTime, 18);
  writeU64(bytes, ack.treeSize, 26);
  bytes[34] = ack.proof.length;
  let at = 35;
  for (const hash of ack.proof) {
    bytes.set(hash, at);
    at += HASH_BYTES;
  }
  at = bytes.writeUInt16BE(ack.checkpoint.length, at);
  bytes.set(ack.checkpoint, at);
  return bytes;
}

/** Byte strings in the result are views of `bytes`. @throws BAD_FRAME naming the field; nh must be what the range and the size ask for */
export function decodeAck(bytes: Uint8Array): Ack {
  const c = new Cursor(bytes, 'ack');
  if (!equal(c.take(MAGIC.length, 'magic'), MAGIC)) c.refuse('magic', MAGIC.toString());
  const first = c.u64('first');
  const count = c.u16('count');
  const serverTime = c.u64('server_time');
  const treeSize = c.u64('tree_size');
  const hashes = c.u8('nh');
  checkPlace(first, count, treeSize, hashes);
  const proof = Array.from({ length: hashes }, (_, i) => c.take(HASH_BYTES, `proof[${i}]`) as Uint8Array as Hash);
  const checkpoint = c.take(c.u16('checkpoint'), 'checkpoint');
  c.end();
  return { first, count, serverTime, treeSize, proof, checkpoint };
}

/** @throws BAD_FRAME naming the field */
function checkPlace(first: number, count: number, treeSize: number, hashes: number): void {
  if (count < 1 || count > MAX_BATCH) bad('ack.count', `1..${MAX_BATCH}`);
  if (treeSize > 2 ** 52 || first + count + 1 > treeSize) bad('ack.tree_size', 'a tree that holds the batch');
  if (hashes !== rangeProofLength(first, first + count + 1, treeSize)) bad('ack.nh', 'one hash for each subtree');
}

/**
 * Checks an ACK against the batch that was sent. That the tree also extends the one known before is for the caller to ask.
 * @param earlier the signed note that came before for this tree size, for an ACK without one of its own
 * @throws BAD_FRAME for a malformed note, or naming ack.count, ack.checkpoint (missing) or ack.tree_size (not the checkpoint's)
 * @throws SIG_FAIL/note if the log did not sign the checkpoint; SIG_FAIL/range if the tree does not hold the batch at this place
 */
export function checkAck(ack: Ack, batch: SentBatch, log: VerifierKey, earlier?: Uint8Array): Receipt {
  const note = ack.checkpoint.length > 0 ? ack.checkpoint : earlier;
  if (note === undefined) throw refused('checkpoint', 'no checkpoint came with or before the acknowledgement');
  if (ack.count !== batch.messages.length) throw refused('count', 'the acknowledgement is for another batch');
  const checkpoint = openCheckpoint(note, log);
  if (checkpoint.size !== ack.treeSize) throw refused('tree_size', 'the checkpoint has another size');
  const { first, serverTime, treeSize, proof } = ack;
  const entries = batchEntries(serverTime, batch.algorithm, batch.signature, batch.bs, batch.messages);
  const root = rootFromRange(first, entries.map(leafHash), treeSize, proof);
  if (root === null || !equal(root, checkpoint.root))
    throw new ChatError('SIG_FAIL', 'the log does not hold the batch where it says', { sub: 'range' });
  return { checkpoint, note, first, serverTime, entries, proof };
}

/** Inclusion path of one entry, leaf to root, for archiving it alone. @param position 0 the SIGB leaf, 1.. the messages @throws RangeError */
export function inclusionOf(receipt: Receipt, position: number): Hash[] {
  const { checkpoint, first, entries, proof } = receipt;
  const path = inclusionFromRange(first + position, first, entries.map(leafHash), checkpoint.size, proof);
  if (path === null) throw new RangeError(`position ${position} of ${entries.length} entries`);
  return path;
}

const refused = (field: string, message: string) => new ChatError('BAD_FRAME', message, { field: `ack.${field}` });
