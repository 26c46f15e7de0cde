/** A group that nobody can enter any more: the server has lost what lets others in, and a device has lost its state. */
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t from 'tap';
import { devicesOf, type DeviceApp } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('after half a minute there is another one, with everybody in it', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
  await alice.app.rooms.create('#ops', true);
  for (const { app } of [bob, carol]) await app.rooms.join('#ops');
  for (const each of [alice, bob, carol]) await each.until('all three', () => each.usersIn('#ops').length === 3);
  await alice.say('bob', 'before');
  await bob.hears('before');
  await alice.say('#ops', 'to all, before');
  for (const each of [bob, carol]) await each.hears('to all, before');
  await bob.leave();
  bob.loseVault();
  // As when a commit was logged, and its contents were lost in a crash, together with whoever could repeat it.
  const db = new DatabaseSync(join(w.dir, 'state', 'chat.db'), { timeout: 10_000 });
  t.equal(db.prepare('UPDATE conversation_groups SET group_info = NULL').run().changes, 2, 'of both');
  db.close();

  await bob.enter();
  const looked = bob.heard('group');
  const direct = await bob.write('alice', 'here again');
  await looked;
  t.equal(bob.vault.message(direct)?.state, 'waiting', 'whoever made that state may still repeat it');
  bob.aheadMs = 31_000;
  await bob.until('the group with alice', () => bob.vault.message(direct)?.state === 'delivered');
  await alice.hears('here again');
  for (const each of [alice, bob, carol])
    await each.until('all three again', () =>
      ['alice', 'bob', 'carol'].every((user) => each.usersIn('#ops').includes(user)),
    );
  const generation = (name: string) => alice.vault.groups.current(alice.vault.conversationWith(name)!.id)!.generation;
  t.strictSame([generation('bob'), generation('#ops')], [2, 2]);
  for (const each of [alice, bob, carol]) await each.say('#ops', `${each.person.name} is here`);
  for (const each of [alice, bob, carol]) await each.hears('alice is here', 'bob is here', 'carol is here');
  await alice.say('bob', 'welcome back');
  await bob.hears('welcome back');
  for (const each of [alice, bob, carol]) t.strictSame(each.told('alarm'), [], each.person.name);
  const after = (texts: readonly string[]) => texts.slice(texts.indexOf('to all, before') + 1);
  t.strictSame(after(alice.texts('#ops')), after(carol.texts('#ops')), 'in one order');
});

t.test('a database that was put back knows an older group than its members: they make another', async (t) => {
  testFolder(t);
  const w = await world(t);
  const database = join(w.dir, 'state', 'chat.db');
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.say('bob', 'before');
  await bob.hears('before');
  for (const each of [alice, bob]) await each.leave();
  await w.stop();
  copyFileSync(database, `${database}.copy`);

  // They begin another generation, as above.
  await w.restart();
  const db = new DatabaseSync(database, { timeout: 10_000 });
  t.equal(db.prepare('UPDATE conversation_groups SET group_info = NULL').run().changes, 1);
  db.close();
  bob.loseVault();
  await alice.enter();
  await bob.enter();
  const looked = bob.heard('group');
  await bob.write('alice', 'here again');
  await looked;
  bob.aheadMs = 31_000;
  await alice.hears('here again');
  await alice.say('bob', 'welcome back');
  await bob.hears('welcome back');
  const generation = (each: DeviceApp, name: string) =>
    each.vault.groups.current(each.vault.conversationWith(name)!.id)?.generation;
  t.strictSame([generation(alice, 'bob'), generation(bob, 'alice')], [2, 2]);
  for (const each of [alice, bob]) await each.leave();
  await w.stop();
  for (const end of ['', '-wal', '-shm', '-ahead-0', '-ahead-1']) rmSync(`${database}${end}`, { force: true });
  copyFileSync(`${database}.copy`, database);

  await w.restart();
  for (const each of [alice, bob]) await each.enter();
  const row = await alice.write('bob', 'after it was put back');
  await alice.until('an alarm', () => alice.told('alarm').some((text) => text.startsWith('DECRYPT_FAIL/group_info')));
  t.equal(alice.vault.message(row)?.state, 'waiting', 'the server may still show what it knows');
  alice.aheadMs = 31_000;
  await alice.until('another group', () => alice.vault.message(row)?.state !== 'waiting');
  t.equal(generation(alice, 'bob'), 3);
  // What invites him was handed out before, as the database does not know: he enters from outside.
  await bob.until('the same', () => generation(bob, 'alice') === 3);
  await bob.say('alice', 'and back');
  await alice.hears('and back');
  await alice.say('bob', 'and forth');
  await bob.hears('and forth');
});
