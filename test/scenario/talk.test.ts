/** Two people and a third one, over real TLS and both handshakes, with the server as the daemon builds it. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { encodeFrame } from '../../protocol/frame-codec.ts';
import { MAX_SEND_BYTES } from '../../protocol/messages.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { KIND } from '../../transcript/statement.ts';
import { cursorsOf, deliveredOf, textOf, type RawClient, type SendFrame } from '../support/raw-client.ts';
import { openConversation, world } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('both ways: accepted, delivered, in order, and nobody else sees a thing', async (t) => {
  const w = await world(t);
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((name) => w.person(name)));
  const a = await w.login(alice!);
  const b = await w.login(bob!);
  const c = await w.login(carol!);
  const talk = await openConversation(a, 'bob');
  t.same((await openConversation(b, 'alice')).conversation, talk.conversation, 'one for both');

  const first = alice!.lineage.texts(talk, ['one', 'two']);
  const ack = await a.request(first, 'msg_ack');
  a.check(ack, first);
  t.strictSame(ack.messages, [
    { seq: 1, queued: false },
    { seq: 2, queued: false },
  ]);
  const items = await b.delivered(2);
  t.strictSame(
    items.map((item) => [item.seq, textOf(item)]),
    [
      [1, 'one'],
      [2, 'two'],
    ],
  );
  const receipt = bob!.lineage.receipt(talk, 'alice', items);
  const kept = await b.request(receipt, 'msg_ack');
  b.check(kept, receipt);
  t.strictSame(kept.messages, [{ seq: 0, queued: false }], 'it has no place in the conversation');
  t.strictSame(
    await a.receipted(2),
    first.messages.map(({ statement }) => ({ kind: KIND.delivered, message: hex(leafHash(statement)) })),
    'one statement for both',
  );

  const back = bob!.lineage.texts(talk, ['three']);
  t.strictSame((await b.request(back, 'msg_ack')).messages, [{ seq: 3, queued: false }]);
  t.equal(textOf((await a.delivered(1))[0]!), 'three');

  await c.settled();
  t.strictSame(
    c.frames.filter(({ type }) => type !== 'pong' && type !== 'login_ok'),
    [],
    'carol was told nothing',
  );
});

t.test('who is away gets everything in order, once, and the sender hears of it', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  const bob = await w.person('bob');
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  const sent: string[] = [];
  for (const size of [1, 300, 1, 7]) {
    const texts = Array.from({ length: size }, (_, i) => `${sent.length + i}`);
    sent.push(...texts);
    const { messages } = await a.request(alice.lineage.texts(talk, texts), 'msg_ack');
    t.ok(
      messages.every(({ queued }) => queued),
      'queued',
    );
  }
  // He comes and goes, without a word, and hears everything again.
  const silent = await w.login(bob);
  silent.acknowledges = false;
  t.strictSame((await silent.delivered(sent.length)).map(textOf), sent);
  await silent.close();

  const b = await w.login(bob);
  const items = await b.delivered(sent.length);
  t.strictSame(items.map(textOf), sent, 'in order');
  t.strictSame(
    items.map(({ seq }) => seq),
    sent.map((_, i) => i + 1),
  );
  await b.request(bob.lineage.receipt(talk, 'alice', items), 'msg_ack');
  t.equal((await a.receipted(sent.length)).length, sent.length, 'one statement for all');
  await b.settled();
  await b.close();
  const again = await w.login(bob);
  await again.settled();
  t.strictSame(deliveredOf(again.frames), [], 'what was acknowledged is gone');
});

t.test('whenever the line drops, nothing is lost and nothing is kept twice', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  const bob = await w.person('bob');
  const random = seeded(Number(process.env['SEED'] ?? 7));
  let a = await w.login(alice);
  let b = await w.login(bob);
  const talk = await openConversation(a, 'bob');
  const kept = new Map<string, string>();
  const keep = (client: RawClient): void => {
    for (const item of deliveredOf(client.frames)) kept.set(hex(leafHash(item.statement)), textOf(item));
  };
  const once = (client: RawClient): void => {
    const cursors = cursorsOf(client.frames);
    t.equal(new Set(cursors).size, cursors.length, 'nothing twice on one connection');
  };
  const sent: string[] = [];
  const unacked: SendFrame[] = [];
  for (let round = 0; round < (process.env['FUZZ'] ? 600 : 40); round++) {
    const size = 1 + Math.floor(random() * 5);
    const texts = Array.from({ length: size }, (_, i) => `${round}.${i}`);
    sent.push(...texts);
    unacked.push(alice.lineage.texts(talk, texts));
    if (random() < 0.3) {
      // The batch leaves, and the answer may not come back.
      a.send(unacked.at(-1)!);
      if (random() < 0.5) await new Promise(setImmediate);
      a.link.close();
      await a.link.closed;
      a = await w.login(alice);
    }
    for (const batch of unacked.splice(0)) a.check(await a.request(batch, 'msg_ack'), batch);
    b.acknowledges = random() < 0.7;
    if (random() < 0.3) {
      if (random() < 0.5) await new Promise(setImmediate);
      keep(b);
      once(b);
      if (random() < 0.5) await b.close(); // else the new connection takes its place
      const next = await w.login(bob);
      await b.link.closed;
      keep(b);
      b = next;
    }
  }
  b.acknowledges = true;
  await b.close();
  keep(b);
  b = await w.login(bob);
  while (kept.size < sent.length) {
    await b.settled();
    keep(b);
  }
  once(b);
  t.strictSame([...kept.values()].sort(), [...sent].sort(), 'each message once');
  const seqs = deliveredOf(b.frames).map(({ seq }) => seq);
  t.strictSame(
    seqs,
    [...seqs].sort((x, y) => x - y),
    'in the order of the conversation',
  );
  const size = sent.length;
  t.match((await a.request(alice.lineage.texts(talk, ['last']), 'msg_ack')).messages, [{ seq: size + 1 }], 'no gap');
});

/** mulberry32: the same numbers for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

t.test(
  'devices: copies for one’s own, STALE until the new one is named, a limit, and tokens of one certificate',
  async (t) => {
    const w = await world(t, { 'limits.devices_per_account': 2 });
    const alice = await w.person('alice');
    const bob = await w.person('bob');
    const a = await w.login(alice);
    const b = await w.login(bob);
    const talk = await openConversation(a, 'bob');
    await a.request(alice.lineage.texts(talk, ['before']), 'msg_ack');

    const phone = w.certificate('alice');
    phone.token = alice.token;
    await t.rejects(w.login(phone), { code: 'AUTH_FAIL' }, 'the token of another certificate');
    phone.token = null;
    const p = await w.login(phone);
    const stale = alice.lineage.texts(talk, ['stale'], { peek: true });
    await t.rejects(a.request(stale, 'msg_ack'), { code: 'STALE', field: 'msg_send.messages[0].statement' });
    const now = await a.request({ type: 'conversation_get', conversation: talk.conversation }, 'conversation');
    t.equal(now.epoch, talk.epoch + 1);
    t.equal(now.members.flatMap(({ devices }) => devices).length, 3);
    await a.request(alice.lineage.texts(now, ['after']), 'msg_ack');
    t.strictSame(
      (await p.delivered(1)).map(textOf),
      ['after'],
      'the own other device has it, and only what came after it',
    );
    t.strictSame((await b.delivered(2)).map(textOf), ['before', 'after']);
    await b.request(bob.lineage.receipt(now, 'alice', deliveredOf(b.frames), KIND.read), 'msg_ack');
    t.equal((await a.receipted(2)).length, 2);
    t.equal((await p.receipted(2)).length, 2, 'all devices of the author are told');

    // From the phone, with a lineage of its own; bob sees one conversation.
    const { messages } = await p.request(phone.lineage.texts(now, ['from the phone']), 'msg_ack');
    t.strictSame(messages, [{ seq: 3, queued: false }]);
    t.equal(textOf((await b.delivered(3))[2]!), 'from the phone');
    t.equal(textOf((await a.delivered(1))[0]!), 'from the phone');

    await t.rejects(w.login(w.certificate('alice')), { code: 'DEVICE_LIMIT' });
    await t.rejects(
      w.login(w.certificate('bob', { cn: 'mallory', san: ['email:mallory@example.org', 'URI:chat:mallory'] })),
      { code: 'AUTH_FAIL' },
    );
  },
);

t.test('a batch over two conversations: each sees its own, and hashes of the rest', async (t) => {
  const w = await world(t);
  const [alice, bob, carol] = [await w.person('alice'), await w.person('bob'), await w.person('carol')];
  const a = await w.login(alice);
  const b = await w.login(bob);
  const withBob = await openConversation(a, 'bob');
  const withCarol = await openConversation(a, 'carol');
  const letters = [withBob, withCarol, withBob, withCarol].map((to, i) => ({
    to,
    parts: [Buffer.from(`secret ${i}`)],
  }));
  const batch = alice.lineage.batch(letters);
  const ack = await a.request(batch, 'msg_ack');
  a.check(ack, batch);
  t.strictSame(ack.messages, [
    { seq: 1, queued: false },
    { seq: 1, queued: true },
    { seq: 2, queued: false },
    { seq: 2, queued: true },
  ]);
  t.strictSame((await b.delivered(2)).map(textOf), ['secret 0', 'secret 2']);
  const c = await w.login(carol);
  t.strictSame((await c.delivered(2)).map(textOf), ['secret 1', 'secret 3'], 'from the queue as well');
  const [frame] = b.frames.filter((f) => f.type === 'msg_deliver');
  t.strictSame(
    frame!.items.map((item) => Object.keys(item).sort().join()),
    [
      'cursor,epoch,generation,parts,seq,statement',
      'leaf_hash,statement_hash',
      'cursor,epoch,generation,parts,seq,statement',
      'leaf_hash,statement_hash',
    ],
  );
  t.notOk(encodeFrame(frame!).includes('secret 1'));
});

t.test('sizes: nothing, the most, one byte more', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  const most = [Buffer.alloc(500_000, 1), Buffer.alloc(515_808, 2)];
  const empty = [Buffer.alloc(0)];
  const many = Array.from({ length: 1024 }, () => Buffer.alloc(0));
  await a.request(alice.lineage.batch([empty, many].map((parts) => ({ to: talk, parts }))), 'msg_ack');
  await a.request(alice.lineage.batch([{ to: talk, parts: most }]), 'msg_ack');
  // As much as a batch can carry beside the largest message: what a delivery adds must fit as well.
  const full = Array.from({ length: 60 }, () => ({ to: talk, parts: empty }));
  await a.request(alice.lineage.batch([{ to: talk, parts: most }, ...full]), 'msg_ack');

  const tooMuch = [most[0]!, Buffer.alloc(515_809)];
  const refused = { code: 'TOO_LARGE', field: 'msg_send.messages[0].parts' };
  await t.rejects(a.request(alice.lineage.batch([{ to: talk, parts: tooMuch }], { peek: true }), 'msg_ack'), refused);
  const batch = Array.from({ length: 200 }, () => ({ to: talk, parts: [Buffer.alloc(4940)] }));
  const sum = alice.lineage.batch(batch, { peek: true });
  t.ok(encodeFrame({ ...sum, id: 1 }).length > MAX_SEND_BYTES);
  await t.rejects(a.request(sum, 'msg_ack'), { code: 'TOO_LARGE', field: 'msg_send' });
  await a.request(alice.lineage.batch(batch.slice(0, 190)), 'msg_ack');

  const b = await w.login(bob);
  const items = await b.delivered(2 + 1 + 61 + 190);
  t.strictSame(
    items.slice(0, 4).map(({ parts }) => Buffer.concat(parts).length),
    [0, 0, 1_015_808, 1_015_808],
  );
  t.equal(items[1]!.parts.length, 1024);
  // And live, while he keeps up.
  await b.settled();
  await b.settled();
  await a.request(alice.lineage.batch(batch.slice(0, 190)), 'msg_ack');
  await a.request(alice.lineage.batch([{ to: talk, parts: most }, ...full]), 'msg_ack');
  t.equal((await b.delivered(254 + 190 + 61)).length, 505);
  const one = [Buffer.alloc(1_015_809)];
  await t.rejects(a.request(alice.lineage.batch([{ to: talk, parts: one }], { peek: true }), 'msg_ack'), {
    code: 'BAD_FRAME',
    field: 'msg_send.messages[0].parts[0]',
  });
});

t.test('presence: at once, and when it changes; a new connection of the same device is no change', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  t.match(await a.request({ type: 'presence_watch', username: 'bob' }, 'presence'), { username: 'bob', online: false });
  await t.rejects(a.request({ type: 'presence_watch', username: 'nobody' }, 'presence'), {
    code: 'NO_SUCH_PEER',
    field: 'presence_watch.username',
  });
  const changes = () => a.frames.filter((f) => f.type === 'presence' && f.id === undefined);
  const b = await w.login(bob);
  await a.until(() => changes()[0]);
  t.match(changes()[0], { username: 'bob', online: true });
  const phone = w.certificate('bob');
  const p = await w.login(phone);
  const second = await w.login(bob);
  await b.link.closed;
  t.equal((await b.link.closed).code, 'CONNECTION_LOST', 'the older connection of a device ends');
  await second.close();
  await a.settled();
  t.equal(changes().length, 1, 'the phone is still there');
  await p.close();
  await a.until(() => changes()[1]);
  t.match(changes()[1], { username: 'bob', online: false, last_seen: Number });
  t.equal(changes().length, 2);
  const again = await a.request({ type: 'presence_watch', username: 'bob' }, 'presence');
  t.match(again, { online: false, last_seen: Number });
});
