/** An answer is for the signature that was looked at, however late it comes. */
import t from 'tap';
import { SignatureSlots, SLOT_BYTES, SLOTS } from '../../verify/signature-slots.ts';

/** Two ends of the same memory. */
function ends(): { judge: SignatureSlots; thread: SignatureSlots } {
  const judge = new SignatureSlots();
  return { judge, thread: new SignatureSlots(judge.memory) };
}
const work = (key: number, byte = key) => ({
  key,
  data: Buffer.alloc(20 + key, byte),
  signature: Buffer.alloc(5 + key, byte),
});

t.test('a job is answered by whoever takes it', async (t) => {
  const { judge, thread } = ends();
  for (const [i, [job, isGood]] of (
    [
      [0, true],
      [1, false],
      [SLOTS + 2, true],
      [2 ** 29 - 1, true],
    ] as const
  ).entries()) {
    t.ok(judge.offer(job, work(i)));
    t.same(thread.take(job), work(i), 'what was offered');
    t.equal(thread.take(job), null, 'once');
    thread.answer(job, isGood);
    t.equal(judge.isGood(job, 0), isGood);
  }
  t.ok(judge.offer(7, work(1)));
  t.equal(judge.isGood(7, 0), false, 'nobody has begun');
  t.equal(thread.take(7), null, 'and nobody begins any more');
  t.ok(judge.offer(8, work(1)) && thread.take(8));
  t.equal(judge.isGood(8, 1), null, 'no answer in time');
});

t.test('what has no slot', async (t) => {
  const { judge, thread } = ends();
  t.notOk(judge.offer(2 ** 29, work(1)), 'numbers end');
  const [data, signature] = [Buffer.alloc(SLOT_BYTES - 64, 1), Buffer.alloc(64, 2)];
  t.ok(judge.offer(SLOTS - 1, { key: 0, data, signature }));
  t.same(thread.take(SLOTS - 1), { key: 0, data, signature }, 'as long as there is room');
  t.notOk(judge.offer(3, { key: 0, data, signature: Buffer.alloc(65) }), 'a byte more');
});

t.test('a thread that is behind by a round answers for nothing that came since', async (t) => {
  const { judge, thread } = ends();
  const [old, now] = [5, 5 + SLOTS];
  judge.offer(old, work(1));
  judge.offer(now, work(2));
  t.equal(thread.take(old), null, 'its slot was used again');
  t.same(thread.take(now), work(2));
  thread.answer(now, true);

  judge.offer(old, work(1));
  t.ok(thread.take(old));
  t.notOk(judge.offer(now, work(2)), 'the thread is at work there');
  t.equal(thread.take(now), null);
  thread.answer(old, true);
  t.equal(judge.isGood(now, 0), false, 'what was found good is another');
  t.equal(judge.isGood(old, 0), true);

  judge.offer(now, work(2));
  thread.answer(old, true);
  t.equal(judge.isGood(now, 0), false, 'an answer for what nobody has any more');
});

t.test('what is taken is not written over', async (t) => {
  const { judge, thread } = ends();
  judge.offer(1, work(1));
  const taken = thread.take(1);
  t.notOk(judge.offer(1 + SLOTS, work(3)));
  thread.answer(1, false);
  t.ok(judge.offer(1 + SLOTS, work(3)));
  t.same(taken, work(1));
});

t.test('a thread waits for what it has not seen', async (t) => {
  const { judge, thread } = ends();
  judge.publish(3);
  t.equal(thread.awaitMore(0), 3);
});
