/** The part of the storage contract that is about blobs: put in pieces, referred to by a commit, and forgotten when nobody needs them. */
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { hex, type Hash } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { PIECE_BYTES } from '../../store/blobs.ts';
import type { Device } from '../../store/contract/devices.ts';
import type { Store } from '../../store/store.ts';
import { LATER, NOW, World, type Batch, type BatchOptions } from '../support/store-world.ts';
import type { Suite } from './store.ts';

const LIMITS = { count: 3, bytes: 4 * PIECE_BYTES };
const hashOf = (bytes: Uint8Array): Hash => sha256(bytes) as Uint8Array as Hash;
const nameOf = (bytes: Uint8Array) => ({ hash: hashOf(bytes), size: bytes.length });

function putPiece(store: Store, device: Device, bytes: Uint8Array, offset: number, at = NOW, hash = hashOf(bytes)) {
  const piece = bytes.subarray(offset, offset + PIECE_BYTES);
  return store.putBlobPiece(device.id, { hash, size: bytes.length, offset, piece }, at, LIMITS);
}
async function put(store: Store, device: Device, bytes: Uint8Array, at = NOW): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += PIECE_BYTES) await putPiece(store, device, bytes, offset, at);
}
async function fetched(store: Store, bytes: Uint8Array): Promise<string | null> {
  const pieces: Uint8Array[] = [];
  for (let offset = 0; offset < bytes.length; offset += PIECE_BYTES) {
    const found = await store.blobPiece(hashOf(bytes), offset);
    if (found === null || found.size !== bytes.length) return null;
    pieces.push(found.piece);
  }
  return hex(Buffer.concat(pieces));
}
const sizes = (store: Store, device: Device, ...all: readonly Uint8Array[]) =>
  store.blobSizes(device.id, all.map(hashOf));
const commit = (epoch: number, more: BatchOptions = {}): BatchOptions => ({
  isCommit: true,
  group: { generation: 1, epoch },
  groupInfo: Buffer.from('info'),
  ...more,
});
const bare = ({ batch, messages }: Batch): Batch => ({
  batch,
  messages: messages.map((message) => ({ ...message, content: null })),
});

export const BLOB_TESTS: readonly (readonly [string, (t: Test, suite: Suite) => Promise<void>])[] = [
  [
    'blobs: piece after piece, and nobody gets one that is not whole, not right, or not referred to',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { a1, b1 } = w.devices;
      const bytes = randomBytes(2 * PIECE_BYTES + 5);
      t.equal(await putPiece(store, a1, bytes, PIECE_BYTES), 0, 'not from the middle');
      t.equal(await putPiece(store, a1, bytes, 0), PIECE_BYTES);
      t.equal(await putPiece(second, a1, bytes, 0), PIECE_BYTES, 'again: nothing changes');
      t.strictSame(await sizes(store, a1, bytes), [null]);
      await t.rejects(putPiece(store, a1, bytes.subarray(1), 0, NOW, hashOf(bytes)), {
        code: 'BAD_FRAME',
        field: 'size',
      });
      t.equal(await putPiece(second, a1, bytes, PIECE_BYTES), 2 * PIECE_BYTES);
      t.equal(await putPiece(store, a1, bytes, 2 * PIECE_BYTES), bytes.length);
      t.strictSame(await sizes(second, a1, bytes, randomBytes(4)), [bytes.length, null]);
      t.strictSame(await sizes(store, b1, bytes), [null], 'another device has not put it');
      t.equal(await fetched(store, bytes), null);
      await w.send(commit(0, { blobs: { parts: nameOf(bytes) } }));
      t.equal(await fetched(second, bytes), hex(bytes));
      t.equal(await store.blobPiece(hashOf(bytes), 3 * PIECE_BYTES), null, 'beyond its end');
      t.equal(await putPiece(store, a1, bytes, 0), bytes.length, 'it is there already');

      const wrong = randomBytes(PIECE_BYTES + 1);
      await putPiece(store, a1, wrong, 0, NOW, hashOf(bytes.subarray(1)));
      t.equal(await putPiece(store, a1, wrong, PIECE_BYTES, NOW, hashOf(bytes.subarray(1))), null);
      t.equal(
        await putPiece(store, a1, wrong, PIECE_BYTES, NOW, hashOf(bytes.subarray(1))),
        0,
        'nothing is left of it',
      );
      const nobody = { ...a1, id: 2 ** 30 };
      await t.rejects(putPiece(store, nobody, bytes, 0), { code: 'NOT_FOUND', field: 'device' });
    },
  ],
  [
    'blobs: what is not used gives way to what the same device puts, the oldest first',
    async (t, { store }) => {
      const { a1, b1 } = (await World.open(store)).devices;
      const of = (size: number) => randomBytes(size);
      const [one, two, three, four] = [of(10), of(11), of(12), of(13)];
      const other = of(14);
      await put(store, b1, other);
      for (const each of [one, two, three]) await put(store, a1, each);
      t.strictSame(await sizes(store, a1, one, two, three), [10, 11, 12]);
      await put(store, a1, four);
      t.strictSame(await sizes(store, a1, one, two, three, four), [null, 11, 12, 13], 'by their number');
      const large = of(4 * PIECE_BYTES - 20);
      await putPiece(store, a1, large, 0);
      t.strictSame(await sizes(store, a1, two, three, four), [null, null, 13], 'and by their size, as it will be');
      t.strictSame(await sizes(store, b1, other), [14]);
    },
  ],
  [
    'blobs: those of a commit stay as long as it waits, or its GroupInfo is kept; others for a while',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, b1, b2 } = w.devices;
      await store.forgetBlobs(NOW + 9, 10_000);
      const [parts, tree, newer, unused] = [
        randomBytes(50),
        randomBytes(PIECE_BYTES + 9),
        randomBytes(52),
        randomBytes(53),
      ];
      for (const each of [parts, tree]) await put(store, a1, each);
      const blobs = { parts: nameOf(parts), groupInfo: nameOf(tree) };
      const { stored } = await w.send(commit(0, { blobs }));
      const usage = await store.queueUsages([b1.id]);
      t.equal(usage[0]!.bytes, parts.length + 'message 1'.length, 'a queue counts it');
      await put(store, a1, unused, NOW + 5);
      t.equal(await store.forgetBlobs(NOW + 5, 100), 0);
      t.strictSame([await fetched(store, parts), await fetched(store, tree)], [hex(parts), hex(tree)]);
      const [ofB1, ofB2] = stored[0]!.cursors;
      await store.acknowledge(b1.id, [ofB1!], w.bob.id);
      t.equal(await store.forgetBlobs(NOW, 100), 0);
      await store.acknowledge(b2.id, [ofB2!], w.bob.id);
      t.strictSame((await store.queueUsages([b1.id]))[0], { bytes: 0, rows: 0 });
      t.equal(await store.forgetBlobs(NOW, 100), 1);
      t.strictSame([await fetched(store, parts), await fetched(store, tree)], [null, hex(tree)]);
      await put(store, a1, newer);
      const inviting = await w.send(
        commit(1, { blobs: { groupInfo: nameOf(newer) }, parts: [Buffer.of(1), Buffer.of(2)] }),
      );
      t.equal(await store.forgetBlobs(NOW, 100), 1, 'another GroupInfo is the newest');
      await w.send(commit(2));
      t.equal(await store.forgetBlobs(NOW, 100), 0, 'one that has added somebody is kept');
      t.strictSame([await fetched(store, tree), await fetched(store, newer)], [null, hex(newer)]);
      for (const [i, { id, userId }] of [b1, b2].entries()) {
        t.ok(await store.groupInfo(w.conversation, { generation: 1, epoch: 2 }), 'while somebody may still be invited');
        await store.acknowledge(id, [inviting.stored[0]!.cursors[i]!], userId);
        t.equal(await store.forgetBlobs(NOW, 100), i);
      }
      t.equal(await store.groupInfo(w.conversation, { generation: 1, epoch: 2 }), null);
      t.equal(await fetched(store, newer), null);
      t.equal(await store.forgetBlobs(NOW + 6, 100), 1);
      t.strictSame(await sizes(store, a1, unused), [null]);
      const late = await w.send(commit(3, { expiresAt: LATER, blobs: { parts: nameOf(unused) } }));
      t.equal(await fetched(store, unused), null, 'nothing refers to what is not there');
      t.strictSame([stored[0]!.lacksBlob, late.stored[0]!.lacksBlob], [undefined, true], 'and that is said');
    },
  ],
  [
    'blobs: one that is put again is as new as the last time',
    async (t, { store }) => {
      const { a1 } = (await World.open(store)).devices;
      const bytes = randomBytes(70);
      await put(store, a1, bytes);
      await put(store, a1, bytes, NOW + 10);
      await store.forgetBlobs(NOW + 10, 10_000);
      t.strictSame(await sizes(store, a1, bytes), [70]);
      await store.forgetBlobs(NOW + 11, 10_000);
      t.strictSame(await sizes(store, a1, bytes), [null]);
    },
  ],
  [
    'blobs: what the GroupInfos of one user take',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { a1, a2, b1 } = w.devices;
      const [one, two, parts] = [randomBytes(PIECE_BYTES + 1), randomBytes(80), randomBytes(90)];
      const kept = async () => [await store.keptInfoBytes(w.alice.id), await second.keptInfoBytes(w.bob.id)];
      await put(store, a1, one);
      for (const each of [two, parts]) await put(store, a2, each);
      t.strictSame(await kept(), [0, 0], 'nothing refers to them');
      await w.send(commit(0, { blobs: { groupInfo: nameOf(one) } }));
      await w.send(commit(1, { sender: a2, blobs: { groupInfo: nameOf(two), parts: nameOf(parts) } }));
      t.strictSame(await kept(), [PIECE_BYTES + 81, 0], 'of all devices, and not what waits for others');
      await store.forgetBlobs(NOW, 10_000);
      t.strictSame(await kept(), [80, 0]);
      await w.send(commit(2, { sender: b1 }));
      await store.forgetBlobs(NOW, 10_000);
      t.strictSame(await kept(), [0, 0]);
    },
  ],
  [
    'blobs: a commit that the log has lost gives them back, and one that it alone had gets them',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1 } = w.devices;
      const bytes = randomBytes(60);
      await put(store, a1, bytes);
      const blobs = { parts: nameOf(bytes) };
      const lost = await w.send(commit(0, { blobs }));
      await store.rewind(w.origin, 0);
      t.strictSame([await fetched(store, bytes), await sizes(store, a1, bytes)], [null, [bytes.length]]);
      w.size = 0;
      const known = w.batch({ ...commit(0, { blobs }), session: lost.batch.session });
      await store.commitWindow(w.window([bare(known)]));
      t.equal(await fetched(store, bytes), null);
      await store.complete(w.origin, known.messages);
      t.equal(await fetched(store, bytes), hex(bytes));
    },
  ],
];
