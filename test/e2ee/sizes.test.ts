/** That the largest room fits into frames, whatever its tree looks like: what a device and a newcomer cost at most, by measurement. */
import t from 'tap';
import { byInvitation, openToAll } from '../../client/e2ee/group.ts';
import { commitParts, doorBytes } from '../../client/e2ee/layout.ts';
import { ADD_BYTES, addsInto, TREE_BYTES } from '../../client/group-plan.ts';
import { MAX_BODY_BYTES, MAX_SEND_BYTES } from '../../protocol/messages.ts';
import { MAX_DEVICES } from '../../server/rooms.ts';
import { World } from './people.ts';

const world = await World.open();
const { engine, now } = world;
const COUNT = 64;
/** The longest name that there is. */
const nameOf = (i: number): string => `${i}`.padStart(64, 'x');
const sum = (parts: readonly Uint8Array[]): number => parts.reduce((all, part) => all + part.length, 0);

t.test('a tree in which every place is taken, and what one more costs', async (t) => {
  const people = await Promise.all(Array.from({ length: COUNT }, (_, i) => world.person(nameOf(i))));
  let all = await world.group(people);
  const [blank] = [await engine.door(all[0]!)];
  // One of each two fills all places above them.
  for (let i = 0; i < COUNT; i += 2) {
    const { conversation, commit } = await engine.commit(all[i]!, {}, now, openToAll);
    all = await Promise.all(
      all.map(async (each, j) => {
        if (j === i) return engine.adopt(conversation);
        if (j % 2 === 1) return each; // never writes, and never asked
        const result = await engine.receive(each, commit, now, byInvitation);
        if (result.kind !== 'commit') throw new Error(result.kind);
        return result.conversation;
      }),
    );
  }
  const full = await engine.door(all[0]!);
  const leaf = blank.tree!.length / COUNT;
  const parent = (full.tree!.length - blank.tree!.length) / (COUNT - 1);
  const unmerged = 4 * Math.ceil(Math.log2(MAX_DEVICES)); // a newcomer is named in each node above him
  t.ok(
    leaf + parent + unmerged <= TREE_BYTES,
    `${leaf.toFixed()} + ${parent.toFixed()} + ${unmerged} bytes for each device`,
  );

  const newcomers = await Promise.all([1, 2, 3, 4].map((i) => world.person(nameOf(1000 + i))));
  const packages = await Promise.all(newcomers.map(async (each) => (await world.keyPackage(each)).published));
  const costs = await Promise.all(
    [1, 4].map(async (count) => {
      const { conversation, commit, welcome } = await engine.commit(
        all[0]!,
        { add: packages.slice(0, count) },
        now,
        openToAll,
      );
      const door = await engine.door(conversation);
      t.ok(doorBytes(door).length < commit.length + full.tree!.length + count * TREE_BYTES);
      return sum(commitParts(commit, welcome));
    }),
  );
  const each = (costs[1]! - costs[0]!) / 3;
  t.ok(each <= ADD_BYTES, `${each.toFixed()} bytes for each newcomer`);
  t.ok(costs[0]! < 20_000, `${costs[0]} bytes to everybody, without the tree`);
});

t.test('the largest room that the server allows', (t) => {
  const group = MAX_DEVICES * TREE_BYTES;
  t.ok(group + 10_000 <= MAX_BODY_BYTES, 'its state is one answer');
  t.ok(addsInto(MAX_DEVICES - 1) >= 1 && addsInto(0) === 100);
  for (let members = 0; members < MAX_DEVICES; members++) {
    const added = Math.min(addsInto(members), MAX_DEVICES - members);
    const bytes = (members + added) * TREE_BYTES + added * ADD_BYTES;
    if (bytes > MAX_SEND_BYTES - 20_000) t.fail(`${added} into a room of ${members}: ${bytes} bytes`);
  }
  // New keys in a tree where nobody has any yet: a ciphertext of 1,230 bytes for each device, and leaves alone in the tree.
  t.ok(MAX_DEVICES * (1230 + 1550) <= MAX_SEND_BYTES - 20_000);
  t.end();
});
