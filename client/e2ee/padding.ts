/** Hides the length of a message in a few classes: 256, 512, 1k, 2k, … bytes. ISO/IEC 7816-4: 0x80, then zeros. */
import { ChatError } from '../../base/errors.ts';

const SMALLEST_BYTES = 256;

/** One byte longer at least, and a power of two. */
function paddedBytes(contentBytes: number): number {
  let length = SMALLEST_BYTES;
  while (length <= contentBytes) length *= 2;
  return length;
}

/**
 * Length of the MLSMessage that an application message of this length becomes (RFC 9420 §6.3, 32-byte group id, Ed25519): a size class
 * and nothing else. Known before the encryption, because the commitment, which is made before, covers it.
 */
export function sealedBytes(contentBytes: number, authenticatedBytes: number): number {
  const content = vector(paddedBytes(contentBytes)) + vector(64); // and the signature
  const senderData = 12;
  return (
    4 + vector(32) + 8 + 1 + vector(authenticatedBytes) + vector(senderData + TAG_BYTES) + vector(content + TAG_BYTES)
  );
}
const TAG_BYTES = 16;
/** RFC 9420 §2.1.2: a length of 1, 2 or 4 bytes before the bytes. */
const vector = (bytes: number): number => bytes + (bytes < 64 ? 1 : bytes < 16_384 ? 2 : 4);

export function pad(content: Uint8Array): Buffer {
  const padded = Buffer.alloc(paddedBytes(content.length));
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
