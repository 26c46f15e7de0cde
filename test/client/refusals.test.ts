/** What becomes of a batch that was refused: what is withdrawn, waits, fails or goes alone, and how often something may be in vain. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { hex, type ConversationId } from '../../base/bytes.ts';
import { ChatError, type Code, type ErrorDetail } from '../../base/errors.ts';
import type { Composer } from '../../client/composer.ts';
import { Distant } from '../../client/e2ee/held.ts';
import type { Sketch } from '../../client/e2ee/sketch.ts';
import { NO_GROUP, type Group } from '../../client/group-state.ts';
import type { Groups } from '../../client/groups.ts';
import { isPassing, Refusals, waitMs } from '../../client/refusals.ts';
import type { Session } from '../../client/session.ts';
import type { Stage } from '../../client/stage.ts';
import type { StagedBatch } from '../../client/staged-batch.ts';
import type { Vault } from '../../client/vault.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { encodeMs, KIND, type MessageStatement } from '../../transcript/statement.ts';
import { ms } from '../transcript/sample.ts';
import { sessionOpening } from '../support/session-opening.ts';

const newId = (): ConversationId => randomBytes(32) as Uint8Array as ConversationId;
const [first, second] = [newId(), newId()];
const names = new Map([
  [hex(first), 'first'],
  [hex(second), 'second'],
]);
const nameOf = (id: ConversationId): string => names.get(hex(id))!;

/** The statement of something said in a conversation; in another group than that it is made in none. */
const said = (conversation: ConversationId, change: Partial<MessageStatement> = {}, epoch?: number) => ({
  statement: encodeMs(ms({ conversation, ...change })),
  parts: [Buffer.alloc(0)],
  ...(epoch !== undefined && { group: { generation: 1, epoch } }),
});
const opening = sessionOpening(ms().sender, ms().session, null, 1);
const unlinked = { convCtr: 0, prevConv: NO_HASH, rosterHash: NO_HASH, commitment: NO_HASH };
const receipt = (conversation: ConversationId) =>
  said(conversation, { kind: KIND.delivered, ciphertextBytes: 32, ...unlinked });
const commit = (conversation: ConversationId) => said(conversation, { kind: KIND.membership }, 3);
const batchOf = (messages: readonly unknown[], rows: readonly number[] = []): StagedBatch =>
  ({ messages, rows }) as unknown as StagedBatch;
const one = batchOf([said(first, {}, 3)], [7]);

/** Refusals beside things that write down what they are asked to do. */
function setting() {
  const calls: string[] = [];
  const note =
    <T>(name: string, answer?: T) =>
    (...args: readonly unknown[]): T => {
      const shown = args.map((arg) =>
        arg instanceof Uint8Array ? nameOf(arg as ConversationId) : JSON.stringify(arg),
      );
      calls.push(`${name}(${shown.join(', ')})`);
      return answer as T;
    };
  const state = {
    isOwn: true,
    defers: false,
    refresh: null as ChatError | null,
    group: { ...NO_GROUP, generation: 1, conversation: at(3) } as Group,
    furthest: { generation: 1, epoch: 3 },
  };
  const vault = {
    outgoing: {
      unstage: note('unstage'),
      dropReceipts: () => note('dropReceipts')(),
      fail: note('fail'),
      waitingIn: () => [1, 2],
    },
    message: (row: number) => (row === 2 ? null : { row }),
  };
  const groups = { stored: () => state.group, furthest: () => state.furthest, markBroken: note('markBroken') };
  const stage = {
    withdraw: async () => note('withdraw')(),
    restart: async () => note('restart')(),
    isOwn: () => state.isOwn,
  };
  const composer = {
    rest: note('rest'),
    pause: note('pause'),
    want: note('want'),
    overtaken: note('overtaken'),
    receiptAlone: note('receiptAlone'),
    defers: () => state.defers,
  };
  const session = {
    caughtUp: async () => note('caughtUp')(),
    rosters: {
      refresh: async (id: ConversationId) => {
        note('refresh')(id);
        if (state.refresh) throw state.refresh;
      },
    },
  } as unknown as Session;
  const refusals = new Refusals(
    vault as unknown as Vault,
    groups as unknown as Groups,
    stage as unknown as Stage,
    composer as unknown as Composer,
    { failed: ({ row }) => note('failed')(row), warn: (sentence) => calls.push(`warn: ${sentence}`) },
  );
  const settled = async (batch: StagedBatch, code: Code, detail: ErrorDetail = {}): Promise<string[]> => {
    await refusals.settle(session, batch, new ChatError(code, 'as it is', detail));
    return calls.splice(0);
  };
  return { refusals, state, settled, calls };
}
/** A group in this epoch. */
const at = (epoch: number) =>
  new Distant(
    1,
    { epoch } as Sketch,
    { snapshot: new Uint8Array(), deltas: [] } as unknown as ConstructorParameters<typeof Distant>[2],
  );

t.test('what goes away by itself is waited for, by whom it is about', async (t) => {
  const { settled } = setting();
  const both = batchOf([said(first), said(second)], [7, 8]);
  for (const code of ['RATE_LIMIT', 'UNAVAILABLE', 'STORE_FAILED', 'DISK_FULL', 'LOG_FAILED', 'LOCKED'] as const)
    t.strictSame(
      await settled(both, code, { field: 'msg_send.messages[1].statement', retryAfterMs: 70 }),
      ['withdraw()', 'rest(second, 70)'],
      code,
    );
  t.strictSame(await settled(both, 'RATE_LIMIT'), ['withdraw()', 'rest(first, 1000)', 'rest(second, 1000)']);
  const incomplete = { sub: 'incomplete', retryAfterMs: 70 };
  t.strictSame(await settled(one, 'UNAVAILABLE', incomplete), ['withdraw()', 'rest(first, 70)']);
  t.strictSame(
    await settled(batchOf([commit(first)]), 'UNAVAILABLE', incomplete),
    ['withdraw()', 'want(first, true)', 'rest(first, 70)'],
    'a commit may have no message behind it that asks for it again',
  );
});

t.test('how long is waited, and whether the same may be sent again', (t) => {
  const waits = [undefined, 0, 49, 50, 51, 86_400_000, 86_400_001].map((retryAfterMs) => waitMs({ retryAfterMs }));
  t.strictSame(waits, [1000, 50, 50, 50, 51, 86_400_000, 86_400_000]);
  const passes = (code: Code, detail: ErrorDetail = {}) => isPassing(new ChatError(code, '', detail));
  t.ok(passes('UNAVAILABLE'));
  t.notOk(passes('UNAVAILABLE', { sub: 'incomplete' }), 'it is about one conversation alone');
  t.ok(passes('RATE_LIMIT', { sub: 'incomplete' }));
  t.notOk(passes('QUOTA'));
  t.end();
});

t.test('other devices than it was made for: asked for, and made anew, but not for ever', async (t) => {
  const { settled, state, refusals } = setting();
  const both = batchOf([said(first), said(second)], [7, 8]);
  const stale = () => settled(both, 'STALE', { sub: 'roster', field: 'msg_send.messages[0].statement' });
  const asked = ['withdraw()', 'refresh(first)', 'refresh(second)'];
  for (let i = 0; i < 4; i++) t.strictSame(await stale(), asked, 'all in the batch');
  t.strictSame(await stale(), [...asked, 'pause(first)'], 'and the one that it is about is tried less often');
  t.strictSame(await stale(), [...asked, 'pause(first)']);
  refusals.accepted(both);
  for (let i = 0; i < 4; i++) t.strictSame(await stale(), asked);
  refusals.accepted(batchOf([said(second)]));
  t.strictSame(await stale(), [...asked, 'pause(first)'], 'that another one was taken says nothing of it');
  t.strictSame(await settled(batchOf([commit(first)]), 'STALE'), [
    'withdraw()',
    'want(first, true)',
    'refresh(first)',
    'pause(first)',
  ]);
  state.refresh = new ChatError('NOT_FOUND', 'closed');
  t.strictSame((await stale()).slice(0, 3), asked, 'where nothing goes any more, nothing is asked for');
  state.refresh = new ChatError('UNAVAILABLE', 'not now');
  await t.rejects(stale(), { code: 'UNAVAILABLE' });
});

const overtaken = { sub: 'epoch' };
const tried = ['withdraw()', 'caughtUp()'];

t.test('a group that the server knows in another state: what made that is on its way', async (t) => {
  const { settled, state } = setting();
  state.group = { ...state.group, conversation: at(4) };
  for (const furthest of [
    { generation: 1, epoch: 4 },
    { generation: 2, epoch: 0 },
  ]) {
    state.furthest = furthest;
    for (let i = 0; i < 5; i++)
      t.strictSame(await settled(one, 'STALE', overtaken), [...tried, 'overtaken(first)'], 'and was no try in vain');
  }
  t.strictSame(await settled(batchOf([commit(first)]), 'STALE', overtaken), [
    'withdraw()',
    'want(first, true)',
    'caughtUp()',
    'overtaken(first)',
  ]);
});

t.test('or was here and has been overlooked: after three times this device comes in anew', async (t) => {
  const { settled, state, refusals } = setting();
  const stale = () => settled(one, 'STALE', overtaken);
  for (const furthest of [
    { generation: 0, epoch: 9 },
    { generation: 1, epoch: 3 },
  ]) {
    state.furthest = furthest;
    for (let i = 0; i < 2; i++) t.strictSame(await stale(), tried);
    t.strictSame(await stale(), [...tried, 'markBroken(first)']);
    t.strictSame((await stale()).slice(0, 2), tried);
    refusals.accepted(one);
    for (let i = 0; i < 2; i++) t.strictSame(await stale(), tried, 'counted anew after something was taken');
    refusals.accepted(one);
  }
  const broken: boolean[] = [];
  for (let i = 0; i < 6; i++) broken.push((await stale()).includes('markBroken(first)'));
  t.strictSame(broken, [false, false, true, false, false, true], 'and after it has come in');
  refusals.accepted(one);
  for (const group of [
    { ...state.group, generation: 2 },
    { ...state.group, conversation: at(4) },
    { ...state.group, conversation: null },
  ]) {
    await stale();
    await stale();
    const before = state.group;
    state.group = group;
    t.strictSame(await stale(), tried, 'it is another than the batch was made in');
    state.group = before;
    refusals.accepted(one);
  }
});

t.test('in vain also after that: it is tried less and less often', async (t) => {
  const { settled, refusals } = setting();
  const rests: string[] = [];
  const stale = async () => rests.push(...(await settled(one, 'STALE', overtaken)).filter((call) => /rest/.test(call)));
  for (let i = 0; i < 3; i++) await stale();
  t.strictSame(rests, []);
  for (let i = 0; i < 7; i++) await stale();
  const seconds = [1, 2, 4, 8, 16, 30, 30];
  t.strictSame(
    rests.splice(0),
    seconds.map((each) => `rest(first, ${each * 1000})`),
  );
  refusals.accepted(one);
  for (let i = 0; i < 3; i++) await stale();
  t.strictSame(rests, [], 'counted anew after something was taken');
});

t.test('a lineage that the server does not continue: one new session for each connection', async (t) => {
  for (const code of ['COUNTER_GAP', 'COUNTER_REUSED', 'LINEAGE'] as const) {
    const { settled, refusals } = setting();
    const anew = await settled(one, code);
    t.match(anew[0], new RegExp(`^warn: the server knows other messages .*\\[${code}\\]`));
    t.strictSame(anew.slice(1), ['restart()']);
    t.strictSame(await settled(one, code), ['fail([7], ' + JSON.stringify(code) + ')', 'failed(7)']);
    refusals.begin();
    t.equal((await settled(one, code)).at(-1), 'restart()');
  }
});

t.test('signed before a renewal: signed anew; by the certificate of now: failed', async (t) => {
  const { settled, state } = setting();
  state.isOwn = false;
  t.strictSame(await settled(one, 'SIG_FAIL', { sub: 'sender' }), ['withdraw()']);
  t.strictSame(
    await settled(batchOf([commit(first)]), 'SIG_FAIL', { sub: 'sender' }),
    ['withdraw()', 'want(first, true)'],
    'a commit may have no message behind it that asks for it again',
  );
  t.strictSame(await settled(one, 'SIG_FAIL', { sub: 'batch' }), ['fail([7], "SIG_FAIL")', 'failed(7)']);
  t.strictSame(await settled(one, 'BAD_FRAME', { sub: 'epoch' }), ['fail([7], "BAD_FRAME")', 'failed(7)']);
  t.strictSame(await settled(one, 'BAD_FRAME', { sub: 'sender' }), ['fail([7], "BAD_FRAME")', 'failed(7)']);
  state.isOwn = true;
  t.strictSame(await settled(one, 'SIG_FAIL', { sub: 'sender' }), ['fail([7], "SIG_FAIL")', 'failed(7)']);
});

t.test('a commit that is refused: no message has failed', async (t) => {
  const { settled, state } = setting();
  const said = 'warn: what you write waits: as it is [QUOTA]';
  t.strictSame(await settled(batchOf([commit(first)]), 'QUOTA'), ['withdraw()', said, 'pause(first, 0)']);
  t.strictSame(await settled(batchOf([opening, commit(first)]), 'QUOTA', { retryAfterMs: 90 }), [
    'withdraw()',
    said,
    'pause(first, 90)',
  ]);
  state.defers = true;
  t.strictSame(await settled(batchOf([commit(first)]), 'QUOTA'), ['withdraw()'], 'nobody waits for it');
});

t.test('of several each goes alone; only one that was alone has failed', async (t) => {
  const { settled, refusals, calls } = setting();
  const alone = ['unstage(true)', 'receiptAlone()'];
  t.strictSame(await settled(batchOf([said(first), said(second)], [7, 8]), 'BLOCKED'), alone);
  t.strictSame(await settled(batchOf([said(first), receipt(second)], [7]), 'BLOCKED'), alone);
  t.strictSame(await settled(batchOf([opening, receipt(first), receipt(second)]), 'BLOCKED'), alone);
  t.strictSame(await settled(batchOf([opening, said(first)], [7]), 'BLOCKED'), ['fail([7], "BLOCKED")', 'failed(7)']);
  t.strictSame(await settled(batchOf([opening, receipt(first)]), 'BLOCKED'), ['dropReceipts()']);
  refusals.abandon(first, 'NOT_FOUND');
  t.strictSame(
    calls,
    ['fail([1,2], "NOT_FOUND")', 'failed(1)'],
    'all that waits, and what is not there any more is not told of',
  );
});
