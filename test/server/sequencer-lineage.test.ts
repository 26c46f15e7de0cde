/** The cache of lineages in front of a store that answers late, and lacks what is on its way. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { ConversationId, Fingerprint, Hash, SessionId } from '../../base/bytes.ts';
import { hex } from '../../base/bytes.ts';
import { LineageCache, type SenderLineage } from '../../server/sequencer-lineage.ts';
import type { Batch, LineageChange } from '../../transcript/lineage.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { KIND } from '../../transcript/statement.ts';
import { random } from '../support/system.ts';

const [MAX_ITEMS, MAX_ITEMS_OF_ONE] = [400, 60];
const nothing = { messages: [] };
const newSender = () => randomBytes(32) as Uint8Array as Fingerprint;
const newSession = () => randomBytes(16) as Uint8Array as SessionId;
const newHash = () => randomBytes(32) as Uint8Array as Hash;
const conversations = Array.from({ length: 5 }, () => randomBytes(32) as Uint8Array as ConversationId);

const batchOf = (
  sender: Fingerprint,
  session: SessionId,
  about: readonly ConversationId[] = conversations.slice(0, 1),
) =>
  ({
    bs: { sender, session },
    messages: about.map((conversation) => ({ ms: { kind: KIND.message, conversation } })),
  }) as unknown as Batch;

/** A store that knows nothing; what it is asked. */
function blank(waitFor: (sender: Fingerprint) => Promise<void> | void = () => undefined) {
  const asked = new Map<string, number>();
  const store = {
    sessionLineage: async (sender: Fingerprint) => {
      asked.set(hex(sender), (asked.get(hex(sender)) ?? 0) + 1);
      await waitFor(sender);
      return { lastCtr: 0, lastBatchHash: NO_HASH, isClosed: false };
    },
    sessionEnds: async () => [],
    conversationLineage: async () => ({ convCtr: 0, lastStatementHash: NO_HASH }),
  };
  return { store, asked: (sender: Fingerprint) => asked.get(hex(sender)) ?? 0 };
}

/** As the sequencer admits a batch, or refuses it. @param judge is shown what the batch is judged by */
async function admit(
  cache: LineageCache,
  batch: Batch,
  judge: (lineage: SenderLineage) => 'admitted' | 'refused' = () => 'admitted',
): Promise<{ readonly lineage: SenderLineage; readonly change: LineageChange; readonly settle: () => void }> {
  const lineage = await cache.load(batch, nothing);
  const { sender, session } = batch.bs;
  const before = lineage.session(sender, session)?.lastCtr ?? 0;
  const change = {
    ...{ sender, session, lastCtr: before + batch.messages.length, lastBatch: newHash(), isClosed: false },
    conversations: batch.messages.map(({ ms: { conversation } }) => ({
      conversation,
      convCtr: (lineage.convCtr(sender, session, conversation) ?? 0) + 1,
      lastLeaf: newHash(),
    })),
  };
  if (judge(lineage) === 'admitted') lineage.apply(change);
  cache.leave(batch);
  return { lineage, change, settle: () => lineage.settle(change) };
}

t.test(
  'who begins session after session while something of his is on its way has his share, and no more',
  async (t) => {
    const { store, asked } = blank();
    const cache = new LineageCache(store, MAX_ITEMS, MAX_ITEMS_OF_ONE);
    const [hostile, other] = [newSender(), newSender()];
    const mine = newSession();
    await admit(cache, batchOf(other, mine));
    const { lineage } = await admit(cache, batchOf(hostile, newSession()));
    let most = 0;
    for (let i = 0; i < 1000; i++) {
      (await admit(cache, batchOf(hostile, newSession()))).settle();
      most = Math.max(most, lineage.items);
    }
    t.equal(lineage.onTheirWay, 1, 'the first is still on its way');
    t.ok(most <= MAX_ITEMS_OF_ONE + 3, `${most} items`);
    await admit(cache, batchOf(other, mine));
    t.equal(asked(other), 1, 'nobody else is forgotten');
  },
);

t.test('sessions that are named and not begun leave nothing behind', async (t) => {
  const cache = new LineageCache(blank().store, MAX_ITEMS, MAX_ITEMS_OF_ONE);
  const sender = newSender();
  const mine = newSession();
  const { lineage } = await admit(cache, batchOf(sender, mine));
  const before = lineage.items;
  for (let i = 0; i < 5; i++) await admit(cache, batchOf(sender, newSession()), () => 'refused');
  t.equal(lineage.items, before);
  await admit(cache, batchOf(sender, mine), () => 'refused');
  t.equal(lineage.session(sender, mine)?.lastCtr, 1, 'one that was begun stays');
});

t.test('who waits for the database is not forgotten, however much others bring meanwhile', async (t) => {
  const slow = newSender();
  const answer = Promise.withResolvers<void>();
  const { store } = blank((sender) => (sender === slow ? answer.promise : undefined));
  const cache = new LineageCache(store, MAX_ITEMS, MAX_ITEMS_OF_ONE);
  const batch = batchOf(slow, newSession());
  const loading = cache.load(batch, nothing);
  const others = Array.from({ length: 2 * MAX_ITEMS }, newSender);
  const bring = async () => {
    for (const sender of others) (await admit(cache, batchOf(sender, newSession()))).settle();
  };
  await bring();
  answer.resolve();
  const lineage = await loading;
  await bring();
  t.ok(cache.holds(slow, lineage), 'nor while he is judged');
  cache.leave(batch);
  await bring();
  t.notOk(cache.holds(slow, lineage), 'but afterwards');
});

t.test('who has been away longest is forgotten first, and no more of them than must be', async (t) => {
  const { store, asked } = blank();
  const cache = new LineageCache(store, MAX_ITEMS, MAX_ITEMS_OF_ONE);
  const talk = async (sender: Fingerprint, session: SessionId) => {
    const { settle, lineage } = await admit(cache, batchOf(sender, session));
    settle();
    return lineage.items;
  };
  const people = Array.from({ length: 130 }, () => [newSender(), newSession()] as const);
  const [[first, session], [second]] = people as [(typeof people)[0], (typeof people)[0]];
  for (const each of people) t.equal(await talk(...each), 3);
  await talk(first, session);
  for (let i = 0; i < 10; i++) await talk(newSender(), newSession());
  await talk(first, session);
  t.equal(asked(first), 1, 'was there meanwhile');
  for (const each of people.slice(10)) await talk(...each);
  t.equal(people.slice(10).filter(([sender]) => asked(sender) > 1).length, 0, 'there was room for them');
  await talk(...people[1]!);
  t.equal(asked(second), 2);
});

t.test('what is counted is what is there: also of what was refused, and of what was all forgotten', async (t) => {
  const answer = Promise.withResolvers<void>();
  const slow = newSender();
  const { store } = blank((sender) => (sender === slow ? answer.promise : undefined));
  const cache = new LineageCache(store, MAX_ITEMS, MAX_ITEMS_OF_ONE);
  const refused = Array.from({ length: 150 }, newSender);
  const lineages: SenderLineage[] = [];
  for (const sender of refused)
    lineages.push((await admit(cache, batchOf(sender, newSession()), () => 'refused')).lineage);
  t.equal(
    lineages.reduce((sum, { items }) => sum + items, 0),
    150,
    'a link each is kept',
  );
  t.ok(refused.every((sender, i) => cache.holds(sender, lineages[i]!)));

  const loading = cache.load(batchOf(slow, newSession(), conversations), nothing);
  cache.clear();
  answer.resolve();
  const late = await loading;
  t.notOk(cache.holds(slow, late));
  const people = Array.from({ length: 133 }, newSender);
  const held: SenderLineage[] = [];
  for (const sender of people) {
    const { lineage, settle } = await admit(cache, batchOf(sender, newSession()));
    settle();
    held.push(lineage);
  }
  t.ok(
    people.every((sender, i) => cache.holds(sender, held[i]!)),
    '399 items of 400',
  );
});

t.test('a session that was closed is closed: as the store has it, and ahead of it', async (t) => {
  const [sender, session] = [newSender(), newSession()];
  const store = {
    ...blank().store,
    sessionLineage: async () => ({ lastCtr: 3, lastBatchHash: newHash(), isClosed: true }),
  };
  const stored = await new LineageCache(store).load(batchOf(sender, session), nothing);
  t.match(stored.session(sender, session), { lastCtr: 3, isClosed: true });
  const { lineage, change } = await admit(new LineageCache(blank().store), batchOf(sender, session));
  t.match(lineage.session(sender, session), { lastCtr: 1, isClosed: false });
  lineage.apply({ ...change, isClosed: true });
  t.match(lineage.session(sender, session), { isClosed: true });
});

t.test(
  'in any order of loading, admitting, refusing and committing, everybody is judged by what was admitted',
  async (t) => {
    const chance = random(t, 20_261);
    const upTo = (n: number) => Math.floor(chance() * n);
    const turns = async () => {
      for (let i = upTo(3); i > 0; i--) await new Promise(setImmediate);
    };
    interface Known {
      readonly lastCtr: Map<string, number>;
      readonly convCtr: Map<string, number>;
      readonly lastLeaf: Map<string, Hash>;
    }
    const empty = (): Known => ({ lastCtr: new Map(), convCtr: new Map(), lastLeaf: new Map() });
    const [admitted, stored] = [empty(), empty()];
    const note = (known: Known, { sender, session, lastCtr, conversations }: LineageChange) => {
      known.lastCtr.set(`${hex(sender)} ${hex(session)}`, lastCtr);
      for (const { conversation, convCtr, lastLeaf } of conversations) {
        known.convCtr.set(`${hex(sender)} ${hex(session)} ${hex(conversation)}`, convCtr);
        known.lastLeaf.set(`${hex(sender)} ${hex(conversation)}`, lastLeaf);
      }
    };
    let questions = 0;
    const store = {
      sessionLineage: async (sender: Fingerprint, session: SessionId) => {
        questions++;
        await turns();
        const lastCtr = stored.lastCtr.get(`${hex(sender)} ${hex(session)}`) ?? 0;
        await turns();
        return { lastCtr, lastBatchHash: lastCtr === 0 ? NO_HASH : newHash(), isClosed: false };
      },
      sessionEnds: async () => [],
      conversationLineage: async (sender: Fingerprint, session: SessionId, conversation: ConversationId) => {
        await turns();
        const convCtr = stored.convCtr.get(`${hex(sender)} ${hex(session)} ${hex(conversation)}`) ?? 0;
        const lastStatementHash = stored.lastLeaf.get(`${hex(sender)} ${hex(conversation)}`) ?? NO_HASH;
        await turns();
        return { convCtr, lastStatementHash };
      },
    };
    const cache = new LineageCache(store, 30, 8);
    const queue: [() => void, LineageChange][] = [];
    const faults: string[] = [];
    let left = 6;
    const talk = async () => {
      const sender = newSender();
      const sessions = Array.from({ length: 4 }, newSession);
      for (let i = 0; i < 200; i++) {
        const session = sessions[upTo(sessions.length)]!;
        const batch = batchOf(
          sender,
          session,
          conversations.filter(() => chance() < 0.4),
        );
        const judge = (lineage: SenderLineage) => {
          if (!cache.holds(sender, lineage)) faults.push('not held');
          const lastCtr = lineage.session(sender, session)?.lastCtr ?? 0;
          const want = admitted.lastCtr.get(`${hex(sender)} ${hex(session)}`) ?? 0;
          if (lastCtr !== want) faults.push(`lastCtr ${lastCtr}, want ${want}`);
          for (const { ms } of batch.messages) {
            const convCtr = lineage.convCtr(sender, session, ms.conversation) ?? 0;
            const want = admitted.convCtr.get(`${hex(sender)} ${hex(session)} ${hex(ms.conversation)}`) ?? 0;
            if (convCtr !== want) faults.push(`convCtr ${convCtr}, want ${want}`);
            const leaf = lineage.lastLeaf(sender, ms.conversation);
            const last = admitted.lastLeaf.get(`${hex(sender)} ${hex(ms.conversation)}`);
            if ((leaf && hex(leaf)) !== (last && hex(last))) faults.push('lastLeaf');
          }
          return verdict;
        };
        const verdict = batch.messages.length === 0 || chance() < 0.2 ? 'refused' : 'admitted';
        const { change, settle } = await admit(cache, batch, judge);
        if (verdict === 'admitted') {
          note(admitted, change);
          queue.push([settle, change]);
        }
        if (chance() < 0.3) await turns();
      }
      left--;
    };
    const commit = async () => {
      while (left > 0 || queue.length > 0) {
        await turns();
        await new Promise(setImmediate);
        for (const [settle, change] of queue.splice(0, upTo(6))) {
          note(stored, change);
          settle();
        }
      }
    };
    await Promise.all([commit(), ...Array.from({ length: left }, talk)]);
    t.strictSame(faults, []);
    t.ok(questions > 100, `the store was asked ${questions} times`);
  },
);
