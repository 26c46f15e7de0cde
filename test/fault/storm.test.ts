/**
 * Everything at once, in an order that a seed gives: the server is killed, stands still, reads its files again; lines are cut, also in the midst of
 * a record or on one side alone, or carry nothing in one direction; a client is killed; the group changes. What somebody saw accepted is with all
 * members, once, in the order of the log; nothing else is; all have the same group, and whoever wrote knows that it has arrived.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { fromUtf8, hex } from '../../base/bytes.ts';
import { restore } from '../../client/e2ee/delta.ts';
import { epochAuthenticator } from '../../client/e2ee/group.ts';
import { auditTranscript, bodyOf, drain, Person, Talk } from '../support/load.ts';
import { Relay } from '../support/relay.ts';
import { PATIENCE_MS, random, System } from '../support/system.ts';

const ROOM = '#storm';
const talker = fileURLToPath(new URL('./talker.ts', import.meta.url));

t.setTimeout(450_000);

t.test('server, lines and clients fail in turn', async (t) => {
  const chance = random(t, 20261121);
  const pick = <T>(of: readonly T[]): T => of[Math.floor(chance() * of.length)]!;
  const system = await System.create(t);
  await system.start();
  const lines = { alice: await Relay.to(t, system.port), bob: await Relay.to(t, system.port) };
  const third = await Relay.to(t, system.port);
  const alice = await Person.open(t, system, 'alice', lines.alice.port);
  const bob = await Person.open(t, system, 'bob', lines.bob.port);
  const before = await Person.open(t, system, 'carol');
  await alice.app.rooms.create(ROOM, false);
  for (const name of ['bob', 'carol']) t.ok(await alice.app.rooms.invite(ROOM, name), `${name} is let in`);
  while ((await before.app.rooms.view(ROOM)).occupants.filter(({ canRead }) => canRead).length < 3) await sleep(50);
  await before.app.close();

  const talks = [
    await Talk.between(alice, bob, 2),
    await Talk.between(bob, alice, 2),
    await Talk.between(bob, alice, 2, ROOM),
    await Talk.between(alice, bob, 2, ROOM), // the last one: who founded the room has all commits
  ];
  const { id } = talks[2]!.conversation;
  for (const talk of talks) talk.begin();

  // Carol is a process of her own, and each of hers goes on where the one before was killed.
  const outputs: string[] = [];
  const start = () =>
    system.script('carol', talker, { env: { CHAT_PEER: ROOM, CHAT_SERVER: `127.0.0.1:${third.port}` } });
  let carol = start();
  /** One that could not log in has ended by itself. */
  const again = async (): Promise<void> => {
    await carol.kill();
    outputs.push(carol.out);
    carol = start();
  };
  const all = [...Object.values(lines), third];
  const faults: Record<string, (line: Relay) => Promise<unknown> | void> = {
    'the server is killed': async () => {
      await system.kill();
      await system.start();
    },
    'the server stands still': async () => {
      system.server.child.kill('SIGSTOP');
      await sleep(chance() * 1000); // how long is what is random here
      system.server.child.kill('SIGCONT');
    },
    'the server reads its files again': () => void system.server.child.kill('SIGHUP'),
    'a line is cut': (line) => line.cut(),
    'all lines are cut': () => all.forEach((each) => each.cut()),
    'a line is cut in the midst of a record': (line) => line.cutAfter(Math.floor(chance() * 3000)),
    'the client has gone, and the server does not know': (line) => line.tear('client'),
    'the server has gone, and the client does not know': async (line) => {
      line.tear('server');
      await sleep(chance() * 1000);
      line.cut();
    },
    'a line is silent in one direction': async (line) => {
      line.silence(pick(['client', 'server']));
      await sleep(chance() * 1000);
      if (chance() < 0.5) line.cut();
      line.resume();
    },
    'a client is killed': again,
    'the group changes': () => pick([alice, bob]).vault.freshness.hurry(id),
  };
  for (let step = 0; step < 18; step++) {
    const names = Object.keys(faults);
    const name = step < names.length ? names[step]! : pick(names); // each at least once
    t.comment(name);
    await faults[name]!(pick(all));
    await Promise.all(talks.map((talk) => talk.more(1)));
    if (carol.hasEnded) await again();
  }
  for (let had = ''; !/^accepted/m.test(had); had = carol.out) {
    if (carol.hasEnded) await again();
    await sleep(50);
  }

  await carol.kill();
  outputs.push(carol.out);
  const numbers = outputs.flatMap((out) => [...out.matchAll(/^queued (\d+)$/gm)].map(([, number]) => Number(number)));
  t.equal(new Set(numbers).size, numbers.length, 'no number was promised twice');
  const after = await Person.open(t, system, 'carol');
  const own = await Talk.between(after, alice, 0, ROOM);
  const kept = after.vault.history(id, 1_000_000).filter(({ direction }) => direction === 'out');
  t.ok(numbers.length > 0, carol.tail.slice(-300));
  t.ok(
    [0, 1].includes(kept.length - Math.max(...numbers)),
    `${kept.length} kept of ${Math.max(...numbers)} that were promised`,
  );
  own.adopt(kept.map((_, i) => bodyOf('carol', ROOM, i + 1)));
  talks.unshift(own);
  for (const talk of talks) talk.end();
  await drain(talks);

  const people = [alice, bob, after];
  const total = talks.reduce(
    (sum, { conversation, bodies }) => sum + (conversation.peer === ROOM ? bodies.length : 0),
    0,
  );
  const ofRoom = (vault: Person['vault']) =>
    vault
      .history(id, 1_000_000)
      .map(({ seq, sender, body, reason }) => ({ seq, sender, text: reason ?? fromUtf8(body) }));
  for (const each of people) await each.until('all of the room', () => ofRoom(each.vault).length >= total);
  for (const { name, vault, alarms } of people) {
    t.strictSame(alarms, [], `${name} met nothing false`);
    t.strictSame(vault.ledger.alarms(), [], `${name} keeps no evidence against anybody`);
    t.strictSame(ofRoom(vault), ofRoom(alice.vault), `${name} has the room as alice has it`);
  }
  for (const { from, to, conversation, bodies } of talks)
    for (const { name, vault } of [from, to]) {
      const theirs = vault.history(conversation.id, 1_000_000).filter(({ sender }) => sender === from.name);
      t.strictSame(
        theirs.map(({ body, reason }) => reason ?? fromUtf8(body)),
        bodies,
        `${bodies.length} of ${from.name}, each once and in order, as ${name} has it`,
      );
      if (name === from.name)
        t.ok(
          theirs.every(({ state }) => state === 'delivered'),
          'and knows that they arrived',
        );
    }
  const states = (): Set<string> =>
    new Set(
      people.map(({ vault: { groups } }) => {
        const { generation, snapshot, deltas } = groups.current(id)!;
        return `${generation} ${hex(epochAuthenticator(restore(snapshot, deltas)))}`;
      }),
    );
  // Whoever was overtaken changes it a while later, and then the others have to hear of it.
  const until = performance.now() + PATIENCE_MS;
  while (states().size > 1 && performance.now() < until) await sleep(50);
  t.equal(states().size, 1, 'all are in one state of the group');
  for (const { app } of people) await app.settled();
  t.equal(await system.stop(), 0);
  await auditTranscript(t, system, talks);
});
