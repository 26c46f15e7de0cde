/** Answers that hold for a stretch of time: each time has one, whoever asked before. */
import t from 'tap';
import { Stretches } from '../../verify/stretches.ts';

t.test('stretches of time stand beside each other', async (t) => {
  const stretches = new Stretches<{ from: number; until: number; name: string }>();
  const add = (at: number, from: number, until: number, name: string) => stretches.add(at, { from, until, name });
  t.equal(stretches.at(5), undefined);
  add(15, 10, 20, 'b');
  t.match(add(5, -Infinity, 12, 'a'), { until: 10 }, 'what another answered stands');
  t.match(add(30, 0, Infinity, 'd'), { from: 20, until: Infinity });
  const gap = new Stretches<{ from: number; until: number; name: string }>();
  gap.add(0, { from: 0, until: 10, name: 'first' });
  gap.add(20, { from: 20, until: 30, name: 'last' });
  t.same(gap.add(15, { from: 5, until: 25, name: 'between' }), { from: 10, until: 20, name: 'between' });
  for (const [time, name] of [
    [-9, 'a'],
    [9, 'a'],
    [10, 'b'],
    [19, 'b'],
    [20, 'd'],
    [99, 'd'],
  ] as const)
    t.equal(stretches.at(time)?.name, name);
  for (const [time, name] of [
    [0, 'first'],
    [9, 'first'],
    [10, 'between'],
    [20, 'last'],
    [30, undefined],
    [-1, undefined],
  ] as const)
    t.equal(gap.at(time)?.name, name);
});
