/** Disks that fail, fill up, or lose power: nothing that was acknowledged is lost, and nothing is signed that the disk may not have. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomInt } from 'node:crypto';
import t from 'tap';
import { equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { TranscriptLog } from '../../server/log/log.ts';
import type { Head } from '../../server/log/signer.ts';
import type { LogOptions } from '../../server/log/options.ts';
import { isConsistent } from '../../transcript/proof.ts';
import { chanceOf, errno, ForgetfulDisk, type Operation } from '../support/forgetful-disk.ts';
import { NOW } from '../support/store-world.ts';
import { checkTileDirectory } from '../support/tile-directory.ts';
import { entry, identity, logOptions, openLog } from '../support/transcript-world.ts';

t.setTimeout(process.env['FUZZ'] ? 3_600_000 : 120_000); // a busy machine is no failure
const { server } = identity();
/** One key for all: making one costs a real fsync. */
const keyFile = join(t.testdir(), 'log.key');
const runs = process.env['FUZZ'] ? 4000 : 30;
const firstSeed = process.env['FUZZ'] ? randomInt(2 ** 31) : 1;

/** What somebody outside holds: signed heads, and the entries that they cover. */
interface Kept {
  readonly heads: Head[];
  readonly entries: Uint8Array[];
  vkey: string;
}

/** Writes windows and publishes, by chance, until something fails. */
async function work(options: LogOptions, chance: () => number, windows: number, kept: Kept): Promise<unknown> {
  let log: TranscriptLog | null = null;
  try {
    log = await TranscriptLog.open(options);
    kept.vkey = log.vkey;
    if (log.size < kept.entries.length) throw new Error(`lost: ${log.size} of ${kept.entries.length}`);
    await log.certification.certify();
    await catchUp(log, kept);
    for (let i = 0; i < windows; i++) {
      const entries = Array.from({ length: 1 + Math.floor(chance() * 6) }, () =>
        entry(NOW, 50 + Math.floor(chance() * 6000)),
      );
      const head = await log.append({ time: NOW, entries });
      kept.heads.push(head);
      kept.entries.push(...entries);
      if (chance() < 0.4) await log.publish();
    }
    await log.close();
    return null;
  } catch (error) {
    await log?.close().catch(() => undefined);
    return error;
  }
}

/** The log may have more than was told, and never less or other. */
async function catchUp(log: TranscriptLog, kept: Kept): Promise<void> {
  const entries = await log.entries(0, log.size);
  if (!kept.entries.every((known, i) => equal(known, entries[i]!)))
    throw new Error('another entry than was acknowledged');
  for (const { size, root } of kept.heads.slice(-5))
    if (!isConsistent(size, root, log.size, log.latest.root, await log.proofs.consistency(size)))
      throw new Error(`fork at ${size}`);
  kept.entries.splice(0, Infinity, ...entries);
}

const optionsOn = (dir: string, files: ForgetfulDisk, more: Partial<LogOptions> = {}): LogOptions =>
  logOptions(dir, server, { keyFile, files, onFatal: () => undefined, ...more });

t.test('power fails at any operation', async (t) => {
  for (let run = 0; run < runs; run++) {
    const seed = firstSeed + run;
    const chance = chanceOf(seed);
    const dir = join(t.testdirName, `${run}`);
    mkdirSync(dir, { recursive: true });
    let files = new ForgetfulDisk(dir);
    const kept: Kept = { heads: [], entries: [], vkey: '' };
    for (let cut = 0; cut < 3; cut++) {
      const at = files.operations + 1 + Math.floor(chance() * 150);
      files.before = () => {
        if (files.operations >= at) throw errno('EIO'); // nothing more reaches the disk, and nobody is answered
      };
      const error = await work(optionsOn(dir, files), chance, 30, kept);
      if (error !== null && ChatError.from(error).code !== 'LOG_FAILED')
        throw new Error(`seed ${seed}`, { cause: error });
      files = files.afterPowerCut(chance);
      const disk = files;
      await checkTileDirectory((path) => disk.readFile(join(dir, 'log', path)), kept.vkey).catch((cause: unknown) => {
        throw new Error(`seed ${seed}: the published log`, { cause });
      });
    }
    const error = await work(optionsOn(dir, files), chance, 3, kept);
    if (error !== null) throw new Error(`seed ${seed}: not opened again`, { cause: error });
  }
  t.pass(`${runs} runs of three power cuts`);
});

t.test('power fails right after an acknowledgement', async (t) => {
  const dir = t.testdir();
  let files = new ForgetfulDisk(dir);
  for (let i = 0; i < 10; i++) {
    const log = await openLog(optionsOn(dir, files));
    const head = await log.append({ time: NOW, entries: [entry(NOW)] });
    files = files.afterPowerCut(() => 0.9); // nothing stays but what was synced
    await log.close();
    const again = await TranscriptLog.open(optionsOn(dir, files));
    t.equal(again.latest.note, head.note);
    await again.close();
  }
});

/** A short life of a log that does everything; which of its operations fail is up to the caller. */
const script = (dir: string, files: ForgetfulDisk, kept: Kept) => work(optionsOn(dir, files), chanceOf(7), 14, kept);

for (const code of ['EIO', 'ENOSPC'])
  t.test(`each operation fails once with ${code}`, async (t) => {
    const count = new ForgetfulDisk(t.testdir());
    await script(t.testdirName, count, { heads: [], entries: [], vkey: '' });
    const step = process.env['FUZZ'] ? 1 : code === 'EIO' ? 2 : 3;
    t.ok(count.operations > 150, `${count.operations} operations`);
    for (let at = 1; at <= count.operations; at += step) {
      const dir = join(t.testdirName, `${at}`);
      mkdirSync(dir);
      const files = new ForgetfulDisk(dir);
      let failed: { readonly operation: Operation; readonly path: string } | null = null;
      let signed = 0;
      files.before = (operation, path) => {
        if (files.operations !== at) return;
        failed = { operation, path };
        signed = kept.heads.length;
        throw errno(code);
      };
      const kept: Kept = { heads: [], entries: [], vkey: '' };
      const error = await script(dir, files, kept);
      const { operation, path } = failed!;
      const where = `operation ${at}: ${operation} ${path.slice(dir.length)}`;
      // Only what runs ahead of need may fail unnoticed, and what is merely tidied up.
      if (error !== null && !['LOG_FAILED', 'DISK_FULL'].includes(ChatError.from(error).code))
        throw new Error(where, { cause: error });
      if (/\d{8}\.wal$/.test(path) && (operation === 'write' || operation === 'datasync')) {
        if (ChatError.from(error).code !== 'LOG_FAILED' && kept.heads.length > 0)
          throw new Error(`${where}: went unnoticed`);
        if (kept.heads.length > signed) throw new Error(`${where}: something was signed afterwards`);
      }
      const after = await work(optionsOn(dir, files), chanceOf(8), 3, kept);
      if (after !== null) throw new Error(`${where}: not opened again`, { cause: after });
    }
  });

t.test('a failed fdatasync is not repeated, and ends the log', async (t) => {
  const dir = t.testdir();
  const files = new ForgetfulDisk(dir);
  const fatal: ChatError[] = [];
  const log = await openLog(optionsOn(dir, files, { onFatal: (error) => fatal.push(error) }));
  const { note } = log.latest;
  let syncs = 0;
  files.before = (operation) => {
    if (operation !== 'datasync') return;
    syncs++;
    throw errno('EIO');
  };
  const window = () => ({ time: NOW, entries: [entry(NOW)] });
  await t.rejects(log.append(window()), { code: 'LOG_FAILED' });
  files.before = () => undefined;
  await t.rejects(log.append(window()), { code: 'LOG_FAILED' }, 'also when the disk has recovered');
  await t.rejects(log.publish(), { code: 'LOG_FAILED' });
  await t.rejects(log.makeRoom([entry(NOW)]), { code: 'LOG_FAILED' });
  t.equal(syncs, 1);
  t.equal(log.latest.note, note);
  t.strictSame(
    fatal.map(({ code }) => code),
    ['LOG_FAILED'],
    'told once',
  );
  await log.close();

  // The kernel forgets after the report: the pages are clean and in memory alone. The next process must write them again.
  const rewritten: string[] = [];
  files.after = (operation, path) => void (path.includes('/wal/') && rewritten.push(operation));
  const again = await TranscriptLog.open(optionsOn(dir, files));
  t.equal(again.size, 3, 'the record was in the page cache');
  t.strictSame(rewritten, ['open', 'write', 'datasync']);
  await again.close();
});

t.test('what a step of publication relies on is durable before it', async (t) => {
  const dir = t.testdir();
  const files = new ForgetfulDisk(dir);
  const log = await openLog(optionsOn(dir, files));
  await log.append({ time: NOW, entries: [entry(NOW)] });
  const steps: string[] = [];
  files.after = (operation, path) => {
    const name = path.slice(dir.length + 1);
    if (operation === 'rename' || operation === 'syncDirectory') steps.push(`${operation} ${name}`);
  };
  await log.publish();
  t.strictSame(steps.slice(-4), [
    'rename log/state',
    'syncDirectory log',
    'rename log/checkpoint',
    'syncDirectory log',
  ]);
  const last = (text: string) => steps.findLastIndex((step) => step.startsWith(text));
  t.ok(last('rename log/tile') < last('syncDirectory log/tile'));
  t.ok(last('syncDirectory log/tile') < steps.indexOf('rename log/state'));
  await log.close();
});

t.test('no room for the next segment: refused, nothing changed, and it goes on when there is room', async (t) => {
  const dir = t.testdir();
  const files = new ForgetfulDisk(dir);
  const log = await openLog(optionsOn(dir, files));
  files.before = (operation, path) => {
    if (operation === 'write' && path.includes('.tmp')) throw errno('ENOSPC');
  };
  const window = () => ({ time: NOW, entries: [entry(NOW, 9000)] });
  let head = log.latest;
  const fill = async () => {
    for (;;) head = await log.append(window());
  };
  await t.rejects(fill(), { code: 'DISK_FULL' });
  await t.rejects(log.append(window()), { code: 'DISK_FULL' });
  await t.rejects(log.makeRoom([entry(NOW, 9000)]), { code: 'DISK_FULL' });
  await t.rejects(log.publish(), { code: 'DISK_FULL' });
  t.equal(log.latest, head);
  await log.append({ time: NOW, entries: [entry(NOW)] }).then(
    () => t.pass('a small window may still fit'),
    (error: unknown) => t.match(error, { code: 'DISK_FULL' }),
  );
  const { size } = log;
  files.before = () => undefined;
  await log.publish();
  t.equal((await log.append(window())).size, size + 1);
  await log.close();
  const again = await openLog(optionsOn(dir, files));
  t.equal(again.size, size + 1);
  await again.close();
});

for (const name of ['state', 'checkpoint'])
  t.test(`no room for the ${name}: nothing of that publication stays behind`, async (t) => {
    const dir = t.testdir();
    const files = new ForgetfulDisk(dir);
    const log = await openLog(optionsOn(dir, files));
    const sizes = [log.size];
    for (const isFull of [true, true, false]) {
      files.before = (operation, path) => {
        if (isFull && operation === 'write' && path.endsWith(`${name}.tmp`)) throw errno('ENOSPC');
      };
      await log.append({ time: NOW, entries: [entry(NOW)] });
      if (isFull) await t.rejects(log.publish(), { code: 'DISK_FULL' });
      else await log.publish();
      if (!isFull) sizes.push(log.size);
    }
    const partials = (await files.list(join(dir, 'log/tile/entries/000.p'))).map(Number).sort((a, b) => a - b);
    t.strictSame(partials, sizes);
    await log.close();
  });

t.test('a full file system', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'chat-full-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', dir]).status === 0;
  if (!mounted) {
    const isRequired = (process.env['CHAT_REQUIRE'] ?? '').split(',').includes('tmpfs');
    return (isRequired ? t.fail('cannot mount a tmpfs') : t.comment('skipped: cannot mount a tmpfs'), t.end());
  }
  t.teardown(() => {
    spawnSync('umount', ['-l', dir]);
    rmdirSync(dir);
  });
  const log = await openLog(logOptions(dir, server));
  let acknowledged = log.size;
  const fill = async () => {
    for (;;) acknowledged = (await log.append({ time: NOW, entries: [entry(NOW, 3000)] })).size;
  };
  const free = () => statfsSync(dir).bfree * 4096;
  writeFileSync(`${dir}/ballast`, Buffer.alloc(Math.max(0, free() - 60_000)));
  await t.rejects(fill(), { code: 'DISK_FULL' });
  t.equal(log.size, acknowledged);
  t.ok(acknowledged > 10);
  rmSync(`${dir}/ballast`);
  t.equal((await log.append({ time: NOW, entries: [entry(NOW, 3000)] })).size, acknowledged + 1, 'without a restart');
  await log.close();
  const again = await openLog(logOptions(dir, server));
  t.equal(again.size, acknowledged + 1);
  await again.close();
});
