/**
 * Mutants that are known to survive, each with its reason: another rule refuses the same, or no row makes the case yet. One that is noticed
 * after all fails the check, so that nothing stays here longer than it must.
 */
import { sourceOf, type Mutant } from './mutant.ts';

/** file, what begins at the place (once in the file), and why nothing notices. */
const KNOWN: readonly (readonly [file: string, from: string, why: string])[] = [];

/** Why a mutant survives; null: it must be noticed. */
export function reasonOf({ file, start }: Mutant): string | null {
  const found = KNOWN.find(([of, from]) => of === file && sourceOf(file).startsWith(from, start));
  return found?.[2] ?? null;
}

/** Of entries that do not stand in their file once. */
export const staleReasons = (): string[] =>
  KNOWN.filter(([file, from]) => sourceOf(file).split(from).length !== 2).map(([file, from]) => `${file}: ${from}`);
