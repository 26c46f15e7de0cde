/** Conversations that the server cannot read: real clients and a real server, and everything that happens to groups of devices. */
import { createPublicKey } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Authority } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { restore } from '../../client/e2ee/delta.ts';
import { directPolicy } from '../../client/e2ee/direct.ts';
import type { Delivered } from '../../protocol/messages.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { ca } from '../support/pair.ts';
import { anotherOf, deviceOf, devicesOf } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(900_000); // a busy machine is no failure

t.test('first contact while the other one is away; then both ways', async (t) => {
  testFolder(t);
  const w = await world(t);
  const alice = await deviceOf(t, w, 'alice');
  const bob = await deviceOf(t, w, 'bob');
  await (await bob.enter()).leave();
  await alice.enter();
  await alice.say('bob', 'one');
  await alice.say('bob', 'two');
  await bob.enter();
  await bob.hears('one', 'two');
  await bob.say('alice', 'three');
  await alice.hears('three');
  for (const each of [alice, bob]) {
    t.strictSame(each.texts(), ['one', 'two', 'three']);
    t.strictSame(each.told('alarm'), []);
    t.strictSame(each.told('warning'), []);
  }
});

t.test('both write first at the same moment: one group, nothing lost, nothing doubled', async (t) => {
  testFolder(t);
  const w = await world(t);
  for (const round of [1, 2, 3]) {
    const [alice, bob] = [await deviceOf(t, w, `alice${round}`), await deviceOf(t, w, `bob${round}`)];
    await Promise.all([alice.enter(), bob.enter()]);
    await Promise.all([alice.app.open(`bob${round}`), bob.app.open(`alice${round}`)]);
    const texts = ['a1', 'a2', 'b1', 'b2'];
    await Promise.all([
      alice.say(`bob${round}`, 'a1').then(() => alice.say(`bob${round}`, 'a2')),
      bob.say(`alice${round}`, 'b1').then(() => bob.say(`alice${round}`, 'b2')),
    ]);
    for (const each of [alice, bob]) {
      await each.hears(...texts);
      t.strictSame(each.texts().toSorted(), texts, `round ${round}`);
      t.strictSame(each.told('alarm'), []);
    }
    t.strictSame(alice.texts(), bob.texts(), 'in one order');
  }
});

t.test('a second device reads what comes after it, and writes', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.say('bob', 'before');
  await bob.hears('before');
  const before = await alice.app.comparisons.show('bob');
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  await phone.enter();
  await alice.say('bob', 'after');
  await phone.hears('after');
  await bob.hears('after');
  t.strictSame(phone.texts(), ['after']);
  t.match(alice.told('warning'), { length: 1, 0: /^bob uses a new device/ }, 'which is said once');
  await phone.say('alice', 'from the phone');
  await alice.hears('from the phone');
  await bob.hears('from the phone');
  const numbers = await Promise.all([
    alice.app.comparisons.show('bob'),
    bob.app.comparisons.show('alice'),
    phone.app.comparisons.show('alice'),
  ]);
  t.equal(new Set(numbers.map(({ number }) => number)).size, 1, 'the same to compare, on every device');
  t.not(numbers[0]!.number, before.number, 'and another than before there was the phone');
  t.match(bob.told('warning'), { length: 1, 0: /^you use another device/ });
  await alice.say('bob', 'again');
  t.equal(alice.told('warning').length, 1);
  for (const each of [alice, bob, phone]) t.strictSame(each.told('alarm'), []);
});

t.test('a device that writes while its invitation is queued takes that first', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = [
    await deviceOf(t, w, 'alice'),
    await deviceOf(t, w, 'bob'),
    await deviceOf(t, w, 'carol'),
  ];
  await alice.enter();
  await bob.enter();
  await carol.enter();
  await alice.say('bob', 'before');
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  await phone.enter();
  const { id } = await phone.app.open('alice');
  await phone.leave();
  // So much that it is busy when it is told that there is a group.
  for (let i = 0; i < 60; i++) await carol.say('bob', `from carol ${i}`);
  const texts = Array.from({ length: 20 }, (_, i) => `while away ${i}`);
  for (const text of texts) await alice.say('bob', text);
  // It has something to say in the same moment in which it comes.
  await phone.enter((app) => void app.send(id, Buffer.from('here I am')));
  await phone.hears(...texts);
  await alice.hears('here I am');
  t.strictSame(phone.texts('alice'), [...texts, 'here I am'], 'all of it, and nothing that cannot be read');
  t.strictSame(phone.told('alarm'), []);
});

t.test('a device whose records are lost comes back', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.say('bob', 'before');
  await bob.hears('before');
  await bob.leave();
  bob.loseVault();
  await alice.say('bob', 'lost to him');
  await bob.enter();
  await bob.until('a message that he cannot read', () => bob.texts().includes('UNREADABLE'));
  await alice.until('his new device', () => alice.told('warning').length === 1);
  t.match(alice.told('warning'), { length: 1, 0: /^bob uses a new device/ });
  await alice.say('bob', 'after');
  await bob.hears('after');
  await bob.say('alice', 'back');
  await alice.hears('back');
  t.strictSame(bob.texts(), ['UNREADABLE', 'after', 'back']);
  t.strictSame(alice.texts(), ['before', 'lost to him', 'after', 'back']);
  for (const each of [alice, bob]) t.strictSame(each.told('alarm'), []);
});

t.test('a renewed certificate: the same device, announced as that', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.say('bob', 'before');
  await bob.say('alice', 'yes');
  await alice.hears('yes');
  await bob.leave();
  const renewed = anotherOf(t, w, bob, 'bob'); // in the same folder
  await renewed.enter();
  await renewed.say('alice', 'renewed');
  await alice.hears('renewed');
  t.match(alice.told('warning'), { length: 1, 0: /^a device of bob has a new certificate/ });
  t.notOk(alice.told('warning').some((text) => /is out|another authority/.test(text)));
  await alice.say('bob', 'after');
  await renewed.hears('after');
  t.strictSame(renewed.texts(), ['before', 'yes', 'renewed', 'after']);
  for (const each of [alice, renewed]) t.strictSame(each.told('alarm'), []);
});

t.test('an invitation waits for a device whose certificate is renewed for the same key', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = [await deviceOf(t, w, 'alice'), await deviceOf(t, w, 'bob')];
  await (await bob.enter()).leave();
  await alice.enter();
  await alice.say('bob', 'queued');
  const { key } = bob.person.issued;
  const renewed = anotherOf(t, w, bob, 'bob', { keyPair: { publicKey: createPublicKey(key), privateKey: key } });
  await renewed.enter();
  await renewed.hears('queued');
  await renewed.say('alice', 'read');
  await alice.hears('read');
  t.match(alice.told('warning'), { length: 1, 0: /^a device of bob has a new certificate/ });
  for (const each of [alice, renewed]) t.strictSame(each.told('alarm'), []);
});

t.test('nobody to write to yet: the messages wait, and are sent as soon as there is', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = [
    await deviceOf(t, w, 'alice'),
    await deviceOf(t, w, 'bob'),
    await deviceOf(t, w, 'carol'),
  ];
  await carol.enter();
  await alice.enter();
  const row = await alice.write('bob', 'waits');
  await alice.until('a warning', () => alice.told('warning').length > 0);
  await alice.say('carol', 'does not wait');
  t.equal(alice.vault.message(row)?.state, 'waiting');
  await bob.enter();
  await bob.hears('waits');
  t.match(alice.told('warning'), { length: 1, 0: /^bob has no device that can read encrypted messages yet/ });
});

t.test('nobody to write to yet, and then it is another device that comes', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = [await deviceOf(t, w, 'alice'), await deviceOf(t, w, 'bob')];
  await alice.enter();
  const row = await alice.write('bob', 'waits');
  await alice.until('a warning', () => alice.told('warning').length > 0);
  t.equal(alice.vault.message(row)?.state, 'waiting');
  const phone = await anotherOf(t, w, bob, 'bobs-phone').enter();
  await phone.hears('waits');
});

t.test('groups change in the middle of a burst', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.say('bob', 'first');
  const { id } = await alice.app.open('bob');
  const back = await bob.app.open('alice');
  const fromAlice = Array.from({ length: 120 }, (_, i) => `a${i}`);
  const fromBob = Array.from({ length: 120 }, (_, i) => `b${i}`);
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  for (const [i, text] of fromAlice.entries()) {
    alice.app.send(id, Buffer.from(text));
    bob.app.send(back.id, Buffer.from(fromBob[i]!));
    if (i === 40) await phone.enter();
    if (i === 60) await phone.write('alice', 'p0');
    if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await alice.hears(...fromBob, 'p0');
  await bob.hears(...fromAlice, 'p0');
  const all = ['first', ...fromAlice, ...fromBob, 'p0'].toSorted();
  for (const each of [alice, bob]) {
    t.strictSame(each.texts().toSorted(), all);
    t.strictSame(each.told('alarm'), []);
  }
  t.strictSame(alice.texts(), bob.texts(), 'in one order');
  t.strictSame(phone.told('alarm'), []);
});

t.test(
  'a device that was revoked reads nothing that is written afterwards, with all that was sent on record',
  async (t) => {
    const list = join(testFolder(t), 'ca.crl');
    writeFileSync(list, ca.crl([]));
    const w = await world(t, { 'tls.crl': [list] });
    const [alice, bob] = [await deviceOf(t, w, 'alice'), await deviceOf(t, w, 'bob')];
    const phone = anotherOf(t, w, bob, 'bobs-phone');
    await alice.enter();
    await bob.enter();
    await phone.enter();
    await alice.say('bob', 'for both');
    await phone.hears('for both');
    await bob.hears('for both');

    const { id } = await alice.app.open('bob');
    const { vault, app } = phone;
    const stored = vault.groups.current(id)!;
    const conversation = restore(stored.snapshot, stored.deltas);
    const { roots } = app.identity;
    const authority = new Authority({ organisation: 'localhost', roots, bindings: vault.keys.bindings() });
    const engine = await Engine.open(authority);
    await phone.leave();
    const before = bob.delivered.length;
    writeFileSync(`${list}.new`, ca.crl([phone.person.issued]));
    renameSync(`${list}.new`, list);
    // The server takes the device from the rosters when it has read the list; what is written before is for it as well.
    const isCommit = ({ statement }: Delivered) => decodeMs(statement).kind === KIND.membership;
    const sinceCommit = () => bob.delivered.slice(before).slice(bob.delivered.slice(before).findIndex(isCommit));
    for (let i = 0; !bob.delivered.slice(before).some(isCommit); i++) {
      await alice.say('bob', `still for both ${i}`);
      await bob.hears(`still for both ${i}`);
      await sleep(100);
    }
    await alice.say('bob', 'for the other one');
    await bob.hears('for the other one');
    t.strictSame(alice.told('alarm'), []);
    const isOut = /^a device of (bob|yours) is out: it is revoked, or has expired \(certificate [0-9a-f]{16}…\)$/;
    for (const each of [alice, bob])
      t.equal(each.told('warning').filter((text) => isOut.test(text)).length, 1, 'said once, in words');

    const sent = sinceCommit();
    const [commit, message] = sent.map(({ parts }) => parts[0]!);
    await t.rejects(engine.receive(conversation, message!, Date.now(), directPolicy), {
      code: 'DECRYPT_FAIL',
      sub: 'epoch',
    });
    const out = await engine.receive(conversation, commit!, Date.now(), directPolicy);
    t.equal(out.kind, 'removed', 'and the new state is not for it');
  },
);

// Fails when the room is not looked at again before somebody writes there.
t.test('who was invited before he had a device that can read is let in by whoever stays connected', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice] = await devicesOf(t, w, 'alice');
  const bob = await deviceOf(t, w, 'bob');
  await alice.app.rooms.create('#late', false);
  const waits: number[] = [];
  const { setTimeout: real } = globalThis;
  const recording = (work: () => void, ms: number) => (waits.push(ms), real(work, ms));
  globalThis.setTimeout = recording as typeof setTimeout;
  t.teardown(() => (globalThis.setTimeout = real));
  t.equal(await alice.app.rooms.invite('#late', 'bob'), false);
  await alice.app.settled();
  globalThis.setTimeout = real;
  t.ok(
    waits.some((ms) => ms > 50_000 && ms <= 60_001),
    'it is looked again in a minute',
  );
  await bob.enter();
  alice.aheadMs = 61_000; // and that is now, when something else happens
  await bob.say('alice', 'I am here');
  await bob.say('#late', 'and let in');
  await alice.hears('and let in');
  t.strictSame(alice.told('alarm'), []);
});
