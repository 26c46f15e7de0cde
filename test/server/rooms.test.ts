/** How often a user may change rooms, and who is told, with a store that answers as the test says. */
import t from 'tap';
import type { Member } from '../../server/members.ts';
import { Rooms, type RoomRequest } from '../../server/rooms.ts';
import type { ChangedRoom } from '../../store/contract/rooms.ts';
import type { Store } from '../../store/store.ts';

const ROOM = {
  id: Buffer.alloc(32) as never,
  name: '#ops',
  isPublic: true,
  topic: null,
  members: [{ userId: 1, username: 'alice', role: 'owner' as const }],
  banned: [],
};

function desk() {
  const made = {
    ms: 0,
    /** Unix ms */
    now: 1_000_000_000,
    told: [] as number[],
    forgotten: 0,
    /** most rooms of one owner, as the store was told: of his own making, and given by others */
    owned: { made: 0, given: 0 },
    atHand: [] as Member[],
    turns: [] as number[],
    answer: { room: ROOM, isChanged: true, isOfMembers: true },
  };
  const store = {
    changeRoom: async (...[, , , , { owned }]: Parameters<Store['changeRoom']>): Promise<ChangedRoom> => {
      made.owned.given = owned;
      return made.answer;
    },
    createRoom: async (...[, , , owned]: Parameters<Store['createRoom']>) => {
      made.owned.made = owned;
      return ROOM;
    },
    room: async () => ROOM,
    rooms: async () => [],
    findUser: async (username: string) => ({ id: username === 'alice' ? 1 : 2, username }),
    standing: async () => 'contacts',
  };
  const hub = {
    forgetConversation: () => void made.forgotten++,
    tell: (userId: number, _: unknown, __: unknown, turns?: ReadonlyMap<Member, number>) => {
      made.told.push(userId);
      for (const member of made.atHand)
        if (member.user.id === userId && turns?.has(member)) made.turns[turns.get(member)!] = member.device.id;
    },
    atHand: (userIds: readonly number[]) => made.atHand.filter(({ user }) => userIds.includes(user.id)),
  };
  const rooms = new Rooms({
    store: store as never,
    hub,
    contactPolicy: 'open',
    now: () => made.now,
    monotonicMs: () => made.ms,
  });
  const ask = (userId: number, frame: object) =>
    rooms.answer(
      { user: { id: userId, username: `u${userId}` } } as Member,
      { id: 1, room: '#ops', ...frame } as RoomRequest,
    );
  return Object.assign(made, { ask });
}

t.test('nobody comes and goes so fast that what others have signed is always stale', async (t) => {
  const d = desk();
  for (let i = 0; i < 100; i++) {
    await d.ask(2, { type: 'room_join' });
    await d.ask(2, { type: 'room_leave' });
  }
  const limit = { code: 'RATE_LIMIT', retryAfterMs: 3000 };
  await t.rejects(d.ask(2, { type: 'room_join' }), limit);
  await t.rejects(d.ask(2, { type: 'room_create', visibility: 'public' }), limit);
  await d.ask(2, { type: 'room_get' });
  await d.ask(2, { type: 'room_list', after: '' });
  await d.ask(1, { type: 'room_topic', topic: 'others may' });
  d.ms += 3000;
  await d.ask(2, { type: 'room_join' });
  await t.rejects(d.ask(2, { type: 'room_leave' }), limit);
});

t.test('nobody is made to own so many rooms that he can make none of his own', async (t) => {
  const d = desk();
  await d.ask(2, { type: 'room_create', visibility: 'public' });
  await d.ask(1, { type: 'room_role', username: 'bob', role: 'owner' });
  t.strictSame(d.owned, { made: 100, given: 50 });
});

t.test('members are told, and who was one until now; nobody of what was so already', async (t) => {
  const d = desk();
  await d.ask(1, { type: 'room_kick', username: 'bob' });
  t.strictSame([d.told.splice(0), d.forgotten], [[1, 2], 1]);
  d.answer = { room: ROOM, isChanged: true, isOfMembers: false };
  await d.ask(1, { type: 'room_ban', username: 'bob' });
  t.strictSame([d.told.splice(0), d.forgotten], [[1], 1], 'he was no member');
  d.answer = { room: ROOM, isChanged: false, isOfMembers: false };
  await d.ask(1, { type: 'room_invite', username: 'bob' });
  t.strictSame([d.told, d.forgotten], [[], 1]);
});

t.test('three of those who are there longest are asked to let somebody in, always in the same order', async (t) => {
  const d = desk();
  const at = (userId: number): Member => ({ user: { id: userId }, device: { id: 100 + userId } }) as Member;
  const members = [1, 2, 3, 4, 5, 6].map((userId) => ({ userId, username: `u${userId}`, role: 'member' as const }));
  d.atHand = [1, 2, 3, 4, 5, 6].map(at);
  const joins = async (userId: number, upTo: number) => {
    d.turns = [];
    d.answer = { ...d.answer, room: { ...ROOM, members: members.slice(0, upTo) as never } };
    return { reply: await d.ask(userId, { type: 'room_join' }), turns: d.turns };
  };
  const fourth = await joins(4, 4);
  t.match(fourth.reply, { type: 'room', asked: true });
  t.strictSame(fourth.turns.toSorted(), [101, 102, 103]);
  const fifth = await joins(5, 5);
  t.strictSame(fifth.turns, fourth.turns, 'the same: one of them lets in both, and nobody who has just come');
  d.atHand = [2, 4, 5, 6].map(at);
  t.strictSame((await joins(6, 6)).turns.toSorted().includes(102), true);
  t.equal(d.turns[0], 102, 'who has just come, last');
  d.atHand = [];
  t.notOk('asked' in (await joins(3, 6)).reply, 'nobody is there');
  d.atHand = [1, 2].map(at);
  d.answer = { ...d.answer, isChanged: false };
  t.notOk('asked' in (await d.ask(3, { type: 'room_join' })), 'he is in it already');
});

t.test('who came a minute ago is asked as anybody is, also if the clock was set back since', async (t) => {
  for (const passed of [60_000, -1]) {
    const d = desk();
    const userIds = [1, 2, 3, 4, 5, 6];
    d.atHand = userIds.map((userId) => ({ user: { id: userId }, device: { id: 100 + userId } }) as Member);
    const members = userIds.map((userId) => ({ userId, username: `u${userId}`, role: 'member' as const }));
    d.answer = { ...d.answer, room: { ...ROOM, members: members as never } };
    const joins = async (userId: number): Promise<number[]> => {
      d.turns = [];
      await d.ask(userId, { type: 'room_join' });
      return d.turns;
    };
    const drawn = await joins(6);
    const first = drawn[0]! - 100;
    await joins(first);
    t.notOk((await joins(6)).includes(100 + first), 'he has just come, and others are there');
    d.now += passed;
    t.strictSame(await joins(6), drawn, `${passed} ms later`);
  }
});
