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
  readonly scenario: string;
  readonly quantity: string;
  readonly ours: Statistic;
  readonly floor: Statistic | null;
  /** median of the ratios of each run: ours over the relay */
  readonly ratio: number | null;
}
export interface Results {
  readonly scenario: string;
  readonly ours: readonly Sample[];
  /** run by run beside ours; empty: the relay cannot do this */
  readonly floor: readonly Sample[];
}

export const linesOf = ({ scenario, ours, floor }: Results): Line[] =>
  Object.keys(ours[0] ?? {}).map((quantity) => {
    const mine = ours.map((sample) => sample[quantity]!);
    const others = floor.flatMap((sample) => sample[quantity] ?? []);
    const isComparable = others.length === mine.length && others.every((value) => value > 0);
    return {
      scenario,
      quantity,
      ours: statistic(mine),
      floor: others.length === 0 ? null : statistic(others),
      ratio: isComparable ? statistic(mine.map((value, i) => value / others[i]!)).median : null,
    };
  });

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
    .map(({ scenario, quantity, ours, floor, ratio }) => {
      const beside = floor === null ? '' : `   relay ${range(floor)}${ratio === null ? '' : `   × ${number(ratio)}`}`;
      return `${scenario.padEnd(24)} ${quantity.padEnd(32)} ${range(ours)}${beside}`;
    })
    .join('\n');

export const asMarkdown = (lines: readonly Line[]): string =>
  [
    '| scenario | quantity | chat-server: median (min–max) | bare TLS relay | ratio |',
    '|---|---|---|---|---|',
    ...lines.map(
      ({ scenario, quantity, ours, floor, ratio }) =>
        `| ${scenario} | ${quantity} | ${range(ours)} | ${floor === null ? '–' : range(floor)} | ${ratio === null ? '–' : number(ratio)} |`,
    ),
  ].join('\n');

function statistic(values: readonly number[]): Statistic {
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
