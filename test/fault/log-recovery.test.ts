/** What a log does about damaged files: a torn tail is cut off, damage to what may have been acknowledged is refused. */
import { copyFileSync, cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { equal } from '../../base/bytes.ts';
import { disk, type Files } from '../../server/log/files.ts';
import { TranscriptLog } from '../../server/log/log.ts';
import type { Head } from '../../server/log/signer.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { encodeRecord, PAGE_BYTES, recordAt } from '../../transcript/wal.ts';
import { NOW } from '../support/store-world.ts';
import { entry, identity, logOptions, openLog } from '../support/transcript-world.ts';

const { server } = identity();
const SEGMENT = '/log/wal/00000001.wal';

/** A log with three windows that are not published, and the byte where the last record begins. */
async function threeWindows(dir: string, lastBytes: number) {
  const log = await openLog(logOptions(dir, server));
  const heads: Head[] = [log.latest];
  const entries: Uint8Array[][] = [];
  for (const bytes of [100, 100, lastBytes]) {
    entries.push([entry(NOW, bytes)]);
    heads.push(await log.append({ time: NOW, entries: entries.at(-1)! }));
  }
  // As after a crash: nothing of these was published.
  cpSync(`${dir}/log`, `${dir}/crashed/log`, { recursive: true });
  copyFileSync(`${dir}/log.key`, `${dir}/crashed/log.key`);
  await log.close();
  const segment = readFileSync(`${dir}/crashed${SEGMENT}`);
  let last = 0;
  for (let at = 0, found = recordAt(segment, 0); found; found = recordAt(segment, at)) {
    last = at;
    at += found.paddedBytes;
  }
  return { heads, entries, last, segment, dir: `${dir}/crashed` };
}

t.test('a tail torn at any page or byte is zeroed, and everything before it stays', async (t) => {
  const { heads, last, segment, dir } = await threeWindows(t.testdir(), 20_000);
  const end = last + recordAt(segment, last)!.paddedBytes;
  t.equal(end - last, 5 * PAGE_BYTES);
  const cuts = [last + 1, last + 7, last + 512, last + 5000, end - PAGE_BYTES - 1];
  for (let at = last; at < end; at += PAGE_BYTES) cuts.push(at);
  const states: [string, Buffer][] = cuts.map((at) => {
    const torn = Buffer.from(segment);
    torn.fill(0, at, end);
    return [`cut at ${at - last}`, torn];
  });
  for (let at = last; at < end; at += PAGE_BYTES) {
    const torn = Buffer.from(segment);
    torn.fill(0, at, at + PAGE_BYTES);
    states.push([`page ${(at - last) / PAGE_BYTES} missing`, torn]);
  }
  for (const [name, torn] of states) {
    writeFileSync(dir + SEGMENT, torn);
    const log = await TranscriptLog.open(logOptions(dir, server));
    t.equal(log.latest.note, heads[2]!.note, name);
    await log.append({ time: NOW, entries: [entry(NOW)] });
    await log.close();
    const again = await TranscriptLog.open(logOptions(dir, server));
    t.equal(again.size, heads[2]!.size + 1, `${name}: it goes on`);
    await again.close();
    for (const published of ['tile', 'state', 'checkpoint']) rmSync(`${dir}/log/${published}`, { recursive: true });
  }
});

/** What is looked at here is what is read, so nothing waits for a disk. */
const hasty: Files = {
  ...disk,
  open: async (path, how) => {
    const file = await disk.open(path, how);
    return {
      read: (into, position) => file.read(into, position),
      write: (bytes, position) => file.write(bytes, position),
      datasync: async () => {},
      close: () => file.close(),
    };
  },
  syncDirectory: async () => {},
};

t.test('a record torn at each of its bytes', async (t) => {
  const { heads, last, segment, dir } = await threeWindows(t.testdir(), 40);
  const length = segment.readUInt32BE(last + 4);
  const end = last + recordAt(segment, last)!.paddedBytes;
  t.ok(length < PAGE_BYTES && end - last === PAGE_BYTES);
  const wrong: unknown[] = [];
  // The last byte may be a zero already: then nothing is torn.
  for (let at = last; at < last + length; at++) {
    const torn = Buffer.from(segment);
    torn.fill(0, at, end);
    if (torn.equals(segment)) continue;
    writeFileSync(dir + SEGMENT, torn);
    const log = await TranscriptLog.open({ ...logOptions(dir, server), files: hasty });
    if (log.latest.note !== heads[2]!.note) wrong.push(at - last);
    await log.close();
    for (const published of ['tile', 'state', 'checkpoint']) rmSync(`${dir}/log/${published}`, { recursive: true });
  }
  t.same(wrong, [], `${length} bytes`);
});

t.test('garbage behind the last record, also in the next segment, is zeroed', async (t) => {
  const { heads, segment, dir } = await threeWindows(t.testdir(), 100);
  const next = Buffer.alloc(segment.length);
  next.fill(0xa5, 0, 10_000);
  writeFileSync(`${dir}/log/wal/00000002.wal`, next);
  const log = await TranscriptLog.open(logOptions(dir, server));
  t.equal(log.latest.note, heads[3]!.note);
  t.ok(readFileSync(`${dir}/log/wal/00000002.wal`).every((byte) => byte === 0));
  await log.close();
});

t.test('damage to acknowledged entries is refused, and says where', async (t) => {
  const { segment, last, dir } = await threeWindows(t.testdir(), 100);
  const refused = async (name: string, damaged: Buffer, sub: string, message: RegExp) => {
    writeFileSync(dir + SEGMENT, damaged);
    await t.rejects(TranscriptLog.open(logOptions(dir, server)), { code: 'LOG_CORRUPT', sub, message }, name);
    t.ok(readFileSync(dir + SEGMENT).equals(damaged), `${name}: nothing was changed`);
  };
  const with_ = (change: (bytes: Buffer) => void) => {
    const copy = Buffer.from(segment);
    change(copy);
    return copy;
  };
  const page = last / PAGE_BYTES;
  for (const bit of [0, 9, 20, 37, 100])
    await refused(
      `byte ${bit}`,
      with_((b) => (b[last - PAGE_BYTES + bit]! ^= 1)),
      'later_record',
      new RegExp(`segment 00000001.wal, page ${page - 1}: .*restore`),
    );
  await refused(
    'zeros in the middle',
    with_((b) => b.fill(0, last - PAGE_BYTES, last)),
    'later_record',
    new RegExp(`page ${page - 1}`),
  );
  await refused(
    'a record twice',
    with_((b) => b.copy(b, last + PAGE_BYTES, last, last + PAGE_BYTES)),
    'first_index',
    new RegExp(`page ${page + 1}`),
  );
  await refused(
    'a record left out',
    with_((b) => b.copy(b, last - PAGE_BYTES, last, last + PAGE_BYTES)),
    'first_index',
    new RegExp(`page ${page - 1}`),
  );
  const { record } = recordAt(segment, last)!;
  const forged = encodeRecord({ ...record, entries: [entry(NOW)] });
  await refused(
    'another entry under a right checksum',
    with_((b) => forged.copy(b, last)),
    'root',
    /segment 00000001.wal/,
  );
  const { record: before } = recordAt(segment, last - PAGE_BYTES)!;
  const otherRoot = encodeRecord({ ...before, root: record.root });
  await refused(
    'another root',
    with_((b) => otherRoot.copy(b, last - PAGE_BYTES)),
    'root',
    /segment/,
  );
  writeFileSync(dir + SEGMENT, segment);
  truncateSync(dir + SEGMENT, segment.length - 1);
  await t.rejects(TranscriptLog.open(logOptions(dir, server)), { code: 'LOG_CORRUPT', message: /length/ });
  writeFileSync(dir + SEGMENT, segment);
  const log = await TranscriptLog.open(logOptions(dir, server));
  t.equal(log.size, 5, 'undamaged, it opens');
  await log.close();
});

t.test('a missing segment is refused', async (t) => {
  const dir = t.testdir();
  const log = await openLog(logOptions(dir, server));
  for (let i = 0; i < 40; i++) await log.append({ time: NOW, entries: [entry(NOW, 5000)] });
  cpSync(`${dir}/log`, `${dir}/crashed/log`, { recursive: true });
  copyFileSync(`${dir}/log.key`, `${dir}/crashed/log.key`);
  await log.close();
  t.ok(readdirSync(`${dir}/crashed/log/wal`).length > 3);
  rmSync(`${dir}/crashed/log/wal/00000002.wal`);
  await t.rejects(TranscriptLog.open(logOptions(`${dir}/crashed`, server)), {
    code: 'LOG_CORRUPT',
    sub: 'first_index',
  });
});

t.test('published files that do not fit the tree are refused or not served', async (t) => {
  const dir = t.testdir();
  let log = await openLog(logOptions(dir, server));
  await log.append({ time: NOW, entries: Array.from({ length: 600 }, () => entry(NOW)) });
  await log.close();
  const flip = (path: string, at: number) => {
    const bytes = readFileSync(`${dir}/log/${path}`);
    bytes[at]! ^= 1;
    writeFileSync(`${dir}/log/${path}`, bytes);
  };
  const open = () => openLog(logOptions(dir, server));
  for (const path of ['tile/0/002.p/90', 'tile/1/000.p/2', 'tile/entries/002.p/90', 'state', 'checkpoint']) {
    flip(path, 40);
    await t.rejects(open(), { code: path === 'checkpoint' ? 'CONFIG_INVALID' : 'LOG_CORRUPT' }, path);
    flip(path, 40);
    if (path === 'checkpoint') continue;
    const bytes = readFileSync(`${dir}/log/${path}`);
    writeFileSync(`${dir}/log/${path}`, bytes.subarray(1));
    await t.rejects(open(), { code: 'LOG_CORRUPT', message: /restore/ }, `${path}, one byte short`);
    writeFileSync(`${dir}/log/${path}`, bytes);
  }
  const path = 'tile/0/002.p/90';
  const bytes = readFileSync(`${dir}/log/${path}`);
  rmSync(`${dir}/log/${path}`);
  await t.rejects(open(), { code: 'LOG_CORRUPT', message: /tile\/0\/002\.p\/90 is missing/ });
  writeFileSync(`${dir}/log/${path}`, bytes);

  flip('tile/0/000', 40);
  flip('tile/entries/001', 40);
  log = await open();
  await t.rejects(log.proofs.inclusion(0), { code: 'LOG_CORRUPT', message: /hash tile 0 of level 0/ });
  await t.rejects(log.entries(0, 1), { code: 'LOG_CORRUPT' });
  await t.rejects(log.entries(300, 301), { code: 'LOG_CORRUPT', message: /another entry/ });
  flip('tile/0/000', 40);
  flip('tile/entries/001', 40);
  t.ok(equal(leafHash((await log.entries(300, 301))[0]!), leafHash((await log.entries(299, 302))[1]!)));
  await t.resolves(log.proofs.inclusion(0), 'nothing wrong was remembered');
  await log.close();
});
