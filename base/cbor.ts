/**
 * Deterministic CBOR (RFC 8949 §4.2.1), decoded strictly: one encoding for one value, maps only with text keys, no tags, floats,
 * indefinite lengths, null or undefined. The only door to cborg. Maps decode to `Map`, so that no key can reach a prototype.
 */
import { decodeFirst, encode as cborgEncode } from 'cborg';
import { ChatError } from './errors.ts';

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

const DECODE = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  rejectDuplicateMapKeys: true,
  useMaps: true,
} as const;

export function encode(value: Encodable): Buffer {
  const bytes = cborgEncode(value, { ignoreUndefinedProperties: true });
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The one value in `bytes`. @throws BAD_FRAME unless it is the only one and in its canonical form */
export function decode(bytes: Uint8Array): Value {
  const [value, length] = decodeOne(bytes);
  if (length !== bytes.length) throw new ChatError('BAD_FRAME', 'bytes after the value', { field: 'frame' });
  return value;
}

/** The values of a CBOR sequence (RFC 8742) in order. @throws BAD_FRAME as decode(); values before the fault may have been yielded */
export function* decodeSequence(bytes: Uint8Array): Generator<Value> {
  let rest = bytes;
  while (rest.length > 0) {
    const [value, length] = decodeOne(rest);
    rest = rest.subarray(length);
    yield value;
  }
}

function decodeOne(bytes: Uint8Array): readonly [Value, number] {
  let value: Value, rest: Uint8Array;
  try {
    [value, rest] = decodeFirst(bytes, DECODE) as [Value, Uint8Array];
  } catch (cause) {
    // cborg recurses: nesting deep enough to end its stack is refused here as well.
    throw new ChatError('BAD_FRAME', 'not well-formed deterministic CBOR', { field: 'frame', cause });
  }
  const length = bytes.length - rest.length;
  // Key order, text that is not UTF-8, floats that are integers: whatever has two spellings fails this comparison.
  if (!isPlain(value) || Buffer.compare(encode(value), bytes.subarray(0, length)) !== 0)
    throw new ChatError('BAD_FRAME', 'not in canonical form', { field: 'frame' });
  return [value, length];
}

function isPlain(value: unknown): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value);
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'boolean' || value instanceof Uint8Array) return true;
  if (Array.isArray(value)) return value.every(isPlain);
  if (!(value instanceof Map)) return false;
  for (const [key, item] of value) if (typeof key !== 'string' || !key.isWellFormed() || !isPlain(item)) return false;
  return true;
}
