/**
 * Which rows of the tamper matrix come to which places of the verifier, as the engine counts it: a row that never comes to a place can't
 * notice what is broken there.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Session, type Profiler } from 'node:inspector';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type * as judge from '../../test/verify/judge.ts';
import { root, type Mutant } from './mutant.ts';

/** [start, end) of a stretch of a file, and whether it ran; of two, the shorter is right. */
type Stretch = readonly [start: number, end: number, hasRun: boolean];
type Stretches = ReadonlyMap<string, readonly Stretch[]>;

/** Plain data. */
export interface Survey {
  /** when the files were loaded: all functions that there are, too */
  readonly loading: Stretches;
  readonly rows: readonly Stretches[];
}

export const JUDGE = 'test/verify/judge.ts';

/** Judges every row once, some in each of so many processes. @throws Error if one is judged otherwise than it should be */
export async function survey(cases: readonly judge.Case[], processes: number): Promise<Survey> {
  const share = Math.ceil(cases.length / processes);
  const parts = await Promise.all(
    Array.from({ length: processes }, async (_, i) => {
      const execArgv = ['--no-opt', '--no-maglev'];
      const child = fork(join(root, 'scripts/mutants/survey-process.ts'), [], { execArgv, serialization: 'advanced' });
      child.send(cases.slice(i * share, (i + 1) * share));
      const failed = once(child, 'exit').then(([status]) => {
        throw new Error(`the survey ended with ${status}`);
      });
      const [answer] = await Promise.race([once(child, 'message'), failed]);
      return answer as Survey;
    }),
  );
  return { loading: parts[0]!.loading, rows: parts.flatMap(({ rows }) => rows) };
}

/** In this process. @throws Error if one is judged otherwise than it should be */
export async function surveyOf(cases: readonly judge.Case[]): Promise<Survey> {
  const session = new Session();
  session.connect();
  const take = (): Stretches => {
    let found: readonly Profiler.ScriptCoverage[] = [];
    session.post('Profiler.takePreciseCoverage', (_, { result }) => (found = result));
    const ours = found.filter(({ url }) => /\/(?:verify|transcript)\/[^/]+\.ts$/.test(url));
    return new Map(ours.map(({ url, functions }) => [relative(root, fileURLToPath(url)), functions.flatMap(rangesOf)]));
  };
  session.post('Profiler.enable');
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  const { fault } = (await import(pathToFileURL(join(root, JUDGE)).href)) as typeof judge;
  const loading = take();
  const rows = cases.map((one) => {
    if (fault(one) !== null) throw new Error(`row "${one.name}" is misjudged without any mutant`);
    return take();
  });
  session.disconnect();
  return { loading, rows };
}

const rangesOf = ({ functionName, ranges }: Profiler.FunctionCoverage): Stretch[] =>
  // The file itself counts as a function without a name that begins with it.
  functionName === '' && ranges[0]?.startOffset === 0
    ? []
    : ranges.map(({ startOffset, endOffset, count }) => [startOffset, endOffset, count > 0]);

/** Numbers of the rows that come to the place of a mutant: all of them, if it is no part of a function or runs when its file is loaded. */
export function rowsAt({ loading, rows }: Survey, mutant: Mutant): number[] {
  const loaded = runsIn(loading, mutant);
  const isEvery = loaded.has(undefined) || loaded.has(true);
  return rows.flatMap((row, number) => (isEvery || runsIn(row, mutant).has(true) ? [number] : []));
}

/** Whether what stands in the place has run, as the shortest stretch around each part of it says; undefined: there is none. */
function runsIn(stretches: Stretches, { file, start, end }: Mutant): ReadonlySet<boolean | undefined> {
  const near = (stretches.get(file) ?? []).filter((each) => each[0] < end && start < each[1]);
  const points = [start, end - 1, ...near.flatMap((each) => [each[0], each[1]])].filter(
    (at) => start <= at && at < end,
  );
  return new Set(
    points.map((at) => {
      const around = near.filter((each) => each[0] <= at && at < each[1]);
      return around.sort((a, b) => a[1] - a[0] - (b[1] - b[0]))[0]?.[2];
    }),
  );
}
