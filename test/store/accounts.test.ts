/** What an operation asks, apart from any database. */
import t from 'tap';
import { OPERATIONS } from '../../store/operations.ts';

t.test('a name that nobody has is one question, as one that somebody has is', (t) => {
  const asked = OPERATIONS.findUser('nobody');
  t.match(asked.next(), { done: false, value: { do: 'select', args: ['nobody', 'nobody'] } });
  t.strictSame(asked.next([]), { done: true, value: null });
  t.end();
});
