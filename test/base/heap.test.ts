import t from 'tap';
import { Heap } from '../../base/heap.ts';

t.test('items come out in order, whatever order they went in and however often some are taken between', (t) => {
  const heap = new Heap<number>((a, b) => a < b);
  t.equal(heap.first, undefined);
  t.equal(heap.take(), undefined);
  let seed = 7;
  const next = (): number => (seed = (seed * 48271) % 2147483647) % 50;
  const held: number[] = [];
  for (let round = 0; round < 2000; round++) {
    if (next() < 30) {
      const item = next();
      heap.add(item);
      held.push(item);
    } else {
      held.sort((a, b) => a - b);
      t.equal(heap.first, held[0]);
      t.equal(heap.take(), held.shift());
    }
  }
  t.ok(held.length > 100, 'many were in it at once');
  for (const item of held.sort((a, b) => a - b)) t.equal(heap.take(), item);
  t.equal(heap.take(), undefined);
  t.end();
});
