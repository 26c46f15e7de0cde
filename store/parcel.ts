/**
 * Values on their way to or from a worker thread. Structured cloning would copy the whole memory behind each view, once for a
 * statement of 248 bytes cut from a record of a megabyte; here all byte strings of a value are copied into one block, which is then
 * moved and not copied. What the sender keeps is its own again at once.
 */
export interface Parcel {
  readonly value: unknown;
  readonly block: ArrayBuffer;
}

/** Plain objects, lists, scalars and bytes. The value holds views of `block`: pass it to `postMessage` with `block` as its transfer list. */
export function pack(value: unknown): Parcel {
  const block = new ArrayBuffer(byteCount(value));
  let at = 0;
  const copy = (each: unknown): unknown => {
    if (typeof each !== 'object' || each === null) return each;
    if (each instanceof Uint8Array) {
      const view = new Uint8Array(block, at, each.length);
      view.set(each);
      at += each.length;
      return view;
    }
    if (Array.isArray(each)) return each.map(copy);
    const fields: Record<string, unknown> = {};
    for (const key in each) fields[key] = copy((each as Record<string, unknown>)[key]);
    return fields;
  };
  return { value: copy(value), block };
}

function byteCount(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (value instanceof Uint8Array) return value.length;
  let sum = 0;
  if (Array.isArray(value)) for (const item of value) sum += byteCount(item);
  else for (const key in value) sum += byteCount((value as Record<string, unknown>)[key]);
  return sum;
}
