/** What others hold in a MySQL database: a deadlock and a wait that was too long undo an operation, which is then done again from its start. */
import { setTimeout } from 'node:timers/promises';
import mysql from 'mysql2/promise';
import t, { type Test } from 'tap';
import { migrateStore, openStore } from '../../store/open.ts';
import { MAX_RUNS } from '../../store/mysql.ts';
import type { User } from '../../store/contract/accounts.ts';
import type { Store } from '../../store/store.ts';
import { mariadb, type Mariadb } from '../support/mariadb.ts';
import { LATER, newUser, NOW, random32, World } from '../support/store-world.ts';

t.setTimeout(120_000);
const BALLAST_ROWS = 200;

const server = await mariadb(t);
if (server) await all(server);

/**
 * Somebody who is no server of ours, in a transaction in which he holds rows, and with more to lose than whoever waits for them.
 * @param holds one statement @param place among those who hold something at once
 */
async function holding(t: Test, { url, password }: Mariadb, holds: string, place = 0) {
  const { hostname: host, port, username: user } = new URL(url);
  const secret = password().use((bytes) => bytes.toString('utf8'));
  const connection = await mysql.createConnection({
    host,
    port: Number(port),
    user,
    password: secret,
    database: 'securechat',
  });
  t.teardown(() => connection.end());
  await connection.query('START TRANSACTION');
  const rows = Array.from({ length: BALLAST_ROWS }, (_, i) => `(${place * BALLAST_ROWS + i})`);
  await connection.query(`INSERT INTO ballast VALUES ${rows.join()}`);
  await connection.query(holds);
  return connection;
}
function seen({ id }: User): string {
  return `UPDATE users SET last_seen = 1 WHERE id = ${id}`;
}

async function all(server: Mariadb): Promise<void> {
  const { url, password, sql } = server;
  await migrateStore(url, password(), NOW);
  await sql('CREATE TABLE ballast (n INT PRIMARY KEY)', 'securechat');
  const store: Store = await openStore(url, password());
  t.teardown(() => store.close());
  const w = await World.open(store);
  const lastSeen = async (): Promise<(string | undefined)[]> => {
    const text = await sql(`SELECT last_seen FROM users WHERE id IN (${w.alice.id}, ${w.bob.id})`, 'securechat');
    return text.match(/\d+/g) ?? [];
  };
  /** The database looks again only when nobody has asked for 100 ms. @param columns of transactions, of which the first number is answered */
  const transactions = async (columns: string, where: string): Promise<string | null> => {
    await setTimeout(150);
    return /\d+/.exec(await sql(`SELECT ${columns} FROM information_schema.innodb_trx WHERE ${where}`))?.[0] ?? null;
  };
  /** The transaction that waits for somebody, each has its own number. */
  const waiting = (): Promise<string | null> => transactions('trx_id', "trx_state = 'LOCK WAIT'");
  /** @param work that must not end before */
  const until = async (work: Promise<unknown>, isSo: (trx: string) => boolean): Promise<string> => {
    let hasEnded = false;
    const end = (): void => void (hasEnded = true);
    void work.then(end, end);
    for (;;) {
      const trx = await waiting();
      if (trx !== null && isSo(trx)) return trx;
      if (hasEnded) {
        await work;
        throw new Error('it has ended, and was not waiting');
      }
    }
  };
  const tell = (at: number): Promise<void> =>
    store.setLastSeen([w.alice, w.bob].map(({ id: userId }) => ({ userId, at })));

  await t.test('of two who wait for each other the operation gives way, and is done again', async (t) => {
    const other = await holding(t, server, seen(w.bob));
    const told = tell(LATER);
    await until(told, () => true);
    // Only who has given way lets him have this one.
    await other.query(seen(w.alice));
    await other.query('ROLLBACK');
    await told;
    t.strictSame(await lastSeen(), [`${LATER}`, `${LATER}`]);
  });

  for (const deadlocks of [MAX_RUNS - 1, MAX_RUNS])
    await t.test(`of ${MAX_RUNS} runs ${deadlocks} give way`, async (t) => {
      // In each run it has the first row, and waits for the next of those that were held from the start, whose holder then wants the first.
      const people = await Promise.all(
        Array.from({ length: deadlocks + 1 }, (_, i) => store.createUser(newUser(`${deadlocks}-${i}`))),
      );
      const [first, ...held] = people.toSorted((a, b) => a.id - b.id);
      const others = await Promise.all(held.map((user, i) => holding(t, server, seen(user), i)));
      const told = store.setLastSeen(people.map(({ id: userId }) => ({ userId, at: LATER })));
      const end = told.then(
        () => 'done',
        ({ code, message }: Error & { code: string }) => `${code} ${message}`,
      );
      let trx = '';
      for (const other of others) {
        const before = trx;
        trx = await until(told, (now) => now !== before);
        await other.query(seen(first!));
        await other.query('ROLLBACK');
      }
      const last = async () => (await store.listUsers()).filter(({ id }) => people.some((each) => each.id === id));
      if (deadlocks < MAX_RUNS) {
        t.equal(await end, 'done');
        t.ok((await last()).every(({ lastSeen }) => lastSeen === LATER));
        return;
      }
      t.match(await end, /^STORE_FAILED .*ER_LOCK_DEADLOCK/);
      t.ok(
        (await last()).every(({ lastSeen }) => lastSeen === null),
        'nothing of it is done',
      );
      t.equal(await transactions('COUNT(*)', 'TRUE'), '0', 'nor is anything held');
      await store.setLastSeen([{ userId: first!.id, at: LATER }]); // by itself it is done
    });

  await t.test('what has waited too long is done again', async (t) => {
    const other = await holding(t, server, seen(w.bob));
    const told = tell(LATER + 1);
    const first = await until(told, () => true);
    await until(told, (trx) => trx !== first);
    await other.query('ROLLBACK');
    await told;
    t.strictSame(await lastSeen(), [`${LATER + 1}`, `${LATER + 1}`]);
  });

  await t.test(
    'a room that somebody keeps held is not waited for any longer than a database that says nothing',
    async (t) => {
      const room = { name: '#held', isPublic: true, topic: null, ownerId: w.alice.id };
      await store.createRoom(room, random32(), NOW, 9);
      const other = await holding(t, server, "SELECT 1 FROM rooms WHERE name = '#held' FOR UPDATE");
      const [began, limits] = [performance.now(), { devices: 9, bans: 9, owned: 9 }];
      const topic = (text: string) => store.changeRoom('#held', w.alice.id, { do: 'topic', topic: text }, NOW, limits);
      await t.rejects(topic('in vain'), { code: 'STORE_FAILED', message: /ER_LOCK_WAIT_TIMEOUT/ });
      t.ok(performance.now() - began < 25_000, `${performance.now() - began} ms`);
      await other.query('ROLLBACK');
      t.match(await topic('now'), { room: { topic: 'now' } });
    },
  );

  await t.test('what is cut off in its midst is undone', async (t) => {
    const before = await lastSeen();
    const other = await holding(t, server, seen(w.bob));
    const told = tell(LATER + 2).catch(({ code }: { code: string }) => code);
    await until(told, () => true);
    await sql(`KILL QUERY ${await transactions('trx_mysql_thread_id', "trx_state = 'LOCK WAIT'")}`);
    t.equal(await told, 'STORE_FAILED');
    await other.query('ROLLBACK');
    t.equal(await transactions('COUNT(*)', 'TRUE'), '0', 'nothing is held any longer');
    t.strictSame(await lastSeen(), before);
  });
}
