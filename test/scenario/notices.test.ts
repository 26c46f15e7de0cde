/** What a person must hear about keys: once, in words, by whichever program can say it first. */
import t from 'tap';
import { anotherOf, deviceOf, devicesOf } from '../support/apps.ts';
import { testFolder } from '../support/folder.ts';
import { shell } from '../support/shell.ts';
import { world } from '../support/world.ts';

t.setTimeout(180_000); // a busy machine is no failure

t.test('a device that goes out of several groups is told of once', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob] = await devicesOf(t, w, 'alice', 'bob');
  const phone = anotherOf(t, w, bob, 'bobs-phone');
  await phone.enter();
  for (const room of ['#one', '#two']) {
    await alice.app.rooms.create(room, true);
    for (const each of [bob, phone]) await each.app.rooms.join(room);
  }
  for (const peer of ['bob', '#one', '#two']) {
    await alice.say(peer, `to all in ${peer}`);
    for (const each of [bob, phone]) await each.hears(`to all in ${peer}`);
  }
  await bob.app.ownDevices.revoke(phone.app.identity.fingerprint);
  for (const peer of ['bob', '#one', '#two']) {
    await alice.say(peer, `without it in ${peer}`);
    await bob.hears(`without it in ${peer}`);
  }
  for (const [each, whose] of [
    [alice, 'of bob'],
    [bob, 'of yours'],
  ] as const)
    t.equal(each.told('warning').filter((text) => text.startsWith(`a device ${whose} is out: `)).length, 1, whose);
});

t.test('another device in one’s own name is told of, also where it was there before any conversation', async (t) => {
  testFolder(t);
  const w = await world(t);
  const alice = await deviceOf(t, w, 'alice');
  const bob = await deviceOf(t, w, 'bob');
  const ghost = anotherOf(t, w, bob, 'ghost');
  await bob.enter();
  await ghost.enter();
  await alice.enter();
  await alice.say('bob', 'who reads this?');
  for (const each of [bob, ghost]) await each.hears('who reads this?');
  for (const each of [bob, ghost]) {
    const told = each.told('warning');
    t.equal(told.length, 1);
    t.match(told[0], /^you use another device \(certificate [0-9a-f]{16}…\)$/);
  }
  t.strictSame(alice.told('warning'), [], 'she meets him for the first time, with all that he has');
});

t.test('a command that is to be quiet leaves it to the next one; for programs it is an object', async (t) => {
  testFolder(t);
  const w = await world(t);
  const alice = await shell(t, w, 'alice');
  const bob = await deviceOf(t, w, 'bob');
  await bob.enter();
  t.match(await alice('send', 'bob', 'one'), { status: 0, err: '' });
  const words = /^chat: bob uses a new device \(certificate [0-9a-f]{16}…\)\n$/;

  await anotherOf(t, w, bob, 'bobs-phone').enter();
  t.match(await alice('send', 'bob', 'two', '--quiet'), { status: 0, out: '', err: '' });
  t.match(await alice('contact', 'list', '--quiet'), { status: 0, err: '' });
  t.match(await alice('history', 'bob'), { status: 0, err: words }, 'also by one that asks nobody');
  t.match(await alice('send', 'bob', 'three'), { status: 0, err: '' }, 'and then no more');

  await anotherOf(t, w, bob, 'bobs-tablet').enter();
  const { status, out, err } = await alice('send', 'bob', 'four', '--json');
  t.match({ status, err }, { status: 0, err: '' });
  const objects = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.match(
    objects.find(({ type }) => type === 'notice'),
    { v: 1, at: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/, text: /^bob uses a new device/ },
  );
  t.ok(objects.some(({ type }) => type === 'sent'));
  t.match(await alice('history', 'bob', '--json'), { status: 0, out: /^(?!.*"type":"notice")/s });
});
