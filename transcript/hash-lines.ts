/**
 * Hashes in base64, one on each line, as proofs have them (C2SP tlog-proof, tlog-witness). A large bundle has hundreds of thousands, so that
 * they are read from the bytes of the file, and no text is made of them.
 */
import { base64, type Hash } from '../base/bytes.ts';
import { HASH_BYTES } from './merkle.ts';

/** 43 digits, `=`, and a line feed. */
const LINE_BYTES = 45;
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const PAD = 0x3d;
const LINE_FEED = 0x0a;
/** By byte; -1, in which all bits are set, for what is no digit. */
const VALUES = new Int8Array(256).fill(-1);
for (let value = 0; value < DIGITS.length; value++) VALUES[DIGITS.charCodeAt(value)] = value;

export const formatHashLines = (hashes: readonly Hash[]): string => hashes.map((hash) => `${base64(hash)}\n`).join('');

/** All lines of bytes [from, end); null unless each is a hash in its one spelling, and ends in a line feed. */
export function parseHashLines(bytes: Uint8Array, from: number, end: number): Hash[] | null {
  const count = (end - from) / LINE_BYTES;
  if (count < 0 || !Number.isInteger(count)) return null;
  const all = Buffer.allocUnsafe(count * HASH_BYTES);
  const hashes: Hash[] = [];
  for (let i = 0; i < count; i++) {
    const to = i * HASH_BYTES;
    if (!readLine(bytes, from + i * LINE_BYTES, all, to)) return null;
    hashes.push(all.subarray(to, to + HASH_BYTES) as Uint8Array as Hash);
  }
  return hashes;
}

function readLine(bytes: Uint8Array, from: number, into: Uint8Array, to: number): boolean {
  let all = 0; // negative as soon as something was no digit
  let at = from;
  let out = to;
  for (; out < to + HASH_BYTES - 2; at += 4, out += 3) {
    const [a, b, c, d] = [valueOf(bytes, at), valueOf(bytes, at + 1), valueOf(bytes, at + 2), valueOf(bytes, at + 3)];
    all |= a | b | c | d;
    into[out] = (a << 2) | (b >> 4);
    into[out + 1] = (b << 4) | (c >> 2);
    into[out + 2] = (c << 6) | d;
  }
  const [a, b, c] = [valueOf(bytes, at), valueOf(bytes, at + 1), valueOf(bytes, at + 2)];
  all |= a | b | c;
  into[out] = (a << 2) | (b >> 4);
  into[out + 1] = (b << 4) | (c >> 2);
  const isWhole = all >= 0 && (c & 3) === 0; // the last digit has two bits that say nothing
  return isWhole && bytes[at + 3] === PAD && bytes[at + 4] === LINE_FEED;
}

const valueOf = (bytes: Uint8Array, at: number): number => VALUES[bytes[at]!]!;
