/** How somebody gets into the group of a public room: real clients and a real server. Who is in there lets him in; if nobody does, he enters. */
import t, { type Test } from 'tap';
import type { Reply } from '../../protocol/messages.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { anotherOf, deviceOf, devicesOf, type DeviceApp } from '../support/apps.ts';
import { world, type World } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

const ROOM = '#ops';
/** Longer than any test takes: who has to enter by himself does not. */
const NEVER_MS = 200_000;

/** Of the group, as this device has heard of them, and whether they let somebody in by a Welcome. */
const commitsTo = ({ delivered }: DeviceApp) =>
  delivered.filter(({ statement }) => decodeMs(statement).kind === KIND.membership);
const commitsBy = (witness: DeviceApp, author: DeviceApp): number =>
  commitsTo(witness).filter(({ statement }) =>
    Buffer.from(decodeMs(statement).sender).equals(author.app.identity.fingerprint),
  ).length;
const commitCount = ({ vault }: DeviceApp): number => vault.groups.commits(vault.conversationWith(ROOM)!.id).length;
const isIn = (device: DeviceApp, ...users: readonly string[]): boolean =>
  device.vault.conversationWith(ROOM) !== null && users.every((user) => device.usersIn(ROOM).includes(user));
const isAsked = (frame: Reply): frame is Reply<'room_changed'> =>
  frame.type === 'room_changed' && frame.turn !== undefined;
const quiet = (t: Test, ...devices: readonly DeviceApp[]): void => {
  for (const each of devices) t.strictSame(each.told('alarm'), [], each.person.name);
};
async function waiting(t: Test, w: World, name: string, joinWaitMs: number): Promise<DeviceApp> {
  const device = await deviceOf(t, w, name);
  device.joinWaitMs = joinWaitMs;
  return device.enter();
}

// Fails when nobody acts, and when he does not wait for it.
t.test('a member who is there lets him in', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.app.rooms.create(ROOM, true);
  await bob.app.rooms.join(ROOM);
  const carol = await waiting(t, w, 'carol', NEVER_MS);
  await carol.app.rooms.join(ROOM);
  await carol.until('the way in', () => isIn(carol, 'alice', 'bob', 'carol'));
  await alice.until('her inside', () => isIn(alice, 'carol'));
  await alice.say(ROOM, 'welcome');
  await carol.hears('welcome');
  await carol.say(ROOM, 'thanks');
  for (const each of [alice, bob]) await each.hears('thanks');
  t.equal(commitsBy(alice, carol) + commitsBy(bob, carol), 0, 'she has made no commit');
  t.equal(commitsTo(carol).length, 1, 'one brought her in');
  quiet(t, alice, bob, carol);
});

t.test('many who come in a moment are let in by few commits', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.app.rooms.create(ROOM, true);
  await bob.app.rooms.join(ROOM);
  await bob.until('both', () => isIn(bob, 'alice', 'bob'));
  const guests: DeviceApp[] = [];
  for (let i = 0; i < 10; i++) guests.push(await waiting(t, w, `guest${i}`, NEVER_MS));
  const before = commitCount(alice);
  // However long it takes until the last of them has asked: it is one moment to her, and nobody finds her late.
  const held: Reply[] = [];
  let asked = 0;
  alice.hear = (frame) => {
    if (!isAsked(frame) || ++asked === 1) return [frame];
    held.push(frame);
    return asked < guests.length ? [] : held.splice(0);
  };
  for (const each of [bob, ...guests])
    each.hear = (frame) => {
      if (!isAsked(frame)) return [frame];
      const { turn: _, ...rest } = frame;
      return [rest];
    };
  await Promise.all(guests.map(({ app }) => app.rooms.join(ROOM)));
  const names = guests.map(({ person }) => person.name);
  for (const each of [alice, bob, ...guests]) await each.until('all inside', () => isIn(each, ...names));
  const made = commitCount(alice) - before;
  t.ok(made <= 5, `${made} commits for ${guests.length}`);
  for (const each of guests) t.equal(commitsBy(alice, each), 0);
  const partsTo = (device: DeviceApp) => commitsTo(device).map(({ parts, cut }) => [parts.length, cut?.at[0]]);
  t.strictSame(
    partsTo(bob).slice(-made),
    Array.from({ length: made }, () => [1, 0]),
    'what others need is not for him',
  );
  for (const each of guests)
    t.ok(
      partsTo(each).every(([length]) => length === 4 || length === 1),
      'nor for them',
    );
  await Promise.all(guests.map((each) => each.say(ROOM, `I am ${each.person.name}`)));
  for (const each of [alice, ...guests]) {
    await each.hears(...names.map((name) => `I am ${name}`));
    t.strictSame(each.texts(ROOM), alice.texts(ROOM), 'in one order, and each once');
  }
  quiet(t, alice, bob, ...guests);
});

t.test('nobody is there: he enters at once', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice] = await devicesOf(t, w, 'alice');
  await alice.app.rooms.create(ROOM, true);
  await alice.leave();
  const bob = await waiting(t, w, 'bob', NEVER_MS);
  await bob.app.rooms.join(ROOM);
  t.ok(isIn(bob, 'alice', 'bob'));
  await bob.say(ROOM, 'anybody?');
  await alice.enter();
  await alice.hears('anybody?');
  quiet(t, alice, bob);
});

// Fails when only the first is asked, and when the second does not act.
t.test('the first who is asked does nothing: the next one lets him in', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.app.rooms.create(ROOM, true);
  await bob.app.rooms.join(ROOM);
  await alice.until('both', () => isIn(alice, 'bob'));
  let deaf: DeviceApp | null = null;
  for (const each of [alice, bob])
    each.hear = (frame) => {
      if (frame.type !== 'room_changed' || frame.turn !== 0) return [frame];
      deaf = each;
      return [];
    };
  const carol = await waiting(t, w, 'carol', NEVER_MS);
  await carol.app.rooms.join(ROOM);
  await carol.until('the way in', () => isIn(carol, 'alice', 'bob', 'carol'));
  const awake = deaf === alice ? bob : alice;
  await deaf!.until('her inside', () => isIn(deaf!, 'carol'));
  t.equal(commitsBy(carol, awake), 1, 'whose turn was next');
  t.equal(commitsBy(awake, deaf!) + commitsBy(awake, carol), deaf === alice ? 1 : 0, 'and nobody else, after bob');
  quiet(t, alice, bob, carol);
});

t.test('nobody who is asked does anything: he enters after a while', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice] = await devicesOf(t, w, 'alice');
  await alice.app.rooms.create(ROOM, true);
  let turns = 0;
  alice.hear = (frame) => {
    if (frame.type === 'room_changed' && frame.turn !== undefined) turns++;
    return frame.type === 'room_changed' ? [] : [frame];
  };
  const bob = await deviceOf(t, w, 'bob');
  await bob.enter();
  const from = Date.now();
  await bob.app.rooms.join(ROOM);
  t.ok(Date.now() - from >= 2900, 'he has waited');
  t.equal(turns, 1, 'she was asked');
  t.ok(isIn(bob, 'alice', 'bob'));
  await alice.until('him inside', () => isIn(alice, 'bob'));
  await alice.until('what he does next', () => commitsBy(alice, bob) > 1);
  t.equal(commitsBy(alice, bob), 2, 'the way in, and keys that nobody outside has seen');
  await bob.say(ROOM, 'here');
  await alice.hears('here');
  quiet(t, alice, bob);
});

t.test('a server that speaks of members who are asked, and there are none', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice] = await devicesOf(t, w, 'alice');
  await alice.app.rooms.create(ROOM, true);
  await alice.leave();
  const bob = await waiting(t, w, 'bob', 1000);
  bob.hear = (frame) => [frame.type === 'room' ? { ...frame, asked: true } : frame];
  await bob.app.rooms.join(ROOM);
  t.ok(isIn(bob, 'alice', 'bob'));
  quiet(t, bob);
});

// Fails when one of the two is believed though the other one was first.
t.test('he enters in the moment in which he is let in', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice] = await devicesOf(t, w, 'alice');
  await alice.app.rooms.create(ROOM, true);
  const guests: DeviceApp[] = [];
  for (let i = 0; i < 6; i++) guests.push(await waiting(t, w, `guest${i}`, i * 8));
  for (const each of guests) {
    await Promise.all([each.app.rooms.join(ROOM), alice.write(ROOM, `for ${each.person.name}`)]);
    await each.until('the way in', () => isIn(each, each.person.name));
    await each.say(ROOM, `${each.person.name} is here`);
    await alice.hears(`${each.person.name} is here`);
  }
  await alice.say(ROOM, 'all of you');
  for (const each of guests) {
    await each.hears('all of you');
    const since = each.texts(ROOM).filter((text) => text !== 'UNREADABLE');
    t.strictSame(since, alice.texts(ROOM).slice(-since.length), 'nothing lost behind the first word, nothing twice');
  }
  quiet(t, alice, ...guests);
});

t.test('who is the second device of a newcomer waits with the first', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  await alice.app.rooms.create(ROOM, true);
  const { person } = bob;
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  phone.joinWaitMs = NEVER_MS;
  await phone.enter();
  await bob.leave();
  bob.joinWaitMs = NEVER_MS;
  await bob.enter();
  await bob.app.rooms.join(ROOM);
  for (const each of [bob, phone]) await each.until('the way in', () => isIn(each, 'alice', person.name));
  await alice.say(ROOM, 'both of you');
  for (const each of [bob, phone]) await each.hears('both of you');
  t.equal(commitCount(alice), 2, 'her own, and one for both');
  quiet(t, alice, bob, phone);
});
