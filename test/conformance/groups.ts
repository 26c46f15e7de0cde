/** The part of the storage contract that end-to-end encryption relies on: bindings, key packages, and the groups of conversations. */
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { hex, type Hash } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { MAX_BINDINGS } from '../../store/keys.ts';
import type { GroupState } from '../../store/contract/conversations.ts';
import type { KeyPackages } from '../../store/contract/keys.ts';
import type { Store } from '../../store/store.ts';
import {
  LATER,
  newSession,
  NOW,
  random32,
  usageOf,
  World,
  type Batch,
  type BatchOptions,
} from '../support/store-world.ts';
import type { Suite } from './store.ts';

const packages = (...names: string[]): KeyPackages => ({
  packages: names.map((name) => Buffer.from(name)),
  isLastResort: false,
  isFresh: false,
});
const lastResort = (name: string): KeyPackages => ({ ...packages(name), isLastResort: true });
const text = (bytes: Uint8Array | null | undefined): string | null => (bytes ? Buffer.from(bytes).toString() : null);
const take = async (store: Store, ...devices: number[]): Promise<Record<number, string | null>> =>
  Object.fromEntries((await store.takeKeyPackages(devices)).map((each) => [each.deviceId, text(each.package)]));

const state = (generation: number, epoch: number): GroupState => ({ generation, epoch });
/** A commit that ends this state. */
const commit = (group: GroupState, more: BatchOptions = {}): BatchOptions => ({
  isCommit: true,
  group,
  groupInfo: Buffer.from(`info of ${group.generation}.${group.epoch + 1}`),
  ...more,
});
const groupOf = async (store: Store, w: World): Promise<string | null> => {
  const group = await store.group(w.conversation);
  return group && `${group.generation}.${group.epoch} ${text(group.groupInfo)}`;
};
const bare = ({ batch, messages }: Batch): Batch => ({
  batch,
  messages: messages.map((message) => ({ ...message, content: null })),
});

export const GROUP_TESTS: readonly (readonly [string, (t: Test, suite: Suite) => Promise<void>])[] = [
  [
    'bindings: found by their hash; the newest of each device stay, and those of others are not touched',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { a1, b1 } = w.devices;
      const all = Array.from({ length: MAX_BINDINGS + 2 }, () => randomBytes(300));
      const hash = (bytes: Uint8Array) => sha256(bytes) as Uint8Array as Hash;
      const found = async () => {
        const each = await Promise.all(all.map((binding) => second.binding(hash(binding))));
        return each.flatMap((binding, i) => (binding && hex(binding) === hex(all[i]!) ? [i] : []));
      };
      t.equal(await store.binding(random32<Hash>()), null);
      await store.putBinding(b1.id, all[0]!);
      for (const binding of all.slice(0, MAX_BINDINGS)) await store.putBinding(a1.id, binding);
      await store.putBinding(a1.id, all[1]!);
      const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);
      t.strictSame(await found(), numbers(MAX_BINDINGS));
      await store.putBinding(a1.id, all[MAX_BINDINGS]!);
      await store.putBinding(a1.id, all[MAX_BINDINGS + 1]!);
      t.strictSame(
        await found(),
        numbers(MAX_BINDINGS + 2).filter((i) => i !== 2),
        'put again is newest again, and what another device has put is its own',
      );
      await t.rejects(store.putBinding(2 ** 30, all[0]!), { code: 'NOT_FOUND', field: 'device' });
    },
  ],
  [
    'key packages: each is handed out once, the oldest first; then the last resort, again and again',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, b1, b2 } = w.devices;
      t.strictSame(await take(store, b1.id, b2.id), {}, 'nobody has any');
      t.equal(await store.putKeyPackages(b1.id, packages('one', 'two'), 10), 2);
      t.equal(await store.putKeyPackages(b1.id, lastResort('last'), 10), 2, 'it does not count');
      t.equal(await store.putKeyPackages(b2.id, lastResort('other'), 10), 0);
      t.strictSame(await take(store, b1.id, a1.id), { [b1.id]: 'one' });
      t.strictSame(await take(store, b1.id, b1.id, b2.id), { [b1.id]: 'two', [b2.id]: 'other' }, 'named twice');
      t.equal(await store.putKeyPackages(b1.id, packages(), 10), 0, 'a question');
      t.strictSame(await take(store, b1.id, b2.id), { [b1.id]: 'last', [b2.id]: 'other' });
      await store.putKeyPackages(b1.id, lastResort('newer'), 10);
      t.strictSame(await take(store, b1.id), { [b1.id]: 'newer' });
      t.strictSame(await take(store, b1.id), { [b1.id]: 'newer' });
      await store.putKeyPackages(b1.id, packages('three'), 10);
      t.strictSame(await take(store, b1.id), { [b1.id]: 'three' });
      t.strictSame(await take(store), {});
      await t.rejects(store.takeKeyPackages([b1.id, 2 ** 30]), { code: 'NOT_FOUND', field: 'device' });
    },
  ],
  [
    'key packages: no more than the limit, and a device that lost its keys begins anew',
    async (t, { store }) => {
      const { a1, b1 } = (await World.open(store)).devices;
      t.equal(await store.putKeyPackages(a1.id, packages('1', '2', '3'), 4), 3);
      await t.rejects(store.putKeyPackages(a1.id, packages('4', '5'), 4), { code: 'QUOTA', field: 'packages' });
      t.equal(await store.putKeyPackages(a1.id, packages('4'), 4), 4, 'nothing was left of the refused ones');
      await store.putKeyPackages(a1.id, lastResort('last'), 4);
      await store.putKeyPackages(b1.id, packages('b'), 4);
      t.equal(await store.putKeyPackages(a1.id, { ...packages('5', '6'), isFresh: true }, 4), 2);
      t.strictSame(
        [await take(store, a1.id), await take(store, a1.id), await take(store, a1.id)],
        [{ [a1.id]: '5' }, { [a1.id]: '6' }, {}],
        'the last resort was void, too',
      );
      t.strictSame(await take(store, b1.id), { [b1.id]: 'b' });
      const large = randomBytes(16_384);
      await store.putKeyPackages(a1.id, { ...packages(), packages: [large] }, 4);
      t.equal(hex((await store.takeKeyPackages([a1.id]))[0]!.package), hex(large));
      await t.rejects(store.putKeyPackages(2 ** 30, packages('x'), 4), { code: 'NOT_FOUND', field: 'device' });
    },
  ],
  [
    'key packages: of twenty who take at once no two get the same',
    async (t, { store, second }) => {
      const { b1, b2 } = (await World.open(store)).devices;
      const names = Array.from({ length: 15 }, (_, i) => `package ${i}`);
      for (const { id } of [b1, b2]) await store.putKeyPackages(id, packages(...names), 100);
      await store.putKeyPackages(b1.id, lastResort('last'), 100);
      const calls = Array.from({ length: 20 }, (_, i) => (i % 2 ? store : second).takeKeyPackages([b1.id, b2.id]));
      const taken = (await Promise.all(calls)).flat();
      const of = (id: number) => taken.filter((each) => each.deviceId === id).map((each) => text(each.package));
      t.strictSame(of(b1.id).sort(), [...names, ...Array<string>(5).fill('last')].sort());
      t.strictSame(of(b2.id).sort(), [...names].sort());
    },
  ],
  [
    'groups: a commit makes the next state, and what is queued says for which state it was made',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const other = await World.open(store);
      const { b1 } = w.devices;
      t.equal(await store.group(w.conversation), null);
      await w.send();
      t.equal(await store.group(w.conversation), null, 'a message makes no group');
      const first = await w.send(commit(state(1, 0)));
      t.equal(await groupOf(second, w), '1.1 info of 1.1');
      await w.send({ group: state(1, 1) });
      t.equal(await groupOf(store, w), '1.1 info of 1.1');
      const twice = w.window([w.batch(commit(state(1, 1))), w.batch(commit(state(1, 2), { sender: b1 }))]);
      await store.commitWindow(twice);
      t.equal(await groupOf(store, w), '1.3 info of 1.3', 'two in one window');
      await w.send(commit(state(2, 0)));
      t.equal(await groupOf(store, w), '2.1 info of 2.1', 'made anew');
      t.equal(await store.group(other.conversation), null, 'another conversation has its own');
      await store.commitWindow(first.window);
      await store.commitWindow(twice);
      await store.complete(w.origin, first.messages);
      t.equal(await groupOf(store, w), '2.1 info of 2.1', 'repeating changes nothing');
      const items = (await store.backlog(b1.id, 0, 10, 1e6)).items;
      t.strictSame(
        items.map((item) => item.kind === 'message' && item.group),
        [null, state(1, 0), state(1, 1), state(1, 1), state(2, 0)],
      );
      const info = randomBytes(1_015_808);
      await w.send(commit(state(2, 1), { groupInfo: info }));
      t.equal(hex((await store.group(w.conversation))!.groupInfo!), hex(info));
    },
  ],
  [
    'groups: of a commit nobody is told whether it arrived, and its content goes when nobody waits for it',
    async (t, { store, countRows }) => {
      const w = await World.open(store);
      const { a1, a2, b1, b2 } = w.devices;
      await store.expire(NOW + 1, 1000);
      const rows = async () => [await countRows('contents'), await countRows('expiries')];
      const before = await rows();
      const { stored } = await w.send(commit(state(1, 0), { recipients: [a2.id, b1.id, b2.id] }));
      const [ofA2, ofB1, ofB2] = stored[0]!.cursors;
      await store.acknowledge(b1.id, [ofB1!], w.bob.id);
      await store.acknowledge(b2.id, [ofB2!], w.bob.id);
      await store.acknowledge(a2.id, [ofA2!], w.alice.id);
      t.strictSame(await rows(), before);
      await w.send(commit(state(1, 1), { expiresAt: NOW + 2 }));
      t.strictSame(await store.expire(NOW + 2, 100), []);
      t.strictSame(await rows(), before);
      for (const { id } of [a1, a2, b1, b2]) t.strictSame(await usageOf(store, id), { bytes: 0, rows: 0 });
      t.equal(await groupOf(store, w), '1.2 info of 1.2', 'the state stays');
    },
  ],
  [
    'groups: what lets those in whom a commit has added is kept for the newest of such commits',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const other = await World.open(store);
      const adding = (epoch: number): BatchOptions => commit(state(1, epoch), { parts: [Buffer.of(1), Buffer.of(2)] });
      const kept = async (generation: number, epoch: number) =>
        text(await second.groupInfo(w.conversation, state(generation, epoch)));
      await w.send(commit(state(1, 0)));
      t.equal(await kept(1, 1), null, 'nobody was added');
      const first = await w.send(adding(1));
      t.equal(await kept(1, 2), 'info of 1.2');
      t.equal(await store.groupInfo(other.conversation, state(1, 2)), null);
      await w.send(commit(state(1, 2)));
      t.equal(await kept(1, 2), 'info of 1.2', 'the group has gone on');
      for (let epoch = 3; epoch < 18; epoch++) await w.send(adding(epoch));
      t.strictSame([await kept(1, 2), await kept(1, 18)], ['info of 1.2', 'info of 1.18'], 'sixteen of them');
      await w.send(adding(18));
      t.strictSame([await kept(1, 2), await kept(1, 4), await kept(1, 19)], [null, 'info of 1.4', 'info of 1.19']);
      await store.commitWindow(first.window);
      const size = w.size;
      const lost = w.batch(adding(19));
      await store.commitWindow(w.window([bare(lost)]));
      t.equal(await kept(1, 20), null, 'the log alone has it');
      await store.complete(w.origin, lost.messages);
      t.equal(await kept(1, 20), 'info of 1.20');
      await store.rewind(w.origin, size);
      t.equal(await kept(1, 20), null);
    },
  ],
  [
    'groups: a window that fails changes nothing of a commit in it: group, GroupInfo, parts, blobs',
    async (t, { store, second, countRows }) => {
      const w = await World.open(store);
      const { a1, b1, b2 } = w.devices;
      const { batch } = await w.send(commit(state(1, 0)));
      const blobs = { parts: randomBytes(60), groupInfo: randomBytes(61) };
      const named = (bytes: Uint8Array) => ({ hash: sha256(bytes) as Uint8Array as Hash, size: bytes.length });
      for (const piece of Object.values(blobs))
        await store.putBlobPiece(a1.id, { ...named(piece), offset: 0, piece }, NOW, { count: 5, bytes: 1000 });
      const adding = commit(state(1, 1), {
        parts: [Buffer.of(1), Buffer.of(2)],
        blobs: { parts: named(blobs.parts), groupInfo: named(blobs.groupInfo) },
      });
      const whatIs = async () => ({
        group: await groupOf(second, w),
        kept: text(await second.groupInfo(w.conversation, state(1, 2))),
        blobs: [
          await second.blobPiece(named(blobs.parts).hash, 0),
          await second.blobPiece(named(blobs.groupInfo).hash, 0),
        ],
        put: await second.blobSizes(
          a1.id,
          Object.values(blobs).map((each) => named(each).hash),
        ),
        queues: await second.queueUsages([b1.id, b2.id]),
        rows: [await countRows('contents'), await countRows('expiries'), await countRows('lineage_heads')],
        size: await second.logSize(w.origin),
      });
      const before = await whatIs();
      t.match(before, { group: '1.1 info of 1.1', kept: null, blobs: [null, null], put: [60, 61] });
      // The first is found before anything of the group is written, the second at the end.
      const windows = [
        () => {
          const made = w.batch(adding);
          const again = w.batch();
          return w.window([made, { ...again, batch: { ...again.batch, firstCtr: batch.firstCtr } }]);
        },
        () => w.window([w.batch(adding), w.batch()], [null as never]),
      ];
      for (const [i, window] of windows.entries()) {
        const at = w.size;
        // Together with a call that succeeds: a backend that commits both at once keeps them apart.
        const seenAt = NOW + 80 + i;
        const [refused, seen] = await Promise.allSettled([
          store.commitWindow(window()),
          store.setLastSeen([{ userId: w.alice.id, at: seenAt }]),
        ]);
        t.match(refused, { reason: { code: i === 0 ? 'COUNTER_REUSED' : 'STORE_FAILED' } });
        t.equal(seen.status, 'fulfilled');
        t.equal((await store.findUser(w.alice.username))?.lastSeen, seenAt);
        w.size = at;
        t.strictSame(await whatIs(), before);
      }
      await w.send({ ...adding, session: newSession() });
      t.match(await whatIs(), { group: '1.2 info of 1.2', kept: 'info of 1.2' }, 'and then it goes');
      t.equal(hex((await second.blobPiece(named(blobs.parts).hash, 0))!.piece), hex(blobs.parts));
    },
  ],
  [
    'groups: a commit that the log has lost is taken back, and so is what it made',
    async (t, { store }) => {
      const w = await World.open(store);
      await w.send(commit(state(1, 0)));
      const size = w.size;
      await store.commitWindow(
        w.window([w.batch(commit(state(1, 1))), w.batch(commit(state(1, 2))), w.batch(commit(state(2, 0)))]),
      );
      t.equal(await groupOf(store, w), '2.1 info of 2.1');
      await store.rewind(w.origin, size);
      t.equal(await groupOf(store, w), '1.1 null', 'the GroupInfo of before was replaced');
      w.size = size;
      await w.send(commit(state(1, 1), { session: newSession() }));
      t.equal(await groupOf(store, w), '1.2 info of 1.2');
      await store.rewind(w.origin, 0);
      t.equal(await store.group(w.conversation), null, 'as if there had never been one');
    },
  ],
  [
    'groups: what another log has committed on top of a lost commit stands, and can be taken back itself',
    async (t, { store }) => {
      const w = await World.open(store);
      const elsewhere = w.elsewhere(store);
      await w.send(commit(state(1, 0)));
      const size = w.size;
      await w.send(commit(state(1, 1)));
      await elsewhere.send(commit(state(1, 2), { sender: w.devices.b1 }));
      await store.rewind(w.origin, size);
      t.equal(await groupOf(store, w), '1.3 info of 1.3');
      await store.rewind(elsewhere.origin, 0);
      t.equal(await groupOf(store, w), '1.1 null');
    },
  ],
  [
    'groups: a commit known from the log alone raises the epoch, until its sender says what it was',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const lost = w.batch(commit(state(1, 0)));
      await store.commitWindow(w.window([bare(lost)]));
      t.equal(await groupOf(store, w), '1.1 null', 'the first makes a group');
      await store.complete(w.origin, lost.messages);
      t.equal(await groupOf(store, w), '1.1 info of 1.1');

      const anew = w.batch(commit(state(2, 0)));
      await store.commitWindow(w.window([bare(anew)]));
      t.equal(await groupOf(store, w), '1.2 null');
      await Promise.all([store, second].map((each) => each.complete(w.origin, anew.messages)));
      t.equal(await groupOf(store, w), '2.1 info of 2.1');
      const size = w.size;
      await w.send(commit(state(2, 1), { session: newSession() }));
      await store.rewind(w.origin, size);
      t.equal(await groupOf(store, w), '2.1 null', 'not what the log alone said');
      w.size = size;
      await store.acknowledge(w.devices.b1.id, [1, 2], w.bob.id);
      await store.acknowledge(w.devices.b2.id, [1, 2], w.bob.id);

      const late = w.batch(commit(state(2, 1)));
      await store.commitWindow(w.window([bare(late)]));
      const end = w.size;
      await w.send(commit(state(2, 2), { expiresAt: LATER }));
      await store.complete(w.origin, late.messages);
      t.equal(await groupOf(store, w), '2.3 info of 2.3', 'another was committed since');
      await store.rewind(w.origin, end);
      t.equal(await groupOf(store, w), '2.2 null', 'what it made is known all the same');
    },
  ],
];
