/** Rooms that the server cannot read: real clients and a real server. Who is let in is decided by members' devices, not by the server. */
import t, { type Test } from 'tap';
import type { ConversationId } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { Authority, createBinding } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { restore } from '../../client/e2ee/delta.ts';
import { groupIdOf } from '../../client/e2ee/direct.ts';
import { commitParts, doorBytes } from '../../client/e2ee/layout.ts';
import { roomSettings } from '../../client/e2ee/room.ts';
import { policy } from '../../client/group-rules.ts';
import { composeCommit } from '../../client/statements.ts';
import { encoded, forged } from '../e2ee/people.ts';
import { anotherOf, type DeviceApp, deviceOf, devicesOf } from '../support/apps.ts';
import { world, type World } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(900_000); // a busy machine is no failure

const readers = async ({ app }: DeviceApp, room: string): Promise<string[]> =>
  (await app.rooms.view(room)).occupants.flatMap(({ username, canRead }) => (canRead ? [username] : [])).sort();
const quiet = (t: Test, ...devices: readonly DeviceApp[]): void => {
  for (const each of devices) t.strictSame(each.told('alarm'), [], each.person.name);
};
/** A device's state as a thief of its disk has it, to try on what was sent later. */
async function stateOf({ vault, app }: DeviceApp, id: ConversationId) {
  const { snapshot, deltas } = vault.groups.current(id)!;
  const { roots } = app.identity;
  const authority = new Authority({ organisation: 'localhost', roots, bindings: vault.keys.bindings() });
  return { engine: await Engine.open(authority), conversation: restore(snapshot, deltas) };
}

t.test('a public room: made, joined, talked in, left', async (t) => {
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
  await alice.app.rooms.create('#ops', true, 'all hands');
  await bob.app.rooms.join('#ops');
  await alice.say('#ops', 'one');
  await bob.hears('one');
  await carol.app.rooms.join('#ops');
  await bob.until('carol in the group', () => bob.told('warning').includes('carol can read #ops from now on'));
  await bob.say('#ops', 'two');
  await carol.say('#ops', 'three');
  await alice.hears('two', 'three');
  await bob.hears('three');
  await carol.hears('two');
  t.strictSame(alice.texts('#ops'), ['one', 'two', 'three']);
  t.strictSame(bob.texts('#ops'), ['one', 'two', 'three']);
  t.strictSame(carol.texts('#ops'), ['two', 'three'], 'nothing from before she came');
  t.strictSame(await readers(bob, '#ops'), ['alice', 'bob', 'carol']);
  await carol.app.rooms.leave('#ops');
  await alice.say('#ops', 'without carol');
  await bob.hears('without carol');
  t.strictSame(await readers(alice, '#ops'), ['alice', 'bob'], 'who left is out of the group before the next word');
  t.strictSame(carol.texts('#ops'), ['two', 'three']);
  await t.rejects(carol.app.open('#ops'), { code: 'NOT_FOUND' });
  quiet(t, alice, bob, carol);
});

t.test('a private room: by invitation, also of somebody who is away', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = [
    await deviceOf(t, w, 'alice'),
    await deviceOf(t, w, 'bob'),
    await deviceOf(t, w, 'carol'),
  ];
  await (await bob.enter()).leave(); // his key packages are at the server
  await alice.enter();
  await carol.enter();
  await alice.app.rooms.create('#plan', false);
  t.equal(await alice.app.rooms.invite('#plan', 'bob'), true);
  await alice.say('#plan', 'one');
  await t.rejects(carol.app.rooms.join('#plan'), { code: 'NO_SUCH_ROOM' });
  t.equal(await alice.app.rooms.invite('#plan', 'carol'), true);
  await alice.say('#plan', 'two');
  await carol.hears('two');
  await bob.enter();
  await bob.hears('one', 'two');
  await bob.say('#plan', 'three');
  await carol.hears('three');
  await alice.hears('three');
  t.strictSame(alice.texts('#plan'), ['one', 'two', 'three']);
  t.strictSame(bob.texts('#plan'), ['one', 'two', 'three']);
  t.strictSame(carol.texts('#plan'), ['two', 'three']);
  quiet(t, alice, bob, carol);
});

t.test('who is kicked reads nothing that is written afterwards, and may be invited again', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
  await alice.app.rooms.create('#plan', false);
  for (const name of ['bob', 'carol']) t.equal(await alice.app.rooms.invite('#plan', name), true);
  await alice.say('#plan', 'for all');
  await carol.hears('for all');
  await bob.hears('for all');

  const { id } = await alice.app.open('#plan');
  const { engine, conversation } = await stateOf(carol, id);
  const before = bob.delivered.length;
  t.equal(await alice.app.rooms.remove('#plan', 'kick', 'carol'), true);
  await alice.say('#plan', 'for two');
  await bob.hears('for two');
  const [commit, message] = bob.delivered.slice(before).map(({ parts }) => parts[0]!);
  const isLate = { code: 'DECRYPT_FAIL', sub: 'epoch' };
  await t.rejects(engine.receive(conversation, message!, Date.now(), policy), isLate, 'with all on record');
  t.equal((await engine.receive(conversation, commit!, Date.now(), policy)).kind, 'removed');
  await carol.until('a word about it', () => carol.told('warning').some((each) => /removed you from #plan/.test(each)));
  await t.rejects(carol.app.open('#plan'), { code: 'NO_SUCH_ROOM' });
  t.strictSame(carol.texts('#plan'), ['for all'], 'what was said stays');

  await carol.leave();
  t.equal(await alice.app.rooms.invite('#plan', 'carol'), true);
  await alice.say('#plan', 'welcome back');
  await carol.enter();
  await carol.hears('welcome back');
  await carol.say('#plan', 'thanks');
  await bob.hears('thanks');
  t.strictSame(carol.texts('#plan'), ['for all', 'welcome back', 'thanks']);
  t.strictSame(bob.texts('#plan'), ['for all', 'for two', 'welcome back', 'thanks']);
  quiet(t, alice, bob, carol);
});

t.test('kicked while away: said once, and the room is closed', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.app.rooms.create('#ops', true);
  await bob.app.rooms.join('#ops');
  await alice.say('#ops', 'one');
  await bob.hears('one');
  await bob.leave();
  t.equal(await alice.app.rooms.remove('#ops', 'ban', 'bob'), true);
  const row = await alice.write('#ops', 'to nobody');
  await alice.until('a warning', () =>
    alice.told('warning').some((each) => each.startsWith('nobody else can read in #ops yet')),
  );
  t.equal(alice.vault.message(row)?.state, 'waiting');
  await bob.enter();
  const said = () => bob.told('warning').filter((each) => each.startsWith('you are not in #ops any more')).length;
  await bob.until('a word about it', () => said() === 1);
  await bob.leave();
  await bob.enter();
  t.equal(said(), 1, 'once');
  await t.rejects(bob.app.rooms.join('#ops'), { code: 'NOT_ALLOWED', sub: 'banned' });
  await alice.app.rooms.unban('#ops', 'bob');
  await bob.app.rooms.join('#ops');
  await bob.hears('to nobody');
  await bob.say('#ops', 'here again');
  await alice.hears('here again');
  t.strictSame(bob.texts('#ops'), ['one', 'to nobody', 'here again']);
  quiet(t, alice, bob);
});

t.test('somebody whom only the server lists is never let in, and is named', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, mallory] = await devicesOf(t, w, 'alice', 'bob', 'mallory');
  await alice.app.rooms.create('#plan', false);
  t.equal(await alice.app.rooms.invite('#plan', 'bob'), true);
  await alice.say('#plan', 'one');
  await bob.hears('one');
  const { id } = await alice.app.open('#plan');
  // As a server would that puts whom it likes on its list.
  const raw = await w.login(alice.person);
  await raw.request({ type: 'room_invite', room: '#plan', username: 'mallory' }, 'room');
  await raw.close();
  await bob.until('him on the list', () => bob.told('warning').includes('alice has invited mallory into #plan'));
  await alice.say('#plan', 'two');
  await bob.say('#plan', 'three');
  await alice.hears('three');
  await bob.hears('two');
  const { occupants } = await alice.app.rooms.view('#plan');
  t.strictSame(
    occupants.map(({ username, role, canRead }) => [username, role, canRead]),
    [
      ['alice', 'owner', true],
      ['bob', 'member', true],
      ['mallory', 'member', false],
    ],
  );
  await mallory.until('the room', () => mallory.vault.conversation(id) !== null);
  await mallory.write('#plan', 'let me in');
  await mallory.until('a refusal', () =>
    mallory.told('warning').some((each) => each.startsWith('no member of #plan has let')),
  );
  t.notOk(mallory.texts('#plan').includes('two'));
  t.strictSame(await readers(bob, '#plan'), ['alice', 'bob']);
  quiet(t, alice, bob);
});

t.test('five come in at the same moment', async (t) => {
  testFolder(t);
  const w = await world(t);
  const alice = await deviceOf(t, w, 'alice');
  await alice.enter();
  await alice.app.rooms.create('#ops', true);
  const names = ['bob', 'carol', 'dave', 'erin', 'frank'];
  const others: DeviceApp[] = [];
  for (const name of names) others.push(await (await deviceOf(t, w, name)).enter());
  await Promise.all(others.map(({ app }) => app.rooms.join('#ops')));
  for (const each of [alice, ...others]) await each.until('everybody inside', () => each.usersIn('#ops').length === 6);
  await Promise.all([alice, ...others].map((each) => each.say('#ops', `I am ${each.person.name}`)));
  const texts = ['alice', ...names].map((name) => `I am ${name}`);
  for (const each of [alice, ...others]) {
    await each.hears(...texts);
    t.strictSame(each.texts('#ops'), alice.texts('#ops'), 'in one order');
  }
  quiet(t, alice, ...others);
});

t.test('one is away while much is said and many come and go', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol, dave] = await devicesOf(t, w, 'alice', 'bob', 'carol', 'dave');
  await alice.app.rooms.create('#plan', false);
  for (const name of ['bob', 'carol']) t.equal(await alice.app.rooms.invite('#plan', name), true);
  await alice.say('#plan', 'all here');
  await bob.hears('all here');
  await carol.hears('all here');
  await carol.leave();
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 10; i++) await alice.say('#plan', `a${round}.${i}`);
    t.equal(await alice.app.rooms.invite('#plan', 'dave'), true);
    await bob.say('#plan', `b${round}`);
    t.equal(await alice.app.rooms.remove('#plan', 'kick', 'dave'), true);
    if (round === 1) await phone.enter();
    await alice.say('#plan', `end of ${round}`);
    await bob.hears(`end of ${round}`);
  }
  await phone.hears('end of 2');
  await phone.say('#plan', 'from the phone');
  await carol.enter();
  await carol.hears('from the phone');
  await alice.hears('from the phone');
  await bob.hears('from the phone');
  t.strictSame(carol.texts('#plan'), alice.texts('#plan'), 'the same, in the same order');
  t.strictSame(bob.texts('#plan'), alice.texts('#plan'));
  t.notOk(
    dave.texts('#plan').some((text) => text.startsWith('end of')),
    'and dave has nothing of what came after him',
  );
  await carol.say('#plan', 'read it all');
  await phone.hears('read it all');
  quiet(t, alice, bob, carol, dave, phone);
});

/** A modified client of this device makes another group of #plan, with these in it beside itself; and is there no more. */
async function makesAnother(
  w: World,
  maker: DeviceApp,
  id: ConversationId,
  others: readonly DeviceApp[],
): Promise<void> {
  const roster = maker.vault.conversation(id)!;
  const device = maker.vault.keys.device()!;
  const own = {
    user: device.user,
    deviceId: device.device_id,
    bindingHash: sha256(device.binding),
    mlsKey: device.mls_key,
    mlsPrivateKey: device.mls_private_key,
  };
  const { roots } = maker.app.identity;
  const bindings = new Map([maker, ...others].flatMap(({ vault }) => [...vault.keys.bindings()]));
  const engine = await Engine.open(new Authority({ organisation: 'localhost', roots, bindings }));
  const { identity } = maker.app;
  await maker.app.settled(); // it has nothing more to say
  const session = maker.vault.sessions.current(identity.fingerprint);
  await maker.leave(); // its place at the server is the other client's now
  const client = await w.login(maker.person);
  const devices = others.map(({ app }) => app.identity.fingerprint);
  const { packages } =
    devices.length === 0
      ? { packages: [] }
      : await client.request({ type: 'keypackages_take', conversation: id, devices }, 'keypackages_taken');
  const settings = roomSettings({ room: '#plan', isPublic: false, owner: 'alice' });
  const alone = await engine.create(own, groupIdOf(id, 2), settings, Date.now());
  const { origin } = w.server.transcript;
  const batch = await composeCommit(identity, session, roster, origin, Date.now(), async (aad) => {
    const wanted = { add: packages.map((each) => each.package), authenticatedData: aad };
    const { conversation, commit, welcome } = await engine.commit(alone, wanted, Date.now(), policy);
    const group_info = doorBytes(await engine.door(conversation)).bytes;
    return { parts: commitParts(commit, welcome).bytes, group: { generation: 2, epoch: 0 }, group_info };
  });
  const { algorithm, signature, messages } = batch;
  await client.request({ type: 'msg_send', algorithm, signature, batch: batch.batch, messages }, 'msg_ack');
}

t.test('a stranger makes another group of a private room: nobody follows', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, mallory] = await devicesOf(t, w, 'alice', 'bob', 'mallory');
  await alice.app.rooms.create('#plan', false);
  t.equal(await alice.app.rooms.invite('#plan', 'bob'), true);
  await alice.say('#plan', 'one');
  await bob.hears('one');
  const { id } = await alice.app.open('#plan');
  const raw = await w.login(alice.person); // the server's part: its list has him, and takes what he sends
  await raw.request({ type: 'room_invite', room: '#plan', username: 'mallory' }, 'room');
  await raw.close();
  await mallory.until('the room', () => mallory.vault.conversation(id) !== null);

  await makesAnother(w, mallory, id, [alice, bob]);
  const isRefused = (each: string) => each.includes('mallory was not in the room');
  for (const each of [alice, bob]) await each.until('an alarm', () => each.told('alarm').some(isRefused));
  const row = await alice.write('#plan', 'not for him');
  const isStranger = (each: string) => each.includes('mallory, who was not in #plan');
  await alice.until('another alarm', () => alice.told('alarm').some(isStranger));
  t.equal(alice.vault.message(row)?.state, 'waiting', 'she does not go there to write either');
  for (const each of [alice, bob]) t.strictSame(each.usersIn('#plan'), ['alice', 'bob']);
});

t.test(
  'a member makes another group of a private room, with nobody else in it: the others go on in one of theirs',
  async (t) => {
    testFolder(t);
    const w = await world(t);
    const [alice, bob, mallory] = await devicesOf(t, w, 'alice', 'bob', 'mallory');
    await alice.app.rooms.create('#plan', false);
    for (const name of ['bob', 'mallory']) t.equal(await alice.app.rooms.invite('#plan', name), true);
    await alice.say('#plan', 'one');
    for (const each of [bob, mallory]) await each.hears('one');
    const { id } = await alice.app.open('#plan');
    const looked = Promise.all([alice, bob].map((each) => each.heard('group')));
    await makesAnother(w, mallory, id, []);
    await looked;
    await bob.leave(); // and comes back to what he has
    await bob.enter();
    const row = await alice.write('#plan', 'two');
    alice.aheadMs = 31_000;
    await alice.until('a group', () => alice.vault.message(row)?.state !== 'waiting');
    await bob.hears('two');
    await bob.say('#plan', 'three');
    await alice.hears('three');
    for (const each of [alice, bob]) {
      t.equal(each.vault.groups.current(id)?.generation, 3);
      t.strictSame(
        each.usersIn('#plan'),
        ['alice', 'bob', 'mallory'],
        'who was inside before, as long as the server lists them',
      );
    }
  },
);

t.test('who leaves is taken out of the group by those who are there, though nobody writes', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
  await alice.app.rooms.create('#ops', true);
  await Promise.all([bob, carol].map(({ app }) => app.rooms.join('#ops')));
  for (const each of [alice, bob]) await each.until('all three', () => each.usersIn('#ops').length === 3);
  await carol.app.rooms.leave('#ops');
  for (const each of [alice, bob]) await each.until('her out', () => each.usersIn('#ops').join() === 'alice,bob');
  quiet(t, alice, bob, carol);
});

t.test('who joins again, and is killed before he is in the group, is in it when he is back', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.app.rooms.create('#ops', true);
  await bob.app.rooms.join('#ops');
  await alice.say('#ops', 'one');
  await bob.hears('one');
  await bob.app.rooms.leave('#ops');
  await alice.until('him out', () => alice.usersIn('#ops').join() === 'alice');
  await alice.leave(); // nobody is there to let him in
  const shown = Promise.withResolvers<void>();
  bob.hear = (frame) => {
    if (frame.type !== 'group') return [frame];
    shown.resolve(); // the way in, which he does not live to take
    return [];
  };
  bob.app.rooms.join('#ops').catch(() => {});
  await shown.promise;
  await bob.leave();
  bob.hear = (frame) => [frame];
  await bob.enter();
  await alice.enter();
  await bob.until('himself inside', () => bob.usersIn('#ops').includes('bob'));
  await alice.until('him inside', () => alice.usersIn('#ops').includes('bob'));
  await alice.say('#ops', 'welcome back');
  await bob.hears('welcome back');
  quiet(t, alice, bob);
});

t.test('a device whose key packages nobody can use keeps nobody from writing', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, mallory] = await devicesOf(t, w, 'alice', 'bob', 'mallory');
  await alice.app.rooms.create('#plan', false);
  for (const name of ['bob', 'mallory']) t.equal(await alice.app.rooms.invite('#plan', name), true);
  await bob.say('#plan', 'one');
  await alice.hears('one');
  const { id } = await alice.app.open('#plan');
  const { engine, conversation } = await stateOf(bob, id);
  const bobs = conversation.state.ratchetTree[2 * conversation.state.privatePath.leafIndex];
  if (bobs?.nodeType !== 'leaf') throw new Error('no leaf');

  const person = w.certificate('mallory'); // one more device of hers
  const [certificate] = person.own.chain;
  const keys = { ...(await engine.newDeviceKey()), deviceId: Buffer.alloc(16, 1), user: 'mallory' };
  const { notBefore, notAfter } = certificate;
  const statement = { ...keys, organisation: 'localhost', notBefore, notAfter };
  const binding = createBinding(statement, [certificate.der], person.own.privateKey);
  const device = { ...keys, bindingHash: sha256(binding) };
  const packages = [encoded(await forged(device, { leaf: { hpkePublicKey: bobs.leaf.hpkePublicKey } }))];
  const client = await w.login(person);
  await client.request({ type: 'binding_put', binding }, 'ok');
  await client.request({ type: 'keypackages_put', packages, last_resort: false }, 'keypackages');
  await alice.say('#plan', 'two');
  for (const each of [bob, mallory]) await each.hears('two');
  t.match(alice.told('alarm'), [/key_package: a key package of mallory with a key that another device has/]);
  await bob.say('#plan', 'three');
  await alice.hears('three');
});
