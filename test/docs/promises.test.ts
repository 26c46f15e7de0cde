/** docs/PROMISES.md names tests that there are: for each promise, by its id, the one that keeps it. */
import { readFileSync } from 'node:fs';
import t from 'tap';

const root = new URL('../../', import.meta.url);
const page = readFileSync(new URL('docs/PROMISES.md', root), 'utf8');
const rows = [...page.matchAll(/^\| (S\d-\d+)(?: \((req\d)\))? +\| (.+?) +\| `(test\/[\w/.-]+\.ts)`: (.+?) +\|$/gm)];

t.equal(rows.length, page.split('\n').filter((line) => line.startsWith('| S')).length, 'every row can be read');
for (const [, id, requirement, promise, file, name] of rows)
  t.test(`${id}${requirement === undefined ? '' : ` (${requirement})`}: ${promise}`, (t) => {
    const source = readFileSync(new URL(file!, root), 'utf8');
    // The name as it is written, or the fixed part of one that is put together.
    const isThere = source.includes(name!) || (name!.includes(': ') && source.includes(`${name!.split(': ')[0]}: \${`));
    t.ok(isThere, `${file} has the test “${name}”`);
    t.end();
  });

const ids = rows.map(([, id]) => id!);
t.equal(new Set(ids).size, ids.length, 'each once');
t.strictSame(
  rows.flatMap(([, , requirement]) => requirement ?? []),
  ['req1', 'req2', 'req3', 'req4', 'req5', 'req6'],
);
/** Written down again, so that a promise is not given up by leaving out its row. */
const PROMISED: Readonly<Record<string, readonly number[]>> = {
  S0: [2, 3, 12, 18, 19, 20, 30, 33],
  S1: [1, 3, 4, 6, 7, 8, 9, 10, 21, 22, 31],
  S2: [5, 6, 7, 8, 9, 10, 11, 20, 21, 22, 29],
  S3: [2, 6, 7, 8, 11, 12, 13, 14, 15, 17],
};
t.strictSame(
  ids,
  Object.entries(PROMISED).flatMap(([system, numbers]) => numbers.map((number) => `${system}-${number}`)),
  'all of them',
);
