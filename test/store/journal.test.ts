/** The two files of a journal, by themselves: what is found in them again, and when they are empty. */
import fs, { readFileSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Fingerprint, Hash } from '../../base/bytes.ts';
import { encodeWindow, type NumberedWindow } from '../../store/journal-record.ts';
import { Journal } from '../../store/journal.ts';
import { newSession, NOW, random32 } from '../support/store-world.ts';

const PAGE = 4096;

/** A window up to this size of the log, with so many bytes in it. */
const windowTo = (logSize: number, sigb: Uint8Array = Buffer.alloc(10), origin = 'a/log'): NumberedWindow => ({
  from: logSize - 1,
  window: {
    origin,
    logSize,
    batches: [
      {
        batch: {
          firstIndex: logSize - 1,
          fingerprint: random32<Fingerprint>(),
          session: newSession(),
          firstCtr: 1,
          count: 1,
          sigb,
          batchHash: random32<Hash>(),
          serverTime: NOW,
        },
        messages: [],
      },
    ],
    certificates: [],
  },
});

async function setting(t: Test) {
  const path = join(t.testdir(), 'db');
  const open = async () => {
    const { journal, windows } = await Journal.open(path);
    t.teardown(() => journal.close().catch(() => undefined));
    return { journal, found: windows.map(({ window }) => window.logSize).sort((a, b) => a - b) };
  };
  const bytes = (half: 0 | 1) => readFileSync(`${path}-ahead-${half}`);
  const isZero = (half: 0 | 1) => bytes(half).every((byte) => byte === 0);
  return { path, open, bytes, isZero };
}

t.test('a file is written until the other one is empty, and emptied when the database has all of it', async (t) => {
  const { open, isZero } = await setting(t);
  const { journal } = await open();
  t.ok(journal.isClear);
  await journal.append(windowTo(1));
  await journal.append(windowTo(7, undefined, 'b/log'));
  await journal.clearOther(new Map([['a/log', 99]]));
  t.notOk(isZero(0), 'it is being written');
  journal.turn();
  await journal.append(windowTo(2));
  journal.turn();
  await journal.append(windowTo(3));
  t.strictSame((await open()).found, [1, 2, 3, 7]);
  for (const told of [
    [],
    [['a/log', 9]],
    [
      ['a/log', 9],
      ['b/log', 6],
    ],
    [
      ['a/log', 0],
      ['b/log', 7],
    ],
  ] as [string, number][][])
    await journal.clearOther(new Map(told));
  t.notOk(isZero(0), 'of one log the database has not all');
  t.strictSame((await open()).found, [1, 2, 3, 7]);
  await journal.clearOther(
    new Map([
      ['a/log', 1],
      ['b/log', 7],
    ]),
  );
  t.ok(isZero(0));
  t.strictSame((await open()).found, [2, 3], 'what is in the other file stays, whatever the database has of it');
  t.notOk(journal.isClear);
  journal.turn();
  await journal.append(windowTo(4));
  t.notOk(isZero(0), 'now it is written again');
  await journal.clearOther(new Map([['a/log', 3]]));
  t.strictSame((await open()).found, [4]);
  await journal.clear();
  t.ok(journal.isClear && isZero(0) && isZero(1));
  await journal.append(windowTo(5));
  t.strictSame((await open()).found, [5]);
});

t.test('more than a step of zeros is cleared, and what it held is gone', async (t) => {
  const { open, bytes, isZero } = await setting(t);
  const { journal } = await open();
  const secret = Buffer.alloc(1_500_000, 'ciphertext');
  await journal.append(windowTo(1, secret));
  await journal.append(windowTo(2, secret));
  t.ok(bytes(0).includes('ciphertext'));
  t.strictSame((await open()).found, [1, 2]);
  journal.turn();
  await journal.clearOther(new Map([['a/log', 2]]));
  t.ok(isZero(0));
});

t.test('a clearing that was cut short leaves the first records whole, which are taken up again', async (t) => {
  const { path, open, bytes } = await setting(t);
  const { journal } = await open();
  const first = windowTo(1);
  await journal.append(first);
  const end = Math.ceil((8 + encodeWindow(first).length + 4) / PAGE) * PAGE;
  for (const size of [2, 3]) await journal.append(windowTo(size));
  await journal.close();
  const cut = Buffer.from(bytes(0)).fill(0, end);
  writeFileSync(`${path}-ahead-0`, cut);
  const again = await open();
  t.strictSame(again.found, [1]);
  await again.journal.append(windowTo(4));
  t.strictSame((await open()).found, [1, 4]);
});

t.test('what begins like a record and is none ends what is read', async (t) => {
  const { path, open, bytes } = await setting(t);
  const { journal } = await open();
  for (const size of [1, 2]) await journal.append(windowTo(size));
  const whole = bytes(0);
  for (const [name, change] of [
    ['longer than the file', (at: Buffer) => at.writeUInt32BE(0xffff_ffff, 4)],
    ['as long as what is left of the file', (at: Buffer) => at.writeUInt32BE(at.length - 12, 4)],
    ['a byte longer', (at: Buffer) => at.writeUInt32BE(at.length - 11, 4)],
    ['of no length', (at: Buffer) => at.writeUInt32BE(0, 4)],
    ['with another beginning', (at: Buffer) => at.write('CSWK')],
  ] as const) {
    const other = Buffer.from(whole);
    change(other.subarray(PAGE));
    writeFileSync(`${path}-ahead-0`, other);
    t.strictSame((await open()).found, [1], name);
  }
});

t.test('what is left of a record that could not be written is never taken for one', async (t) => {
  const { open, bytes, isZero } = await setting(t);
  const { journal } = await open();
  await journal.append(windowTo(66));
  const forged = Buffer.from(bytes(0).subarray(0, PAGE));
  await journal.clear();
  await journal.append(windowTo(1));
  // Somebody sends what is a record, so that it stands where the second page of the journal's record begins.
  const sent = Buffer.alloc(3 * PAGE, 'x');
  const long = windowTo(2, sent);
  const at = 8 + encodeWindow(long).indexOf('xxxx');
  forged.copy(sent, PAGE - at);
  const fullDisk = async (window: NumberedWindow) => {
    fs.write = fails as typeof fs.write;
    syncBuiltinESMExports();
    await t.rejects(journal.append(window), { code: 'DISK_FULL' });
    fs.write = real;
    syncBuiltinESMExports();
    t.ok(bytes(0).includes(forged), 'it stands there');
  };
  const real = fs.write;
  t.teardown(() => {
    fs.write = real;
    syncBuiltinESMExports();
  });
  type Done = (error: Error | null, count: number) => void;
  const fails = (fd: number, from: Uint8Array, offset: number, length: number, position: number, done: Done) =>
    offset > 0 || length <= 2 * PAGE
      ? done(Object.assign(new Error('no room'), { code: 'ENOSPC' }), 0)
      : real(fd, from, offset, 2 * PAGE, position, done);
  await fullDisk(long);
  t.strictSame((await open()).found, [1]);
  await journal.append(windowTo(3));
  t.strictSame((await open()).found, [1, 3]);
  t.notOk(bytes(0).includes(forged));
  await journal.clear();
  await journal.append(windowTo(1));
  await fullDisk(long);
  journal.turn();
  await journal.clearOther(new Map([['a/log', 9]]));
  t.ok(isZero(0), 'and when the file is cleared it is gone');
});
