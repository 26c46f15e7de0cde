/**
 * The largest room: a thousand devices agree, whichever way somebody comes in; and what a message of theirs costs to keep does not grow
 * with them.
 */
import { delta, restore, snapshot } from '../../client/e2ee/delta.ts';
import { epochAuthenticator, openToAll, type Conversation } from '../../client/e2ee/group.ts';
import { MAX_DEVICES } from '../../server/rooms.ts';
import { inThread } from './thread.ts';
import { World } from './people.ts';

/** Processor time, three times what it takes alone: what grows with the square of the room takes far longer. */
const ADDED_MS = 600;

await inThread(import.meta.filename, 'a room of a thousand devices', async (report) => {
  const world = await World.open();
  const { engine, now } = world;
  async function measured<T>(what: string, work: () => Promise<T>): Promise<readonly [T, number]> {
    const from = process.threadCpuUsage();
    const result = await work();
    const { user, system } = process.threadCpuUsage(from);
    report.comment(`${what}: ${((user + system) / 1000).toFixed(1)} ms of processor time`);
    return [result, (user + system) / 1000];
  }
  const follow = async (state: Conversation, commit: Uint8Array): Promise<Conversation> => {
    const result = await engine.receive(state, commit, now, openToAll);
    if (result.kind !== 'commit') throw new Error(result.kind);
    return result.conversation;
  };
  const people = await Promise.all(Array.from({ length: MAX_DEVICES - 2 }, (_, i) => world.person(`user${i}`)));
  const [maker, member] = people as [(typeof people)[0], (typeof people)[0]];
  let alice = await world.create(maker);
  let bob: Conversation | null = null;
  for (let n = 1; n < people.length; n += 100) {
    const packages = await Promise.all(people.slice(n, n + 100).map((each) => world.keyPackage(each)));
    const made = await engine.commit(alice, { add: packages.map((each) => each.published) }, now, openToAll);
    alice = engine.adopt(made.conversation);
    bob = bob === null ? await world.join(member, packages[0]!, made.welcome!) : await follow(bob, made.commit);
  }

  const [carol, dave] = [await world.person('carol'), await world.person('dave')];
  const own = await world.keyPackage(carol);
  const [added, addedMs] = await measured('one more is added', () =>
    engine.commit(alice, { add: [own.published] }, now, openToAll),
  );
  report.ok(addedMs < ADDED_MS, 'one is added in no time');
  alice = engine.adopt(added.conversation);
  [bob] = await measured('a member follows', () => follow(bob!, added.commit));
  let [invited] = await measured('the newcomer joins', () => world.join(carol, own, added.welcome!));
  const door = await engine.door(invited);
  const [entry] = await measured('another one enters from outside', () => engine.joinExternal(door, dave.device, now));
  alice = await follow(alice, entry.commit);
  bob = await follow(bob!, entry.commit);
  invited = await follow(invited, entry.commit);
  const all = [alice, bob, invited, entry.conversation];
  report.ok((await engine.members(alice)).length === MAX_DEVICES, 'a thousand');
  report.ok(new Set(all.map((each) => Buffer.from(epochAuthenticator(each)).toString('hex'))).size === 1, 'agree');

  const sealed = await engine.encrypt(invited, Buffer.from('to a thousand'), Buffer.alloc(0));
  for (const each of [alice, bob, entry.conversation]) {
    const heard = await engine.receive(each, sealed.message, now, openToAll);
    report.ok(heard.kind === 'message' && Buffer.from(heard.plaintext).toString() === 'to a thousand', 'read');
  }

  // As the vault keeps it: a snapshot, and what came after it.
  const deltas: Uint8Array[] = [];
  let state = alice;
  for (let i = 0; i < 20; i++) {
    const { conversation } = await engine.encrypt(state, Buffer.from(`message ${i}`), Buffer.alloc(0));
    deltas.push(delta(state, conversation)!);
    state = conversation;
  }
  report.ok(Math.max(...deltas.map((each) => each.length)) < 1000, 'a message is a few bytes more to keep');
  report.ok(snapshot(restore(snapshot(alice), deltas)).equals(snapshot(state)), 'and all of it is there');
});
