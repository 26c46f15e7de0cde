/** Rooms over real TLS: who is let in, who is told, and that nothing reaches a room but what was signed for its members of now. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { KIND } from '../../transcript/statement.ts';
import { deliveredOf, GROUP, receiptsOf, textOf, type Ask, type RawClient } from '../support/raw-client.ts';
import { openConversation, world, type Person, type World } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

interface Guest {
  readonly person: Person;
  readonly client: RawClient;
}

async function guests<const N extends string>(w: World, ...names: N[]): Promise<Record<N, Guest>> {
  const made: Partial<Record<N, Guest>> = {};
  for (const name of names) {
    const person = await w.person(name);
    made[name] = { person, client: await w.login(person) };
  }
  return made as Record<N, Guest>;
}
const create = ({ client }: Guest, room: string, visibility: 'public' | 'private') =>
  client.request({ type: 'room_create', room, visibility }, 'room');
const rosterIn = ({ client }: Guest, conversation: Uint8Array) =>
  client.request({ type: 'conversation_get', conversation }, 'conversation');
const say = async (guest: Guest, conversation: Uint8Array, text: string) => {
  const roster = await rosterIn(guest, conversation);
  return guest.client.request(guest.person.lineage.texts(roster, [text]), 'msg_ack');
};
const heard = ({ client }: Guest): string[] => deliveredOf(client.frames).map(textOf);
const notices = ({ client }: Guest): string[] =>
  client.frames.flatMap((f) => (f.type === 'room_changed' ? [`${f.by} ${f.change} ${f.username ?? ''}`.trim()] : []));

t.test('a public room: joined, written to, and left', async (t) => {
  const w = await world(t);
  const { alice, bob, carol } = await guests(w, 'alice', 'bob', 'carol');
  const room = await create(alice, '#ops', 'public');
  t.match(room, { room: '#ops', visibility: 'public', members: [{ username: 'alice', role: 'owner' }], banned: [] });
  t.match(await bob.client.request({ type: 'room_list', after: '' }, 'rooms'), {
    has_more: false,
    rooms: [{ room: '#ops', visibility: 'public', members: 1, role: undefined }],
  });
  t.match(await bob.client.request({ type: 'room_get', room: '#ops' }, 'room'), { members: [{ username: 'alice' }] });
  const hidden = { code: 'NOT_FOUND', field: 'conversation' };
  await t.rejects(rosterIn(bob, room.conversation), hidden, 'its conversation is the members’');
  t.strictSame((await bob.client.request({ type: 'room_join', room: '#ops' }, 'room')).members, [
    { username: 'alice', role: 'owner' },
    { username: 'bob', role: 'member' },
  ]);
  await bob.client.request({ type: 'room_invite', room: '#ops', username: 'carol' }, 'room');
  await say(bob, room.conversation, 'hello all');
  const items = await alice.client.delivered(1);
  await carol.client.delivered(1);
  t.strictSame([heard(alice), heard(carol), heard(bob)], [['hello all'], ['hello all'], []]);
  const roster = await rosterIn(alice, room.conversation);
  await alice.client.request(alice.person.lineage.receipt(roster, 'bob', items), 'msg_ack');
  t.match(await bob.client.receipted(1), [{ kind: KIND.delivered, message: hex(leafHash(items[0]!.statement)) }]);
  await carol.client.settled();
  t.strictSame(receiptsOf(carol.client.frames), [], 'nobody but the author is told');
  t.strictSame(notices(alice), ['bob joined', 'bob invited carol']);
  t.strictSame(notices(carol), ['bob invited carol'], 'who is invited hears of it');
  t.strictSame(notices(bob), [], 'who did it has his answer');
  await carol.client.request({ type: 'room_leave', room: '#ops' }, 'ok');
  await say(alice, room.conversation, 'without carol');
  await bob.client.delivered(1);
  await carol.client.settled();
  t.strictSame([heard(bob), heard(carol)], [['without carol'], ['hello all']]);
  await t.rejects(say(carol, room.conversation, 'x'), hidden);
  await carol.client.request({ type: 'room_leave', room: '#ops' }, 'ok');
  t.strictSame(notices(alice), ['bob joined', 'bob invited carol', 'carol left'], 'once');
});

t.test('what was signed for other members is refused, also by those of the same process', async (t) => {
  const w = await world(t);
  const { alice, bob, carol } = await guests(w, 'alice', 'bob', 'carol');
  const { conversation } = await create(alice, '#ops', 'public');
  await bob.client.request({ type: 'room_join', room: '#ops' }, 'room');
  const before = await rosterIn(alice, conversation);
  const stale = { code: 'STALE', sub: 'roster', field: 'msg_send.messages[0].statement' };
  const early = () => alice.client.request(alice.person.lineage.texts(before, ['early'], { peek: true }), 'msg_ack');
  await carol.client.request({ type: 'room_join', room: '#ops' }, 'room');
  await t.rejects(early(), stale, 'carol would hear what was not meant for her');
  await alice.client.request({ type: 'room_kick', room: '#ops', username: 'carol' }, 'room');
  await t.rejects(early(), stale, 'the same members, and another epoch');
  const now = await rosterIn(alice, conversation);
  t.ok(now.epoch > before.epoch);
  const commit = { parts: [Buffer.of(1)], group: GROUP, groupInfo: Buffer.from('info') };
  const made = (to: typeof now) => alice.person.lineage.batch([{ to, ...commit }]);
  const undo = alice.person.lineage.mark();
  await t.rejects(alice.client.request(made(before), 'msg_ack'), stale, 'a commit, too');
  undo();
  await alice.client.request(made(now), 'msg_ack');
  t.match(await bob.client.delivered(1), [GROUP]);
  t.match(await bob.client.request({ type: 'group_get', conversation }, 'group'), { generation: 1, epoch: 2 });
  await t.rejects(carol.client.request({ type: 'group_get', conversation }, 'group'), { code: 'NOT_FOUND' });
  const device = bob.person.lineage.fingerprint;
  await bob.client.request({ type: 'keypackages_put', packages: [Buffer.of(5)], last_resort: false }, 'keypackages');
  const take = { type: 'keypackages_take', conversation, devices: [device] } satisfies Ask;
  t.equal((await alice.client.request(take, 'keypackages_taken')).packages.length, 1);
  await t.rejects(carol.client.request(take, 'keypackages_taken'), { code: 'NOT_FOUND' });
});

t.test('a private room does not exist for others', async (t) => {
  const w = await world(t);
  const { alice, bob, mallory } = await guests(w, 'alice', 'bob', 'mallory');
  const { conversation } = await create(alice, '#secret', 'private');
  const room = '#secret';
  const nobody = async ({ client }: Guest) => {
    for (const type of ['room_get', 'room_join', 'room_leave', 'room_topic'] as const)
      await t.rejects(client.request({ type, room }, 'room'), { code: 'NO_SUCH_ROOM' }, type);
    for (const type of ['room_invite', 'room_kick', 'room_ban', 'room_unban'] as const)
      await t.rejects(client.request({ type, room, username: 'alice' }, 'room'), { code: 'NO_SUCH_ROOM' }, type);
    await t.rejects(client.request({ type: 'room_role', room, username: 'alice', role: 'member' }, 'room'), {
      code: 'NO_SUCH_ROOM',
    });
    await t.rejects(client.request({ type: 'conversation_get', conversation }, 'conversation'), { code: 'NOT_FOUND' });
    t.strictSame((await client.request({ type: 'room_list', after: '' }, 'rooms')).rooms, []);
  };
  await nobody(mallory);
  await t.rejects(create(mallory, room, 'public'), { code: 'ROOM_EXISTS', field: 'room' });
  await alice.client.request({ type: 'room_invite', room, username: 'bob' }, 'room');
  t.match(await bob.client.request({ type: 'room_list', after: '' }, 'rooms'), {
    rooms: [{ room, role: 'member', members: 2 }],
  });
  await t.rejects(bob.client.request({ type: 'room_invite', room, username: 'mallory' }, 'room'), {
    code: 'NOT_ALLOWED',
    sub: 'role',
  });
  await alice.client.request({ type: 'room_role', room, username: 'bob', role: 'admin' }, 'room');
  await bob.client.request({ type: 'room_topic', room, topic: 'plans' }, 'room');
  await bob.client.request({ type: 'room_invite', room, username: 'mallory' }, 'room');
  t.equal((await mallory.client.request({ type: 'room_get', room }, 'room')).topic, 'plans');
  await bob.client.request({ type: 'room_ban', room, username: 'mallory' }, 'room');
  await nobody(mallory);
  await bob.client.request({ type: 'room_unban', room, username: 'mallory' }, 'room');
  await bob.client.request({ type: 'room_ban', room, username: 'mallory' }, 'room');
  await mallory.client.settled();
  t.strictSame(notices(mallory), ['bob invited mallory', 'bob banned mallory'], 'what a stranger is told');
  await alice.client.settled();
  const all = ['bob topic', 'bob invited mallory', 'bob banned mallory', 'bob unbanned mallory', 'bob banned mallory'];
  t.strictSame(notices(alice), all);
  t.strictSame(notices(bob).slice(0, 2), ['alice invited bob', 'alice role bob']);
  await w.restart();
  const back = { ...bob, client: await w.login(bob.person) };
  t.match(await back.client.request({ type: 'room_get', room }, 'room'), {
    topic: 'plans',
    members: [
      { username: 'alice', role: 'owner' },
      { username: 'bob', role: 'admin' },
    ],
    banned: ['mallory'],
  });
});

t.test('nobody is brought into a room by somebody who may not write to him', async (t) => {
  const w = await world(t, { 'contacts.policy': 'request' });
  const { alice, bob } = await guests(w, 'alice', 'bob');
  const { conversation } = await create(alice, '#ops', 'public');
  const invite = () => alice.client.request({ type: 'room_invite', room: '#ops', username: 'bob' }, 'room');
  const field = 'room_invite.username';
  await t.rejects(invite(), { code: 'NOT_CONTACT', field });
  await alice.client.request({ type: 'contact_add', account: 'bob' }, 'contact');
  await bob.client.request({ type: 'contact_accept', account: 'alice' }, 'contact');
  await invite();
  await bob.client.request({ type: 'room_leave', room: '#ops' }, 'ok');
  await bob.client.request({ type: 'contact_block', account: 'alice' }, 'contact');
  await t.rejects(invite(), { code: 'BLOCKED', field });
  await bob.client.request({ type: 'room_join', room: '#ops' }, 'room');
  await say(alice, conversation, 'a room is open to who is in it');
  await bob.client.delivered(1);
});

t.test('names and people that are none; a room is no direct conversation', async (t) => {
  const w = await world(t);
  const { alice, bob } = await guests(w, 'alice', 'bob');
  for (const room of ['ops', '##', '#Ops', '#ops ', '#-ops', '#ops.', '#öps', '#o\u202eps'])
    await t.rejects(create(alice, room, 'public'), { code: 'BAD_NAME', field: 'room_create.room' }, room);
  const { conversation } = await create(alice, `#${'x'.repeat(63)}`, 'public');
  const room = `#${'x'.repeat(63)}`;
  for (const username of ['nobody', 'bob@example.org', 'Bob'])
    await t.rejects(alice.client.request({ type: 'room_invite', room, username }, 'room'), {
      code: 'NO_SUCH_PEER',
      field: 'room_invite.username',
    });
  const undo = alice.person.lineage.mark();
  await t.rejects(say(alice, conversation, 'into the void'), { code: 'UNAVAILABLE' }, 'a room of one');
  undo();
  await bob.client.request({ type: 'room_join', room }, 'room');
  await say(alice, conversation, 'hello');
  t.notSame((await openConversation(alice.client, 'bob')).conversation, conversation);
  t.strictSame(
    w.lines.filter(({ level, code }) => level === 'error' || code === 'INTERNAL'),
    [],
  );
});
