/**
 * What the proofs of an RFC 6962 tree lead to: inclusion, consistency and range proofs, checked by whoever has hashes and no tree. A proof
 * that is not exactly as long as index and size ask for leads nowhere.
 */
import { equal, type Hash } from '../base/bytes.ts';
import { areHashes, EMPTY_ROOT, nodeHash, rootOf } from './merkle.ts';
import { checkRange, half, inclusionSpans, isOdd, isRange, isSize, split, type Span } from './tree-shape.ts';

/** The root that this path leads to, or null unless it has exactly the length that (index, size) asks for (RFC 9162 §2.1.3.2). */
export function rootFromInclusion(index: number, size: number, leaf: Hash, path: readonly Hash[]): Hash | null {
  if (!isSize(index) || !isSize(size) || index >= size || !areHashes(path)) return null;
  let at = index;
  let last = size - 1;
  let root = leaf;
  for (const sibling of path) {
    if (last === 0) return null;
    if (isOdd(at) || at === last) {
      root = nodeHash(sibling, root);
      while (!isOdd(at) && at !== 0) [at, last] = [at / 2, half(last)];
    } else root = nodeHash(root, sibling);
    [at, last] = [half(at), half(last)];
  }
  return last === 0 ? root : null;
}

export function isIncluded(index: number, size: number, leaf: Hash, path: readonly Hash[], root: Hash): boolean {
  const found = rootFromInclusion(index, size, leaf, path);
  return found !== null && equal(found, root);
}

/** Whether the tree (from, fromRoot) is a prefix of (to, toRoot) (RFC 9162 §2.1.4.2). Empty and equal trees need an empty proof. */
export function isConsistent(from: number, fromRoot: Hash, to: number, toRoot: Hash, proof: readonly Hash[]): boolean {
  if (!isSize(from) || !isSize(to) || from > to || !areHashes(proof)) return false;
  if (from === to) return proof.length === 0 && equal(fromRoot, toRoot);
  if (from === 0) return proof.length === 0 && equal(fromRoot, EMPTY_ROOT);
  const roots = rootsFromConsistency(from, to, namesItsRoot(from) ? proof : [fromRoot, ...proof]);
  return roots !== null && equal(roots.older, fromRoot) && equal(roots.newer, toRoot);
}

/** Whether a proof of consistency from this size says itself what the older root is: of a power of two, that is left out. */
export const namesItsRoot = (from: number): boolean => from > 1 && split(from) * 2 !== from;

/**
 * The two roots that a proof of consistency leads to; null unless it has exactly the length that the sizes ask for.
 * @param from in 1..to - 1
 * @param proof begins with the older root if that has a power of two of leaves
 */
export function rootsFromConsistency(
  from: number,
  to: number,
  proof: readonly Hash[],
): { readonly older: Hash; readonly newer: Hash } | null {
  const [first, ...rest] = proof;
  if (!isSize(from) || !isSize(to) || from < 1 || from >= to || first === undefined || !areHashes(proof)) return null;
  let at = from - 1;
  let last = to - 1;
  while (isOdd(at)) [at, last] = [half(at), half(last)];
  let older = first;
  let newer = first;
  for (const hash of rest) {
    if (last === 0) return null;
    if (isOdd(at) || at === last) {
      older = nodeHash(hash, older);
      newer = nodeHash(hash, newer);
      while (!isOdd(at) && at !== 0) [at, last] = [at / 2, half(last)];
    } else newer = nodeHash(newer, hash);
    [at, last] = [half(at), half(last)];
  }
  return last === 0 ? { older, newer } : null;
}

/** How many hashes a range proof has. @throws RangeError unless start < end <= size */
export function rangeProofLength(start: number, end: number, size: number): number {
  checkRange(start, end, size);
  return countOutside(start, end, 0, size);
}

/** The root over consecutive leaves from `start` and the range proof around them; null unless the proof has exactly the right length. */
export function rootFromRange(
  start: number,
  leaves: readonly Hash[],
  size: number,
  proof: readonly Hash[],
): Hash | null {
  return spansAround(start, leaves, size, proof)?.(0, size) ?? null;
}

/** The inclusion path of one leaf of a range, from the range proof; null as in rootFromRange() or if `index` is outside the range. */
export function inclusionFromRange(
  index: number,
  start: number,
  leaves: readonly Hash[],
  size: number,
  proof: readonly Hash[],
): Hash[] | null {
  return inclusionsFromRange(start, leaves, size, proof)?.(index) ?? null;
}

/** The same for all leaves of the range; each hash is computed once. */
export function inclusionsFromRange(
  start: number,
  leaves: readonly Hash[],
  size: number,
  proof: readonly Hash[],
): ((index: number) => Hash[] | null) | null {
  const span = spansAround(start, leaves, size, proof);
  if (span === null) return null;
  const end = start + leaves.length;
  const known = new Map<string, Hash>();
  const hashOf = (from: number, to: number): Hash => {
    if (to <= start || from >= end || to - from === 1) return span(from, to);
    const key = `${from} ${to}`;
    const middle = from + split(to - from);
    const hash = known.get(key) ?? nodeHash(hashOf(from, middle), hashOf(middle, to));
    known.set(key, hash);
    return hash;
  };
  return (index) =>
    index < start || index >= end ? null : inclusionSpans(index, size).map(([from, to]) => hashOf(from, to));
}

/** How many maximal subtrees of [from, to) are outside [start, end): counted, for each acknowledgement asks. */
function countOutside(start: number, end: number, from: number, to: number): number {
  if (to <= start || from >= end) return 1;
  if (from >= start && to <= end) return 0;
  const middle = from + split(to - from);
  return countOutside(start, end, from, middle) + countOutside(start, end, middle, to);
}

/** All of them, left to right. */
function spansOutside(start: number, end: number, size: number): Span[] {
  const spans: Span[] = [];
  const walk = (from: number, to: number): void => {
    if (to <= start || from >= end) spans.push([from, to]);
    else if (from < start || to > end) {
      const middle = from + split(to - from);
      walk(from, middle);
      walk(middle, to);
    }
  };
  walk(0, size);
  return spans;
}

/** MTH of any subtree that is either outside the range and maximal, or touches it. */
function spansAround(start: number, leaves: readonly Hash[], size: number, proof: readonly Hash[]) {
  const end = start + leaves.length;
  if (!isRange(start, end, size)) return null;
  const outside = spansOutside(start, end, size);
  if (outside.length !== proof.length || !areHashes(proof) || !areHashes(leaves)) return null;
  const known = new Map(outside.map(([from], i) => [from, proof[i]!]));
  const span = (from: number, to: number): Hash => {
    if (to <= start || from >= end) return known.get(from)!;
    if (from >= start && to <= end) return rootOf(leaves.slice(from - start, to - start));
    const middle = from + split(to - from);
    return nodeHash(span(from, middle), span(middle, to));
  };
  return span;
}
