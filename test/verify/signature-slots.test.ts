/** An answer is for the signature that was looked at, however late it comes. */
import t from 'tap';
import { SignatureSlots, SLOTS } from '../../verify/signature-slots.ts';

/** Two ends of the same words. */
function ends(): { judge: SignatureSlots; thread: SignatureSlots } {
  const judge = new SignatureSlots();
  return { judge, thread: new SignatureSlots(judge.words) };
}

t.test('a job is answered by whoever takes it', async (t) => {
  const { judge, thread } = ends();
  for (const [job, isGood] of [
    [0, true],
    [1, false],
    [SLOTS + 2, true],
    [2 ** 29 - 1, true],
  ] as const) {
    t.ok(judge.offer(job));
    t.ok(thread.take(job));
    t.notOk(thread.take(job), 'once');
    thread.answer(job, isGood);
    t.equal(judge.isGood(job, 0), isGood);
  }
  t.ok(judge.offer(7));
  t.equal(judge.isGood(7, 0), false, 'nobody has begun');
  t.notOk(thread.take(7), 'and nobody begins any more');
  t.ok(judge.offer(8) && thread.take(8));
  t.equal(judge.isGood(8, 1), null, 'no answer in time');
  t.notOk(judge.offer(2 ** 29), 'numbers end');
});

t.test('a thread that is behind by a round answers for nothing that came since', async (t) => {
  const { judge, thread } = ends();
  const [old, now] = [5, 5 + SLOTS];
  judge.offer(old);
  judge.offer(now);
  t.notOk(thread.take(old), 'the letter was on its way when its slot was used again');
  t.equal(judge.isGood(now, 0), false);

  judge.offer(old);
  t.ok(thread.take(old));
  t.notOk(judge.offer(now), 'the thread is at work there');
  thread.answer(old, true);
  t.equal(judge.isGood(now, 0), false, 'what was found good is another');
  t.equal(judge.isGood(old, 0), true);

  judge.offer(old);
  t.ok(thread.take(old));
  judge.words[old % SLOTS] = 4 * now; // as an offer that saw the word just before it was taken leaves it
  thread.answer(old, true);
  t.equal(judge.isGood(now, 0), false);
});
