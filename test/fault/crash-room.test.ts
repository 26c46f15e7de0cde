/**
 * A room whose group changes all the time, and a client or the server that is killed with SIGKILL at each step: before and after it keeps
 * a commit, between a commit and its acknowledgement, while it sends and while it takes what others wrote. All members have the same
 * messages in the same order, nothing is lost or doubled, and no key was used twice (its second message would be an alarm for everybody).
 */
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { fromUtf8 } from '../../base/bytes.ts';
import { auditTranscript, bodyOf, Person, Talk } from '../support/load.ts';
import { System } from '../support/system.ts';
import type { Point } from './failing-server.ts';

const ROOM = '#talk';
const talker = fileURLToPath(new URL('./talker.ts', import.meta.url));
const failingClient = new URL('./failing-client.ts', import.meta.url).href;
const failingServer = new URL('./failing-server.ts', import.meta.url).href;

t.setTimeout(900_000); // a busy machine is no failure

/** All three inside, and their group with them. */
async function members(t: Test, system: System): Promise<Record<'alice' | 'bob' | 'carol', Person>> {
  const [alice, bob, carol] = [
    await Person.open(t, system, 'alice'),
    await Person.open(t, system, 'bob'),
    await Person.open(t, system, 'carol'),
  ];
  await bob.app.rooms.create(ROOM, true);
  for (const { app } of [alice, carol]) await app.rooms.join(ROOM);
  const readers = async ({ app }: Person): Promise<number> =>
    (await app.rooms.view(ROOM)).occupants.filter(({ canRead }) => canRead).length;
  for (const each of [alice, bob, carol])
    while ((await readers(each)) < 3) await new Promise((resolve) => setTimeout(resolve, 50));
  return { alice, bob, carol };
}
/** The group changes whenever something that they wrote is accepted, also where others were faster just before. */
function hurries({ app, vault }: Person, { conversation: { id } }: Talk): void {
  app.on((event) => {
    if (event.on !== 'state' || event.message.state !== 'accepted') return;
    vault.freshness.renewed(id, Date.now());
    vault.freshness.hurry(id);
  });
}
interface Line {
  readonly seq: number | null;
  readonly sender: string;
  readonly text: string | null;
}
const linesOf = (person: Person, { conversation: { id } }: Talk): Line[] =>
  person.vault
    .history(id, 1_000_000)
    .map(({ seq, sender, body, reason }) => ({ seq, sender, text: reason ?? fromUtf8(body) }));

/** @param talks the room's founder last: he alone has all commits */
async function audit(t: Test, system: System, people: readonly Person[], talks: readonly Talk[]): Promise<void> {
  for (const talk of talks) talk.end();
  const total = talks.reduce((sum, { bodies }) => sum + bodies.length, 0);
  const hasAll = (each: Person): boolean =>
    each.isConnected && each.app.status().pending === 0 && linesOf(each, talks[0]!).length >= total;
  const found = (): string =>
    people.map((each) => `${each.name}: ${linesOf(each, talks[0]!).length} of ${total}, ${each.state}`).join('; ');
  for (const each of people)
    await each.until('all of it', () => hasAll(each)).catch((error: unknown) => t.fail(`${String(error)}: ${found()}`));
  const [first, ...others] = people.map((each) => linesOf(each, talks[0]!)) as [Line[], ...Line[][]];
  for (const { from, bodies } of talks)
    t.strictSame(
      first.filter(({ sender }) => sender === from.name).map(({ text }) => text),
      bodies,
      `${bodies.length} of ${from.name}, each once, in order`,
    );
  t.equal(first.length, total, 'and nothing else');
  for (const lines of others)
    t.strictSame(
      lines.filter((line, i) => JSON.stringify(line) !== JSON.stringify(first[i])),
      first.filter((line, i) => JSON.stringify(line) !== JSON.stringify(lines[i])),
      'the same for all, in the same places',
    );
  for (const { name, alarms } of people) t.strictSame(alarms, [], name);
  const commits = talks[0]!.from.vault.groups.commits(talks[0]!.conversation.id).length;
  t.ok(commits > 10, `${commits} commits between them`);
  t.equal(await system.stop(), 0);
  await auditTranscript(t, system, talks);
}

t.test('a client, at each commit to its vault', async (t) => {
  const system = await System.create(t);
  await system.start();
  const { alice: first, bob, carol } = await members(t, system);
  await first.app.close();
  const toAll = await Talk.between(bob, carol, 2, ROOM);
  hurries(bob, toAll);
  toAll.begin();
  const outputs: string[] = [];
  for (let n = 1; n <= (process.env['FUZZ'] ? 30 : 16); n++) {
    const env = {
      CHAT_PEER: ROOM,
      CHAT_HURRY: '1',
      CHAT_FAULT: `${n % 2 ? 'before' : 'after'}:${Math.ceil(n / 2) + 3}:later`,
    };
    const process = system.script('alice', talker, { preload: failingClient, env });
    t.equal(await process.ended, 'SIGKILL', `${env.CHAT_FAULT}: ${process.tail.slice(-200)}`);
    outputs.push(process.out);
  }
  const numbers = outputs.flatMap((out) => [...out.matchAll(/^queued (\d+)$/gm)].map(([, number]) => Number(number)));
  t.equal(new Set(numbers).size, numbers.length, 'no number was promised twice');
  const alice = await Person.open(t, system, 'alice');
  const fromAlice = await Talk.between(alice, carol, 0, ROOM);
  const own = alice.vault.history(fromAlice.conversation.id, 1_000_000).filter(({ direction }) => direction === 'out');
  t.ok(own.length - Math.max(...numbers) <= 1, 'all that was promised is kept');
  fromAlice.adopt(own.map((_, i) => bodyOf('alice', ROOM, i + 1)));
  await audit(t, system, [bob, carol, alice], [fromAlice, toAll]);
});

/** Point, and the how manieth time it is met. */
const POINTS: readonly (readonly [Point, number])[] = [
  ['log.before-write', 4],
  ['log.torn-write', 3],
  ['log.before-sync', 5],
  ['log.never-synced', 4],
  ['log.without-store', 4],
  ['store.without-log', 4],
  ['both.before-ack', 3],
  ['both.before-ack', 4],
  ['acknowledge.before', 3],
  ['acknowledge.after', 4],
];

t.test('the server, at every point between two steps', async (t) => {
  const system = await System.create(t);
  await system.start({ preload: failingServer });
  const { alice, bob, carol } = await members(t, system);
  const talks = [
    await Talk.between(alice, bob, 2, ROOM),
    await Talk.between(carol, alice, 2, ROOM),
    await Talk.between(bob, carol, 2, ROOM),
  ];
  for (const talk of talks) {
    hurries(talk.from, talk);
    talk.begin();
  }
  await talks[0]!.more(2);
  await system.kill();
  for (const [point, count] of POINTS) {
    system.launch({ preload: failingServer, env: { CHAT_FAULT: `${point}:${count}` } });
    t.equal(await system.server.ended, 'SIGKILL', point);
  }
  await system.start({ preload: failingServer });
  await audit(t, system, [alice, bob, carol], talks);
});
