/**
 * The storage contract (store/store.ts) as a suite. Every backend calls it with a function that opens the same database again and
 * again; the tests share that database, and keep out of each other's way by using names that nobody else has.
 */
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { hex, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../../base/bytes.ts';
import { MAX_LOCKOUT_MS } from '../../store/login-failures.ts';
import { encodeWindow } from '../../store/journal-record.ts';
import type { PasswordRecord } from '../../store/contract/accounts.ts';
import type { StoredMessage } from '../../store/contract/log.ts';
import type { QueueItem } from '../../store/contract/queue.ts';
import type { Store } from '../../store/store.ts';
import { encodeSaid } from '../../store/told.ts';
import { BLOB_TESTS } from './blobs.ts';
import { GROUP_TESTS } from './groups.ts';
import { ROOM_TESTS } from './rooms.ts';
import {
  LATER,
  newDevice,
  newSession,
  newUser,
  NOW,
  random32,
  usageOf,
  World,
  type BatchOptions,
} from '../support/store-world.ts';

export type Open = () => Promise<Store>;
export type CountRows = (
  table: 'contents' | 'expiries' | 'login_failures' | 'room_bans' | 'lineage_counters' | 'lineage_heads',
) => Promise<number>;

/**
 * @param open opens the database; two stores are used at once, as two processes would
 * @param countRows looks into a table past the store: what is deleted must be gone, and not only out of sight
 */
export function storeConformance(t: Test, name: string, open: Open, countRows: CountRows): Promise<unknown> {
  return t.test(`${name} keeps the storage contract`, async (t) => {
    const store = await open();
    const second = await open();
    t.teardown(async () => {
      await store.close();
      await second.close();
    });
    const suite: Suite = { store, second, open, countRows };
    for (const [title, test] of [...TESTS, ...GROUP_TESTS, ...BLOB_TESTS, ...ROOM_TESTS])
      await t.test(title, (t) => test(t, suite));
  });
}

export interface Suite {
  readonly store: Store;
  readonly second: Store;
  readonly open: Open;
  readonly countRows: CountRows;
}

const HOUR = 3_600_000;
let lastTag = 0;
const tag = (): string => `${process.pid}-${Date.now().toString(36)}-${++lastTag}`;

const newPassword = (): PasswordRecord => ({
  salt: randomBytes(16),
  pwdHash: randomBytes(32).toString('hex'),
  serverKey: randomBytes(32),
  pwdKdf: 'argon2id$m=262144,t=4,p=1',
});

/** Bytes of whatever class, as text. */
const plain = (row: object | null): object =>
  Object.fromEntries(Object.entries(row ?? {}).map(([k, v]) => [k, v instanceof Uint8Array ? hex(v) : (v as unknown)]));

const bytesOf = (items: readonly QueueItem[]): string[] =>
  items.flatMap((item) => (item.kind === 'message' ? item.parts.map((part) => Buffer.from(part).toString()) : []));
const cursorsOf = (items: readonly { readonly cursor: number }[]): number[] => items.map((item) => item.cursor);
const same = (t: Test, actual: Uint8Array, expected: Uint8Array, message: string): boolean =>
  t.equal(hex(actual), hex(expected), message);
const settled = async <T>(calls: readonly Promise<T>[]): Promise<{ values: T[]; codes: string[] }> => {
  const results = await Promise.allSettled(calls);
  return {
    values: results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])),
    codes: results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason.code)] : [])),
  };
};

/** Text that would end a statement, a string or a pattern, and characters from every plane. */
const HOSTILE = `'; DROP TABLE users; -- " \` \\ % _ ? :a @b $c /* */ \0 \n \r \x1a \u007f é ß \u0301 \u202e 😀 中 \uffff`;
const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

/** Another certificate for Bob's first device, by two connections at once: all that waits for it stays, and its key packages do not. */
async function takesOver(
  t: Test,
  w: World,
  stores: readonly [Store, Store],
  certificate: ReturnType<typeof newDevice>,
) {
  const [store] = stores;
  const { id } = w.devices.b1;
  await w.send({ count: 2 });
  const waiting = (await store.backlog(id, 0, 10, 1e6)).items;
  t.equal(waiting.length, 2);
  const epoch = (await store.findUser(w.bob.username))!.deviceEpoch;
  const published = { packages: [Buffer.from('of the old certificate')], isLastResort: false, isFresh: false };
  await store.putKeyPackages(id, published, 10);
  const add = (each: Store) => each.addDevice(certificate, NOW + 5, 2);
  const races = (await Promise.all(stores.map(add))) as [Added, Added];
  t.strictSame(races.map(({ isNew }) => isNew).sort(), [false, true], 'once, and within the limit of 2');
  for (const { isNew, renewed } of races)
    t.strictSame(renewed && hex(renewed), isNew ? hex(w.devices.b1.fingerprint) : null, 'in place of this one');
  t.equal((await store.findUser(w.bob.username))!.deviceEpoch, epoch + 1);
  t.strictSame((await store.backlog(id, 0, 10, 1e6)).items, waiting, 'its queue');
  t.strictSame(await store.takeKeyPackages([id]), [], 'and not its key packages');
  return races;
}
type Added = Awaited<ReturnType<Store['addDevice']>>;

const TESTS: readonly (readonly [string, (t: Test, suite: Suite) => Promise<void>])[] = [
  [
    'accounts: what was created is found, by username and by e-mail, and by nothing else',
    async (t, { store }) => {
      const name = tag();
      const wanted = newUser(name, { displayName: 'Alice', pwdKdf: 'kdf', certIdentity: 'uri:chat:a', createdAt: NOW });
      const user = await store.createUser(wanted);
      t.match(user, { ...wanted, status: 'active', deviceEpoch: 0, lastSeen: null, salt: Object, serverKey: Object });
      same(t, user.salt, wanted.salt, 'salt');
      same(t, user.serverKey, wanted.serverKey, 'server key');
      t.strictSame(await store.findUser(name), user);
      t.strictSame(await store.userWithDevice(user.id, random32<Fingerprint>()), { user, known: null });
      t.strictSame(await store.findUser(`${name}@example.org`), user);
      t.ok((await store.listUsers()).some((each) => each.id === user.id));
      for (const other of [
        `${name} `,
        ` ${name}`,
        name.toUpperCase() + 'X',
        `${name}\0`,
        `${name}@example.or_`,
        '',
        '%',
      ])
        t.equal(await store.findUser(other), null, JSON.stringify(other));
      t.equal(await store.userWithDevice(2 ** 40, random32<Fingerprint>()), null);
      const other = await store.createUser(newUser(tag()));
      const seen = [other, user].map(({ id }, i) => ({ userId: id, at: NOW + 5 + i }));
      await store.setLastSeen([...seen, { userId: 2 ** 40, at: NOW }]);
      t.equal((await store.findUser(other.username))?.lastSeen, NOW + 5);
      t.equal((await store.findUser(user.username))?.lastSeen, NOW + 6);
      t.strictSame(user.presence, { state: 'online', showsLastSeen: true });
      for (const state of ['away', 'dnd', 'invisible', 'online'] as const)
        for (const showsLastSeen of [false, true]) {
          await store.setPresence(user.id, { state, showsLastSeen });
          t.strictSame((await store.findUser(user.username))?.presence, { state, showsLastSeen });
        }
    },
  ],
  [
    'accounts: case and accents make another name',
    async (t, { store }) => {
      const name = tag();
      const users = [`a-${name}`, `A-${name}`, `á-${name}`, `a\u0301-${name}`];
      for (const each of users) await store.createUser(newUser(each));
      for (const each of users) t.equal((await store.findUser(each))?.username, each);
    },
  ],
  [
    'accounts: a taken username or e-mail is refused and named',
    async (t, { store }) => {
      const name = tag();
      await store.createUser(newUser(name));
      const taken = (more: object) => store.createUser(newUser(name, more));
      await t.rejects(taken({ email: `other-${name}` }), { code: 'USER_EXISTS', field: 'username' });
      await t.rejects(taken({ username: `other-${name}` }), { code: 'USER_EXISTS', field: 'email' });
      await t.rejects(taken({}), { code: 'USER_EXISTS', field: 'username' }, 'both');
      t.equal(await store.findUser(`other-${name}`), null, 'nothing is left of the refused ones');
    },
  ],
  [
    'accounts: an e-mail address is given up for another one that nobody has',
    async (t, { store }) => {
      const [a, b] = [tag(), tag()];
      const user = await store.createUser(newUser(a, { email: `${a}@x` }));
      await store.createUser(newUser(b, { email: `${b}@x` }));
      await t.rejects(store.setEmail(user.id, `${b}@x`), { code: 'USER_EXISTS', field: 'email' });
      await store.setEmail(user.id, `${a}@y`);
      t.equal(await store.findUser(`${a}@x`), null);
      t.match(await store.findUser(`${a}@y`), { id: user.id, email: `${a}@y`, username: user.username });
    },
  ],
  [
    'accounts: a status and a password are set, and nothing else changes with them',
    async (t, { store }) => {
      const [user, other] = [await store.createUser(newUser(tag())), await store.createUser(newUser(tag()))];
      const now = () => store.findUser(user.username);
      t.equal(await store.setStatus(user.id, 'active'), false, 'it was');
      t.equal(await store.setStatus(user.id, 'suspended'), true);
      t.equal(await store.setStatus(user.id, 'suspended'), false);
      t.strictSame(await now(), { ...user, status: 'suspended' });
      t.notOk((await store.directory('', 1e6)).some(({ username }) => username === user.username));
      t.equal(await store.setStatus(user.id, 'active'), true);
      t.strictSame(await now(), user);

      const [one, two] = [newPassword(), newPassword()];
      t.equal(await store.setPassword(user.id, one, two.pwdHash), false, 'he has another one than that');
      t.strictSame(await now(), user);
      t.equal(await store.setPassword(user.id, one, user.pwdHash), true);
      t.strictSame(plain(await now()), plain({ ...user, ...one }));
      t.equal(await store.setPassword(user.id, one, user.pwdHash), true, 'the same once more');
      t.equal(await store.setPassword(user.id, two, user.pwdHash), false, 'that was the one before');
      t.equal(await store.setPassword(user.id, two, null), true, 'whatever he has');
      t.strictSame(plain(await now()), plain({ ...user, ...two }));
      t.strictSame(await store.findUser(other.username), other, 'nobody else is concerned');
      await t.rejects(store.setStatus(2 ** 40, 'active'), { code: 'NOT_FOUND', field: 'userId' });
      await t.rejects(store.setPassword(2 ** 40, one, null), { code: 'NOT_FOUND', field: 'userId' });
    },
  ],
  [
    'accounts: of those who change one password at once, each from what it was, one does',
    async (t, { store, second }) => {
      const user = await store.createUser(newUser(tag()));
      const wanted = Array.from({ length: 8 }, newPassword);
      const done = await Promise.all(
        wanted.map((password, i) => [store, second][i % 2]!.setPassword(user.id, password, user.pwdHash)),
      );
      t.strictSame(done.toSorted(), [...Array<boolean>(7).fill(false), true]);
      const now = await store.findUser(user.username);
      t.strictSame(plain(now), plain({ ...user, ...wanted[done.indexOf(true)] }));
    },
  ],
  [
    'accounts: of several who race for a name exactly one wins',
    async (t, { store, second }) => {
      const name = tag();
      for (const more of [(i: number) => ({ email: `${i}-${name}` }), (i: number) => ({ username: `${i}-${name}` })]) {
        const calls = Array.from({ length: 8 }, (_, i) =>
          [store, second][i % 2]!.createUser(newUser(`r-${name}`, more(i))),
        );
        const { values, codes } = await settled(calls);
        t.equal(values.length + codes.length, 8);
        t.ok(values.length <= 1 && codes.every((code) => code === 'USER_EXISTS'), codes.join());
      }
      t.ok(await store.findUser(`r-${name}`), 'the first race had a winner');
    },
  ],
  [
    'accounts: with a first device, or not at all',
    async (t, { store }) => {
      const [name, other] = [tag(), tag()];
      const { userId: _, ...device } = newDevice(0);
      const user = await store.createUser(newUser(name), device);
      t.equal(user.deviceEpoch, 1);
      t.strictSame(await store.findUser(name), user);
      const [added, ...more] = await store.devicesOf(user.id, 5);
      t.match(added, { userId: user.id, firstSeen: NOW, revokedAt: null, serialKey: device.serialKey });
      t.equal(more.length, 0);
      t.equal((await store.addDevice({ ...device, userId: user.id }, NOW, 1)).isNew, false);
      await t.rejects(store.createUser(newUser(other), device), { code: 'CERT_ACCOUNT_MISMATCH' });
      t.equal(await store.findUser(other), null, 'his name is free');
      t.ok(await store.createUser(newUser(other)));
    },
  ],
  [
    'devices: a certificate is registered once, and raises the epoch once',
    async (t, { store }) => {
      const user = await store.createUser(newUser(tag()));
      const wanted = newDevice(user.id);
      const { device, isNew } = await store.addDevice(wanted, NOW, 5);
      t.ok(isNew);
      t.match(device, {
        userId: user.id,
        serialKey: wanted.serialKey,
        notAfter: LATER,
        firstSeen: NOW,
        revokedAt: null,
      });
      for (const field of ['fingerprint', 'spkiHash', 'chain'] as const) same(t, device[field], wanted[field], field);
      const again = await store.addDevice(wanted, NOW + 1, 5);
      t.strictSame(again, { device, isNew: false, keyHashes: [device.spkiHash], renewed: null });
      const now = (await store.findUser(user.username))!;
      t.equal(now.deviceEpoch, 1);
      const known = { device, keyHashes: [device.spkiHash] };
      t.strictSame(await store.userWithDevice(user.id, wanted.fingerprint), { user: now, known });
      const other = await store.createUser(newUser(tag()));
      const elsewhere = await store.userWithDevice(other.id, wanted.fingerprint);
      t.strictSame(elsewhere, { user: other, known: null }, 'the device of somebody else is none of his');
      t.strictSame(await store.deviceByFingerprint(wanted.fingerprint), { ...device, username: user.username });
      t.equal(await store.deviceByFingerprint(random32<Fingerprint>()), null);
      await t.rejects(store.addDevice(newDevice(2 ** 40), NOW, 5), { code: 'NOT_FOUND', field: 'userId' });
    },
  ],
  [
    'devices: a certificate belongs to one user',
    async (t, { store, second }) => {
      const [a, b] = [await store.createUser(newUser(tag())), await store.createUser(newUser(tag()))];
      const { fingerprint } = (await store.addDevice(newDevice(a.id), NOW, 5)).device;
      await t.rejects(store.addDevice(newDevice(b.id, { fingerprint }), NOW, 5), { code: 'CERT_ACCOUNT_MISMATCH' });
      const contested = random32<Fingerprint>();
      const { values, codes } = await settled([
        store.addDevice(newDevice(a.id, { fingerprint: contested }), NOW, 5),
        second.addDevice(newDevice(b.id, { fingerprint: contested }), NOW, 5),
      ]);
      t.strictSame([values.length, codes], [1, ['CERT_ACCOUNT_MISMATCH']]);
    },
  ],
  [
    'devices: one that is revoked is found again by its certificate in another encoding',
    async (t, { store }) => {
      const user = await store.createUser(newUser(tag()));
      const wanted = newDevice(user.id);
      const copy = { ...wanted, fingerprint: random32<Fingerprint>() };
      const { id } = (await store.addDevice(wanted, NOW, 5)).device;
      await store.revokeDevices({ serialKey: wanted.serialKey }, NOW);
      t.match(await store.addDevice(copy, NOW, 5), { device: { id, revokedAt: NOW }, isNew: false, renewed: null });
      t.equal((await store.devicesOf(user.id, 9)).length, 1, 'and no other has come of it');
      const others = [{ serialKey: 'another' }, { spkiHash: random32() }, { notAfter: LATER + 1 }];
      for (const other of others)
        t.ok((await store.addDevice({ ...copy, ...other, fingerprint: random32<Fingerprint>() }, NOW, 5)).isNew);
    },
  ],
  [
    'devices: the limit counts what is neither revoked nor expired, also in a race',
    async (t, { store, second }) => {
      const user = await store.createUser(newUser(tag()));
      const add = (more = {}, now = NOW, by = store) => by.addDevice(newDevice(user.id, more), now, 2);
      const { codes } = await settled(Array.from({ length: 6 }, (_, i) => add({}, NOW, i % 2 ? store : second)));
      t.strictSame(codes, Array(4).fill('DEVICE_LIMIT'));
      const known = (await store.openDirect(user.id, (await store.createUser(newUser(tag()))).id, random32(), NOW))
        .members;
      const first = known.find((member) => member.userId === user.id)?.devices[0];
      const device = await store.deviceByFingerprint(first?.fingerprint as Fingerprint);
      await t.rejects(add(), { code: 'DEVICE_LIMIT', field: 'device' });
      t.equal((await store.addDevice(device as never, NOW, 2)).isNew, false, 'a known one is found all the same');
      await store.revokeDevices({ serialKey: device?.serialKey as string }, NOW);
      const { device: brief } = await add({ notAfter: NOW + HOUR });
      await t.rejects(add({}, NOW + HOUR - 1), { code: 'DEVICE_LIMIT' });
      t.ok((await add({}, NOW + HOUR + 1)).isNew, 'one of them has expired');
      t.ok(brief.id > 0);
    },
  ],
  [
    'devices: one whose certificate has ended counts again when it is renewed',
    async (t, { store }) => {
      const user = await store.createUser(newUser(tag()));
      const add = async (more = {}, now = NOW) => (await store.addDevice(newDevice(user.id, more), now, 2)).device;
      const [brief, other] = [await add({ notAfter: NOW + HOUR }), await add({ notAfter: NOW + HOUR })];
      const later = NOW + HOUR + 1;
      await add({}, later);
      t.equal((await add({ spkiHash: brief.spkiHash }, later)).id, brief.id, 'there is room for one');
      await t.rejects(add({ spkiHash: other.spkiHash }, later), { code: 'DEVICE_LIMIT', field: 'device' });
      await t.rejects(add({ continues: other.id }, later), { code: 'DEVICE_LIMIT', field: 'device' });
      t.equal((await add({ continues: brief.id }, later)).id, brief.id, 'one that counts already needs none');
    },
  ],
  [
    'devices: however often one was renewed, it comes before the certificates that it has had',
    async (t, { store }) => {
      const user = await store.createUser(newUser(tag()));
      const { device } = await store.addDevice(newDevice(user.id), NOW, 5);
      for (let i = 1; i <= 3; i++) await store.addDevice(newDevice(user.id, { continues: device.id }), NOW + i, 5);
      const { device: gone } = await store.addDevice(newDevice(user.id), NOW, 5);
      await store.revokeDevices({ serialKey: gone.serialKey }, NOW);
      const listed = await store.devicesOf(user.id, 3);
      t.strictSame(
        listed.map(({ id, revokedAt }) => [id === device.id, revokedAt === null]),
        [
          [true, true],
          [false, false],
          [false, false],
        ],
      );
      t.equal(listed[1]?.id, gone.id, 'then the newest');
      t.equal((await store.devicesOf(user.id, 9)).length, 5);
    },
  ],
  [
    'devices: a certificate with another key takes over the device that continues, with all that waits for it',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { a1, b1, b2 } = w.devices;
      const next = newDevice(w.bob.id, { continues: b1.id, notAfter: LATER - 1 });
      const races = await takesOver(t, w, [store, second], next);
      for (const { device, keyHashes } of races) {
        t.match(device, { id: b1.id, serialKey: next.serialKey, notAfter: LATER - 1, revokedAt: null });
        for (const field of ['fingerprint', 'spkiHash', 'chain'] as const) same(t, device[field], next[field], field);
        t.strictSame(keyHashes.map(hex), [next.spkiHash, b1.spkiHash].map(hex), 'by either key it is meant');
      }
      const before = (await store.deviceByFingerprint(b1.fingerprint))!;
      t.match(before, { userId: w.bob.id, revokedAt: NOW + 5 });
      same(t, before.spkiHash, b1.spkiHash, 'what the old one was stays provable');
      same(t, before.chain, b1.chain, 'and its chain');
      await w.send({ count: 1 });
      t.equal((await store.backlog(b1.id, 0, 10, 1e6)).items.length, 3, 'what comes later as well');
      const third = newDevice(w.bob.id, { continues: b1.id });
      const { device, keyHashes } = await store.addDevice(third, NOW + 6, 2);
      t.strictSame(keyHashes.map(hex), [third.spkiHash, next.spkiHash, b1.spkiHash].map(hex));
      t.strictSame((await store.userWithDevice(w.bob.id, third.fingerprint))?.known, { device, keyHashes });
      const ended = (await store.userWithDevice(w.bob.id, next.fingerprint))?.known;
      t.match(ended, { device: { revokedAt: NOW + 6 } }, 'what has ended says so');

      const stranger = await store.addDevice(newDevice(w.alice.id, { continues: b2.id }), NOW, 9);
      t.not(stranger.device.id, b2.id, 'nobody continues the device of another user');
      await store.revokeDevices({ spkiHash: a1.spkiHash }, NOW);
      const late = await store.addDevice(newDevice(w.alice.id, { continues: a1.id }), NOW, 9);
      t.not(late.device.id, a1.id, 'nor one that is revoked');
    },
  ],
  [
    'devices: a renewed certificate of the same key takes over the device with all that waits for it',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { a1, b1, b2 } = w.devices;
      const renewed = newDevice(w.bob.id, { spkiHash: b1.spkiHash });
      const [{ device }] = await takesOver(t, w, [store, second], renewed);
      const waiting = (await store.backlog(b1.id, 0, 10, 1e6)).items;
      t.match(device, {
        id: b1.id,
        serialKey: renewed.serialKey,
        notAfter: LATER,
        firstSeen: NOW + 5,
        revokedAt: null,
      });
      for (const field of ['fingerprint', 'spkiHash', 'chain'] as const) same(t, device[field], renewed[field], field);
      const before = await store.deviceByFingerprint(b1.fingerprint);
      t.match(before, { userId: w.bob.id, username: w.bob.username, serialKey: b1.serialKey, revokedAt: NOW + 5 });
      same(t, before!.chain, b1.chain, 'what the old one has signed stays provable');
      t.not(before!.id, b1.id);
      const members = (await store.conversation(w.conversation, NOW + 5))!.members;
      t.strictSame(
        members.find(({ userId }) => userId === w.bob.id)!.devices.map(({ id, fingerprint }) => [id, hex(fingerprint)]),
        [
          [b1.id, hex(renewed.fingerprint)],
          [b2.id, hex(b2.fingerprint)],
        ],
        'one for the other in the roster',
      );
      await store.acknowledge(b1.id, cursorsOf(waiting), w.bob.id);
      t.strictSame((await store.backlog(b1.id, 0, 10, 1e6)).items, [], 'and keeps it');
      t.strictSame(await store.revokeDevices({ serialKey: b1.serialKey }, NOW + 6), [before!.id]);
      t.equal((await store.deviceByFingerprint(renewed.fingerprint))?.revokedAt, null, 'revoking the old one is late');

      t.equal(
        (await store.addDevice(newDevice(w.bob.id), NOW, 3)).device.id > b2.id,
        true,
        'another key: another device',
      );
      const shorter = newDevice(w.alice.id, { spkiHash: a1.spkiHash, notAfter: LATER - 1 });
      t.not(
        (await store.addDevice(shorter, NOW, 9)).device.id,
        a1.id,
        'a certificate that ends earlier renews nothing',
      );
      const stranger = newDevice(w.bob.id, { spkiHash: a1.spkiHash });
      t.not((await store.addDevice(stranger, NOW, 9)).device.id, a1.id, 'nor does one of somebody else');
      await store.revokeDevices({ serialKey: a1.serialKey }, NOW);
      const late = newDevice(w.alice.id, { spkiHash: a1.spkiHash, notAfter: LATER + 1 });
      t.not((await store.addDevice(late, NOW, 9)).device.id, a1.id, 'nor is a revoked device renewed');
      await store.rewind(w.origin, 0);
      t.equal(await store.logSize(w.origin), 0, 'each row has a mailbox');
    },
  ],
  [
    'devices: revocation by serial or key marks all that match, and raises the epochs',
    async (t, { store }) => {
      const [a, b] = [await store.createUser(newUser(tag())), await store.createUser(newUser(tag()))];
      const shared = { serialKey: hex(random32()), spkiHash: random32() };
      const add = async (userId: number, more = {}) => (await store.addDevice(newDevice(userId, more), NOW, 9)).device;
      const serial = [
        await add(a.id, { serialKey: shared.serialKey }),
        await add(b.id, { serialKey: shared.serialKey }),
      ];
      const key = [
        await add(a.id, { spkiHash: shared.spkiHash }),
        await add(a.id, { spkiHash: shared.spkiHash, notAfter: LATER - 1 }),
      ];
      const other = await add(a.id);
      t.strictSame(
        await store.revokeDevices({ serialKey: shared.serialKey }, NOW + 1),
        serial.map((each) => each.id),
      );
      t.strictSame(
        await store.revokeDevices({ spkiHash: shared.spkiHash }, NOW + 2),
        key.map((each) => each.id),
      );
      t.strictSame(await store.revokeDevices({ serialKey: hex(random32()) }, NOW), []);
      const epochs = async () => [
        (await store.findUser(a.username))?.deviceEpoch,
        (await store.findUser(b.username))?.deviceEpoch,
      ];
      t.strictSame(await epochs(), [4 + 3, 1 + 1]);
      const [first, last] = [
        await store.deviceByFingerprint(serial[0]!.fingerprint),
        await store.deviceByFingerprint(key[1]!.fingerprint),
      ];
      t.strictSame([first?.revokedAt, last?.revokedAt], [NOW + 1, NOW + 2]);
      t.equal((await store.deviceByFingerprint(other.fingerprint))?.revokedAt, null);
      t.strictSame(
        await store.revokeDevices({ serialKey: shared.serialKey }, NOW + 9),
        serial.map((each) => each.id),
      );
      t.strictSame(await epochs(), [7, 2], 'again: nothing changes');
      t.equal((await store.deviceByFingerprint(serial[0]!.fingerprint))?.revokedAt, NOW + 1);
    },
  ],
  [
    'contacts: both sides change together, racing questions meet, and a block outweighs everything',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const [a, b] = [w.alice.id, w.bob.id];
      const states = async () => [
        (await store.contactsOf(a)).map(({ state }) => state),
        (await second.contactsOf(b)).map(({ state }) => state),
      ];
      t.equal(await store.standing(a, b), 'strangers');
      t.strictSame(await store.changeContact(a, b, 'add', NOW), {
        before: { mine: null, theirs: null },
        after: { mine: 'asked', theirs: 'asking' },
      });
      t.match(await store.contactsOf(b), [
        { userId: a, username: w.alice.username, email: w.alice.email, state: 'asking', changedAt: NOW },
      ]);
      t.equal(await store.standing(a, b), 'strangers');
      await store.changeContact(b, a, 'accept', NOW + 1);
      t.equal(await second.standing(b, a), 'contacts');
      t.equal((await store.conversation(w.conversation, NOW))?.standing, 'contacts');
      await store.changeContact(a, b, 'remove', NOW + 2);
      t.strictSame(await states(), [[], []]);

      for (let round = 0; round < 10; round++) {
        await Promise.all([store.changeContact(a, b, 'add', NOW), second.changeContact(b, a, 'add', NOW)]);
        t.strictSame(
          await states(),
          [['contact'], ['contact']],
          'who ask each other at the same moment are in contact',
        );
        await store.changeContact(b, a, 'remove', NOW);
      }
      await store.changeContact(a, b, 'block', NOW + 3);
      t.equal(await store.standing(b, a), 'blocked');
      await t.rejects(store.changeContact(b, a, 'add', NOW), { code: 'BLOCKED', sub: undefined });
      await t.rejects(store.changeContact(a, b, 'add', NOW), { code: 'BLOCKED', sub: 'by_you' });
      await t.rejects(store.changeContact(b, a, 'accept', NOW), { code: 'NOT_FOUND' });
      t.strictSame(await states(), [['blocked'], []], 'what was refused has changed nothing');
      await t.rejects(store.changeContact(a, a, 'add', NOW), { code: 'NO_SUCH_PEER' });
      await t.rejects(store.changeContact(a, 2 ** 31, 'block', NOW), { code: 'NO_SUCH_PEER' });
    },
  ],
  [
    'devices: all that a user ever had, the newest first, revoked ones as well',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, a2 } = w.devices;
      await store.revokeDevices({ serialKey: a1.serialKey }, NOW + 7);
      const devices = await store.devicesOf(w.alice.id, 10);
      t.strictSame(
        devices.map(({ id, revokedAt }) => [id, revokedAt]),
        [
          [a2.id, null],
          [a1.id, NOW + 7],
        ],
      );
      t.strictSame(
        (await store.devicesOf(w.alice.id, 1)).map(({ id }) => id),
        [a2.id],
      );
    },
  ],
  [
    'directory: active accounts by name, from a name on',
    async (t, { store }) => {
      const names = Array.from({ length: 5 }, (_, i) => `zz-directory-${tag()}-${i}`);
      for (const name of names) await store.createUser(newUser(name, { displayName: name.toUpperCase() }));
      const page = await store.directory('zz-directory-', 1000);
      const mine = page.filter(({ username }) => names.includes(username));
      t.strictSame(
        mine,
        names.map((name) => ({ username: name, email: `${name}@example.org`, displayName: name.toUpperCase() })),
      );
      t.strictSame(
        (await store.directory(names[1]!, 2)).map(({ username }) => username),
        names.slice(2, 4),
      );
    },
  ],
  [
    'conversations: two users have one, whoever asks and however often',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const calls = Array.from({ length: 8 }, (_, i) =>
        [store, second][i % 2]!.openDirect(
          ...((i < 4 ? [w.alice.id, w.bob.id] : [w.bob.id, w.alice.id]) as [number, number]),
          random32<ConversationId>(),
          NOW,
        ),
      );
      for (const found of await Promise.all(calls)) same(t, found.id, w.conversation, 'id');
      const [c, d] = [await store.createUser(newUser(tag())), await store.createUser(newUser(tag()))];
      const candidates = Array.from({ length: 8 }, () => random32<ConversationId>());
      const race = await Promise.all(
        candidates.map((id, i) => [store, second][i % 2]!.openDirect(d.id, c.id, id, NOW)),
      );
      t.equal(new Set(race.map((found) => hex(found.id))).size, 1);
      t.ok(candidates.some((id) => hex(id) === hex(race[0]!.id)));
      for (const [x, y] of [
        [c.id, c.id],
        [c.id, 2 ** 40],
      ] as const)
        await t.rejects(store.openDirect(x, y, random32(), NOW), { code: 'NO_SUCH_PEER' });
    },
  ],
  [
    'the conversation of a user’s own devices: one, whoever asks and however often, and nobody else is in it',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const id = random32<ConversationId>();
      const calls = Array.from({ length: 8 }, (_, i) => [store, second][i % 2]!.openSelf(w.alice.id, id, NOW));
      for (const found of await Promise.all(calls)) {
        same(t, found.id, id, 'id');
        t.equal(found.standing, 'self');
        t.strictSame(
          found.members.map(({ userId }) => userId),
          [w.alice.id],
        );
        t.ok(found.members[0]!.devices.length > 0);
      }
      t.match(await store.conversation(id, NOW), { standing: 'self' });
      const { id: own } = await store.openSelf(w.bob.id, random32<ConversationId>(), NOW);
      t.not(hex(own), hex(id));
      await t.rejects(store.openSelf(2 ** 31, random32<ConversationId>(), NOW), { code: 'NO_SUCH_PEER' });
    },
  ],
  [
    'conversations: members by ascending id with their live devices, and the sum of their epochs',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, a2, b1, b2 } = w.devices;
      const devicesAt = async (now: number) =>
        (await store.conversation(w.conversation, now))?.members.map((member) => member.devices.map(({ id }) => id));
      const found = await store.conversation(w.conversation, NOW);
      same(t, found?.id as Uint8Array, w.conversation, 'id');
      t.equal(found?.epoch, 4);
      t.strictSame(
        found?.members.map(({ userId, username }) => [userId, username]),
        [
          [w.alice.id, w.alice.username],
          [w.bob.id, w.bob.username],
        ],
      );
      same(t, found!.members[0]!.devices[0]!.fingerprint, a1.fingerprint, 'fingerprint');
      t.strictSame(await devicesAt(NOW), [
        [a1.id, a2.id],
        [b1.id, b2.id],
      ]);
      await store.revokeDevices({ serialKey: a1.serialKey }, NOW);
      await store.addDevice(newDevice(w.bob.id, { notAfter: NOW + HOUR }), NOW, 9);
      t.equal((await store.conversation(w.conversation, NOW))?.epoch, 6);
      t.equal((await devicesAt(NOW))?.[0]?.length, 1);
      t.equal((await devicesAt(NOW))?.[1]?.length, 3);
      t.equal((await devicesAt(NOW + HOUR + 1))?.[1]?.length, 2);
      await store.revokeDevices({ serialKey: a2.serialKey }, NOW);
      t.strictSame((await devicesAt(NOW))?.[0], [], 'a member without a device is still a member');
      t.equal(await store.conversation(random32<ConversationId>(), NOW), null);
    },
  ],
  [
    'lockout: what is old is forgotten, and what still locks is not',
    async (t, { store, countRows }) => {
      await store.forgetLoginFailures(Number.MAX_SAFE_INTEGER);
      t.equal(await countRows('login_failures'), 0);
      const [old, recent, locked] = [tag(), tag(), tag()];
      const fail = (subject: string, now: number) => store.countLoginFailure([subject], now, 3, 5 * HOUR);
      await fail(old, NOW);
      await fail(old, NOW);
      await fail(recent, NOW);
      await fail(recent, NOW + HOUR);
      for (let i = 0; i < 3; i++) await fail(locked, NOW);
      await store.forgetLoginFailures(NOW);
      t.equal(await countRows('login_failures'), 3, 'none is older than that');
      await store.forgetLoginFailures(NOW + 1);
      t.equal(await countRows('login_failures'), 2);
      t.equal(await fail(old, NOW + 2 * HOUR), 0, 'begins anew');
      t.equal(await fail(recent, NOW + 2 * HOUR), NOW + 7 * HOUR, 'his third');
      t.equal(await store.lockedUntil([locked], NOW + HOUR, 3), NOW + 5 * HOUR);
    },
  ],
  [
    'lockout: from the n-th failure on, doubling, at most a day, and for each subject by itself',
    async (t, { store, open }) => {
      const [pair, certificate, other] = [tag(), tag(), tag()];
      const fail = (now: number, ...subjects: string[]) => store.countLoginFailure(subjects, now, 3, 1000);
      t.equal(await fail(NOW, pair, certificate), 0);
      t.equal(await fail(NOW, pair), 0);
      t.equal(await store.lockedUntil([pair, certificate], NOW, 3), 0);
      t.equal(await fail(NOW, pair, certificate), NOW + 1000, 'third of the one, second of the other');
      t.equal(await fail(NOW + 10, pair, certificate), NOW + 10 + 2000, 'the longest of both');
      t.equal(await store.lockedUntil([certificate], NOW + 10, 3), NOW + 10 + 1000);
      t.equal(await store.lockedUntil([certificate, pair], NOW + 10, 3), NOW + 10 + 2000);
      t.equal(await store.lockedUntil([pair], NOW + 10 + 2000, 3), 0, 'over');
      t.equal(await store.lockedUntil([other], NOW, 3), 0);
      t.equal(await store.lockedUntil([], NOW, 3), 0);
      for (let i = 0; i < 60; i++) await fail(NOW, pair);
      const cap = NOW + MAX_LOCKOUT_MS;
      t.equal(await fail(NOW, pair), cap);
      t.equal(MAX_LOCKOUT_MS, 24 * HOUR);
      const again = await open();
      t.equal(await again.lockedUntil([pair], NOW, 3), cap, 'after opening again');
      t.equal(await again.countLoginFailure([pair], NOW + HOUR, 3, 1000), cap + HOUR);
      await again.close();
      await store.clearLoginFailures([pair, other]);
      t.equal(await store.lockedUntil([pair], NOW, 3), 0);
      t.equal(await fail(NOW, pair), 0, 'counts from the start');
      t.not(await store.lockedUntil([certificate], NOW + 10, 3), 0, 'not cleared');
    },
  ],
  [
    'lockout: racing failures are all counted',
    async (t, { store, second }) => {
      const [x, y] = [tag(), tag()];
      const calls = Array.from({ length: 10 }, (_, i) =>
        [store, second][i % 2]!.countLoginFailure(i % 3 ? [x, y] : [y, x], NOW, 10, 1000),
      );
      t.equal((await Promise.all(calls)).filter((until) => until > 0).length, 1);
      t.equal(await store.lockedUntil([x], NOW, 10), NOW + 1000);
      t.equal(await store.countLoginFailure([x], NOW + HOUR, 10, 1000), NOW + HOUR + 2000);
      t.equal(await store.countLoginFailure([x], NOW, 10, 1000), NOW + HOUR + 2000, 'a clock behind shortens nothing');
    },
  ],
  [
    'lockout: who is not locked is not either when the clock is set back, and then no longer than for others',
    async (t, { store }) => {
      const subject = tag();
      const fail = (now: number) => store.countLoginFailure([subject], now, 3, 1000);
      t.equal(await fail(NOW + HOUR), 0);
      t.equal(await store.lockedUntil([subject], NOW, 3), 0);
      t.equal(await fail(NOW), 0);
      t.equal(await fail(NOW), NOW + 1000);
      t.equal(await store.lockedUntil([subject], NOW, 3), NOW + 1000);
      t.equal(await store.lockedUntil([subject], NOW + 1000, 3), 0);
    },
  ],
  [
    'windows: seq without a gap in each conversation, one cursor for each recipient',
    async (t, { store }) => {
      const w = await World.open(store);
      const carol = await store.createUser(newUser(tag()));
      const { id: other } = await store.openDirect(w.alice.id, carol.id, random32<ConversationId>(), NOW);
      const { a1, a2, b1, b2 } = w.devices;
      t.equal(await store.logSize(w.origin), 0);
      const batches = [
        w.batch({ conversations: [w.conversation, other, w.conversation], recipients: [b2.id, b1.id] }),
        w.batch({ sender: w.devices.b1, recipients: [a1.id, a2.id, b2.id] }),
      ];
      const stored = await store.commitWindow(w.window(batches, [a1.fingerprint]));
      t.strictSame(stored, [
        [
          { seq: 1, cursors: [1, 1] },
          { seq: 1, cursors: [2, 2] },
          { seq: 2, cursors: [3, 3] },
        ],
        [{ seq: 3, cursors: [1, 1, 4] }],
      ]);
      t.equal(await store.logSize(w.origin), 7);
      t.strictSame(
        (await w.send({ conversations: [other, w.conversation] })).stored.map(({ seq }) => seq),
        [2, 4],
      );
      t.strictSame(
        await store.commitWindow({ ...w.window([]), logSize: w.size + 3 }),
        [],
        'a window may hold no batch',
      );
      t.equal(await store.logSize(w.origin), w.size + 3);
      t.ok(await store.isCertificateLogged(w.origin, a1.fingerprint));
      t.notOk(await store.isCertificateLogged(w.origin, a2.fingerprint));
      t.notOk(await store.isCertificateLogged('another/log', a1.fingerprint));
    },
  ],
  [
    'windows: applying one again changes nothing and answers the same, whatever happened since',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { b1, b2 } = w.devices;
      const first = w.window([w.batch({ count: 3 }), w.batch({ sender: b1 })], [b1.fingerprint]);
      const answer = await store.commitWindow(first);
      const usage = await usageOf(store, b1.id);
      t.strictSame(await second.commitWindow(first), answer, 'at once');
      t.strictSame(await usageOf(store, b1.id), usage);
      await w.send({ count: 2 });
      const kept = (await store.backlog(b1.id, 0, 10, 1e6)).items;
      await store.acknowledge(b1.id, cursorsOf(kept), w.bob.id);
      await store.acknowledge(b2.id, cursorsOf(kept), w.bob.id);
      t.strictSame(await store.commitWindow(first), answer, 'after it was delivered');
      t.strictSame(await usageOf(store, b1.id), { bytes: 0, rows: 0 });
      t.equal(await store.logSize(w.origin), w.size);
      const race = w.window([w.batch({ count: 5 })]);
      const answers = await Promise.all([store, second, store, second].map((each) => each.commitWindow(race)));
      for (const each of answers) t.strictSame(each, answers[0], 'racing');
      t.equal((await usageOf(store, b1.id)).rows, 5);
    },
  ],
  [
    'windows: other bytes at the place of an entry are refused',
    async (t, { store }) => {
      const w = await World.open(store);
      const { window } = await w.send();
      const [{ batch, messages }] = window.batches as [(typeof window.batches)[number]];
      const changed = messages.map((message) => ({ ...message, statementHash: random32<Hash>() }));
      await t.rejects(store.commitWindow({ ...window, batches: [{ batch, messages: changed }] }), {
        code: 'LOG_CORRUPT',
        field: 'index',
      });
      await t.rejects(store.complete(w.origin, changed), { code: 'LOG_CORRUPT', field: 'index' });
      const moved = messages.map((message) => ({ ...message, index: message.index + 50 }));
      await t.rejects(store.complete(w.origin, moved), { code: 'LOG_CORRUPT', field: 'index' });
    },
  ],
  [
    'windows: all or nothing',
    async (t, { store }) => {
      const w = await World.open(store);
      const { window, batch } = await w.send();
      const { b1, b2 } = w.devices;
      const before = { usage: await usageOf(store, b1.id), size: w.size };
      const bad = [
        [{ recipients: [b1.id, 2 ** 30] }, { code: 'NOT_FOUND', field: 'device' }],
        [{ conversations: [w.conversation, random32<ConversationId>()] }, { code: 'NOT_FOUND', field: 'conversation' }],
      ] as const;
      for (const [options, error] of bad) {
        const lost = w.window([w.batch({ recipients: [b2.id] }), w.batch(options)], [b1.fingerprint]);
        await t.rejects(store.commitWindow(lost), error);
        w.size = before.size;
      }
      const others = [w.batch({ session: newSession() }), w.batch({ session: newSession() })];
      const reused = w.batch();
      const again = { ...reused, batch: { ...reused.batch, firstCtr: batch.firstCtr } };
      const failing = w.window([...others, again]);
      // Together with a call that succeeds: a backend that commits both at once keeps them apart.
      const [refused, seen] = await Promise.allSettled([
        store.commitWindow(failing),
        store.setLastSeen([{ userId: w.alice.id, at: NOW + 77 }]),
      ]);
      t.match(refused, { reason: { code: 'COUNTER_REUSED', field: 'batch' } });
      t.equal(seen.status, 'fulfilled');
      t.equal((await store.findUser(w.alice.username))?.lastSeen, NOW + 77);
      for (const { batch } of others)
        t.equal(await store.findBatch(batch.fingerprint, batch.session, batch.firstCtr), null);
      w.size = before.size;
      t.strictSame(await usageOf(store, b1.id), before.usage);
      t.equal((await usageOf(store, b2.id)).rows, 1);
      t.equal(await store.logSize(w.origin), before.size);
      t.notOk(await store.isCertificateLogged(w.origin, b1.fingerprint));
      t.equal((await w.send({ session: newSession() })).stored[0]?.seq, 2, 'no number was lost');
      t.ok(window);
    },
  ],
  [
    'windows: those of a journal are one, with what their recipients keep; or other places, and nothing',
    async (t, { store, countRows }) => {
      const w = await World.open(store);
      const { b1, b2 } = w.devices;
      const contents = await countRows('contents');
      const first = w.window([w.batch({ parts: [Buffer.from('kept')] })]);
      const between = w.size;
      const second = w.window([w.batch({ count: 2, parts: [Buffer.from('waits')] })], [b1.fingerprint]);
      const records = [encodeWindow({ from: 0, window: first }), encodeWindow({ from: between, window: second })];
      const nobody = { keptBy: [], isReached: false };
      const said = [
        { place: { seq: 1, cursors: [1, 1] }, keptBy: [b2.id, b1.id], isReached: true },
        { place: { seq: 2, cursors: [2, 2] }, keptBy: [b1.id], isReached: true },
        { place: { seq: 3, cursors: [3, 3] }, ...nobody },
      ];
      for (const wrong of [
        said.with(2, { place: { seq: 4, cursors: [3, 3] }, ...nobody }),
        said.with(2, { place: { seq: 3, cursors: [3, 4] }, ...nobody }),
      ])
        await t.rejects(store.commitRecords(records, encodeSaid(wrong)), { code: 'STORE_FAILED', sub: 'places' });
      t.equal(await store.logSize(w.origin), 0, 'nothing is changed');
      for (let times = 0; times < 2; times++) {
        await store.commitRecords(records, encodeSaid(said));
        t.equal(await store.logSize(w.origin), w.size);
      }
      t.ok(await store.isCertificateLogged(w.origin, b1.fingerprint));
      t.equal(await countRows('contents'), contents + 2, 'of what all keep there is no content');
      t.strictSame((await usageOf(store, b1.id)).rows, 1);
      const cursors = (await store.backlog(b2.id, 0, 10, 1e6)).items.map(({ cursor }) => cursor);
      t.strictSame(cursors, [2, 3]);
      const [[stored]] = (await store.commitWindow(first)) as [StoredMessage[]];
      t.strictSame(stored, { seq: 1, cursors: [1, 1] }, 'the window by itself gets its answer');
      t.equal((await w.send()).stored[0]!.seq, 4);
    },
  ],
  [
    'windows: two logs add to one conversation at the same time',
    async (t, { store, second }) => {
      const here = await World.open(store);
      const there = here.elsewhere(second);
      const run = async (w: World, options: BatchOptions): Promise<number[]> => {
        const seqs: number[] = [];
        for (let i = 0; i < 3; i++) seqs.push(...(await w.send({ ...options, count: 2 })).stored.map(({ seq }) => seq));
        return seqs;
      };
      const [a, b] = await Promise.all([run(here, {}), run(there, { sender: here.devices.b1 })]);
      t.strictSame(
        [...a, ...b].sort((x, y) => x - y),
        Array.from({ length: 12 }, (_, i) => i + 1),
      );
    },
  ],
  [
    'batches: found by their counters and by their place, with what is known of their messages',
    async (t, { store }) => {
      const w = await World.open(store);
      await w.send();
      const { batch, messages, stored } = await w.send({ count: 3 });
      const session = newSession();
      const fromLog = await w.send({ session, isFromLog: true });
      const found = await store.findBatch(batch.fingerprint, batch.session, batch.firstCtr);
      t.match(found, { origin: w.origin, firstIndex: batch.firstIndex, firstCtr: 2, count: 3, serverTime: NOW });
      for (const field of ['fingerprint', 'session', 'sigb', 'batchHash'] as const)
        same(t, found![field], batch[field], field);
      t.strictSame(
        found?.messages.map(({ index, seq, statementHash, hasContent }) => [
          index,
          seq,
          hex(statementHash),
          hasContent,
        ]),
        messages.map((message, i) => [message.index, stored[i]?.seq, hex(message.statementHash), true]),
      );
      t.strictSame(await store.batchAt(w.origin, batch.firstIndex), found);
      t.equal((await store.findBatch(batch.fingerprint, session, 1))?.messages[0]?.hasContent, false);
      t.equal(fromLog.batch.firstCtr, 1);
      const nowhere = [
        store.findBatch(batch.fingerprint, batch.session, 3),
        store.findBatch(batch.fingerprint, newSession(), 2),
        store.findBatch(random32<Fingerprint>(), batch.session, 2),
        store.batchAt(w.origin, batch.firstIndex + 1),
        store.batchAt(w.origin, 2 ** 39),
        store.batchAt('another/log', batch.firstIndex),
      ];
      for (const each of nowhere) t.equal(await each, null);
    },
  ],
  [
    'lineage: zeros for what was never seen, then the newest of the session and of the device',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, a2 } = w.devices;
      const zeros = '00'.repeat(32);
      const [s1, s2] = [newSession(), newSession()];
      const session = async (id: SessionId, of = a1) => {
        const { lastCtr, lastBatchHash } = await store.sessionLineage(of.fingerprint, id);
        return [lastCtr, hex(lastBatchHash)];
      };
      const conversation = async (id: SessionId, of = a1, where = w.conversation) => {
        const { convCtr, lastStatementHash } = await store.conversationLineage(of.fingerprint, id, where);
        return [convCtr, hex(lastStatementHash)];
      };
      t.strictSame(
        [await session(s1), await conversation(s1)],
        [
          [0, zeros],
          [0, zeros],
        ],
      );
      const first = await w.send({ session: s1, count: 3 });
      t.strictSame(await session(s1), [3, hex(first.batch.batchHash)]);
      t.strictSame(await conversation(s1), [3, hex(first.messages[2]!.statementHash)]);
      t.strictSame(await session(s2), [0, zeros]);
      t.strictSame(
        await conversation(s2),
        [0, hex(first.messages[2]!.statementHash)],
        'the chain goes on across sessions',
      );
      const next = await w.send({ session: s2, isFromLog: true });
      t.strictSame(await session(s2), [1, hex(next.batch.batchHash)]);
      t.strictSame(await conversation(s2), [1, hex(next.messages[0]!.statementHash)]);
      t.strictSame(await conversation(s1), [3, hex(next.messages[0]!.statementHash)]);
      t.strictSame(await session(s1), [3, hex(first.batch.batchHash)]);
      t.strictSame(
        [await session(s1, a2), await conversation(s1, a2)],
        [
          [0, zeros],
          [0, zeros],
        ],
        'another device',
      );
      t.strictSame(await conversation(s1, a1, random32<ConversationId>()), [0, zeros]);
      const last = await w.send({ session: s1 });
      t.strictSame(await session(s1), [4, hex(last.batch.batchHash)]);
      t.strictSame(await conversation(s2), [1, hex(last.messages[0]!.statementHash)]);
    },
  ],
  [
    'rewind: the window is as if it had never been, and may be written anew',
    async (t, { store, countRows }) => {
      const w = await World.open(store);
      const { a1, b1, b2 } = w.devices;
      const session = newSession();
      const kept = await w.send({ session, count: 2 });
      const size = w.size;
      const state = async () => ({
        size: await store.logSize(w.origin),
        session: await store.sessionLineage(a1.fingerprint, session),
        conversation: await store.conversationLineage(a1.fingerprint, session, w.conversation),
        fresh: await store.conversationLineage(b1.fingerprint, session, w.conversation),
        certificate: await store.isCertificateLogged(w.origin, b1.fingerprint),
        usage: await Promise.all([a1, b1, b2].map(({ id }) => usageOf(store, id))),
        backlog: (await store.backlog(b1.id, 0, 100, 1e6)).items,
      });
      const before = await state();
      const rows = await Promise.all([countRows('contents'), countRows('expiries')]);
      const lost = w.window([w.batch({ session, count: 3 }), w.batch({ sender: b1 })], [b1.fingerprint]);
      await store.commitWindow(lost);
      const also = await w.send({ session, expiresAt: NOW + 1 });
      await store.acknowledge(b2.id, also.stored[0]!.cursors.slice(1), w.bob.id);
      t.notSame(await state(), before);
      const times = [...lost.batches.map(({ batch }) => batch.serverTime), also.batch.serverTime];
      t.equal(await store.timesAfter(w.origin, size), new Set(times).size);
      t.equal(await store.timesAfter(w.origin, w.size), 0);
      t.equal(await store.timesAfter('another/log', 0), 0);
      await store.rewind(w.origin, size);
      t.strictSame(await state(), before);
      t.strictSame(await Promise.all([countRows('contents'), countRows('expiries')]), rows, 'nothing is left behind');
      t.equal(await store.batchAt(w.origin, size), null);
      t.equal(await store.findBatch(a1.fingerprint, session, 3), null);
      await store.rewind(w.origin, size);
      await store.rewind(w.origin, size + 1);
      await store.rewind('another/log', 0);
      t.strictSame(await state(), before, 'again, above the end, and an unknown log: nothing changes');
      t.strictSame(await store.expire(NOW + 2, 100), [], 'no lost message expires');
      w.size = size;
      const anew = await w.send({ session: newSession() });
      t.equal(anew.stored[0]?.seq, 3);
      t.ok(anew.stored[0]!.cursors[0]! > Math.max(...cursorsOf(before.backlog)), 'no cursor is given out twice');
      t.strictSame(bytesOf((await store.backlog(b1.id, 0, 100, 1e6)).items).length, 3);
      await store.acknowledge(b2.id, anew.stored[0]!.cursors.slice(1), w.bob.id);
      await store.rewind(w.origin, 0);
      t.strictSame((await state()).usage, Array(3).fill({ bytes: 0, rows: 0 }));
      t.equal((await store.conversationLineage(a1.fingerprint, session, w.conversation)).convCtr, 0);
      t.ok(kept);
    },
  ],
  [
    'recovery: messages known from the log alone have seq and lineage, and wait for their content',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { a1, b1 } = w.devices;
      const batch = w.batch({ count: 2 });
      const session = batch.batch.session;
      const logged = batch.messages.map((message) => ({ ...message, content: null }));
      const window = w.window([{ ...batch, messages: logged }]);
      t.strictSame(await store.commitWindow(window), [
        [
          { seq: 1, cursors: [] },
          { seq: 2, cursors: [] },
        ],
      ]);
      t.strictSame((await store.backlog(b1.id, 0, 10, 1e6)).items, []);
      t.equal((await store.conversationLineage(a1.fingerprint, session, w.conversation)).convCtr, 2);
      const has = async () =>
        (await store.batchAt(w.origin, batch.batch.firstIndex))?.messages.map((message) => message.hasContent);
      t.strictSame(await has(), [false, false]);
      const [first, last] = batch.messages.map(({ index }) => ({ conversation: w.conversation, index }));
      const bare = async (from: number, origin = w.origin) =>
        (await store.incomplete(origin, from)).map(({ conversation, index }) => [hex(conversation), index]);
      const named = (...all: { readonly conversation: ConversationId; readonly index: number }[]) =>
        all.map(({ conversation, index }) => [hex(conversation), index]);
      t.strictSame(await bare(0), named(first!, last!));
      t.strictSame(await bare(last!.index), named(last!));
      t.strictSame(await bare(last!.index + 1), []);
      t.strictSame(await bare(0, 'another/log'), []);
      const next = await w.send();
      t.equal(next.stored[0]?.seq, 3);
      t.strictSame(await store.complete(w.origin, logged), [null, null], 'nothing was brought');
      const completed = await store.complete(w.origin, batch.messages.slice(0, 1));
      t.strictSame(completed, [{ seq: 1, cursors: [2, 2] }]);
      t.strictSame(await has(), [true, false]);
      t.strictSame(await bare(0), named(last!));
      const race = await Promise.all([store, second, store].map((each) => each.complete(w.origin, batch.messages)));
      t.strictSame(
        race.map(([known]) => known),
        [null, null, null],
        'it was queued before',
      );
      t.strictSame(
        race.flatMap(([, completed]) => completed ?? []),
        [{ seq: 2, cursors: [3, 3] }],
        'one of them has queued it, and is told the cursors',
      );
      const fewer = batch.messages.map((each) => ({ ...each, content: { ...each.content!, recipients: [b1.id] } }));
      t.strictSame(await store.complete(w.origin, fewer), [null, null], 'whoever comes later, for whomever');
      const items = (await store.backlog(b1.id, 0, 10, 1e6)).items;
      t.strictSame(
        items.map((item) => item.kind === 'message' && [item.seq, item.index]),
        [
          [3, next.messages[0]?.index],
          [1, batch.messages[0]?.index],
          [2, batch.messages[1]?.index],
        ],
      );
      await t.rejects(store.complete('another/log', batch.messages), { code: 'LOG_CORRUPT' });
      t.equal(await store.logSize('another/log'), 0);
    },
  ],
  [
    'backlog: in order, from above a cursor, within both limits',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, a2, b1 } = w.devices;
      const sizes = [10, 20, 30, 500, 5];
      const sent = [];
      for (const size of sizes)
        sent.push(await w.send({ parts: [Buffer.alloc(size - 4, 'x'), Buffer.alloc(0), Buffer.alloc(4, 'y')] }));
      const take = async (after: number, maxItems: number, maxBytes: number) =>
        cursorsOf((await store.backlog(b1.id, after, maxItems, maxBytes)).items);
      t.strictSame(await take(0, 10, 1e6), [1, 2, 3, 4, 5]);
      t.strictSame(await take(2, 10, 1e6), [3, 4, 5]);
      t.strictSame(await take(5, 10, 1e6), []);
      t.strictSame(await take(0, 2, 1e6), [1, 2]);
      t.strictSame(await take(0, 10, 60), [1, 2, 3], 'just as many bytes');
      t.strictSame(await take(0, 10, 59), [1, 2]);
      t.strictSame(await take(3, 10, 100), [4], 'the first alone is larger');
      t.strictSame(await take(0, 10, 0), [1]);
      const isWhole = async (...limits: readonly [after: number, maxItems: number, maxBytes: number]) =>
        (await store.backlog(b1.id, ...limits)).isWhole;
      t.ok(await isWhole(0, 6, 565), 'room for one more item, and for just as many bytes');
      t.notOk(await isWhole(0, 5, 565), 'a full page may not be the last one');
      t.notOk(await isWhole(0, 10, 564), 'the last one did not fit');
      t.notOk(await isWhole(0, 10, 0));
      t.ok(await isWhole(3, 10, 505), 'there is more in the mailbox, and nothing after it');
      t.notOk(await isWhole(3, 2, 505));
      t.ok(await isWhole(4, 10, 0), 'the first alone is larger');
      t.ok(await isWhole(5, 10, 1e6), 'nothing');
      t.ok((await store.backlog(w.devices.a1.id, 0, 10, 1e6)).isWhole, 'nobody has ever written there');
      const [item] = (await store.backlog(b1.id, 3, 10, 0)).items;
      const message = sent[3]!.messages[0]!;
      t.match(item, {
        kind: 'message',
        cursor: 4,
        origin: w.origin,
        index: message.index,
        batchFirstIndex: message.index - 1,
        seq: 4,
      });
      if (item?.kind === 'message') {
        same(t, item.conversation, w.conversation, 'conversation');
        same(t, item.statement, message.statement, 'statement');
        t.strictSame(item.parts.map(hex), message.content?.parts.map(hex));
      }
      t.strictSame(await usageOf(store, b1.id), { bytes: 565, rows: 5 });
      t.strictSame(await usageOf(store, a1.id), { bytes: 0, rows: 0 });
      t.strictSame(await usageOf(store, 2 ** 30), { bytes: 0, rows: 0 });
      await w.send({ sender: w.devices.b2, recipients: [b1.id], parts: [Buffer.alloc(7)] });
      t.strictSame(
        await store.queueShares(b1.id),
        [
          { senderUserId: w.alice.id, bytes: 565, rows: 5 },
          { senderUserId: w.bob.id, bytes: 7, rows: 1 },
        ],
        'by sender',
      );
      t.strictSame(await store.queueShares(2 ** 30), []);
      t.strictSame((await store.backlog(a2.id, 0, 10, 1e6)).items, [], 'nothing for others');
    },
  ],
  [
    'acknowledge: what a device keeps is gone from its queue, and nobody is told',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { a1, a2, b1, b2 } = w.devices;
      const { stored } = await w.send({ count: 2, recipients: [b1.id, b2.id, a2.id] });
      const cursors = (i: number) => stored.map((each) => each.cursors[i] as number);
      await store.acknowledge(a2.id, cursors(2), w.alice.id);
      await Promise.all([
        store.acknowledge(b1.id, [...cursors(0), 999], w.bob.id),
        second.acknowledge(b1.id, cursors(0), w.bob.id),
      ]);
      t.strictSame((await store.backlog(b1.id, 0, 10, 1e6)).items, []);
      t.strictSame(await usageOf(store, b1.id), { bytes: 0, rows: 0 });
      t.equal((await store.backlog(b2.id, 0, 10, 1e6)).items.length, 2, 'the other device still waits');
      await store.acknowledge(b1.id, cursors(0), w.bob.id);
      await store.acknowledge(b2.id, cursors(1), w.bob.id);
      for (const { id } of [a1, a2, b1, b2]) t.strictSame(await usageOf(store, id), { bytes: 0, rows: 0 });
    },
  ],
  [
    'receipts: queued like messages, and without a place among them',
    async (t, { store, second, countRows }) => {
      const w = await World.open(store);
      const { a1, a2, b1 } = w.devices;
      const session = newSession();
      await w.send();
      const counted = async () => [await countRows('lineage_counters'), await countRows('lineage_heads')];
      const rows = await counted();
      const receipt = { sender: b1, session, isAside: 'conversation', expiresAt: NOW + 50 } as const;
      const { stored, window, batch } = await w.send({ ...receipt, count: 2, recipients: [a1.id, a2.id] });
      t.strictSame(
        stored.map(({ seq }) => seq),
        [0, 0],
      );
      t.strictSame(await counted(), rows, 'no counters, no links');
      t.match(await store.sessionLineage(b1.fingerprint, session), { lastCtr: 2, isClosed: false });
      t.match(await store.conversationLineage(b1.fingerprint, session, w.conversation), { convCtr: 0 });
      const [item] = (await store.backlog(a1.id, 0, 10, 1e6)).items;
      t.match(item, { kind: 'message', seq: 0, group: null, index: batch.firstIndex + 1 });
      if (item?.kind === 'message') same(t, item.conversation, w.conversation, 'conversation');
      t.strictSame(await second.commitWindow(window), [stored], 'again: the same answer');
      t.match(
        (await store.findBatch(b1.fingerprint, session, 1))?.messages.map(({ seq, hasContent }) => [seq, hasContent]),
        [
          [0, true],
          [0, true],
        ],
      );
      const next = await w.send();
      t.equal(next.stored[0]?.seq, 2, 'messages are counted as if there were none');

      const expiries = await countRows('expiries');
      await w.send({ ...receipt, recipients: [] });
      t.equal(await countRows('expiries'), expiries, 'what waits for nobody cannot expire');
      await store.acknowledge(a1.id, cursorsOf((await store.backlog(a1.id, 0, 10, 1e6)).items), w.alice.id);
      t.strictSame(await store.expire(NOW + 50, 1000), [], 'that one has waited too long is no news');
      t.strictSame(await usageOf(store, a2.id), { bytes: 0, rows: 0 });
      await w.send({ ...receipt, recipients: [a2.id], expiresAt: NOW + 60 });
      t.strictSame(await store.expire(NOW + 60, 1000), [], 'nor that nobody at all has got it');
    },
  ],
  [
    'receipts: rewound and completed after a crash, like messages',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, b1 } = w.devices;
      const session = newSession();
      await w.send();
      const size = w.size;
      const receipt = { sender: b1, session, isAside: 'conversation', recipients: [a1.id] } as const;
      await w.send(receipt);
      await store.rewind(w.origin, size);
      t.strictSame(await usageOf(store, a1.id), { bytes: 0, rows: 0 });
      t.match(await store.sessionLineage(b1.fingerprint, session), { lastCtr: 0 });
      w.size = size;
      t.equal((await w.send()).stored[0]?.seq, 2, 'and the messages keep their numbers');
      const bare = w.batch({ ...receipt, session: newSession() });
      await store.commitWindow(
        w.window([{ ...bare, messages: bare.messages.map((each) => ({ ...each, content: null })) }]),
      );
      t.strictSame((await store.backlog(a1.id, 0, 10, 1e6)).items, []);
      t.strictSame(
        (await store.complete(w.origin, bare.messages)).map((each) => [each?.seq, each?.cursors.length]),
        [[0, 1]],
      );
      t.equal((await store.backlog(a1.id, 0, 10, 1e6)).items.length, 1);
    },
  ],
  [
    'sessions: opened and closed in no conversation; a close that the log has lost was none',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1 } = w.devices;
      const session = newSession();
      const aside = { session, isAside: 'everywhere', recipients: [] } as const;
      t.strictSame((await w.send(aside)).stored, [{ seq: 0, cursors: [] }]);
      await w.send({ session });
      const size = w.size;
      await w.send({ ...aside, isClose: true });
      t.match(await store.sessionLineage(a1.fingerprint, session), { lastCtr: 3, isClosed: true });
      const { lastBatchHash } = await store.sessionLineage(a1.fingerprint, session);
      const [end, ...more] = await store.sessionEnds(session);
      t.equal(end?.lastCtr, 3);
      same(t, end!.lastBatch, lastBatchHash, 'how it ends');
      same(t, end!.session, session, 'its id');
      same(t, end!.fingerprint, a1.fingerprint, 'whose it is');
      t.strictSame([more, await store.sessionEnds(newSession())], [[], []]);
      await store.rewind(w.origin, size);
      t.match(await store.sessionLineage(a1.fingerprint, session), { lastCtr: 2, isClosed: false });
    },
  ],
  [
    'acknowledge: content that nobody waits for any more is gone',
    async (t, { store, second, countRows }) => {
      const w = await World.open(store);
      const { b1, b2 } = w.devices;
      const rows = async () => [await countRows('contents'), await countRows('expiries')];
      const [contents = 0, expiries = 0] = await rows();
      for (const round of [1, 2, 3]) {
        const { stored } = await w.send({ count: 20 });
        t.strictSame(await rows(), [contents + 20, expiries + 20]);
        const [first = [], last = []] = [0, 1].map((i) => stored.map((each) => each.cursors[i] as number));
        await store.acknowledge(b1.id, first.slice(0, 5), w.bob.id);
        t.strictSame(await rows(), [contents + 20, expiries + 20], 'the other device waits');
        await Promise.all([
          store.acknowledge(b1.id, first.slice(5), w.bob.id),
          second.acknowledge(b2.id, last, w.bob.id),
        ]);
        t.strictSame(await rows(), [contents, expiries], `both at once, round ${round}`);
      }
    },
  ],
  [
    'acknowledge: both ends of a conversation keep each other’s messages while more arrive',
    async (t, { store, second }) => {
      const w = await World.open(store);
      const { a1, b1 } = w.devices;
      const drain = async (on: Store, deviceId: number, userId: number, wanted: number) => {
        const seen: number[] = [];
        for (let messages = 0; messages < wanted;) {
          const items = (await on.backlog(deviceId, seen.at(-1) ?? 0, 3, 1e6)).items;
          seen.push(...cursorsOf(items));
          messages += items.filter((item) => item.kind === 'message').length;
          if (items.length > 0) await on.acknowledge(deviceId, cursorsOf(items), userId);
        }
        return seen;
      };
      const write = async () => {
        for (let i = 0; i < 12; i++) await w.send(i % 2 ? { sender: a1 } : { sender: b1 });
      };
      const [, atA, atB] = await Promise.all([
        write(),
        drain(store, a1.id, w.alice.id, 6),
        drain(second, b1.id, w.bob.id, 6),
      ]);
      for (const seen of [atA, atB])
        t.strictSame(
          seen,
          [...seen].sort((x, y) => x - y),
          'nothing appears below what was seen',
        );
    },
  ],
  [
    'expire: what is over is deleted; who was reached by nobody is said to the sender',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, a2, b1, b2 } = w.devices;
      await store.expire(NOW - 1, 1000);
      const send = (expiresAt: number, recipients?: number[]) =>
        w.send({ expiresAt, ...(recipients && { recipients }) });
      const unread = await send(NOW + 1);
      const read = await send(NOW + 2);
      await store.acknowledge(b1.id, [read.stored[0]!.cursors[0]!], w.bob.id);
      const copied = await send(NOW + 3, [a2.id]);
      await store.acknowledge(a2.id, copied.stored[0]!.cursors, w.alice.id);
      const nobody = await send(NOW + 4, []);
      const later = await send(NOW + HOUR);
      t.strictSame(await store.expire(NOW, 100), []);

      const receipts = [...(await store.expire(NOW + 10, 3)), ...(await store.expire(NOW + 10, 3))];
      t.strictSame(
        receipts.map(({ deviceId, message, by, at }) => [deviceId, hex(message), by, at]),
        [unread, copied, nobody].flatMap(({ messages }) =>
          [a1.id, a2.id].map((id) => [id, hex(messages[0]!.statementHash), w.bob.username, NOW + 10]),
        ),
      );
      t.strictSame(await store.expire(NOW + 10, 100), [], 'once');
      for (const device of [b1, b2]) {
        t.strictSame(cursorsOf((await store.backlog(device.id, 0, 10, 1e6)).items), [later.stored[0]!.cursors[0]]);
        t.equal((await usageOf(store, device.id)).rows, 1);
      }
      const inbox = (await store.backlog(a1.id, 0, 10, 1e6)).items;
      t.strictSame(
        inbox.map((item) => item.kind === 'expired' && hex(item.message)),
        [unread, copied, nobody].map(({ messages }) => hex(messages[0]!.statementHash)),
      );
      const known = (await store.batchAt(w.origin, unread.batch.firstIndex))?.messages[0];
      t.ok(known?.hasContent, 'it had content');
      t.strictSame(await store.commitWindow(unread.window), [unread.stored]);
      t.strictSame(await store.complete(w.origin, unread.messages), [null]);
      t.equal((await usageOf(store, b1.id)).rows, 1, 'and does not come back');
    },
  ],
  [
    'expire: of several who do it at once, one tells the sender',
    async (t, { store, second }) => {
      const w = await World.open(store);
      await store.expire(NOW + 99, 1000);
      await w.send({ count: 4, expiresAt: NOW + 100 });
      const answers = await Promise.all([store, second, store, second].map((each) => each.expire(NOW + 100, 100)));
      t.equal(answers.flat().length, 8);
      t.equal((await usageOf(store, w.devices.a1.id)).rows, 4);
    },
  ],
  [
    'text and bytes: what is dangerous elsewhere is plain data here',
    async (t, { store }) => {
      const name = `${tag()}${HOSTILE}`;
      const wanted = newUser(name, {
        email: `e${name}`,
        displayName: HOSTILE,
        certIdentity: HOSTILE,
        pwdKdf: HOSTILE.slice(0, 40),
      });
      const user = await store.createUser(wanted);
      t.strictSame(await store.findUser(name), user);
      t.strictSame(await store.findUser(`e${name}`), user);
      t.match(user, {
        username: name,
        email: `e${name}`,
        displayName: HOSTILE,
        certIdentity: HOSTILE,
        pwdKdf: HOSTILE.slice(0, 40),
      });
      t.equal(await store.findUser("' OR '1'='1"), null);
      const serialKey = `${name} `;
      const { device } = await store.addDevice(
        newDevice(user.id, { serialKey, chain: EVERY_BYTE, spkiHash: EVERY_BYTE.subarray(0, 32) }),
        NOW,
        5,
      );
      t.equal(device.serialKey, serialKey);
      same(t, device.chain, EVERY_BYTE, 'chain');
      t.strictSame(await store.revokeDevices({ serialKey: name }, NOW), [], 'a trailing space is a difference');
      t.strictSame(await store.revokeDevices({ serialKey }, NOW), [device.id]);
      t.equal(await store.countLoginFailure([HOSTILE + name], NOW, 1, 1000), NOW + 1000);
      t.equal(await store.lockedUntil([HOSTILE + name], NOW, 1), NOW + 1000);
      t.equal(await store.lockedUntil([`${HOSTILE + name} `], NOW, 1), 0);

      const w = await World.open(store);
      Object.assign(w, { origin: `${w.origin}/${HOSTILE} ` });
      const session = EVERY_BYTE.subarray(240) as Uint8Array as SessionId;
      const sent = await w.send({
        session,
        statement: EVERY_BYTE.subarray(0, 248),
        parts: [EVERY_BYTE, EVERY_BYTE.subarray(0, 1), Buffer.alloc(0)],
      });
      t.equal(await store.logSize(w.origin), w.size);
      t.equal(await store.logSize(w.origin.trimEnd()), 0);
      const [item] = (await store.backlog(w.devices.b1.id, 0, 1, 1e6)).items;
      t.ok(
        item?.kind === 'message' &&
          item.origin === w.origin &&
          hex(item.statement) === hex(EVERY_BYTE.subarray(0, 248)),
      );
      t.strictSame(item?.kind === 'message' && item.parts.map(hex), [hex(EVERY_BYTE), '00', '']);
      t.equal((await store.findBatch(sent.batch.fingerprint, session, 1))?.origin, w.origin);
      t.equal((await store.sessionLineage(sent.batch.fingerprint, session)).lastCtr, 1);
    },
  ],
  [
    'bytes: from nothing to a megabyte, in one part or in a thousand',
    async (t, { store }) => {
      const w = await World.open(store);
      const { b1 } = w.devices;
      const megabyte = Buffer.alloc(1_015_808, EVERY_BYTE);
      const bodies = [
        [Buffer.alloc(0)],
        [megabyte],
        Array.from({ length: 1024 }, (_, i) => Buffer.alloc(i % 3, i)),
        [megabyte],
        [megabyte],
        [megabyte],
      ];
      const batches = bodies.map((parts) => w.batch({ parts, recipients: [b1.id] }));
      await store.commitWindow(w.window(batches));
      const items = (await store.backlog(b1.id, 0, 100, 1e8)).items;
      t.equal(items.length, bodies.length);
      for (const [i, item] of items.entries()) {
        const parts = item.kind === 'message' ? item.parts : [];
        t.ok(
          Buffer.concat(parts).equals(Buffer.concat(bodies[i] ?? [])) && parts.length === bodies[i]?.length,
          `body ${i}`,
        );
      }
      t.equal((await usageOf(store, b1.id)).bytes, 4 * megabyte.length + 1023);
    },
  ],
  [
    'windows of a thousand messages, acknowledged at once',
    async (t, { store }) => {
      const w = await World.open(store);
      const { stored } = await w.send({ count: 1024 });
      t.strictSame(
        stored.map(({ seq }) => seq),
        Array.from({ length: 1024 }, (_, i) => i + 1),
      );
      const items = (await store.backlog(w.devices.b1.id, 0, 2000, 1e8)).items;
      t.equal(items.length, 1024);
      await store.acknowledge(w.devices.b1.id, cursorsOf(items), w.bob.id);
      t.strictSame(await usageOf(store, w.devices.b1.id), { bytes: 0, rows: 0 });
    },
  ],
  [
    'acknowledge: devices that do so at the same moment, of the same message, and one that does not exist',
    async (t, { store, countRows }) => {
      const w = await World.open(store);
      const { b1, b2 } = w.devices;
      const before = await countRows('contents');
      const { window, stored } = await w.send({ count: 3 });
      const recipients = window.batches[0]!.messages[0]!.content!.recipients;
      const cursorsFor = (device: number) => stored.map(({ cursors }) => cursors[recipients.indexOf(device)]!);
      const [first, second, none] = await Promise.allSettled([
        store.acknowledge(b1.id, cursorsFor(b1.id), w.bob.id),
        store.acknowledge(b2.id, cursorsFor(b2.id), w.bob.id),
        store.acknowledge(2 ** 31 - 1, [1], w.bob.id),
      ]);
      t.strictSame(
        [first, second, none].map((each) => each.status),
        ['fulfilled', 'fulfilled', 'rejected'],
        'who does not exist changes nothing for the others',
      );
      t.equal(await countRows('contents'), before, 'nobody needs the content any more');
      for (const { id } of [b1, b2]) t.strictSame(await usageOf(store, id), { bytes: 0, rows: 0 });
    },
  ],
  [
    'the caller may use its buffers again',
    async (t, { store }) => {
      const w = await World.open(store);
      const [statement, part] = [Buffer.alloc(248, 1), Buffer.alloc(64, 2)];
      await w.send({ statement, parts: [part] });
      statement.fill(0xff);
      part.fill(0xff);
      t.equal(statement.length + part.length, 312, 'they still belong to the caller');
      const [item] = (await store.backlog(w.devices.b1.id, 0, 1, 1e6)).items;
      t.ok(item?.kind === 'message' && item.statement[0] === 1 && item.parts[0]?.[63] === 2);
    },
  ],
  [
    'opened again: everything is there',
    async (t, { store, open }) => {
      const w = await World.open(store);
      const { window, batch, stored } = await w.send({ count: 2 });
      const { b1, b2 } = w.devices;
      await store.acknowledge(b2.id, [stored[0]!.cursors[1]!], w.bob.id);
      const ask = async (of: Store) => ({
        user: await of.findUser(w.alice.username),
        device: await of.deviceByFingerprint(b1.fingerprint),
        conversation: await of.conversation(w.conversation, NOW),
        size: await of.logSize(w.origin),
        batch: await of.findBatch(batch.fingerprint, batch.session, batch.firstCtr),
        lineage: await of.conversationLineage(batch.fingerprint, batch.session, w.conversation),
        backlog: [(await of.backlog(b1.id, 0, 10, 1e6)).items, (await of.backlog(w.devices.a1.id, 0, 10, 1e6)).items],
        usage: await usageOf(of, b1.id),
        repeated: await of.commitWindow(window),
      });
      const before = await ask(store);
      const again = await open();
      t.strictSame(await ask(again), before);
      await again.ping();
      await again.close();
      await again.close();
      await t.rejects(again.ping(), { code: 'STORE_FAILED' }, 'closed');
      await t.rejects(again.findUser('x'), { code: 'STORE_FAILED' }, 'closed');
    },
  ],
];
