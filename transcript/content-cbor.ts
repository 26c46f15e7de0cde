/**
 * The CBOR of message content: deterministic (RFC 8949 §4.2.1), and with what frames have no use for (base/cbor.ts): null, numbers as map
 * keys, and, inside extensions that only their maker knows, tags and floating point. Values are taken one by one, as the content says
 * what comes; what is not known is measured, checked and kept as its bytes, and never becomes an object.
 */
import { concat, fromUtf8, hex, utf8, view } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';

const MAJOR = { uint: 0, negative: 1, bytes: 2, text: 3, list: 4, map: 5, tag: 6, simple: 7 } as const;
const FALSE = 0xf4;
const TRUE = 0xf5;
const NULL = 0xf6;
const TWO_32 = 0x1_0000_0000;
/** Items in one value that is only kept. */
const MAX_ITEMS = 4096;

export type Key = number | string;

export class ContentReader {
  readonly #bytes: Buffer;
  #at = 0;
  #items = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = view(bytes);
  }

  /** @throws BAD_FRAME when something follows */
  end(field: string): void {
    if (this.#at !== this.#bytes.length) bad(field, 'nothing behind it');
  }

  /** Takes a null if one comes; false: something else comes. */
  null(): boolean {
    if (this.#bytes[this.#at] !== NULL) return false;
    this.#at++;
    return true;
  }
  bool(field: string): boolean {
    const byte = this.#bytes[this.#at++];
    return byte === TRUE ? true : byte === FALSE ? false : bad(field, 'true or false');
  }
  uint(field: string, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.#argument(MAJOR.uint, field);
    return value <= max ? value : bad(field, `an integer of at most ${max}`);
  }
  bytes(field: string, max: number, min = 0): Buffer {
    const length = this.#argument(MAJOR.bytes, field);
    if (length < min || length > max) bad(field, min === max ? `${max} bytes` : `${min}..${max} bytes`);
    return Buffer.from(this.#take(length, field));
  }
  /** @param maxBytes of its UTF-8 */
  text(field: string, maxBytes: number, minBytes = 0): string {
    const length = this.#argument(MAJOR.text, field);
    if (length < minBytes || length > maxBytes) bad(field, `text of ${minBytes}..${maxBytes} bytes`);
    return fromUtf8(this.#take(length, field)) ?? bad(field, 'UTF-8');
  }
  /** Number of items of the list that begins here. */
  list(field: string, max: number, min = 0): number {
    const count = this.#argument(MAJOR.list, field);
    return count >= min && count <= max ? count : bad(field, min === max ? `${max} items` : `${min}..${max} items`);
  }
  /** Number of pairs of the map that begins here. */
  map(field: string, max: number): number {
    const count = this.#argument(MAJOR.map, field);
    return count <= max ? count : bad(field, `at most ${max} entries`);
  }

  /** The bytes of the next value, whatever it is. @param depth lists, maps and tags that may be around a value in it, itself included */
  any(field: string, depth: number): Buffer {
    const from = this.#at;
    this.#items = 0;
    this.#skip(field, depth);
    return Buffer.from(this.#bytes.subarray(from, this.#at));
  }

  /** Keys of one map must rise, as bytes: no key twice, and one order. @param before what this returned for the key before */
  rising(field: string, from: number, before: Buffer | null): Buffer {
    const encoded = this.#bytes.subarray(from, this.#at);
    if (before !== null && Buffer.compare(before, encoded) >= 0) bad(field, 'keys in order, none twice');
    return encoded;
  }
  get position(): number {
    return this.#at;
  }
  key(field: string, maxTextBytes: number): Key {
    const major = (this.#bytes[this.#at] ?? bad(field, 'a key')) >> 5;
    if (major === MAJOR.text) return this.text(field, maxTextBytes, 1);
    if (major === MAJOR.negative) return -1 - this.#argument(MAJOR.negative, field);
    return this.uint(field);
  }

  #skip(field: string, depth: number): void {
    if (++this.#items > MAX_ITEMS) bad(field, `at most ${MAX_ITEMS} items`);
    const first = this.#bytes[this.#at] ?? bad(field, 'a value');
    const major = first >> 5;
    if (major === MAJOR.simple) return this.#skipSimple(field, first);
    if (major >= MAJOR.list && depth === 0) bad(field, 'less nesting');
    const argument = this.#argument(major, field);
    switch (major) {
      case MAJOR.bytes:
        this.#take(argument, field);
        break;
      case MAJOR.text:
        if (fromUtf8(this.#take(argument, field)) === null) bad(field, 'UTF-8');
        break;
      case MAJOR.list:
        for (let i = 0; i < argument; i++) this.#skip(field, depth - 1);
        break;
      case MAJOR.tag:
        this.#skip(field, depth - 1);
        break;
      case MAJOR.map: {
        let before: Buffer | null = null;
        for (let i = 0; i < argument; i++) {
          const from = this.#at;
          if ((this.#bytes[from] ?? 0xff) >> 5 > MAJOR.text) bad(field, 'keys that are numbers, text or bytes');
          this.#skip(field, depth - 1);
          before = this.rising(field, from, before);
          this.#skip(field, depth - 1);
        }
      }
    }
  }

  /** true, false, null, undefined, and numbers with a fraction: any that are in their shortest form by the look of their head. */
  #skipSimple(field: string, first: number): void {
    const info = first & 0x1f;
    const width = info >= 20 && info <= 23 ? 0 : info === 25 ? 2 : info === 26 ? 4 : info === 27 ? 8 : -1;
    if (width < 0) bad(field, 'a value that CBOR knows');
    this.#at++;
    this.#take(width, field);
  }

  /** In its shortest form, and exact. */
  #argument(major: number, field: string): number {
    const first = this.#bytes[this.#at] ?? bad(field, 'a value');
    if (first >> 5 !== major) bad(field, NAMES[major] as string);
    this.#at++;
    const info = first & 0x1f;
    if (info < 24) return info;
    const width =
      info === 24 ? 1 : info === 25 ? 2 : info === 26 ? 4 : info === 27 ? 8 : bad(field, 'a definite length');
    const taken = this.#take(width, field);
    const value = width === 8 ? taken.readUInt32BE(0) * TWO_32 + taken.readUInt32BE(4) : taken.readUIntBE(0, width);
    const least = width === 1 ? 24 : width === 2 ? 0x100 : width === 4 ? 0x1_0000 : TWO_32;
    if (value < least) bad(field, 'its shortest form');
    return value < Number.MAX_SAFE_INTEGER ? value : bad(field, 'a number below 2^53 - 1');
  }

  #take(byteCount: number, field: string): Buffer {
    const from = this.#at;
    if (byteCount > this.#bytes.length - from) bad(field, 'all of its bytes');
    this.#at = from + byteCount;
    return this.#bytes.subarray(from, this.#at);
  }
}

const NAMES: Record<number, string> = {
  [MAJOR.uint]: 'an integer from 0 on',
  [MAJOR.negative]: 'a negative integer',
  [MAJOR.bytes]: 'bytes',
  [MAJOR.text]: 'text',
  [MAJOR.list]: 'a list',
  [MAJOR.map]: 'a map',
};

function head(major: number, argument: number): Buffer {
  const high = major << 5;
  if (argument < 24) return Buffer.of(high | argument);
  if (argument < 0x100) return Buffer.of(high | 24, argument);
  const bytes = Buffer.alloc(argument < 0x1_0000 ? 3 : argument < TWO_32 ? 5 : 9);
  if (bytes.length === 3) bytes.writeUInt16BE(argument, 1);
  else if (bytes.length === 5) bytes.writeUInt32BE(argument, 1);
  else {
    bytes.writeUInt32BE(Math.floor(argument / TWO_32), 1);
    bytes.writeUInt32BE(argument % TWO_32, 5);
  }
  bytes[0] = high | (bytes.length === 3 ? 25 : bytes.length === 5 ? 26 : 27);
  return bytes;
}

export const writeNull = (): Buffer => Buffer.of(NULL);
export const writeBool = (value: boolean): Buffer => Buffer.of(value ? TRUE : FALSE);
/** @param value also negative; within ±(2^53 - 1) */
export const writeInteger = (value: number): Buffer =>
  value < 0 ? head(MAJOR.negative, -1 - value) : head(MAJOR.uint, value);
export const writeBytes = (value: Uint8Array): Buffer => concat(head(MAJOR.bytes, value.length), value);
export function writeText(value: string): Buffer {
  const bytes = utf8(value);
  return concat(head(MAJOR.text, bytes.length), bytes);
}
export const writeList = (items: readonly Uint8Array[]): Buffer => concat(head(MAJOR.list, items.length), ...items);
/** @param entries values as CBOR */
export function writeMap(entries: Iterable<readonly [Key, Uint8Array]>): Buffer {
  const pairs = [...entries].map(([key, value]) => ({
    key: typeof key === 'string' ? writeText(key) : writeInteger(key),
    value,
  }));
  pairs.sort((a, b) => Buffer.compare(a.key, b.key));
  if (new Set(pairs.map(({ key }) => hex(key))).size < pairs.length) throw new TypeError('a key of a map twice');
  return concat(head(MAJOR.map, pairs.length), ...pairs.flatMap(({ key, value }) => [key, value]));
}
