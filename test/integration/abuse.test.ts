/** What somebody with a good certificate, and mostly an account, can try. The server is whole, TLS is real; only the client is not honest. */
import { randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ConversationId, Hash, SessionId } from '../../base/bytes.ts';
import { encode, type Encodable } from '../../base/cbor.ts';
import { ChatError } from '../../base/errors.ts';
import { encodeFrame } from '../../protocol/frame-codec.ts';
import { requests, type RequestType } from '../../protocol/messages.ts';
import { askAdmin } from '../../server/admin.ts';
import { KIND } from '../../transcript/statement.ts';
import { deliveredOf, textOf, Wire, type Ask, type Lies, type SendFrame } from '../support/raw-client.ts';
import { KDF_TEXT, openConversation, prove, world, type World } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

const b = (bytes: number): Buffer => Buffer.alloc(bytes, 1);
const send: Ask = {
  type: 'msg_send',
  algorithm: 1,
  signature: b(64),
  batch: b(172),
  messages: [{ statement: b(248), parts: [b(1)] }],
};
/** One of each that needs a login. */
const ASKS: { readonly [T in RequestType]?: Ask } = {
  password_set: { type: 'password_set', salt: b(16), kdf: KDF_TEXT, stored_key: b(32), server_key: b(32) },
  conversation_open: { type: 'conversation_open', peer: 'bob' },
  conversation_get: { type: 'conversation_get', conversation: b(32) },
  certificate_get: { type: 'certificate_get', fingerprint: b(32) },
  presence_watch: { type: 'presence_watch', username: 'bob' },
  presence_set: { type: 'presence_set', state: 'away' },
  msg_send: send,
  sync: { type: 'sync' },
  binding_put: { type: 'binding_put', binding: b(300) },
  binding_get: { type: 'binding_get', hash: b(32) },
  blob_put: { type: 'blob_put', hash: b(32), size: 1, offset: 0, piece: b(1) },
  blob_get: { type: 'blob_get', hash: b(32), offset: 0 },
  keypackages_put: { type: 'keypackages_put', packages: [b(300)], last_resort: false },
  keypackages_take: { type: 'keypackages_take', conversation: b(32), devices: [b(32)] },
  group_get: { type: 'group_get', conversation: b(32) },
  device_list: { type: 'device_list' },
  device_revoke: { type: 'device_revoke', fingerprint: b(32) },
  contact_add: { type: 'contact_add', account: 'bob' },
  contact_accept: { type: 'contact_accept', account: 'bob' },
  contact_decline: { type: 'contact_decline', account: 'bob' },
  contact_remove: { type: 'contact_remove', account: 'bob' },
  contact_block: { type: 'contact_block', account: 'bob' },
  contact_unblock: { type: 'contact_unblock', account: 'bob' },
  contact_list: { type: 'contact_list', after: '' },
  directory: { type: 'directory', after: '' },
  room_create: { type: 'room_create', room: '#ops', visibility: 'public' },
  room_list: { type: 'room_list', after: '' },
  room_get: { type: 'room_get', room: '#ops' },
  room_join: { type: 'room_join', room: '#ops' },
  room_leave: { type: 'room_leave', room: '#ops' },
  room_invite: { type: 'room_invite', room: '#ops', username: 'bob' },
  room_kick: { type: 'room_kick', room: '#ops', username: 'bob' },
  room_ban: { type: 'room_ban', room: '#ops', username: 'bob' },
  room_unban: { type: 'room_unban', room: '#ops', username: 'bob' },
  room_role: { type: 'room_role', room: '#ops', username: 'bob', role: 'admin' },
  room_topic: { type: 'room_topic', room: '#ops' },
  log_consistency: { type: 'log_consistency', from: 0, to: 0 },
  log_checkpoint: { type: 'log_checkpoint' },
  log_attested: { type: 'log_attested', size: 0 },
  crl_get: { type: 'crl_get', issuer: b(32), number: 0, offset: 0, tree: 0 },
};
const FREE: readonly RequestType[] = [
  'typing',
  'register',
  'login',
  'login_proof',
  'resume',
  'ping',
  'bye',
  'msg_received',
  'msg_skipped',
];

/** Nothing that a peer does may look like a defect of ours. */
const isQuiet = (t: Test, w: World, when: string): void => {
  const loud = w.lines.filter(({ level, code }) => level === 'error' || code === 'INTERNAL');
  t.strictSame(loud, [], `no defect is logged: ${when}`);
};

t.test('whoever connects and does not log in takes the places of no others', async (t) => {
  const w = await world(t, { 'limits.connections_per_address': 32 });
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const a = await w.login(alice);
  const mallory = w.certificate('mallory');
  const idle = [];
  for (let i = 0; i < 31; i++) idle.push(await w.dial(mallory));
  await (await w.login(bob)).settled();
  await idle.at(-1)!.request({ type: 'ping' }, 'pong');
  for (let i = 0; i < 10; i++) await w.login(alice);
  await t.rejects(a.request({ type: 'ping' }, 'pong'), 'it is the newest one that a device has');
  await (await w.login(bob)).settled();
});

t.test('before a login, and out of order', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  t.strictSame(
    [...Object.keys(ASKS), ...FREE].sort(),
    Object.keys(requests).sort(),
    'every request is one or the other',
  );
  const c = await w.dial(alice);
  for (const ask of Object.values(ASKS)) await t.rejects(c.request(ask, 'ok'), { code: 'NOT_LOGGED_IN' }, ask.type);
  c.link.send({ type: 'msg_received', cursors: [1, 2] });
  t.match(await c.nth('error', Object.keys(ASKS).length + 1), { code: 'NOT_LOGGED_IN', id: undefined });
  await c.settled();

  const p = await w.dial(alice);
  const outOfOrder = { code: 'BAD_FRAME', field: 'frame.type' };
  await t.rejects(p.request({ type: 'login_proof', proof: b(32) }, 'login_ok'), outOfOrder, 'a proof of nothing');
  await prove(p, alice);
  const again: Ask[] = [
    { type: 'login', account: 'alice', nonce: b(24) },
    { type: 'login_proof', proof: b(32) },
    { type: 'resume', token: alice.token! },
    {
      type: 'register',
      username: 'alice2',
      email: 'alice2@example.org',
      salt: b(16),
      kdf: KDF_TEXT,
      stored_key: b(32),
      server_key: b(32),
    },
  ];
  for (const ask of again) await t.rejects(p.request(ask, 'ok'), outOfOrder, `${ask.type} after a login`);
  await p.settled();
  t.equal(w.server.hub.memberCount, 1);
  isQuiet(t, w, 'order');
});

t.test('what is another’s is as if it were not there', async (t) => {
  const w = await world(t);
  const [alice, , carol] = [await w.person('alice'), await w.person('bob'), await w.person('carol')];
  const a = await w.login(alice);
  const c = await w.login(carol);
  const talk = await openConversation(a, 'bob');
  const ask = (conversation: Uint8Array): Promise<unknown> =>
    c.request({ type: 'conversation_get', conversation }, 'conversation').catch((e: unknown) => e);
  const answers = [await ask(talk.conversation), await ask(randomBytes(32))].map((e) => ({ ...(e as ChatError) }));
  t.match(answers[0], { code: 'NOT_FOUND', field: 'conversation' });
  t.strictSame(answers[0], answers[1], 'no difference');
  const devices = talk.members.flatMap((member) => member.devices);
  for (const conversation of [talk.conversation, randomBytes(32)]) {
    const field = { code: 'NOT_FOUND', field: 'conversation' };
    await t.rejects(c.request({ type: 'group_get', conversation }, 'group'), field);
    await t.rejects(c.request({ type: 'keypackages_take', conversation, devices }, 'keypackages_taken'), field);
  }
  const sent = carol.lineage.texts(talk, ['hello'], { peek: true });
  await t.rejects(c.request(sent, 'msg_ack'), { code: 'NOT_FOUND', field: 'conversation' });
  await a.settled();
  const own = await openConversation(c, 'carol');
  t.strictSame(
    own.members.map(({ username }) => username),
    ['carol'],
    'with oneself: the own devices',
  );
  const into = carol.lineage.texts(own, ['hello'], { peek: true });
  await t.rejects(c.request(into, 'msg_ack'), { code: 'UNAVAILABLE' }, 'and there is no other');
  const theirs = a.request({ type: 'conversation_get', conversation: own.conversation }, 'conversation');
  await t.rejects(theirs, { code: 'NOT_FOUND' });
  isQuiet(t, w, 'conversations of others');
});

t.test('statements that lie are named, and leave no trace', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  await w.person('carol');
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  const other = await openConversation(a, 'carol');
  const first = alice.lineage.texts(talk, ['first']);
  await a.request(first, 'msg_ack');
  const ms = 'msg_send.messages[0].statement';
  const lies: readonly (readonly [name: string, lies: Lies, want: { code: string; sub?: string; field?: string }])[] = [
    ['a batch of bob', { bs: { sender: bob.lineage.fingerprint } }, { code: 'SIG_FAIL', sub: 'sender' }],
    ['a message of bob', { ms: { sender: bob.lineage.fingerprint } }, { code: 'LINEAGE', sub: 'e_leaf', field: ms }],
    [
      'a message of another session',
      { ms: { session: b(16) as Uint8Array as SessionId } },
      { code: 'LINEAGE', sub: 'e_leaf' },
    ],
    ['a key that is not the certificate’s', { key: bob.lineage.key }, { code: 'SIG_FAIL', sub: 'batch' }],
    ['another root', { bs: { batchRoot: b(32) as Uint8Array as Hash } }, { code: 'LINEAGE', sub: 'e_batch_root' }],
    ['another log', { bs: { audience: b(32) as Uint8Array as Hash } }, { code: 'LINEAGE', sub: 'e_audience' }],
    [
      'another batch before',
      { bs: { prevBatch: b(32) as Uint8Array as Hash } },
      { code: 'LINEAGE', sub: 'e_batch_chain' },
    ],
    ['more messages than there are', { bs: { count: 2 } }, { code: 'LINEAGE', sub: 'e_batch_short' }],
    [
      'another message before',
      { ms: { prevConv: b(32) as Uint8Array as Hash } },
      { code: 'LINEAGE', sub: 'e_conv_link' },
    ],
    ['a gap in the conversation', { ms: { convCtr: 3 } }, { code: 'LINEAGE', sub: 'e_conv_gap' }],
    [
      'a gap in the session',
      { bs: { firstCtr: 3 }, ms: { sessionCtr: 3 } },
      { code: 'COUNTER_GAP', field: 'msg_send.batch' },
    ],
    [
      'a counter that was used',
      { bs: { firstCtr: 1 }, ms: { sessionCtr: 1 } },
      { code: 'COUNTER_REUSED', field: 'msg_send.batch' },
    ],
    ['another roster', { ms: { rosterHash: b(32) as Uint8Array as Hash } }, { code: 'STALE', field: ms }],
    [
      'the roster of another conversation',
      { ms: { conversation: other.conversation as ConversationId } },
      { code: 'STALE' },
    ],
    ['no conversation', { ms: { conversation: b(32) as Uint8Array as ConversationId } }, { code: 'NOT_FOUND' }],
    ['another kind', { ms: { kind: KIND.attachment } }, { code: 'BAD_FRAME', field: ms }],
    ['other parts', { ms: { ciphertextHash: b(32) as Uint8Array as Hash } }, { code: 'SIG_FAIL', sub: 'ciphertext' }],
    ['other parts by number', { ms: { parts: 2 } }, { code: 'SIG_FAIL', sub: 'ciphertext' }],
    ['another length', { ms: { ciphertextBytes: 9 } }, { code: 'SIG_FAIL', sub: 'ciphertext' }],
  ];
  const { size } = w.server.transcript;
  for (const [name, lie, want] of lies) {
    const batch = alice.lineage.texts(talk, ['a lie'], { ...lie, peek: true });
    await t.rejects(a.request(batch, 'msg_ack'), want, name);
  }
  const honest = alice.lineage.texts(talk, ['honest'], { peek: true });
  await t.rejects(a.request({ ...honest, algorithm: 2 }, 'msg_ack'), { code: 'SIG_FAIL', sub: 'batch' }, 'algorithm');
  const receipt = alice.lineage.receipt(talk, 'bob', [honest.messages[0]!], KIND.delivered, { peek: true });
  const altered = (at: number): SendFrame => {
    const statement = Buffer.from(receipt.messages[0]!.statement);
    statement[at]! ^= 1;
    return { ...receipt, messages: [{ ...receipt.messages[0]!, statement }] };
  };
  const malformed: readonly (readonly [string, SendFrame])[] = [
    ['ms.conv_ctr', altered(119)],
    ['ms.prev_conv', altered(151)],
    ['ms.roster_hash', altered(183)],
    ['ms.commitment', altered(215)],
    ['ms.ciphertext_bytes', altered(15)],
    ['ms.parts', altered(10)],
    ['ms.magic', { ...honest, messages: [{ statement: b(248), parts: [b(1)] }] }],
    ['bs.magic', { ...honest, batch: b(172) }],
  ];
  for (const [field, frame] of malformed) await t.rejects(a.request(frame, 'msg_ack'), { code: 'BAD_FRAME', field });
  t.equal(w.server.transcript.size, size, 'nothing was logged');
  t.match((await a.request(honest, 'msg_ack')).messages, [{ seq: 2 }], 'the counters are free');
  isQuiet(t, w, 'lies');
});

t.test(
  'the same batch again gets the same answer, on whatever connection; another one under its counters does not',
  async (t) => {
    const w = await world(t);
    const [alice, bob] = [await w.person('alice'), await w.person('bob')];
    const a = await w.login(alice);
    const bobs = await w.login(bob);
    const talk = await openConversation(a, 'bob');
    const reuse = alice.lineage.texts(talk, ['other'], { peek: true });
    const batch = alice.lineage.texts(talk, ['one', 'two']);
    const firsts = await Promise.all([
      a.request(batch, 'msg_ack'),
      a.request(batch, 'msg_ack'),
      a.request(batch, 'msg_ack'),
    ]);
    for (const ack of firsts) a.check(ack, batch);
    const places = (acks: readonly { messages: readonly { seq: number }[] }[]) =>
      acks.map((x) => x.messages.map((m) => m.seq));
    t.strictSame(places(firsts), [
      [1, 2],
      [1, 2],
      [1, 2],
    ]);
    await a.request(alice.lineage.texts(talk, ['three']), 'msg_ack');
    await a.close();
    const again = await w.login(alice);
    const { size } = w.server.transcript;
    const ack = await again.request(batch, 'msg_ack');
    again.check(ack, batch);
    t.strictSame(places([ack]), [[1, 2]]);
    await t.rejects(again.request(reuse, 'msg_ack'), { code: 'COUNTER_REUSED', field: 'msg_send.batch' });
    t.equal(w.server.transcript.size, size);
    t.equal((await bobs.delivered(3)).length, 3);
    await bobs.settled();
    t.equal(deliveredOf(bobs.frames).length, 3, 'delivered once');
    // Somebody else repeats what he has seen.
    const carol = await w.person('carol');
    const c = await w.login(carol);
    await t.rejects(c.request(batch, 'msg_ack'), { code: 'NOT_FOUND' });
    await t.rejects(bobs.request(batch, 'msg_ack'), { code: 'SIG_FAIL', sub: 'sender' });
    isQuiet(t, w, 'replays');
  },
);

t.test('batches that are pipelined are admitted in their order, whatever each has to be looked up for', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  await w.person('carol');
  const first = await w.login(alice);
  const talks = [await openConversation(first, 'bob'), await openConversation(first, 'carol')];
  for (let round = 0; round < 3; round++) {
    await w.restart(); // nothing is remembered
    const a = await w.login(alice);
    await openConversation(a, 'carol');
    // What is remembered by now must not overtake what has to be read.
    const ids = [0, 1, 1, 0, 1].map((i) => a.send(alice.lineage.texts(talks[i]!, [`${round}`])));
    for (const id of ids) await a.answer(id, 'msg_ack');
  }
  const bobs = await w.login(bob);
  t.strictSame((await bobs.delivered(6)).map(textOf), ['0', '0', '1', '1', '2', '2']);
});

t.test('text that means something to a database means nothing', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  const texts = [
    `' OR '1'='1`,
    `alice'--`,
    `"; DROP TABLE users; --`,
    `alice\\' OR 1=1 #`,
    `%`,
    `_____`,
    `alice\0`,
    `alic\u00e9`,
    `ALICE `,
    `\u202ealice`,
    `a`.repeat(64),
    `{"$gt":""}`,
    `__proto__`,
    `constructor`,
  ];
  const a = await w.login(alice);
  for (const text of texts) {
    await t.rejects(openConversation(a, text), { code: 'NO_SUCH_PEER' }, JSON.stringify(text));
    await t.rejects(a.request({ type: 'presence_watch', username: text }, 'presence'), { code: 'NO_SUCH_PEER' });
  }
  const mallory = w.certificate('mallory');
  let m = await w.dial(mallory);
  for (const [i, text] of texts.entries()) {
    if (i % 8 === 7) m = await w.dial(mallory); // so many attempts on one connection, and no more
    await t.rejects(w.register(m, text), { code: /^(BAD_NAME|CERT_ACCOUNT_MISMATCH|BAD_FRAME)$/ });
    // Some of these are e-mail addresses, as far as anybody can tell.
    const code = await w.register(m, 'mallory', { email: `${text}@example.org` }).then(
      () => 'none',
      (error: ChatError) => error.code,
    );
    t.match(code, /^(BAD_NAME|BAD_FRAME|CERT_ACCOUNT_MISMATCH)$/, `${JSON.stringify(text)} as an e-mail address`);
    await t.rejects(m.request({ type: 'resume', token: text }, 'login_ok'), { code: 'AUTH_FAIL' });
    const { salt } = await m.request({ type: 'login', account: text, nonce: b(24) }, 'login_challenge');
    t.equal(salt.length, 16, 'a name that is none is answered as any other');
  }
  const users = await w.server.store.listUsers();
  t.ok(users.some(({ username }) => username === 'alice'));
  t.strictSame(
    users.filter(({ username }) => !/^[a-z]+$/.test(username)),
    [],
  );
  isQuiet(t, w, 'SQL');
});

t.test('bytes inside the channel that are no request', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  const hexed = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
  const ping = encodeFrame({ type: 'ping', id: 1 });
  const bomb = (byte: number): Buffer => Buffer.concat([Buffer.alloc(500_000, byte), Buffer.of(0)]);
  const cases: readonly (readonly [name: string, plaintext: Buffer, want: object])[] = [
    ['an unknown type', encode({ type: 'eval', id: 7 }), { code: 'UNKNOWN_TYPE', id: 7, field: 'frame.type' }],
    ['a type of the prototype', encode({ type: '__proto__', id: 7 }), { code: 'UNKNOWN_TYPE', id: 7 }],
    ['a reply', encode({ type: 'pong', id: 7, server_time: 1 }), { code: 'UNKNOWN_TYPE', id: 7 }],
    ['an unknown field', encode({ type: 'ping', id: 7, x: 1 }), { code: 'BAD_FRAME', id: 7, field: 'ping.?' }],
    [
      'a field that is missing',
      encode({ type: 'login', id: 7, account: 'a' }),
      { code: 'BAD_FRAME', id: 7, field: 'login.nonce' },
    ],
    ['id 0', encode({ type: 'ping', id: 0 }), { code: 'BAD_FRAME', field: 'ping.id', id: undefined }],
    ['id 2^32', encode({ type: 'ping', id: 2 ** 32 }), { code: 'BAD_FRAME', field: 'ping.id', id: undefined }],
    ['no map', encode([1, 2]), { code: 'BAD_FRAME', field: 'frame' }],
    [
      'text as bytes',
      encode({ type: Buffer.from('ping'), id: 7 } as Encodable),
      { code: 'BAD_FRAME', field: 'frame.type' },
    ],
    [
      '1025 messages',
      encode({ ...send, id: 7, messages: Array(1025).fill(0) } as Encodable),
      { code: 'BAD_FRAME', field: 'msg_send.messages' },
    ],
    ['cut off', ping.subarray(0, -1), { code: 'BAD_FRAME', field: 'frame' }],
    ['keys in another order', hexed('a2 6474797065 6470696e67 626964 01'), { code: 'BAD_FRAME', field: 'frame' }],
    ['a key twice', hexed('a3 626964 01 626964 01 6474797065 6470696e67'), { code: 'BAD_FRAME', field: 'frame' }],
    ['a long number', hexed('a2 626964 1800 6474797065 6470696e67'), { code: 'BAD_FRAME', field: 'frame' }],
    ['a float', hexed('a2 626964 f93c00 6474797065 6470696e67'), { code: 'BAD_FRAME', field: 'frame' }],
    ['indefinite length', hexed('bf 626964 01 6474797065 6470696e67 ff'), { code: 'BAD_FRAME', field: 'frame' }],
    ['a tag', hexed('a2 626964 c101 6474797065 6470696e67'), { code: 'BAD_FRAME', field: 'frame' }],
    ['null', hexed('a2 626964 f6 6474797065 6470696e67'), { code: 'BAD_FRAME', field: 'frame' }],
    ['no UTF-8', hexed('a2 626964 01 6474797065 64c3282020'), { code: 'BAD_FRAME', field: 'frame' }],
    ['a surrogate', hexed('a2 626964 01 6474797065 63eda080'), { code: 'BAD_FRAME', field: 'frame' }],
    ['a length that is a lie', hexed('5b 7fffffffffffffff 00'), { code: 'BAD_FRAME', field: 'frame' }],
    ['2^32 items', hexed('9b 00000001 00000000 00'), { code: 'BAD_FRAME', field: 'frame' }],
    ['half a million arrays in each other', bomb(0x81), { code: 'BAD_FRAME', field: 'frame' }],
    ['half a million tags', bomb(0xc1), { code: 'BAD_FRAME', field: 'frame' }],
    ['random bytes', randomBytes(1000), { code: 'BAD_FRAME' }],
  ];
  const a = await w.login(alice);
  for (const [name, plaintext, want] of cases) {
    const wire = await Wire.open(w.port, alice.own);
    wire.write(plaintext);
    wire.write(ping);
    await wire.closed;
    t.match(wire.replies, [{ type: 'error', ...want }], name);
    t.equal(wire.replies.length, 1, `${name}: one answer, and then the end`);
  }
  for (const [name, change, code] of [
    ['a bit', (record: Buffer) => (record.writeUInt8(record.at(-1)! ^ 1, record.length - 1), [record]), 'DECRYPT_FAIL'],
    ['twice', (record: Buffer) => [record, record], 'REPLAY'],
  ] as const) {
    const wire = await Wire.open(w.port, alice.own);
    for (const record of change(wire.seal(ping))) wire.socket.write(record);
    await wire.closed;
    t.match(wire.replies.at(-1), { type: 'error', code }, `a record with ${name}`);
  }
  const lost = await Wire.open(w.port, alice.own);
  lost.seal(ping);
  lost.write(ping);
  await lost.closed;
  t.match(lost.replies.at(-1), { type: 'error', code: 'BAD_FRAME' }, 'a record that is missing');
  const huge = await Wire.open(w.port, alice.own);
  huge.socket.write(Buffer.from('00100001', 'hex'));
  await huge.closed;
  t.match(huge.replies.at(-1), { type: 'error', code: 'TOO_LARGE' }, 'a length over 1 MiB');
  await a.settled();
  isQuiet(t, w, 'bytes');
});

t.test('floods: too many requests, ids that repeat, and nobody who reads', async (t) => {
  const w = await world(t, {}, () => 0); // nothing flows into the buckets, however long this takes
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const wire = await Wire.open(w.port, alice.own);
  const frames = (count: number, make: (i: number) => Ask & { id: number }): Buffer =>
    Buffer.concat(Array.from({ length: count }, (_, i) => encodeFrame(make(i) as never)));
  wire.write(encodeFrame({ type: 'resume', token: alice.token!, id: 1 }));
  const asked = 6003;
  wire.write(frames(asked, () => ({ type: 'presence_watch', username: 'bob', id: 9 })));
  const b = await w.login(bob);
  await openConversation(b, 'alice');
  await b.settled();
  while (wire.replies.length < asked + 1) await new Promise(setImmediate);
  const errors = wire.replies.filter((r) => r.type === 'error');
  // Of her 6,000, register, login, login_proof, bye and resume took one each.
  t.equal(errors.length, asked - (6000 - 5));
  t.ok(
    errors.every((r) => r.code === 'RATE_LIMIT' && r.retry_after_ms! > 0),
    'and told how long to wait',
  );
  t.match(wire.replies.at(-1), { id: 9 }, 'each has its answer, also under one id');
  wire.socket.destroy();

  // Sends and does not read: its own requests wait, and nobody else's.
  const deaf = await Wire.open(w.port, w.certificate('carol').own);
  deaf.socket.pause();
  for (let i = 0; i < 10; i++) deaf.write(frames(2000, () => ({ type: 'ping', id: 1 })));
  await openConversation(b, 'alice');
  deaf.socket.destroy();
  await b.close();
  isQuiet(t, w, 'floods');
});

t.test('half-closed and half-said', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  const ended = await Wire.open(w.port, alice.own);
  ended.socket.end(ended.seal(encodeFrame({ type: 'ping', id: 1 })));
  await ended.closed;
  t.match(ended.replies, [{ type: 'pong', id: 1 }], 'what was asked is answered, then the end');
  const cut = await Wire.open(w.port, alice.own);
  cut.socket.end(cut.seal(encodeFrame({ type: 'ping', id: 1 })).subarray(0, 20));
  await cut.closed;
  t.strictSame(cut.replies, []);
  for (let i = 0; i < 20; i++) {
    // Gone in the middle of a login.
    const c = await w.dial(alice);
    c.send({ type: 'resume', token: alice.token! });
    if (i % 2) await new Promise(setImmediate);
    c.link.close();
    await c.link.closed;
  }
  while (w.server.listener.connections > 0) await new Promise(setImmediate);
  while (w.server.hub.memberCount > 0) await new Promise(setImmediate);
  t.equal(w.server.hub.userCount, 0, 'nobody is left over');
  isQuiet(t, w, 'half-closed');
});

t.test('who is suspended is cut and does not log in; what is sent to him waits', async (t) => {
  const w = await world(t);
  const [alice, bob] = [await w.person('alice'), await w.person('bob')];
  const socket = join(w.dir, 'admin.sock');
  const db = new DatabaseSync(join(w.dir, 'state/chat.db'));
  const set = (status: string): void =>
    void db.prepare('UPDATE users SET status = ? WHERE username = ?').run(status, 'bob');
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  const b = await w.login(bob);
  t.strictSame(await askAdmin(socket, 'user_suspended', { user: 'bob' }), { connections: 0 }, 'the database decides');
  await b.settled();
  set('suspended');
  const because = 'has left\n2026-01-01 info login.done user=bob';
  t.strictSame(await askAdmin(socket, 'user_suspended', { user: 'bob@example.org', because }), { connections: 1 });
  t.match(await b.link.closed, { code: 'SUSPENDED' });
  t.match(
    w.lines.findLast(({ event }) => event === 'account.suspended'),
    { user: 'bob', count: 1, because: /^has left\S+2026/ },
  );
  await t.rejects(w.login(bob), { code: 'SUSPENDED' }, 'by token');
  await t.rejects(prove(await w.dial(bob), bob), { code: 'SUSPENDED' }, 'by password');
  t.match((await a.request(alice.lineage.texts(talk, ['later']), 'msg_ack')).messages, [{ queued: true }]);
  set('active');
  t.strictSame(await askAdmin(socket, 'user_resumed', { user: 'bob' }), { connections: 0 });
  t.strictSame((await (await w.login(bob)).delivered(1)).map(textOf), ['later']);
  await t.rejects(askAdmin(socket, 'user_suspended', { user: 'nobody' }), { code: 'NO_SUCH_PEER' });
  for (const junk of [{}, { user: 7 }, { user: 'bob', because: ['x'] }])
    await t.rejects(askAdmin(socket, 'user_password', junk), { code: 'BAD_FRAME' });
  isQuiet(t, w, 'suspended');
  db.close();
});
