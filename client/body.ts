/**
 * How a message body travels. One boundary, two functions: end-to-end encryption takes the place of what is inside them.
 *
 * THE BODY IS NOT ENCRYPTED END TO END YET. It travels as kf ‖ body, under the channel's and TLS's encryption only: the server can
 * read it. What is there already is the commitment in the signed statement, which ties exactly this body to the sender.
 */
import { concat } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { MAX_BODY_BYTES } from '../protocol/messages.ts';
import { COMMITMENT_KEY_BYTES, splitOpening } from '../transcript/statement.ts';

/** Bytes of one message as a person writes it. */
export const MAX_TEXT_BYTES = MAX_BODY_BYTES - COMMITMENT_KEY_BYTES;

/** The parts that travel. @throws TOO_LARGE */
export function sealBody(kf: Uint8Array, body: Uint8Array): Uint8Array[] {
  if (body.length > MAX_TEXT_BYTES)
    throw new ChatError('TOO_LARGE', `a message has at most ${MAX_TEXT_BYTES} bytes`, { field: 'body' });
  return [concat(kf, body)];
}

/** What sealBody() was given. @throws BAD_FRAME for parts that it cannot have made */
export function openBody(parts: readonly Uint8Array[]): { readonly kf: Uint8Array; readonly body: Uint8Array } {
  const [only] = parts;
  if (only === undefined || parts.length !== 1)
    throw new ChatError('BAD_FRAME', 'a message of several parts', { field: 'parts' });
  const { kf, plaintext } = splitOpening(only);
  return { kf, body: plaintext };
}
