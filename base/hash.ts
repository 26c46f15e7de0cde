/**
 * Hashing and key derivation. The only door to @noble/hashes, whose portable code serves wherever the verifier must not depend on a
 * runtime's provider; `node:crypto` serves the hot path, and a test compares the two.
 */
import { hash as nodeHash } from 'node:crypto';
import { extract, expand } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { pbkdf2 } from '@noble/hashes/pbkdf2.js';
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { concat, view } from './bytes.ts';

/** 32 bytes. One part is hashed without a copy. The way over a binary (Latin-1) string takes half the time of the one that makes a Buffer. */
export function sha256(...parts: readonly Uint8Array[]): Buffer {
  const [first] = parts;
  return Buffer.from(nodeHash('sha256', parts.length === 1 && first ? first : concat(...parts), 'binary'), 'binary');
}

/** RFC 2104 with SHA-256; 32 bytes. */
export const hmacSha256 = (key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer =>
  view(hmac(nobleSha256, key, parts.length === 1 && parts[0] ? parts[0] : concat(...parts)));

/** RFC 5869 §2.2: PRK of 32 bytes. */
export const hkdfExtract = (salt: Uint8Array, ikm: Uint8Array): Buffer => view(extract(nobleSha256, ikm, salt));

/** RFC 5869 §2.3. @param lengthBytes 1..8160 */
export const hkdfExpand = (prk: Uint8Array, info: Uint8Array, lengthBytes: number): Buffer =>
  view(expand(nobleSha256, prk, info, lengthBytes));

/** RFC 8018 §5.2 with HMAC-SHA-256; `Hi()` of RFC 5802 §2.2 when 32 bytes are asked. */
export const pbkdf2Sha256 = (password: Uint8Array, salt: Uint8Array, rounds: number, lengthBytes: number): Buffer =>
  view(pbkdf2(nobleSha256, password, salt, { c: rounds, dkLen: lengthBytes }));
