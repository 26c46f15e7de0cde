import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { decode, encode, type Encodable } from '../../base/cbor.ts';
import { ChatError } from '../../base/errors.ts';
import { MAX_PLAINTEXT_BYTES } from '../../protocol/limits.ts';
import { decodeReplies, decodeRequests, encodeFrame, requestIdOf } from '../../protocol/frame-codec.ts';
import {
  MAX_BODY_BYTES,
  MAX_KEY_PACKAGE_BYTES,
  replies,
  requests,
  type Reply,
  type Request,
} from '../../protocol/messages.ts';
import { MAX_STATEMENT_BYTES } from '../../transcript/key-statement.ts';

const b = (n: number): Buffer => Buffer.alloc(n, 7);
const sends: { [K in Request['type']]: Request<K> } = {
  register: {
    type: 'register',
    id: 1,
    username: 'alice',
    email: 'a@example.org',
    salt: b(16),
    kdf: 'k',
    stored_key: b(32),
    server_key: b(32),
  },
  login: { type: 'login', id: 1, account: 'alice', nonce: b(24) },
  login_proof: {
    type: 'login_proof',
    id: 1,
    proof: b(32),
    checkpoint: 'note',
    continues: { binding: b(300), signature: b(64) },
  },
  password_set: { type: 'password_set', id: 1, salt: b(16), kdf: 'k', stored_key: b(32), server_key: b(32) },
  resume: { type: 'resume', id: 1, token: 'token' },
  conversation_open: { type: 'conversation_open', id: 1, peer: 'bob' },
  conversation_get: { type: 'conversation_get', id: 1, conversation: b(32) },
  certificate_get: { type: 'certificate_get', id: 1, fingerprint: b(32) },
  presence_watch: { type: 'presence_watch', id: 1, username: 'bob' },
  presence_set: { type: 'presence_set', id: 1, state: 'away', last_seen: false },
  typing: { type: 'typing', conversation: b(32), on: true },
  device_list: { type: 'device_list', id: 1 },
  device_revoke: { type: 'device_revoke', id: 1, fingerprint: b(32) },
  contact_add: { type: 'contact_add', id: 1, account: 'bob' },
  contact_accept: { type: 'contact_accept', id: 1, account: 'bob' },
  contact_decline: { type: 'contact_decline', id: 1, account: 'bob' },
  contact_remove: { type: 'contact_remove', id: 1, account: 'bob@example.org' },
  contact_block: { type: 'contact_block', id: 1, account: 'bob' },
  contact_unblock: { type: 'contact_unblock', id: 1, account: 'bob' },
  contact_list: { type: 'contact_list', id: 1, after: 'alice' },
  directory: { type: 'directory', id: 1, after: '' },
  msg_send: {
    type: 'msg_send',
    id: 1,
    algorithm: 1,
    signature: b(64),
    batch: b(172),
    messages: [
      { statement: b(248), parts: [b(0), b(5)] },
      { statement: b(248), parts: [b(5)], group: { generation: 1, epoch: 0 }, group_info: b(9) },
      {
        statement: b(248),
        parts: [b(37)],
        group: { generation: 1, epoch: 0 },
        group_info: b(9),
        parts_blob: b(32),
        info_blob: b(32),
      },
      { statement: b(248), parts: [b(32)], to: 'bob' },
      { statement: b(248), parts: [b(5)], group: { generation: 1, epoch: 1 }, expires_at: 1_800_000_000_000 },
    ],
  },
  msg_received: { type: 'msg_received', cursors: [1, 2] },
  msg_skipped: { type: 'msg_skipped', cursors: [1, 2] },
  sync: { type: 'sync', id: 1 },
  binding_put: { type: 'binding_put', id: 1, binding: b(300) },
  binding_get: { type: 'binding_get', id: 1, hash: b(32) },
  blob_put: { type: 'blob_put', id: 1, hash: b(32), size: 1, offset: 0, piece: b(1) },
  blob_get: { type: 'blob_get', id: 1, hash: b(32), offset: 0 },
  keypackages_put: { type: 'keypackages_put', id: 1, packages: [b(3000)], last_resort: false, fresh: true },
  keypackages_take: { type: 'keypackages_take', id: 1, conversation: b(32), devices: [b(32)] },
  group_get: { type: 'group_get', id: 1, conversation: b(32), group: { generation: 1, epoch: 1 } },
  room_create: { type: 'room_create', id: 1, room: '#ops', visibility: 'public', topic: 't' },
  room_list: { type: 'room_list', id: 1, after: '#ops' },
  room_get: { type: 'room_get', id: 1, room: '#ops' },
  room_join: { type: 'room_join', id: 1, room: '#ops' },
  room_leave: { type: 'room_leave', id: 1, room: '#ops' },
  room_invite: { type: 'room_invite', id: 1, room: '#ops', username: 'bob' },
  room_kick: { type: 'room_kick', id: 1, room: '#ops', username: 'bob' },
  room_ban: { type: 'room_ban', id: 1, room: '#ops', username: 'bob' },
  room_unban: { type: 'room_unban', id: 1, room: '#ops', username: 'bob' },
  room_role: { type: 'room_role', id: 1, room: '#ops', username: 'bob', role: 'admin' },
  room_topic: { type: 'room_topic', id: 1, room: '#ops', topic: 't' },
  log_consistency: { type: 'log_consistency', id: 1, from: 0, to: 5 },
  log_checkpoint: { type: 'log_checkpoint', id: 1 },
  log_attested: { type: 'log_attested', id: 1, size: 5 },
  crl_get: { type: 'crl_get', id: 1, issuer: b(32), number: 0, offset: 0, tree: 5 },
  ping: { type: 'ping', id: 1 },
  bye: { type: 'bye' },
};
const answers: { [K in Reply['type']]: Reply<K> } = {
  ok: { type: 'ok', id: 1 },
  error: { type: 'error', id: 1, code: 'LOCKED', retry_after_ms: 5 },
  login_challenge: { type: 'login_challenge', id: 1, nonce: b(24), salt: b(16), kdf: 'k' },
  login_ok: {
    type: 'login_ok',
    id: 1,
    username: 'alice',
    email: 'a@example.org',
    token: 't',
    token_expires: 1,
    server_time: 1,
    log: { statement: 's', algorithm: 1, signature: b(64), takeovers: [{ statement: 't', signature: b(64) }] },
  },
  password_ok: { type: 'password_ok', id: 1, token: 't', token_expires: 1 },
  conversation: {
    type: 'conversation',
    id: 1,
    conversation: b(32),
    epoch: 2,
    members: [{ username: 'bob', devices: [b(32)] }],
  },
  certificate: { type: 'certificate', id: 1, chain: [b(10)] },
  presence: { type: 'presence', username: 'bob', online: true, state: 'dnd', last_seen: 1 },
  presence_choice: { type: 'presence_choice', id: 1, state: 'invisible', last_seen: true },
  typing: { type: 'typing', conversation: b(32), username: 'bob', on: false },
  devices: {
    type: 'devices',
    id: 1,
    devices: [{ fingerprint: b(32), first_seen: 1, not_after: 2, revoked_at: 3, online: false }],
  },
  contact: { type: 'contact', id: 1, username: 'bob', state: 'asked' },
  contacts: {
    type: 'contacts',
    id: 1,
    people: [{ username: 'bob', email: 'b@example.org', state: 'asking', at: 5 }],
    has_more: false,
  },
  contact_changed: { type: 'contact_changed', username: 'bob', state: 'none', at: 5 },
  directory: {
    type: 'directory',
    id: 1,
    people: [{ username: 'bob', email: 'b@example.org', display_name: 'Bob' }],
    has_more: true,
  },
  checkpoint: { type: 'checkpoint', note: 'n' },
  msg_ack: { type: 'msg_ack', id: 1, ack: b(40), messages: [{ seq: 1, queued: true }] },
  msg_deliver: {
    type: 'msg_deliver',
    algorithm: 1,
    signature: b(64),
    batch: b(172),
    ack: b(40),
    items: [
      { cursor: 1, seq: 1, statement: b(248), parts: [b(1)], generation: 1, epoch: 5 },
      { cursor: 1, seq: 1, statement: b(248), parts: [b(1)] },
      { cursor: 1, seq: 1, statement: b(248), parts: [b(1)], cut: { at: [0], hashes: [b(32)] } },
      { statement_hash: b(32), leaf_hash: b(32) },
    ],
  },
  msg_expired: { type: 'msg_expired', cursor: 1, conversation: b(32), message: b(32), by: 'bob', at: 1 },
  synced: { type: 'synced', id: 1 },
  binding: { type: 'binding', id: 1, binding: b(300) },
  blob_have: { type: 'blob_have', id: 1, bytes: 5 },
  blob: { type: 'blob', id: 1, size: 5, piece: b(5) },
  keypackages: { type: 'keypackages', id: 1, count: 0 },
  keypackages_taken: { type: 'keypackages_taken', id: 1, packages: [{ device: b(32), package: b(3000) }] },
  group: { type: 'group', id: 1, conversation: b(32), generation: 0, epoch: 0, group_info: b(9) },
  room: {
    type: 'room',
    id: 1,
    room: '#ops',
    conversation: b(32),
    visibility: 'private',
    topic: 't',
    members: [{ username: 'bob', role: 'owner' }],
    banned: ['mallory'],
    asked: true,
  },
  rooms: {
    type: 'rooms',
    id: 1,
    rooms: [
      { room: '#a', visibility: 'public', members: 3 },
      { room: '#b', visibility: 'private', members: 1, topic: 't', role: 'member' },
    ],
    has_more: true,
  },
  room_changed: {
    type: 'room_changed',
    room: '#ops',
    conversation: b(32),
    change: 'role',
    by: 'alice',
    username: 'bob',
    role: 'admin',
    topic: 't',
    turn: 2,
  },
  log_consistency: { type: 'log_consistency', id: 1, hashes: [b(32)] },
  log_checkpoint: { type: 'log_checkpoint', id: 1, note: 'n' },
  log_attested: { type: 'log_attested', id: 1, note: 'n', token: b(9) },
  crl: {
    type: 'crl',
    id: 1,
    count: 1,
    index: 2,
    server_time: 1,
    size: 9,
    piece: b(9),
    path: [b(32)],
  },
  pong: { type: 'pong', id: 1, server_time: 1 },
  bye: { type: 'bye', code: 'SHUTTING_DOWN' },
};
const OPTIONAL = [
  'checkpoint',
  'display_name',
  'server_signature',
  'last_seen',
  'retry_after_ms',
  'fresh',
  'group',
  'group_info',
  'topic',
  'asked',
  'turn',
  'continues',
];
const roles = [
  { role: 'request', table: requests, samples: sends, read: decodeRequests },
  { role: 'reply', table: replies, samples: answers, read: decodeReplies },
];

for (const { role, table, samples, read } of roles)
  t.test(`every ${role}: round trip, and every field is needed, bounded and known`, async (t) => {
    t.strictSame(Object.keys(samples), Object.keys(table), 'a sample of each');
    for (const [type, frame] of Object.entries(samples)) {
      const bytes = encodeFrame(frame);
      t.same([...read(bytes)], [frame], `${type}: round trip`);
      t.throws(() => [...read(encode({ ...frame, surplus: 1 } as Encodable))], {
        code: 'BAD_FRAME',
        field: `${type}.?`,
      });
      for (const field of Object.keys(frame).filter((name) => name !== 'type')) {
        const field_ = `${type}.${field}`;
        t.throws(
          () => [...read(encode({ ...frame, [field]: -1 } as Encodable))],
          { code: 'BAD_FRAME', field: field_ },
          `${field_} = -1`,
        );
        t.throws(
          () => [...read(encode({ ...frame, [field]: 'x'.repeat(70_000) } as Encodable))],
          { code: 'BAD_FRAME', field: field_ },
          `${field_} is long`,
        );
        const without = { ...frame, [field]: undefined } as Encodable;
        const isOptional = OPTIONAL.includes(field) && type !== 'checkpoint' && type !== 'presence_choice';
        const alsoOptional =
          (type === 'error' && field === 'id') ||
          (type === 'bye' && field === 'code') ||
          (type === 'log_attested' && (field === 'note' || field === 'token')) ||
          ((type === 'presence' || type === 'presence_set') && field === 'state') ||
          (type === 'room_changed' && (field === 'username' || field === 'role'));
        if (isOptional || alsoOptional) t.equal([...read(encode(without))].length, 1, `${field_} may be missing`);
        else t.throws(() => [...read(encode(without))], { code: 'BAD_FRAME', field: field_ }, `${field_} is missing`);
      }
    }
  });

t.test('types are looked up by name and by direction', async (t) => {
  for (const type of ['rekey', 'toString', '__proto__', 'constructor', '', 'MSG_SEND'])
    t.throws(() => [...decodeRequests(encode({ type, id: 1 }))], { code: 'UNKNOWN_TYPE', field: 'frame.type' }, type);
  t.throws(() => [...decodeRequests(encodeFrame(answers.ok))], { code: 'UNKNOWN_TYPE' }, 'a reply is no request');
  t.throws(() => [...decodeReplies(encodeFrame(sends.login))], { code: 'UNKNOWN_TYPE' }, 'a request is no reply');
  for (const value of [1, 'x', [], { id: 1 }, { type: 5 }])
    t.throws(() => [...decodeRequests(encode(value))], { code: 'BAD_FRAME' });
  t.throws(() => [...decodeReplies(encode({ ...answers.error, code: 'toString' }))], {
    code: 'BAD_FRAME',
    field: 'error.code',
  });
});

t.test('the fields inside a message and a key package are bounded', async (t) => {
  const message = sends.msg_send.messages[0]!;
  const rows: [field: string, surplus: Encodable][] = [
    ['group.generation', { group: { generation: 0, epoch: 1 } }],
    ['group.generation', { group: { generation: 2 ** 32, epoch: 1 } }],
    ['group.epoch', { group: { generation: 1 } }],
    ['group.?', { group: { generation: 1, epoch: 1, x: 1 } }],
    ['group_info', { group_info: b(0) }],
    ['parts_blob', { parts_blob: b(31) }],
    ['info_blob', { info_blob: b(0) }],
    ['to', { to: '' }],
    ['to', { to: 'x'.repeat(65) }],
  ];
  for (const [field, surplus] of rows)
    t.throws(
      () => [
        ...decodeRequests(
          encode({ ...sends.msg_send, messages: [{ ...message, ...(surplus as object) }] } as Encodable),
        ),
      ],
      { code: 'BAD_FRAME', field: `msg_send.messages[0].${field}` },
    );
  for (const [i, bytes] of [b(0), b(8193)].entries())
    t.throws(
      () => [
        ...decodeRequests(
          encode({ ...sends.keypackages_put, packages: [...Array<Buffer>(i).fill(b(1)), bytes] } as Encodable),
        ),
      ],
      { code: 'BAD_FRAME', field: `keypackages_put.packages[${i}]` },
    );
  const full = { device: b(32), package: b(MAX_KEY_PACKAGE_BYTES) };
  const answer = encodeFrame({ ...answers.keypackages_taken, packages: Array<typeof full>(100).fill(full) });
  t.ok(answer.length < MAX_PLAINTEXT_BYTES, 'the largest answer fits a record');
  t.ok(encodeFrame({ ...answers.group, group_info: b(MAX_BODY_BYTES) }).length < MAX_PLAINTEXT_BYTES);
});

// Fails when a frame takes less than the format of the transcript allows.
t.test('a log key statement is as long in a frame as the transcript allows', async (t) => {
  const ok = (length: number): Reply<'login_ok'> => {
    const statement = 's'.repeat(length);
    const { log, ...rest } = answers.login_ok;
    return { ...rest, log: { ...log, statement, takeovers: Array(64).fill({ statement, signature: b(64) }) } };
  };
  const decoded = (length: number): Reply[] => [...decodeReplies(encodeFrame(ok(length)))];
  t.strictSame(decoded(MAX_STATEMENT_BYTES), [ok(MAX_STATEMENT_BYTES)]);
  t.throws(() => decoded(MAX_STATEMENT_BYTES + 1), { code: 'BAD_FRAME' });
});

t.test('the id of a frame that is refused can be read, or there is none', async (t) => {
  t.equal(requestIdOf(decode(encode({ type: 'nonsense', id: 7 }))), 7);
  for (const value of [1, { id: 0 }, { id: 'x' }, { id: 2 ** 32 }, {}])
    t.equal(requestIdOf(decode(encode(value))), undefined);
});

t.test('frames of one record come in order; those before a fault were whole', async (t) => {
  const record = Buffer.concat([encodeFrame(sends.ping), encodeFrame(sends.bye), Buffer.of(0xff)]);
  const seen: string[] = [];
  t.throws(
    () => {
      for (const frame of decodeRequests(record)) seen.push(frame.type);
    },
    { code: 'BAD_FRAME' },
  );
  t.strictSame(seen, ['ping', 'bye']);
});

t.test('any bytes give frames or a named error', async () => {
  const runs = process.env['FUZZ'] ? { numRuns: 100_000 } : { numRuns: 1000, seed: 5 };
  const all = Object.values(sends).map(encodeFrame);
  const mutated = fc.tuple(fc.constantFrom(...all), fc.nat(), fc.nat(255)).map(([bytes, at, value]) => {
    const copy = Buffer.from(bytes);
    copy[at % copy.length] = value;
    return copy;
  });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 60 })), (bytes) => {
      try {
        for (const frame of decodeRequests(bytes)) encodeFrame(frame);
      } catch (error) {
        if (!(error instanceof ChatError) || !['BAD_FRAME', 'UNKNOWN_TYPE'].includes(error.code)) throw error;
      }
    }),
    runs,
  );
});

t.test('docs/PROTOCOL.md names every frame and every field', async (t) => {
  const page = readFileSync(new URL('../../docs/PROTOCOL.md', import.meta.url), 'utf8');
  for (const { samples } of roles)
    for (const [type, frame] of Object.entries(samples)) {
      const row = page
        .split('\n')
        .find(
          (line) =>
            line.startsWith(`| \`${type}\` |`) &&
            Object.keys(frame).every((field) => field === 'type' || line.includes(field)),
        );
      t.ok(row, `${type} has a row with its fields`);
    }
});
