/** Untrusted value → typed value, or BAD_FRAME naming the field. Unknown and missing fields are errors; peer text picks no code path. */
import type { Value } from './cbor.ts';
import { ChatError } from './errors.ts';

/** @throws BAD_FRAME with `field` */
export type Decode<T> = (value: Value | undefined, field: string) => T;
export type Decoded<D> = D extends Decode<infer T> ? T : never;

export function bad(field: string, want: string): never {
  throw new ChatError('BAD_FRAME', `${field}: want ${want}`, { field });
}

export const text =
  (maxChars: number, minChars = 0): Decode<string> =>
  (v, f) =>
    typeof v === 'string' && v.length <= maxChars && v.length >= minChars
      ? v
      : bad(f, `text of ${minChars}..${maxChars} chars`);

export const uint =
  (max: number = Number.MAX_SAFE_INTEGER, min = 0): Decode<number> =>
  (v, f) =>
    typeof v === 'number' && Number.isSafeInteger(v) && v >= min && v <= max
      ? v
      : bad(f, `an integer in ${min}..${max}`);

export const bool: Decode<boolean> = (v, f) => (typeof v === 'boolean' ? v : bad(f, 'true or false'));

/** @param minBytes the only length accepted when `maxBytes` is left out */
export const bytes =
  (minBytes: number, maxBytes = minBytes): Decode<Uint8Array> =>
  (v, f) =>
    v instanceof Uint8Array && v.length >= minBytes && v.length <= maxBytes
      ? v
      : bad(f, minBytes === maxBytes ? `${minBytes} bytes` : `${minBytes}..${maxBytes} bytes`);

export const literal =
  <const T extends string | number>(want: T): Decode<T> =>
  (v, f) =>
    v === want ? want : bad(f, JSON.stringify(want));

export const oneOf =
  <const T extends string | number>(...wants: readonly T[]): Decode<T> =>
  (v, f) =>
    wants.find((want) => want === v) ?? bad(f, `one of ${wants.join(', ')}`);

export const list =
  <T>(item: Decode<T>, maxItems: number, minItems = 0): Decode<T[]> =>
  (v, f) =>
    Array.isArray(v) && v.length <= maxItems && v.length >= minItems
      ? v.map((x: Value, i) => item(x, `${f}[${i}]`))
      : bad(f, `a list of ${minItems}..${maxItems}`);

declare const absent: unique symbol;
export type Optional<T> = Decode<T> & { readonly [absent]: true };
const optionals = new WeakSet<object>();
/** A field that may be missing from its record; there is no null. */
export function optional<T>(inner: Decode<T>): Optional<T> {
  const decode = ((v, f) => inner(v, f)) as Optional<T>;
  optionals.add(decode);
  return decode;
}

type Shape = Record<string, Decode<unknown>>;
type OptionalKeys<S> = { [K in keyof S]: S[K] extends { readonly [absent]: true } ? K : never }[keyof S];
export type Record_<S extends Shape> = { readonly [K in Exclude<keyof S, OptionalKeys<S>>]: Decoded<S[K]> } & {
  readonly [K in OptionalKeys<S>]?: Decoded<S[K]>;
};

/** A map with these keys and no others. */
export function record<S extends Shape>(shape: S): Decode<Record_<S>> {
  const fields = Object.entries(shape).map(([key, decode]) => ({ key, decode, isOptional: optionals.has(decode) }));
  const required = fields.filter(({ isOptional }) => !isOptional).length;
  return (v, f) => {
    if (!(v instanceof Map)) return bad(f, 'a map');
    const out: Record<string, unknown> = {};
    let known = 0,
      present = 0;
    for (const { key, decode, isOptional } of fields) {
      const value: Value | undefined = v.get(key);
      if (value === undefined) {
        if (!isOptional) bad(`${f}.${key}`, 'this field');
        continue;
      }
      known++;
      if (!isOptional) present++;
      out[key] = decode(value, `${f}.${key}`);
    }
    if (present !== required || known !== v.size) {
      for (const key of v.keys()) if (!Object.hasOwn(shape, key)) bad(`${f}.?`, 'no unknown field');
    }
    return out as Record_<S>;
  };
}
