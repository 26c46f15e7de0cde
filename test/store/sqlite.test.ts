import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Worker } from 'node:worker_threads';
import t from 'tap';
import { select } from '../../store/operation.ts';
import { mayBeLost, OPERATIONS, type Method } from '../../store/operations.ts';
import { migrateStore, openStore } from '../../store/open.ts';
import { SqliteConnection } from '../../store/sqlite-connection.ts';
import { epochConformance } from '../conformance/epochs.ts';
import { storeConformance } from '../conformance/store.ts';
import { newUser, NOW, World } from '../support/store-world.ts';

t.test('contract', async (t) => {
  const path = `${t.testdir()}/chat.db`;
  const url = `sqlite:${path}`;
  await migrateStore(url, null, NOW);
  const probe = SqliteConnection.open(path);
  await storeConformance(
    t,
    'sqlite',
    () => openStore(url, null),
    async (table) => Number(probe.run(select(`SELECT COUNT(*) AS n FROM ${table}`))[0]?.['n']),
  );
  probe.close();
});

await epochConformance(t, 'sqlite', null);

t.test('a window may be for more devices than a statement takes values', async (t) => {
  const path = `${t.testdir()}/chat.db`;
  await migrateStore(`sqlite:${path}`, null, NOW);
  const store = await openStore(`sqlite:${path}`, null);
  const w = await World.open(store);
  const recipients = Array.from({ length: 33_000 }, (_, i) => 1000 + i);
  const connection = SqliteConnection.open(path);
  connection.script(
    'WITH RECURSIVE n(id) AS (SELECT 1000 UNION ALL SELECT id + 1 FROM n WHERE id < 33999) ' +
      'INSERT INTO mailboxes (device_id, last_cursor, bytes, items) SELECT id, 0, 0, 0 FROM n',
  );
  connection.close();
  const conversations = Array.from({ length: 10 }, () => w.conversation);
  const batches = conversations.map((_, i) => w.batch({ recipients: recipients.slice(i * 3300, (i + 1) * 3300) }));
  const answers = await store.commitWindow(w.window(batches));
  t.strictSame(
    answers.flat().map(({ cursors }) => cursors.length),
    conversations.map(() => 3300),
  );
  await store.close();
});

t.test('every connection syncs each commit, also when the file is opened again', async (t) => {
  const path = `${t.testdir()}/chat.db`;
  await migrateStore(`sqlite:${path}`, null, NOW);
  for (const open of ['first', 'second']) {
    const connection = SqliteConnection.open(path);
    const setting = (name: string) => Object.values(connection.run(select(`PRAGMA ${name}`))[0] ?? {})[0];
    t.equal(setting('synchronous'), 2, `${open} time: FULL`);
    t.equal(setting('journal_mode'), 'wal');
    t.equal(setting('foreign_keys'), 1);
    t.equal(setting('trusted_schema'), 0);
    t.equal(setting('busy_timeout'), 5000);
    connection.isEager = false;
    t.equal(setting('synchronous'), 1, 'NORMAL, for a group of acknowledgements');
    connection.isEager = true;
    t.equal(setting('synchronous'), 2, 'and FULL again');
    connection.close();
  }
  t.strictSame((Object.keys(OPERATIONS) as Method[]).filter(mayBeLost), ['acknowledge'], 'for nothing else');
});

t.test('nobody else may read the file or its companions', async (t) => {
  const dir = t.testdir();
  const mask = process.umask(0);
  t.teardown(() => process.umask(mask));
  const url = `sqlite:${dir}/chat.db`;
  await migrateStore(url, null, NOW);
  chmodSync(`${dir}/chat.db`, 0o644);
  const store = await openStore(url, null);
  await store.createUser(newUser('alice'));
  const files = readdirSync(dir);
  t.ok(files.includes('chat.db-wal'), files.join());
  for (const file of files) t.equal(statSync(`${dir}/${file}`).mode & 0o777, 0o600, file);
  await store.close();
});

t.test('calls that leave together: each fails or succeeds for itself', async (t) => {
  const url = `sqlite:${t.testdir()}/chat.db`;
  await migrateStore(url, null, NOW);
  const store = await openStore(url, null);
  t.teardown(() => store.close());
  const names = Array.from({ length: 300 }, (_, i) => `user${i % 100}`);
  const results = await Promise.allSettled(names.map((name) => store.createUser(newUser(name))));
  t.strictSame(
    results.map((result) => (result.status === 'fulfilled' ? result.value.username : result.reason.code)),
    names.map((name, i) => (i < 100 ? name : 'USER_EXISTS')),
  );
  const w = await World.open(store);
  const good = w.window([w.batch()]);
  const bad = { ...good, origin: 'another/log', batches: [w.batch({ recipients: [1e9] })] };
  const [first, second, third] = await Promise.allSettled([
    store.commitWindow(good),
    store.commitWindow(bad),
    store.backlog(w.devices.b1.id, 0, 10, 1e6),
  ]);
  t.strictSame([first.status, second.status], ['fulfilled', 'rejected']);
  t.equal(
    third.status === 'fulfilled' && third.value.items.length,
    1,
    'who reads in the same breath sees what was written',
  );
  t.equal(await store.logSize('another/log'), 0);
});

t.test('what is no database of ours is refused by name', async (t) => {
  const dir = t.testdir({
    'text.db': 'not a database, but long enough that it could have a header of a hundred bytes'.repeat(9),
  });
  const open = (file: string) => openStore(`sqlite:${dir}/${file}`, null);
  await t.rejects(open('none.db'), { code: 'STORE_SCHEMA', sub: 'missing' });
  t.strictSame(readdirSync(dir), ['text.db'], 'nothing was created');
  await t.rejects(open('text.db'), { code: 'STORE_FAILED' });
  await t.rejects(open('no/such/dir.db'), { code: 'STORE_SCHEMA', sub: 'missing' });
  await t.rejects(migrateStore(`sqlite:${dir}/no/such/dir.db`, null, NOW), { code: 'STORE_FAILED' });
  writeFileSync(`${dir}/empty.db`, '');
  await t.rejects(open('empty.db'), { code: 'STORE_SCHEMA', sub: 'missing' });
});

t.test('a damaged file is an error and not an answer', async (t) => {
  const path = `${t.testdir()}/chat.db`;
  await migrateStore(`sqlite:${path}`, null, NOW);
  const store = await openStore(`sqlite:${path}`, null);
  const w = await World.open(store);
  await w.send();
  await store.close();
  const db = SqliteConnection.open(path);
  db.script(`UPDATE contents SET parts = x'00000002000000'; UPDATE users SET device_epoch = 'many'`);
  db.close();
  const again = await openStore(`sqlite:${path}`, null);
  await t.rejects(again.backlog(w.devices.b1.id, 0, 10, 1e6), { code: 'STORE_FAILED' });
  await t.rejects(again.findUser(w.alice.username), { code: 'STORE_FAILED', field: 'device_epoch' });
  await again.close();
});

t.test('a full disk says so, loses nothing, and works again when there is room', async (t) => {
  const script = fileURLToPath(new URL('./disk-full.ts', import.meta.url));
  // A file system of our own, that nobody else sees: 3 MB, with room for the schema and a little more.
  const dir = t.testdir();
  const mount = `mount -t tmpfs -o size=3m tmpfs ${dir} && exec "$@"`;
  const unshare = [
    '--mount',
    ...(process.getuid?.() === 0 ? [] : ['--user', '--map-root-user']),
    'sh',
    '-c',
    mount,
    'sh',
  ];
  if (spawnSync('unshare', [...unshare, 'true']).status !== 0)
    return t.pass('cannot mount here', { skip: 'no permission to mount a small file system' });
  const output = execFileSync('unshare', [...unshare, process.execPath, script, dir], { encoding: 'utf8' });
  t.match(JSON.parse(output), { code: 'DISK_FULL', kept: true, later: true });
});

t.test('the thread dies: every call fails by name, and the owner is told once; a close is no death', async (t) => {
  const url = `sqlite:${t.testdir()}/chat.db`;
  await migrateStore(url, null, NOW);
  const threads: Worker[] = [];
  const watch = (worker: Worker) => void threads.push(worker);
  process.on('worker', watch);
  t.teardown(() => process.off('worker', watch));
  const told: unknown[] = [];
  const store = await openStore(url, null, { stateDir: '', onLost: (error) => void told.push(error) });
  const asked = t.rejects(store.createUser(newUser('alice')), { code: 'STORE_FAILED' }, 'on its way');
  await threads[0]!.terminate();
  await asked;
  await t.rejects(store.findUser('alice'), { code: 'STORE_FAILED' }, 'afterwards');
  t.match(told, [{ code: 'STORE_FAILED', message: 'the thread of the database has died' }]);
  await store.close();
  const next = await openStore(url, null, { stateDir: '', onLost: (error) => void told.push(error) });
  await next.close();
  t.equal(told.length, 1);
});
