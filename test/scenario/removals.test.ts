/**
 * Who is taken out of a room reads nothing of what is written afterwards, with the disk of the moment before and all that the server ever
 * carried: one alone, several at once, and when somebody else comes in by the same commit. Real clients and a real server.
 */
import t, { type Test } from 'tap';
import type { ConversationId } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { Authority } from '../../client/e2ee/binding.ts';
import { Engine } from '../../client/e2ee/conversation.ts';
import { restore } from '../../client/e2ee/delta.ts';
import { type Conversation, type Received } from '../../client/e2ee/group.ts';
import { policy } from '../../client/group-rules.ts';
import type { Delivered } from '../../protocol/messages.ts';
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { deviceOf, type DeviceApp } from '../support/apps.ts';
import { world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(180_000); // a busy machine is no failure

interface Stolen {
  readonly name: string;
  readonly engine: Engine;
  conversation: Conversation;
}
/** The group as it is on somebody's disk, with every binding that anybody here has. */
async function steal(owner: DeviceApp, id: ConversationId, all: readonly DeviceApp[]): Promise<Stolen> {
  const { snapshot, deltas } = owner.vault.groups.current(id)!;
  const bindings = new Map(all.flatMap(({ vault }) => [...vault.keys.bindings()]));
  const authority = new Authority({ organisation: 'localhost', roots: owner.app.identity.roots, bindings });
  return { name: owner.person.name, engine: await Engine.open(authority), conversation: restore(snapshot, deltas) };
}
const isCommit = ({ statement }: Delivered): boolean => decodeMs(statement).kind === KIND.membership;

interface Case {
  readonly name: string;
  readonly kicked: readonly string[];
  readonly invited: readonly string[];
}
const cases: readonly Case[] = [
  { name: 'one', kicked: ['carol'], invited: [] },
  { name: 'several in one commit', kicked: ['carol', 'dave', 'erin'], invited: [] },
  { name: 'one, and another one comes in by the same commit', kicked: ['carol'], invited: ['frank'] },
  { name: 'several, and others come in by the same commit', kicked: ['carol', 'dave'], invited: ['frank', 'grace'] },
];

// Fails when the planner leaves somebody in the group who is not on the list.
for (const { name, kicked, invited } of cases)
  t.test(`removed: ${name}`, async (t) => {
    testFolder(t);
    const w = await world(t);
    const people: Record<string, DeviceApp> = {};
    for (const each of ['alice', 'bob', 'carol', 'dave', 'erin', ...invited])
      people[each] = await (await deviceOf(t, w, each)).enter();
    const [alice, bob, erin] = [people['alice']!, people['bob']!, people['erin']!];
    await alice.app.rooms.create('#plan', false);
    const inside = ['bob', 'carol', 'dave', 'erin'];
    for (const each of inside) t.equal(await alice.app.rooms.invite('#plan', each), true);
    await alice.say('#plan', 'for all');
    for (const each of inside) await people[each]!.hears('for all');
    const { id } = await alice.app.open('#plan');
    const staying = inside.filter((each) => !kicked.includes(each) && each !== 'bob').map((each) => people[each]!);

    // Nobody is there to follow the list step by step: Bob finds all of it at once, with invitations that he had not carried out yet.
    const here = Object.values(people);
    const stolen: Stolen[] = [];
    for (const each of kicked) stolen.push(await steal(people[each]!, id, here));
    for (const each of invited) bob.vault.rooms.invite(id, each);
    const recorded = [...staying, alice].map((each) => [each, each.delivered.length] as const);
    for (const each of here) await each.leave();
    const raw = await w.login(alice.person);
    for (const username of kicked) await raw.request({ type: 'room_kick', room: '#plan', username }, 'room');
    for (const username of invited) await raw.request({ type: 'room_invite', room: '#plan', username }, 'room');
    await raw.close();
    await bob.enter();
    await bob.say('#plan', 'not for them');
    await alice.enter();
    await alice.hears('not for them');
    await alice.say('#plan', 'nor is this');
    for (const each of [...staying, ...invited.map((username) => people[username]!)]) {
      await each.enter();
      await each.hears('not for them', 'nor is this');
    }
    t.strictSame(
      bob.usersIn('#plan'),
      ['alice', 'bob', ...inside.filter((each) => !['bob', ...kicked].includes(each)), ...invited].sort(),
    );

    const since = recorded.flatMap(([each, from]) => each.delivered.slice(from));
    const log = [...new Map(since.map((item) => [item.seq, item])).values()].sort((a, b) => a.seq - b.seq);
    const change = log.find(isCommit)!;
    t.ok(log.indexOf(change) < log.length - 1, 'with messages behind it');
    for (const thief of stolen) await readsNothing(t, thief, log, [kicked, invited]);
    for (const each of [alice, bob, erin].filter((one) => !kicked.includes(one.person.name)))
      t.strictSame(each.told('alarm'), []);
  });

/** What comes of everything that was sent, tried in its order, and again from the end. */
async function readsNothing(
  t: Test,
  thief: Stolen,
  log: readonly Delivered[],
  whom: readonly (readonly string[])[],
): Promise<void> {
  const opened: Received['kind'][] = [];
  for (const item of [...log, ...log.toReversed()])
    try {
      const result = await thief.engine.receive(thief.conversation, item.parts[0]!, Date.now(), policy);
      opened.push(result.kind);
      if (result.kind === 'message' || result.kind === 'commit') thief.conversation = result.conversation;
      if (result.kind !== 'removed') continue;
      const { added, removed } = result.change;
      t.strictSame([removed.map(({ user }) => user), added.map(({ user }) => user)], whom, 'all by one commit');
    } catch (error) {
      t.equal(ChatError.from(error).code, 'DECRYPT_FAIL');
    }
  t.strictSame(opened, ['removed', 'removed'], `${thief.name} learns of the removal, and no more`);
}
