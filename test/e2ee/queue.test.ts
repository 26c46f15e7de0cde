/** One after another within a conversation, side by side across them. */
import t from 'tap';
import { ConversationQueue } from '../../client/e2ee/queue.ts';

t.test('order', async (t) => {
  const queue = new ConversationQueue();
  const log: string[] = [];
  const gate = Promise.withResolvers<void>();
  const slow = queue.run(['a'], async () => {
    await gate.promise;
    log.push('a1');
    return 1;
  });
  const failing = queue.run(['a'], async () => {
    log.push('a2');
    throw new Error('no');
  });
  const last = queue.run(['a'], async () => void log.push('a3'));
  await queue.run(['b'], async () => void log.push('b1'));
  t.strictSame(log, ['b1'], 'another conversation does not wait');
  t.equal(queue.size, 1);
  gate.resolve();
  t.equal(await slow, 1);
  await t.rejects(failing, { message: 'no' });
  await last;
  t.strictSame(log, ['b1', 'a1', 'a2', 'a3'], 'a failure holds nobody up');
  await Promise.resolve();
  t.equal(queue.size, 0, 'and nothing is kept');
});

t.test('work on several waits for each of them, holds up each of them, and does not wait for itself', async (t) => {
  const queue = new ConversationQueue();
  const log: string[] = [];
  const [a, b] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  void queue.run(['a'], () => a.promise);
  void queue.run(['b'], () => b.promise);
  const both = queue.run(['a', 'b'], async () => void log.push('a and b'));
  const again = queue.run(['b', 'a'], async () => void log.push('b and a'));
  const last = queue.runLast(async () => void log.push('last'));
  const late = queue.run(['b'], async () => void log.push('late'));
  await queue.run(['c'], async () => void log.push('c'));
  a.resolve();
  await queue.run(['c'], async () => {});
  t.strictSame(log, ['c']);
  b.resolve();
  await Promise.all([both, again, last, late]);
  t.strictSame(log, ['c', 'a and b', 'b and a', 'last', 'late']);
  await queue.settled;
  t.equal(queue.size, 0);
});
