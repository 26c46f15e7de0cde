/** What end-to-end encryption asks of a server, over real TLS: keys, commits in one order, and a way in for who has lost his place. */
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { hex } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { MAX_BODY_BYTES } from '../../protocol/messages.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { KIND } from '../../transcript/statement.ts';
import { deliveredOf, receiptsOf, textOf, type Letter, type RawClient } from '../support/raw-client.ts';
import { openConversation, world, type Person, type World } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

const stale = { code: 'STALE', sub: 'epoch', field: 'msg_send.messages[0].group' };
const text = (bytes: Uint8Array | undefined): string | undefined => bytes && Buffer.from(bytes).toString();

async function couple(w: World, hasGroup = false) {
  w.hasGroups = hasGroup;
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const [a, b] = [await w.login(alice), await w.login(bob)];
  const talk = await openConversation(a, 'bob');
  const commit = (person: Person, generation: number, epoch: number, more: Partial<Letter> = {}, lies = {}) =>
    person.lineage.batch(
      [
        {
          to: talk,
          parts: [Buffer.from(`commit ${generation}.${epoch}`)],
          group: { generation, epoch },
          groupInfo: Buffer.from(`info after ${generation}.${epoch}`),
          ...more,
        },
      ],
      lies,
    );
  const say = (person: Person, words: string, generation: number, epoch: number, lies = {}) =>
    person.lineage.batch([{ to: talk, parts: [Buffer.from(words)], group: { generation, epoch } }], lies);
  const state = async (client: RawClient) => {
    const group = await client.request({ type: 'group_get', conversation: talk.conversation }, 'group');
    t.equal(hex(group.conversation), hex(talk.conversation));
    return [group.generation, group.epoch, text(group.group_info)];
  };
  return { alice, bob, a, b, talk, commit, say, state };
}

/** Nothing that a peer does may look like a defect of ours. */
const isQuiet = (t: Test, w: World): void =>
  void t.strictSame(
    w.lines.filter(({ level, code }) => level === 'error' || code === 'INTERNAL'),
    [],
    'no defect is logged',
  );

t.test('from key packages to messages of a group', async (t) => {
  const w = await world(t);
  const { alice, bob, a, b, talk, commit, say, state } = await couple(w);
  const binding = randomBytes(700);
  await b.request({ type: 'binding_put', binding }, 'ok');
  const found = await a.request({ type: 'binding_get', hash: sha256(binding) }, 'binding');
  t.equal(hex(found.binding), hex(binding));
  const packages = [Buffer.from('one'), Buffer.from('two')];
  t.equal((await b.request({ type: 'keypackages_put', packages, last_resort: false }, 'keypackages')).count, 2);
  const devices = talk.members.flatMap((member) => member.devices);
  const take = async () => {
    const ask = { type: 'keypackages_take', conversation: talk.conversation, devices } as const;
    const taken = (await a.request(ask, 'keypackages_taken')).packages;
    return taken.map((each) => [hex(each.device) === hex(bob.lineage.fingerprint), text(each.package)]);
  };
  t.strictSame([await take(), await take(), await take()], [[[true, 'one']], [[true, 'two']], []], 'the pool is empty');
  t.equal((await b.request({ type: 'keypackages_put', packages: [], last_resort: false }, 'keypackages')).count, 0);

  t.strictSame(await state(a), [0, 0, undefined]);
  const made = commit(alice, 1, 0);
  a.check(await a.request(made, 'msg_ack'), made);
  t.strictSame(await state(a), [1, 1, 'info after 1.0']);
  const at = (client: RawClient, generation: number, epoch: number) =>
    client.request({ type: 'group_get', conversation: talk.conversation, group: { generation, epoch } }, 'group');
  const gone = { code: 'NOT_FOUND', field: 'group_get.group' };
  await t.rejects(at(b, 1, 1), gone, 'nobody was added by it');
  await a.request(say(alice, 'hello', 1, 1), 'msg_ack');
  const items = await b.delivered(2);
  t.match(items, [
    { seq: 1, generation: 1, epoch: 0 },
    { seq: 2, generation: 1, epoch: 1 },
  ]);
  t.strictSame(items.map(textOf), ['commit 1.0', 'hello']);
  await b.request(bob.lineage.receipt(talk, 'alice', items.slice(1)), 'msg_ack');
  t.equal((await a.receipted(1))[0]?.message, hex(leafHash(items[1]!.statement)));
  await b.request(say(bob, 'hello yourself', 1, 1), 'msg_ack');
  await a.delivered(1);
  await a.settled();
  t.equal(receiptsOf(a.frames).length, 1, 'once');
  await b.request(commit(bob, 1, 1, { parts: [Buffer.from('commit'), Buffer.from('welcome')] }), 'msg_ack');
  await t.rejects(b.request(say(bob, 'x', 1, 0, { peek: true }), 'msg_ack'), stale);
  t.equal(text((await at(a, 1, 2)).group_info), 'info after 1.1');
  const carol = await w.login(await w.person('carol'));
  await t.rejects(at(carol, 1, 2), { code: 'NOT_FOUND', field: 'conversation' });
  await w.restart();
  const back = await w.login(alice);
  t.strictSame(await state(back), [1, 2, 'info after 1.1'], 'it survives a restart');
  isQuiet(t, w);
});

t.test('of commits that race exactly one wins, and the other hears of it in order', async (t) => {
  const w = await world(t);
  const { alice, bob, a, b, commit, say, state } = await couple(w);
  for (let epoch = 0; epoch < 6; epoch++) {
    const attempts = [
      { person: alice, client: a, other: b, undo: alice.lineage.mark() },
      { person: bob, client: b, other: a, undo: bob.lineage.mark() },
    ];
    const results = await Promise.allSettled(
      attempts.map(({ person, client }) => client.request(commit(person, 1, epoch), 'msg_ack')),
    );
    t.strictSame(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    for (const [i, result] of results.entries()) {
      if (result.status === 'fulfilled') continue;
      t.match(result.reason, stale);
      attempts[i]!.undo();
    }
    const { other } = attempts[results.findIndex(({ status }) => status === 'fulfilled')]!;
    await other.request({ type: 'sync' }, 'synced');
    t.equal(textOf(deliveredOf(other.frames).at(-1)!), `commit 1.${epoch}`, 'before the answer');
    t.strictSame(await state(other), [1, epoch + 1, `info after 1.${epoch}`]);
  }
  await a.request(say(alice, 'the last', 1, 6), 'msg_ack');
  isQuiet(t, w);
});

t.test('sync: everything that waited comes before the answer, however much that is', async (t) => {
  const w = await world(t, { 'limits.messages_per_min': 60_000 });
  const { alice, a, b, talk, bob } = await couple(w, true);
  await b.close();
  const total = 2500; // more than is sent without being acknowledged
  for (let sent = 0; sent < total; sent += 500) {
    const texts = Array.from({ length: 500 }, (_, i) => `${sent + i}`);
    await a.request(alice.lineage.texts(talk, texts), 'msg_ack');
  }
  const back = await w.login(bob);
  const id = back.send({ type: 'sync' });
  await back.settled();
  await back.answer(id, 'synced');
  const at = back.frames.findIndex((frame) => frame.type === 'synced');
  t.equal(deliveredOf(back.frames.slice(0, at)).length, total);
  await back.request({ type: 'sync' }, 'synced');
  t.equal(deliveredOf(back.frames).length, total, 'nothing twice');

  await back.close();
  await a.request(
    alice.lineage.texts(
      talk,
      Array.from({ length: 1024 }, () => 'x'),
    ),
    'msg_ack',
  );
  await a.request(
    alice.lineage.texts(
      talk,
      Array.from({ length: 1024 }, () => 'x'),
    ),
    'msg_ack',
  );
  await a.request(alice.lineage.texts(talk, ['the last']), 'msg_ack');
  const deaf = await w.login(bob);
  deaf.acknowledges = false;
  await deaf.delivered(2048);
  for (let i = 0; i < 32; i++) deaf.send({ type: 'sync' });
  await t.rejects(deaf.request({ type: 'sync' }, 'synced'), { code: 'RATE_LIMIT' });
  await deaf.settled();
  t.notOk(
    deaf.frames.some((frame) => frame.type === 'synced'),
    'who keeps nothing is never in step',
  );
  isQuiet(t, w);
});

t.test('a group that no honest client would make', async (t) => {
  const w = await world(t);
  const { alice, a, b, bob, talk, commit, say, state } = await couple(w);
  const peek = { peek: true };
  const at = (field: string) => ({ code: 'BAD_FRAME', field: `msg_send.messages[0].${field}` });
  const { group_info: _, ...bare } = commit(alice, 1, 0, {}, peek).messages[0]!;
  await t.rejects(a.request({ ...commit(alice, 1, 0, {}, peek), messages: [bare] }, 'msg_ack'), at('group_info'));
  const { group: __, ...nowhere } = commit(alice, 1, 0, {}, peek).messages[0]!;
  await t.rejects(a.request({ ...commit(alice, 1, 0, {}, peek), messages: [nowhere] }, 'msg_ack'), at('group'));
  await t.rejects(
    a.request(say(alice, 'x', 1, 0, { peek: true, ms: { kind: KIND.attachment } }), 'msg_ack'),
    at('statement'),
  );
  const pair = alice.lineage.batch(
    [
      { to: talk, parts: [Buffer.of(1)], group: { generation: 1, epoch: 0 }, groupInfo: Buffer.of(1) },
      { to: talk, parts: [Buffer.of(1)] },
    ],
    peek,
  );
  await t.rejects(a.request(pair, 'msg_ack'), at('statement'), 'a commit and a message');
  for (const [generation, epoch] of [
    [1, 1],
    [2, 0],
    [2, 1],
    [2 ** 32 - 1, 0],
    [1, Number.MAX_SAFE_INTEGER],
  ] as const) {
    await t.rejects(a.request(commit(alice, generation, epoch, {}, peek), 'msg_ack'), stale);
    await t.rejects(a.request(say(alice, 'x', generation, epoch, peek), 'msg_ack'), stale);
  }
  await t.rejects(
    a.request(
      commit(alice, 1, 0, { parts: [randomBytes(MAX_BODY_BYTES)], groupInfo: Buffer.alloc(40_000) }, peek),
      'msg_ack',
    ),
    { code: 'TOO_LARGE' },
  );
  t.strictSame(await state(a), [0, 0, undefined], 'nothing has happened');
  const large = Buffer.alloc(900_000, 'i');
  await a.request(commit(alice, 1, 0, { groupInfo: large }), 'msg_ack');
  t.equal(
    (await b.request({ type: 'group_get', conversation: talk.conversation }, 'group')).group_info?.length,
    900_000,
  );
  const device = bob.lineage.fingerprint;
  for (const packages of [[], [Buffer.of(1), Buffer.of(2)]])
    await t.rejects(a.request({ type: 'keypackages_put', packages, last_resort: true }, 'keypackages'), {
      code: 'BAD_FRAME',
      field: 'keypackages_put.packages',
    });
  const ask = { type: 'keypackages_take', conversation: talk.conversation } as const;
  await t.rejects(a.request({ ...ask, devices: [device, randomBytes(32)] }, 'keypackages_taken'), {
    code: 'NOT_FOUND',
    field: 'keypackages_take.devices',
  });
  await b.request({ type: 'keypackages_put', packages: [Buffer.of(9)], last_resort: true }, 'keypackages');
  for (let i = 0; i < 12; i++) {
    const { packages } = await a.request(
      { ...ask, devices: Array<Buffer>(100).fill(Buffer.from(device)) },
      'keypackages_taken',
    );
    t.equal(packages.length, 1, 'named a hundred times, given once');
  }
  isQuiet(t, w);
});
