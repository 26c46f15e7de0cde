import t from 'tap';
import fc from 'fast-check';
import type { ConversationId, Fingerprint } from '../../base/bytes.ts';
import { CONTEXT, tbs } from '../../base/signature.ts';
import * as s from '../../transcript/statement.ts';
import {
  bs,
  damaged,
  decodesStrictly,
  ed25519,
  fields,
  filled,
  ms,
  property,
  refuses,
  unhex,
  vectors,
} from './sample.ts';
import { sign } from '../../base/signature.ts';

t.test('vectors: message statement, commitment, associated data, ciphertext hash', async (t) => {
  for (const [i, v] of vectors.ms.entries()) {
    const bytes = unhex(v.bytes);
    const statement = fields<s.MessageStatement>(v.fields);
    t.equal(s.encodeMs(statement).toString('hex'), v.bytes, `MS ${i} encodes`);
    t.match(s.decodeMs(bytes), statement, `MS ${i} decodes`);
    const plaintext = Buffer.from(v.plaintext);
    t.ok(s.isCommitted(unhex(v.kf), bytes, plaintext), 'commitment');
    t.notOk(s.isCommitted(unhex(v.kf), bytes, Buffer.from('another')), 'another plaintext');
    t.equal(s.messageAad(bytes).toString('hex'), v.aad);
    const parts = v.ciphertext.map(unhex);
    t.strictSame(Buffer.from(s.ciphertextHash(parts)), unhex(v.fields.ciphertextHash));
    t.ok(s.isCiphertextOf(statement, parts));
    t.notOk(s.isCiphertextOf(statement, [...parts, Buffer.alloc(0)]), 'a part more');
    t.notOk(s.isCiphertextOf({ ...statement, ciphertextBytes: 1 }, parts), 'another length');
    t.notOk(s.isCiphertextOf({ ...statement, ciphertextHash: statement.commitment }, parts), 'another hash');
  }
});

t.test('vectors: batch statement and what is signed', async (t) => {
  const v = vectors.bs;
  const statement = fields<s.BatchStatement>(v.fields);
  t.equal(s.encodeBs(statement).toString('hex'), v.bytes);
  t.match(s.decodeBs(unhex(v.bytes)), statement);
  t.equal(tbs(CONTEXT.senderBatch, unhex(v.bytes)).toString('hex'), v.tbs);
  const made = sign(ed25519(unhex(v.seed)), CONTEXT.senderBatch, unhex(v.bytes));
  t.equal(made.signature.toString('hex'), v.signature);
  t.strictSame(Buffer.from(s.audienceOf(vectors.log.origin)), unhex(v.fields.audience));
});

t.test('roster: order does not matter, everything else does', async (t) => {
  const v = vectors.roster;
  const room = unhex(v.conversation) as Uint8Array as ConversationId;
  const members = v.members.map(unhex) as Fingerprint[];
  const want = v.hash;
  t.equal(Buffer.from(s.rosterHash(room, 3, members)).toString('hex'), want);
  t.equal(Buffer.from(s.rosterHash(room, 3, members.toReversed())).toString('hex'), want);
  t.not(Buffer.from(s.rosterHash(room, 4, members)).toString('hex'), want, 'epoch');
  t.not(Buffer.from(s.rosterHash(room, 3, members.slice(1))).toString('hex'), want, 'member');
  refuses(t, () => s.rosterHash(room, 3, []), 'BAD_FRAME', 'roster.members', 'nobody');
  refuses(t, () => s.rosterHash(room, 3, [...members, members[0]!]), 'BAD_FRAME', 'roster.members', 'somebody twice');
  refuses(t, () => s.rosterHash(room, 3, [filled(1, 31) as never]), 'BAD_FRAME', 'roster.members', 'short');
  refuses(t, () => s.rosterHash(filled(1, 33) as never, 3, members), 'BAD_FRAME', 'roster.conversation', 'long');
  refuses(t, () => s.rosterHash(room, -1, members), 'BAD_FRAME', 'roster.epoch', 'epoch');
});

t.test('a commitment key has 32 bytes: HMAC gives K and K ‖ 0 the same value', async (t) => {
  const encoded = s.encodeMs(ms());
  const text = Buffer.from('text');
  for (const length of [0, 31, 33, 64])
    refuses(t, () => s.commitment(filled(7, length), encoded, text), 'BAD_FRAME', 'opening.kf', `${length} bytes`);
  const short = Buffer.concat([filled(7, 31), Buffer.alloc(1)]); // the same HMAC key as its first 31 bytes
  const sealed = s.encodeMs(ms({ commitment: s.commitment(short, encoded, text) }));
  t.ok(s.isCommitted(short, sealed, text));
  t.notOk(s.isCommitted(short.subarray(0, 31), sealed, text), '31 bytes');
  t.notOk(s.isCommitted(Buffer.concat([short, Buffer.alloc(1)]), sealed, text), '33 bytes');
  t.notOk(s.isCommitted(short, s.encodeMs({ ...s.decodeMs(sealed), sessionCtr: 2 }), text), 'lifted into another MS');
  refuses(t, () => s.commitment(short, sealed.subarray(1), text), 'BAD_FRAME', 'ms.length', 'not an MS');
  refuses(t, () => s.isCommitted(short, Buffer.alloc(249), text), 'BAD_FRAME', 'ms.length', 'not an MS');
  refuses(t, () => s.messageAad(Buffer.alloc(247)), 'BAD_FRAME', 'ms.length', 'not an MS');
});

t.test('associated data: everything that is signed before the ciphertext, but for its size', async (t) => {
  const encoded = s.encodeMs(ms());
  const aad = s.messageAad(encoded);
  const label = aad.length - 216;
  for (let offset = 0; offset < encoded.length; offset++) {
    const other = Buffer.from(encoded);
    other[offset]! ^= 1;
    const isCovered = offset < 216 && (offset < 10 || offset >= 16);
    t.equal(s.messageAad(other).equals(aad), !isCovered, `byte ${offset}`);
  }
  t.same(aad.subarray(label + 10, label + 16), Buffer.alloc(6));
});

t.test('opening', async (t) => {
  t.strictSame(s.splitOpening(Buffer.concat([filled(1), Buffer.from('x')])), {
    kf: filled(1),
    plaintext: Buffer.from('x'),
  });
  t.equal(s.splitOpening(filled(1)).plaintext.length, 0, 'an empty plaintext');
  refuses(t, () => s.splitOpening(filled(1, 31)), 'BAD_FRAME', 'opening', 'no room for the key');
  refuses(t, () => s.ciphertextHash([]), 'BAD_FRAME', 'ciphertext.parts', 'no part');
});

t.test('MS: every byte that has a rule', async (t) => {
  const good = s.encodeMs(ms());
  const rows: [name: string, offset: number, bytes: number[], field: string][] = [
    ['magic', 7, [0x32], 'ms.magic'],
    ['kind 0', 8, [0], 'ms.kind'],
    ['kind 8', 8, [8], 'ms.kind'],
    ['reserved', 9, [1], 'ms.reserved'],
    ['no parts', 10, [0, 0], 'ms.parts'],
    ['session counter 0', 64, [0, 0, 0, 0, 0, 0, 0, 0], 'ms.session_ctr'],
    ['session counter 2^53', 64, [0, 0x20, 0, 0, 0, 0, 0, 0], 'ms.session_ctr'],
    ['client time 2^64-1', 72, Array(8).fill(255), 'ms.client_time'],
    ['conversation counter 0', 112, [0, 0, 0, 0, 0, 0, 0, 0], 'ms.conv_ctr'],
    ['conversation counter 2^63', 112, [0x80, 0, 0, 0, 0, 0, 0, 1], 'ms.conv_ctr'],
  ];
  for (const [name, offset, bytes, field] of rows) {
    const broken = Buffer.from(good);
    broken.set(bytes, offset);
    refuses(t, () => s.decodeMs(broken), 'BAD_FRAME', field, name);
  }
  refuses(t, () => s.decodeMs(good.subarray(0, 247)), 'BAD_FRAME', 'ms.length', 'short');
  refuses(t, () => s.decodeMs(Buffer.concat([good, Buffer.alloc(1)])), 'BAD_FRAME', 'ms.length', 'long');
  for (const [field, change] of [
    ['ms.parts', { parts: 65536 }],
    ['ms.ciphertext_bytes', { ciphertextBytes: 2 ** 32 }],
    ['ms.session', { session: filled(1, 15) as never }],
    ['ms.prev_conv', { prevConv: filled(1, 33) as never }],
    ['ms.client_time', { clientTime: 1.5 }],
  ] as const)
    refuses(t, () => s.encodeMs(ms(change)), 'BAD_FRAME', field, `encode ${field}`);
});

t.test('BS: every byte that has a rule', async (t) => {
  const good = s.encodeBs(bs([s.encodeMs(ms())]));
  const rows: [name: string, offset: number, bytes: number[], field: string][] = [
    ['magic', 0, [0x43], 'bs.magic'],
    ['first counter 0', 56, [0, 0, 0, 0, 0, 0, 0, 0], 'bs.first_ctr'],
    ['last counter beyond 2^53', 56, [0, 0x1f, 255, 255, 255, 255, 255, 254], 'bs.first_ctr'],
    ['count 0', 64, [0, 0, 0, 0], 'bs.count'],
    ['count 1025', 64, [0, 0, 4, 1], 'bs.count'],
    ['sign time', 68, [1, 0, 0, 0, 0, 0, 0, 0], 'bs.sign_time'],
  ];
  for (const [name, offset, bytes, field] of rows) {
    const broken = Buffer.from(good);
    broken.set(bytes, offset);
    refuses(t, () => s.decodeBs(broken), 'BAD_FRAME', field, name);
  }
  refuses(t, () => s.decodeBs(good.subarray(1)), 'BAD_FRAME', 'bs.length', 'short');
  refuses(
    t,
    () => s.encodeBs({ ...s.decodeBs(good), audience: filled(1, 31) as never }),
    'BAD_FRAME',
    'bs.audience',
    'short',
  );
});

t.test('properties: one encoding for one statement, and nothing but BAD_FRAME for the rest', async () => {
  const good = [s.encodeMs(ms()), unhex(vectors.ms[2].bytes)];
  decodesStrictly(damaged(...good), s.decodeMs, s.encodeMs);
  decodesStrictly(damaged(unhex(vectors.bs.bytes)), s.decodeBs, s.encodeBs);
  const counter = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
  property(fc.tuple(counter, counter, counter, fc.integer({ min: 1, max: 65535 })), ([a, b, c, parts]) => {
    const value = ms({ sessionCtr: a, convCtr: b, clientTime: c, parts });
    const back = s.decodeMs(s.encodeMs(value));
    if (back.sessionCtr !== a || back.convCtr !== b || back.clientTime !== c || back.parts !== parts) throw back;
  });
});
