/** What others are told of somebody's presence, over the wire of a whole server: states, invisibility, last seen, typing. */
import t from 'tap';
import type { Reply } from '../../protocol/messages.ts';
import { RawClient } from '../support/raw-client.ts';
import { openConversation, world } from '../support/world.ts';

t.setTimeout(240_000);

type Shown = Omit<Reply<'presence'>, 'type'>;
const presences = (client: RawClient): Shown[] =>
  client.frames.flatMap((frame) => (frame.type === 'presence' && frame.id === undefined ? [frame] : []));
const typings = (client: RawClient): [string, boolean][] =>
  client.frames.flatMap((frame) => (frame.type === 'typing' ? [[frame.username, frame.on]] : []));
const watch = (client: RawClient, username: string) => client.request({ type: 'presence_watch', username }, 'presence');

t.test('states are kept for the account, and told on', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  let b = await w.login(bob);
  t.match(await b.request({ type: 'presence_set' }, 'presence_choice'), { state: 'online', last_seen: true });
  t.match(await watch(a, 'bob'), { online: true, state: undefined });
  t.match(await b.request({ type: 'presence_set', state: 'away' }, 'presence_choice'), {
    state: 'away',
    last_seen: true,
  });
  t.match(await a.until((all) => all.findLast((f) => f.type === 'presence' && f.id === undefined)), {
    online: true,
    state: 'away',
  });
  await b.request({ type: 'presence_set', state: 'away' }, 'presence_choice');
  await b.close();
  b = await w.login(bob);
  await b.settled();
  t.match(await b.request({ type: 'presence_set', state: 'dnd' }, 'presence_choice'), { state: 'dnd' });
  await b.request({ type: 'presence_set', state: 'online' }, 'presence_choice');
  await a.until((all) =>
    all.filter((f) => f.type === 'presence' && f.id === undefined).length >= 5 ? true : undefined,
  );
  t.strictSame(
    presences(a).map(({ online, state }) => [online, state]),
    [
      [true, 'away'],
      [false, undefined],
      [true, 'away'],
      [true, 'dnd'],
      [true, undefined],
    ],
    'each once, and as it was left',
  );
});

t.test('invisible looks as if he had left', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const [a, b] = [await w.login(alice), await w.login(bob)];
  await watch(a, 'bob');
  await b.request({ type: 'presence_set', state: 'invisible' }, 'presence_choice');
  const gone = await a.nth('presence', 2);
  t.match(gone, { online: false, state: undefined });
  t.type(gone.last_seen, 'number');
  t.match(await watch(a, 'bob'), { online: false, last_seen: gone.last_seen });

  const talk = await openConversation(a, 'bob');
  await openConversation(b, 'alice');
  const { messages } = (await a.request(alice.lineage.texts(talk, ['hello']), 'msg_ack')) as Reply<'msg_ack'>;
  t.equal(messages[0]!.queued, true, 'that it was taken at once is not said');
  await b.delivered(1);
  b.link.send({ type: 'typing', conversation: talk.conversation, on: true });
  await b.settled();
  await b.close();
  const again = await w.login(bob);
  await again.settled();
  await a.settled();
  t.equal(presences(a).length, 1, 'he comes and goes, and nobody is told');
  t.strictSame(typings(a), []);
  t.equal((await watch(a, 'bob')).last_seen, gone.last_seen, 'nor when it was');
  await again.request({ type: 'presence_set', state: 'online' }, 'presence_choice');
  t.match(await a.until((all) => all.findLast((f) => f.type === 'presence' && f.id === undefined && f.online)), {
    username: 'bob',
  });
});

t.test('last seen is told of nobody who does not want it', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const [a, b] = [await w.login(alice), await w.login(bob)];
  await watch(a, 'bob');
  t.match(await b.request({ type: 'presence_set', last_seen: false }, 'presence_choice'), {
    state: 'online',
    last_seen: false,
  });
  await b.close();
  const gone = await a.nth('presence', 2);
  t.match(gone, { online: false, last_seen: undefined });
  t.match(await watch(a, 'bob'), { online: false, last_seen: undefined });
  const again = await w.login(bob);
  await again.request({ type: 'presence_set', last_seen: true }, 'presence_choice');
  await again.close();
  await a.until((all) => all.findLast((f) => f.type === 'presence' && f.last_seen !== undefined));
});

t.test('typing reaches those who are there, and nobody else', async (t) => {
  const w = await world(t);
  const [alice, bob, carol] = [await w.person('alice'), await w.person('bob'), await w.person('carol')];
  const [a, b, c] = [await w.login(alice), await w.login(bob), await w.login(carol)];
  const talk = await openConversation(a, 'bob');
  await openConversation(a, 'carol');
  const from = performance.now();
  const type = (client: RawClient, on: boolean): void =>
    client.link.send({ type: 'typing', conversation: talk.conversation, on });
  type(a, true);
  type(a, false);
  await b.until((all) => (all.filter((f) => f.type === 'typing').length === 2 ? true : undefined));
  t.strictSame(typings(b), [
    ['alice', true],
    ['alice', false],
  ]);
  type(c, true); // not hers: no answer, and nobody is told
  await c.settled();
  for (let i = 0; i < 200; i++) type(a, i % 2 === 0);
  await a.settled();
  await b.settled();
  const allowed = 60 + Math.ceil((performance.now() - from) / 1000);
  t.ok(typings(b).length <= allowed, `${typings(b).length} of ${allowed}: what is too much is dropped`);
  t.ok(typings(b).every(([name]) => name === 'alice'));
  t.strictSame(typings(a), []);
  t.strictSame(typings(c), []);
  t.strictSame(
    c.frames.filter((f) => f.type === 'error'),
    [],
  );

  await b.request({ type: 'contact_block', account: 'alice' }, 'contact');
  const before = typings(a).length;
  type(b, true);
  await b.settled();
  await a.settled();
  t.equal(typings(a).length, before, 'not across a block');
  t.notMatch(JSON.stringify(w.lines ?? []), /typing/, 'and no log line says so');
});

t.test('of contacts alone, where the server wants that', async (t) => {
  const w = await world(t, { 'contacts.policy': 'request' });
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const [a, b] = [await w.login(alice), await w.login(bob)];
  await a.request({ type: 'contact_add', account: 'bob' }, 'contact');
  await b.request({ type: 'contact_accept', account: 'alice' }, 'contact');
  const talk = await openConversation(a, 'bob');
  const type = (): void => a.link.send({ type: 'typing', conversation: talk.conversation, on: true });
  type();
  await b.until((all) => (all.some((f) => f.type === 'typing') ? true : undefined));
  await b.request({ type: 'contact_remove', account: 'alice' }, 'contact');
  type();
  await a.settled();
  await b.settled();
  t.equal(typings(b).length, 1);
});
