/** That the largest room fits into blobs and frames, whatever its tree looks like: what a device and a newcomer cost at most, by measurement. */
import t from 'tap';
import { byInvitation, openToAll } from '../../client/e2ee/group.ts';
import { commitParts, doorBytes } from '../../client/e2ee/layout.ts';
import { MAX_ADDS } from '../../client/e2ee/conversation.ts';
import { MAX_BLOB_BYTES, MAX_BODY_BYTES } from '../../protocol/messages.ts';
import { MAX_DEVICES } from '../../server/rooms.ts';
import { World } from './people.ts';

const world = await World.open();
const { engine, now } = world;
const COUNT = 64;
/** Of each device in the tree, and of each newcomer in a commit and beside it (docs/PROTOCOL.md §5.8). */
const TREE_BYTES = 2850;
const ADD_BYTES = 4300;
const SECRETS_BYTES = 1400;
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
      const laid = commitParts(commit, welcome);
      t.ok(door.tree!.length <= full.tree!.length + count * TREE_BYTES);
      t.ok(doorBytes(door).bytes.length < 3000, 'a door without its tree');
      return { all: commit.length + sum(laid.bytes.slice(1)), parts: sum(laid.bytes.slice(1)) };
    }),
  );
  const each = (costs[1]!.all - costs[0]!.all) / 3;
  const secrets = (costs[1]!.parts - costs[0]!.parts) / 3;
  t.ok(each <= ADD_BYTES, `${each.toFixed()} bytes for each newcomer`);
  t.ok(secrets <= SECRETS_BYTES, `${secrets.toFixed()} of them to everybody`);
  t.ok(costs[0]!.all < 20_000, `${costs[0]!.all} bytes to everybody, without the tree`);
});

t.test('the largest room that the server allows', (t) => {
  t.ok(MAX_DEVICES * TREE_BYTES * 2 <= MAX_BLOB_BYTES, 'its tree is a blob, also of twice as many devices');
  t.ok(MAX_ADDS * SECRETS_BYTES + 20_000 <= MAX_BODY_BYTES, 'invitations for as many as one commit adds are parts');
  // New keys in a tree where nobody has any yet: a ciphertext of 1,230 bytes for each device; and newcomers besides.
  t.ok(MAX_DEVICES * 1230 * 2 + MAX_ADDS * ADD_BYTES <= MAX_BLOB_BYTES, 'and so is any commit');
  t.end();
});
