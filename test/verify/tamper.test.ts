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
import { ca, type Row } from './tamper.ts';
import { CERTIFICATES, REVOCATION } from './tamper-certificates.ts';
import { ARCHIVE } from './tamper-crls.ts';
import { KNOWN, OUTSIDER } from './tamper-files.ts';
import { FORM, LOG_KEY, SERVER } from './tamper-log.ts';

const kept = process.env['CHAT_TAMPER_CASES'];
const folder = kept ?? t.testdir({});
const cases: Case[] = [];

function written(row: Row): Case {
  const { name, known = () => [], roots = [], crls = [], exit, code, where, isAlone = false } = row;
  const dir = join(folder, String(cases.length));
  mkdirSync(dir);
  writeFiles(dir, row.files());
  row.prepare?.(dir);
  return { name, dir, known: known(), roots: [ca, ...roots].map(({ der }) => der), crls, exit, code, where, isAlone };
}

function matrix(name: string, rows: readonly Row[]) {
  t.test(name, async (test) => {
    for (const row of rows) {
      const one = written(row);
      cases.push(one);
      test.same(fault(one), null, row.name);
    }
  });
}

matrix('somebody without a key', OUTSIDER);
matrix('checkpoints kept elsewhere', KNOWN);
matrix('a server with the log key, and senders that lie', SERVER);
matrix('malformed entries, and entries that are no messages', FORM);
matrix('the key of the log', LOG_KEY);
matrix('certificates', CERTIFICATES);
matrix('revocation', REVOCATION);
matrix('lists that the server has kept', ARCHIVE);
if (kept !== undefined) t.teardown(() => writeFileSync(join(folder, 'cases'), serialize(cases)));
