/**
 * The server is killed with SIGKILL again and again while people talk, at random moments and at every point between two steps of a
 * commit. Whatever somebody saw accepted is delivered once, in order, with its bytes; nothing else is; the transcript stays valid.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { audit, auditTranscript, drain, peopleOf, Person, Talk } from '../support/load.ts';
import { mariadb } from '../support/mariadb.ts';
import { random, System, type RunOptions } from '../support/system.ts';
import type { Point } from './failing-server.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(900_000); // a busy machine is no failure

/** A disk that forgets what was not synced, and small segments. */
const preload = new URL('./failing-server.ts', import.meta.url).href;

/** Alice and Bob both ways, and Carol with each of them one way. */
async function talks(t: Test, system: System, window: number): Promise<Talk[]> {
  const [alice, bob, carol] = await Promise.all([
    Person.open(t, system, 'alice'),
    Person.open(t, system, 'bob'),
    Person.open(t, system, 'carol'),
  ]);
  const pairs = [
    [alice, bob],
    [bob, alice],
    [alice, carol],
    [carol, bob],
  ] as const;
  return Promise.all(pairs.map(([from, to]) => Talk.between(from, to, window)));
}

async function killAtRandom(t: Test, system: System, seed: number, cycles: number, options: RunOptions): Promise<void> {
  const chance = random(t, seed);
  await system.start(options);
  const all = await talks(t, system, 8);
  for (const talk of all) talk.begin();
  for (let cycle = 0; cycle < cycles; cycle++) {
    const busy = all[Math.floor(chance() * all.length)]!;
    await busy.more(1);
    await sleep(chance() * 150); // the moment is what is random here
    await system.kill();
    await system.start(options);
  }
  await finish(t, system, all, cycles);
}

async function finish(t: Test, system: System, all: readonly Talk[], cycles: number): Promise<void> {
  await drain(all);
  const sum = (of: (talk: Talk) => number): number => all.reduce((total, talk) => total + of(talk), 0);
  t.comment(`${sum(({ bodies }) => bodies.length)} messages, ${cycles} times killed`);
  t.equal(
    sum(({ accepted }) => accepted.length),
    sum(({ bodies }) => bodies.length),
    'each was said to be accepted once',
  );
  audit(t, all);
  t.equal(await system.stop(), 0);
  await auditTranscript(t, system, all);
  for (const person of peopleOf(all)) await person.app.close();
}

t.test('at random moments, SQLite', async (t) => {
  await killAtRandom(t, await System.create(t), 20261101, 6, {});
});

t.test('at random moments, SQLite, and a disk that forgets what was not synced', async (t) => {
  await killAtRandom(t, await System.create(t), 20261102, 6, { preload });
});

/** A system over a MariaDB of its own; null where there is none. */
async function overMariadb(t: Test): Promise<System | null> {
  const database = await mariadb(t);
  if (database === null) return null;
  const dir = testFolder(t);
  const passwordFile = join(dir, 'database-password');
  database.password().use((bytes) => writeFileSync(passwordFile, bytes, { mode: 0o600 }));
  const settings = { 'db.url': database.url, 'db.password_file': passwordFile };
  const system = await System.create(t, { dir, settings });
  await system.command('db', 'init');
  return system;
}

t.test('at random moments, MariaDB', async (t) => {
  const system = await overMariadb(t);
  if (system !== null) await killAtRandom(t, system, 20261103, 3, { preload });
});

/** Point, and the how manieth time it is met. */
const POINTS: readonly (readonly [Point, number])[] = [
  ['log.before-write', 5],
  ['log.torn-write', 4],
  ['log.before-sync', 6],
  ['log.never-synced', 5],
  ['log.without-store', 5],
  ['store.without-log', 5],
  ['both.before-ack', 4],
  ['acknowledge.before', 3],
  ['acknowledge.after', 3],
  ['segment.prepared', 2],
  ['segment.before-free', 1],
  ['publish.tile', 4],
  ['publish.before-state', 2],
  ['publish.before-checkpoint', 2],
  ['publish.after-checkpoint', 2],
];

async function killAtEach(t: Test, system: System, points: typeof POINTS): Promise<void> {
  await system.start({ preload });
  const all = await talks(t, system, 4);
  for (const talk of all) talk.begin();
  await all[0]!.more(1);
  await system.kill();
  for (const [point, count] of points) {
    system.launch({ preload, env: { CHAT_FAULT: `${point}:${count}` } });
    t.equal(await system.server.ended, 'SIGKILL', point);
  }
  await system.start({ preload });
  await finish(t, system, all, points.length + 1);
}

t.test('at every point between two steps, SQLite', async (t) => {
  await killAtEach(t, await System.create(t), POINTS);
});

t.test('at every point where the database is concerned, MariaDB', async (t) => {
  const system = await overMariadb(t);
  const points = POINTS.filter(([point]) => /store|both|acknowledge/.test(point));
  if (system !== null) await killAtEach(t, system, points);
});
