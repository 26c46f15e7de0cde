import { cpSync, rmSync } from 'node:fs';
import t, { type Test } from 'tap';
import { equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { Proofs } from '../../server/log/proofs.ts';
import type { CommitterOptions } from '../../server/committer.ts';
import { Sequencer } from '../../server/sequencer.ts';
import type { Submission } from '../../server/submission.ts';
import type { Store } from '../../store/store.ts';
import { checkAck, decodeAck } from '../../transcript/ack.ts';
import { decodeLeaf } from '../../transcript/leaf.ts';
import { leafHash, NO_HASH } from '../../transcript/merkle.ts';
import { parseVkey } from '../../transcript/note.ts';
import { authority } from '../support/pki.ts';
import { LATER, NOW } from '../support/store-world.ts';
import { identity, ORIGIN, silent, transcriptWorld, type TranscriptWorld } from '../support/transcript-world.ts';

const keys = identity();
const worldIn = (t: Test): Promise<TranscriptWorld> => transcriptWorld(t.testdir(), {}, {}, keys);
/** A second sequencer over the same log. */
const over = (w: TranscriptWorld, store: Store, more: Partial<CommitterOptions> = {}): Sequencer =>
  new Sequencer({ transcript: w.transcript, store, log: silent, now: () => NOW, retryMs: 1, ...more });

/** Checks the evidence of an answer as its sender would. */
function holds(t: Test, w: TranscriptWorld, sent: Submission, got: Awaited<ReturnType<Sequencer['submit']>>): void {
  const { ack, checkpoint, hashes } = got.evidence;
  const messages = sent.messages.map(({ statement }) => statement);
  const note = Buffer.from(checkpoint.note);
  const batch = { algorithm: sent.algorithm, signature: sent.signature, bs: sent.batch, messages };
  const receipt = checkAck(decodeAck(ack), batch, parseVkey(w.transcript.vkey), note);
  t.equal(receipt.first, got.firstIndex);
  t.equal(checkpoint.size, receipt.checkpoint.size);
  t.strictSame(
    got.messages.map(({ index }) => index),
    messages.map((_, i) => got.firstIndex + 1 + i),
  );
  t.ok(messages.every((ms, i) => equal(leafHash(ms), hashes[i]!.statementHash)));
  t.ok(receipt.entries.slice(1).every((bytes, i) => equal(leafHash(bytes), hashes[i]!.leafHash)));
  t.ok(
    got.messages.every(
      (m, i) => equal(m.statementHash, hashes[i]!.statementHash) && equal(m.leafHash, hashes[i]!.leafHash),
    ),
  );
}

/** A store whose commits wait until they are let go. */
function gated(store: Store) {
  const windows: { readonly entries: number; go: () => void }[] = [];
  let isOpen = true;
  const arrived: (() => void)[] = [];
  const gate: Store = Object.create(store, {
    commitWindow: {
      value: async (window: Parameters<Store['commitWindow']>[0]) => {
        if (!isOpen) {
          await new Promise<void>((go) => {
            windows.push({ entries: window.batches.length, go });
            for (const tell of arrived.splice(0)) tell();
          });
        }
        return store.commitWindow(window);
      },
    },
  });
  return {
    gate,
    windows,
    close: () => (isOpen = false),
    open: () => {
      isOpen = true;
      for (const { go } of windows.splice(0)) go();
    },
    /** Resolves when a commit waits at the gate. */
    next: () => (windows.length > 0 ? Promise.resolve() : new Promise<void>((tell) => arrived.push(tell))),
  };
}

t.test('a batch is logged, stored, and answered with evidence that its sender can check', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const sent = alice.batch(conversation, ['one', 'two'], [bob.device.id]);
  const got = await w.sequencer.submit(sent);
  holds(t, w, sent, got);
  t.match(got, { firstIndex: 3, serverTime: NOW, repeated: false });
  t.strictSame(
    got.messages.map(({ seq, cursors, peers }) => [seq, cursors.length, peers]),
    [
      [1, 1, [bob.device.id]],
      [2, 1, [bob.device.id]],
    ],
  );
  t.strictSame(
    (await w.transcript.entries(0, w.transcript.size)).map((bytes) => decodeLeaf(bytes).type),
    ['cert', 'key', 'cert', 'sigb', 'msg', 'msg'],
    'the certificate first',
  );
  const back = await w.sequencer.submit(bob.batch(conversation, ['three'], [alice.device.id]));
  t.match(back, { firstIndex: 7, messages: [{ seq: 3 }] });
  const more = await w.sequencer.submit(alice.batch(conversation, ['four'], [bob.device.id]));
  t.equal(more.firstIndex, 9, 'a certificate is logged once');
  const queued = (await w.store.backlog(bob.device.id, 0, 10, 1e6)).items;
  t.strictSame(
    queued.map((item) => item.kind === 'message' && [item.seq, item.index, Buffer.from(item.parts[0]!).toString()]),
    [
      [1, 4, 'one'],
      [2, 5, 'two'],
      [4, 10, 'four'],
    ],
  );
  const late = await w.sequencer.evidence(3);
  t.equal(late.checkpoint.size, 11, 'at the size of today');
  holds(t, w, sent, { ...got, evidence: late });
  await t.rejects(w.sequencer.evidence(4), { code: 'NOT_FOUND' }, 'no batch begins at a message');
  await t.rejects(w.sequencer.evidence(11), { code: 'NOT_FOUND' });
  await w.close();
});

t.test('a session that was named and not begun is asked for anew, one that was begun is remembered', async (t) => {
  const w = await worldIn(t);
  let questions = 0;
  const store: Store = Object.create(w.store, {
    sessionLineage: {
      value: (...which: Parameters<Store['sessionLineage']>) => {
        questions++;
        return w.store.sessionLineage(...which);
      },
    },
  });
  const sequencer = over(w, store);
  const early = w.alice.batch(w.conversation, ['2'], [], { peek: true, firstCtr: 2 });
  for (let i = 0; i < 2; i++) await t.rejects(sequencer.submit(early), { code: 'COUNTER_GAP' });
  t.equal(questions, 2);
  for (const text of ['1', '2']) await sequencer.submit(w.alice.batch(w.conversation, [text], []));
  t.equal(questions, 3);
  await sequencer.drain();
  await w.close();
});

t.test('what comes in one moment, or while a window is written, leaves in one window', async (t) => {
  const w = await worldIn(t);
  const appends: number[] = [];
  const { append } = w.transcript;
  w.transcript.append = function (window) {
    appends.push(window.entries.length);
    return append.call(this, window);
  };
  const people = [w.alice, w.bob, ...(await Promise.all(['carol', 'dave', 'erin'].map((name) => w.device(name))))];
  const results = await Promise.all(
    people.flatMap((sender) =>
      Array.from({ length: 20 }, () => {
        const sent = sender.batch(w.conversation, ['x', 'y'], []);
        return w.sequencer.submit(sent).then((got) => ({ sent, got }));
      }),
    ),
  );
  for (const { sent, got } of results) holds(t, w, sent, got);
  t.strictSame(
    results.flatMap(({ got }) => got.messages.map(({ seq }) => seq)).sort((a, b) => a - b),
    Array.from({ length: 200 }, (_, i) => i + 1),
  );
  t.equal(
    appends.reduce((sum, n) => sum + n, 0),
    100 * 3 + 5,
  );
  t.ok(appends.length < 30, `100 batches left in ${appends.length} windows`);
  await w.close();
});

t.test('a window is answered when both log and store have it, never before', async (t) => {
  const w = await worldIn(t);
  const held = gated(w.store);
  const sequencer = over(w, held.gate);
  await sequencer.recover();
  held.close();
  let answered = 0;
  const size = w.transcript.size;
  const first = sequencer.submit(w.alice.batch(w.conversation, ['1'], [w.bob.device.id])).finally(() => answered++);
  await held.next();
  while (w.transcript.size === size) await new Promise(setImmediate);
  const rest = [w.alice.batch(w.conversation, ['2'], []), w.bob.batch(w.conversation, ['3'], [])].map((s) =>
    sequencer.submit(s).finally(() => answered++),
  );
  await new Promise(setImmediate);
  t.equal(answered, 0, 'the log has it, the store has not');
  held.windows.splice(0).forEach(({ go }) => go());
  t.equal((await first).repeated, false);
  held.open();
  await Promise.all(rest);
  t.equal(answered, 3);
  await w.close();
});

t.test('what is refused leaves no trace, and the right batch is accepted afterwards', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const to = [bob.device.id];
  const first = alice.batch(conversation, ['first'], to);
  await w.sequencer.submit(first);
  const { size } = w.transcript;
  const good = alice.batch(conversation, ['second', 'third'], to, { peek: true });
  const [m0, m1] = good.messages as [Submission['messages'][0], Submission['messages'][0]];
  const flipped = (bytes: Uint8Array, at: number) => {
    const copy = Buffer.from(bytes);
    copy[at]! ^= 1;
    return copy;
  };
  const peek = (o: Parameters<typeof alice.batch>[3]) =>
    alice.batch(conversation, ['second'], to, { ...o, peek: true });
  const cases: [string, Submission, { code: string; sub?: string; field?: string }][] = [
    ['no batch statement', { ...good, batch: good.batch.subarray(1) }, { code: 'BAD_FRAME', field: 'bs.length' }],
    [
      'no message statement',
      { ...good, messages: [m0, { ...m1, statement: m1.statement.subarray(1) }] },
      { code: 'BAD_FRAME', field: 'ms.length' },
    ],
    [
      'reserved byte',
      { ...good, messages: [m0, { ...m1, statement: flipped(m1.statement, 9) }] },
      { code: 'BAD_FRAME', field: 'ms.reserved' },
    ],
    [
      'another certificate than the connection',
      { ...good, device: { ...good.device, fingerprint: bob.device.fingerprint } },
      { code: 'SIG_FAIL', sub: 'sender' },
    ],
    [
      'other parts',
      { ...good, messages: [m0, { ...m1, parts: [Buffer.from('thirD')] }] },
      { code: 'SIG_FAIL', sub: 'ciphertext', field: 'msg_send.messages[1].parts' },
    ],
    [
      'one part more',
      { ...good, messages: [{ ...m0, parts: [...m0.parts, Buffer.alloc(0)] }, m1] },
      { code: 'SIG_FAIL', sub: 'ciphertext', field: 'msg_send.messages[0].parts' },
    ],
    ['another signature', { ...good, signature: flipped(good.signature, 3) }, { code: 'SIG_FAIL', sub: 'batch' }],
    ['another algorithm', { ...good, algorithm: 2 }, { code: 'SIG_FAIL', sub: 'batch' }],
    [
      'another key',
      { ...good, device: { ...good.device, publicKey: bob.publicKey } },
      { code: 'SIG_FAIL', sub: 'batch' },
    ],
    [
      'a message too few',
      { ...good, messages: [m0] },
      { code: 'LINEAGE', sub: 'e_batch_short', field: 'msg_send.batch' },
    ],
    ['messages in another order', { ...good, messages: [m1, m0] }, { code: 'LINEAGE', sub: 'e_batch_root' }],
    [
      'for another log',
      peek({ audience: 'localhost/log/n2' }),
      { code: 'LINEAGE', sub: 'e_audience', field: 'msg_send.batch' },
    ],
    ['a gap', peek({ firstCtr: 3 }), { code: 'COUNTER_GAP', field: 'msg_send.batch' }],
    ['a gap of one batch', peek({ firstCtr: 1000 }), { code: 'COUNTER_GAP' }],
    ['a counter used for another batch', peek({ firstCtr: 1 }), { code: 'COUNTER_REUSED', field: 'msg_send.batch' }],
    [
      'another batch before',
      peek({ prevBatch: leafHash(Buffer.from('x')) }),
      { code: 'LINEAGE', sub: 'e_batch_chain' },
    ],
    [
      'a message of another session',
      peek({ msSession: bob.session }),
      { code: 'LINEAGE', sub: 'e_leaf', field: 'msg_send.messages[0].statement' },
    ],
    ['a gap in the conversation', peek({ convCtr: 3 }), { code: 'LINEAGE', sub: 'e_conv_gap' }],
    ['no link', peek({ prevConv: NO_HASH }), { code: 'LINEAGE', sub: 'e_conv_link' }],
    ['another link', peek({ prevConv: leafHash(Buffer.from('x')) }), { code: 'LINEAGE', sub: 'e_conv_link' }],
    [
      'a chain that no entry can hold',
      {
        ...bob.batch(conversation, ['x'], [], { peek: true }),
        device: { ...bob.batch(conversation, ['x'], [], { peek: true }).device, chain: [Buffer.alloc(70_000, 1)] },
      },
      { code: 'BAD_FRAME', field: 'leaf.length' },
    ],
  ];
  for (const [name, submission, refusal] of cases) await t.rejects(w.sequencer.submit(submission), refusal, name);
  t.equal(w.transcript.size, size, 'the log');
  t.equal(await w.store.logSize(ORIGIN), size, 'the store');
  t.equal((await w.store.backlog(bob.device.id, 0, 10, 1e6)).items.length, 1);
  const got = await w.sequencer.submit(alice.batch(conversation, ['second', 'third'], to));
  t.match(got, { firstIndex: size, messages: [{ seq: 2 }, { seq: 3 }] });
  await w.sequencer.submit(bob.batch(conversation, ['x'], []));
  await w.close();
});

t.test('batches of one sender keep their order, and one that is refused takes those behind it along', async (t) => {
  const w = await worldIn(t);
  const [a, b, c] = ['a', 'b', 'c'].map((text) => w.alice.batch(w.conversation, [text], [])) as [
    Submission,
    Submission,
    Submission,
  ];
  const bad = { ...b, signature: Buffer.alloc(64) };
  const results = await Promise.allSettled([a, bad, c].map((s) => w.sequencer.submit(s)));
  t.match(results, [{ status: 'fulfilled' }, { reason: { code: 'SIG_FAIL' } }, { reason: { code: 'COUNTER_GAP' } }]);
  const again = await Promise.all([b, c].map((s) => w.sequencer.submit(s)));
  t.ok(again[0]!.firstIndex < again[1]!.firstIndex);
  w.alice.newSession();
  const next = await w.sequencer.submit(w.alice.batch(w.conversation, ['d'], []));
  t.equal(next.messages[0]!.seq, 4, 'a new session links to the last message of the old one');
  await w.close();
});

t.test('what is on its way counts: links over sessions, and certificates', async (t) => {
  const w = await worldIn(t);
  const dave = await w.device('dave');
  const held = gated(w.store);
  const sequencer = over(w, held.gate);
  for (const sender of [w.alice, w.bob]) await sequencer.submit(sender.batch(w.conversation, ['0'], []));
  held.close();
  const first = sequencer.submit(w.alice.batch(w.conversation, ['1'], []));
  await held.next();
  w.alice.newSession();
  const next = sequencer.submit(w.alice.batch(w.conversation, ['2'], []));
  const three = ['3', '4', '5'].map((text) => sequencer.submit(dave.batch(w.conversation, [text], [])));
  // Each sender's batches are judged in turn: when this one is refused, those before it wait for the next window.
  const gap = (sender: typeof dave) =>
    t.rejects(sequencer.submit(sender.batch(w.conversation, ['x'], [], { peek: true, firstCtr: 90 })), {
      code: 'COUNTER_GAP',
    });
  await Promise.all([gap(dave), gap(w.alice)]);
  held.open();
  const got = await Promise.all([first, next, ...three]);
  t.strictSame(
    got.slice(1).map(({ evidence }) => evidence.checkpoint.size),
    Array(4).fill(w.transcript.size),
    'one window',
  );
  const types = (await w.transcript.entries(0, w.transcript.size)).map((bytes) => decodeLeaf(bytes).type);
  t.equal(types.filter((type) => type === 'cert').length, 4, 'server, bob, alice, dave: once each');
  await sequencer.drain();
  await w.close();
});

t.test('an opening is judged by how the session it follows ends in the log, not in the store', async (t) => {
  const w = await worldIn(t);
  const renewed = await w.device('renewed'); // another certificate of the same device, say
  const held = gated(w.store);
  const sequencer = over(w, held.gate);
  await sequencer.submit(w.alice.batch(w.conversation, ['1'], []));
  const old = w.alice.end;
  held.close();
  const second = sequencer.submit(w.alice.batch(w.conversation, ['2'], []));
  await held.next();
  const third = sequencer.submit(w.alice.batch(w.conversation, ['3'], []));
  await new Promise(setImmediate);
  await t.rejects(sequencer.submit(renewed.opening(old)), { code: 'LINEAGE', sub: 'e_session_link' });
  const opened = sequencer.submit(renewed.opening(w.alice.end));
  held.open();
  await Promise.all([second, third, opened]);
  const more = sequencer.submit(w.alice.batch(w.conversation, ['4'], []));
  await t.rejects(sequencer.submit(renewed.opening(old)), { code: 'LINEAGE', sub: 'e_session_link' });
  await more;
  await sequencer.drain();
  const later = over(w, w.store);
  await later.submit(renewed.opening(w.alice.end));
  t.pass('and the store knows it later');
  await later.drain();
  await w.close();
});

t.test('whoever could not be told is told when the batch is repeated, once', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const sent = alice.batch(conversation, ['one'], [bob.device.id]);
  const failing = (): never => {
    throw new TypeError('a defect of ours');
  };
  await t.rejects(
    w.sequencer.submit(sent, failing),
    { code: 'UNAVAILABLE' },
    'what is in the log is not refused for good',
  );
  const told: boolean[] = [];
  for (let i = 0; i < 2; i++)
    await w.sequencer.submit(sent, ({ repeated, unoffered }) => void told.push(repeated, unoffered));
  t.strictSame(told, [true, true, true, false]);
  await w.close();
});

t.test(
  'who floods keeps nobody waiting for more than a few of his batches, and gives way to nobody else’s',
  async (t) => {
    const w = await worldIn(t);
    const { alice, bob, conversation } = w;
    const order: string[] = [];
    const delivered = Promise.withResolvers<void>();
    const flood = Array.from({ length: 10 }, (_, i) =>
      w.sequencer.submit(alice.batch(conversation, Array(1000).fill('x'), [bob.device.id]), async () => {
        order.push(`flood ${i}`);
        await delivered.promise;
      }),
    );
    while (order.length === 0) await new Promise(setImmediate);
    for (let i = 0; i < 100; i++) await new Promise(setImmediate);
    t.strictSame(order, ['flood 0'], 'others wait until that is delivered');
    await w.sequencer.submit(bob.batch(conversation, ['y'], []), () => void order.push('calm'));
    t.strictSame(order, ['flood 0', 'calm']);
    delivered.resolve();
    await Promise.all(flood);
    t.equal(order.length, 11);
    await w.close();
  },
);

t.test('who brings much waits while too much waits for the database, and nobody else does', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const relief = Promise.withResolvers<void>();
  let isBusy = true;
  const store: Store = Object.create(w.store, {
    relief: { value: () => (isBusy ? relief.promise : null) },
  }) as Store;
  const sequencer = over(w, store);
  const flood = () => sequencer.submit(alice.batch(conversation, Array(1000).fill('x'), [bob.device.id]));
  await flood();
  let second = false;
  const waiting = flood().then(() => (second = true));
  for (const body of ['y', 'z']) await sequencer.submit(bob.batch(conversation, [body], []));
  for (let i = 0; i < 100; i++) await new Promise(setImmediate);
  t.equal(second, false);
  isBusy = false;
  relief.resolve();
  await waiting;
  t.ok(second);
  await w.close();
});

t.test('a repetition gets the same answer: at once, later, and after a restart', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const sent = alice.batch(conversation, ['one', 'two'], [bob.device.id]);
  const [first, twin] = await Promise.all([w.sequencer.submit(sent), w.sequencer.submit(sent)]);
  t.strictSame([first.repeated, twin.repeated], [false, true], 'both on their way');
  t.strictSame(
    twin.messages.map(({ cursors }) => cursors),
    [[], []],
  );
  const other = await w.sequencer.submit(bob.batch(conversation, ['three'], []));
  const check = async (when: string) => {
    const again = await w.sequencer.submit(sent);
    holds(t, w, sent, again);
    t.match(
      again,
      { firstIndex: first.firstIndex, repeated: true, messages: [{ seq: 1, cursors: [] }, { seq: 2 }] },
      when,
    );
    t.equal(again.evidence.checkpoint.size, w.transcript.size);
    const peek = alice.batch(conversation, ['other'], [], { peek: true, firstCtr: 2 });
    await t.rejects(w.sequencer.submit(peek), { code: 'COUNTER_REUSED' }, 'a counter inside of the batch');
  };
  await check('later');
  await w.close();
  await w.reopen();
  await check('after a restart');
  t.equal(w.transcript.size, other.firstIndex + 2);
  t.equal((await w.store.backlog(bob.device.id, 0, 10, 1e6)).items.length, 2, 'queued once');
  const next = await w.sequencer.submit(alice.batch(conversation, ['four'], []));
  t.equal(next.messages[0]!.seq, 4, 'and the lineage goes on');

  const refusal = new ChatError('NOT_FOUND', 'no such conversation');
  t.match(await w.sequencer.submit({ ...sent, refusal }), { repeated: true }, 'whatever has become of the sender');
  const late = alice.batch(conversation, ['five'], [bob.device.id], { peek: true });
  await t.rejects(w.sequencer.submit({ ...late, refusal }), refusal, 'but only the answer is to be had');
  t.match(await w.sequencer.submit(late), { repeated: false, messages: [{ seq: 5 }] }, 'nothing of it was taken');
  await w.close();
});

t.test('what fails behind the commit is no refusal: the sender repeats, and gets his acknowledgement', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const lines: string[] = [];
  const log = { ...silent, warn: (event: string) => void lines.push(event), error: silent.warn };
  const sequencer = over(w, w.store, { log });
  const { ack } = Proofs.prototype;
  const damaged = async () => {
    throw new ChatError('LOG_CORRUPT', 'a hash tile is damaged');
  };
  Proofs.prototype.ack = damaged;
  const sent = alice.batch(conversation, ['one'], [bob.device.id]);
  const now = sequencer.submit(sent);
  const refused = { code: 'UNAVAILABLE', retryAfterMs: 1000 };
  await t.rejects(now, refused);
  t.strictSame(lines, ['transcript.failed'], 'the operator is told');
  t.equal((await w.store.backlog(bob.device.id, 0, 10, 1e6)).items.length, 1, 'it is in log and queue');
  await t.rejects(sequencer.submit(sent), refused, 'a repetition that meets the same');
  w.transcript.entries = damaged;
  await t.rejects(sequencer.submit(sent), refused, 'or another failure');
  Reflect.deleteProperty(w.transcript, 'entries');
  Proofs.prototype.ack = ack;
  const again = await sequencer.submit(sent);
  holds(t, w, sent, again);
  t.match(again, { repeated: true, messages: [{ seq: 1 }] });
  const next = await sequencer.submit(alice.batch(conversation, ['two'], []));
  t.equal(next.messages[0]!.seq, 2, 'once in the conversation');
  await w.close();
});

t.test('a renewed server certificate has its place among the windows, in log and store', async (t) => {
  const w = await worldIn(t);
  const { alice, conversation } = w;
  const { gate, open, close, next } = gated(w.store);
  const sequencer = over(w, gate);
  const renewed = keys.ca.server({ notBefore: NOW - 1000, notAfter: LATER });
  close();
  const first = sequencer.submit(alice.batch(conversation, ['one'], []));
  await next();
  const vouched = sequencer.vouch({ chain: [renewed.der], privateKey: renewed.key });
  const second = sequencer.submit(alice.batch(conversation, ['two'], []));
  open();
  await Promise.all([first, vouched, second]);
  t.strictSame(
    (await w.transcript.entries(2, w.transcript.size)).map((bytes) => decodeLeaf(bytes).type),
    ['cert', 'sigb', 'msg', 'cert', 'key', 'sigb', 'msg'],
  );
  t.equal(await w.store.logSize(w.transcript.origin), w.transcript.size);
  const other = keys.ca.server({ san: ['DNS:other.example'], notBefore: NOW - 1000, notAfter: LATER });
  await t.rejects(sequencer.vouch({ chain: [other.der], privateKey: other.key }), {
    code: 'BAD_CERT',
    sub: 'wrong_host',
  });
  await sequencer.submit(alice.batch(conversation, ['three'], []));
  await sequencer.drain();
  await t.rejects(sequencer.vouch({ chain: [renewed.der], privateKey: renewed.key }), { code: 'SHUTTING_DOWN' });
  await w.close();
});

t.test('what comes in the moment in which the last work ends is done as well', async (t) => {
  const w = await worldIn(t);
  const { sequencer, transcript } = w;
  const enter = () => sequencer.enter((serverTime) => [{ type: 'time', serverTime, stamp: new Uint8Array([1]) }]);
  const before = transcript.size;
  for (let turns = 0; turns < 10; turns++) {
    await enter();
    for (let turn = 0; turn < turns; turn++) await null;
    t.match(await enter(), { firstIndex: before + 2 * turns + 1 }, `${turns} microtasks later`);
  }
  await w.close();
});

t.test(
  'what another certificate of the same user has signed is answered if the log has it, and only then',
  async (t) => {
    const w = await worldIn(t);
    const { alice, bob, conversation } = w;
    const phone = await w.device('phone'); // of somebody else
    const sent = alice.batch(conversation, ['one'], [bob.device.id]);
    const first = await w.sequencer.submit(sent);
    const renewed = { ...sent.device, id: 99, fingerprint: phone.device.fingerprint, chain: phone.chain };
    const again = await w.sequencer.submit({ ...sent, device: renewed });
    holds(t, w, sent, again);
    t.match(again, { firstIndex: first.firstIndex, repeated: true });
    t.equal(w.transcript.size, first.firstIndex + 2, 'nothing is logged');
    const refused = { code: 'SIG_FAIL', sub: 'sender' };
    await t.rejects(
      w.sequencer.submit({ ...sent, device: bob.batch(conversation, ['x'], [], { peek: true }).device }),
      refused,
    );
    const unsent = alice.batch(conversation, ['two'], [bob.device.id]);
    await t.rejects(w.sequencer.submit({ ...unsent, device: renewed }), refused, 'never logged');
    const other = alice.batch(conversation, ['other'], [], { peek: true, firstCtr: 1, prevBatch: NO_HASH });
    await t.rejects(w.sequencer.submit({ ...other, device: renewed }), { code: 'COUNTER_REUSED' }, 'other bytes');
    const swapped = {
      ...sent,
      device: renewed,
      messages: sent.messages.map((m) => ({ ...m, parts: [Buffer.from('lie')] })),
    };
    await t.rejects(w.sequencer.submit(swapped), { code: 'SIG_FAIL', sub: 'ciphertext' });
    await w.close();
  },
);

t.test('different bytes under the counters of a batch on its way are refused', async (t) => {
  const w = await worldIn(t);
  await w.sequencer.submit(w.alice.batch(w.conversation, ['zero'], [])); // or the wait for the certificate would outlast the first
  const other = w.alice.batch(w.conversation, ['other'], [], { peek: true });
  const results = await Promise.allSettled([
    w.sequencer.submit(w.alice.batch(w.conversation, ['one'], [])),
    w.sequencer.submit(other),
  ]);
  t.match(results, [{ status: 'fulfilled' }, { reason: { code: 'COUNTER_REUSED' } }]);
  await w.close();
});

t.test('a store that fails: nothing is answered, new batches are refused, and the window is kept', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  await w.sequencer.submit(alice.batch(conversation, ['0'], []));
  let failures = 0;
  let left = 3;
  const { commitWindow } = w.store;
  const refusals: ChatError[] = [];
  const flaky: Store = Object.create(w.store, {
    commitWindow: {
      value: async (window: Parameters<Store['commitWindow']>[0]) => {
        if (left-- <= 0) return commitWindow.call(w.store, window);
        failures++;
        if (failures === 2)
          for (const s of [
            bob.batch(conversation, ['x'], [], { peek: true }),
            alice.batch(conversation, ['y'], [], { peek: true }),
          ])
            await sequencer.submit(s).catch((error: ChatError) => refusals.push(error));
        throw new ChatError('STORE_FAILED', 'injected');
      },
    },
  });
  const sequencer = over(w, flaky);
  await sequencer.recover();
  const sent = alice.batch(conversation, ['1'], [bob.device.id]);
  const accepted = sequencer.submit(sent);
  // Behind it in the queue: refused, and not forgotten to be forgotten.
  const behind = alice.batch(conversation, ['2'], []);
  const queued = sequencer.submit(behind).catch((error: ChatError) => error);
  const got = await accepted;
  t.equal(failures, 3);
  holds(t, w, sent, got);
  t.match(refusals, [{ code: 'UNAVAILABLE', retryAfterMs: 1000 }, { code: 'UNAVAILABLE' }]);
  const second = await queued;
  if (second instanceof ChatError) t.match(second, { code: 'UNAVAILABLE', retryAfterMs: 1000 });
  const again = await sequencer.submit(behind);
  t.equal(again.messages[0]!.seq, 3);
  t.equal((await w.store.backlog(bob.device.id, 0, 10, 1e6)).items.length, 1);
  t.equal(await w.store.logSize(ORIGIN), w.transcript.size);
  await sequencer.drain();
  await w.close();
});

t.test('what was loaded while the store lacked a window is not believed afterwards', async (t) => {
  const w = await worldIn(t);
  let failures = 0;
  let questions = 0;
  let goOn = (): void => undefined;
  const isDown = new Promise<void>((resolve) => (goOn = resolve));
  let answered: Promise<unknown> = Promise.resolve();
  const store: Store = Object.create(w.store, {
    isCertificateLogged: {
      value: async (...which: Parameters<Store['isCertificateLogged']>) => {
        if (++questions === 2) await isDown;
        return w.store.isCertificateLogged(...which);
      },
    },
    commitWindow: {
      value: async (window: Parameters<Store['commitWindow']>[0]) => {
        if (failures++ === 0) throw new ChatError('STORE_FAILED', 'injected');
        goOn();
        await answered;
        return w.store.commitWindow(window);
      },
    },
  });
  const sequencer = over(w, store);
  const first = sequencer.submit(w.alice.batch(w.conversation, ['1'], []));
  const second = w.alice.batch(w.conversation, ['2'], []);
  answered = sequencer.submit(second).catch((error: unknown) => error);
  t.equal((await first).messages[0]!.seq, 1);
  t.match(await answered, { code: 'UNAVAILABLE' });
  t.equal((await sequencer.submit(second)).messages[0]!.seq, 2);
  await sequencer.drain();
  await w.close();
});

t.test(
  'the server ends while the store is down: recovery brings the window, the repetition its contents',
  async (t) => {
    const w = await worldIn(t);
    const { alice, bob, conversation } = w;
    const down: Store = Object.create(w.store, {
      commitWindow: { value: () => Promise.reject(new ChatError('STORE_FAILED', 'injected')) },
    });

    const size = w.transcript.size;
    const sequencer = over(w, down, { retryMs: 60_000 });
    const sent = alice.batch(conversation, ['one', 'two'], [bob.device.id]);
    const answer = sequencer.submit(sent).catch((error: unknown) => error);
    while (w.transcript.size === size) await new Promise(setImmediate);
    await sequencer.drain();
    t.match(await answer, { code: 'UNAVAILABLE' });
    await t.rejects(sequencer.submit(sent), { code: 'SHUTTING_DOWN' });
    await w.close();

    await w.reopen();
    t.equal(await w.store.logSize(ORIGIN), w.transcript.size);
    t.ok(await w.store.isCertificateLogged(ORIGIN, alice.device.fingerprint));
    t.equal((await w.store.backlog(bob.device.id, 0, 10, 1e6)).items.length, 0, 'nobody has the contents');
    const foreign = alice.batch(conversation, ['other'], [], { peek: true, firstCtr: 1, prevBatch: NO_HASH });
    await t.rejects(w.sequencer.submit(foreign), { code: 'COUNTER_REUSED' });
    const after = await w.sequencer.submit(alice.batch(conversation, ['three'], [bob.device.id]));
    t.equal(after.messages[0]!.seq, 3, 'the places of the others are kept');
    const again = await w.sequencer.submit(sent);
    holds(t, w, sent, again);
    t.match(again, { repeated: false, messages: [{ seq: 1 }, { seq: 2 }] }, 'now they are queued');
    t.ok(again.messages.every(({ cursors }) => cursors.length === 1));
    t.equal((await w.sequencer.submit(sent)).repeated, true);
    t.strictSame(
      (await w.store.backlog(bob.device.id, 0, 10, 1e6)).items
        .map((item) => item.kind === 'message' && item.seq)
        .sort(),
      [1, 2, 3],
    );
    await w.close();
  },
);

t.test(
  'after a crash a batch is repeated twice at once, for other recipients: each is told his own cursors',
  async (t) => {
    const w = await worldIn(t);
    const { alice, bob, conversation } = w;
    const carol = await w.device('carol');
    for (const text of ['a', 'b']) await w.sequencer.submit(alice.batch(conversation, [text], [carol.device.id]));
    const down: Store = Object.create(w.store, {
      commitWindow: { value: () => Promise.reject(new ChatError('STORE_FAILED', 'injected')) },
    });
    const { size } = w.transcript;
    const crashing = over(w, down, { retryMs: 60_000 });
    const sent = alice.batch(conversation, ['one', 'two'], [bob.device.id, carol.device.id]);
    const lost = crashing.submit(sent).catch((error: unknown) => error);
    while (w.transcript.size === size) await new Promise(setImmediate);
    await crashing.drain();
    t.match(await lost, { code: 'UNAVAILABLE' });
    await w.close();
    await w.reopen();

    const both = Promise.withResolvers<void>();
    let waiting = 0;
    const late: Store = Object.create(w.store, {
      complete: {
        value: async (...which: Parameters<Store['complete']>) => {
          if (++waiting === 2) both.resolve();
          await both.promise; // neither has seen what the other brings
          return w.store.complete(...which);
        },
      },
    });
    const sequencer = over(w, late);
    const left = [carol.device.id];
    const without = { ...sent, messages: sent.messages.map((m) => ({ ...m, recipients: left, peers: left })) };
    const [first, second] = await Promise.all([sequencer.submit(sent), sequencer.submit(without)]);
    for (const [answer, submission] of [
      [first, sent],
      [second, without],
    ] as const)
      holds(t, w, submission, answer);
    const [teller, other] = first.repeated ? [second, first] : [first, second];
    t.strictSame([teller.repeated, other.repeated], [false, true], 'one of the two has queued it');
    t.strictSame(
      other.messages.map(({ seq, cursors }) => [seq, cursors]),
      [
        [3, []],
        [4, []],
      ],
      'the other tells nobody',
    );
    const at = teller.messages[0]!.recipients.indexOf(carol.device.id);
    t.strictSame(
      (await w.store.backlog(carol.device.id, 2, 10, 1e6)).items.map(({ cursor }) => cursor),
      teller.messages.map(({ cursors }) => cursors[at]),
    );
    await w.close();
  },
);

t.test(
  'after a crash a repetition brings the contents and cannot be answered: the next one has them offered',
  async (t) => {
    const w = await worldIn(t);
    const { alice, bob, conversation } = w;
    const down: Store = Object.create(w.store, {
      commitWindow: { value: () => Promise.reject(new ChatError('STORE_FAILED', 'injected')) },
    });
    const { size } = w.transcript;
    const crashing = over(w, down, { retryMs: 60_000 });
    const sent = alice.batch(conversation, ['one'], [bob.device.id]);
    const lost = crashing.submit(sent).catch((error: unknown) => error);
    while (w.transcript.size === size) await new Promise(setImmediate);
    await crashing.drain();
    t.match(await lost, { code: 'UNAVAILABLE' });
    await w.close();
    await w.reopen();

    const full: Store = Object.create(w.store, {
      complete: { value: () => Promise.reject(new ChatError('DISK_FULL', 'injected')) },
    });
    await t.rejects(over(w, full).submit(sent), { code: 'DISK_FULL' });
    const { entries } = w.transcript;
    w.transcript.entries = () => Promise.reject(new ChatError('LOG_CORRUPT', 'injected'));
    await t.rejects(w.sequencer.submit(sent), { code: 'UNAVAILABLE' });
    w.transcript.entries = entries;
    t.match(await w.sequencer.submit(sent), { repeated: true, unoffered: true });
    t.match(await w.sequencer.submit(sent), { repeated: true, unoffered: false });
    await w.close();
  },
);

t.test('the log has lost a window that the store has: it is taken back, and only that far', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  await w.sequencer.submit(alice.batch(conversation, ['one'], [bob.device.id]));
  const { size } = w.transcript;
  // What a crash leaves when the store was quicker than the log.
  const lost = alice.batch(conversation, ['two'], [bob.device.id]);
  w.transcript.append = () => Promise.reject(new ChatError('LOG_FAILED', 'injected'));
  await t.rejects(w.sequencer.submit(lost), { code: 'LOG_FAILED' });
  await t.rejects(
    w.sequencer.submit(bob.batch(conversation, ['x'], [], { peek: true })),
    { code: 'LOG_FAILED' },
    'and everything after it',
  );
  t.equal(await w.store.logSize(ORIGIN), size + 2, 'the store has it');
  await w.close();
  await w.reopen();
  t.equal(await w.store.logSize(ORIGIN), size);
  t.equal((await w.store.backlog(bob.device.id, 0, 10, 1e6)).items.length, 1);
  const again = await w.sequencer.submit(lost);
  t.match(again, { firstIndex: size, repeated: false, messages: [{ seq: 2 }] });
  await w.close();

  await w.reopen();
  await w.store.commitWindow({ origin: ORIGIN, logSize: w.transcript.size + 5000, batches: [], certificates: [] });
  await w.close();
  await t.rejects(w.reopen(), { code: 'ROLLBACK', message: /5\d\d\d entries/ }, 'more than a crash explains');
});

t.test('what no crash explains is not taken back: two windows, or a log that is gone', async (t) => {
  let now = NOW;
  const folder = t.testdir({ first: {}, other: {} });
  const w = await transcriptWorld(`${folder}/first`, { now: () => now }, {}, keys);
  const { alice, conversation } = w;
  const log = `${w.dir}/log`;
  await w.sequencer.submit(alice.batch(conversation, ['one'], []));
  await w.close();
  cpSync(log, `${w.dir}/earlier`, { recursive: true });
  await w.reopen();
  for (const text of ['two', 'three']) {
    now += 1000;
    await w.sequencer.submit(alice.batch(conversation, [text], []));
  }
  await w.close();
  rmSync(log, { recursive: true });
  cpSync(`${w.dir}/earlier`, log, { recursive: true });
  await t.rejects(w.reopen(), { code: 'ROLLBACK' });

  const fresh = await transcriptWorld(`${folder}/other`, {}, {}, keys);
  await fresh.close();
  rmSync(`${fresh.dir}/log`, { recursive: true });
  await t.rejects(fresh.reopen(), { code: 'ROLLBACK' });
});

t.test('a full disk: refused, undone, and accepted when there is room', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  await w.sequencer.submit(alice.batch(conversation, ['one'], []));
  const { makeRoom } = w.transcript;
  w.transcript.makeRoom = () => Promise.reject(new ChatError('DISK_FULL', 'injected'));
  const sent = alice.batch(conversation, ['two'], [bob.device.id]);
  const size = w.transcript.size;
  await t.rejects(w.sequencer.submit(sent), { code: 'DISK_FULL', retryAfterMs: 5000 });
  t.equal(await w.store.logSize(ORIGIN), size, 'the store did not hear of it');
  w.transcript.makeRoom = makeRoom;
  t.match(await w.sequencer.submit(sent), { repeated: false, messages: [{ seq: 2 }] });
  await w.close();
});

t.test('evidence of a message that the store has and the log not yet', async (t) => {
  const w = await worldIn(t);
  const { append } = w.transcript;
  let go = (): void => undefined;
  const wait = new Promise<void>((resolve) => (go = resolve));
  w.transcript.append = async function (window) {
    await wait;
    return append.call(this, window);
  };
  const sent = w.alice.batch(w.conversation, ['one'], [w.bob.device.id]);
  const accepted = w.sequencer.submit(sent);
  let queued;
  while (!(queued = (await w.store.backlog(w.bob.device.id, 0, 10, 1e6)).items[0])) await new Promise(setImmediate);
  t.equal(queued.kind === 'message' && queued.batchFirstIndex, 3);
  const evidence = w.sequencer.evidence(3);
  go();
  holds(t, w, sent, { ...(await accepted), evidence: await evidence });
  await w.close();
});

t.test('windows keep to their limits', async (t) => {
  const w = await worldIn(t);
  const windows: number[] = [];
  const { append } = w.transcript;
  w.transcript.append = async function (window) {
    windows.push(window.entries.length);
    return append.call(this, window);
  };
  const many = Array.from({ length: 1024 }, (_, i) => `${i}`);
  const batches = Array.from({ length: 6 }, () => w.alice.batch(w.conversation, many, []));
  const got = await Promise.all(batches.map((batch) => w.sequencer.submit(batch)));
  t.ok(windows.length >= 2 && Math.max(...windows) <= 4096, windows.join(' '));
  t.strictSame(
    got.map(({ messages }) => messages[0]!.seq),
    [1, 1025, 2049, 3073, 4097, 5121],
  );
  await w.transcript.publish();
  holds(t, w, batches[0]!, { ...got[0]!, evidence: await w.sequencer.evidence(got[0]!.firstIndex) });
  await w.close();
});

t.test('the time of the log never goes back', async (t) => {
  let now = NOW;
  const w = await transcriptWorld(t.testdir(), { now: () => now }, {}, keys);
  const times = [];
  for (const at of [NOW + 5, NOW - 60_000, NOW + 6]) {
    now = at;
    times.push((await w.sequencer.submit(w.alice.batch(w.conversation, ['x'], []))).serverTime);
  }
  t.strictSame(times, [NOW + 5, NOW + 5, NOW + 6]);
  await w.close();
});

t.test('nothing is logged under a time at which the certificate of its sender has ended', async (t) => {
  let now = NOW;
  const w = await transcriptWorld(t.testdir(), { now: () => now }, {}, keys);
  const { alice, bob, conversation, sequencer } = w;
  alice.until = NOW + 10;
  await sequencer.submit(bob.batch(conversation, ['first'], []));
  now = NOW + 10;
  t.equal((await sequencer.submit(alice.batch(conversation, ['in its last moment'], []))).serverTime, alice.until);
  now = NOW + 11;
  const refused = alice.batch(conversation, ['late'], []);
  await t.rejects(sequencer.submit(refused), { code: 'UNAVAILABLE' });
  now = NOW + 10;
  t.equal((await sequencer.submit(refused)).serverTime, alice.until, 'the refusal has left no trace');

  // It ends between admission and the window.
  const own = alice.batch(conversation, ['too late'], []);
  const device = {
    ...own.device,
    get until() {
      queueMicrotask(() => (now = NOW + 11));
      return alice.until;
    },
  };
  const beside = bob.batch(conversation, ['beside it'], []);
  const both = await Promise.allSettled([sequencer.submit({ ...own, device }), sequencer.submit(beside)]);
  t.match(both[0], { status: 'rejected', reason: { code: 'UNAVAILABLE' } });
  if (both[1].status === 'rejected') await sequencer.submit(beside);
  const leaves = (await w.transcript.entries(0, w.transcript.size)).map(decodeLeaf);
  const late = leaves.flatMap((leaf) => (leaf.type === 'sigb' && leaf.serverTime > alice.until ? [leaf.bs] : []));
  t.strictSame(
    late.map((bs) => Buffer.from(bs).subarray(8, 40)),
    [Buffer.from(bob.device.fingerprint)],
  );
  await w.close();
});

t.test('no batch is logged that no certificate of the server vouches for', async (t) => {
  let now = NOW;
  const ca = authority('Log CA', { notBefore: NOW - 1000, notAfter: LATER });
  const until = NOW + 5000;
  const w = await transcriptWorld(
    t.testdir(),
    { now: () => now },
    {},
    {
      ca,
      server: ca.server({ notBefore: NOW - 1000, notAfter: until }),
    },
  );
  now = until;
  await w.sequencer.submit(w.alice.batch(w.conversation, ['in its last moment'], []));
  now = until + 1;
  const late = w.alice.batch(w.conversation, ['late'], []);
  await t.rejects(w.sequencer.submit(late), { code: 'UNAVAILABLE' });
  const next = ca.server({ notBefore: until, notAfter: LATER });
  await w.sequencer.vouch({ chain: [next.der], privateKey: next.key });
  t.equal((await w.sequencer.submit(late)).serverTime, now, 'the next certificate');
  await w.close();
});
