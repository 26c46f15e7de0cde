/**
 * The RFC 6962 tree over SHA-256: hashes, root, inclusion, consistency and range proofs, and the right edge that grows with a log.
 * Proofs are read from complete subtrees only, `node(level, index)` = MTH of leaves [index·2^level, (index+1)·2^level), so that whoever
 * has tiles needs no leaves. Sizes go up to 2^52: no operator here is a 32-bit one.
 */
import { equal, type Hash } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';

export const HASH_BYTES = 32;
/** MTH of no leaves: SHA-256 of nothing (RFC 9162 §2.1.1). */
export const EMPTY_ROOT = sha256(Buffer.alloc(0)) as Uint8Array as Hash;
/** All zeros, where a layout says "no predecessor". */
export const NO_HASH = Buffer.alloc(HASH_BYTES) as Uint8Array as Hash;
const MAX_SIZE = 2 ** 52;

const prefixed = Buffer.alloc(1024);
/** SHA-256(0x00 ‖ entry). RFC 9162 §2.1.1: the prefix keeps a leaf from being taken for an inner node. */
export function leafHash(entry: Uint8Array): Hash {
  if (entry.length >= prefixed.length) return sha256(prefixed.subarray(0, 1), entry) as Uint8Array as Hash;
  prefixed.set(entry, 1); // one buffer for all usual entries: hashing is synchronous and keeps nothing
  return sha256(prefixed.subarray(0, 1 + entry.length)) as Uint8Array as Hash;
}

const pair = Buffer.alloc(1 + 2 * HASH_BYTES, 1);
/** SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(left: Hash, right: Hash): Hash {
  pair.set(left, 1);
  pair.set(right, 1 + HASH_BYTES);
  return sha256(pair) as Uint8Array as Hash;
}

/** MTH over leaf hashes (RFC 9162 §2.1.1). */
export function rootOf(leaves: readonly Hash[]): Hash {
  let level = leaves;
  while (level.length > 1) {
    const above: Hash[] = [];
    for (let i = 0; i + 1 < level.length; i += 2) above.push(nodeHash(level[i]!, level[i + 1]!));
    if (level.length % 2 === 1) above.push(level.at(-1)!);
    level = above;
  }
  return level[0] ?? EMPTY_ROOT;
}

/** The complete subtree of 2^level leaves that begins at leaf index·2^level. */
export type NodeReader = (level: number, index: number) => Hash;

/** A reader that holds all nodes over these leaves. @throws RangeError (the reader) for a node that is not complete */
export function nodesOver(leaves: readonly Hash[]): NodeReader {
  const levels: Hash[][] = [];
  Frontier.empty.append(leaves, (level, index, hash) => ((levels[level] ??= [])[index] = hash));
  return (level, index) => {
    const hash = levels[level]?.[index];
    if (hash === undefined) throw new RangeError(`no complete node ${level}/${index} under ${leaves.length} leaves`);
    return hash;
  };
}

/**
 * The tree of the first `size` leaves, to make proofs from. One object serves all proofs of one checkpoint: hashes on the incomplete
 * right edge are computed once. `read` is only asked for nodes within `size`.
 */
export class Tree {
  readonly size: number;
  readonly #read: NodeReader;
  readonly #edge = new Map<number, Hash>();

  /** @throws RangeError for a size that is not in 0..2^52 */
  constructor(size: number, read: NodeReader) {
    if (!isSize(size)) throw new RangeError(`tree size ${size}`);
    this.size = size;
    this.#read = read;
  }

  root(): Hash {
    return this.size === 0 ? EMPTY_ROOT : this.#span(0, this.size);
  }

  /** Siblings from the leaf up to the root's child (RFC 9162 §2.1.3.1). @throws RangeError unless index < size */
  inclusion(index: number): Hash[] {
    if (!isSize(index) || index >= this.size) throw new RangeError(`index ${index} of ${this.size}`);
    return inclusionSpans(index, this.size).map(([start, end]) => this.#span(start, end));
  }

  /** Proof that the tree of `from` leaves is a prefix of this one (RFC 9162 §2.1.4.1); none is needed from 0 or from `size`. @throws RangeError */
  consistency(from: number): Hash[] {
    if (!isSize(from) || from > this.size) throw new RangeError(`from ${from} to ${this.size}`);
    if (from === 0 || from === this.size) return [];
    const proof: Hash[] = [];
    let start = 0;
    let end = this.size;
    while (end !== from) {
      const middle = start + split(end - start);
      if (from <= middle) {
        proof.push(this.#span(middle, end));
        end = middle;
      } else {
        proof.push(this.#span(start, middle));
        start = middle;
      }
    }
    if (start !== 0) proof.push(this.#span(start, end));
    return proof.reverse();
  }

  /** MTH of every maximal subtree outside [start, end), left to right. @throws RangeError unless start < end <= size */
  range(start: number, end: number): Hash[] {
    return rangeSpans(start, end, this.size).map(([from, to]) => this.#span(from, to));
  }

  #span(start: number, end: number): Hash {
    const length = end - start;
    const half = split(length);
    if (length === 1 || half * 2 === length) {
      const level = Math.round(Math.log2(length)); // exact: a power of two
      return this.#read(level, start / length);
    }
    const known = this.#edge.get(start);
    if (known !== undefined) return known;
    const hash = nodeHash(this.#span(start, start + half), this.#span(start + half, end));
    this.#edge.set(start, hash);
    return hash;
  }
}

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
export const rangeProofLength = (start: number, end: number, size: number): number =>
  rangeSpans(start, end, size).length;

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

/**
 * The right edge of a growing tree: the roots of its maximal complete subtrees, largest first. Immutable, so a window that fails to
 * become durable is dropped by keeping the older value.
 */
export class Frontier {
  static readonly empty: Frontier = new Frontier(0, []);
  readonly size: number;
  readonly peaks: readonly Hash[];

  /** @throws RangeError unless there is one peak for each 1 in the binary form of `size` */
  constructor(size: number, peaks: readonly Hash[]) {
    if (!isSize(size) || peakLevels(size).length !== peaks.length || !areHashes(peaks))
      throw new RangeError(`${peaks.length} peaks for a tree of ${size}`);
    this.size = size;
    this.peaks = peaks;
  }

  /** The edge of the tree of `size` leaves of which `read` has the complete nodes. */
  static of(size: number, read: NodeReader): Frontier {
    let start = 0;
    const peaks = peakLevels(size).map((level) => {
      const hash = read(level, start / 2 ** level);
      start += 2 ** level;
      return hash;
    });
    return new Frontier(size, peaks);
  }

  /** A new edge with these leaves at the right; `onNode` is told every node that became complete, leaves included, children first. */
  append(leaves: readonly Hash[], onNode?: (level: number, index: number, hash: Hash) => void): Frontier {
    const peaks = [...this.peaks];
    let { size } = this;
    for (const leaf of leaves) {
      let hash = leaf;
      let level = 0;
      let index = size++;
      onNode?.(level, index, hash);
      while (isOdd(index)) {
        hash = nodeHash(peaks.pop()!, hash);
        index = half(index);
        onNode?.(++level, index, hash);
      }
      peaks.push(hash);
    }
    return new Frontier(size, peaks);
  }

  root(): Hash {
    return this.size === 0 ? EMPTY_ROOT : this.peaks.reduceRight((right, left) => nodeHash(left, right));
  }
}

type Span = readonly [start: number, end: number];

// Declarations, not constants: Frontier.empty is made while this file is still being evaluated.
function isSize(n: number): boolean {
  return Number.isSafeInteger(n) && n >= 0 && n <= MAX_SIZE;
}
function isOdd(n: number): boolean {
  return n % 2 === 1;
}
function half(n: number): number {
  return Math.floor(n / 2);
}
function areHashes(hashes: readonly Uint8Array[]): boolean {
  return hashes.every((hash) => hash.length === HASH_BYTES);
}

/** The largest power of two below n, where RFC 6962 splits n > 1 leaves; 1 for n = 1. */
export function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** Exponents of the powers of two that add up to `size`, largest first. */
function peakLevels(size: number): number[] {
  const levels: number[] = [];
  for (let rest = size, level = 0; rest > 0; rest = half(rest), level++) if (isOdd(rest)) levels.unshift(level);
  return levels;
}

/** Leaf's sibling first. */
function inclusionSpans(index: number, size: number): Span[] {
  const spans: Span[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + split(end - start);
    if (index < middle) {
      spans.push([middle, end]);
      end = middle;
    } else {
      spans.push([start, middle]);
      start = middle;
    }
  }
  return spans.reverse();
}

function rangeSpans(start: number, end: number, size: number): Span[] {
  if (!isSize(start) || !isSize(size) || !(start < end && end <= size))
    throw new RangeError(`range ${start}..${end} of ${size}`);
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
  if (!isSize(start) || !isSize(size) || !(start < end && end <= size)) return null;
  const outside = rangeSpans(start, end, size);
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
