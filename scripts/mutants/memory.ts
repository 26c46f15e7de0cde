/**
 * Who noticed each mutant when that was last written down (`--remember`): asked first. A hint and no more: whoever does not notice any longer,
 * or is not there any longer, is followed by all the others in their usual order.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, sourceOf, type Mutant } from './mutant.ts';

const path = join(root, 'scripts/mutants/memory.json');

/** The file, and a name of the change that lasts when other lines of the file come and go. */
function keyOf({ file, start, end, to }: Mutant): string {
  const source = sourceOf(file);
  const line = source.slice(source.lastIndexOf('\n', start) + 1, start);
  const words = [line.trim(), source.slice(start, end + 80), to];
  return `${file} ${createHash('sha256').update(JSON.stringify(words)).digest('hex').slice(0, 12)}`;
}

const known: Readonly<Record<string, string>> = existsSync(path)
  ? (JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>)
  : {};

/** Null: nobody is known. */
export const lastWitness = (mutant: Mutant): string | null => known[keyOf(mutant)] ?? null;

export function remember(found: readonly (readonly [mutant: Mutant, witness: string])[]): void {
  const rows = found.map(([mutant, witness]) => [keyOf(mutant), witness] as const);
  const sorted = rows.sort(([a], [b]) => (a < b ? -1 : 1));
  writeFileSync(path, `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`);
}
