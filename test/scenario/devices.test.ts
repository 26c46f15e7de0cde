/** A person's own devices: which there are, and what becomes of one that is revoked from another. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { anotherOf, deviceOf, devicesOf } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(180_000); // a busy machine is no failure

t.test('a device that is revoked is cut, stays out, and reads nothing that is written from then on', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  const stolen = anotherOf(t, w, bob, 'bobs-laptop');
  await stolen.enter();
  await alice.say('bob', 'for both');
  await bob.hears('for both');
  await stolen.hears('for both');

  const fingerprintOf = (device: typeof bob): string => hex(device.app.identity.fingerprint);
  const before = await bob.app.ownDevices.list();
  t.strictSame(
    before.map(({ fingerprint, online }) => [hex(fingerprint), online]).toSorted(),
    [
      [fingerprintOf(bob), true],
      [fingerprintOf(stolen), true],
    ].toSorted(),
  );
  t.ok(before.every(({ revoked_at: at }) => at === undefined));

  await t.rejects(bob.app.ownDevices.revoke(bob.app.identity.fingerprint), { code: 'NOT_ALLOWED', sub: 'this_device' });
  await t.rejects(bob.app.ownDevices.revoke(alice.app.identity.fingerprint), { code: 'NOT_FOUND' }, 'of somebody else');
  await t.rejects(bob.app.ownDevices.revoke(Buffer.alloc(32, 9)), { code: 'NOT_FOUND' });
  await bob.app.ownDevices.revoke(stolen.app.identity.fingerprint);
  await stolen.until('the end of its connection', () =>
    stolen.events.some((e) => e.on === 'lost' && !e.willRetry && e.error.code === 'BAD_CERT'),
  );
  const had = stolen.delivered.length;
  await bob.app.ownDevices.revoke(stolen.app.identity.fingerprint); // again changes nothing
  const after = await bob.app.ownDevices.list();
  const [gone] = after.filter(({ fingerprint }) => hex(fingerprint) === fingerprintOf(stolen));
  t.match(gone, { online: false, revoked_at: Number });

  await alice.say('bob', 'for one');
  await bob.hears('for one');
  t.equal(stolen.delivered.length, had, 'nothing more was sent to it');
  t.notOk(stolen.texts().includes('for one'));
  t.equal((await alice.app.comparisons.show('bob')).devices.length, 1, 'nor does alice count it to bob any more');
  await stolen.leave();
  await t.rejects(stolen.enter(), { code: 'BAD_CERT', sub: 'revoked' }, 'and it cannot come back');
  for (const each of [alice, bob]) t.strictSame(each.told('alarm'), []);
});

t.test('who has no valid device any more is not somebody who has none yet', async (t) => {
  testFolder(t);
  const w = await world(t);
  const alice = await deviceOf(t, w, 'alice');
  const zoe = await w.person('zoe', { notAfter: Date.now() + 3_600_000 });
  await alice.enter();
  await alice.write('zoe', 'are you there?');
  await alice.until('a word about zoe', () =>
    alice.told('warning').some((text) => text.startsWith('zoe has no device that')),
  );
  await alice.leave();
  w.aheadMs = 7_200_000;
  zoe.token = alice.person.token = null;
  await alice.enter();
  await alice.app.open('zoe');
  const over = /^every device of zoe is revoked or has expired: what you write waits$/;
  await alice.until('another word', () => alice.told('warning').some((text) => over.test(text)));
  t.strictSame(alice.told('alarm'), []);
  t.strictSame(alice.texts('zoe'), ['are you there?'], 'and it is kept');
});
