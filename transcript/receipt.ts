/**
 * The part of a statement of kind 3 (delivered) or 4 (read): leaf(MS) of each message that it is about, one after the other, in the
 * clear. All are of one author in one conversation. docs/TRANSCRIPT.md §a.
 */
import type { Hash } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { HASH_BYTES } from './merkle.ts';

/** Messages that one statement acknowledges. */
export const MAX_ACKNOWLEDGED = 1024;

/** @param messages leaf(MS) of each, 1..1024 */
export const encodeReceipt = (messages: readonly Hash[]): Buffer => Buffer.concat(messages);

/** Views of `part`. @throws BAD_FRAME unless it is 1..1024 hashes */
export function decodeReceipt(part: Uint8Array): Hash[] {
  const count = part.length / HASH_BYTES;
  if (!isReceiptLength(part.length)) bad('receipt', `1..${MAX_ACKNOWLEDGED} hashes`);
  return Array.from(
    { length: count },
    (_, i) => part.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES) as Uint8Array as Hash,
  );
}

export const isReceiptLength = (bytes: number): boolean =>
  bytes > 0 && bytes <= MAX_ACKNOWLEDGED * HASH_BYTES && bytes % HASH_BYTES === 0;
