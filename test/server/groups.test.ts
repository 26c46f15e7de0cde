/** The state of groups as the sequencer judges it: ahead of the store, and never another one than the log's. */
import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { equal, hex, type ConversationId, type Hash } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { GroupCache } from '../../server/groups.ts';
import { AWAITED_MS } from '../../server/incomplete.ts';
import { Sequencer } from '../../server/sequencer.ts';
import type { Submission } from '../../server/submission.ts';
import type { GroupState } from '../../store/contract/conversations.ts';
import type { Store } from '../../store/store.ts';
import { memoryLog } from '../support/pair.ts';
import { NOW } from '../support/store-world.ts';
import { identity, silent, transcriptWorld, type Sender, type TranscriptWorld } from '../support/transcript-world.ts';

const keys = identity();
const worldIn = (t: Test): Promise<TranscriptWorld> => transcriptWorld(t.testdir(), {}, {}, keys);
const state = (generation: number, epoch: number): GroupState => ({ generation, epoch });
const incomplete = {
  code: 'UNAVAILABLE',
  sub: 'incomplete',
  field: 'msg_send.messages[0].group',
  retryAfterMs: 1000,
};
const stale = { code: 'STALE', sub: 'epoch', field: 'msg_send.messages[0].group' };

/** Batches of one conversation. */
function letters(w: TranscriptWorld) {
  const other = (sender: Sender) => (sender === w.alice ? w.bob : w.alice).device.id;
  const commit = (sender: Sender, generation: number, epoch: number, peek = false): Submission =>
    sender.batch(w.conversation, ['commit'], [other(sender)], {
      group: state(generation, epoch),
      groupInfo: Buffer.from(`info after ${generation}.${epoch}`),
      peek,
    });
  const text = (sender: Sender, generation: number, epoch: number, peek = false): Submission =>
    sender.batch(w.conversation, ['text'], [other(sender)], { group: state(generation, epoch), peek });
  return { commit, text };
}
const groupOf = async ({ store, conversation }: Pick<TranscriptWorld, 'store' | 'conversation'>) => {
  const group = await store.group(conversation);
  return (
    group && `${group.generation}.${group.epoch} ${group.groupInfo ? Buffer.from(group.groupInfo).toString() : null}`
  );
};

/** A crash between the log, which has the batch, and the database. */
async function lose(t: Test, w: TranscriptWorld, batch: Submission): Promise<void> {
  const store: Store = Object.create(w.store, {
    commitWindow: { value: () => Promise.reject(new Error('the database is away')) },
  });
  const sequencer = new Sequencer({ transcript: w.transcript, store, log: silent, now: () => NOW, retryMs: 1 });
  const { size } = w.transcript;
  const lost = sequencer.submit(batch).catch((error: { code: string }) => error.code);
  while (w.transcript.size === size) await new Promise(setImmediate);
  await sequencer.drain();
  t.equal(await lost, 'UNAVAILABLE');
  await w.close();
  await w.reopen();
}

t.test('which state a message and a commit may be made in', async (t) => {
  const w = await worldIn(t);
  const { alice, bob } = w;
  const { commit, text } = letters(w);
  const refused = async (...rows: Submission[]) => {
    for (const each of rows) await t.rejects(w.sequencer.submit(each), stale);
  };
  await refused(text(alice, 1, 0, true), text(alice, 1, 1, true), commit(alice, 1, 1, true), commit(alice, 2, 0, true));
  t.equal(await w.store.group(w.conversation), null);
  await w.sequencer.submit(commit(alice, 1, 0));
  await refused(commit(bob, 1, 0, true), commit(bob, 1, 2, true), commit(bob, 66, 0, true), commit(bob, 2, 1, true));
  await refused(text(bob, 1, 2, true), text(bob, 2, 1, true));
  await w.sequencer.submit(text(bob, 1, 1));
  await w.sequencer.submit(commit(bob, 1, 1));
  await w.sequencer.submit(text(alice, 1, 1)); // written before the commit came
  await w.sequencer.submit(text(alice, 1, 2));
  await w.sequencer.submit(commit(alice, 1, 2));
  await refused(text(bob, 1, 1, true), commit(bob, 1, 2, true), commit(bob, 1, 1, true));
  t.equal(await groupOf(w), '1.3 info after 1.2');
  await w.sequencer.submit(commit(bob, 2, 0)); // the group is lost: anew
  await refused(text(bob, 1, 3, true), commit(alice, 1, 3, true), commit(alice, 2, 0, true));
  await w.sequencer.submit(text(alice, 2, 1));
  t.equal(await groupOf(w), '2.1 info after 2.0');
  await refused(commit(alice, 67, 0, true), commit(alice, 1, 0, true));
  await w.sequencer.submit(commit(alice, 66, 0)); // members were there before the database was put back
  await refused(commit(bob, 65, 0, true), commit(bob, 66, 0, true), text(bob, 2, 1, true));
  t.equal(await groupOf(w), '66.1 info after 66.0');
  const without = alice.batch(w.conversation, ['in the clear'], [bob.device.id]);
  await w.sequencer.submit(without);
  const queued = (await w.store.backlog(alice.device.id, 0, 20, 1e6)).items;
  t.strictSame(
    queued.map((item) => item.kind === 'message' && item.group),
    [state(1, 1), state(1, 1), state(2, 0)],
  );
  await w.close();
});

t.test('of commits that race for one state exactly one wins, also before anything is written', async (t) => {
  const w = await worldIn(t);
  const { commit, text } = letters(w);
  const people = [w.alice, w.bob, ...(await Promise.all(['carol', 'dave', 'erin'].map((name) => w.device(name))))];
  for (const [generation, epoch] of [
    [1, 0],
    [1, 1],
    [1, 2],
    [2, 0],
  ] as const) {
    const attempts = people.map((sender) => ({ sender, batch: commit(sender, generation, epoch, true) }));
    const results = await Promise.allSettled(attempts.map(({ batch }) => w.sequencer.submit(batch)));
    const winners = results.flatMap((result, i) => (result.status === 'fulfilled' ? [attempts[i]!.sender] : []));
    t.equal(winners.length, 1, `${generation}.${epoch}`);
    for (const result of results) if (result.status === 'rejected') t.match(result.reason, stale);
    commit(winners[0]!, generation, epoch); // his lineage has gone on
    t.match(await w.store.group(w.conversation), state(generation, epoch + 1));
  }
  // What is on its way is judged by what is on its way before it.
  const chain = [commit(w.alice, 2, 1), text(w.alice, 2, 2), commit(w.alice, 2, 2), text(w.alice, 2, 3)];
  await Promise.all(chain.map((each) => w.sequencer.submit(each)));
  t.equal(await groupOf(w), '2.3 info after 2.2');
  await w.close();
});

t.test('a commit that was refused with its window leaves no trace', async (t) => {
  const w = await worldIn(t);
  const { commit, text } = letters(w);
  await w.sequencer.submit(commit(w.alice, 1, 0));
  const { makeRoom } = w.transcript;
  const broken = new Sequencer({ transcript: w.transcript, store: w.store, log: silent, now: () => NOW, retryMs: 1 });
  w.transcript.makeRoom = async () => {
    throw new ChatError('DISK_FULL', 'full');
  };
  await t.rejects(broken.submit(commit(w.alice, 1, 1, true)), { code: 'DISK_FULL' });
  w.transcript.makeRoom = makeRoom;
  await t.rejects(broken.submit(text(w.alice, 1, 2, true)), stale, 'the state is the one of before');
  await broken.submit(commit(w.alice, 1, 1));
  t.equal(await groupOf(w), '1.2 info after 1.1');
  await broken.drain();
  await w.close();
});

t.test('a repetition gets its answer again, however far the group has gone since', async (t) => {
  const w = await worldIn(t);
  const { commit, text } = letters(w);
  const made = commit(w.alice, 1, 0);
  const first = await w.sequencer.submit(made);
  const said = text(w.alice, 1, 1);
  await w.sequencer.submit(said);
  await w.sequencer.submit(commit(w.bob, 1, 1));
  await w.sequencer.submit(commit(w.bob, 1, 2));
  t.match(await w.sequencer.submit(made), { repeated: true, firstIndex: first.firstIndex, messages: [{ seq: 1 }] });
  t.match(await w.sequencer.submit(said), { repeated: true, messages: [{ seq: 2 }] });
  t.equal(await groupOf(w), '1.3 info after 1.2', 'and changes nothing');
  await w.close();
});

t.test('of two commits that wait for one answer of the store the first wins', async (t) => {
  const w = await worldIn(t);
  const { commit, text } = letters(w);
  const held: (() => void)[] = [];
  const store: Store = Object.create(w.store, {
    group: {
      value: async (conversation: Parameters<Store['group']>[0]) => {
        const group = await w.store.group(conversation);
        await new Promise<void>((go) => held.push(go));
        return group;
      },
    },
  });
  const sequencer = new Sequencer({ transcript: w.transcript, store, log: silent, now: () => NOW, retryMs: 1 });
  const first = sequencer.submit(commit(w.alice, 1, 0));
  while (held.length < 1) await new Promise(setImmediate);
  const second = sequencer.submit(commit(w.bob, 1, 0, true));
  second.catch(() => {});
  for (let i = 0; i < 100; i++) await new Promise(setImmediate);
  t.equal(held.length, 1, 'it is asked once');
  held[0]!();
  await first;
  await t.rejects(second, stale);
  await sequencer.submit(text(w.alice, 1, 1));
  await sequencer.drain();
  await w.close();
});

t.test('what was loaded before a completion is not judged by', async (t) => {
  const w = await worldIn(t);
  const { commit, text } = letters(w);
  await w.sequencer.submit(commit(w.bob, 1, 0));
  const anew = commit(w.bob, 2, 0);
  await lose(t, w, anew);
  const loading = Promise.withResolvers<void>();
  let isLoading = false;
  const store: Store = Object.create(w.store, {
    conversationLineage: {
      value: async (...args: Parameters<Store['conversationLineage']>) => {
        if (equal(args[0], w.alice.device.fingerprint) && (isLoading = true)) await loading.promise;
        return w.store.conversationLineage(...args);
      },
    },
  });
  const sequencer = new Sequencer({ transcript: w.transcript, store, log: silent, now: () => NOW, retryMs: 1 });
  const said = sequencer.submit(text(w.alice, 2, 1));
  while (!isLoading) await new Promise(setImmediate);
  t.match(await sequencer.submit(anew), { repeated: false });
  loading.resolve();
  t.match(await said, { messages: [{ seq: 3 }] });
  await sequencer.drain();
  await w.close();
});

t.test('after a crash the log alone knows a commit; its sender’s repetition completes it', async (t) => {
  const w = await worldIn(t);
  const { commit, text } = letters(w);
  const made = commit(w.alice, 1, 0);
  await lose(t, w, made);
  t.equal(await groupOf(w), '1.1 null');
  await t.rejects(w.sequencer.submit(commit(w.bob, 1, 0, true)), incomplete, 'somebody was faster, and will say how');
  t.match(await w.sequencer.submit(made), { repeated: false, messages: [{ seq: 1, cursors: [1] }] });
  t.equal(await groupOf(w), '1.1 info after 1.0');
  t.match(await w.sequencer.submit(made), { repeated: true });

  const anew = commit(w.bob, 2, 0);
  await lose(t, w, anew);
  t.equal(await groupOf(w), '1.2 null', 'a new generation cannot be told from the log');
  await t.rejects(w.sequencer.submit(text(w.alice, 2, 1, true)), incomplete);
  await w.sequencer.submit(anew);
  t.equal(await groupOf(w), '2.1 info after 2.0');
  await w.sequencer.submit(text(w.alice, 2, 1));
  await w.sequencer.submit(commit(w.alice, 2, 1));
  t.equal(await groupOf(w), '2.2 info after 2.1');
  await w.close();
});

t.test('what a commit refers to goes in the last moment: it stands without, and the operator is told', async (t) => {
  const w = await worldIn(t);
  const { commit } = letters(w);
  const { log, lines } = memoryLog();
  const told = () => lines.flatMap(({ event, index }) => (event === 'message.incomplete' ? [index] : []));
  const referring = (made: Submission): Submission => {
    const blobs = { groupInfo: { hash: randomBytes(32) as Uint8Array as Hash, size: 70 } };
    return { ...made, messages: made.messages.map((message) => ({ ...message, blobs })) };
  };
  const sequencer = () => new Sequencer({ transcript: w.transcript, store: w.store, log, now: () => NOW, retryMs: 1 });
  const first = sequencer();
  const { messages } = await first.submit(referring(commit(w.alice, 1, 0)));
  t.strictSame(told(), [messages[0]!.index]);
  await first.submit(commit(w.alice, 1, 1));
  t.equal(told().length, 1);
  await first.drain();
  const lost = referring(commit(w.bob, 1, 2));
  await lose(t, w, lost);
  const again = sequencer();
  const completed = await again.submit(lost);
  t.strictSame(told().slice(1), [completed.messages[0]!.index], 'also where only the log had it');
  await again.drain();
  await w.close();
});

t.test('a group does not go on while a message is missing that only the log has; but not for ever', async (t) => {
  const w = await worldIn(t);
  const { commit, text } = letters(w);
  await w.sequencer.submit(commit(w.alice, 1, 0));
  const said = text(w.alice, 1, 1);
  await lose(t, w, said);
  let now = NOW;
  const restarted = async (): Promise<Sequencer> => {
    const sequencer = new Sequencer({ transcript: w.transcript, store: w.store, log: silent, now: () => now });
    await sequencer.recover();
    return sequencer;
  };
  const first = await restarted();
  await first.submit(text(w.bob, 1, 1)); // whoever has this one can read the other one as well
  await t.rejects(first.submit(commit(w.bob, 1, 1, true)), incomplete);
  await t.rejects(first.submit(text(w.bob, 1, 2, true)), incomplete);
  now += AWAITED_MS - 1;
  await t.rejects(first.submit(commit(w.bob, 1, 1, true)), incomplete);
  now += 1;
  await first.submit(commit(w.bob, 1, 1));
  await t.rejects(first.submit(text(w.bob, 1, 3, true)), stale);
  await first.drain();

  const second = await restarted();
  await t.rejects(second.submit(commit(w.bob, 1, 2, true)), incomplete, 'it is waited for again after the next start');
  t.match(await second.submit(said), { repeated: false });
  await second.submit(commit(w.bob, 1, 2));
  await t.rejects(second.submit(text(w.bob, 1, 4, true)), stale);
  t.equal(await groupOf(w), '1.3 info after 1.2');
  await second.drain();

  const other = text(w.alice, 1, 3);
  await lose(t, w, other);
  const third = await restarted();
  now -= 86_400_000; // as a machine may that has started with a wrong clock
  await t.rejects(third.submit(commit(w.bob, 1, 3, true)), incomplete);
  now += AWAITED_MS;
  await third.submit(commit(w.bob, 1, 3));
  await third.drain();
  await w.close();
});

t.test('who is overtaken by a commit hears of it when there is something to fetch', async (t) => {
  const w = await worldIn(t);
  const { commit, text } = letters(w);
  await w.sequencer.submit(commit(w.alice, 1, 0));
  let { promise: gate, resolve: open } = Promise.withResolvers<void>();
  let isFull = false;
  const store: Store = Object.create(w.store, {
    commitWindow: {
      value: async (window: Parameters<Store['commitWindow']>[0]) => {
        await gate;
        return w.store.commitWindow(window);
      },
    },
  });
  const { makeRoom } = w.transcript;
  w.transcript.makeRoom = async (entries) => {
    if (isFull) await gate;
    if (isFull) throw new ChatError('DISK_FULL', 'full');
    await makeRoom.call(w.transcript, entries);
  };
  const sequencer = new Sequencer({ transcript: w.transcript, store, log: silent, now: () => NOW, retryMs: 1 });
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  };
  const states: string[] = [];
  const going = sequencer.submit(commit(w.alice, 1, 1));
  await turns();
  const overtaken = sequencer.submit(commit(w.bob, 1, 1, true)).catch(async ({ code, sub }: ChatError) => {
    states.push(`${code}/${sub} at ${await groupOf(w)}`);
  });
  await turns();
  t.strictSame(states, []);
  open();
  await Promise.all([going, overtaken]);
  t.strictSame(states, ['STALE/epoch at 1.2 info after 1.1']);

  ({ promise: gate, resolve: open } = Promise.withResolvers<void>());
  isFull = true;
  const failing = sequencer.submit(commit(w.alice, 1, 2, true));
  const refusal = t.rejects(failing, { code: 'DISK_FULL' });
  await turns();
  const right = sequencer.submit(commit(w.bob, 1, 2));
  const late = sequencer.submit(text(w.bob, 1, 3));
  await turns();
  open();
  await refusal;
  isFull = false;
  await Promise.all([right, late]);
  t.equal(await groupOf(w), '1.3 info after 1.2', 'what would have overtaken it was refused itself');
  await sequencer.drain();
  await w.close();
});

/** A cache with room for two groups, over a store that answers when the test says so. */
function cacheOfTwo() {
  const asked: { readonly id: string; readonly answer: (state: GroupState | null) => void }[] = [];
  const group: Store['group'] = (id) =>
    new Promise((resolve) =>
      asked.push({ id: hex(id), answer: (found) => resolve(found && { ...found, groupInfo: null }) }),
    );
  const cache = new GroupCache({ group }, 2);
  const message = { messages: [{ group: state(1, 1) }] } as unknown as Submission;
  return { asked, cache, load: (id: ConversationId) => cache.load(message, [id]) };
}
const idOf = (): ConversationId => randomBytes(32) as Uint8Array as ConversationId;
const turn = (): Promise<void> => new Promise(setImmediate);

// Fails when an answer does not count because of another group that was dropped: where there are more than fit, one always is.
t.test('a group is looked up once, however many others come and go meanwhile', async (t) => {
  const { asked, cache, load } = cacheOfTwo();
  const id = idOf();
  const both = Promise.all([load(id), load(id)]);
  for (let i = 0; i < 10; i++) {
    const other = load(idOf());
    asked.at(-1)!.answer(state(1, i));
    await other;
  }
  asked[0]!.answer(state(1, 7));
  const [first, second] = await both;
  t.equal(asked.filter((each) => each.id === hex(id)).length, 1);
  t.match(
    [...first.values(), ...second.values()],
    [
      { generation: 1, epoch: 7 },
      { generation: 1, epoch: 7 },
    ],
  );
  t.ok(cache.holds(first) && cache.holds(second));
});

// Fails when only what is remembered can be dropped: everything that is made in the newest state would be out of date for ever.
t.test('what was looked up before the store knew better is looked up again', async (t) => {
  for (const better of ['forget', 'clear'] as const) {
    const { asked, cache, load } = cacheOfTwo();
    const id = idOf();
    const loading = load(id);
    cache[better](id);
    asked[0]!.answer(state(1, 1));
    await turn();
    t.equal(asked.length, 2, better);
    asked[1]!.answer(state(1, 2));
    t.match([...(await loading).values()], [{ epoch: 2 }]);
  }
});
