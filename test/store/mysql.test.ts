import { mkdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { ChatError } from '../../base/errors.ts';
import { Secret } from '../../base/secret.ts';
import { mysqlSchema } from '../../store/mysql.ts';
import { migrateStore, openStore, storeStatus } from '../../store/open.ts';
import { schemaText, SCHEMA_VERSION } from '../../store/schema-version.ts';
import type { Store } from '../../store/store.ts';
import { epochConformance } from '../conformance/epochs.ts';
import { storeConformance } from '../conformance/store.ts';
import { mariadb, type Mariadb } from '../support/mariadb.ts';
import { oneServing } from '../support/one-serving.ts';
import { newUser, NOW, usageOf, World } from '../support/store-world.ts';

const server = await mariadb(t);
if (server) await all(server);

async function all(server: Mariadb): Promise<void> {
  const { url, password, sql, kill, restart, certificateFile, certify, port } = server;
  const daemonUrl = url.replace('owner@127.0.0.1', 'chatuser@localhost');
  const openDaemon = (): Promise<Store> => openStore(daemonUrl, password());

  // It takes fifteen seconds, in which there is more to do.
  const deaf = await withoutPreparing(port);
  const unanswered = openStore(url.replace(`:${port}`, `:${deaf.port}`), password()).then(() => null, ChatError.from);

  await t.test('schema.sql loads with the stock client, and is what the steps lead to', async (t) => {
    await sql('CREATE DATABASE plain');
    await sql(schemaText('mysql'), 'plain');
    const before = await storeStatus(url, password());
    t.equal(before.version, 0);
    await t.rejects(openStore(url, password()), { code: 'STORE_SCHEMA', sub: 'missing' });
    await Promise.all([migrateStore(url, password(), NOW), migrateStore(url, password(), NOW)]);
    t.strictSame(await storeStatus(url, password()), { version: SCHEMA_VERSION, wanted: SCHEMA_VERSION, pending: [] });
    const tables = (await sql('SHOW TABLES', 'plain')).trim().split('\n');
    t.ok(tables.length > 15, tables.join());
    t.equal(await sql('SHOW TABLES', 'plain'), await sql('SHOW TABLES', 'securechat'));
    const schema = (database: string) => sql(tables.map((table) => `SHOW CREATE TABLE ${table};`).join('\n'), database);
    const plain = await schema('plain');
    t.equal(
      plain.replace(/ AUTO_INCREMENT=\d+/g, ''),
      (await schema('securechat')).replace(/ AUTO_INCREMENT=\d+/g, ''),
    );
    t.notMatch(plain, /latin1|utf8mb4_general_ci|utf8mb3/);
    t.match(await sql('SELECT version, name FROM schema_migrations', 'plain'), `${SCHEMA_VERSION}\t`);
  });

  await t.test('a step that was cut short is finished by the next attempt', async (t) => {
    await sql('DROP TABLE lineage_heads; DROP TABLE queue; DELETE FROM schema_migrations', 'securechat');
    t.equal((await storeStatus(url, password())).version, 0);
    await migrateStore(url, password(), NOW);
    t.equal((await storeStatus(url, password())).version, SCHEMA_VERSION);
  });

  await t.test('a step takes as long as it takes, and whoever comes meanwhile is told so', async (t) => {
    const { hostname: host, port, username: user } = new URL(url);
    const location = { host, port: Number(port), user, database: 'securechat', tls: null };
    const target = await mysqlSchema(location, password());
    const slow = { version: SCHEMA_VERSION, name: 'slow', sql: 'DO SLEEP(16);' };
    const [other, step] = await Promise.allSettled([migrateStore(url, password(), NOW), target.apply(slow, NOW)]);
    t.match(step, { status: 'fulfilled' });
    t.match(other, { status: 'rejected', reason: { code: 'IN_USE' } });
    await target.close();
    t.strictSame((await migrateStore(url, password(), NOW)).pending, []);
  });

  await t.test('grants.sql lets each user do its work and no more', async (t) => {
    const secret = password().use((bytes) => bytes.toString());
    for (const name of ['chatuser', 'chatmigrate'])
      await sql(`CREATE USER '${name}'@'localhost' IDENTIFIED BY '${secret}'`);
    await sql(readFileSync(new URL('../../sql/grants.sql', import.meta.url), 'utf8'));
    const migrator = url.replace('owner@127.0.0.1', 'chatmigrate@localhost');
    await sql('DROP DATABASE securechat; CREATE DATABASE securechat');
    await migrateStore(migrator, password(), NOW);
    await sql(readFileSync(new URL('../../sql/grants.sql', import.meta.url), 'utf8'));
    await t.rejects(migrateStore(daemonUrl.replace('securechat', 'plain'), password(), NOW), { code: 'STORE_FAILED' });
    const may = (await sql("SHOW GRANTS FOR 'chatuser'@'localhost'")).replace(/^GRANT USAGE.*$/m, '');
    t.notMatch(may, /ALL PRIVILEGES|DROP|ALTER|CREATE|INDEX|GRANT OPTION|\*\.\*|`securechat`\.\*/);
    t.notMatch(may, /DELETE[^\n]* ON `securechat`\.`(users|devices|schema_migrations)`/);
  });

  // As the user that a careful operator gives the daemon: grants.sql is enough for everything in the suite.
  await storeConformance(t, 'mysql', openDaemon, async (table) =>
    Number(await sql(`SELECT COUNT(*) FROM ${table}`, 'securechat')),
  );

  await t.test('told later', async (t) => {
    const stateDir = t.testdir();
    const lost = (): void => void t.fail('the database gave other places than were told');
    const { open, served } = oneServing(() => openStore(daemonUrl, password(), { stateDir, onLost: lost }), openDaemon);
    await storeConformance(t, 'mysql, told later,', open, async (table) => {
      await served().timesAfter('', 0); // asks the database, which is told everything before
      return Number(await sql(`SELECT COUNT(*) FROM ${table}`, 'securechat'));
    });
  });

  await t.test('one process serves: it has a lock for as long as it writes', async (t) => {
    const onLost = ({ code }: ChatError): void => void t.fail(code);
    const serve = (stateDir: string): Promise<Store> => openStore(daemonUrl, password(), { stateDir, onLost });
    const store = await serve(t.testdir());
    const elsewhere = join(t.testdirName, 'elsewhere');
    mkdirSync(elsewhere);
    await t.rejects(serve(elsewhere), { code: 'IN_USE', message: /another chat-server/ });
    const plain = await openDaemon(); // an operator's command
    t.ok(Array.isArray(await plain.listUsers()));
    await plain.close();

    const w = await World.open(store);
    await w.send();
    await store.timesAfter('', 0);
    const name = "CONCAT('securechat.', SHA1('securechat'))";
    const holder = async (): Promise<number> => Number(await sql(`SELECT COALESCE(IS_USED_LOCK(${name}), 0)`));
    const first = await holder();
    t.ok(first > 0);
    await sql(`KILL ${first}`);
    await w.send();
    await store.timesAfter('', 0);
    t.ok((await holder()) > 0, 'it is taken again with the next connection');

    // Somebody else is faster: nothing is written without it, and all of it when it is there again.
    const second = await holder();
    const taken = sql(`KILL ${second}; SELECT GET_LOCK(${name}, 5); DO SLEEP(600)`).catch(() => 'killed');
    let other = second;
    while ([0, second].includes(other)) other = await holder();
    await w.send();
    const locked = { code: 'STORE_FAILED', message: /locked by another connection/ } as const;
    await t.rejects(store.timesAfter('', 0), locked);
    await t.rejects(store.logSize('example.org/log/n1'), locked, 'what that one still writes is not known');
    t.ok(Array.isArray(await store.listUsers()));
    await sql(`KILL ${other}`);
    t.equal(await taken, 'killed');
    await store.timesAfter('', 0);
    t.equal((await store.backlog(w.devices.b1.id, 0, 10, 1e6)).items.length, 3);
    await store.close();
    t.equal(await holder(), 0);
    const next = await serve(elsewhere);
    await next.close();
  });

  await t.test('a connection is prepared once, and not for each question', async (t) => {
    const count = async (): Promise<number> =>
      Number((await sql("SHOW GLOBAL STATUS LIKE 'Com_set_option'")).split('\t')[1]);
    const store = await openStore(daemonUrl, password(), { stateDir: t.testdir(), onLost: ({ code }) => t.fail(code) });
    const w = await World.open(store);
    const ask = async (): Promise<void> => {
      await w.send();
      await store.timesAfter('', 0);
    };
    await ask();
    const before = await count();
    for (let i = 0; i < 5; i++) await ask();
    t.equal(await count(), before);
    await store.close();
  });

  await t.test('a statement that is never prepared is one that is not answered', async (t) => {
    t.match(await unanswered, { code: 'STORE_FAILED', message: /NO_ANSWER/ });
    deaf.close();
  });

  await epochConformance(t, 'mysql', { url, password });

  await t.test('text is kept in UTF-8, keys are compared by their bytes', async (t) => {
    const store = await openDaemon();
    t.teardown(() => store.close());
    await store.createUser(newUser('ßtraße😀'));
    t.equal(await store.findUser('sstrasse😀'), null);
    t.match(
      await sql("SELECT HEX(username) FROM users WHERE username LIKE '%tra%'", 'securechat'),
      'C39F747261C39F65F09F9880',
    );
    await t.rejects(store.createUser(newUser('x'.repeat(256))), { code: 'STORE_FAILED' }, 'nothing is cut off');
    t.equal(await store.findUser('x'.repeat(255)), null);
  });

  await t.test('an error says nothing of the values', async (t) => {
    const store = await openDaemon();
    t.teardown(() => store.close());
    const error = await store.createUser(newUser('canary'.repeat(60))).catch((error: Error) => error);
    t.match(error, { code: 'STORE_FAILED' });
    t.notMatch(
      JSON.stringify(error) + String(error) + String((error as Error).stack) + String((error as Error).cause),
      'canary',
    );
    const wrong = await openStore(url, new Secret(Buffer.from('canary'))).catch((error: Error) => error);
    t.match(wrong, { code: 'STORE_FAILED', message: /ER_ACCESS_DENIED_ERROR/ });
    t.notMatch(String((wrong as Error).stack), 'canary');
  });

  await t.test('what others hold for a moment is waited for', async (t) => {
    const store = await openDaemon();
    t.teardown(() => store.close());
    const w = await World.open(store);
    const holder = sql(
      `START TRANSACTION; UPDATE users SET last_seen = 1 WHERE id = ${w.bob.id}; DO SLEEP(0.3);
       UPDATE users SET last_seen = 1 WHERE id = ${w.alice.id}; COMMIT`,
      'securechat',
    ).catch(() => 'victim');
    const spki = await store.deviceByFingerprint(w.devices.a1.fingerprint);
    await sql(
      `UPDATE devices SET spki_hash = (SELECT spki_hash FROM (SELECT * FROM devices) d WHERE id = ${spki?.id}) WHERE id = ${w.devices.b1.id}`,
      'securechat',
    );
    const revoked = await store.revokeDevices({ spkiHash: spki?.spkiHash as Uint8Array }, NOW);
    await holder;
    t.strictSame(revoked, [w.devices.a1.id, w.devices.b1.id]);
  });

  await t.test('an unknown outcome: the same window again is applied once', async (t) => {
    const store = await openDaemon();
    const w = await World.open(store);
    const first = w.window([w.batch({ count: 2 })]);
    const answer = await store.commitWindow(first);
    // Killed at some point of a commit: whether it landed is not known, and repeating settles it.
    for (const delay of [0, 1, 2]) {
      const window = w.window([w.batch({ count: 50 })]);
      const attempt = store.commitWindow(window).catch((error: { code: string }) => error.code);
      for (let i = 0; i < delay * 3; i++) await new Promise((resolve) => setImmediate(resolve));
      await kill();
      const outcome = await attempt;
      t.ok(Array.isArray(outcome) || outcome === 'STORE_FAILED', String(outcome));
      await t.rejects(store.ping(), { code: 'STORE_FAILED' }, 'gone');
      await restart();
      await store.ping();
      const seqs = (await store.commitWindow(window))[0]?.map(({ seq }) => seq);
      t.strictSame(
        seqs,
        Array.from({ length: 50 }, (_, i) => 3 + 50 * delay + i),
        'after it is back',
      );
      t.equal((await usageOf(store, w.devices.b1.id)).rows, 2 + 50 * (delay + 1));
    }
    t.strictSame(await store.commitWindow(first), answer);
    await kill();
    await t.rejects(openDaemon(), { code: 'STORE_FAILED', message: /ECONNREFUSED/ });
    await store.close();
    await restart();
  });

  await t.test('a server that loses commits in a power cut is refused', async (t) => {
    await sql('SET GLOBAL innodb_flush_log_at_trx_commit = 2');
    await t.rejects(openDaemon(), { code: 'CONFIG_INVALID', message: /innodb_flush_log_at_trx_commit/ });
    await sql('SET GLOBAL innodb_flush_log_at_trx_commit = 1, GLOBAL max_allowed_packet = 1048576');
    await t.rejects(openDaemon(), { code: 'CONFIG_INVALID', message: /max_allowed_packet/ });
    await sql('SET GLOBAL max_allowed_packet = 16777216');
  });

  await t.test('TLS: the server must show a certificate for its name that the given CA made', async (t) => {
    await sql("ALTER USER 'chatuser'@'localhost' REQUIRE SSL");
    const tls = (query: string): Promise<Store> => openStore(daemonUrl + query, password());
    const store = await tls(`?tls=on&ca=${encodeURIComponent(certificateFile)}`);
    await store.ping();
    await store.close();
    await t.rejects(tls(''), { code: 'STORE_FAILED', message: /ER_ACCESS_DENIED_ERROR/ }, 'without TLS');
    await t.rejects(tls('?tls=on'), { code: 'STORE_FAILED' }, 'nobody we know signed it');
    await certify('db.example.org');
    await t.rejects(
      tls(`?tls=on&ca=${encodeURIComponent(certificateFile)}`),
      { code: 'STORE_FAILED', message: /ERR_TLS_CERT_ALTNAME_INVALID|HANDSHAKE_SSL_ERROR/ },
      'the right CA, another name',
    );
    await sql("ALTER USER 'chatuser'@'localhost' REQUIRE NONE");
  });

  await t.test('a schema from the future is refused', async (t) => {
    await sql(`INSERT INTO schema_migrations VALUES (${SCHEMA_VERSION + 1}, 'tomorrow', 0)`, 'securechat');
    const attempts: (() => Promise<unknown>)[] = [
      openDaemon,
      () => storeStatus(url, password()),
      () => migrateStore(url, password(), NOW),
    ];
    for (const attempt of attempts) await t.rejects(attempt, { code: 'STORE_SCHEMA', sub: 'newer' });
  });
}

/** Passes everything on to the database but what asks it to prepare a statement (MySQL protocol: COM_STMT_PREPARE), and all that follows. */
async function withoutPreparing(upstream: number): Promise<{ readonly port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(upstream, '127.0.0.1');
    let isDeaf = false;
    near.on('data', (chunk) => {
      isDeaf ||= chunk[4] === 0x16;
      if (!isDeaf) far.write(chunk);
    });
    far.on('data', (chunk) => near.write(chunk));
    for (const socket of [near, far])
      sockets.add(socket.on('error', () => {}).on('close', () => [near, far].forEach((each) => each.destroy())));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
