/** The rules of a room, as every member judges by them, and what somebody looks at who comes in. */
import t from 'tap';
import { encode } from '../../base/cbor.ts';
import type { Device } from '../../client/e2ee/binding.ts';
import { directSettings } from '../../client/e2ee/direct.ts';
import type { Conversation, RosterChange } from '../../client/e2ee/group.ts';
import { checkRoom, roomPolicy, roomRules, roomSettings } from '../../client/e2ee/room.ts';
import { usersBehind, usersIn } from '../../client/e2ee/presence.ts';
import { policy } from '../../client/group-rules.ts';
import { World } from './people.ts';

const device = (user: string): Device => ({ user }) as Device;
const rules = (isPublic: boolean) => ({ room: '#ops', isPublic, owner: 'alice' });
const change = (isPublic: boolean, more: Partial<RosterChange>): RosterChange => ({
  by: device('alice'),
  isExternal: false,
  added: [],
  removed: [],
  members: [device('alice'), device('bob')],
  settings: roomSettings(rules(isPublic)),
  ...more,
});
const byHimself = (user: string) => ({ by: device(user), isExternal: true, added: [device(user)] });

t.test('settings have one form', (t) => {
  t.same(roomSettings(rules(false)), encode({ v: 1, kind: 'room', room: '#ops', public: false, owner: 'alice' }));
  t.strictSame(roomRules(roomSettings(rules(true))), rules(true));
  for (const other of [new Uint8Array(), directSettings(['alice', 'bob']), encode({ v: 1, kind: 'room' })])
    t.equal(roomRules(other), null);
  t.end();
});

t.test('who may come in', (t) => {
  const rows: readonly (readonly [string, RosterChange, RegExp | null])[] = [
    ['whom a member lets in', change(false, { added: [device('carol')] }), null],
    ['another device of a member', change(false, byHimself('bob')), null],
    ['a stranger', change(false, byHimself('carol')), /^carol came into a private room/],
    ['anybody, where it is public', change(true, byHimself('carol')), null],
    ['anybody goes', change(false, { removed: [device('bob')] }), null],
    ['under no rules', change(true, { settings: new Uint8Array() }), /not one of a room/],
    ['under other rules', change(true, { settings: directSettings(['alice', 'bob']) }), /not one of a room/],
  ];
  for (const [name, value, why] of rows)
    if (why === null) t.equal(roomPolicy(value), null, name);
    else t.match(roomPolicy(value), why, name);
  t.match(policy(change(false, byHimself('carol'))), /^carol came/, 'what clients use knows rooms');
  const direct = change(true, { ...byHimself('carol'), settings: directSettings(['alice', 'bob']) });
  t.match(policy(direct), /^carol is not one/, 'and conversations of two');
  t.end();
});

t.test('what somebody finds who comes in', (t) => {
  const settings = roomSettings(rules(false));
  t.doesNotThrow(() => checkRoom(settings, rules(false)));
  const refused = { code: 'DECRYPT_FAIL', sub: 'policy' };
  t.throws(() => checkRoom(settings, rules(true)), refused, 'private, and the server says public');
  t.throws(() => checkRoom(settings, { ...rules(false), room: '#plan' }), refused, 'another room');
  t.throws(() => checkRoom(directSettings(['alice', 'bob']), rules(false)), refused, 'no room');
  t.end();
});

t.test('a stranger who has everything that lets in is refused by all alike, and the group goes on', async (t) => {
  const w = await World.open();
  const { engine, now } = w;
  const [alice, bob, mallory] = [await w.person('alice'), await w.person('bob'), await w.person('mallory')];
  const [a, b] = (await w.group([alice, bob], roomSettings(rules(false)))) as [Conversation, Conversation];
  const door = await engine.door(a);
  t.strictSame(usersBehind(door), ['alice', 'bob']);
  const { commit } = await engine.joinExternal(door, mallory.device, now);
  for (const each of [a, b])
    await t.rejects(engine.receive(each, commit, now, policy), { code: 'DECRYPT_FAIL', sub: 'policy' });

  const phone = await w.person('bob');
  const entry = await engine.joinExternal(door, phone.device, now);
  for (const each of [a, b]) t.equal((await engine.receive(each, entry.commit, now, policy)).kind, 'commit');
  const next = await engine.receive(a, entry.commit, now, policy);
  if (next.kind !== 'commit') return t.fail('no commit');
  t.strictSame(usersIn(next.conversation), ['alice', 'bob'], 'another device of a member may');
  const { message } = await engine.encrypt(next.conversation, Buffer.from('go on'), Buffer.alloc(0));
  t.match(await engine.receive(entry.conversation, message, now, policy), { kind: 'message' });
});
