/** Any leaves of any small tree prove themselves, and nothing else does. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { equal, type Hash } from '../../base/bytes.ts';
import { rootOf } from '../../transcript/merkle.ts';
import { othersOf, rootFromSome } from '../../transcript/some-leaves.ts';

const leavesOf = (size: number): Hash[] => Array.from({ length: size }, () => randomBytes(32) as Uint8Array as Hash);

t.test('every choice of leaves of trees of up to nine', (t) => {
  let [right, wrong] = [0, 0];
  for (let size = 1; size <= 9; size++) {
    const leaves = leavesOf(size);
    const root = rootOf(leaves);
    for (let set = 1; set < 2 ** size; set++) {
      const at = leaves.flatMap((_, i) => ((set >> i) & 1 ? [i] : []));
      const shown = at.map((i) => ({ at: i, leaf: leaves[i]! }));
      const others = othersOf(leaves, at);
      const found = rootFromSome(size, shown, others);
      if (found !== null && equal(found, root)) right++;
      const isRoot = (...args: Parameters<typeof rootFromSome>): boolean => {
        const other = rootFromSome(...args);
        return other !== null && equal(other, root);
      };
      const [first, ...rest] = shown;
      const lies: Parameters<typeof rootFromSome>[] = [
        [size, [{ at: first!.at, leaf: leavesOf(1)[0]! }, ...rest], others],
        [size, shown, [...others, leaves[0]!]],
        [size, shown, others.slice(1).concat(others.length > 1 ? others[0]! : leavesOf(2))],
        [size, [...shown].reverse().concat(shown.length === 1 ? shown : []), others],
        [size, shown, others.map((hash) => hash.subarray(1)).concat(others.length === 0 ? [new Uint8Array(31)] : [])],
        [size, [...shown, { at: size, leaf: leaves[0]! }], others],
      ];
      wrong += lies.filter((lie) => isRoot(...lie)).length;
    }
  }
  t.strictSame([right, wrong], [1013, 0]);
  t.end();
});

t.test('few hashes stand for many leaves', (t) => {
  t.ok(othersOf(leavesOf(103), [0, 1, 2, 50]).length <= 13);
  t.equal(rootFromSome(3, [], leavesOf(1)), null, 'nothing shown proves nothing');
  t.equal(rootFromSome(3, [{ at: 0, leaf: leavesOf(1)[0]! }], []), null, 'too few');
  t.end();
});
