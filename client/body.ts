/**
 * What of a message is encrypted end to end: kf ‖ body, the opening of the commitment in its signed statement; the body is its content. How
 * it is sealed is the engine's (client/e2ee); how large it may be, and how large it becomes, is said here.
 */
import { concat } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { COMMITMENT_KEY_BYTES, messageAad, MS_BYTES, splitOpening } from '../transcript/statement.ts';
import { sealedBytes } from './e2ee/padding.ts';

/** Bytes of one content: with its key, the largest size class is full. */
export const MAX_CONTENT_BYTES = 512 * 1024 - 1 - COMMITMENT_KEY_BYTES;
/** Bytes of a text: what stands beside it in its content is much shorter than the difference. */
export const MAX_TEXT_BYTES = MAX_CONTENT_BYTES - 8192;

const AAD_BYTES = messageAad(Buffer.alloc(MS_BYTES)).length;

/** What is sealed. @throws TOO_LARGE */
export function openingOf(kf: Uint8Array, body: Uint8Array): Uint8Array {
  if (body.length > MAX_CONTENT_BYTES)
    throw new ChatError('TOO_LARGE', `a message has at most ${MAX_CONTENT_BYTES} bytes`, { field: 'body' });
  return concat(kf, body);
}

/** Length of the one part that a body of this length travels in. */
export const partBytes = (bodyBytes: number): number => sealedBytes(COMMITMENT_KEY_BYTES + bodyBytes, AAD_BYTES);

/** What openingOf() was given. @throws BAD_FRAME for what it cannot have made */
export function readOpening(opening: Uint8Array): { readonly kf: Uint8Array; readonly body: Uint8Array } {
  const { kf, plaintext } = splitOpening(opening);
  return { kf, body: plaintext };
}
