/**
 * Hashing and key derivation. The only door to @noble/hashes, whose portable code serves wherever the verifier must not depend on a
 * runtime's provider; `node:crypto` serves the hot path, and a test compares the two.
 */
import { hash as nodeHash } from 'node:crypto';
import { pbkdf2 } from '@noble/hashes/pbkdf2.js';
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { concat, view } from './bytes.ts';

/** 32 bytes. One part is hashed without a copy. The way over a binary (Latin-1) string takes half the time of the one that makes a Buffer. */
export function sha256(...parts: readonly Uint8Array[]): Buffer {
  const [first] = parts;
  return Buffer.from(nodeHash('sha256', parts.length === 1 && first ? first : concat(...parts), 'binary'), 'binary');
}

/** The same, in hexadecimal. */
export const sha256Hex = (bytes: Uint8Array): string => nodeHash('sha256', bytes, 'hex');

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

/**
 * RFC 2104 with SHA-256; 32 bytes. Two hashes: Node's own HMAC makes an object, and costs ten times as much for short texts. The inner one goes
 * over a string, for that is faster; it tells nothing without the key, and only the outer one is a secret that somebody wipes.
 */
export function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const short = key.length > BLOCK_BYTES ? sha256(key) : key;
  let end = BLOCK_BYTES;
  for (const part of parts) end += part.length;
  const inner = end <= scratch.length ? scratch.subarray(0, end) : Buffer.allocUnsafeSlow(end);
  end = padded(inner, short, INNER_PAD);
  for (const part of parts) {
    inner.set(part, end);
    end += part.length;
  }
  outer.write(nodeHash('sha256', inner, 'binary'), padded(outer, short, OUTER_PAD), 'binary');
  const mac = nodeHash('sha256', outer, 'buffer');
  inner.fill(0); // what is left of them would tell the key, or do as well
  outer.fill(0);
  return mac;
}
/** For texts of usual length: hashing is synchronous, and nothing is left in them. */
const scratch = Buffer.allocUnsafeSlow(2048);
const outer = Buffer.allocUnsafeSlow(BLOCK_BYTES + HASH_BYTES);

/** The key as the first block, xor the pad. */
function padded(block: Buffer, key: Uint8Array, pad: number): number {
  for (let i = 0; i < key.length; i++) block[i] = (key[i] as number) ^ pad;
  block.fill(pad, key.length, BLOCK_BYTES);
  return BLOCK_BYTES;
}

/** RFC 5869 §2.2: PRK of 32 bytes. */
export const hkdfExtract = (salt: Uint8Array, ikm: Uint8Array): Buffer => hmacSha256(salt, ikm);

/** RFC 5869 §2.3. @param lengthBytes 1..8160 */
export function hkdfExpand(prk: Uint8Array, info: Uint8Array, lengthBytes: number): Buffer {
  if (!(Number.isSafeInteger(lengthBytes) && lengthBytes >= 1 && lengthBytes <= 255 * 32))
    throw new RangeError(`HKDF makes 1..8160 bytes, not ${lengthBytes}`);
  let block = hmacSha256(prk, info, FIRST);
  if (lengthBytes === HASH_BYTES) return block;
  const okm = Buffer.allocUnsafeSlow(lengthBytes);
  block.copy(okm);
  for (let i = 2, at = HASH_BYTES; at < lengthBytes; i++, at += HASH_BYTES) {
    const next = hmacSha256(prk, block, info, Buffer.of(i));
    block.fill(0);
    block = next;
    block.copy(okm, at);
  }
  block.fill(0);
  return okm;
}
const FIRST = Buffer.of(1);

/** RFC 8018 §5.2 with HMAC-SHA-256; `Hi()` of RFC 5802 §2.2 when 32 bytes are asked. */
export const pbkdf2Sha256 = (password: Uint8Array, salt: Uint8Array, rounds: number, lengthBytes: number): Buffer =>
  view(pbkdf2(nobleSha256, password, salt, { c: rounds, dkLen: lengthBytes }));
