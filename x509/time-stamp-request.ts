/** What is sent to a time-stamping authority, what comes back, and the one form in which an answer is kept (RFC 3161 §2.4). */
import { concat } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { malformed, openDer, smallInteger, TAG } from './der.ts';
import { MAX_TOKEN_BYTES } from './time-stamp.ts';

const FIELD = 'time-stamp answer';
/** AlgorithmIdentifier of SHA-256, with the NULL that all authorities know. */
const SHA256 = Buffer.from('300d06096086480165030402010500', 'hex');
const VERSION = Buffer.of(TAG.integer, 1, 1);
const TRUE = Buffer.of(TAG.boolean, 1, 0xff);
/** PKIStatusInfo: granted. */
const GRANTED = Buffer.of(TAG.sequence, 3, TAG.integer, 1, 0);
/** Status and its words take no more. */
export const MAX_ANSWER_BYTES = MAX_TOKEN_BYTES + 4096;

/**
 * Asks for a token with the certificates that are needed to check it.
 * @param digest SHA-256 of what is to be stamped
 * @param nonce octets of a positive INTEGER in its shortest form: the first of 1..127, at most 20
 */
export function timeStampRequest(digest: Uint8Array, nonce: Uint8Array): Buffer {
  const [first = 0] = nonce;
  if (digest.length !== 32 || first < 1 || first > 127 || nonce.length > 20) throw new RangeError('digest or nonce');
  const imprint = tlv(TAG.sequence, SHA256, tlv(TAG.octetString, digest));
  return tlv(TAG.sequence, VERSION, imprint, tlv(TAG.integer, nonce), TRUE);
}

/**
 * The token in an answer, not looked into.
 * @throws UNAVAILABLE/refused if the authority refuses; BAD_CERT/malformed
 */
export function tokenIn(answer: Uint8Array): Buffer {
  if (answer.length > MAX_ANSWER_BYTES) malformed(FIELD, `more than ${MAX_ANSWER_BYTES} bytes`);
  const reader = openDer(answer, FIELD);
  const status = reader.inside();
  const value = smallInteger(status.element(TAG.integer), 5, FIELD);
  if (value > 1) throw new ChatError('UNAVAILABLE', `the authority answers with status ${value}`, { sub: 'refused' });
  const token = reader.element(TAG.sequence).der;
  reader.end();
  return Buffer.from(token);
}

/** An answer that grants this token: what `openssl ts -verify -in` reads. */
export const answerWith = (token: Uint8Array): Buffer => tlv(TAG.sequence, GRANTED, token);

/** The token in what answerWith() made, and in nothing else. @throws BAD_CERT/malformed */
export function keptToken(answer: Uint8Array): Buffer {
  const token = tokenIn(answer);
  if (!answerWith(token).equals(answer)) malformed(FIELD, 'more in it than that a token is granted');
  return token;
}

function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = concat(...parts);
  const { length } = content;
  const octets = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  if (length > 0xffff) throw new RangeError(`${length} octets`);
  return concat(Buffer.of(tag, ...octets), content);
}
