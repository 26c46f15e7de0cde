/**
 * Deterministic CBOR (RFC 8949 §4.2.1), decoded strictly: one encoding for one value, maps only with text keys, no tags, floats,
 * indefinite lengths, null or undefined. Maps decode to `Map`, so that no key can reach a prototype. One pass each way: every spelling
 * that is not the canonical one is refused where it is met (docs/decisions/0010).
 */
import { ChatError } from './errors.ts';
import { ownCopy, view } from './bytes.ts';

export type Value = number | string | boolean | Uint8Array | readonly Value[] | ReadonlyMap<string, Value>;
/** What may be encoded: also plain objects, whose undefined properties are left out. */
export type Encodable =
  | number
  | string
  | boolean
  | Uint8Array
  | readonly Encodable[]
  | ReadonlyMap<string, Encodable>
  | { readonly [key: string]: Encodable | undefined };

/** RFC 8949 §3.1, in the upper three bits of an item's first byte; the lower five hold its argument or where that follows. */
const MAJOR = { uint: 0, negative: 1, bytes: 2, text: 3, list: 4, map: 5, simple: 7 } as const;
const FALSE = 0xf4;
const TRUE = 0xf5;
/** No frame and no file comes near; deeper is an attack on the stack. */
const MAX_DEPTH = 16;
/** In one value, keys among them. An item of one byte takes two hundred in memory, and half a microsecond: of a megabyte, too much. */
const MAX_ITEMS = 131_072;
/** Byte strings up to here are copied out, so that what is kept of a frame does not hold all of it; longer ones are views. */
const MAX_COPIED_BYTES = 64;
const TWO_32 = 0x1_0000_0000;

/** Where encode() writes; only a copy leaves. It grows for a large value and is given up after it. */
const SCRATCH_BYTES = 64 * 1024;
let scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
let end = 0;

/** @throws TypeError for what CBOR could say and this form does not: a fraction, a number beyond 2^53-1, null */
export const encode = (value: Encodable): Buffer => encodeAt(0, Buffer.allocUnsafe, value);

/**
 * The same, behind `before` bytes of a buffer that `allocate` makes for the length of the encoding.
 * @throws TypeError as encode()
 */
export function encodeAt(before: number, allocate: (byteCount: number) => Buffer, value: Encodable): Buffer {
  end = 0;
  write(value);
  return written(before, allocate);
}

/** Stands for a number that is told later, in its place: see Template. */
export const HOLE = Symbol('a number that is told later') as unknown as number;
/** Where they were met; null: there are to be none. */
let holes: number[] | null = null;

/** A CBOR sequence that differs in some numbers alone: all the rest is encoded once. */
export class Template {
  /** one more than there are holes */
  readonly #pieces: readonly Buffer[];

  /** @param values with HOLE for what differs @throws TypeError as encode() */
  constructor(...values: readonly Encodable[]) {
    end = 0;
    const ends = (holes = []);
    try {
      for (const value of values) write(value);
    } finally {
      holes = null;
    }
    this.#pieces = [...ends, end].map((at, i) => ownCopy(scratch.subarray(ends[i - 1] ?? 0, at)));
  }

  /** As encodeAt(). @param numbers for the holes, in the order of the encoding @throws TypeError unless there are as many */
  encodeAt(before: number, allocate: (byteCount: number) => Buffer, numbers: readonly number[]): Buffer {
    if (numbers.length !== this.#pieces.length - 1) throw new TypeError('not as many numbers as holes');
    end = 0;
    for (let i = 0; i < this.#pieces.length; i++) {
      if (i > 0) write(numbers[i - 1] as number);
      writeRaw(this.#pieces[i] as Buffer);
    }
    return written(before, allocate);
  }
}

/** What stands in `scratch`, where it is wanted. */
function written(before: number, allocate: (byteCount: number) => Buffer): Buffer {
  const bytes = allocate(end);
  scratch.copy(bytes, before, 0, end);
  if (scratch.length > 16 * SCRATCH_BYTES) scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  return bytes;
}

function room(byteCount: number): void {
  if (end + byteCount <= scratch.length) return;
  const grown = Buffer.allocUnsafeSlow(Math.max(2 * scratch.length, end + byteCount));
  scratch.copy(grown, 0, 0, end);
  scratch = grown;
}

function writeHead(major: number, argument: number): void {
  room(9);
  const high = major << 5;
  if (argument < 24) scratch[end++] = high | argument;
  else if (argument < 0x100) {
    scratch[end++] = high | 24;
    scratch[end++] = argument;
  } else if (argument < 0x1_0000) {
    scratch[end++] = high | 25;
    end = scratch.writeUInt16BE(argument, end);
  } else if (argument < TWO_32) {
    scratch[end++] = high | 26;
    end = scratch.writeUInt32BE(argument, end);
  } else {
    scratch[end++] = high | 27;
    end = scratch.writeUInt32BE(Math.floor(argument / TWO_32), end);
    end = scratch.writeUInt32BE(argument % TWO_32, end);
  }
}

function write(value: Encodable): void {
  if (typeof value === 'string') return writeText(value);
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError('not an integer that CBOR is used for here');
    return value < 0 ? writeHead(MAJOR.negative, -1 - value) : writeHead(MAJOR.uint, value);
  }
  if (typeof value === 'boolean') {
    room(1);
    scratch[end++] = value ? TRUE : FALSE;
    return;
  }
  if (value instanceof Uint8Array) {
    writeHead(MAJOR.bytes, value.length);
    return writeRaw(value);
  }
  if (Array.isArray(value)) {
    writeHead(MAJOR.list, value.length);
    for (const item of value as readonly Encodable[]) write(item);
    return;
  }
  if ((value as unknown) === HOLE && holes !== null) return void holes.push(end);
  if (typeof value !== 'object' || value === null) throw new TypeError(`${typeof value} has no form in CBOR here`);
  if (value instanceof Map) {
    const map = value as ReadonlyMap<string, Encodable>;
    return writeMap([...map.keys()], (key) => map.get(key) as Encodable);
  }
  writeObject(value as { readonly [key: string]: Encodable | undefined });
}

/** Whoever names the fields in the order of the encoding saves their sorting. */
function writeObject(object: { readonly [key: string]: Encodable | undefined }): void {
  let count = 0;
  let last: Key | null = null;
  for (const text in object) {
    if (object[text] === undefined) continue;
    const key = keyOf(text);
    if (last !== null && inOrder(last, key) > 0) return writeUnordered(object);
    last = key;
    count++;
  }
  writeHead(MAJOR.map, count);
  for (const text in object) {
    const value = object[text];
    if (value === undefined) continue;
    writeKey(keyOf(text));
    write(value);
  }
}

function writeUnordered(object: { readonly [key: string]: Encodable | undefined }): void {
  const keys = Object.keys(object).filter((key) => object[key] !== undefined);
  writeMap(keys, (key) => object[key] as Encodable);
}

const writeKey = ({ encoded }: Key): void => writeRaw(encoded);

function writeRaw(bytes: Uint8Array): void {
  const { length } = bytes;
  room(length);
  // The call costs more than a few bytes.
  if (length <= 32) for (let i = 0; i < length; i++) scratch[end + i] = bytes[i] as number;
  else scratch.set(bytes, end);
  end += length;
}

function writeMap(keys: readonly string[], get: (key: string) => Encodable): void {
  writeHead(MAJOR.map, keys.length);
  for (const key of keys.map(keyOf).sort(inOrder)) {
    writeKey(key);
    write(get(key.text));
  }
}

interface Key {
  readonly text: string;
  readonly encoded: Buffer;
}
/** The names of fields are few and come again and again; from a peer they come only in maps that are encoded anew. */
const MAX_KEYS = 1024;
const MAX_KEY_CHARS = 64;
const known = new Map<string, Key>();

function keyOf(text: string): Key {
  let key = known.get(text);
  if (key) return key;
  const before = end;
  writeText(text);
  key = { text, encoded: ownCopy(scratch.subarray(before, end)) };
  end = before;
  if (known.size < MAX_KEYS && text.length <= MAX_KEY_CHARS) known.set(text, key);
  return key;
}

/** Shorter encodings first, equally long ones byte by byte (RFC 8949 §4.2.1: a length stands before the text). */
function inOrder({ encoded: a }: Key, { encoded: b }: Key): number {
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] as number) - (b[i] ?? -1);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function writeText(text: string): void {
  const chars = text.length;
  room(chars + 1);
  if (chars < 24) {
    let at = end + 1;
    for (let i = 0; i < chars; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 0x7f) break;
      scratch[at++] = unit;
    }
    if (at === end + 1 + chars) {
      scratch[end] = (MAJOR.text << 5) | chars;
      end = at;
      return;
    }
  }
  const byteCount = Buffer.byteLength(text);
  writeHead(MAJOR.text, byteCount);
  room(byteCount);
  end += scratch.write(text, end, byteCount, 'utf8');
}

/** The one value in `bytes`. @throws BAD_FRAME unless it is the only one and in its canonical form */
export function decode(bytes: Uint8Array): Value {
  const reader = new Reader(view(bytes));
  const value = reader.next();
  if (!reader.isAtEnd) throw new ChatError('BAD_FRAME', 'bytes after the value', { field: 'frame' });
  return value;
}

/** The values of a CBOR sequence (RFC 8742) in order. @throws BAD_FRAME as decode(); values before the fault may have been yielded */
export function* decodeSequence(bytes: Uint8Array): Generator<Value> {
  const reader = new Reader(view(bytes));
  while (!reader.isAtEnd) yield reader.next();
}

/** Short keys that were met, each where its first byte and its ends put it; a later one takes the place. */
const met: (Key | undefined)[] = Array.from({ length: 256 }, () => undefined);
const MAX_MET_CHARS = 23; // their length stands in the first byte
const slotOf = (head: number, first: number, last: number): number => (head * 31 + first * 7 + last) & 0xff;

class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  #items = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  next(): Value {
    this.#items = 0;
    return this.#value(0);
  }

  #value(depth: number): Value {
    if (depth > MAX_DEPTH || ++this.#items > MAX_ITEMS) refuse();
    const first = this.#bytes[this.#at++] ?? refuse();
    if (first === FALSE || first === TRUE) return first === TRUE;
    const argument = this.#argument(first & 0x1f);
    switch (first >> 5) {
      case MAJOR.uint:
        return argument;
      case MAJOR.negative:
        return argument < Number.MAX_SAFE_INTEGER ? -1 - argument : refuse();
      case MAJOR.bytes:
        return this.#byteString(argument);
      case MAJOR.text:
        return this.#text(argument);
      case MAJOR.list:
        return this.#list(argument, depth);
      case MAJOR.map:
        return this.#map(argument, depth);
      default:
        return refuse();
    }
  }

  /** In its shortest form, and exact. */
  #argument(info: number): number {
    if (info < 24) return info;
    const at = this.#at;
    const bytes = this.#bytes;
    const width = info === 24 ? 1 : info === 25 ? 2 : info === 26 ? 4 : info === 27 ? 8 : refuse();
    if (at + width > bytes.length) refuse();
    this.#at = at + width;
    if (width === 1) return atLeast(24, bytes[at] as number);
    if (width === 2) return atLeast(0x100, bytes.readUInt16BE(at));
    if (width === 4) return atLeast(0x1_0000, bytes.readUInt32BE(at));
    const argument = bytes.readUInt32BE(at) * TWO_32 + bytes.readUInt32BE(at + 4);
    return argument <= Number.MAX_SAFE_INTEGER ? atLeast(TWO_32, argument) : refuse();
  }

  /** Where `byteCount` bytes from here end. */
  #take(byteCount: number): number {
    const from = this.#at;
    if (byteCount > this.#bytes.length - from) refuse();
    this.#at = from + byteCount;
    return from;
  }

  #byteString(byteCount: number): Uint8Array {
    const from = this.#take(byteCount);
    const bytes = this.#bytes.subarray(from, this.#at);
    return byteCount <= MAX_COPIED_BYTES ? Buffer.from(bytes) : bytes;
  }

  #text(byteCount: number): string {
    const from = this.#take(byteCount);
    for (let i = from; i < this.#at; i++)
      if ((this.#bytes[i] as number) > 0x7f) return strictUtf8(this.#bytes.subarray(from, this.#at));
    return this.#bytes.toString('latin1', from, this.#at);
  }

  #list(count: number, depth: number): Value[] {
    if (count > this.#bytes.length - this.#at) refuse(); // before memory is taken for it
    const items: Value[] = [];
    for (let i = 0; i < count; i++) items.push(this.#value(depth + 1));
    return items;
  }

  #map(count: number, depth: number): Map<string, Value> {
    const map = new Map<string, Value>();
    let last: Key | null = null;
    for (let i = 0; i < count; i++) {
      const key = this.#key(depth + 1);
      // Rising strictly: no key comes twice, and no order but one.
      if (last !== null && inOrder(last, key) >= 0) refuse();
      last = key;
      map.set(key.text, this.#value(depth + 1));
    }
    return map;
  }

  /** Nearly every key was met before: then it is compared, and not made into a string again. */
  #key(depth: number): Key {
    const from = this.#at;
    const head = this.#bytes[from] ?? refuse();
    if (head >> 5 !== MAJOR.text) refuse();
    const bytes = (head & 0x1f) + 1;
    const slot = slotOf(head, this.#bytes[from + 1] ?? 0, this.#bytes[from + bytes - 1] ?? 0);
    const known = met[slot];
    if (known !== undefined && known.encoded.length === bytes && this.#stands(known.encoded)) {
      if (++this.#items > MAX_ITEMS) refuse();
      this.#at = from + bytes;
      return known;
    }
    const text = this.#value(depth) as string;
    const key = { text, encoded: ownCopy(this.#bytes.subarray(from, this.#at)) };
    if (bytes <= MAX_MET_CHARS + 1) met[slot] = key;
    return key;
  }

  #stands(expected: Uint8Array): boolean {
    for (let i = 0; i < expected.length; i++) if (this.#bytes[this.#at + i] !== expected[i]) return false;
    return true;
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
function strictUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    return refuse();
  }
}

/** The shortest form of an argument is the only one. */
const atLeast = (least: number, argument: number): number => (argument >= least ? argument : refuse());

function refuse(): never {
  throw new ChatError('BAD_FRAME', 'not well-formed CBOR in its canonical form', { field: 'frame' });
}
