/** Each named manipulation has rows, which are there; those of the matrix come out as it says there. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { BUNDLE_MATRIX, LOG_MATRIX } from './matrix.ts';
import { MANIPULATIONS } from './named-manipulations.ts';

const root = new URL('../../', import.meta.url);
const named = (rows: readonly { readonly name: string; readonly exit: number }[][]) =>
  new Map(rows.flat().map(({ name, exit }) => [name, exit]));
const matrix = {
  log: named(Object.values(LOG_MATRIX).map((rows) => [...rows])),
  bundle: named(Object.values(BUNDLE_MATRIX).map((rows) => [...rows])),
};

/** Status that the row asks for; null: a test of a file, which says so itself; undefined: there is no such row. */
function exitOf(row: string): number | null | undefined {
  const [, place, name] = /^([^:]+): (.+)$/.exec(row) ?? [];
  if (place === 'log' || place === 'bundle') return matrix[place].get(name!);
  const text = readFileSync(new URL(place!, root), 'utf8');
  return ["'", '"', '`'].some((quote) => text.includes(`${quote}${name}${quote}`)) ? null : undefined;
}

for (const [group, all] of Object.entries(MANIPULATIONS))
  t.test(group, (t) => {
    for (const { named, rows, none } of all) {
      t.equal(rows.length === 0, none !== undefined, `${named}: rows, or why there are none`);
      for (const row of rows) t.not(exitOf(row), undefined, `${named}: ${row}`);
      const isHarmless = group === 'controls that stay VALID' || named.endsWith('a warning') || named === 'missing CRL';
      const found = rows.flatMap((row) => exitOf(row) ?? []);
      if (isHarmless)
        t.ok(
          found.every((exit) => exit === 0),
          `${named}: nothing is held against anybody`,
        );
      else if (found.length > 0)
        t.ok(
          found.some((exit) => exit !== 0),
          `${named}: found`,
        );
    }
    t.end();
  });

t.test('no name twice', (t) => {
  for (const [group, all] of Object.entries(MANIPULATIONS))
    t.equal(new Set(all.map(({ named }) => named)).size, all.length, group);
  t.end();
});
