/**
 * The server, killed with SIGKILL between two of its steps while somebody comes into a room: from outside, where nobody is there to let
 * him in, and by invitation. After a restart the newcomer is in, reads and is read; nobody has lost anything, and there is no alarm.
 * (The newcomer's own client, killed at each step: crash-join.)
 */
import t, { type Test } from 'tap';
import { fromUtf8, utf8 } from '../../base/bytes.ts';
import { Person } from '../support/load.ts';
import { PATIENCE_MS, System } from '../support/system.ts';
import type { Point } from './failing-server.ts';

const preload = new URL('./failing-server.ts', import.meta.url).href;

t.setTimeout(450_000);

/** Those at which a window is lost, half there, or there and not answered. */
const WINDOW: readonly Point[] = [
  'log.before-write',
  'log.torn-write',
  'log.never-synced',
  'log.without-store',
  'store.without-log',
  'both.before-ack',
];

/** What a person does: again, until it is done. */
async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    const result = await work().catch(() => null);
    if (result !== null) return result;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
/** The server will die there once `crash` has begun. */
const start = (system: System, point: Point | undefined): Promise<void> =>
  system.start({ preload, ...(point && { env: { CHAT_FAULT: `${point}:1:later` } }) });
/** Does this until the server dies of it, and goes on when it has the next fault, or none. */
async function crash(
  t: Test,
  system: System,
  points: readonly Point[],
  i: number,
  work: () => Promise<unknown>,
): Promise<void> {
  system.server.child.kill('SIGUSR2');
  let isDone = false;
  const done = insist(work).finally(() => (isDone = true));
  t.equal(await system.server.ended, 'SIGKILL', points[i]!);
  if (WINDOW.includes(points[i]!)) t.notOk(isDone, 'in the middle of it');
  await start(system, points[i + 1]);
  await done;
}
async function say(person: Person, room: string): Promise<void> {
  const { id } = await insist(() => person.app.open(room));
  await person.app.waitFor(person.app.send(id, utf8(`${person.name} in ${room}`)), 'accepted', PATIENCE_MS);
}
const texts = ({ vault }: Person, room: string): (string | null)[] => {
  const conversation = vault.conversationWith(room);
  const kept = conversation === null ? [] : vault.history(conversation.id, 1000);
  return kept.map(({ body, reason }) => reason ?? fromUtf8(body));
};
async function audit(
  t: Test,
  system: System,
  rooms: readonly (readonly [string, ...Person[]])[],
  people: readonly Person[],
) {
  for (const [room, ...said] of rooms) {
    const expected = said.map(({ name }) => `${name} in ${room}`);
    for (const each of people) {
      await each.until(`all of ${room}`, () => texts(each, room).length >= expected.length);
      t.strictSame(texts(each, room), expected, `${room}, as ${each.name} has it`);
    }
  }
  for (const { name, alarms, vault } of people) t.strictSame([alarms, vault.ledger.alarms()], [[], []], name);
  t.equal(await system.stop(), 0);
  const { exit, text } = await system.verify(people.map(({ note }) => note));
  t.equal(exit, 0, text.slice(-400));
}

t.test('from outside', async (t) => {
  const system = await System.create(t);
  await start(system, WINDOW[0]);
  const [founder, bob] = [await Person.open(t, system, 'alice'), await Person.open(t, system, 'bob')];
  const names = WINDOW.map((_, i) => `#ops-${i + 1}`);
  for (const room of names) await founder.app.rooms.create(room, true);
  await founder.app.settled();
  await founder.app.close(); // nobody is there to let him in
  for (const [i, room] of names.entries()) {
    await crash(t, system, WINDOW, i, () => bob.app.rooms.join(room));
    await say(bob, room);
  }
  const alice = await Person.open(t, system, 'alice');
  for (const room of names) {
    await alice.until(`bob in ${room}`, () => texts(alice, room).length === 1);
    await say(alice, room);
  }
  await audit(
    t,
    system,
    names.map((room) => [room, bob, alice] as const),
    [alice, bob],
  );
});

t.test('by invitation', async (t) => {
  const system = await System.create(t);
  const points = [...WINDOW, 'acknowledge.before', 'acknowledge.after'] as const;
  await start(system, points[0]);
  const [alice, carol] = [await Person.open(t, system, 'alice'), await Person.open(t, system, 'carol')];
  const names = points.map((_, i) => `#plan-${i + 1}`);
  for (const room of names) await alice.app.rooms.create(room, false);
  for (const [i, room] of names.entries()) {
    const isIn = async (): Promise<boolean> => {
      const { occupants } = await alice.app.rooms.view(room);
      return occupants.some(({ username, canRead }) => username === 'carol' && canRead);
    };
    const invite = async (): Promise<true | null> => {
      if (!(await isIn())) await alice.app.rooms.invite(room, 'carol');
      return (await isIn()) || null;
    };
    await crash(t, system, points, i, invite);
    await say(alice, room);
    await carol.until(`alice in ${room}`, () => texts(carol, room).length === 1);
    await say(carol, room);
  }
  await audit(
    t,
    system,
    names.map((room) => [room, alice, carol] as const),
    [alice, carol],
  );
});
