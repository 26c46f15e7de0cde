/**
 * What the server may cost beside the bare relay of the same run, as it was measured on a quiet machine: ratios of processor time, for these
 * stay what they are when the machine is busy or another one. `baseline.json` has them; a change that makes the server faster writes it anew.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FLOOR, OURS, type Line } from './report.ts';
import { root } from './server-process.ts';

const FILE = join(root, 'bench/baseline.json');
/** So many times the baseline is too much: a machine that others use moves a ratio by half. */
const MARGIN = 2;

/** What is compared, by scenario: our quantity, and the relay's cost that it is measured by, which may be that of another scenario. */
const COMPARED: readonly (readonly [name: string, quantity: string, measure: string])[] = [
  ['relay32', 'server CPU s per 10,000', 'relay32'],
  ['relay1', 'server CPU s per 10,000', 'relay1'],
  ['connect', 'server CPU ms per connection', 'connect'],
  ['fanout50', 'server CPU s per 10,000 deliveries', 'fanout50'],
  ['offline', 'store: server CPU s per 10,000', 'relay1'],
  ['offline', 'drain: server CPU s per 10,000', 'relay1'],
];
/** Scenarios that are needed for it. */
export const CHECKED: readonly string[] = [...new Set(COMPARED.map(([name]) => name))];

export interface Baseline {
  /** of the measurement */
  readonly commit: string;
  readonly ratios: Readonly<Record<string, number>>;
}
export interface Excess {
  readonly what: string;
  readonly ratio: number;
  readonly baseline: number;
}

/** By scenario and quantity. */
export function ratiosOf(lines: readonly Line[]): Record<string, number> {
  const ratios: Record<string, number> = {};
  for (const [name, quantity, measure] of COMPARED) {
    const own = lines.find((line) => line.name === name && line.quantity === quantity)?.of[OURS];
    const unit = quantity.startsWith('server CPU') ? quantity : 'server CPU s per 10,000';
    const floor = lines.find((line) => line.name === measure && line.quantity === unit)?.of[FLOOR];
    if (own && floor) ratios[`${name}, ${quantity}`] = Number((own.median / floor.median).toPrecision(3));
  }
  return ratios;
}

/** What costs too much. What the baseline has and was not measured is too much as well. */
export function excesses(lines: readonly Line[], baseline = readBaseline()): Excess[] {
  const ratios = ratiosOf(lines);
  return Object.entries(baseline.ratios)
    .map(([what, ratio]) => ({ what, ratio: ratios[what] ?? Infinity, baseline: ratio }))
    .filter(({ ratio, baseline: old }) => !(ratio <= MARGIN * old));
}

const readBaseline = (): Baseline => JSON.parse(readFileSync(FILE, 'utf8')) as Baseline;
export function writeBaseline(commit: string, lines: readonly Line[]): void {
  const baseline: Baseline = { commit, ratios: ratiosOf(lines) };
  writeFileSync(FILE, `${JSON.stringify(baseline, null, 2)}\n`);
}
