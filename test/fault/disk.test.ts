/**
 * Disks that are full: the server's database, the server's log, a client's vault. Nothing that was accepted is lost, the one concerned is
 * told in so many words, and once there is room everything goes on without a restart.
 */
import { closeSync, cpSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { disk, type Files } from '../../server/log/files.ts';
import { audit, auditTranscript, drain, password, peopleOf, Person, Talk } from '../support/load.ts';
import { NOW } from '../support/store-world.ts';
import { smallDisk, System } from '../support/system.ts';
import { entry, identity, logOptions, openLog } from '../support/transcript-world.ts';
import { testFolder } from '../support/folder.ts';

const preload = new URL('./failing-server.ts', import.meta.url).href;

t.setTimeout(300_000);

/** Takes all the room that is left, but for so many bytes. Answers what gives it back. */
function fill(dir: string, spareBytes = 0): () => void {
  const path = join(dir, 'ballast');
  const spare = join(dir, 'spare');
  const write = (file: string, bytes: number): void => {
    const fd = openSync(file, 'w');
    try {
      for (let left = bytes; left > 0;) left -= writeSync(fd, Buffer.alloc(Math.min(left, 65_536)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      closeSync(fd);
    }
  };
  write(spare, spareBytes);
  write(path, Infinity);
  rmSync(spare);
  return () => rmSync(path);
}

async function talking(t: Test, system: System): Promise<Talk[]> {
  const [alice, bob] = await Promise.all([Person.open(t, system, 'alice'), Person.open(t, system, 'bob')]);
  const talks = [await Talk.between(alice, bob, 4), await Talk.between(bob, alice, 4)];
  for (const talk of talks) talk.begin();
  await Promise.all(talks.map((talk) => talk.more(8)));
  return talks;
}

/** Somebody who only looks: what needs no room goes on. */
async function onlooker(t: Test, system: System): Promise<() => Promise<void>> {
  const carol = await Person.open(t, system, 'carol');
  const { id } = await carol.app.open('alice');
  return async () => {
    t.same((await carol.app.open('alice')).id, id, 'conversations are found');
    t.type(await carol.app.watch('bob'), 'boolean', 'people, too');
    t.match(await system.status(), { store: 'sqlite' }, 'the operator is answered');
    const users = await system.command('user', 'list'); // in the order in which they came
    for (const name of ['alice@', 'bob@']) t.match(users, name);
    t.strictSame(carol.losses, []);
    t.notOk(system.server.hasEnded);
  };
}

async function finish(t: Test, system: System, talks: readonly Talk[]): Promise<void> {
  await Promise.all(talks.map((talk) => talk.more(8)));
  await drain(talks);
  audit(t, talks);
  t.equal(await system.stop(), 0);
  await auditTranscript(t, system, talks);
  for (const person of peopleOf(talks)) await person.app.close();
}

t.test('no room for the database of the server', async (t) => {
  const small = smallDisk(t, 16);
  if (small === null) return;
  const settings = { 'db.url': `sqlite:${join(small, 'chat.db')}` };
  const system = await System.create(t, { settings });
  await system.start();
  const talks = await talking(t, system);
  const looks = await onlooker(t, system);
  const from = system.lines.length;
  const giveBack = fill(small);
  const line = await system.line('store.failed', from);
  t.equal(line['code'], 'DISK_FULL', 'the operator is told what it is');
  await system.line('request.refused', from, ({ code }) => code === 'UNAVAILABLE');
  t.pass("a window that the log has and the database has not is nobody's answer");
  await looks(); // and what was answered before that has arrived
  const before = talks.map(({ accepted }) => accepted.length);
  await system.line('store.failed', system.lines.length);
  t.strictSame(
    talks.map(({ accepted }) => accepted.length),
    before,
    'nothing is accepted',
  );
  giveBack();
  await finish(t, system, talks);
});

t.test('no room for the log of the server', async (t) => {
  const small = smallDisk(t, 2);
  if (small === null) return;
  const system = await System.create(t, { settings: { 'transcript.dir': join(small, 'transcript') } });
  await system.start({ preload });
  const talks = await talking(t, system);
  const looks = await onlooker(t, system);
  const from = system.lines.length;
  const giveBack = fill(small);
  const { code } = await system.line('request.refused', from);
  t.equal(code, 'DISK_FULL', 'no segment for the next window');
  await system.line('transcript.failed', from, (line) => line['code'] === 'DISK_FULL');
  await looks();
  giveBack();
  await finish(t, system, talks);
});

t.test('a server that starts without room, and is killed without room', async (t) => {
  const small = smallDisk(t, 16);
  if (small === null) return;
  const settings = { 'db.url': `sqlite:${join(small, 'chat.db')}`, 'transcript.dir': join(small, 'transcript') };
  const system = await System.create(t, { settings });
  await system.start({ preload });
  const talks = await talking(t, system);
  const from = system.lines.length;
  const giveBack = fill(small);
  await system.line('request.refused', from);
  await system.kill();
  const refused = system.launch({ preload });
  const end = await refused.until('its end or its beginning', () =>
    refused.hasEnded ? 'ended' : refused.err.includes('admin.listening') ? 'serves' : null,
  );
  if (end === 'ended') t.match(refused.err, /\[DISK_FULL\]/, 'it says why it does not start');
  await refused.kill();
  giveBack();
  await system.start({ preload });
  await Promise.all(talks.map((talk) => talk.more(8)));
  await finish(t, system, talks);
});

t.test('no room between the steps of a publication, then a power cut', async (t) => {
  const server = identity().server;
  const options = logOptions(testFolder(t), server);
  /** Names that cannot be put in place. */
  let full: RegExp | null = null;
  const files: Files = {
    ...disk,
    rename: async (from, to) => {
      if (full?.test(to)) throw Object.assign(new Error('ENOSPC: injected'), { code: 'ENOSPC' });
      return disk.rename(from, to);
    },
  };
  const log = await openLog({ ...options, files });
  const append = (count = 1): Promise<unknown> =>
    log.append({ time: NOW, entries: Array.from({ length: count }, () => entry(NOW)) });
  const fails = async (where: RegExp, count = 1): Promise<void> => {
    await append(count);
    full = where;
    await t.rejects(log.publish(), { code: 'DISK_FULL' });
  };
  await append();
  await log.publish();
  await fails(/checkpoint$/); // the state says more than the checkpoint
  await fails(/tile\/0\/.*\.p/); // and the tiles of the next attempt are cleaned away
  await fails(/state$/);
  await fails(/tile\/entries\/001\.p/, 300); // directories that this attempt has made are removed again
  t.equal(log.publishedSize, 3, 'CERT, KEY and one more');

  const copy = `${t.testdirName}/copy`;
  cpSync(options.dir, copy, { recursive: true });
  cpSync(options.keyFile, `${copy}.key`);
  const again = await openLog({ ...options, dir: copy, keyFile: `${copy}.key` });
  t.equal(again.size, 306, 'the next process finds tiles for the state, and the rest in the write-ahead log');
  await again.close();

  full = null;
  await log.publish();
  t.equal(log.publishedSize, 306, 'and this one goes on when there is room');
  await log.close();
});

t.test('no room for the vault of a client', async (t) => {
  const small = smallDisk(t, 3);
  if (small === null) return;
  const system = await System.create(t, { clients: small });
  await system.start();
  const run = async (name: 'alice' | 'bob', args: readonly string[], stdin = '') => {
    const program = system.client(name, args);
    program.type(stdin);
    const status = await program.ended;
    return { status, out: program.out, err: program.err };
  };
  const bodies = (out: string): string[] =>
    out
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { body: string }).body);
  for (const name of ['alice', 'bob'] as const)
    t.match(await run(name, ['register', '--password-stdin'], password(name)), { status: 0 });
  const large = (name: string): string => `${name} ${'x'.repeat(60_000)}`;
  t.match(await run('alice', ['send', 'bob', '-'], large('first')), { status: 0 });
  t.match(await run('bob', ['recv', '--json']), { status: 0 });

  const giveBack = fill(small, 90_000);
  const refused = await run('alice', ['send', 'bob', '-'], large('second'));
  t.equal(refused.status, 3);
  t.match(refused.err, /^chat: no space left .*\[DISK_FULL\]$/m, 'the sender is told, in words');
  t.equal(refused.out, '', 'and nothing else');
  const history = await run('alice', ['history', 'bob', '--json']);
  t.match(bodies(history.out)[0], /^first x/, 'what is kept can be read');
  giveBack();
  t.match(await run('alice', ['send', 'bob', '-'], large('third')), { status: 0, out: /bob #\d+ accepted/ });

  const giveBackAgain = fill(small, 60_000);
  const lost = await run('bob', ['recv', '--json']);
  t.equal(lost.status, 3);
  t.match(lost.err, /^chat: no space left .*\[DISK_FULL\]$/m, 'the reader is told, in words');
  t.equal(lost.out, '', 'nothing is shown that is not kept');
  giveBackAgain();
  const got = await run('bob', ['recv', '--json']);
  t.strictSame(
    bodies(got.out).map((body) => body.slice(0, 6).trim()),
    ['third'],
    'it waited at the server; and of the second, which was refused, nothing was sent',
  );
  t.equal(await system.stop(), 0);
});
