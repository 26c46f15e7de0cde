/** What goes wrong with groups without anybody's lie, or with one that only halves of a conversation hear: each client finds its way back. */
import { join } from 'node:path';
import t from 'tap';
import { equal } from '../../base/bytes.ts';
import { bindingName } from '../../client/e2ee/binding.ts';
import { parseMessage } from '../../client/e2ee/guard.ts';
import { decodeBinding } from '../../protocol/device-binding.ts';
import type { Request } from '../../protocol/messages.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { drop, ScriptedServer, type Delivery } from './scripted-server.ts';
import { accepted, equip, isAlarm, logIn, open, PATIENCE_MS, quiet, say, told, type Side } from './side.ts';

t.setTimeout(180_000); // a busy machine is no failure

type Sent = Request<'msg_send'>;
const kindOf = ({ messages }: Sent): number => decodeMs(messages.at(-1)!.statement).kind;
const commits = (server: ScriptedServer): Sent[] =>
  server.frames('msg_send').filter((frame) => kindOf(frame) === KIND.membership);
const isFromOutside = ({ messages }: Sent): boolean =>
  parseMessage(messages.at(-1)!.parts[0]!).wireformat === 'mls_public_message';
const alarms = (side: Side): string[] =>
  side.events.flatMap((e) => (e.on === 'alarm' ? [`${e.error.code}/${e.error.sub ?? e.error.field}`] : []));
async function logged(server: ScriptedServer, sent: Promise<Sent>): Promise<Delivery> {
  const frame = await sent;
  return server.delivery(frame, server.append(frame));
}

// Fails when catching up is left to the next connection.
t.test(
  'a message that came too late for its state: what waits is asked for, and it goes again by itself',
  async (t) => {
    const side = await logIn(t);
    const { server } = side;
    let commit: Delivery | null = null;
    server.script = (frame, link) => {
      if (frame.type === 'msg_send' && commit === null) {
        void logged(server, server.composeCommit()).then((delivery) => {
          commit = delivery;
          link.send({ type: 'error', id: frame.id, code: 'STALE', sub: 'epoch' });
        });
        return true;
      }
      if (frame.type === 'sync' && commit !== null) link.send(commit);
      return false;
    };
    const before = server.frames('sync').length;
    await accepted(side, say(side, 'in the new state'));
    t.equal(server.frames('sync').length, before + 1);
    const [first, second, ...more] = server.frames('msg_send');
    t.equal(more.length, 0);
    t.strictSame(
      [first!.messages.at(-1)!.group, second!.messages.at(-1)!.group],
      [
        { generation: 1, epoch: 1 },
        { generation: 1, epoch: 2 },
      ],
    );
    t.notOk(equal(first!.messages.at(-1)!.parts[0]!, second!.messages.at(-1)!.parts[0]!), 'sealed anew');
    t.match((await (await server.peer).open(second!.messages.at(-1)!)).toString(), /in the new state/);
    t.strictSame(alarms(side), []);
  },
);

// Fails when the number of attempts is not counted: it never ends.
t.test('a state that the server calls over, and nothing new comes: in anew, from outside', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send' || kindOf(frame) === KIND.membership || commits(server).length > 0) return false;
    link.send({ type: 'error', id: frame.id, code: 'STALE', sub: 'epoch' });
    return true;
  };
  await accepted(side, say(side, 'at last'));
  t.strictSame(commits(server).map(isFromOutside), [true, false], 'and then with fresh keys');
  t.ok(server.frames('sync').length >= 3);
});

// Fails when only the times before the first new entrance are counted: commit follows commit as fast as the line carries them.
t.test('a server that calls every state over is asked less and less often', async (t) => {
  const server = new ScriptedServer();
  const folder = join(t.testdir({}), 'p');
  await equip(server, folder);
  const start = Date.now();
  let aheadMs = 0;
  const side = open(t, server, folder, () => start + aheadMs);
  await side.app.connect();
  await side.app.login(null);
  await side.app.open('bob');
  let refused = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    refused++;
    link.send({ type: 'error', id: frame.id, code: 'STALE', sub: 'epoch' });
    return true;
  };
  const times: number[] = [];
  for (const [i, text] of ['never', 'ever', 'again', 'at all'].entries()) {
    say(side, text);
    while (refused < 4 + i) await quiet(side);
    for (let rest = 0; rest < 10; rest++) await quiet(side);
    times.push(refused);
    aheadMs += 1001 * 2 ** i;
  }
  t.strictSame(times, [4, 5, 6, 7]);
  server.script = () => false;
  aheadMs += 30_000;
  await accepted(side, say(side, 'and then it is taken'));
});

// Fails without LOST_MS: at once, or never.
t.test('the contents of the newest commit are lost: after half a minute there is another group', async (t) => {
  const server = new ScriptedServer();
  server.group = { generation: 1, epoch: 1 };
  const peer = await server.peer;
  server.packages = [{ device: server.get('bob').fingerprint, package: (await peer.keyPackage(peer.bob)).published }];
  let aheadMs = 0;
  const side = open(t, server, join(t.testdir({}), 'p'), () => Date.now() + aheadMs);
  await side.app.connect();
  await side.app.login(null);
  await side.app.open('bob');
  for (const { binding } of server.frames('binding_put')) peer.bindings.set(bindingName(binding), binding);
  const row = say(side, 'waits for the group');
  while (server.frames('group_get').length === 0) await quiet(side);
  aheadMs = 15_000; // and what this takes is less than the rest of half a minute
  say(side, 'and this behind it');
  await quiet(side);
  t.strictSame(commits(server), [], 'the sender of that commit may still repeat it');
  t.equal(side.app.vault.message(row)?.state, 'waiting');
  aheadMs = -3_600_000; // the clock is set back: counted from then
  say(side, 'and this');
  await quiet(side);
  t.strictSame(commits(server), []);
  aheadMs += 31_000;
  say(side, 'and this');
  await side.app.waitFor(row, 'accepted', 60_000);
  const [made, ...more] = commits(server);
  t.equal(more.length, 0);
  t.strictSame(made!.messages.at(-1)!.group, { generation: 2, epoch: 0 });
  t.strictSame(alarms(side), []);
});

// Fails when a pause that has ended before it is slept over is forgotten.
t.test('a pause that is over before anybody sleeps: tried again all the same', async (t) => {
  const server = new ScriptedServer();
  const peer = await server.peer;
  server.group = { generation: 0, epoch: 0 };
  server.packages = [{ device: server.get('bob').fingerprint, package: (await peer.keyPackage(peer.bob)).published }];
  let [stepMs, aheadMs, refusals] = [0, 0, 0];
  const now = (): number => Date.now() + (aheadMs += stepMs); // as if each look at the clock came after other work
  const side = open(t, server, join(t.testdir({}), 'p'), now);
  server.script = (frame, link) => {
    if (frame.type !== 'keypackages_take' || refusals++ > 0) return false;
    link.send({ type: 'error', id: frame.id, code: 'RATE_LIMIT' });
    stepMs = 1500;
    return true;
  };
  await side.app.connect();
  await side.app.login(null);
  await side.app.open('bob');
  const row = say(side, 'after the pause');
  while (refusals < 2) await quiet(side);
  stepMs = 0;
  await side.app.waitFor(row, 'accepted', 60_000);
  t.equal(refusals, 2);
});

// Fails when only the number of key packages at the server is looked at: a stock that is over is never filled.
t.test('key packages that are over, or nearly, are replaced, and so are those of a clock that was ahead', async (t) => {
  const server = new ScriptedServer();
  const DAY_MS = 86_400_000;
  let [count, days] = [0, 0];
  server.script = (frame, link) => {
    if (frame.type === 'resume') {
      link.send({ ...server.loginOk(frame.id, 'alice'), server_time: Date.now() + days * DAY_MS });
      return true;
    }
    if (frame.type !== 'keypackages_put') return false;
    if (frame.fresh === true) count = 0;
    if (!frame.last_resort) count += frame.packages.length;
    link.send({ type: 'keypackages', id: frame.id, count });
    return true;
  };
  const folder = join(t.testdir({}), 'p');
  const published = async (after: number): Promise<(readonly [boolean, number])[]> => {
    days = after;
    const before = server.frames('keypackages_put').length;
    const side = open(t, server, folder);
    await side.app.connect();
    await side.app.login(null);
    await side.app.settled();
    await side.app.close();
    return server
      .frames('keypackages_put')
      .slice(before)
      .map(({ fresh, packages }) => [fresh === true, packages.length] as const);
  };
  const nothing = [[false, 0]];
  const all = [
    [true, 0],
    [false, 1],
    [false, 50],
  ];
  t.strictSame(await published(0), all);
  t.strictSame(await published(22), nothing);
  t.strictSame(await published(24), all, 'a week before they are over');
  t.strictSame(await published(25), nothing);
  t.strictSame(await published(60), all, 'who was away for so long');
  t.strictSame(await published(85), all);
  t.strictSame(await published(2), all, 'the clock of the server is right again');
  t.strictSame(await published(2), nothing);
});

// Fails when a binding is kept for the life of its certificate, whenever it begins.
t.test('a device that was bound by a clock that was ahead is bound anew, and once', async (t) => {
  const server = new ScriptedServer();
  let aheadMs = 400 * 86_400_000;
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    link.send({ ...server.loginOk(frame.id, 'alice'), server_time: Date.now() + aheadMs });
    return true;
  };
  const folder = join(t.testdir({}), 'p');
  const bound = async () => {
    const side = open(t, server, folder);
    await side.app.connect();
    await side.app.login(null);
    await side.app.settled();
    await side.app.close();
    return decodeBinding(server.frames('binding_put').at(-1)!.binding).statement;
  };
  const { notBefore: begin, notAfter } = server.get('alice').certificate;
  const first = await bound();
  t.equal(first.notBefore, notAfter);
  aheadMs = 0;
  const second = await bound();
  t.equal(second.notBefore, begin);
  t.strictSame([second.deviceId, second.mlsKey], [first.deviceId, first.mlsKey], 'the same device');
  t.ok(
    server.frames('keypackages_put').some(({ fresh }) => fresh),
    'with other key packages',
  );
  aheadMs = -400 * 86_400_000;
  const names = new Set<string>();
  for (let i = 0; i < 2; i++) {
    await bound();
    names.add(bindingName(server.frames('binding_put').at(-1)!.binding));
  }
  t.equal(names.size, 1, 'a clock that is behind is no reason');
});

// Fails when joined() is not told to the one who publishes.
t.test('a key package was used up: the stock is asked for, and filled', async (t) => {
  const server = new ScriptedServer();
  let count = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'keypackages_put') return false;
    if (!frame.last_resort) count += frame.packages.length;
    link.send({ type: 'keypackages', id: frame.id, count });
    return true;
  };
  const side = open(t, server, join(t.testdir({}), 'p'));
  await side.app.connect();
  await side.app.login(null);
  await side.app.open('bob');
  await side.app.settled();
  const [lastResort, ordinary] = server.frames('keypackages_put').filter((f) => f.packages.length > 0);
  t.strictSame([lastResort!.last_resort, ordinary!.packages.length], [true, 50]);
  const peer = await server.peer;
  for (const { binding } of server.frames('binding_put')) peer.bindings.set(bindingName(binding), binding);
  await peer.begin();
  count = 19; // others have taken theirs
  const asked = server.frames('keypackages_put').length;
  server.latest.send(await logged(server, server.composeCommit([ordinary!.packages[0]!])));
  while (count < 50) await quiet(side);
  t.strictSame(
    server
      .frames('keypackages_put')
      .slice(asked)
      .map(({ packages }) => packages.length),
    [0, 31],
  );
  t.equal(commits(server).length, 0, 'it was let in by a key that nobody gets again');
  server.latest.send(await logged(server, server.compose('bob', ['welcome'])));
  while (side.shown().length === 0) await quiet(side);
});

// Fails when the way back is looked for once on each connection.
t.test('two gaps on one connection: in anew after each, though nothing is written', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  for (const round of [1, 2]) {
    await logged(server, server.composeCommit()); // and never delivered
    server.latest.send(await logged(server, server.compose('bob', ['behind the gap'])));
    while (commits(server).length < 2 * round) await quiet(side);
    server.latest.send(await logged(server, server.compose('bob', [`round ${round}`])));
    while (!side.shown().includes(`round ${round}`)) await quiet(side);
  }
  t.strictSame(commits(server).map(isFromOutside), [true, false, true, false], 'and with fresh keys each time');
  t.strictSame(alarms(side), ['DECRYPT_FAIL/gap', 'DECRYPT_FAIL/gap']);
  t.equal(server.links.length, 1);
});

// Fails when a group is not wanted any more as soon as it is clear how it is entered.
t.test('a way in that fails, and nothing waits to be sent: it is tried again after a pause', async (t) => {
  const side = await logIn(t);
  const { server } = side;
  await logged(server, server.composeCommit()); // and never delivered
  const peer = await server.peer;
  const spoilt = await peer.door();
  spoilt[spoilt.length - 1]! ^= 1;
  server.group = { generation: peer.generation, epoch: peer.epoch, group_info: spoilt };
  server.latest.send(await logged(server, server.compose('bob', ['behind the gap'])));
  while (alarms(side).length < 2) await quiet(side);
  t.strictSame(commits(server), []);
  server.group = null;
  while (commits(server).length < 2) await quiet(side);
  t.strictSame(commits(server).map(isFromOutside), [true, false]);
  server.latest.send(await logged(server, server.compose('bob', ['welcome back'])));
  while (!side.shown().includes('welcome back')) await quiet(side);
  t.match(alarms(side), ['DECRYPT_FAIL/gap', /^(DECRYPT|SIG)_FAIL/]);
});

// Fails when a commit of an epoch that is over is passed over in silence.
t.test('two commits in one epoch, one of them our own: named, and nothing of the other half is read', async (t) => {
  const side = await logIn(t, new ScriptedServer(), join(t.testdir({}), 'p'));
  const { server } = side;
  const rival = await server.composeCommit([], true); // Bob goes on with his; the server tells each that it was the only one
  side.app.vault.freshness.renewed(side.id, Date.now());
  side.app.vault.freshness.hurry(side.id);
  await accepted(side, say(side, 'in the state that our own commit made'));
  t.equal(commits(server).length, 1);
  await t.rejects(
    (await server.peer).door(),
    { code: 'DECRYPT_FAIL', sub: 'epoch' },
    'Bob refuses ours by the same name',
  );
  server.latest.send(await logged(server, Promise.resolve(rival)));
  await side.until(isAlarm);
  server.latest.send(await logged(server, server.compose('bob', ['to the other half'])));
  while (alarms(side).length < 2) await quiet(side);
  t.strictSame(alarms(side), ['DECRYPT_FAIL/epoch', 'DECRYPT_FAIL/crypto']);
  t.strictSame(side.shown(), []);
  await quiet(side);
  t.strictSame(told(side), []);
  await t.rejects(
    (await server.peer).open(server.frames('msg_send').at(-1)!.messages.at(-1)!),
    { code: 'DECRYPT_FAIL' },
    'nor does he read us',
  );
});

for (const oneIn of [3, 5, 8])
  t.test(
    `one in ${oneIn} deliveries is lost: nothing twice, nothing out of order, and the way back is found`,
    async (t) => {
      const side = await logIn(t);
      const { server } = side;
      const sent: string[] = [];
      for (let i = 1; i <= 40; i++) {
        const isChange = i % 6 === 0;
        const text = `message ${i}`;
        const delivery = await logged(server, isChange ? server.composeCommit() : server.compose('bob', [text]));
        if (i % oneIn === 0) continue;
        if (!isChange) sent.push(text);
        server.latest.send(delivery);
        if (i === 20) drop(server.latest);
        await quiet(side);
        while (!side.app.status().isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await accepted(side, say(side, 'am I in it?'));
      const sealed = server.frames('msg_send').at(-1)!.messages.at(-1)!;
      t.match((await (await server.peer).open(sealed)).toString(), /am I in it\?/);
      server.latest.send(await logged(server, server.compose('bob', ['yes'])));
      while (!side.shown().includes('yes')) await quiet(side);
      const shown = side.shown().filter((text) => text !== '' && text !== 'yes');
      t.strictSame(
        shown,
        sent.filter((text) => shown.includes(text)),
        'a part of it, in its order',
      );
      t.equal(new Set(shown).size, shown.length);
      t.ok(
        alarms(side).every((each) => each === 'DECRYPT_FAIL/gap' || each === 'DECRYPT_FAIL/crypto'),
        alarms(side).join(),
      );
    },
  );

// Fails when whatever was written in the next state is taken for evidence that our own commit has made it.
t.test(
  'others were faster than who comes in from outside, and what they wrote is here before the refusal',
  async (t) => {
    const server = new ScriptedServer();
    let held: Sent | null = null;
    server.script = (frame) => {
      if (frame.type !== 'msg_send' || held !== null) return false;
      held = frame; // and it comes too late
      return true;
    };
    const peer = await server.peer;
    const side = await logIn(t, server, join(t.testdir({}), 'p'), false);
    for (const { binding } of server.frames('binding_put')) peer.bindings.set(bindingName(binding), binding);
    const row = say(side, 'at last');
    while (held === null) await quiet(side);
    t.ok(isFromOutside(held));
    const rival = await server.composeCommit(); // from before she was a member: it is not for her
    server.append(rival);
    await server.say(server.latest, 'bob', ['in the state that it has made']);
    await quiet(side);
    server.latest.send({ type: 'error', id: (held as Sent).id, code: 'STALE', sub: 'epoch' });
    await side.app.waitFor(row, 'accepted', PATIENCE_MS);
    t.strictSame(alarms(side), []);
    t.strictSame(
      side.app.history(side.id, 10).map(({ sender, reason }) => [sender, reason]),
      [
        ['bob', 'UNREADABLE'],
        ['alice', null],
      ],
    );
    await server.say(server.latest, 'bob', ['and this she reads']);
    while (!side.shown().includes('and this she reads')) await quiet(side);
  },
);
