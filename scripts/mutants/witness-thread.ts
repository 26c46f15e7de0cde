/** A thread that judges rows of the tamper matrix, and runs tests, with one rule broken after the other. Loading is `reload.ts`. */
import { parentPort, workerData } from 'node:worker_threads';
import type * as judge from '../../test/verify/judge.ts';
import { HOOKED } from './hook-options.ts';
import type { Mutant } from './mutant.ts';
import { runTest } from './quick-tap.ts';
import { breakRule, load, testRun } from './reload.ts';
import { JUDGE, rowsAt, type Survey } from './survey.ts';

/**
 * survey: before the first `likely`. begin: this rule is broken from now on. row: this one alone. likely: rows that name the codes, or noticed other mutants of the file. rest: those that were not
 * judged yet.
 */
export type Order =
  | { readonly ask: 'survey'; readonly survey: Survey }
  | { readonly ask: 'begin'; readonly mutant: Mutant | null; readonly tests: readonly string[] }
  | { readonly ask: 'row'; readonly name: string }
  | { readonly ask: 'likely'; readonly codes: readonly string[] }
  | { readonly ask: 'rest' }
  | { readonly ask: 'test'; readonly test: string };
/** Name of the row, or what failed in the test; null: nothing was noticed; not a string: the broken file can't be loaded. */
export type Answer = string | null | { readonly error: string };
export interface RowData {
  readonly cases: readonly judge.Case[];
}

const { cases } = workerData as RowData;
let survey: Survey | null = null;
/** Rows that are judged before anything else is tried. */
const LIKELY = 24;

/** Rows that noticed mutants of a file, the latest first. */
const noticed = new Map<string, number[]>();
let mutant: Mutant | null = null;
let left: number[] = [];
let fault: typeof judge.fault;

/** The likeliest first: what noticed others here, then what is about the codes that stand near, then the rest. */
function ranked(codes: readonly string[], rows: readonly number[]): number[] {
  const last = noticed.get(mutant?.file ?? '') ?? [];
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

function judged(count: number): string | null {
  for (const row of left.splice(0, count)) {
    if (!isWrong(row)) continue;
    const file = mutant?.file ?? '';
    noticed.set(file, [row, ...(noticed.get(file) ?? []).filter((other) => other !== row)]);
    return cases[row]!.name;
  }
  return null;
}

async function answer(order: Order): Promise<Answer> {
  switch (order.ask) {
    case 'survey':
      survey = order.survey;
      return null;
    case 'begin':
      mutant = order.mutant;
      // What a test starts is to have the broken file as well.
      Object.assign(process.env, HOOKED(mutant));
      breakRule(mutant, [JUDGE, ...order.tests]);
      try {
        ({ fault } = await load<typeof judge>(JUDGE));
      } catch (error) {
        return { error: String(error) };
      }
      return null;
    case 'row':
      left = cases.flatMap(({ name }, row) => (name === order.name ? [row] : []));
      return judged(Infinity);
    case 'likely':
      left = mutant === null || survey === null ? [] : ranked(order.codes, rowsAt(survey, mutant));
      return judged(LIKELY);
    case 'rest':
      return judged(Infinity);
    case 'test': {
      const { run, load: loadTest } = testRun(order.test);
      return await runTest(run, loadTest);
    }
  }
}

parentPort!.on('message', async (order: Order) => parentPort!.postMessage(await answer(order)));
