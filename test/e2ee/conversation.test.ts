/** What the client does with conversations: the life of commits, messages, coming in and being put out. */
import t from 'tap';
import { equal } from '../../base/bytes.ts';
import {
  byInvitation,
  epoch,
  epochAuthenticator,
  erase,
  openToAll,
  settings,
  type Conversation,
  type Policy,
  type Received,
} from '../../client/e2ee/group.ts';
import { openSuite } from '../../client/e2ee/provider.ts';
import { World } from './people.ts';

const world = await World.open();
const { engine, now } = world;
const aad = Buffer.alloc(240, 7);
const text = (s: string) => Buffer.from(s);

async function received<K extends Received['kind']>(
  kind: K,
  c: Conversation,
  bytes: Uint8Array,
  policy: Policy = byInvitation,
) {
  const result = await engine.receive(c, bytes, now, policy);
  if (result.kind !== kind) throw new Error(`${result.kind} in place of ${kind}`);
  return result as Received & { kind: K };
}

t.test('two people write to each other', async (t) => {
  const [alice, bob] = await Promise.all([world.person('alice'), world.person('bob')]);
  let [a, b] = (await world.group([alice, bob], text('settings'))) as [Conversation, Conversation];
  t.same(settings(b), text('settings'));
  t.ok(equal(epochAuthenticator(a), epochAuthenticator(b)));
  const sent = await engine.encrypt(a, text('hello'), aad);
  a = sent.conversation;
  const got = await received('message', b, sent.message);
  b = got.conversation;
  t.same(got.plaintext, text('hello'));
  t.same(got.authenticatedData, aad);
  t.equal(got.sender.user, 'alice');
  t.same(got.sender.deviceId, alice.device.deviceId);
  erase([...sent.spent, ...got.spent]);
  await t.rejects(engine.receive(b, sent.message, now, byInvitation), { code: 'REPLAY', field: 'generation' }, 'once');
  const answer = await engine.encrypt(b, text('hi'), aad);
  t.same((await received('message', a, answer.message)).plaintext, text('hi'), 'erasing what was spent broke nothing');
  await t.rejects(engine.receive(answer.conversation, answer.message, now, byInvitation), {
    code: 'DECRYPT_FAIL',
    sub: 'own',
  });
  t.same(
    (await engine.members(a)).map((d) => d.user),
    ['alice', 'bob'],
  );
});

t.test('the same words twice: two ciphertexts, each under a key of its own', async (t) => {
  const [a] = (await world.group(await Promise.all(['alice', 'bob'].map((name) => world.person(name))))) as [
    Conversation,
  ];
  const first = await engine.encrypt(a, text('the same'), aad);
  const second = await engine.encrypt(first.conversation, text('the same'), aad);
  t.notOk(equal(first.message, second.message));
  t.notOk(equal(first.message.subarray(-64), second.message.subarray(-64)), 'also where only the words are');
  const secretOf = ({ state }: Conversation): string =>
    Buffer.from(state.secretTree[2 * state.privatePath.leafIndex]!.application.secret).toString('hex');
  const secrets = [a, first.conversation, second.conversation].map(secretOf);
  t.equal(new Set(secrets).size, 3, 'what one key is made of does not make another');
});

t.test('two conversations of the same people share no key', async (t) => {
  const people = await Promise.all(['alice', 'bob'].map((name) => world.person(name)));
  const hexOf = (secret: Uint8Array): string => Buffer.from(secret).toString('hex');
  const shared = ({ state }: Conversation): string[] => [
    ...Object.values(state.keySchedule).map(hexOf),
    ...state.secretTree.flatMap(({ handshake, application }) => [handshake, application].map((of) => hexOf(of.secret))),
  ];
  const own = ({ state }: Conversation): string[] => Object.values(state.privatePath.privateKeys).map(hexOf);
  const [[a, b], [c, d]] = [await world.group(people), await world.group(people)] as [Conversation[], Conversation[]];
  t.strictSame(shared(a!), shared(b!), 'what the two have in common');
  t.strictSame([...new Set(shared(a!).map((secret) => secret.length * 4))], [512], 'bits of each secret');
  t.equal((await openSuite()).hpke.keyLength * 8, 256, 'bits of the keys that are made of them');
  const all = [a, c].flatMap((each) => shared(each!));
  t.equal(new Set(all).size, all.length, 'no secret twice');
  const keys = [a, b, c, d].flatMap((each) => own(each!));
  t.ok(keys.length >= 4);
  t.equal(new Set(keys).size, keys.length, 'and no private key');
  const { message } = await engine.encrypt(a!, text('to the one'), aad);
  t.match(await received('message', b!, message), { plaintext: text('to the one') });
  await t.rejects(engine.receive(d!, message, now, byInvitation), { code: 'DECRYPT_FAIL' }, 'is not for the other');
});

t.test('a commit waits for its acceptance', async (t) => {
  const people = await Promise.all(['alice', 'bob', 'carol'].map((name) => world.person(name)));
  const [a, b, c] = (await world.group(people)) as [Conversation, Conversation, Conversation];
  const mine = await engine.commit(a, {}, now, openToAll);
  const theirs = await engine.commit(b, {}, now, openToAll);
  t.equal(epoch(mine.conversation), epoch(a), 'the old state stays');
  await t.rejects(engine.commit(mine.conversation, {}, now, openToAll), { code: 'STALE', sub: 'pending' });

  const meanwhile = await engine.encrypt(c, text('in the old epoch'), aad);
  const early = await received('message', mine.conversation, meanwhile.message);
  const adopted = await received('adopted', early.conversation, mine.commit);
  await t.rejects(
    engine.receive(adopted.conversation, meanwhile.message, now, byInvitation),
    { code: 'REPLAY' },
    'known over the adoption',
  );
  erase(mine.spent);
  const late = await engine.encrypt(meanwhile.conversation, text('late'), aad);
  t.same(
    (await received('message', adopted.conversation, late.message)).plaintext,
    text('late'),
    'of the epoch before',
  );

  const lost = await received('commit', theirs.conversation, mine.commit);
  t.same(lost.lost, theirs.commit, 'the other one hears that its commit lost');
  t.equal(lost.conversation.pending, null);
  t.ok(equal(epochAuthenticator(lost.conversation), epochAuthenticator(adopted.conversation)));
  const again = await engine.commit(lost.conversation, {}, now, openToAll);
  const c1 = (await received('commit', c, mine.commit)).conversation;
  const c2 = await received('commit', c1, again.commit);
  t.equal(c2.change.by.user, 'bob');
  t.ok(equal(epochAuthenticator(c2.conversation), epochAuthenticator(engine.adopt(again.conversation))));
});

t.test('a commit that was refused in its own epoch is made again with another key', async (t) => {
  const people = await Promise.all(['alice', 'bob'].map((name) => world.person(name)));
  const [a, b] = (await world.group(people)) as [Conversation, Conversation];
  const first = await engine.commit(a, {}, now, openToAll);
  const second = await engine.commit(engine.drop(first.conversation), {}, now, openToAll);
  await received('commit', b, second.commit);
  const after = (await received('commit', b, first.commit)).conversation;
  t.equal(epoch(after), 2n, 'a generation that was skipped is no gap');
  const ratchetOf = (c: Conversation) => c.state.secretTree[0]!.handshake.generation;
  t.strictSame([ratchetOf(a), ratchetOf(first.conversation), ratchetOf(second.conversation)], [0, 1, 2]);
});

t.test('coming in from outside, and back', async (t) => {
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((name) => world.person(name)));
  const [a, b] = (await world.group([alice!, bob!])) as [Conversation, Conversation];
  const joining = await engine.joinExternal(await engine.door(a), carol!.device, now, aad);
  await t.rejects(engine.receive(a, joining.commit, now, byInvitation), { code: 'DECRYPT_FAIL', sub: 'policy' });
  const ra = await received('commit', a, joining.commit, openToAll);
  const rb = await received('commit', b, joining.commit, openToAll);
  t.match(ra.change, { isExternal: true, by: { user: 'carol' }, added: [{ user: 'carol' }], removed: [] });
  t.same(ra.authenticatedData, aad);
  t.ok(equal(epochAuthenticator(ra.conversation), epochAuthenticator(joining.conversation)));

  const copied = await world.person('bob', { deviceId: Buffer.from(bob!.device.deviceId) });
  const takeover = await engine.joinExternal(await engine.door(rb.conversation), copied.device, now);
  for (const each of [ra, rb])
    await t.rejects(
      engine.receive(each.conversation, takeover.commit, now, openToAll),
      { code: 'DECRYPT_FAIL', sub: 'external_removal' },
      'an id can be copied, a key cannot',
    );
  const renewed = await world.person('bob', { again: bob!.device });
  const resync = await engine.joinExternal(await engine.door(rb.conversation), renewed.device, now);
  const back = await received('commit', ra.conversation, resync.commit, byInvitation);
  t.match(back.change, { isExternal: true, by: { user: 'bob' }, removed: [{ user: 'bob' }] });
  t.same(back.change.added[0]!.mlsKey, bob!.device.mlsKey);
  t.notSame(back.change.added[0]!.certificate, back.change.removed[0]!.certificate);
  t.ok(equal(epochAuthenticator(back.conversation), epochAuthenticator(resync.conversation)));
  const old = await received('removed', rb.conversation, resync.commit);
  t.equal(old.change.isExternal, true, 'the old state learns that its device lives on elsewhere');
  t.equal((await engine.members(resync.conversation)).length, 3);
});

t.test('a group of more than fifty has its tree beside the welcome', async (t) => {
  const people = await Promise.all(Array.from({ length: 52 }, (_, i) => world.person(`user${i}`)));
  const all = await world.group(people);
  t.equal(new Set(all.map((c) => Buffer.from(epochAuthenticator(c)).toString('hex'))).size, 1);
  const door = await engine.door(all[0]!);
  t.ok(door.tree && door.tree.length > door.groupInfo.length);
  const guest = await world.person('grace');
  const joined = await engine.joinExternal(door, guest.device, now);
  await received('commit', all[7]!, joined.commit, openToAll);
  await t.rejects(engine.joinExternal({ ...door, tree: null }, guest.device, now), {
    code: 'DECRYPT_FAIL',
    sub: 'welcome',
  });
});
