/**
 * What of a message is encrypted end to end: kf ‖ body, the opening of the commitment in its signed statement. How it is sealed is the
 * engine's (client/e2ee); how large it may be, and how large it becomes, is said here.
 */
import { concat } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { COMMITMENT_KEY_BYTES, messageAad, MS_BYTES, splitOpening } from '../transcript/statement.ts';
import { sealedBytes } from './e2ee/padding.ts';

/** Bytes of one message as a person writes it: with its key, the largest size class is full. */
export const MAX_TEXT_BYTES = 512 * 1024 - 1 - COMMITMENT_KEY_BYTES;

const AAD_BYTES = messageAad(Buffer.alloc(MS_BYTES)).length;

/** What is sealed. @throws TOO_LARGE */
export function openingOf(kf: Uint8Array, body: Uint8Array): Uint8Array {
  if (body.length > MAX_TEXT_BYTES)
    throw new ChatError('TOO_LARGE', `a message has at most ${MAX_TEXT_BYTES} bytes`, { field: 'body' });
  return concat(kf, body);
}

/** Length of the one part that a body of this length travels in. */
export const partBytes = (bodyBytes: number): number => sealedBytes(COMMITMENT_KEY_BYTES + bodyBytes, AAD_BYTES);

/** What openingOf() was given. @throws BAD_FRAME for what it cannot have made */
export function readOpening(opening: Uint8Array): { readonly kf: Uint8Array; readonly body: Uint8Array } {
  const { kf, plaintext } = splitOpening(opening);
  return { kf, body: plaintext };
}
