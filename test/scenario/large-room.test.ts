/** A room of more than fifty devices, whose tree newcomers fetch and nobody else gets: real clients, a real server, many who are away. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { inParallel } from '../../client/in-parallel.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { absent } from '../support/absent.ts';
import { type DeviceApp, deviceOf, devicesOf } from '../support/apps.ts';
import { world, type World } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(900_000); // a busy machine is no failure

const AWAY = 55;
const CROWD = 110;
const commitBytes = ({ delivered }: DeviceApp): number[] =>
  delivered
    .filter(({ statement }) => decodeMs(statement).kind === KIND.membership)
    .map(({ parts }) => parts.reduce((sum, part) => sum + part.length, 0));

async function largeRoom(t: Test): Promise<{ w: World; alice: DeviceApp; bob: DeviceApp }> {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.app.rooms.create('#all', true);
  await bob.app.rooms.join('#all');
  await alice.say('#all', 'two of us');
  await bob.hears('two of us');
  await bob.leave();
  const { id } = await alice.app.open('#all');
  for (let i = 0; i < AWAY; i++) {
    await absent(w, `away${i}`, '#all');
    alice.vault.rooms.invite(id, `away${i}`);
  }
  await alice.say('#all', 'all of us');
  t.equal(alice.usersIn('#all').length, AWAY + 2);
  await bob.enter();
  await bob.hears('all of us');
  return { w, alice, bob };
}

// Fails when the server keeps no tree but the newest.
t.test('who is let in while away fetches the tree of that moment, and reads all since', async (t) => {
  const { w, alice, bob } = await largeRoom(t);
  const [carol, dave] = [await deviceOf(t, w, 'carol'), await deviceOf(t, w, 'dave')];
  for (const each of [carol, dave]) await (await each.enter()).leave();
  for (const name of ['carol', 'dave']) {
    t.equal(await alice.app.rooms.invite('#all', name), true);
    await alice.say('#all', `with ${name}`);
  }
  await carol.enter();
  await carol.hears('with carol', 'with dave');
  t.strictSame(carol.texts('#all'), ['with carol', 'with dave'], 'though the group has gone on');
  await carol.say('#all', 'here');
  await bob.hears('here');
  t.ok(Math.max(...commitBytes(bob).slice(-2)) < 20_000, `commits of ${commitBytes(bob).join()} bytes to everybody`);
  for (const each of [alice, bob, carol]) t.strictSame(each.told('alarm'), []);
});

// Fails when an invitation without its tree is an error.
t.test('an invitation that has waited longer than its tree: in from outside', async (t) => {
  const { w, alice } = await largeRoom(t);
  const carol = await deviceOf(t, w, 'carol');
  await (await carol.enter()).leave();
  t.equal(await alice.app.rooms.invite('#all', 'carol'), true);
  await alice.say('#all', 'too long ago');
  const db = new DatabaseSync(join(w.dir, 'state', 'chat.db'));
  db.exec('DELETE FROM group_infos');
  db.close();
  const { id } = await alice.app.open('#all');
  const commits = alice.vault.groups.commits(id).length;
  await carol.enter();
  await carol.until('the way in', () => carol.usersIn('#all').includes('carol'));
  while (alice.vault.groups.commits(id).length === commits) await new Promise(setImmediate); // alice knows it
  await alice.say('#all', 'now');
  await carol.hears('now');
  t.strictSame(carol.texts('#all'), ['UNREADABLE', 'now']);
  for (const each of [alice, carol]) t.strictSame(each.told('alarm'), []);
});

// Fails when nobody on line lets in who joins, and when what is asked for grows with the room.
t.test('a hundred and more members: one who is there lets in who joins, and they talk', async (t) => {
  testFolder(t);
  const w = await world(t);
  const alice = await (await deviceOf(t, w, 'alice')).enter();
  await alice.app.rooms.create('#all', true);
  const { id } = await alice.app.open('#all');
  await alice.leave(); // so that all of them wait for her
  const names = Array.from({ length: CROWD }, (_, i) => `away${i}`);
  await inParallel(names, 4, (name) => absent(w, name, '#all'));
  await alice.enter((app) => {
    for (const name of names) app.vault.rooms.invite(id, name);
  });
  await alice.app.rooms.invite('#all', names[0]!);
  await alice.until('all inside', () => alice.usersIn('#all').length === CROWD + 1);
  t.ok(alice.vault.groups.commits(id).length <= 3, 'a hundred at a time');

  const bob = await deviceOf(t, w, 'bob');
  bob.joinWaitMs = 200_000;
  await bob.enter();
  await bob.app.rooms.join('#all');
  await bob.until('the way in', () => bob.usersIn('#all').length === CROWD + 2);
  await alice.say('#all', 'two of us are awake');
  await bob.hears('two of us are awake');
  await alice.leave();
  const carol = await (await deviceOf(t, w, 'carol')).enter();
  await carol.app.rooms.join('#all'); // bob is asked
  await bob.leave();
  const dave = await (await deviceOf(t, w, 'dave')).enter();
  await carol.leave();
  await dave.app.rooms.join('#all'); // nobody is
  await dave.say('#all', 'is anybody awake?');
  for (const each of [alice, bob, carol]) await (await each.enter()).hears('is anybody awake?');
  const everybody = [alice, bob, carol, dave];
  for (const each of everybody) {
    await each.until('all inside', () => each.usersIn('#all').length === CROWD + 4);
    t.ok(Math.max(...commitBytes(each).slice(-3)) < 70_000, 'no tree to everybody');
    t.strictSame(each.told('alarm'), []);
  }
});
