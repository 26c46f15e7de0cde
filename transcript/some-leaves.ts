/** Some leaves of a small tree, and proof that it holds them: the others are the MTH of every maximal subtree without any of them, left to right. */
import type { Hash } from '../base/bytes.ts';
import { HASH_BYTES, nodeHash, rootOf } from './merkle.ts';
import { split } from './tree-shape.ts';

/** @param at indices of those that are shown, rising */
export function othersOf(leaves: readonly Hash[], at: readonly number[]): Hash[] {
  const others: Hash[] = [];
  const walk = (from: number, to: number): void => {
    if (!at.some((index) => index >= from && index < to)) return void others.push(rootOf(leaves.slice(from, to)));
    if (to - from === 1) return;
    const middle = from + split(to - from);
    walk(from, middle);
    walk(middle, to);
  };
  walk(0, leaves.length);
  return others;
}

/**
 * The root over `size` leaves of which these are shown.
 * @param others as othersOf() has them
 * @returns null unless there are exactly as many as belong there, and at least one leaf is shown, in rising order
 */
export function rootFromSome(
  size: number,
  shown: readonly { readonly at: number; readonly leaf: Hash }[],
  others: readonly Uint8Array[],
): Hash | null {
  const isRising = shown.every(({ at }, i) => at < size && at > (shown[i - 1]?.at ?? -1));
  if (shown.length === 0 || !isRising || others.some((hash) => hash.length !== HASH_BYTES)) return null;
  let [next, isShort] = [0, false];
  const span = (from: number, to: number): Hash => {
    const inside = shown.filter(({ at }) => at >= from && at < to);
    if (inside.length === 0) {
      const other = others[next++];
      isShort ||= other === undefined;
      return (other ?? shown[0]!.leaf) as Hash;
    }
    if (to - from === 1) return inside[0]!.leaf;
    const middle = from + split(to - from);
    const left = span(from, middle);
    return nodeHash(left, span(middle, to));
  };
  const root = span(0, size);
  return isShort || next !== others.length ? null : root;
}
