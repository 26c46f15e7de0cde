/** Who may take whose key packages, and how many, over the store itself. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import type { Member } from '../../server/members.ts';
import { Keys } from '../../server/keys.ts';
import { migrateStore, openStore } from '../../store/open.ts';
import type { Device } from '../../store/contract/devices.ts';
import { newDevice, newUser, NOW, random32, World } from '../support/store-world.ts';

const url = `sqlite:${t.testdir()}/chat.db`;
await migrateStore(url, null, NOW);
const store = await openStore(url, null);
t.teardown(() => store.close());

async function desk() {
  const w = await World.open(store);
  const clock = { ms: 0 };
  const asked: boolean[] = [];
  const keys = new Keys({
    store,
    contactPolicy: 'open',
    monotonicMs: () => clock.ms,
    conversation: async (_, id, fresh) => {
      asked.push(fresh);
      return (await store.conversation(id as typeof w.conversation, NOW))!;
    },
  });
  const memberOf = (device: Device): Member => ({ user: { id: device.userId }, device }) as unknown as Member;
  const put = (device: Device, names: string[], more: object = {}) => {
    const packages = names.map((name) => Buffer.from(name));
    return keys.put(memberOf(device), { type: 'keypackages_put', id: 1, packages, last_resort: false, ...more });
  };
  const take = async (device: Device, fingerprints: Uint8Array[]) => {
    const frame = { type: 'keypackages_take', id: 2, conversation: w.conversation, devices: fingerprints } as const;
    const { packages } = await keys.take(memberOf(device), frame);
    return packages.map((each) => [hex(each.device), Buffer.from(each.package).toString()]);
  };
  return { ...w.devices, w, clock, asked, keys, memberOf, put, take };
}

t.test('a binding is found by its hash', async (t) => {
  const { keys, memberOf, a1 } = await desk();
  const binding = Buffer.from('a binding');
  t.strictSame(await keys.putBinding(memberOf(a1), { type: 'binding_put', id: 4, binding }), { type: 'ok', id: 4 });
  const found = await keys.binding({ type: 'binding_get', id: 5, hash: sha256(binding) });
  t.match(found, { type: 'binding', id: 5 });
  t.equal(Buffer.from(found.binding).toString(), 'a binding');
  await t.rejects(keys.binding({ type: 'binding_get', id: 6, hash: random32() }), {
    code: 'NOT_FOUND',
    field: 'binding_get.hash',
  });
});

t.test('packages go to members of a conversation, for devices of its members', async (t) => {
  const { a1, b1, b2, asked, put, take } = await desk();
  t.match(await put(b1, ['one', 'two']), { type: 'keypackages', id: 1, count: 2 });
  t.match(await put(b1, []), { count: 2 });
  const both = [b1.fingerprint, b2.fingerprint];
  t.strictSame(await take(a1, both), [[hex(b1.fingerprint), 'one']], 'who has none is left out');
  t.strictSame(asked, [false], 'from memory');
  await put(b2, ['last'], { last_resort: true });
  t.strictSame(
    (await take(a1, both)).map(([, name]) => name),
    ['two', 'last'],
  );
  const stranger = await store.createUser(newUser(`stranger-${Date.now()}`));
  const { device } = await store.addDevice(newDevice(stranger.id), NOW, 9);
  await put(device, ['x']);
  asked.length = 0;
  for (const foreign of [device.fingerprint, random32()])
    await t.rejects(take(a1, [b1.fingerprint, foreign]), { code: 'NOT_FOUND', field: 'keypackages_take.devices' });
  t.strictSame(asked, [false, true, false, true], 'a device may be newer than what is remembered');
  t.match(await put(device, []), { count: 1 }, 'nothing was taken');
});

t.test('a last resort is one package, and a pool has a limit', async (t) => {
  const { a1, put } = await desk();
  for (const names of [[], ['x', 'y']])
    await t.rejects(put(a1, names, { last_resort: true }), { code: 'BAD_FRAME', field: 'keypackages_put.packages' });
  const names = Array.from({ length: 60 }, (_, i) => `${i}`);
  await put(a1, names);
  await t.rejects(put(a1, names), { code: 'QUOTA' });
  t.match(await put(a1, names.slice(0, 40)), { count: 100 });
  await t.rejects(put(a1, ['x']), { code: 'QUOTA' });
  t.match(await put(a1, ['x'], { fresh: true }), { count: 1 });
});

t.test('a user takes two thousand an hour, on all devices together', async (t) => {
  const { a1, a2, b1, b2, clock, put, take } = await desk();
  await put(b1, ['last'], { last_resort: true });
  const both = [b1.fingerprint, b2.fingerprint];
  for (let i = 0; i < 1000; i++) await take(i % 2 ? a1 : a2, both);
  await t.rejects(take(a2, both), { code: 'RATE_LIMIT', retryAfterMs: 3600 });
  await take(b1, [b2.fingerprint]);
  clock.ms += 3600;
  await take(a1, both);
  await t.rejects(take(a1, both), { code: 'RATE_LIMIT' });
  await t.rejects(take(a1, [random32()]), { code: 'NOT_FOUND' }, 'what does not exist costs nothing');
});
