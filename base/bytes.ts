/** Byte strings: concatenation, comparison, fixed-width integers, and the text forms that are accepted in exactly one spelling. */
import { timingSafeEqual } from 'node:crypto';
import { ChatError } from './errors.ts';

declare const brand: unique symbol;
/** A type that tsc keeps apart from another of the same shape. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** SHA-256 of a certificate's DER. */
export type Fingerprint = Brand<Uint8Array, 'Fingerprint'>;
/** 32 random bytes that name a conversation. */
export type ConversationId = Brand<Uint8Array, 'ConversationId'>;
/** 16 random bytes that name one device's lineage of statements. */
export type SessionId = Brand<Uint8Array, 'SessionId'>;
/** A node or leaf hash of an RFC 6962 tree. */
export type Hash = Brand<Uint8Array, 'Hash'>;

export const concat = (...parts: readonly Uint8Array[]): Buffer => Buffer.concat(parts);

/** Constant time in the contents (not in the lengths, which are public everywhere here). */
export const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b);

/** The same for what is no secret, such as hashes that anybody may see. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export const utf8 = (text: string): Buffer => Buffer.from(text, 'utf8');
export const hex = (bytes: Uint8Array): string => view(bytes).toString('hex');
export const base64 = (bytes: Uint8Array): string => view(bytes).toString('base64');
export const base64url = (bytes: Uint8Array): string => view(bytes).toString('base64url');

/** The same memory as a Buffer. */
export const view = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * A copy for what lives long: small Buffers are pieces of a pool, and one that is kept keeps all 64 KiB of it. (What `Buffer.from` and
 * `Buffer.concat` make is such a piece.)
 */
export function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

export function u16(value: number): Buffer {
  const b = Buffer.allocUnsafe(2);
  b.writeUInt16BE(value);
  return b;
}
export function u32(value: number): Buffer {
  const b = Buffer.allocUnsafe(4);
  b.writeUInt32BE(value);
  return b;
}
/** @param value 0..2^53-1, the range in which a JavaScript number is exact */
export function u64(value: number): Buffer {
  const b = Buffer.allocUnsafe(8);
  writeU64(b, value, 0);
  return b;
}
export function writeU64(into: Buffer, value: number, offset: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not an unsigned 53-bit integer: ${value}`);
  into.writeUInt32BE(Math.floor(value / 0x1_0000_0000), offset);
  into.writeUInt32BE(value % 0x1_0000_0000, offset + 4);
}
/** @throws BAD_FRAME for a value above 2^53-1: nothing here counts that far, so it is damage or an attack */
export function readU64(from: Buffer, offset: number, field = 'u64'): number {
  const value = from.readUInt32BE(offset) * 0x1_0000_0000 + from.readUInt32BE(offset + 4);
  if (!Number.isSafeInteger(value)) throw new ChatError('BAD_FRAME', `${field} is larger than 2^53-1`, { field });
  return value;
}

/** Strict decoders: one spelling for one value (`Buffer.from` accepts junk, the URL alphabet and non-zero trailing bits). Null: refused. */
export function fromBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : null;
}
export function fromBase64url(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}
export function fromHex(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'hex');
  return bytes.toString('hex') === text ? bytes : null;
}
/** UTF-8 without replacement characters for bad input. Null: refused. A byte-order mark is kept as what it is. */
export function fromUtf8(bytes: Uint8Array): string | null {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return null;
  }
}
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
