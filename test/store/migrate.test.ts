import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { migrateStore, openStore, storeStatus } from '../../store/open.ts';
import { acquireServingLock } from '../../store/lock.ts';
import { select } from '../../store/operation.ts';
import { migrations, recordMigration, SCHEMA_VERSION, schemaText, type Dialect } from '../../store/schema-version.ts';
import { SqliteConnection } from '../../store/sqlite-connection.ts';
import { newUser, NOW } from '../support/store-world.ts';

for (const dialect of ['sqlite', 'mysql'] satisfies Dialect[])
  t.test(`${dialect}: the steps are numbered without a gap and end at today's schema`, async (t) => {
    const steps = migrations(dialect);
    t.strictSame(
      steps.map(({ version }) => version),
      Array.from({ length: SCHEMA_VERSION }, (_, i) => i + 1),
    );
    t.match(
      schemaText(dialect),
      `VALUES (${SCHEMA_VERSION}, '${steps.at(-1)?.name}', 0)`,
      'the schema records its version',
    );
  });

t.test('both dialects have the same steps, and no other file lies there', async (t) => {
  const names = (dialect: Dialect) => migrations(dialect).map(({ version, name }) => ({ version, name }));
  t.strictSame(names('sqlite'), names('mysql'));
  const files = readdirSync(new URL('../../sql/migrations/', import.meta.url));
  t.equal(files.length, 2 * SCHEMA_VERSION, files.join());
});

t.test('sqlite: the steps lead to the same schema as the file', async (t) => {
  const dir = t.testdir();
  await migrateStore(`sqlite:${dir}/steps.db`, null, NOW);
  const file = SqliteConnection.openAnySchema(`${dir}/file.db`);
  file.script(schemaText('sqlite'));
  const steps = SqliteConnection.open(`${dir}/steps.db`);
  const schema = (db: SqliteConnection) =>
    db.run(select('SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name'));
  t.ok(schema(steps).length > 20);
  t.strictSame(schema(file), schema(steps));
  t.strictSame(
    steps.run(select('SELECT * FROM schema_migrations')).map((row) => ({ ...row })),
    migrations('sqlite').map(({ version, name }) => ({ version, name, applied_at: NOW })),
  );
  t.equal(file.schemaVersion(), SCHEMA_VERSION);
  for (const db of [file, steps]) db.close();
  const store = await openStore(`sqlite:${dir}/file.db`, null);
  await store.createUser(newUser('alice'));
  await store.close();
});

t.test('sqlite: status creates nothing; migrating again changes nothing; two at once do it once', async (t) => {
  const dir = t.testdir();
  const url = `sqlite:${dir}/chat.db`;
  const pending = migrations('sqlite').map(({ version, name }) => ({ version, name }));
  t.strictSame(await storeStatus(url, null), { version: 0, wanted: SCHEMA_VERSION, pending });
  t.strictSame(readdirSync(dir), []);
  await Promise.all([migrateStore(url, null, NOW), migrateStore(url, null, NOW)]);
  t.strictSame(await storeStatus(url, null), { version: SCHEMA_VERSION, wanted: SCHEMA_VERSION, pending: [] });
  const store = await openStore(url, null);
  await store.createUser(newUser('alice'));
  await store.close();
  t.strictSame((await migrateStore(url, null, NOW + 1)).pending, []);
  const again = await openStore(url, null);
  t.ok(await again.findUser('alice'));
  await again.close();
});

t.test('sqlite: what waits in an older database is still delivered', async (t) => {
  const path = `${t.testdir()}/chat.db`;
  const db = SqliteConnection.openAnySchema(path);
  const [start] = migrations('sqlite');
  db.script(start!.sql);
  db.script("INSERT INTO schema_migrations VALUES (1, 'start', 0)");
  const [parts, id] = ['0000000100000003616263', '11'.repeat(32)];
  db.script(`INSERT INTO users (id, email, username, salt, pwd_hash, server_key, pwd_kdf, cert_identity, created_at)
      VALUES (1, 'a', 'a', x'', '', x'', '', '', 0), (2, 'b', 'b', x'', '', x'', '', '', 0);
    INSERT INTO conversations VALUES (1, x'${id}', 1, 2, 0);
    INSERT INTO logs VALUES (1, x'6c6f67', 9);
    INSERT INTO messages VALUES (${2 ** 40 + 5}, ${2 ** 40 + 4}, 1, 1, 1, 1, 1, 1, 1, 0, 99, x'${id}', NULL, x'');
    INSERT INTO contents VALUES (${2 ** 40 + 5}, x'00', x'${parts}');
    INSERT INTO mailboxes VALUES (7, 1, 3, 1);
    INSERT INTO queue VALUES (7, 1, 0, ${2 ** 40 + 5}, 3, NULL, NULL)`);
  db.close();
  t.strictSame(
    (await migrateStore(`sqlite:${path}`, null, NOW)).pending.map(({ version }) => version),
    Array.from({ length: SCHEMA_VERSION - 1 }, (_, i) => i + 2),
  );
  const store = await openStore(`sqlite:${path}`, null);
  const [item] = (await store.backlog(7, 0, 10, 1000)).items;
  t.match(item, { kind: 'message', cursor: 1, seq: 1, index: 5, group: null });
  t.equal(item?.kind === 'message' && Buffer.from(item.parts[0]!).toString(), 'abc');
  await store.close();
});

t.test('sqlite: a schema from the future is refused, and an unfinished one is older', async (t) => {
  const dir = t.testdir();
  const url = `sqlite:${dir}/chat.db`;
  await migrateStore(url, null, NOW);
  const db = SqliteConnection.openAnySchema(`${dir}/chat.db`);
  db.script(`INSERT INTO schema_migrations VALUES (${SCHEMA_VERSION + 1}, 'tomorrow', 0)`);
  const attempts: (() => Promise<unknown>)[] = [
    () => openStore(url, null),
    () => storeStatus(url, null),
    () => migrateStore(url, null, NOW),
  ];
  for (const attempt of attempts) await t.rejects(attempt, { code: 'STORE_SCHEMA', sub: 'newer' });
  db.script('DELETE FROM schema_migrations');
  await t.rejects(openStore(url, null), { code: 'STORE_SCHEMA', sub: 'missing' });
  db.script("INSERT INTO schema_migrations VALUES (0, 'before the first', 0)");
  db.close();
});

t.test('the users have the columns that were promised, in MySQL and SQLite', async (t) => {
  for (const dialect of ['mysql', 'sqlite'] satisfies Dialect[]) {
    const table = /CREATE TABLE users \((.*?)\n\)/s.exec(schemaText(dialect))?.[1] ?? '';
    const columns = table
      .trim()
      .split('\n')
      .map((line) => line.trim().split(' ')[0]);
    const promised = [
      'id',
      'email',
      'username',
      'display_name',
      'salt',
      'pwd_hash',
      'server_key',
      'pwd_kdf',
      'cert_identity',
      'status',
      'created_at',
    ];
    t.strictSame(columns.slice(0, promised.length), promised, dialect);
    t.match(table, /email VARCHAR\(255\)[^,]*\n?/);
    t.match(table, /salt VARBINARY\(16\) NOT NULL/);
    t.match(table, /pwd_hash CHAR\(64\) NOT NULL/);
  }
  const grants = readFileSync(new URL('../../sql/grants.sql', import.meta.url), 'utf8').replace(/^--.*$/gm, '');
  t.notMatch(grants, /IDENTIFIED|PASSWORD|GRANT ALL|\*\.\*/i, 'no password and no more than is needed');
});

t.test('sqlite: what a process serves with keeps its schema until that has ended', async (t) => {
  const path = `${t.testdir()}/chat.db`;
  const db = SqliteConnection.openAnySchema(path);
  for (const { version, name, sql } of migrations('sqlite').slice(0, -1)) {
    db.script(sql);
    db.run(recordMigration({ version, name, sql }, NOW));
  }
  db.close();
  const serving = acquireServingLock(path);
  await t.rejects(migrateStore(`sqlite:${path}`, null, NOW), { code: 'IN_USE' });
  const { version } = await storeStatus(`sqlite:${path}`, null);
  t.equal(version, SCHEMA_VERSION - 1);
  serving.release();
  await migrateStore(`sqlite:${path}`, null, NOW);
  await (await openStore(`sqlite:${path}`, null)).close();
});
