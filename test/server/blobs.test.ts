/** What a device may put and who gets it, over the store itself. */
import t from 'tap';
import { randomBytes } from 'node:crypto';
import { equal } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { BLOB_PIECE_BYTES, MAX_BLOB_BYTES } from '../../protocol/messages.ts';
import { Blobs } from '../../server/blobs.ts';
import type { Member } from '../../server/members.ts';
import { PIECE_BYTES } from '../../store/blobs.ts';
import { migrateStore, openStore } from '../../store/open.ts';
import type { Hash } from '../../base/bytes.ts';
import { NOW, random32, World } from '../support/store-world.ts';

const url = `sqlite:${t.testdir()}/chat.db`;
await migrateStore(url, null, NOW);
const store = await openStore(url, null);
t.teardown(() => store.close());

async function desk() {
  const w = await World.open(store);
  const clock = { ms: 0, now: NOW };
  const blobs = new Blobs({ store, now: () => clock.now, monotonicMs: () => clock.ms });
  const { a1 } = w.devices;
  const member = { user: { id: a1.userId }, device: a1 } as unknown as Member;
  const put = (bytes: Uint8Array, offset: number, more: object = {}) => {
    const piece = bytes.subarray(offset, offset + BLOB_PIECE_BYTES);
    const frame = { hash: sha256(bytes), size: bytes.length, offset, piece, ...more };
    return blobs.put(member, { type: 'blob_put', id: 7, ...frame });
  };
  const get = (hash: Uint8Array, offset: number) => blobs.get({ type: 'blob_get', id: 8, hash, offset });
  return { w, clock, blobs, put, get };
}

t.test('pieces have one place and one length, and the whole has its hash', async (t) => {
  t.equal(PIECE_BYTES, BLOB_PIECE_BYTES, 'as the store cuts them');
  const { w, put, get } = await desk();
  const bytes = randomBytes(BLOB_PIECE_BYTES + 10);
  const at = (field: string) => ({ code: 'BAD_FRAME', field: `blob_put.${field}` });
  for (const offset of [1, 2 * BLOB_PIECE_BYTES]) await t.rejects(put(bytes, 0, { offset }), at('offset'));
  for (const piece of [bytes.subarray(0, 5), bytes]) await t.rejects(put(bytes, 0, { piece }), at('piece'));
  await t.rejects(put(bytes, BLOB_PIECE_BYTES, { piece: bytes.subarray(0, 11) }), at('piece'));
  t.strictSame(await put(bytes, 0), { type: 'blob_have', id: 7, bytes: BLOB_PIECE_BYTES });
  await t.rejects(put(bytes, BLOB_PIECE_BYTES, { piece: randomBytes(10) }), at('hash'));
  t.match(await put(bytes, BLOB_PIECE_BYTES), { bytes: 0 }, 'nothing is left of it');
  for (const offset of [0, BLOB_PIECE_BYTES]) await put(bytes, offset);

  const unknown = { code: 'NOT_FOUND', field: 'blob_get.hash' };
  await t.rejects(get(sha256(bytes), 0), unknown, 'nothing refers to it');
  const name = { hash: sha256(bytes) as Uint8Array as Hash, size: bytes.length };
  const group = { generation: 1, epoch: 0 };
  await w.send({ isCommit: true, group, groupInfo: Buffer.of(1), blobs: { parts: name } });
  const found = await get(name.hash, BLOB_PIECE_BYTES);
  t.equal(found.size, bytes.length);
  t.ok(equal(found.piece, bytes.subarray(BLOB_PIECE_BYTES)));
  await t.rejects(get(name.hash, 7), { code: 'BAD_FRAME', field: 'blob_get.offset' });
  await t.rejects(get(name.hash, 2 * BLOB_PIECE_BYTES), unknown, 'beyond its end');
  await t.rejects(get(random32(), 0), unknown);
});

t.test('so many bytes of one user at once, and what nothing refers to is forgotten', async (t) => {
  const { w, clock, blobs, put } = await desk();
  const bytes = randomBytes(5);
  await put(bytes, 0);
  clock.now += 3_600_000;
  await blobs.forget();
  const isThere = () => store.blobSizes(w.devices.a1.id, [sha256(bytes) as Uint8Array as Hash]);
  t.strictSame(await isThere(), [5], 'an hour');
  clock.now += 1;
  await blobs.forget();
  t.strictSame(await isThere(), [null]);
  const large = randomBytes(MAX_BLOB_BYTES);
  // An offset that does not fit costs as much as one that does: the bytes came here.
  for (let i = 0; i < 255; i++) await put(large, BLOB_PIECE_BYTES);
  await t.rejects(put(large, BLOB_PIECE_BYTES), { code: 'RATE_LIMIT' });
  clock.ms += 1000;
  await put(large, BLOB_PIECE_BYTES);
});
