/** Hides the length of a message in a few classes: 256, 512, 1k, 2k, … bytes. ISO/IEC 7816-4: 0x80, then zeros. */
import { ChatError } from '../../base/errors.ts';

const SMALLEST_BYTES = 256;

/** One byte longer at least, and a power of two. */
export function pad(content: Uint8Array): Buffer {
  let length = SMALLEST_BYTES;
  while (length <= content.length) length *= 2;
  const padded = Buffer.alloc(length);
  padded.set(content);
  padded[content.length] = 0x80;
  return padded;
}

/** @throws BAD_FRAME for what pad() did not make: padding is not a place to hide bytes in */
export function unpad(padded: Uint8Array): Uint8Array {
  let end = padded.length - 1;
  while (end > 0 && padded[end] === 0) end--;
  const isClass = padded.length >= SMALLEST_BYTES && (padded.length & (padded.length - 1)) === 0;
  const isShortest = end >= padded.length / 2 || padded.length === SMALLEST_BYTES;
  if (padded[end] !== 0x80 || !isClass || !isShortest)
    throw new ChatError('BAD_FRAME', 'a message that is not padded as it should be', { field: 'padding' });
  return padded.subarray(0, end);
}
