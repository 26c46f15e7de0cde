/** One rule broken: a stretch of one file, and what stands there instead. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Written down by hand, by file: what stands there (once), and what stands there instead. */
export type Rules = Readonly<Record<string, readonly (readonly [from: string, to: string])[]>>;

export interface Mutant {
  /** from the project's root */
  readonly file: string;
  /** characters of the file, [start, end) */
  readonly start: number;
  readonly end: number;
  readonly to: string;
}

const sources = new Map<string, string>();
/** What stands in a file of the project. */
export function sourceOf(file: string): string {
  const source = sources.get(file) ?? readFileSync(join(root, file), 'utf8');
  sources.set(file, source);
  return source;
}

/** Null: the rule is not there, or more than once. */
export function mutantOf(file: string, from: string, to: string): Mutant | null {
  const [before, , ...more] = sourceOf(file).split(from);
  if (more.length > 0 || before?.length === sourceOf(file).length) return null;
  return { file, start: before!.length, end: before!.length + from.length, to };
}

/** The file with this rule broken. */
export const applied = (source: string, { start, end, to }: Mutant): string =>
  source.slice(0, start) + to + source.slice(end);

/** File, line, and the change, on one line. */
export function nameOf({ file, start, end, to }: Mutant): string {
  const source = sourceOf(file);
  const line = source.slice(0, start).split('\n').length;
  return `${file}:${line}: ${JSON.stringify(source.slice(start, end))} → ${JSON.stringify(to)}`;
}
