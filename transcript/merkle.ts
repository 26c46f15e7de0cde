/**
 * The RFC 6962 tree over SHA-256: hashes, root, the proofs that are made from it, and the right edge that grows with a log. Proofs are
 * read from complete subtrees only, `node(level, index)` = MTH of leaves [index·2^level, (index+1)·2^level), so that whoever has tiles
 * needs no leaves. What proofs lead to is in proof.ts. Sizes go up to 2^52: no operator here is a 32-bit one.
 */
import type { Hash } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import { checkRange, half, inclusionSpans, isOdd, isSize, split } from './tree-shape.ts';

export const HASH_BYTES = 32;
/** MTH of no leaves: SHA-256 of nothing (RFC 9162 §2.1.1). */
export const EMPTY_ROOT = sha256(Buffer.alloc(0)) as Uint8Array as Hash;
/** All zeros, where a layout says "no predecessor". */
export const NO_HASH = Buffer.alloc(HASH_BYTES) as Uint8Array as Hash;
export const areHashes = (hashes: readonly Uint8Array[]): boolean =>
  hashes.every(({ length }) => length === HASH_BYTES);

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
    checkRange(start, end, this.size);
    const proof: Hash[] = [];
    this.#outside(start, end, 0, this.size, proof);
    return proof;
  }

  /** Adds what of [from, to) is outside [start, end). */
  #outside(start: number, end: number, from: number, to: number, proof: Hash[]): void {
    if (to <= start || from >= end) proof.push(this.#span(from, to));
    else if (from < start || to > end) {
      const middle = from + split(to - from);
      this.#outside(start, end, from, middle, proof);
      this.#outside(start, end, middle, to, proof);
    }
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

/** Exponents of the powers of two that add up to `size`, largest first. */
// A declaration, no constant: Frontier.empty is made while this file is still being evaluated.
function peakLevels(size: number): number[] {
  const levels: number[] = [];
  for (let rest = size, level = 0; rest > 0; rest = half(rest), level++) if (isOdd(rest)) levels.unshift(level);
  return levels;
}
