import t from 'tap';
import type { ConversationId, Fingerprint, Hash, SessionId } from '../../base/bytes.ts';
import { decodeBatch, isAdmissible, judge, type Batch } from '../../transcript/lineage.ts';
import { LineageMemory } from '../../transcript/lineage-memory.ts';
import { leafHash, NO_HASH, rootOf } from '../../transcript/merkle.ts';
import { openingHash, type SessionEnd } from '../../transcript/opening.ts';
import {
  audienceOf,
  encodeBs,
  encodeMs,
  KIND,
  OPEN_BYTES,
  type BatchStatement,
  type MessageStatement,
} from '../../transcript/statement.ts';
import { bs, conversation, filled, fingerprint, ms, origin, refuses, session } from './sample.ts';

const AUDIENCE = audienceOf(origin);
const other = filled(0xc2) as Uint8Array as ConversationId;
const later = filled(0xb2, 16) as Uint8Array as SessionId;
const PLAIN = { convCtr: 0, prevConv: NO_HASH, rosterHash: NO_HASH, commitment: NO_HASH, parts: 1 };
const stranger = filled(0xee) as Uint8Array as Hash;

/** A device that keeps its books as a client does. */
class Device {
  session: SessionId = session;
  ctr = 0;
  prevBatch: Hash = NO_HASH;
  readonly #convCtr = new Map<ConversationId, number>();
  readonly #last = new Map<ConversationId, Hash>();

  /** One message for each conversation named; `message` and `batch` change what would be right. */
  say(
    rooms: readonly ConversationId[],
    message: (right: MessageStatement, i: number) => Partial<MessageStatement> = () => ({}),
    batch: (right: BatchStatement) => Partial<BatchStatement> = () => ({}),
  ): Batch {
    const firstCtr = this.ctr + 1;
    const messages = rooms.map((room, i) => {
      const convCtr = (this.#convCtr.get(room) ?? 0) + 1;
      const prevConv = this.#last.get(room) ?? NO_HASH;
      const right = ms({ session: this.session, sessionCtr: ++this.ctr, conversation: room, convCtr, prevConv });
      const bytes = encodeMs({ ...right, ...message(right, i) });
      this.#convCtr.set(room, convCtr);
      this.#last.set(room, leafHash(bytes));
      return bytes;
    });
    const right = bs(messages, { session: this.session, firstCtr, prevBatch: this.prevBatch });
    const bytes = encodeBs({ ...right, ...batch(right) });
    this.prevBatch = leafHash(bytes);
    return decodeBatch(bytes, messages);
  }

  /** Statements that are not threaded. */
  aside(room: ConversationId, ...forms: Partial<MessageStatement>[]): Batch {
    const firstCtr = this.ctr + 1;
    const messages = forms.map((form) =>
      encodeMs(ms({ session: this.session, sessionCtr: ++this.ctr, conversation: room, ...form })),
    );
    const bytes = encodeBs(bs(messages, { session: this.session, firstCtr, prevBatch: this.prevBatch }));
    this.prevBatch = leafHash(bytes);
    return decodeBatch(bytes, messages);
  }

  restart(keepsState: boolean): void {
    this.session = later;
    this.ctr = 0;
    this.prevBatch = NO_HASH;
    this.#convCtr.clear();
    if (!keepsState) this.#last.clear();
  }
}

/** A log that has admitted one batch of this device: two messages here, one there. */
function begun() {
  const device = new Device();
  const state = new LineageMemory();
  const admit = (batch: Batch) => {
    const judgement = judge(batch, AUDIENCE, state);
    state.apply(judgement.change);
    return judgement.findings.map(({ code, position }) => `${code}@${position}`);
  };
  const first = device.say([conversation, other, conversation]);
  return { device, state, admit, first, begin: admit(first) };
}

t.test('a faultless history', async (t) => {
  const { device, state, admit, begin } = begun();
  t.strictSame(begin, []);
  t.strictSame(admit(device.say([conversation])), []);
  t.strictSame(admit(device.say([other, other, conversation])), []);
  t.match(state.session(fingerprint, session), { lastCtr: 7, lastBatch: device.prevBatch });
  t.equal(state.convCtr(fingerprint, session, conversation), 4);
  t.equal(state.convCtr(fingerprint, session, other), 3);
  device.restart(true);
  t.strictSame(admit(device.say([conversation, other])), [], 'a later session links to the one before');
  t.equal(state.convCtr(fingerprint, later, conversation), 1);
  t.equal(state.convCtr(fingerprint, session, conversation), 4, 'counters belong to their session');
  t.strictSame(state.session(filled(0xa2) as Uint8Array as Fingerprint, session), undefined);
});

t.test('judging changes nothing until the change is applied', async (t) => {
  const { device, state } = begun();
  const next = device.say([conversation]);
  const before = state.session(fingerprint, session);
  t.strictSame(judge(next, AUDIENCE, state).findings, []);
  t.strictSame(judge(next, AUDIENCE, state).findings, []);
  t.strictSame(state.session(fingerprint, session), before);
});

type Change = [
  message: (right: MessageStatement, i: number) => Partial<MessageStatement>,
  batch?: (right: BatchStatement) => Partial<BatchStatement>,
];
const at = (position: number, change: (right: MessageStatement) => Partial<MessageStatement>): Change => [
  (right, i) => (i + 1 === position ? change(right) : {}),
];
const only = (batch: (right: BatchStatement) => Partial<BatchStatement>): Change => [() => ({}), batch];

t.test('every rule, broken alone in a batch of three', async (t) => {
  const rows: [name: string, change: Change, findings: string[]][] = [
    ['for another log', only(() => ({ audience: audienceOf('other.example/log/n1') })), ['E_AUDIENCE@0']],
    ['a message fewer than signed', only(() => ({ count: 4 })), ['E_BATCH_SHORT@0']],
    ['a message more than signed', only(() => ({ count: 2 })), ['E_BATCH_SHORT@0']],
    ['another root', only(() => ({ batchRoot: stranger })), ['E_BATCH_ROOT@0']],
    ['another batch before', only(() => ({ prevBatch: stranger })), ['E_BATCH_CHAIN@0']],
    ['no batch before', only(() => ({ prevBatch: NO_HASH })), ['E_BATCH_CHAIN@0']],
    [
      'session counter jumps',
      only((r) => ({ firstCtr: r.firstCtr + 5 })),
      ['E_CTR_GAP@0', ...[1, 2, 3].map((i) => `E_CTR_REGRESS@${i}`)],
    ],
    ['session counter from the past', only((r) => ({ firstCtr: r.firstCtr - 1 })), ['E_CTR_REGRESS@0']],
    ['counter jumps in the batch', at(2, (r) => ({ sessionCtr: r.sessionCtr + 1 })), ['E_CTR_GAP@2']],
    ['counter repeats in the batch', at(2, (r) => ({ sessionCtr: r.sessionCtr - 1 })), ['E_CTR_REGRESS@2']],
    ['another sender', at(3, () => ({ sender: filled(0xa2) as Uint8Array as Fingerprint })), ['E_LEAF@3']],
    ['another session', at(3, () => ({ session: later })), ['E_LEAF@3']],
    ['conversation counter jumps', at(2, (r) => ({ convCtr: r.convCtr + 1 })), ['E_CONV_GAP@2', 'E_CONV_GAP@3']],
    ['conversation counter repeats', at(3, (r) => ({ convCtr: r.convCtr - 1 })), ['E_CONV_GAP@3']],
    ['link broken within the batch', at(2, () => ({ prevConv: stranger })), ['E_CONV_LINK@2']],
    ['link to an earlier batch broken', at(1, () => ({ prevConv: stranger })), ['E_CONV_LINK@1']],
    ['link left out within a session', at(1, () => ({ prevConv: NO_HASH })), ['E_CONV_LINK@1']],
  ];
  for (const [name, [message, batch], findings] of rows) {
    const { device, state } = begun();
    const judgement = judge(device.say([conversation, conversation, conversation], message, batch), AUDIENCE, state);
    t.strictSame(
      judgement.findings.map(({ code, position }) => `${code}@${position}`),
      findings,
      name,
    );
    t.notOk(isAdmissible(judgement), `${name}: refused`);
  }
});

t.test('one fault is not found again in later batches', async (t) => {
  const { device, admit } = begun();
  t.strictSame(admit(device.say([conversation], () => ({ prevConv: stranger }))), ['E_CONV_LINK@1']);
  t.strictSame(admit(device.say([conversation])), []);
  device.say([conversation]); // never reaches the log
  t.strictSame(admit(device.say([conversation])), ['E_CTR_GAP@0', 'E_BATCH_CHAIN@0', 'E_CONV_GAP@1', 'E_CONV_LINK@1']);
  t.strictSame(admit(device.say([conversation, other])), []);
});

t.test('a replayed batch is found once and teaches nothing', async (t) => {
  const { device, state, admit, first } = begun();
  admit(device.say([conversation]));
  const before = state.session(fingerprint, session);
  t.strictSame(admit(first), ['E_CTR_REGRESS@0']);
  t.strictSame(state.session(fingerprint, session), before);
  t.strictSame(admit(device.say([conversation, other])), []);
});

t.test('the first message of a session in a conversation', async (t) => {
  const lost = begun();
  lost.device.restart(false);
  const restarted = lost.device.say([conversation]);
  const judgement = judge(restarted, AUDIENCE, lost.state);
  t.match(judgement.findings, [{ code: 'W_CONV_RESTART', position: 1 }]);
  t.ok(isAdmissible(judgement), 'a device that lost its state may go on');

  const kept = begun();
  kept.device.restart(true);
  t.strictSame(
    kept.admit(kept.device.say([conversation], () => ({ prevConv: stranger }))),
    ['E_CONV_LINK@1'],
    'not the last one',
  );
  const skipped = begun();
  skipped.device.restart(true);
  t.strictSame(
    skipped.admit(skipped.device.say([conversation], () => ({ convCtr: 2 }))),
    ['E_CONV_GAP@1'],
    'begins with 2',
  );
  const renewed = begun();
  renewed.device.restart(true);
  t.strictSame(
    renewed.admit(renewed.device.say([conversation], undefined, () => ({ prevBatch: stranger }))),
    ['E_BATCH_CHAIN@0'],
    'a batch before the first',
  );

  const moved = judge(
    new Device().say([conversation], () => ({ prevConv: stranger })),
    AUDIENCE,
    new LineageMemory(),
  );
  t.match(moved.findings, [{ code: 'W_CONV_ELSEWHERE', position: 1 }]);
  t.ok(isAdmissible(moved));
  const late = new Device();
  late.say([conversation]);
  t.strictSame(
    begun()
      .admit(late.say([conversation]))
      .at(0),
    'E_CTR_REGRESS@0',
    'an old batch of the same session',
  );
  const unknown = judge(late.say([conversation]), AUDIENCE, new LineageMemory());
  t.match(
    unknown.findings.map((f) => f.code),
    ['E_CTR_GAP', 'E_BATCH_CHAIN', 'E_CONV_GAP', 'W_CONV_ELSEWHERE'],
    'the middle of a session',
  );
});

t.test('receipts count in the session, and not in the conversation', async (t) => {
  const { device, state, admit } = begun();
  const receipt = () => ({ ...PLAIN, kind: KIND.delivered, ciphertextBytes: 32 });
  const before = state.lastLeaf(fingerprint, conversation);
  const { convCtr } = device.say([conversation]).messages[0]!.ms;
  const aside = begun();
  t.strictSame(aside.admit(aside.device.aside(conversation, receipt())), []);
  t.strictSame(aside.state.lastLeaf(fingerprint, conversation), before, 'no link leads to it');
  const next = aside.device.say([conversation]);
  t.equal(next.messages[0]!.ms.convCtr, convCtr);
  t.strictSame(aside.admit(next), [], 'and the next message follows the one before it');
  t.strictSame(
    admit(device.aside(conversation, receipt())),
    ['E_CTR_GAP@0', 'E_BATCH_CHAIN@0'],
    'as any statement of the session',
  );
});

t.test('nothing follows the close of a session', async (t) => {
  const close = { ...PLAIN, kind: KIND.close, ciphertextBytes: 0, conversation: NO_HASH as never };
  const { device, state, admit } = begun();
  t.strictSame(admit(device.aside(conversation, close)), []);
  t.equal(state.session(fingerprint, session)?.isClosed, true);
  t.strictSame(admit(device.say([conversation])), ['E_CLOSED@1']);
  t.strictSame(admit(device.say([conversation])), [], 'told once');
  const within = begun();
  const twice = within.device.aside(conversation, close, close);
  t.strictSame(within.admit(twice), ['E_CLOSED@2'], 'in one batch as well');
  device.restart(true);
  t.strictSame(admit(device.say([conversation])), [], 'another session begins');
});

t.test('an opening names how the session before ends', async (t) => {
  const opening = (before: SessionEnd | null) => ({
    ...PLAIN,
    kind: KIND.open,
    ciphertextBytes: OPEN_BYTES,
    conversation: NO_HASH as never,
    ciphertextHash: openingHash(before),
  });
  const rows: [name: string, change: (end: SessionEnd) => SessionEnd | null, findings: string[]][] = [
    ['as it is', (end) => end, []],
    ['none, and there is one: a device that lost its state', () => null, ['W_SESSION_RESTART@1']],
    ['further than it goes here', (end) => ({ ...end, lastCtr: end.lastCtr + 1 }), ['E_SESSION_LINK@1']],
    ['another last batch', (end) => ({ ...end, lastBatch: stranger }), ['E_SESSION_LINK@1']],
    ['one that is not here', (end) => ({ ...end, session: filled(0xb9, 16) as never }), ['E_SESSION_LINK@1']],
  ];
  for (const [name, change, findings] of rows) {
    const { device, state, admit } = begun();
    t.strictSame(admit(device.say([other])), []);
    const end = { session: device.session, lastCtr: device.ctr, lastBatch: device.prevBatch };
    device.restart(true);
    const batch = device.aside(conversation, opening(change(end)));
    const isRefused = findings.some((code) => code.startsWith('E_'));
    t.equal(isAdmissible(judge(batch, AUDIENCE, state)), !isRefused);
    t.strictSame(admit(batch), findings, name);
    t.strictSame(admit(device.say([conversation])), [], 'and it goes on');
  }
  const first = new Device();
  const alone = judge(first.aside(conversation, opening(null)), AUDIENCE, new LineageMemory());
  t.strictSame(alone.findings, [], 'the first session of all');
  const stale = begun();
  const early = { session, lastCtr: stale.device.ctr, lastBatch: stale.device.prevBatch };
  t.ok(stale.state.hasEnd(openingHash(early)));
  stale.admit(stale.device.say([other]));
  t.notOk(stale.state.hasEnd(openingHash(early)), 'it has gone on since');
});

t.test('sessions go on in the log of the next epoch', async (t) => {
  const next = (earlier: LineageMemory | undefined) => {
    const state = new LineageMemory(true, earlier);
    return (batch: Batch) => {
      const { findings, change } = judge(batch, AUDIENCE, state);
      state.apply(change);
      return findings.map(({ code, position }) => `${code}@${position}`);
    };
  };
  const whole = begun();
  const goesOn = next(whole.state);
  t.strictSame(goesOn(whole.device.say([conversation, other])), [], 'where it was, with its counters and links');
  t.strictSame(goesOn(whole.device.say([other])), []);

  const lost = begun();
  lost.device.say([conversation]); // logged, and lost with the log
  const after = next(lost.state);
  t.strictSame(
    after(lost.device.say([conversation, other])),
    ['W_SESSION_ELSEWHERE@0', 'W_CONV_ELSEWHERE@1'],
    'something is missing between the two',
  );
  t.strictSame(after(lost.device.say([conversation])), []);

  const replayed = begun();
  t.strictSame(next(replayed.state)(replayed.first), [], 'signed again around the same statements: once in each log');
  const repeated = next(replayed.state);
  repeated(replayed.first);
  t.strictSame(repeated(replayed.device.say([conversation])), [], 'and it goes on from there');
  t.strictSame(repeated(replayed.first), ['E_CTR_REGRESS@0'], 'but not twice in one');

  const back = begun();
  const old = back.device.say([conversation]);
  back.admit(old);
  back.admit(back.device.say([other]));
  t.strictSame(next(back.state)(old), ['E_CTR_REGRESS@0'], 'older than the last batch');

  const broken = begun();
  const other_ = broken.device.say(
    [conversation],
    () => ({ prevConv: stranger }),
    () => ({ prevBatch: stranger }),
  );
  t.strictSame(next(broken.state)(other_), ['E_BATCH_CHAIN@0', 'E_CONV_LINK@1']);
  const jumped = begun();
  t.strictSame(next(jumped.state)(jumped.device.say([conversation], () => ({ convCtr: 9 }))), ['E_CONV_GAP@1']);

  const close = { ...PLAIN, kind: KIND.close, ciphertextBytes: 0, conversation: NO_HASH as never };
  const closed = begun();
  closed.admit(closed.device.aside(conversation, close));
  t.strictSame(next(closed.state)(closed.device.say([conversation])), ['E_CLOSED@1']);
  t.ok(next(closed.state)(closed.device.say([conversation])).includes('E_CLOSED@1'), 'also behind a gap');

  const opened = (before: SessionEnd | null, earlier: LineageMemory | undefined) => {
    const device = new Device();
    device.restart(true);
    const form = {
      ...PLAIN,
      kind: KIND.open,
      ciphertextBytes: OPEN_BYTES,
      conversation: NO_HASH as never,
      ciphertextHash: openingHash(before),
    };
    return next(earlier)(device.aside(conversation, form));
  };
  const kept = begun();
  const end = { session, lastCtr: kept.device.ctr, lastBatch: kept.device.prevBatch };
  t.strictSame(opened(end, kept.state), []);
  t.strictSame(opened({ ...end, lastCtr: 9 }, kept.state), ['W_SESSION_ELSEWHERE@1'], 'its end is in none of them');
  t.strictSame(opened(end, undefined), ['W_SESSION_ELSEWHERE@1'], 'the log before is not at hand');
  t.strictSame(opened(null, kept.state), ['W_SESSION_RESTART@1']);
});

t.test('batches whose statements are malformed are not judged', async (t) => {
  const message = encodeMs(ms());
  const batch = encodeBs(bs([message]));
  t.match(decodeBatch(batch, [message]), { leaf: leafHash(batch), messages: [{ leaf: leafHash(message) }] });
  t.strictSame(decodeBatch(batch, [message]).bs.batchRoot, Buffer.from(rootOf([leafHash(message)])));
  const odd = Buffer.from(message);
  odd[8] = 9;
  refuses(t, () => decodeBatch(batch, [odd]), 'BAD_FRAME', 'ms.kind', 'a kind that does not exist');
  refuses(t, () => decodeBatch(batch.subarray(1), [message]), 'BAD_FRAME', 'bs.length', 'no batch statement');
});
