/** The tamper matrix of bundles: each row with the exit status, the finding and the place that must follow from it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serialize } from 'node:v8';
import t from 'tap';
import { fault, type Case } from './judge.ts';
import {
  BUNDLE_EXPORTER,
  BUNDLE_KNOWN,
  BUNDLE_OUTSIDER,
  BUNDLE_SERVER,
  BUNDLE_TRUST,
  type BundleRow,
} from './tamper-bundle.ts';
import { ca } from './tamper.ts';
import { BUNDLE_CRLS } from './tamper-crls.ts';

const kept = process.env['CHAT_TAMPER_CASES'];
const folder = join(kept ?? t.testdir({}), 'bundles');
mkdirSync(folder, { recursive: true });
const cases: Case[] = [];

function written(row: BundleRow): Case {
  const { name, archive, other, known = () => [], crls = [], roots = [], at, exit, code, where, isAlone = false } = row;
  const dir = join(folder, `${cases.length}.tar`);
  writeFileSync(dir, archive());
  const second = other && join(folder, `${cases.length}-other.tar`);
  if (second) writeFileSync(second, other());
  return { name, dir, other: second, known: known(), roots: [ca.der, ...roots], crls, at, exit, code, where, isAlone };
}

function matrix(name: string, rows: readonly BundleRow[]) {
  t.test(name, async (test) => {
    for (const row of rows) {
      const one = written(row);
      cases.push(one);
      test.same(fault(one), null, row.name);
    }
  });
}

matrix('somebody without a key', BUNDLE_OUTSIDER);
matrix('an exporter who lies', BUNDLE_EXPORTER);
matrix('a server with the log key, and senders that lie', BUNDLE_SERVER);
matrix('certificates and revocation', BUNDLE_TRUST);
matrix('lists that the server has logged', BUNDLE_CRLS);
matrix('checkpoints and bundles from elsewhere', BUNDLE_KNOWN);
if (kept !== undefined) t.teardown(() => writeFileSync(join(folder, 'cases'), serialize(cases)));
