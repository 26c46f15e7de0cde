/**
 * The tamper matrix: each alteration of a log directory, with the exit status, the finding and the place that must follow from it. With
 * the environment variable CHAT_TAMPER_CASES the directories are written there and stay, for `judge.ts`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serialize } from 'node:v8';
import t from 'tap';
import { writeFiles } from '../support/log-writer.ts';
import { fault, type Case } from './judge.ts';
import { LOG_MATRIX } from './matrix.ts';
import { ca, type Row } from './tamper.ts';

const kept = process.env['CHAT_TAMPER_CASES'];
const folder = kept ?? t.testdir({});
const cases: Case[] = [];

function written(row: Row): Case {
  const { name, known = () => [], roots = [], crls = [], outside, exit, code, where, isAlone = false } = row;
  const dir = join(folder, String(cases.length));
  mkdirSync(dir);
  writeFiles(dir, row.files());
  row.prepare?.(dir);
  return {
    name,
    dir,
    known: known(),
    roots: [ca, ...roots].map(({ der }) => der),
    crls,
    outside,
    exit,
    code,
    where,
    isAlone,
  };
}

for (const [name, rows] of Object.entries(LOG_MATRIX))
  t.test(name, async (test) => {
    for (const row of rows) {
      const one = written(row);
      cases.push(one);
      test.same(fault(one), null, row.name);
    }
  });
if (kept !== undefined) t.teardown(() => writeFileSync(join(folder, 'cases'), serialize(cases)));
