/** A key takes over from another, and the process is killed on the way. */
import { copyFileSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import t, { type Test } from 'tap';
import { prepareKey } from '../../server/log/key-succession.ts';
import { TranscriptLog } from '../../server/log/log.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { decodeLeaf } from '../../transcript/leaf.ts';
import { parseVkey } from '../../transcript/note.ts';
import { openCheckpoint } from '../../transcript/checkpoint.ts';
import { NOW } from '../support/store-world.ts';
import { entry, identity, logOptions, openLog, ORIGIN } from '../support/transcript-world.ts';

const { server } = identity();
const own = { chain: [server.der], privateKey: server.key };

/** A log whose key was replaced, not published since; and the files of the key before. */
async function replaced(t: Test) {
  const dir = t.testdir();
  const options = logOptions(dir, server, { anchorFile: `${dir}/log.anchor` });
  const log = await openLog(options);
  await log.append({ time: NOW, entries: [entry(NOW)] });
  await log.publish();
  await log.anchor();
  t.equal(await log.certification.takeOver(own), false, 'none is prepared');
  t.throws(() => prepareKey(`${dir}/none.key`), { code: 'NOT_FOUND' });
  t.equal(prepareKey(options.keyFile), true);
  const made = readFileSync(`${options.keyFile}.next`);
  t.equal(prepareKey(options.keyFile), false);
  t.strictSame(readFileSync(`${options.keyFile}.next`), made, 'the one that was made stays');
  copyFileSync(options.keyFile, `${dir}/old`);
  copyFileSync(`${options.keyFile}.next`, `${dir}/new`);
  const [before, { size }] = [log.vkey, log];
  t.equal(await log.certification.takeOver(own), true);
  const after = log.vkey;
  t.not(after, before);
  t.equal(log.size, size + 2);
  cpSync(`${dir}/log`, `${dir}/crashed`, { recursive: true });
  const note = log.latest.note;
  t.equal(openCheckpoint(Buffer.from(note), parseVkey(after)).size, size + 2, 'the new key signs what has its entry');
  t.throws(() => openCheckpoint(Buffer.from(note), parseVkey(before)), { code: 'SIG_FAIL' });
  await log.close();
  return { dir, options, before, after, size, note };
}

t.test('after each step of a takeover the next start ends it', async (t) => {
  const { dir, options, after, note, size } = await replaced(t);
  const takeovers = `${dir}/log.takeovers`;
  const list = readFileSync(takeovers);
  for (const isListed of [false, true]) {
    rmSync(options.dir, { recursive: true });
    cpSync(`${dir}/crashed`, options.dir, { recursive: true });
    rmSync(`${dir}/log.anchor`);
    copyFileSync(`${dir}/old`, options.keyFile);
    copyFileSync(`${dir}/new`, `${options.keyFile}.next`);
    if (isListed) writeFileSync(takeovers, list);
    else rmSync(takeovers);
    const log = await openLog(options);
    t.equal(log.vkey, after);
    t.equal(log.latest.note, note, 'the same checkpoint, by the new key');
    t.notOk(existsSync(`${options.keyFile}.next`));
    t.equal(log.takeovers.length, 1);
    t.ok(readFileSync(takeovers).equals(list));
    t.equal(await log.certification.takeOver(own), false);
    await log.append({ time: NOW, entries: [entry(NOW)] });
    await log.close();
  }
  const log = await openLog(options);
  t.equal(log.vkey, after, 'and a start after that');
  const key = decodeLeaf((await log.entries(size + 1, size + 2))[0]!);
  t.match(key, { type: 'key' });
  await log.close();
});

t.test('a key that was prepared and not logged waits for its turn', async (t) => {
  const { dir, options, after } = await replaced(t);
  prepareKey(options.keyFile);
  const log = await openLog(options);
  t.equal(log.vkey, after);
  t.equal(await log.certification.takeOver(own), true);
  t.equal(log.takeovers.length, 2);
  await log.close();
  const again = await TranscriptLog.open(options);
  t.equal(again.takeovers.length, 2);
  await again.close();
  writeFileSync(`${dir}/log.takeovers`, 'nonsense\n');
  await t.rejects(TranscriptLog.open(options), { code: 'LOG_CORRUPT', message: /log\.takeovers/ });
});

t.test('what the key before has signed counts up to its end, and no further', async (t) => {
  const { dir, options, size } = await replaced(t);
  const log = await openLog(options);
  const old = createPrivateKey(readFileSync(`${dir}/old`));
  const note = (n: number, key = old) =>
    signCheckpoint({ origin: ORIGIN, size: n, root: Buffer.alloc(32, 1) as never }, key).toString();
  await log.present(note(size + 2));
  await log.present(note(1000));
  await log.present(note(1000, generateKeyPairSync('ed25519').privateKey));
  await log.append({ time: NOW, entries: [entry(NOW)] });
  const fatal = logOptions(dir, server, { onFatal: () => undefined });
  await log.close();
  const other = await openLog(fatal);
  await t.rejects(other.present(note(size)), { code: 'FORK' }, 'a fork from before');
  await other.close();
  t.ok(options);
});
