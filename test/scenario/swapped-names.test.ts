/** A server that exchanges two people: whoever it says somebody is, a name comes from a certificate, and nothing is signed for another. */
import t from 'tap';
import type { Fingerprint } from '../../base/bytes.ts';
import type { Reply } from '../../protocol/messages.ts';
import { deviceOf, devicesOf, type DeviceApp } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

type Roster = Reply<'conversation'>;
const rosters =
  (change: (roster: Roster) => Roster) =>
  (frame: Reply): readonly Reply[] => [frame.type === 'conversation' ? change(frame) : frame];
/** The one's devices under the other's name. */
const exchanged = (one: DeviceApp, other: DeviceApp) => {
  const [a, b] = [one, other].map(({ person, app }) => ({ name: person.name, device: app.identity.fingerprint }));
  const of = (username: string): Fingerprint | null =>
    username === a!.name ? b!.device : username === b!.name ? a!.device : null;
  return rosters((roster) => ({
    ...roster,
    members: roster.members.map((each) => ({
      ...each,
      devices: of(each.username) ? [of(each.username)!] : each.devices,
    })),
  }));
};

t.test('two people change places', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
  const honest = alice.hear;
  const swapped = exchanged(bob, carol);
  const untrusted = { code: 'BAD_CERT', sub: 'untrusted' };
  const misnamed = { code: 'BAD_CERT', sub: 'bad_name', message: /a device of CN=carol as one of bob/ };

  await t.test('in a conversation that begins', async (t) => {
    alice.hear = swapped;
    await t.rejects(alice.app.open('bob'), misnamed);
    await t.rejects(alice.app.comparisons.show('bob'), misnamed, 'nor is there a number to compare');
    t.strictSame(alice.vault.conversations(), []);
  });
  alice.hear = honest;
  const withCarol = await alice.app.open('carol');
  const theirs = rosters((roster) => ({ ...roster, conversation: withCarol.id, members: withCarol.members as never }));

  await t.test('one is asked for, and the other is given', async (t) => {
    alice.hear = theirs;
    await t.rejects(alice.app.open('bob'), { ...untrusted, message: /answered with carol, who is not bob/ });
    await t.rejects(alice.app.open('bob@example.org'), { ...untrusted, message: /carol, who is not bob@example\.org/ });
  });
  alice.hear = honest;
  await alice.say('bob', 'for bob');
  await bob.hears('for bob');

  await t.test('in a conversation that is known, when it is asked for again', async (t) => {
    const { id } = await alice.app.open('bob');
    alice.hear = rosters((roster) => ({
      ...roster,
      members: roster.members.map((each) => (each.username === 'bob' ? { ...each, username: 'carol' } : each)),
    }));
    await t.rejects(alice.app.open('bob'), { ...untrusted, message: /carol/ });
    alice.hear = swapped;
    await t.rejects(alice.app.open('bob'), misnamed);
    t.strictSame(
      alice.vault.conversation(id)!.members.map(({ username }) => username),
      ['alice', 'bob'],
    );
    alice.hear = honest;
    await alice.say('bob', 'still for bob');
    await bob.hears('still for bob');
  });

  await t.test('in a room', async (t) => {
    await alice.app.rooms.create('#plan', false);
    for (const name of ['bob', 'carol']) await alice.app.rooms.invite('#plan', name);
    for (const each of [bob, carol]) await each.until('the room', () => each.usersIn('#plan').length === 3);
    await alice.leave();
    alice.hear = swapped;
    const dave = await (await deviceOf(t, w, 'dave')).enter();
    await alice.enter();
    const before = alice.vault.conversationWith('#plan')!;
    await t.rejects(alice.app.rooms.invite('#plan', 'dave'), misnamed);
    t.strictSame(alice.vault.conversationWith('#plan')!.members, before.members, 'what was known stays');
    t.notOk(alice.usersIn('#plan').includes('dave'), 'and nobody is let in by it');
    t.notOk(dave.texts().length);
    alice.hear = honest;
  });

  await t.test('a certificate in the place of another', async (t) => {
    const erin = await (await deviceOf(t, w, 'erin')).enter();
    const chain = [carol.person.own.chain[0].der];
    erin.hear = (frame) => [frame.type === 'certificate' ? { ...frame, chain } : frame];
    await t.rejects(erin.app.open('bob'), { code: 'SIG_FAIL', sub: 'fingerprint' });
    t.strictSame(erin.vault.conversations(), []);
  });

  t.notOk(carol.texts().includes('for bob') || carol.texts().includes('still for bob'), 'carol has read nothing of it');
});
