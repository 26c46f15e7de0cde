/** The tamper matrix of bundles: each row with the exit status, the finding and the place that must follow from it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serialize } from 'node:v8';
import t from 'tap';
import type { BundleRow } from './bundle-edits.ts';
import { fault, type Case } from './judge.ts';
import { BUNDLE_MATRIX } from './matrix.ts';
import { ca } from './tamper.ts';

const kept = process.env['CHAT_TAMPER_CASES'];
const folder = join(kept ?? t.testdir({}), 'bundles');
mkdirSync(folder, { recursive: true });
const cases: Case[] = [];

function written(row: BundleRow): Case {
  const {
    name,
    archive,
    other,
    known = () => [],
    crls = [],
    roots = [],
    at,
    outside,
    exit,
    code,
    where,
    isAlone = false,
  } = row;
  const dir = join(folder, `${cases.length}.tar`);
  writeFileSync(dir, archive());
  const second = other && join(folder, `${cases.length}-other.tar`);
  if (second) writeFileSync(second, other());
  return {
    name,
    dir,
    other: second,
    known: known(),
    roots: [ca.der, ...roots],
    crls,
    at,
    outside,
    exit,
    code,
    where,
    isAlone,
  };
}

for (const [name, rows] of Object.entries(BUNDLE_MATRIX))
  t.test(name, async (test) => {
    for (const row of rows) {
      const one = written(row);
      cases.push(one);
      test.same(fault(one), null, row.name);
    }
  });
if (kept !== undefined) t.teardown(() => writeFileSync(join(folder, 'cases'), serialize(cases)));
