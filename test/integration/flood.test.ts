/** A room that all its members flood, and one of them reads nothing: limits hold and say how long, nobody else waits, and nothing is lost. */
import t from 'tap';
import { deliveredOf, textOf, type SendFrame } from '../support/raw-client.ts';
import { openConversation, world } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

const LIMIT = 100;
/** Few more: where they are not read in one go, each refusal lets its sender rest for up to 5 s. */
const EACH = 110;

t.test('a room that everybody floods', async (t) => {
  const w = await world(t, { 'limits.messages_per_min': LIMIT }, () => 0); // nothing flows into the buckets, however long this takes
  const [alice, bob, carol, dave] = [
    await w.person('alice'),
    await w.person('bob'),
    await w.person('carol'),
    await w.person('dave'),
  ];
  const members = [alice, bob, carol, dave];
  const [a, b, c, deaf] = [await w.login(alice), await w.login(bob), await w.login(carol), await w.login(dave)];
  const { conversation } = await a.request({ type: 'room_create', room: '#all', visibility: 'public' }, 'room');
  for (const member of [b, c, deaf]) await member.request({ type: 'room_join', room: '#all' }, 'room');
  const roster = await a.request({ type: 'conversation_get', conversation }, 'conversation');

  deaf.link.pause();
  deaf.acknowledges = false;
  const floods = [a, b, c].map((client, i) => {
    const { lineage, name } = members[i]!;
    const batches: SendFrame[] = Array.from({ length: EACH }, (_, n) => lineage.texts(roster, [`${name} ${n}`]));
    return { client, name, ids: batches.map((batch) => client.send(batch)) };
  });

  // Meanwhile, among others.
  const [erin, frank] = [await w.person('erin'), await w.person('frank')];
  const [e, f] = [await w.login(erin), await w.login(frank)];
  const talk = await openConversation(e, 'frank');
  const texts = Array.from({ length: 20 }, (_, i) => `calm ${i}`);
  for (const text of texts) await e.request(erin.lineage.texts(talk, [text]), 'msg_ack');
  t.strictSame((await f.delivered(texts.length)).map(textOf), texts, 'two others talk');

  for (const { client, name, ids } of floods) {
    const answers = await client.until((frames) => {
      const own = frames.filter((frame) => 'id' in frame && ids.includes(frame.id ?? 0));
      return own.length === EACH ? own : undefined;
    });
    t.equal(answers.filter(({ type }) => type === 'msg_ack').length, LIMIT, `${name} had what the limit allows`);
    const refused = answers.filter((frame) => frame.type === 'error');
    t.equal(refused.length, EACH - LIMIT);
    t.ok(
      refused.every((frame) => frame.code === 'RATE_LIMIT' && (frame.retry_after_ms ?? 0) > 0),
      'and was told for each of the others how long to wait',
    );
  }
  const all = floods.length * LIMIT;
  t.equal((await b.delivered(all - LIMIT)).length, all - LIMIT, 'who reads has everything of the others');
  deaf.acknowledges = true;
  deaf.link.resume();
  const heard = (await deaf.delivered(all)).map(textOf);
  for (const { name } of floods)
    t.strictSame(
      heard.filter((text) => text.startsWith(name)),
      Array.from({ length: LIMIT }, (_, n) => `${name} ${n}`),
      `and so has who began to read late, ${name}'s in order`,
    );
  t.equal(deliveredOf(deaf.frames).length, all, 'each once');
  t.equal(w.lines.filter(({ level }) => level === 'error').length, 0, 'nothing of it is a fault of the server');
});

t.test('what all members of a room send is limited together, and nothing else is', async (t) => {
  const w = await world(t, { 'limits.room_deliveries_per_min': 100 }, () => 0);
  const people: Awaited<ReturnType<typeof w.person>>[] = [];
  for (let i = 0; i < 10; i++) people.push(await w.person(`person${i}`));
  const clients = await Promise.all(people.map((person) => w.login(person)));
  const [a, b] = [clients[0]!, clients[1]!];
  const { conversation } = await a.request({ type: 'room_create', room: '#ten', visibility: 'public' }, 'room');
  for (const client of clients.slice(1)) await client.request({ type: 'room_join', room: '#ten' }, 'room');
  const roster = await a.request({ type: 'conversation_get', conversation }, 'conversation');
  const talk = await openConversation(a, 'person1');
  const outcome = (i: number, to: typeof talk, peek = false): Promise<unknown> =>
    clients[i]!.request(people[i]!.lineage.texts(to, ['x'], { peek }), 'msg_ack').then(
      () => 'accepted',
      (error: unknown) => error,
    );
  const RATE_LIMIT = { code: 'RATE_LIMIT', retryAfterMs: 4800 };
  for (let n = 0; n < 11; n++) t.equal(await outcome(n % 2, roster), 'accepted', '9 of 100 each');
  for (const i of [0, 1, 2]) t.match(await outcome(i, roster, true), RATE_LIMIT, 'whoever it is');
  t.equal(await outcome(0, talk), 'accepted', 'elsewhere he may write');
  t.equal((await b.delivered(7)).length, 7);
  for (const client of clients) await client.settled();
});
