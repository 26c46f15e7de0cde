/** Processor profiles (`--cpu-prof`, one file for each thread) as tables: where the time went, by thread, by file and by function. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './server-process.ts';

interface Profile {
  /** µs of the monotonic clock, as process.hrtime() */
  readonly startTime: number;
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const FILES = 24;
const FUNCTIONS = 36;

/** @param folder of `--cpu-prof-dir` @param fromUs what came before is left out: µs of the monotonic clock */
export const summary = (folder: string, fromUs: number, toUs: number): string =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.cpuprofile'))
    .map((name) => threadSummary(name, JSON.parse(readFileSync(join(folder, name), 'utf8')) as Profile, fromUs, toUs))
    .join('\n');

export const monotonicUs = (): number => Number(process.hrtime.bigint() / 1000n);

function threadSummary(name: string, profile: Profile, fromUs: number, toUs: number): string {
  const { nodes, samples, timeDeltas, startTime } = profile;
  const selfMs = new Map<number, number>();
  let at = startTime;
  for (const [i, id] of samples.entries()) {
    const spent = timeDeltas[i] ?? 0;
    at += spent;
    if (at >= fromUs && at <= toUs) selfMs.set(id, (selfMs.get(id) ?? 0) + spent / 1000);
  }
  const [byFile, byFunction] = [new Map<string, number>(), new Map<string, number>()];
  let busyMs = 0;
  const parents = new Map(nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id] as const)));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const { id, callFrame } of nodes) {
    const ms = selfMs.get(id) ?? 0;
    const { functionName, url, lineNumber } = callFrame;
    if (ms === 0 || functionName === '(idle)') continue;
    busyMs += ms;
    add(byFunction, `${functionName || '(anonymous)'} ${shown(url)}${url === '' ? '' : `:${lineNumber + 1}`}`, ms);
    // What Node does is charged to the file of ours that asked for it.
    let at: number | undefined = id;
    while (at !== undefined && !byId.get(at)!.callFrame.url.startsWith('file:')) at = parents.get(at);
    add(
      byFile,
      at === undefined ? `(${functionName.replace(/[()]/g, '') || 'node'})` : shown(byId.get(at)!.callFrame.url),
      ms,
    );
  }
  const table = (of: Map<string, number>, rows: number): string =>
    [...of]
      .toSorted(([, a], [, b]) => b - a)
      .slice(0, rows)
      .map(([what, ms]) => `${((ms / busyMs) * 100).toFixed(1).padStart(6)} % ${ms.toFixed(0).padStart(7)} ms  ${what}`)
      .join('\n');
  return `-- ${name}: busy ${busyMs.toFixed(0)} ms\nby file, with what it calls in Node:\n${table(byFile, FILES)}\nby function alone:\n${table(byFunction, FUNCTIONS)}\n`;
}

const add = (to: Map<string, number>, key: string, ms: number): void => void to.set(key, (to.get(key) ?? 0) + ms);
const shown = (url: string): string => url.replace(`file://${root}`, '').replace(/^.*node_modules\//, 'node_modules/');
