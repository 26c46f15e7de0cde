/** What this device states is what the log's own rules admit, whatever is written, to whom, in what bursts. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { hex, type ConversationId, type Fingerprint, type Hash, type SessionId } from '../../base/bytes.ts';
import { CONTEXT, verify } from '../../base/signature.ts';
import { MAX_CONTENT_BYTES, openingOf, partBytes, readOpening } from '../../client/body.ts';
import { composeBatch, composeClose, composeCommit, fillBatch, rosterOf } from '../../client/statements.ts';
import type { Sealed } from '../../client/group-writer.ts';
import { openings } from '../../client/staged-batch.ts';
import type { Conversation } from '../../client/roster.ts';
import type { Message } from '../../client/message-table.ts';
import type { Session } from '../../client/session-table.ts';
import { encodeFrame } from '../../protocol/frame-codec.ts';
import { MAX_SEND_BYTES } from '../../protocol/messages.ts';
import { decodeBatch, judge } from '../../transcript/lineage.ts';
import { LineageMemory } from '../../transcript/lineage-memory.ts';
import { leafHash, NO_HASH } from '../../transcript/merkle.ts';
import { decodeOpening } from '../../transcript/opening.ts';
import {
  audienceOf,
  decodeBs,
  decodeMs,
  isCiphertextOf,
  isCommitted,
  isOfSession,
  KIND,
  messageAad,
  rosterHash,
} from '../../transcript/statement.ts';
import { inTheOpen, openingIn } from './in-the-open.ts';

const runs = process.env['FUZZ'] ? { numRuns: 5000 } : { numRuns: 50, seed: 20261121 };
const ORIGIN = 'localhost/log/n1';
const fingerprint = randomBytes(32) as unknown as Fingerprint;
const other = randomBytes(32) as unknown as Fingerprint;
const pair = generateKeyPairSync('ed25519');
const signer = { fingerprint, privateKey: pair.privateKey };
const conversationId = (n: number): ConversationId => Buffer.alloc(32, n + 1) as unknown as ConversationId;

const message = (row: number, conversation: number, body: Uint8Array, isSolo = false): Message => ({
  row,
  conversation: conversationId(conversation),
  direction: 'out',
  state: 'waiting',
  seq: null,
  hash: null,
  isSolo,
  sender: 'alice',
  plaintext: body,
  content: null,
  meaning: null,
  fault: null,
  body,
  role: 'message',
  target: null,
  expiresAt: null,
  gone: null,
  isShown: false,
  clientTime: 1000 + row,
  serverTime: null,
  reason: null,
});
const fresh = (n: number): Conversation => ({
  id: conversationId(n),
  peer: `peer${n}`,
  epoch: n,
  members: [
    { username: 'alice', devices: [fingerprint] },
    { username: `peer${n}`, devices: [other] },
  ],
  session: null,
  convCtr: 0,
  lastLeaf: NO_HASH,
});
const commit = (): Promise<Sealed> =>
  Promise.resolve({
    parts: [Buffer.from('commit'), Buffer.from('more')],
    group: { generation: 1, epoch: 0 },
    group_info: Buffer.from('info'),
  });
const begin = (before: Session['before'] = null): Session => ({
  id: randomBytes(16) as unknown as SessionId,
  lastCtr: 0,
  lastBatch: NO_HASH,
  before,
});
const endOf = ({ id, lastCtr, lastBatch, before }: Session): Session['before'] =>
  lastCtr === 0 ? before : { session: id, lastCtr, lastBatch };

t.test('every batch is admitted, across batches, conversations and sessions', async (t) => {
  const burst = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.uint8Array({ maxLength: 40 })), {
    minLength: 1,
    maxLength: 12,
  });
  const step = fc.record({ burst, isNewSession: fc.boolean(), isRefused: fc.boolean(), isCommit: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
      const memory = new LineageMemory();
      const conversations = new Map([0, 1, 2, 3].map((n) => [hex(conversationId(n)), fresh(n)]));
      let session = begin();
      for (const { burst, isNewSession, isRefused, isCommit } of steps) {
        if (isNewSession) session = begin(endOf(session));
        const messages = burst.map(([to, body], i) => message(i + 1, to, body));
        const kfs = messages.map(() => randomBytes(32));
        const conversation = conversations.get(hex(conversationId(0)))!;
        const batch = isCommit
          ? await composeCommit(signer, session, conversation, ORIGIN, 2000, commit)
          : await composeBatch(signer, session, messages, conversations, kfs, ORIGIN, 2000, inTheOpen);
        const statements = batch.messages.map((m) => m.statement);
        const opened = openings(batch);
        const judgement = judge(decodeBatch(batch.batch, statements), audienceOf(ORIGIN), memory);
        if (judgement.findings.length > 0) throw new Error(JSON.stringify(judgement.findings));
        if (!verify(pair.publicKey, batch.algorithm, CONTEXT.senderBatch, batch.batch, batch.signature)) return false;
        batch.messages.forEach(({ statement, parts }, i) => {
          if (!isCiphertextOf(decodeMs(statement), parts)) throw new Error('ciphertext');
          if (isCommit || i < opened) return;
          const { kf, body } = readOpening(openingIn(parts));
          if (!isCommitted(kf, statement, body)) throw new Error('commitment');
          if (Buffer.compare(body, messages[i - opened]!.body) !== 0) throw new Error('body');
        });
        if (isRefused) continue; // nothing advances: the next one takes its counters
        memory.apply(judgement.change);
        const bs = decodeBs(batch.batch);
        session = { ...session, lastCtr: bs.firstCtr + bs.count - 1, lastBatch: leafHash(batch.batch) };
        for (const statement of statements) {
          const ms = decodeMs(statement);
          if (isOfSession(ms.kind)) continue;
          const known = conversations.get(hex(ms.conversation))!;
          conversations.set(hex(ms.conversation), {
            ...known,
            session: session.id,
            convCtr: ms.convCtr,
            lastLeaf: leafHash(statement),
          });
        }
      }
      return true;
    }),
    runs,
  );
  t.pass('admitted');
});

t.test('what is sealed is bound to all of its statement, and a commit says what it is', async (t) => {
  const conversation = fresh(1);
  const aads: Uint8Array[] = [];
  const batch = await composeBatch(
    signer,
    begin(),
    [message(1, 1, Buffer.from('x')), message(2, 1, Buffer.from('y'))],
    new Map([[hex(conversation.id), conversation]]),
    [randomBytes(32), randomBytes(32)],
    ORIGIN,
    1,
    (each, opening, aad) => {
      aads.push(aad);
      return inTheOpen(each, opening, aad);
    },
  );
  t.same(
    aads,
    batch.messages.slice(1).map(({ statement }) => messageAad(statement)),
  );
  const commits: Uint8Array[] = [];
  const begun = { ...begin(), lastCtr: 7 };
  const { messages, rows, kfs } = await composeCommit(signer, begun, conversation, ORIGIN, 1, (aad) => {
    commits.push(aad);
    return commit();
  });
  t.same(commits, [messageAad(messages[0]!.statement)]);
  t.match(decodeMs(messages[0]!.statement), {
    sessionCtr: 8,
    kind: KIND.membership,
    parts: 2,
    commitment: Buffer.from(NO_HASH),
  });
  t.strictSame([rows, kfs, messages[0]!.group_info], [[], [], Buffer.from('info')]);
  const tooLong = (): ReturnType<typeof commit> =>
    Promise.resolve({ parts: [Buffer.alloc(9)], group: { generation: 1, epoch: 1 } });
  await t.rejects(
    composeBatch(
      signer,
      begin(),
      [message(1, 1, Buffer.from('x'))],
      new Map([[hex(conversation.id), conversation]]),
      [randomBytes(32)],
      ORIGIN,
      1,
      tooLong,
    ),
    { code: 'INTERNAL' },
    'a length that the commitment does not cover',
  );
});

t.test('the audience is what is signed', async (t) => {
  const conversation = fresh(1);
  const batch = await composeBatch(
    signer,
    begin(),
    [message(1, 1, Buffer.from('x'))],
    new Map([[hex(conversation.id), conversation]]),
    [randomBytes(32)],
    ORIGIN,
    1,
    inTheOpen,
  );
  const ms = decodeMs(batch.messages[1]!.statement);
  t.strictSame(ms.rosterHash, rosterHash(conversation.id, 1, [other, fingerprint]) as Hash);
  t.notSame(rosterOf(conversation.id, { ...conversation, epoch: 2 }), ms.rosterHash);
});

t.test('a session begins with how the one before it ended, and closes with a statement of its own', async (t) => {
  const before = { session: randomBytes(16) as unknown as SessionId, lastCtr: 9, lastBatch: randomBytes(32) as never };
  for (const known of [null, before]) {
    const session = begin(known);
    const batch = await composeCommit(signer, session, fresh(1), ORIGIN, 1, commit);
    const [opening, made] = batch.messages;
    t.equal(batch.messages.length, 2, 'in one batch with what comes first');
    t.match(decodeMs(opening!.statement), { kind: KIND.open, sessionCtr: 1, convCtr: 0 });
    t.match(decodeMs(made!.statement), { kind: KIND.membership, sessionCtr: 2, convCtr: 1 });
    t.same(decodeOpening(opening!.parts[0]!), known);
    t.ok(isCiphertextOf(decodeMs(opening!.statement), opening!.parts));
  }
  const close = composeClose(signer, { ...begin(), lastCtr: 4 }, ORIGIN, 1);
  t.match(decodeMs(close.messages[0]!.statement), { kind: KIND.close, sessionCtr: 5, ciphertextBytes: 0 });
  t.strictSame([close.messages.length, close.rows, decodeBs(close.batch).firstCtr], [1, [], 5]);
});

t.test('a batch takes what fits', async (t) => {
  const many = Array.from({ length: 2000 }, (_, i) => message(i, 0, Buffer.alloc(10)));
  t.ok(fillBatch(many, () => 2).length > 900 && fillBatch(many, () => 2).length <= 1024);
  const taken = (devices: number): number => fillBatch(many, () => devices).length;
  t.strictSame([taken(50), taken(1000), taken(20_000)], [245, 12, 1], 'what many devices get, a few at a time');
  const solo = [message(1, 0, Buffer.alloc(1)), message(2, 0, Buffer.alloc(1), true), message(3, 0, Buffer.alloc(1))];
  t.strictSame(
    [fillBatch(solo, () => 2).length, fillBatch(solo.slice(1), () => 2).length, fillBatch([], () => 2).length],
    [1, 1, 0],
    'one that must go alone goes alone',
  );
  for (const size of [0, 1, 200, 5000, 100_000, 339_000, MAX_CONTENT_BYTES]) {
    const conversation = fresh(0);
    const waiting = Array.from({ length: 1100 }, (_, i) =>
      message(i, 0, Buffer.alloc(Math.min(size, MAX_CONTENT_BYTES))),
    );
    const taken = fillBatch(waiting, () => 2);
    const kfs = taken.map(() => Buffer.alloc(32));
    const batch = await composeBatch(
      signer,
      begin(),
      taken,
      new Map([[hex(conversation.id), conversation]]),
      kfs,
      ORIGIN,
      1,
      inTheOpen,
    );
    const { algorithm, batch: bs, messages } = batch;
    const frame = {
      type: 'msg_send' as const,
      id: 2 ** 32 - 1,
      algorithm,
      signature: Buffer.alloc(1024),
      batch: bs,
      messages,
    };
    const bytes = encodeFrame(frame).length;
    t.ok(bytes <= MAX_SEND_BYTES, `${taken.length} bodies of ${size} bytes: ${bytes}`);
  }
});

t.test('bodies', (t) => {
  const kf = randomBytes(32);
  t.strictSame(Buffer.from(readOpening(openingOf(kf, Buffer.from('hi'))).body).toString(), 'hi');
  t.equal(readOpening(openingOf(kf, Buffer.alloc(0))).body.length, 0);
  t.throws(() => openingOf(kf, Buffer.alloc(MAX_CONTENT_BYTES + 1)), { code: 'TOO_LARGE' });
  t.throws(() => readOpening(Buffer.alloc(31)), { code: 'BAD_FRAME', field: 'opening' });
  t.equal(partBytes(0), partBytes(223), 'a short message looks like any other short one');
  t.ok(partBytes(224) > partBytes(223));
  t.equal(partBytes(224), partBytes(479));
  t.end();
});
