/**
 * A thread that judges the rows of the tamper matrix with one rule broken after the other. What the broken file has no part in stays loaded
 * and warm; the file itself, and all that imports it, is loaded anew for each mutant.
 */
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import type * as judge from '../../test/verify/judge.ts';
import { applied, root, sourceOf, type Mutant } from './mutant.ts';
import { importsOf } from './sites.ts';
import { JUDGE, rowsAt, type Survey } from './survey.ts';

/** likely: rows that name the codes, or noticed other mutants of the file. all: those that were not judged yet. */
export interface Order {
  readonly mutant: Mutant;
  readonly codes: readonly string[];
  readonly rows: 'likely' | 'all';
}
/** Name of the row that is judged otherwise; null: none is; not a string: the broken file can't be loaded. */
export type Answer = string | null | { readonly error: string };
export interface RowData {
  readonly cases: readonly judge.Case[];
  readonly survey: Survey;
}

const { cases, survey } = workerData as RowData;
/** Rows that are judged before anything else is tried. */
const LIKELY = 24;

/** Files that import this one, over however many others, and itself. */
const dependants = (() => {
  const importers = new Map<string, Set<string>>();
  const files = new Set([JUDGE]);
  for (const file of files)
    for (const imported of importsOf(file)) {
      files.add(imported);
      importers.set(imported, (importers.get(imported) ?? new Set()).add(file));
    }
  return (file: string): ReadonlySet<string> => {
    const all = new Set([file]);
    for (const each of all) for (const importer of importers.get(each) ?? []) all.add(importer);
    return all;
  };
})();

let number = 0;
let broken: Mutant | null = null;
let anew: ReadonlySet<string> = new Set();
const stripped = new Map<string, string>();
const fileOf = (url: string): string => relative(root, fileURLToPath(url));

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context);
    const isAnew = resolved.url.startsWith('file:') && !resolved.url.includes('?') && anew.has(fileOf(resolved.url));
    return isAnew ? { ...resolved, url: `${resolved.url}?${number}` } : resolved;
  },
  load(url, context, nextLoad) {
    if (!url.includes('?')) return nextLoad(url, context);
    const file = fileOf(url.split('?')[0]!);
    let source = stripped.get(file);
    if (file === broken?.file) source = stripTypeScriptTypes(applied(sourceOf(file), broken));
    else if (source === undefined) stripped.set(file, (source = stripTypeScriptTypes(sourceOf(file))));
    return { format: 'module', source, shortCircuit: true };
  },
});

/** Rows that noticed mutants of a file, the latest first. */
const noticed = new Map<string, number[]>();
let left: number[] = [];
let fault: typeof judge.fault;

async function load(mutant: Mutant): Promise<void> {
  number++;
  broken = mutant;
  anew = dependants(mutant.file);
  ({ fault } = (await import(`${pathToFileURL(join(root, JUDGE)).href}?${number}`)) as typeof judge);
}

/** The likeliest first: what noticed others here, then what is about the codes that stand near, then the rest. */
function ranked({ file }: Mutant, codes: readonly string[], rows: readonly number[]): number[] {
  const last = noticed.get(file) ?? [];
  const rankOf = (row: number): number => {
    const [code, others] = [codes.indexOf(cases[row]!.code ?? ''), last.indexOf(row)];
    return Math.min(code < 0 ? 100 : 2 * code + 1, others < 0 ? 100 : 3 * others);
  };
  return rows
    .map((row) => ({ row, rank: rankOf(row) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ row }) => row);
}

function isWrong(row: number): boolean {
  try {
    return fault(cases[row]!) !== null;
  } catch {
    return true;
  }
}

parentPort!.on('message', async ({ mutant, codes, rows }: Order) => {
  const answer = (name: Answer): void => parentPort!.postMessage(name);
  try {
    if (rows === 'likely') {
      await load(mutant);
      left = ranked(mutant, codes, rowsAt(survey, mutant));
    }
  } catch (error) {
    return answer({ error: String(error) });
  }
  for (const row of left.splice(0, rows === 'likely' ? LIKELY : Infinity)) {
    if (!isWrong(row)) continue;
    noticed.set(mutant.file, [row, ...(noticed.get(mutant.file) ?? []).filter((other) => other !== row)]);
    return answer(cases[row]!.name);
  }
  return answer(null);
});
