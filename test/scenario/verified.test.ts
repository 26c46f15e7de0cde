/** Somebody whose number was compared, and what becomes of that: it lasts as long as the keys do, and its end is said in words. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { hex, type Fingerprint } from '../../base/bytes.ts';
import { standingOf, verifiedPeople } from '../../client/marks.ts';
import { anotherOf, type DeviceApp, devicesOf, issuedBy, renewed } from '../support/apps.ts';
import { ca } from '../support/pair.ts';
import { world, type World } from '../support/world.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { certIdentity } from '../../x509/identity.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

const standing = (device: DeviceApp, user: string): string => standingOf(device.vault, user).is;
const ends = (device: DeviceApp): string[] => device.told('warning').filter((text) => /is not any more/.test(text));
const fingerprintOf = ({ app }: DeviceApp): Fingerprint => app.identity.fingerprint;

async function scene(t: Test) {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.say('bob', 'one');
  await bob.hears('one');
  return { w, alice, bob };
}
/** The operator goes along with it, or is it. */
function bindTo(w: World, identity: string): void {
  const db = new DatabaseSync(join(w.dir, 'state', 'chat.db'), { timeout: 10_000 });
  db.prepare("UPDATE users SET cert_identity = ? WHERE username = 'bob'").run(identity);
  db.close();
}
async function compared(one: DeviceApp, user: string): Promise<void> {
  await one.app.comparisons.show(user);
  await one.app.comparisons.confirm(user);
}

t.test('what was shown is what can be confirmed', async (t) => {
  const { w, alice, bob } = await scene(t);
  await t.rejects(alice.app.comparisons.confirm('bob'), { code: 'USAGE' }, 'nothing was shown');
  await t.rejects(alice.app.comparisons.confirm('#room'), { code: 'BAD_NAME' });
  t.match(await alice.app.comparisons.show('bob'), { standing: { is: 'unverified' } });
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  await phone.enter();
  await alice.say('bob', 'two');
  await t.rejects(alice.app.comparisons.confirm('bob'), { code: 'NOT_ALLOWED', sub: 'number' }, 'another key since');
  t.equal(standing(alice, 'bob'), 'unverified');
  await alice.app.comparisons.show('bob');
  t.match(await alice.app.comparisons.confirm('bob'), { standing: { is: 'verified', at: Number, on: null } });
  t.strictSame([...verifiedPeople(alice.vault).keys()], ['bob']);
  alice.app.comparisons.clear('bob');
  t.equal(standing(alice, 'bob'), 'unverified');
  t.throws(() => alice.app.comparisons.clear('bob'), { code: 'NOT_FOUND' });
});

t.test('a device that comes later ends it, once, before anything is written to it', async (t) => {
  const { w, alice, bob } = await scene(t);
  await compared(alice, 'bob');
  await compared(bob, 'alice');
  await alice.leave();
  await alice.enter();
  t.equal(standing(alice, 'bob'), 'verified', 'it is kept on the disk');

  const phone = anotherOf(t, w, bob, 'bobs-phone');
  await phone.enter();
  await alice.say('bob', 'two');
  await phone.hears('two');
  t.match(ends(alice), [
    /^bob was verified on \d{4}-\d\d-\d\d, and is not any more: bob has a key that was not compared/,
  ]);
  const events = alice.events.map((e) =>
    e.on === 'warning' && /any more/.test(e.text) ? 'said' : e.on === 'state' ? 'sent' : e.on,
  );
  t.ok(events.indexOf('said') < events.lastIndexOf('sent'), 'said before what was written was at the server');
  t.equal(standing(alice, 'bob'), 'ended');
  t.equal(standing(bob, 'alice'), 'verified', 'one’s own devices one knows');
  await alice.say('bob', 'three');
  await alice.leave();
  await alice.enter();
  await alice.say('bob', 'four');
  t.equal(ends(alice).length, 1);
  await compared(alice, 'bob');
  t.equal(standing(alice, 'bob'), 'verified');
  for (const each of [alice, bob, phone]) t.strictSame(each.told('alarm'), []);
});

t.test('a device that comes in by itself ends it before what it writes is shown', async (t) => {
  const { w, alice, bob } = await scene(t);
  await compared(alice, 'bob');
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  await phone.enter();
  const order: string[] = [];
  alice.app.on((e) => {
    if (e.on === 'warning' && /is not any more/.test(e.text)) order.push('said');
    if (e.on === 'message') order.push('shown');
  });
  await phone.say('alice', 'two');
  await alice.hears('two');
  t.strictSame(order, ['said', 'shown']);
  t.equal(standing(alice, 'bob'), 'ended');
});

t.test('a renewed certificate: the number is made of keys, and so is the mark', async (t) => {
  const { w, alice, bob } = await scene(t);
  const { number } = await alice.app.comparisons.show('bob');
  await alice.app.comparisons.confirm('bob');
  await bob.leave();
  const again = renewed(t, w, bob);
  await again.enter();
  await again.say('alice', 'two');
  await alice.hears('two');
  t.match(
    alice.told('warning'),
    { length: 1, 0: /^a device of bob has a new certificate/ },
    'announced, and nothing else',
  );
  t.match(await alice.app.comparisons.show('bob'), { number, standing: { is: 'verified' } });
  await again.leave();
  const other = renewed(t, w, again, true);
  await other.enter();
  await other.say('alice', 'three');
  await alice.hears('three');
  await alice.app.open('bob');
  t.equal(ends(alice).length, 1, 'another key is another number');
  t.equal(standing(alice, 'bob'), 'ended');
  t.strictSame(alice.told('alarm'), []);
});

t.test('a key that goes is not verified any more when it comes back', async (t) => {
  const { w, alice, bob } = await scene(t);
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  await phone.enter();
  await alice.say('bob', 'two');
  await compared(alice, 'bob');
  await bob.app.ownDevices.revoke(fingerprintOf(phone));
  await alice.say('bob', 'three');
  await alice.app.open('bob');
  t.equal(standing(alice, 'bob'), 'verified', 'the other one was compared as well');
  t.equal(alice.vault.marks.of('bob')!.keys.length, 1);
});

t.test('a certificate by another authority: said in words, once, before anything is sealed for it', async (t) => {
  const { w, alice, bob } = await scene(t);
  await compared(alice, 'bob');
  const before = alice.told('warning').length;
  const below = ca.intermediate('Below');
  const other = issuedBy(t, w, bob, 'bobs-other', below);
  await t.rejects(
    other.enter(),
    { code: 'CERT_ACCOUNT_MISMATCH' },
    'an honest server keeps an account with its authority',
  );
  await other.leave();
  bindTo(w, certIdentity([parseCertificate(other.person.issued.der), parseCertificate(below.der)]));
  await other.enter();
  const order: string[] = [];
  alice.app.on((e) => {
    if (e.on === 'warning' && /another authority/.test(e.text)) order.push('said');
    if (e.on === 'state' && e.message.state === 'accepted') order.push('sent');
  });
  await alice.say('bob', 'two');
  await other.hears('two');
  t.strictSame(order, ['said', 'sent']);
  t.match(
    alice
      .told('warning')
      .slice(before)
      .filter((text) => /another authority than before/.test(text)),
    [/^a certificate of bob is issued by another authority than before: CN=Below$/],
  );
  t.equal(standing(alice, 'bob'), 'ended');
  await alice.say('bob', 'three');
  await other.hears('three');
  t.equal(alice.told('warning').filter((text) => /another authority than before/.test(text)).length, 1);
  for (const each of [alice, bob, other]) t.strictSame(each.told('alarm'), []);
});

t.test('the second device of the same person takes it over, once it has approved the first', async (t) => {
  const { w, alice, bob } = await scene(t);
  await compared(alice, 'bob');
  const laptop = anotherOf(t, w, alice, 'alices-laptop');
  await laptop.enter();
  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  await laptop.until('a history', () =>
    laptop.told('warning').some((text) => /it has verified bob: device approve/.test(text)),
  );
  t.equal(standing(laptop, 'bob'), 'told', 'anybody with a certificate in this name could say so');
  t.strictSame([...verifiedPeople(laptop.vault)], []);
  await laptop.app.ownDevices.approve(fingerprintOf(alice), null);
  t.match(standingOf(laptop.vault, 'bob'), { is: 'verified', on: fingerprintOf(alice) });
  t.match(await laptop.app.comparisons.show('bob'), { standing: { is: 'verified' } });
  t.equal(standing(alice, 'bob'), 'verified');

  const phone = anotherOf(t, w, bob, 'bobs-phone');
  await phone.enter();
  await laptop.say('bob', 'from the laptop');
  t.equal(ends(laptop).length, 1, 'and it ends there as well');
  await alice.hears('from the laptop');
  await alice.app.open('bob');
  t.equal(ends(alice).length, 1);
  await alice.app.ownDevices.approve(fingerprintOf(laptop), 0);
  await laptop.until(
    'another',
    () => laptop.told('warning').filter((text) => /handed over its history/.test(text)).length === 2,
  );
  t.equal(standing(laptop, 'bob'), 'ended', 'what is over is not handed on');
  t.equal(hex(laptop.vault.marks.of('bob')!.on!), hex(fingerprintOf(alice)));
  for (const each of [alice, bob, laptop]) t.strictSame(each.told('alarm'), []);
});
