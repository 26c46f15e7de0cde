/**
 * Identifiers (hashes, random ids) as keys of maps, in hexadecimal. The ones used often are spelled once: for the same bytes the same
 * string comes back, which costs a comparison in place of a conversion, and a map need not hash it again.
 */
import { hex, same } from './bytes.ts';

/** A power of two. What is spelled anew takes the place of what stood in its slot. */
const SLOTS = 4096;
const ids: (Uint8Array | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
const keys: string[] = Array.from({ length: SLOTS }, () => '');

/** @param id at least two bytes, of which the first two are as good as random */
export function idKey(id: Uint8Array): string {
  const slot = ((id[0]! << 8) | id[1]!) & (SLOTS - 1);
  const known = ids[slot];
  if (known !== undefined && same(known, id)) return keys[slot]!;
  const key = hex(id);
  ids[slot] = Uint8Array.prototype.slice.call(id); // what it was cut from may be large, and be used again
  keys[slot] = key;
  return key;
}
