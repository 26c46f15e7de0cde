/** The order of the messages of a bundle: by time, then by the number of their log, then by index. */
import t from 'tap';
import { isBefore } from '../../verify/bundle-messages.ts';

t.test('which of two comes first', async (t) => {
  const place = (time: number, log: number, index: number) => ({ time, log, index });
  const rising = [place(1, 2, 9), place(2, 0, 5), place(2, 0, 8), place(2, 1, 3), place(2, 1, 10), place(10, 0, 0)];
  for (const [i, a] of rising.entries())
    for (const [k, b] of rising.entries()) t.equal(isBefore(a, b), i < k, `${i} and ${k}`);
});
