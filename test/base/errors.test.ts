/** Errors without stacks, where nobody would see them. */
import t from 'tap';
import { withoutTraces } from '../../base/errors.ts';

t.test('what is made inside has no stack, what is made afterwards has', async (t) => {
  const frames = ({ stack = '' }: Error): number => stack.split('\n    at ').length - 1;
  t.equal(frames(withoutTraces(() => new Error('inside'))), 0);
  t.ok(frames(new Error('outside')) > 0);
  t.throws(() =>
    withoutTraces(() => {
      throw new Error('a failure');
    }),
  );
  t.ok(frames(new Error('after a failure')) > 0);
});
