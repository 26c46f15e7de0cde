/** Records that are still to be sealed (channel.ts): the plaintext stands where the ciphertext will, with room around it for the rest. */
import { SEAL_OVERHEAD_BYTES } from './limits.ts';

export const LENGTH_BYTES = 4;
/** Length and counter, which stand before the plaintext. */
export const HEADER_BYTES = 12;
/** Stands behind it. */
export const TAG_BYTES = 16;
/** What a record is longer than its plaintext. */
export const RECORD_OVERHEAD_BYTES = LENGTH_BYTES + SEAL_OVERHEAD_BYTES;

/** Room for a record of so many bytes of plaintext. */
export const recordFor = (plaintextBytes: number): Buffer => Buffer.allocUnsafe(RECORD_OVERHEAD_BYTES + plaintextBytes);
export const plaintextOf = (record: Buffer): Buffer => record.subarray(HEADER_BYTES, -TAG_BYTES);

/** With the pieces in it one after the other: each call of a cipher costs a buffer. */
export function unsealed(pieces: readonly Uint8Array[]): Buffer {
  const record = recordFor(pieces.reduce((sum, { length }) => sum + length, 0));
  let end = HEADER_BYTES;
  for (const piece of pieces) {
    record.set(piece, end);
    end += piece.length;
  }
  return record;
}
