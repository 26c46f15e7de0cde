/**
 * The shape of the RFC 6962 tree: where it splits, and which subtrees a proof is made of. Numbers alone, for those who make proofs and those
 * who check them. Sizes go up to 2^52: no operator here is a 32-bit one.
 */

const MAX_SIZE = 2 ** 52;

/** Leaves [start, end). */
export type Span = readonly [start: number, end: number];

export const isSize = (n: number): boolean => Number.isSafeInteger(n) && n >= 0 && n <= MAX_SIZE;
export const isRange = (start: number, end: number, size: number): boolean =>
  isSize(start) && isSize(size) && start < end && end <= size;
/** @throws RangeError unless start < end <= size */
export function checkRange(start: number, end: number, size: number): void {
  if (!isRange(start, end, size)) throw new RangeError(`range ${start}..${end} of ${size}`);
}

export const isOdd = (n: number): boolean => n % 2 === 1;
export const half = (n: number): number => Math.floor(n / 2);

/** The largest power of two below n, where RFC 6962 splits n > 1 leaves; 1 for n = 1. */
export function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** Whose hashes the inclusion path of a leaf has: its sibling first. */
export function inclusionSpans(index: number, size: number): Span[] {
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
