/** One after another within a conversation, side by side across them. */
import t from 'tap';
import { ConversationQueue } from '../../client/e2ee/queue.ts';

t.test('order', async (t) => {
  const queue = new ConversationQueue();
  const log: string[] = [];
  const gate = Promise.withResolvers<void>();
  const slow = queue.run('a', async () => {
    await gate.promise;
    log.push('a1');
    return 1;
  });
  const failing = queue.run('a', async () => {
    log.push('a2');
    throw new Error('no');
  });
  const last = queue.run('a', async () => void log.push('a3'));
  await queue.run('b', async () => void log.push('b1'));
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
