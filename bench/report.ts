/** Samples become lines: median and range over the runs, and what it is beside the bare relay of the same runs. */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { root } from './server-process.ts';

/** What one run of one scenario gave, by the name of the quantity with its unit. */
export type Sample = Readonly<Record<string, number>>;
export interface Statistic {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}
export interface Line {
  /** short name of the scenario, and what it is */
  readonly name: string;
  readonly scenario: string;
  readonly quantity: string;
  /** by server: ours first, then the relay, then others */
  readonly of: Readonly<Record<string, Statistic>>;
  /** median of the ratios of each run: ours over the relay */
  readonly ratio: number | null;
}
export interface Results {
  readonly name: string;
  readonly scenario: string;
  /** by server, run by run; none: it cannot do this */
  readonly samples: Readonly<Record<string, readonly Sample[]>>;
}

export const OURS = 'chat-server';
export const FLOOR = 'relay';

export function linesOf({ name, scenario, samples }: Results): Line[] {
  const quantities = new Set(Object.values(samples).flatMap((runs) => runs.flatMap((sample) => Object.keys(sample))));
  return [...quantities].map((quantity) => {
    const values = (server: string): number[] => (samples[server] ?? []).flatMap((sample) => sample[quantity] ?? []);
    const [mine, theirs] = [values(OURS), values(FLOOR)];
    const isComparable = mine.length > 0 && theirs.length === mine.length && theirs.every((value) => value > 0);
    const of = Object.keys(samples)
      .filter((server) => values(server).length > 0)
      .map((server) => [server, statistic(values(server))] as const);
    const ratio = isComparable ? statistic(mine.map((value, i) => value / theirs[i]!)).median : null;
    return { name, scenario, quantity, of: Object.fromEntries(of), ratio };
  });
}

/** Where and on what these numbers came to be. */
export const circumstances = () => ({
  date: new Date().toISOString(),
  machine: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`,
  node: process.version,
  openssl: process.versions.openssl,
  commit: commit(),
  load: loadavg().map((value) => Math.round(value * 100) / 100),
});
export type Circumstances = ReturnType<typeof circumstances>;

export const asText = (lines: readonly Line[]): string =>
  lines
    .map(({ scenario, quantity, of, ratio }) => {
      const each = Object.entries(of).map(([server, value]) => `${server === OURS ? '' : `${server} `}${range(value)}`);
      if (ratio !== null) each.push(`× ${number(ratio)}`);
      return `${scenario.padEnd(28)} ${quantity.padEnd(38)} ${each.join('   ')}`;
    })
    .join('\n');

/** @param servers columns, ours first */
export function asMarkdown(lines: readonly Line[], servers: readonly string[]): string {
  const titles = servers.map((server) => (server === FLOOR ? 'bare TLS relay' : server));
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const cell = (value: Statistic | undefined): string => (value === undefined ? '–' : range(value));
  return [
    row(['scenario', 'quantity', ...titles, 'ratio to the relay']),
    `|${'---|'.repeat(servers.length + 3)}`,
    ...lines.map(({ scenario, quantity, of, ratio }) =>
      row([scenario, quantity, ...servers.map((server) => cell(of[server])), ratio === null ? '–' : number(ratio)]),
    ),
  ].join('\n');
}

export function statistic(values: readonly number[]): Statistic {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

const range = ({ median, min, max }: Statistic): string =>
  min === max ? number(median) : `${number(median)} (${number(min)}–${number(max)})`;
const number = (value: number): string =>
  Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)));

function commit(): string {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  try {
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain', '-uno') === '' ? '' : ' and changes');
  } catch {
    return 'unknown';
  }
}
