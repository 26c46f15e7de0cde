/**
 * A person's certificate is renewed, for the same key and for another one: conversations of two, private and public rooms and the own
 * second device go on without anybody's approval, and it is said once. A device that can show neither key is a new one.
 */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hex } from '../../base/bytes.ts';
import { anotherOf, DeviceApp, deviceOf, devicesOf, renewed } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(280_000); // a busy machine is no failure

const fingerprintOf = ({ app }: DeviceApp) => app.identity.fingerprint;
const isApproved = (by: DeviceApp, device: DeviceApp): boolean =>
  by.app.ownDevices.approved().has(hex(fingerprintOf(device)));
const told = (device: DeviceApp, what: RegExp): number =>
  device.told('warning').filter((text) => what.test(text)).length;

/** alice with two devices, the second approved; bob, and carol in the rooms with both. */
async function scene(t: Test) {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
  await bob.say('alice', 'first of all');
  await alice.hears('first of all');
  const laptop = anotherOf(t, w, alice, 'alices-laptop');
  await laptop.enter();
  await bob.app.rooms.create('#open', true);
  await alice.app.rooms.join('#open');
  await bob.app.rooms.create('#shut', false);
  await bob.app.rooms.invite('#shut', 'alice');
  await bob.app.rooms.invite('#shut', 'carol');
  for (const place of ['alice', '#open', '#shut']) await bob.say(place, `before ${place}`);
  for (const each of [alice, laptop]) await each.hears('before alice', 'before #open', 'before #shut');
  await carol.hears('before #shut');
  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  return { w, alice, bob, carol, laptop };
}

async function goesOn(t: Test, isNewKey: boolean): Promise<void> {
  const { w, alice, bob, carol, laptop } = await scene(t);
  await laptop.leave();
  await bob.say('alice', 'away: 1');
  await bob.app.rooms.create('#late', false);
  await bob.app.rooms.invite('#late', 'alice'); // both of her devices, by key packages
  for (const text of ['away: 2', 'away: 3']) await bob.say('#late', text);
  await alice.hears('away: 3');
  await carol.say('#shut', 'away: 4');
  await bob.say('alice', 'away: 5');
  const again = renewed(t, w, laptop, isNewKey);
  await again.enter();
  if (!isNewKey) {
    await alice.app.ownDevices.list();
    t.ok(isApproved(alice, again), 'the key says so by itself');
  }
  await again.hears('away: 1', 'away: 2', 'away: 3', 'away: 4', 'away: 5');
  t.strictSame(again.texts('bob').slice(-2), ['away: 1', 'away: 5'], 'in order');
  t.strictSame(again.texts('#late'), ['away: 2', 'away: 3'], 'also where it was let in under the old certificate');
  t.equal(again.texts('#shut').at(-1), 'away: 4');
  const devices = await again.app.ownDevices.list();
  t.equal(devices.filter((each) => each.revoked_at === undefined).length, 2, 'counted once');
  for (const place of ['bob', '#open', '#shut']) await again.say(place, `from it to ${place}`);
  await bob.hears('from it to bob', 'from it to #open', 'from it to #shut');
  await carol.hears('from it to #shut');
  await alice.hears('from it to bob', 'from it to #open', 'from it to #shut');
  for (const place of ['alice', '#open', '#shut']) await bob.say(place, `to it ${place}`);
  for (const each of [alice, again]) await each.hears('to it alice', 'to it #open', 'to it #shut');

  await alice.app.ownDevices.list();
  t.ok(isApproved(alice, again), 'still approved on the other one');
  const words = /^a device of (alice|yours) has a new certificate/;
  for (const each of [alice, bob, carol]) t.equal(told(each, words), 1, 'said once');
  t.equal(told(alice, /^you use another device/), 1, 'when the second device came');
  for (const each of [bob, carol]) t.ok(told(each, /^alice uses a new device/) <= 1);
  await alice.app.ownDevices.approve(fingerprintOf(again), 0);
  await again.until('a history', () => told(again, /handed over its history/) > 0);
  for (const each of [alice, bob, carol, again]) t.strictSame(each.told('alarm'), []);
}

t.test('for the same key', (t) => goesOn(t, false));
t.test('for another key, in the same profile', (t) => goesOn(t, true));

t.test('who cannot show that it is the same device is a new one, and not approved', async (t) => {
  const { w, alice, bob, laptop } = await scene(t);
  await laptop.leave();
  laptop.loseVault();
  const again = renewed(t, w, laptop, true);
  await again.enter();
  await again.say('bob', 'from it to bob');
  await bob.hears('from it to bob');
  await alice.hears('from it to bob');
  await alice.app.ownDevices.list();
  t.notOk(isApproved(alice, again));
  t.equal(told(bob, /has a new certificate/), 0);
  t.ok(told(bob, /^alice uses a new device/) > 0);
  t.equal(told(alice, /^you use another device/), 2);
});

for (const [name, isNewKey] of [
  ['for the same key', false],
  ['for another key', true],
] as const)
  t.test(`${name}, and another device changes the group before it does: nothing is lost`, async (t) => {
    testFolder(t);
    const w = await world(t);
    const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
    await bob.app.rooms.create('#open', true);
    await alice.app.rooms.join('#open');
    await bob.app.rooms.create('#shut', false);
    await bob.app.rooms.invite('#shut', 'alice');
    for (const place of ['alice', '#open', '#shut']) await bob.say(place, `before ${place}`);
    await alice.hears('before alice', 'before #open', 'before #shut');
    await alice.leave();
    const again = renewed(t, w, alice, isNewKey); // her only device
    await again.enter();
    for (const place of ['alice', '#open', '#shut']) await bob.say(place, `to it ${place}`);
    await again.hears('to it alice', 'to it #open', 'to it #shut');
    for (const place of ['bob', '#open', '#shut']) await again.say(place, `from it to ${place}`);
    await bob.hears('from it to bob', 'from it to #open', 'from it to #shut');
    t.equal(told(again, /took this device out/), 0);
    for (const each of [again, bob]) t.strictSame(each.told('alarm'), []);
  });

t.test(
  'a private room lets in whom it knew, though his device was renewed and could not be let in at once',
  async (t) => {
    testFolder(t);
    const w = await world(t);
    const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
    await bob.app.rooms.create('#shut', false);
    for (const name of ['alice', 'carol']) await bob.app.rooms.invite('#shut', name);
    await bob.say('#shut', 'before');
    await alice.hears('before');
    await alice.leave();
    const again = renewed(t, w, alice);
    const raw = await w.login(again.person); // and it is killed before it has published anything
    await raw.close();
    await bob.say('#shut', 'not to her');
    await carol.hears('not to her');
    t.strictSame(bob.usersIn('#shut'), ['bob', 'carol']);
    await again.enter();
    bob.aheadMs = 61_000; // key packages that were not there are asked for once in a minute
    await bob.say('#shut', 'to her');
    await again.hears('to her');
    await again.say('#shut', 'from her');
    await carol.hears('from her');
    for (const each of [again, bob, carol]) t.strictSame(each.told('alarm'), []);
  },
);

t.test('somebody was without a device for a while, and has another key: nobody is accused of it', async (t) => {
  testFolder(t);
  const w = await world(t);
  const alice = await deviceOf(t, w, 'alice');
  const person = await w.person('zoe', { notAfter: Date.now() + 3_600_000 });
  const zoe = new DeviceApp(t, w, person, join(t.testdirName, 'zoe'));
  for (const each of [alice, zoe]) await each.enter();
  await zoe.say('alice', 'here');
  await alice.hears('here');
  for (const each of [alice, zoe]) await each.leave();
  w.aheadMs = 7_200_000;
  alice.person.token = null;
  await alice.enter();
  await alice.write('zoe', 'to nobody');
  const over = /^every device of zoe is revoked or has expired/;
  await alice.until('that she has none', () => told(alice, over) > 0);
  await alice.leave();
  const again = renewed(t, w, zoe, true);
  await again.enter();
  await alice.enter();
  await again.hears('to nobody');
  for (const each of [alice, again]) t.strictSame(each.told('alarm'), []);
});
