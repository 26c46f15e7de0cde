/** The part of the storage contract that rooms rely on: who is a member, who may do what, and an epoch that only grows. */
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import type { ConversationId } from '../../base/bytes.ts';
import type { User } from '../../store/contract/accounts.ts';
import type { RoomChange, RoomLimits } from '../../store/contract/rooms.ts';
import type { Store } from '../../store/store.ts';
import { newDevice, newUser, NOW, random32, World } from '../support/store-world.ts';
import type { Suite } from './store.ts';

const LIMITS: RoomLimits = { devices: 250, bans: 10, owned: 3 };
const HOUR = 3_600_000;

/** People with one device each, and a room of the first one's. */
async function party(store: Store, more: { readonly isPublic?: boolean } = {}) {
  const tag = randomBytes(6).toString('hex');
  const person = async (name: string): Promise<User> => {
    const user = await store.createUser(newUser(`${name}-${tag}`));
    await store.addDevice(newDevice(user.id), NOW, 9);
    return user;
  };
  const [ann, ben, cat, dan] = [await person('ann'), await person('ben'), await person('cat'), await person('dan')];
  const name = `#room-${tag}`;
  const make = (over: Store, ownerId = ann.id, roomName = name) => {
    const room = { name: roomName, isPublic: more.isPublic ?? true, topic: null, ownerId };
    return over.createRoom(room, random32<ConversationId>(), NOW, 3);
  };
  const room = await make(store);
  const change = async (by: User, what: RoomChange, limits = LIMITS, over = store) => {
    const { room, isChanged } = await over.changeRoom(name, by.id, what, NOW, limits);
    return [isChanged, ...room.members.map(({ username, role }) => `${username.slice(0, 3)} ${role}`)];
  };
  const epoch = async () => (await store.conversation(room.id, NOW))!.epoch;
  return { tag, name, room, ann, ben, cat, dan, person, make, change, epoch };
}

export const ROOM_TESTS: readonly (readonly [string, (t: Test, suite: Suite) => Promise<void>])[] = [
  [
    'rooms: made once, found by name, and a conversation of its members',
    async (t, { store, second }) => {
      const { name, room, ann, ben, make, change } = await party(store);
      t.match(room, {
        name,
        isPublic: true,
        topic: null,
        members: [{ username: ann.username, role: 'owner' }],
        banned: [],
      });
      t.strictSame(await second.room(name), room);
      t.equal(await store.room(`${name}x`), null);
      await t.rejects(make(store, ben.id), { code: 'ROOM_EXISTS', field: 'room' });
      await t.rejects(make(store, 2 ** 30, `${name}-other`), { code: 'NOT_FOUND', field: 'ownerId' });
      await change(ann, { do: 'invite', userId: ben.id });
      const conversation = (await store.conversation(room.id, NOW))!;
      t.strictSame(
        conversation.members.map((member) => [member.userId, member.username, member.devices.length]),
        [ann, ben].map((user) => [user.id, user.username, 1]),
      );
      await make(store, ann.id, `${name}-2`);
      await make(store, ann.id, `${name}-3`);
      await t.rejects(make(store, ann.id, `${name}-4`), { code: 'QUOTA', field: 'room' });
      await make(store, ben.id, `${name}-4`);
      const owner = { do: 'role', userId: ben.id, role: 'owner' } as const;
      await t.rejects(change(ann, owner, { ...LIMITS, owned: 1 }), { code: 'QUOTA', field: 'room' });
      t.strictSame(await change(ann, owner), [true, 'ann owner', 'ben owner']);
    },
  ],
  [
    'rooms: of several who race for a name exactly one wins; all who join at once are members',
    async (t, { store, second }) => {
      const { tag, name, room, ann, change, make, person } = await party(store);
      const people = await Promise.all(Array.from({ length: 6 }, (_, i) => person(`p${i}`)));
      const results = await Promise.allSettled(
        people.map(({ id }, i) => make([store, second][i % 2]!, id, `#race-${tag}`)),
      );
      const codes = results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason.code)] : []));
      t.strictSame(codes, Array(5).fill('ROOM_EXISTS'));
      t.equal((await store.room(`#race-${tag}`))?.members.length, 1);
      await Promise.all(people.map((who, i) => change(who, { do: 'join' }, LIMITS, [store, second][i % 2]!)));
      t.equal((await store.room(name))?.members.length, 7);
      const limited = await Promise.allSettled(
        ['a', 'b', 'c', 'd'].map(async (each) => change(await person(each), { do: 'join' }, { ...LIMITS, devices: 8 })),
      );
      t.strictSame(limited.map((result) => (result.status === 'rejected' ? result.reason.code : 'joined')).sort(), [
        'QUOTA',
        'QUOTA',
        'QUOTA',
        'joined',
      ]);
      t.equal((await store.conversation(room.id, NOW))?.members.length, 8);
      t.ok(ann);
    },
  ],
  [
    'rooms: who may do what',
    async (t, { store }) => {
      const { ann, ben, cat, dan, change, name } = await party(store);
      const role = { code: 'NOT_ALLOWED', sub: 'role' };
      t.strictSame(await change(ben, { do: 'join' }), [true, 'ann owner', 'ben member']);
      t.strictSame(await change(ben, { do: 'join' }), [false, 'ann owner', 'ben member'], 'again');
      await t.rejects(change(cat, { do: 'invite', userId: dan.id }), role, 'a stranger');
      t.strictSame(await change(ben, { do: 'invite', userId: cat.id }), [
        true,
        'ann owner',
        'ben member',
        'cat member',
      ]);
      t.strictSame((await change(ben, { do: 'invite', userId: cat.id }))[0], false);
      for (const what of ['kick', 'ban', 'unban'] as const)
        await t.rejects(change(ben, { do: what, userId: cat.id }), role, `a member: ${what}`);
      await t.rejects(change(ben, { do: 'topic', topic: 'x' }), role);
      await t.rejects(change(ben, { do: 'role', userId: ben.id, role: 'owner' }), role);
      await change(ann, { do: 'role', userId: ben.id, role: 'admin' });
      t.equal((await change(ben, { do: 'topic', topic: 'Über \' " % _' }))[0], true);
      t.equal((await store.room(name))?.topic, 'Über \' " % _');
      await change(ben, { do: 'topic', topic: null });
      t.equal((await store.room(name))?.topic, null);
      await t.rejects(change(ben, { do: 'kick', userId: ann.id }), role, 'an admin, the owner');
      await t.rejects(change(ben, { do: 'ban', userId: ben.id }), role, 'himself');
      await t.rejects(change(ben, { do: 'role', userId: cat.id, role: 'admin' }), role);
      await t.rejects(change(ann, { do: 'kick', userId: dan.id }), { code: 'NO_SUCH_PEER', field: 'username' });
      await t.rejects(change(ann, { do: 'role', userId: dan.id, role: 'admin' }), { code: 'NO_SUCH_PEER' });
      t.strictSame(await change(ben, { do: 'kick', userId: cat.id }), [true, 'ann owner', 'ben admin']);
      await change(cat, { do: 'join' }); // being kicked is no ban
      t.strictSame(await change(ben, { do: 'ban', userId: cat.id }), [true, 'ann owner', 'ben admin']);
      t.equal((await change(ben, { do: 'ban', userId: cat.id }))[0], false);
      const banned = { code: 'NOT_ALLOWED', sub: 'banned' };
      await t.rejects(change(cat, { do: 'join' }), banned);
      await t.rejects(change(ann, { do: 'invite', userId: cat.id }), banned);
      await change(ben, { do: 'ban', userId: dan.id }); // before he ever came
      t.strictSame((await store.room(name))?.banned, [cat.username, dan.username]);
      await t.rejects(change(ann, { do: 'ban', userId: ann.id + 2 ** 20 }, { ...LIMITS, bans: 2 }), { code: 'QUOTA' });
      t.equal((await change(ben, { do: 'unban', userId: cat.id }))[0], true);
      t.equal((await change(ben, { do: 'unban', userId: cat.id }))[0], false);
      await change(cat, { do: 'join' });
      t.strictSame(await change(ann, { do: 'kick', userId: ben.id }), [true, 'ann owner', 'cat member']);
      t.strictSame(await change(ben, { do: 'leave' }), [false, 'ann owner', 'cat member'], 'who is no member');
      await t.rejects(store.changeRoom(`${name}x`, ann.id, { do: 'join' }, NOW, LIMITS), {
        code: 'NO_SUCH_ROOM',
        field: 'room',
      });
    },
  ],
  [
    'rooms: a private one is nowhere to be seen, and admins let people in',
    async (t, { store }) => {
      const { ann, ben, cat, change, name } = await party(store, { isPublic: false });
      const hidden = { code: 'NO_SUCH_ROOM', field: 'room' };
      for (const what of ['join', 'leave'] as const) await t.rejects(change(ben, { do: what }), hidden);
      await t.rejects(change(ben, { do: 'invite', userId: ben.id }), hidden);
      const names = async (user: User) =>
        (await store.rooms(user.id, name.slice(0, -1), 100)).filter((each) => each.name === name);
      t.strictSame(await names(ben), []);
      t.strictSame(await names(ann), [{ name, isPublic: false, topic: null, memberCount: 1, role: 'owner' }]);
      await change(ann, { do: 'invite', userId: ben.id });
      await t.rejects(change(ben, { do: 'invite', userId: cat.id }), { code: 'NOT_ALLOWED', sub: 'role' });
      await change(ann, { do: 'role', userId: ben.id, role: 'admin' });
      await change(ben, { do: 'invite', userId: cat.id });
      t.match(await names(cat), [{ memberCount: 3, role: 'member' }]);
    },
  ],
  [
    'rooms: an owner stays while anybody does, and then the name is free',
    async (t, { store, countRows }) => {
      const { ann, ben, change, name, make, room } = await party(store);
      const bans = await countRows('room_bans');
      const last = { code: 'NOT_ALLOWED', sub: 'last_owner' };
      await change(ben, { do: 'join' });
      await t.rejects(change(ann, { do: 'leave' }), last);
      await t.rejects(change(ann, { do: 'role', userId: ann.id, role: 'member' }), last);
      await change(ann, { do: 'role', userId: ben.id, role: 'owner' });
      await t.rejects(change(ben, { do: 'kick', userId: ann.id }), { code: 'NOT_ALLOWED', sub: 'role' }, 'two owners');
      t.strictSame(await change(ben, { do: 'role', userId: ann.id, role: 'admin' }), [true, 'ann admin', 'ben owner']);
      t.strictSame(await change(ann, { do: 'leave' }), [true, 'ben owner']);
      await change(ben, { do: 'ban', userId: ann.id });
      t.strictSame(await change(ben, { do: 'leave' }), [true]);
      t.equal(await store.room(name), null);
      t.equal(await countRows('room_bans'), bans);
      t.strictSame((await store.conversation(room.id, NOW))?.members, []);
      const anew = await make(store, ann.id);
      t.notSame(anew.id, room.id, 'another conversation');
      t.strictSame(anew.banned, []);
    },
  ],
  [
    'rooms: every change of members or devices raises the epoch, and nothing else does',
    async (t, { store }) => {
      const { ann, ben, cat, change, epoch, name } = await party(store);
      for (let i = 0; i < 4; i++) await store.addDevice(newDevice(ben.id), NOW, 9);
      const seen = [await epoch()];
      const rises = async (what: string, work: () => Promise<unknown>) => {
        await work();
        seen.push(await epoch());
        t.ok(seen.at(-1)! > seen.at(-2)!, what);
      };
      await rises('join', () => change(ben, { do: 'join' }));
      await rises('kick of somebody with many devices', () => change(ann, { do: 'kick', userId: ben.id }));
      await rises('invite', () => change(ann, { do: 'invite', userId: ben.id }));
      await rises('a new device', () => store.addDevice(newDevice(ann.id), NOW, 9));
      await rises('leave', () => change(ben, { do: 'leave' }));
      await rises('join', () => change(ben, { do: 'join' }));
      await rises('ban of a member', () => change(ann, { do: 'ban', userId: ben.id }));
      const before = await epoch();
      await change(ann, { do: 'ban', userId: cat.id });
      await change(ann, { do: 'unban', userId: cat.id });
      await change(ann, { do: 'topic', topic: 'x' });
      await store.addDevice(newDevice(ben.id), NOW, 9);
      t.equal(await epoch(), before);
      const isOfMembers = async (what: RoomChange) =>
        (await store.changeRoom(name, ann.id, what, NOW, LIMITS)).isOfMembers;
      t.strictSame(
        [
          await isOfMembers({ do: 'invite', userId: cat.id }),
          await isOfMembers({ do: 'invite', userId: cat.id }),
          await isOfMembers({ do: 'role', userId: cat.id, role: 'admin' }),
          await isOfMembers({ do: 'ban', userId: cat.id }),
          await isOfMembers({ do: 'unban', userId: cat.id }),
        ],
        [true, false, false, true, false],
      );
    },
  ],
  [
    'rooms: the limit counts devices that are valid, and members',
    async (t, { store }) => {
      const { ann, ben, cat, dan, change } = await party(store);
      await store.addDevice(newDevice(ben.id), NOW, 9);
      await store.addDevice(newDevice(ben.id, { notAfter: NOW - HOUR }), NOW - 2 * HOUR, 9);
      const limits = { ...LIMITS, devices: 3 };
      t.equal((await change(ben, { do: 'join' }, limits))[0], true, 'one of the owner’s, two of ben’s');
      await t.rejects(change(cat, { do: 'join' }, limits), { code: 'QUOTA', field: 'room' });
      const bare = await store.createUser(newUser(`bare-${dan.username}`));
      await t.rejects(change(bare, { do: 'join' }, { ...LIMITS, devices: 2 }), { code: 'QUOTA' });
      t.equal((await change(bare, { do: 'join' }, limits))[0], true, 'who has no device at all');
      await t.rejects(change(await store.createUser(newUser(`b2-${dan.username}`)), { do: 'join' }, limits), {
        code: 'QUOTA',
      });
      t.ok(ann);
    },
  ],
  [
    'rooms: listed by name, page by page',
    async (t, { store }) => {
      const { ann, ben, tag } = await party(store);
      const names = ['c', 'a', 'b'].map((each) => `#zz-${tag}-${each}`);
      for (const [i, name] of names.entries())
        await store.createRoom(
          { name, isPublic: i !== 1, topic: 'about', ownerId: i === 0 ? ann.id : ben.id },
          random32(),
          NOW,
          9,
        );
      const list = async (user: User, after: string, limit: number) =>
        (await store.rooms(user.id, after, limit))
          .filter((each) => each.name.includes(tag))
          .map((each) => each.name.at(-1));
      const start = `#zz-${tag}`;
      t.strictSame(await list(ann, start, 9), ['b', 'c']);
      t.strictSame(await list(ben, start, 9), ['a', 'b', 'c'], 'his private one, too');
      t.strictSame(await list(ben, start, 1), ['a']);
      t.strictSame(await list(ben, `${start}-a`, 1), ['b']);
      t.strictSame(await list(ben, `${start}-c`, 9), []);
      t.match((await store.rooms(ann.id, `${start}-a`, 1))[0], {
        topic: 'about',
        isPublic: true,
        memberCount: 1,
        role: null,
      });
    },
  ],
  [
    'rooms: messages and commits as in any conversation; what reached nobody is said to the sender',
    async (t, { store }) => {
      const w = await World.open(store);
      const { a1, a2, b1, b2 } = w.devices;
      await store.expire(NOW + 1, 1000);
      const room = await store.createRoom(
        { name: `#m-${randomBytes(6).toString('hex')}`, isPublic: true, topic: null, ownerId: w.alice.id },
        random32<ConversationId>(),
        NOW,
        9,
      );
      const conversations = [room.id];
      const sent = await w.send({ conversations });
      t.equal(sent.stored[0]?.seq, 1);
      await store.acknowledge(b1.id, sent.stored[0]!.cursors.slice(0, 1), w.bob.id);
      await w.send({ conversations, isCommit: true, group: { generation: 1, epoch: 0 }, groupInfo: Buffer.of(1) });
      t.match(await store.group(room.id), { generation: 1, epoch: 1 });
      await w.send({ conversations, expiresAt: NOW + 2 });
      t.strictSame(
        (await store.expire(NOW + 2, 100)).map(({ deviceId, by }) => [deviceId, by]),
        [a1, a2].map((device) => [device.id, w.alice.username]),
      );
      t.equal((await store.backlog(b2.id, 0, 10, 1e6)).items.length, 2);
    },
  ],
];
