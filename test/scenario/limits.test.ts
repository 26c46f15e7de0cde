/** What keeps one person from using up what belongs to all: quota, rate, time to live, and a line that only acknowledgements move. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { cursorsOf, deliveredOf, textOf } from '../support/raw-client.ts';
import { openConversation, world } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('QUOTA: by bytes, and by messages that have none; only when no device of the other has room', async (t) => {
  const w = await world(t, { 'limits.queue_mb_per_user': 2, 'limits.messages_per_min': 100_000 });
  const [alice, bob, carol] = [await w.person('alice'), await w.person('bob'), await w.person('carol')];
  const a = await w.login(alice);
  const large = [Buffer.alloc(600_000)];
  const talk = await openConversation(a, 'bob');
  for (let i = 0; i < 2; i++) await a.request(alice.lineage.batch([{ to: talk, parts: large }]), 'msg_ack');
  const quota = { code: 'QUOTA', field: 'msg_send.messages[0].statement' };
  await t.rejects(a.request(alice.lineage.texts(talk, ['more'], { peek: true }), 'msg_ack'), quota, 'bytes');

  const c = await w.login(carol);
  const other = await openConversation(c, 'bob');
  await c.request(carol.lineage.texts(other, ['from somebody else']), 'msg_ack');
  await c.close();

  const withCarol = await openConversation(a, 'carol');
  const empty = Array.from({ length: 1024 }, () => ({ to: withCarol, parts: [Buffer.alloc(0)] }));
  for (let i = 0; i < 2; i++) await a.request(alice.lineage.batch(empty), 'msg_ack');
  await t.rejects(a.request(alice.lineage.texts(withCarol, [''], { peek: true }), 'msg_ack'), quota, 'rows');

  const phone = w.certificate('bob');
  const p = await w.login(phone);
  const now = await a.request({ type: 'conversation_get', conversation: talk.conversation }, 'conversation');
  await a.request(alice.lineage.texts(now, ['to the phone']), 'msg_ack');
  t.strictSame(
    (await p.delivered(1)).map(textOf),
    ['to the phone'],
    'a device that never comes keeps nobody from the others',
  );
  const b = await w.login(bob);
  t.equal((await b.delivered(3)).length, 3);
  await b.settled();
  t.equal(textOf(deliveredOf(b.frames)[2]!), 'from somebody else', 'one sender leaves room for others');
  t.equal(deliveredOf(b.frames).length, 3, 'what was sent meanwhile went to the phone alone');
  await a.request(alice.lineage.texts(now, ['to both']), 'msg_ack');
  t.equal(textOf((await b.delivered(4))[3]!), 'to both', 'there is room again');
  // An own device that is away for ever takes nothing from its owner.
  const tablet = w.certificate('alice');
  await (await w.login(tablet)).close();
  const all = await a.request({ type: 'conversation_get', conversation: talk.conversation }, 'conversation');
  for (let i = 0; i < 3; i++) await a.request(alice.lineage.batch([{ to: all, parts: large }]), 'msg_ack');
  t.equal((await b.delivered(7)).length, 7);
  t.equal((await carolGets(w.login(carol), 2048)).length, 2048);
});

const carolGets = async (login: ReturnType<Awaited<ReturnType<typeof world>>['login']>, count: number) =>
  (await login).delivered(count);

t.test('RATE_LIMIT: by account, with the time to wait, and without a trace', async (t) => {
  const w = await world(t, { 'limits.messages_per_min': 5 }, () => 0); // nothing flows into the bucket, however long this takes
  const [alice] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const phone = w.certificate('alice');
  const p = await w.login(phone);
  const talk = await openConversation(a, 'bob');
  await a.request(alice.lineage.texts(talk, ['1', '2', '3']), 'msg_ack');
  await p.request(phone.lineage.texts(talk, ['4', '5']), 'msg_ack');
  for (const [client, { lineage }] of [
    [a, alice],
    [p, phone],
  ] as const) {
    const error = await client.request(lineage.texts(talk, ['6'], { peek: true }), 'msg_ack').catch((e: unknown) => e);
    t.match(error, { code: 'RATE_LIMIT' });
    const { retryAfterMs } = error as { retryAfterMs: number };
    t.ok(retryAfterMs > 0 && retryAfterMs <= 12_000, `${retryAfterMs} ms`);
  }
  await a.settled();
});

t.test('what waits too long is deleted, and the sender is told', async (t) => {
  const w = await world(t, { 'retention.ttl': '1m' });
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  await a.request(alice.lineage.texts(talk, ['too late']), 'msg_ack');
  w.aheadMs = 50_000;
  await a.request(alice.lineage.texts(talk, ['in time']), 'msg_ack');
  w.aheadMs = 61_000;
  t.match(await a.nth('msg_expired'), { by: 'bob' });
  const b = await w.login(bob);
  t.strictSame((await b.delivered(1)).map(textOf), ['in time']);
  await b.settled();
  await b.close();
  const last = alice.lineage.texts(talk, ['too late as well']);
  await a.request(last, 'msg_ack');
  w.aheadMs = 130_000;
  const { message } = await a.nth('msg_expired', 2);
  t.equal(hex(message), hex(leafHash(last.messages[0]!.statement)), 'and not what was kept in time');
});

t.test('a device that acknowledges nothing gets 2048 messages and no more; then the rest, each once', async (t) => {
  const w = await world(t, { 'limits.messages_per_min': 100_000 });
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const b = await w.login(bob);
  b.acknowledges = false;
  const talk = await openConversation(a, 'bob');
  const texts = Array.from({ length: 5000 }, (_, i) => `${i}`);
  for (let at = 0; at < texts.length; at += 1000)
    await a.request(alice.lineage.texts(talk, texts.slice(at, at + 1000)), 'msg_ack');
  await b.delivered(2048);
  await b.settled();
  t.equal(deliveredOf(b.frames).length, 2048);
  b.acknowledges = true;
  const cursors = cursorsOf(b.frames);
  b.link.send({ type: 'msg_received', cursors: cursors.slice(0, 1000) });
  await b.settled();
  t.equal(deliveredOf(b.frames).length, 2048, 'not before half of the line is free');
  b.link.send({ type: 'msg_received', cursors: cursors.slice(1000, 2000) });
  b.link.send({ type: 'msg_received', cursors: cursors.slice(2000) });
  t.strictSame((await b.delivered(5000)).map(textOf), texts, 'in order');
  await b.settled();
  await a.request(alice.lineage.texts(talk, ['live again']), 'msg_ack');
  t.equal((await b.delivered(5001)).length, 5001);
});

t.test('a device that believes nothing it gets is not kept from the rest, and loses nothing', async (t) => {
  const w = await world(t, { 'limits.messages_per_min': 60_000 });
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  for (let at = 0; at < 3; at++)
    await a.request(
      alice.lineage.texts(
        talk,
        Array.from({ length: 1000 }, (_, i) => `${at * 1000 + i}`),
      ),
      'msg_ack',
    );
  const b = await w.login(bob);
  b.acknowledges = false;
  await b.delivered(2048);
  const cursors = cursorsOf(b.frames);
  for (let at = 0; at < 2048; at += 1024) b.link.send({ type: 'msg_skipped', cursors: cursors.slice(at, at + 1024) });
  t.equal(textOf((await b.delivered(3000))[2999]!), '2999');
  await b.settled();
  t.equal(deliveredOf(b.frames).length, 3000, 'nothing twice on one connection');
  await a.settled();
  t.notOk(
    a.frames.some(({ type }) => type === 'msg_expired'),
    'and the sender is told of none',
  );
  await b.close();
  t.equal((await (await w.login(bob)).delivered(3000)).length, 3000, 'all of it again on the next');
});

t.test('what waits for all at once is bounded in bytes as well', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const b = await w.login(bob);
  b.acknowledges = false;
  const talk = await openConversation(a, 'bob');
  for (let i = 0; i < 8; i++)
    await a.request(alice.lineage.batch([{ to: talk, parts: [Buffer.alloc(1_000_000, i)] }]), 'msg_ack');
  await b.delivered(5);
  await b.settled();
  t.equal(deliveredOf(b.frames).length, 5, '4 MiB, and the message that went over it');
  b.acknowledges = true;
  b.link.send({ type: 'msg_received', cursors: cursorsOf(b.frames) });
  t.strictSame(
    (await b.delivered(8)).map(({ parts }) => parts[0]![0]),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
});
