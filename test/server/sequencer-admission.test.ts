/** What is admitted, and what has to wait: behind which of the same sender, beside which of others, and after what was refused. */
import t, { type Test } from 'tap';
import { equal, type Fingerprint } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { Sequencer } from '../../server/sequencer.ts';
import type { Store } from '../../store/store.ts';
import { NOW, random32 } from '../support/store-world.ts';
import { identity, silent, transcriptWorld, type TranscriptWorld } from '../support/transcript-world.ts';

const keys = identity();
const worldIn = (t: Test): Promise<TranscriptWorld> => transcriptWorld(t.testdir(), {}, {}, keys);
/** A second sequencer over the same log. */
const over = (w: TranscriptWorld, store: Store): Sequencer =>
  new Sequencer({ transcript: w.transcript, store, log: silent, now: () => NOW, retryMs: 1 });

t.test('a renewed certificate gets the answers of the one before: of its own batches, and of this log', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const sent = alice.batch(conversation, ['one'], [bob.device.id]);
  const { firstIndex } = await w.sequencer.submit(sent);
  const renewed = { ...sent, device: { ...sent.device, fingerprint: random32<Fingerprint>() } };
  t.match(await w.sequencer.submit(renewed), { firstIndex, repeated: true });
  const foreign = { ...sent, device: { ...renewed.device, userId: bob.device.userId } };
  await t.rejects(w.sequencer.submit(foreign), { code: 'SIG_FAIL', sub: 'sender' });
  const elsewhere: Store = Object.create(w.store, {
    findBatch: {
      value: async (...which: Parameters<Store['findBatch']>) => ({
        ...(await w.store.findBatch(...which))!,
        origin: 'localhost/log/n0',
      }),
    },
  });
  await t.rejects(over(w, elsewhere).submit(renewed), { code: 'COUNTER_REUSED' });

  const [asked, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const slow: Store = Object.create(w.store, {
    commitWindow: {
      value: async (window: Parameters<Store['commitWindow']>[0]) => {
        asked.resolve();
        await go.promise;
        return w.store.commitWindow(window);
      },
    },
  });
  const sequencer = over(w, slow);
  const two = alice.batch(conversation, ['two'], [bob.device.id]);
  const first = sequencer.submit(two);
  await asked.promise;
  t.ok(await sequencer.isKnown(renewed.device, two.batch), 'also one that is on its way');
  const again = sequencer.submit({ ...two, device: renewed.device });
  go.resolve();
  t.equal((await first).repeated, false);
  t.match(await again, { repeated: true, messages: [{ cursors: [] }] });
  await sequencer.drain();
  await w.close();
});

t.test('what waits for its place behind something that is refused is judged anew, at once', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const [told, delivered] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const flood = w.sequencer.submit(bob.batch(conversation, Array(1000).fill('x'), [alice.device.id]), () => {
    told.resolve();
    return delivered.promise;
  });
  await told.promise;
  const { makeRoom } = w.transcript;
  const [asked, full] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  w.transcript.makeRoom = async () => {
    asked.resolve();
    await full.promise;
    throw new ChatError('DISK_FULL', 'injected');
  };
  // There is room for the first of them beside the flood, and never for the other.
  const batches = [300, 600].map((count) => alice.batch(conversation, Array(count).fill('y'), []));
  const answers = Promise.allSettled(batches.map((batch) => w.sequencer.submit(batch)));
  await asked.promise;
  for (let i = 0; i < 1000; i++) await new Promise(setImmediate);
  full.resolve();
  t.match(await answers, [{ reason: { code: 'DISK_FULL' } }, { reason: { code: 'COUNTER_GAP' } }]);
  w.transcript.makeRoom = makeRoom;
  delivered.resolve();
  await flood;
  for (const batch of batches) t.equal((await w.sequencer.submit(batch)).repeated, false);
  await w.close();
});

t.test('who brings little never waits for the database', async (t) => {
  const w = await worldIn(t);
  const store: Store = Object.create(w.store, { relief: { value: () => new Promise(() => undefined) } }) as Store;
  const sequencer = over(w, store);
  for (let i = 0; i < 40; i++)
    await Promise.all(
      [1, 2, 3, 4].map(() => sequencer.submit(w.alice.batch(w.conversation, ['x'], [w.bob.device.id]))),
    );
  t.pass('more than has room, if any had kept its place');
  await w.close();
});

t.test('what waits to be judged has a limit in bytes, and what was refused counts no more', async (t) => {
  const w = await worldIn(t);
  const { alice, conversation } = w;
  const large = { ...alice.batch(conversation, ['x'], [], { peek: true }), signature: Buffer.alloc(100 * 1024 * 1024) };
  for (let i = 0; i < 3; i++) await t.rejects(w.sequencer.submit(large), { code: 'SIG_FAIL' }, 'one after the other');
  const three = await Promise.allSettled([1, 2, 3].map(() => w.sequencer.submit(large)));
  t.match(three, [
    { reason: { code: 'SIG_FAIL' } },
    { reason: { code: 'SIG_FAIL' } },
    { reason: { code: 'UNAVAILABLE', retryAfterMs: 200 } },
  ]);
  await w.sequencer.submit(alice.batch(conversation, ['small'], []));
  await w.close();
});

t.test('a batch waits for all of its sender that came before, also while another one ends', async (t) => {
  const w = await worldIn(t);
  const { alice, conversation } = w;
  const [asked, answer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let questions = 0;
  const store: Store = Object.create(w.store, {
    sessionLineage: {
      value: async (...which: Parameters<Store['sessionLineage']>) => {
        if (++questions === 2) {
          asked.resolve();
          await answer.promise;
        }
        return w.store.sessionLineage(...which);
      },
    },
  });
  const sequencer = over(w, store);
  const first = sequencer.submit(alice.batch(conversation, ['1'], []));
  alice.newSession();
  const second = sequencer.submit(alice.batch(conversation, ['2'], []));
  await first;
  await asked.promise;
  const third = sequencer.submit(alice.batch(conversation, ['3'], [])).catch((error: ChatError) => error);
  for (let i = 0; i < 100; i++) await new Promise(setImmediate);
  answer.resolve();
  t.match(await Promise.all([second, third]), [{ messages: [{ seq: 2 }] }, { messages: [{ seq: 3 }] }]);
  await sequencer.drain();
  await w.close();
});

t.test('what was loaded behind a batch that is refused then is not believed', async (t) => {
  const w = await worldIn(t);
  const { alice, bob, conversation } = w;
  const { device } = await w.device('carol');
  const { id: other } = await w.store.openDirect(alice.device.userId, device.userId, random32(), NOW);
  const [asked, answer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const store: Store = Object.create(w.store, {
    conversationLineage: {
      value: async (...which: Parameters<Store['conversationLineage']>) => {
        if (equal(which[2], other)) {
          asked.resolve();
          await answer.promise;
        }
        return w.store.conversationLineage(...which);
      },
    },
  });
  const sequencer = over(w, store);
  await sequencer.submit(bob.batch(conversation, ['0'], []));
  const { makeRoom } = w.transcript;
  w.transcript.makeRoom = async () => {
    await asked.promise;
    throw new ChatError('DISK_FULL', 'injected');
  };
  const [one, two] = [alice.batch(conversation, ['1'], []), alice.batch(other, ['2'], [])];
  const [first, second] = [sequencer.submit(one), sequencer.submit(two).catch((error: ChatError) => error)];
  await t.rejects(first, { code: 'DISK_FULL' });
  w.transcript.makeRoom = makeRoom;
  answer.resolve();
  t.match(await second, { code: 'COUNTER_GAP' });
  for (const batch of [one, two]) t.equal((await sequencer.submit(batch)).repeated, false);
  await sequencer.drain();
  await w.close();
});

t.test('a database that fails a question, and a server that may not sign now: refused for a while', async (t) => {
  const w = await worldIn(t);
  let isDown = true;
  const store: Store = Object.create(w.store, {
    sessionLineage: {
      value: async (...which: Parameters<Store['sessionLineage']>) => {
        if (isDown) throw new ChatError('STORE_FAILED', 'injected');
        return w.store.sessionLineage(...which);
      },
    },
  });
  const sequencer = over(w, store);
  const sent = w.alice.batch(w.conversation, ['1'], []);
  await t.rejects(sequencer.submit(sent), { code: 'UNAVAILABLE', retryAfterMs: 1000 });
  isDown = false;
  sequencer.hold();
  const { size } = w.transcript;
  await t.rejects(sequencer.submit(sent), { code: 'UNAVAILABLE', message: /was away/ });
  t.equal(w.transcript.size, size);
  sequencer.release();
  t.equal((await sequencer.submit(sent)).messages[0]!.seq, 1);
  await sequencer.drain();
  await w.close();
});
