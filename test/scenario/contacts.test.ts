/** Who may write to whom, and see whom, under each policy; and what a block does. */
import t from 'tap';
import type { Reply } from '../../protocol/messages.ts';
import { MAX_ASKED } from '../../server/contacts.ts';
import { newUser } from '../support/store-world.ts';
import { devicesOf, PATIENCE_MS } from '../support/apps.ts';
import { textOf, type RawClient } from '../support/raw-client.ts';
import { openConversation, world } from '../support/world.ts';
import { testFolder } from '../support/folder.ts';

t.setTimeout(240_000); // a busy machine is no failure

type Action = 'add' | 'accept' | 'decline' | 'remove' | 'block' | 'unblock';
const act = async (client: RawClient, action: Action, account: string): Promise<string> =>
  (await client.request({ type: `contact_${action}`, account }, 'contact')).state;
const list = async (client: RawClient): Promise<Record<string, string>> => {
  const { people } = await client.request({ type: 'contact_list', after: '' }, 'contacts');
  return Object.fromEntries(people.map(({ username, state }) => [username, state]));
};
const noticesOf = (client: RawClient) =>
  client.frames.flatMap((f) => (f.type === 'contact_changed' ? [`${f.username} ${f.state}`] : []));
const notice = (client: RawClient, n: number): Promise<Reply<'contact_changed'>> => client.nth('contact_changed', n);

t.test('request: nobody writes or watches before the other has accepted, nor after that is over', async (t) => {
  const w = await world(t, { 'contacts.policy': 'request' });
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  let b = await w.login(bob);
  await t.rejects(openConversation(a, 'bob'), { code: 'NOT_CONTACT' });
  await t.rejects(a.request({ type: 'presence_watch', username: 'bob' }, 'presence'), { code: 'NOT_CONTACT' });
  await t.rejects(act(a, 'add', 'nobody'), { code: 'NO_SUCH_PEER' });
  await t.rejects(act(a, 'add', 'alice'), { code: 'NO_SUCH_PEER' }, 'oneself');
  await t.rejects(act(b, 'accept', 'alice'), { code: 'NOT_FOUND' }, 'what was not asked');

  t.equal(await act(a, 'add', 'bob@example.org'), 'asked');
  t.equal(await act(a, 'add', 'bob'), 'asked', 'again changes nothing');
  t.match(await notice(b, 1), { username: 'alice', state: 'asking' });
  t.strictSame(await list(a), { bob: 'asked' });
  t.strictSame(await list(b), { alice: 'asking' });
  await t.rejects(openConversation(a, 'bob'), { code: 'NOT_CONTACT' }, 'asking is not enough');
  t.equal(await act(b, 'accept', 'alice'), 'contact');
  t.match(await notice(a, 2), { username: 'bob', state: 'contact' });

  const talk = await openConversation(a, 'bob');
  t.same((await a.request({ type: 'presence_watch', username: 'bob' }, 'presence')).online, true);
  t.equal(await act(a, 'add', 'bob'), 'contact', 'again');
  await b.close();
  t.match(
    await a.until((all) => all.find((f) => f.type === 'presence' && f.id === undefined)),
    { online: false },
    'who is in contact is still seen',
  );
  b = await w.login(bob);
  await a.until((all) => all.find((f) => f.type === 'presence' && f.id === undefined && f.online));
  await a.request(alice.lineage.texts(talk, ['hello']), 'msg_ack');
  t.equal(textOf((await b.delivered(1))[0]!), 'hello');
  await b.request({ type: 'keypackages_put', packages: [Buffer.from('bob')], last_resort: false }, 'keypackages');
  const { devices } = talk.members.find(({ username }) => username === 'bob')!;
  const take = { type: 'keypackages_take', conversation: talk.conversation, devices } as const;

  const seen = a.frames.filter((f) => f.type === 'presence' && f.id === undefined).length;
  t.equal(await act(b, 'remove', 'alice'), 'none');
  t.match(await notice(a, 3), { username: 'bob', state: 'none' });
  await t.rejects(a.request(alice.lineage.texts(talk, ['still there?'], { peek: true }), 'msg_ack'), {
    code: 'NOT_CONTACT',
  });
  const refusal = { code: 'NOT_CONTACT', field: 'keypackages_take.conversation' };
  await t.rejects(a.request(take, 'keypackages_taken'), refusal);
  t.match(await b.request({ type: 'keypackages_put', packages: [], last_resort: false }, 'keypackages'), { count: 1 });
  await b.close();
  await w.login(bob);
  await a.settled();
  t.equal(
    a.frames.filter((f) => f.type === 'presence' && f.id === undefined).length,
    seen,
    'and nothing is seen of him',
  );
});

t.test('who asks somebody that asks him is in contact; a question can be declined or taken back', async (t) => {
  const w = await world(t, { 'contacts.policy': 'request' });
  await w.person('carol');
  const a = await w.login(await w.person('alice'));
  const b = await w.login(await w.person('bob'));
  await act(a, 'add', 'bob');
  t.equal(await act(b, 'add', 'alice'), 'contact');
  await act(a, 'remove', 'bob');
  await act(a, 'add', 'bob');
  t.equal(await act(b, 'decline', 'alice'), 'none');
  await act(a, 'add', 'carol');
  t.equal(await act(a, 'remove', 'carol'), 'none');
  t.strictSame(await list(a), {});
  await b.settled();
  t.strictSame(noticesOf(b), ['alice asking', 'alice contact', 'alice none', 'alice asking', 'alice none']);
});

t.test('a block outweighs the open policy, in both directions, and is announced to nobody', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const b = await w.login(bob);
  const talk = await openConversation(a, 'bob');
  await a.request({ type: 'presence_watch', username: 'bob' }, 'presence');
  t.equal(await act(b, 'block', 'alice'), 'blocked');
  for (const [client, person] of [
    [a, alice],
    [b, bob],
  ] as const) {
    await t.rejects(client.request(person.lineage.texts(talk, ['x'], { peek: true }), 'msg_ack'), { code: 'BLOCKED' });
    await t.rejects(openConversation(client, person === alice ? 'bob' : 'alice'), { code: 'BLOCKED' });
  }
  await t.rejects(a.request({ type: 'presence_watch', username: 'bob' }, 'presence'), { code: 'BLOCKED' });
  await t.rejects(act(a, 'add', 'bob'), { code: 'BLOCKED', sub: undefined }, 'whose block it is stays his');
  await t.rejects(act(b, 'add', 'alice'), { code: 'BLOCKED', sub: 'by_you' });
  await b.close();
  const again = await w.login(bob);
  await a.settled();
  t.strictSame(noticesOf(a), [], 'alice was told nothing');
  t.strictSame(await list(a), {}, 'and has nothing in her list');
  t.equal(a.frames.filter((f) => f.type === 'presence' && f.id === undefined).length, 0, 'not even that he is gone');

  t.equal(await act(again, 'unblock', 'alice'), 'none');
  await a.request(alice.lineage.texts(talk, ['back']), 'msg_ack');
  t.equal(textOf((await again.delivered(1))[0]!), 'back');
});

t.test('closed: only the operator brings people together', async (t) => {
  const w = await world(t, { 'contacts.policy': 'closed' });
  const a = await w.login(await w.person('alice'));
  await w.person('bob');
  await t.rejects(act(a, 'add', 'bob'), { code: 'NOT_CONTACT', sub: 'closed' });
  await t.rejects(openConversation(a, 'bob'), { code: 'NOT_CONTACT' });
  const { store } = w.server;
  const ids = [(await store.findUser('alice'))!.id, (await store.findUser('bob'))!.id] as const;
  await store.changeContact(ids[0], ids[1], 'add', 1);
  await store.changeContact(ids[1], ids[0], 'add', 2);
  t.ok(await openConversation(a, 'bob'));
});

t.test('nobody can fill the lists of everybody', async (t) => {
  const w = await world(t, { 'contacts.policy': 'request' });
  const alice = await w.person('alice');
  const a = await w.login(alice);
  const me = (await w.server.store.findUser('alice'))!.id;
  const names = Array.from({ length: MAX_ASKED + 1 }, (_, i) => `p${String(i).padStart(4, '0')}`);
  for (const name of names) {
    const { id } = await w.server.store.createUser(newUser(name));
    if (name !== names.at(-1)) await w.server.store.changeContact(me, id, 'add', 1);
  }
  await t.rejects(act(a, 'add', names.at(-1)!), { code: 'QUOTA' });
  const first = await a.request({ type: 'contact_list', after: '' }, 'contacts');
  t.strictSame([first.people.length, first.has_more], [200, false]);
});

t.test('the directory shows what its setting says, page by page', async (t) => {
  for (const [visibility, wanted] of [
    ['everybody', ['alice', 'bob', 'carol']],
    ['contacts', ['bob']],
    ['nobody', []],
  ] as const) {
    const w = await world(t, { 'directory.visibility': visibility });
    const a = await w.login(await w.person('alice'));
    const b = await w.login(await w.person('bob'));
    await w.person('carol');
    await act(a, 'add', 'bob');
    await act(b, 'accept', 'alice');
    const { people, has_more: hasMore } = await a.request({ type: 'directory', after: '' }, 'directory');
    t.strictSame(
      people.map(({ username }) => username),
      wanted,
      visibility,
    );
    t.equal(hasMore, false);
    const rest = await a.request({ type: 'directory', after: 'bob' }, 'directory');
    t.strictSame(
      rest.people.map(({ username }) => username),
      visibility === 'everybody' ? ['carol'] : [],
    );
  }
});

t.test('what was written before a block fails by name, and the next conversation goes on', async (t) => {
  testFolder(t);
  const w = await world(t);
  const [alice, bob, carol] = await devicesOf(t, w, 'alice', 'bob', 'carol');
  await alice.app.open('bob'); // no group yet: the first message has to make one
  await bob.app.changeContact('block', 'alice');
  const row = alice.app.send(alice.vault.conversationWith('bob')!.id, Buffer.from('hello?'));
  await t.rejects(alice.app.waitFor(row, 'accepted', PATIENCE_MS), { code: 'BLOCKED' });
  await alice.say('carol', 'still here');
  await carol.hears('still here');
  t.strictSame(alice.told('alarm'), []);
});
