/** One conversation in which nothing can be written for now, and others in which it can. */
import { join } from 'node:path';
import t from 'tap';
import type { AppEvent } from '../../client/app-event.ts';
import { DeviceApp, devicesOf, PATIENCE_MS } from '../support/apps.ts';
import { testFolder } from '../support/folder.ts';
import { world } from '../support/world.ts';

t.setTimeout(180_000); // a busy machine is no failure

// Fails when a group is taken for ready as long as the roster has the same number: what is refused then is repeated before all others.
t.test('whose certificates end while others write to him keeps nobody from writing to anybody else', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  const person = await w.person('zoe', { notAfter: Date.now() + 3_600_000 });
  const zoe = await new DeviceApp(t, w, person, join(t.testdirName, 'zoe')).enter();
  await alice.say('zoe', 'one');
  await zoe.hears('one');
  await alice.say('bob', 'one');
  await bob.hears('one');
  await zoe.leave();
  w.aheadMs = 7_200_000;
  await alice.write('zoe', 'two');
  await alice.write('bob', 'two');
  await bob.hears('two');
  const isOver = (text: string): boolean => text.startsWith('every device of zoe is revoked or has expired');
  await alice.until('a word about zoe', () => alice.told('warning').some(isOver));
  await alice.write('bob', 'three');
  await bob.hears('three');
  t.strictSame(alice.told('alarm'), []);
});

// Fails when all keys that are due are replaced first: who comes back after a week has them due everywhere.
t.test('keys that are due in many conversations do not keep what is written from going', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, ...others] = await devicesOf(t, w, 'alice', 'bob', 'carol', 'dave', 'eve');
  const ids = [];
  for (const { person } of others) {
    await alice.say(person.name, 'hello');
    ids.push((await alice.app.open(person.name)).id);
  }
  await alice.app.settled();
  const before = alice.events.length;
  for (const id of ids.slice(1)) alice.vault.freshness.hurry(id);
  const row = alice.app.send(ids[0]!, Buffer.from('and on'));
  const isAccepted = (event: AppEvent): boolean => event.on === 'state' && event.message.row === row;
  const changes = (events: readonly AppEvent[]): number => events.filter((e) => e.on === 'group' && !e.isIdle).length;
  await alice.until('all new keys', () => changes(alice.events.slice(before)) === 3);
  await alice.app.waitFor(row, 'accepted', PATIENCE_MS);
  const at = alice.events.findIndex(isAccepted);
  t.ok(changes(alice.events.slice(before, at)) <= 1, 'one of them at most goes before it');
});
