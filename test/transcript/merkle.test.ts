import t from 'tap';
import fc from 'fast-check';
import { createHash } from 'node:crypto';
import type { Hash } from '../../base/bytes.ts';
import {
  EMPTY_ROOT,
  Frontier,
  leafHash,
  nodeHash,
  nodesOver,
  rootOf,
  Tree,
  type NodeReader,
} from '../../transcript/merkle.ts';
import {
  inclusionFromRange,
  isConsistent,
  isIncluded,
  rangeProofLength,
  rootFromInclusion,
  rootFromRange,
} from '../../transcript/proof.ts';
import { filled, property, unhex } from './sample.ts';

const hex = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString('hex'));
const numbered = (n: number): Hash[] => Array.from({ length: n }, (_, i) => leafHash(Buffer.from([i >> 8, i])));
const stranger = filled(0xee) as Uint8Array as Hash;

// The tree that implementations of RFC 6962 test with (certificate-transparency, merkletree tests).
const KNOWN_LEAVES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
];
const KNOWN_ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

t.test('leaf hashes of every length', async (t) => {
  for (const length of [0, 1, 248, 1022, 1023, 1024, 1025, 65535]) {
    const entry = filled(length & 255, length);
    t.equal(
      hex(leafHash(entry)),
      createHash('sha256').update(Buffer.of(0)).update(entry).digest('hex'),
      `${length} bytes`,
    );
  }
});

t.test('known tree of eight leaves: roots, paths, consistency', async (t) => {
  const leaves = KNOWN_LEAVES.map((leaf) => leafHash(unhex(leaf)));
  for (const [n, want] of KNOWN_ROOTS.entries()) {
    t.equal(hex(rootOf(leaves.slice(0, n))), want, `root of ${n}`);
    t.equal(hex(Frontier.empty.append(leaves.slice(0, n)).root()), want, `right edge of ${n}`);
    t.equal(hex(new Tree(n, nodesOver(leaves)).root()), want, `from nodes, ${n}`);
  }
  const tree = new Tree(8, nodesOver(leaves));
  t.strictSame(tree.inclusion(0).map(hex), [
    '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
    '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
    '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
  ]);
  t.strictSame(tree.consistency(6).map(hex), [
    '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
    'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  ]);
  t.strictSame(new Tree(5, nodesOver(leaves)).consistency(2).map(hex), [
    '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
    'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
  ]);
});

/** Every way to make a right list of hashes wrong. */
const forgeries = (proof: readonly Hash[]): Hash[][] => [
  [...proof, stranger],
  [stranger, ...proof],
  ...proof.map((_, i) => proof.filter((_, j) => i !== j)),
  ...proof.map((h, i) => proof.map((other, j) => (i === j ? (h.map((b, k) => (k === 7 ? b ^ 1 : b)) as Hash) : other))),
  ...(proof.length > 1 ? [proof.toReversed()] : []),
  ...(proof.length > 0 ? [[...proof.slice(0, -1), proof.at(-1)!.subarray(1) as Hash]] : []),
];

t.test('inclusion: all 2485 of trees up to 70, and no forgery', async (t) => {
  const all = numbered(70);
  let proofs = 0;
  let forged = 0;
  for (let size = 1; size <= 70; size++) {
    const leaves = all.slice(0, size);
    const root = rootOf(leaves);
    const tree = new Tree(size, nodesOver(leaves));
    for (let i = 0; i < size; i++) {
      const path = tree.inclusion(i);
      if (isIncluded(i, size, leaves[i]!, path, root)) proofs++;
      if (size > 16) continue;
      for (const wrong of forgeries(path)) if (isIncluded(i, size, leaves[i]!, wrong, root)) forged++;
      for (let at = 0; at <= size + 1; at++) if (at !== i && isIncluded(at, size, leaves[i]!, path, root)) forged++;
      if (isIncluded(i, size, stranger, path, root) || isIncluded(i, size, leaves[i]!, path, stranger)) forged++;
    }
  }
  t.equal(proofs, 2485);
  t.equal(forged, 0);
  t.equal(rootFromInclusion(0, 0, stranger, []), null, 'nothing is in an empty tree');
  t.equal(rootFromInclusion(-1, 2, stranger, [stranger]), null);
  t.equal(rootFromInclusion(0.5, 2, stranger, [stranger]), null);
});

t.test('a path of the wrong length for (index, size) is refused although it leads to the root', async (t) => {
  const leaves = numbered(8);
  const root = rootOf(leaves);
  const [left, right] = [rootOf(leaves.slice(0, 4)), rootOf(leaves.slice(4))];
  t.equal(hex(nodeHash(left, right)), hex(root));
  t.notOk(isIncluded(0, 8, left, [right], root), 'an inner node as a leaf');
  t.ok(isIncluded(0, 2, left, [right], root), 'as it would be in a tree of two');
  t.notOk(isIncluded(0, 1, right, [left], root), 'a surplus hash that leads to the root of a larger tree');
});

t.test('consistency: all 820 of trees up to 40, and no forgery', async (t) => {
  const all = numbered(40);
  const roots = Array.from({ length: 41 }, (_, n) => rootOf(all.slice(0, n)));
  let proofs = 0;
  let forged = 0;
  for (let size = 1; size <= 40; size++) {
    const tree = new Tree(size, nodesOver(all.slice(0, size)));
    for (let from = 1; from <= size; from++) {
      const proof = tree.consistency(from);
      if (isConsistent(from, roots[from]!, size, roots[size]!, proof)) proofs++;
      if (isConsistent(from, stranger, size, roots[size]!, proof)) forged++;
      if (isConsistent(from, roots[from]!, size, stranger, proof)) forged++;
      if (from < size && isConsistent(size, roots[size]!, from, roots[from]!, proof)) forged++;
      if (size > 20) continue;
      for (const wrong of forgeries(proof)) if (isConsistent(from, roots[from]!, size, roots[size]!, wrong)) forged++;
      for (let other = 1; other <= size; other++)
        if (other !== from && isConsistent(other, roots[from]!, size, roots[size]!, proof)) forged++;
    }
  }
  t.equal(proofs, 820);
  t.equal(forged, 0);
  const [one, two] = [roots[1]!, roots[2]!];
  t.ok(isConsistent(0, EMPTY_ROOT, 2, two, []), 'empty');
  t.notOk(isConsistent(0, EMPTY_ROOT, 2, two, [one]), 'empty with a proof');
  t.notOk(isConsistent(0, one, 2, two, []), 'empty with another root');
  t.ok(isConsistent(2, two, 2, two, []), 'equal');
  t.notOk(isConsistent(2, two, 2, one, []), 'equal sizes, other root: a fork');
  t.notOk(isConsistent(2, two, 2, two, [one]), 'equal with a proof');
  t.notOk(isConsistent(1, one, 2, two, []), 'no proof');
});

t.test('range: all of trees up to 24, each leaf provable alone, and no forgery', async (t) => {
  const all = numbered(24);
  let proofs = 0;
  let paths = 0;
  let forged = 0;
  let longest = 0;
  for (let size = 1; size <= 24; size++) {
    const leaves = all.slice(0, size);
    const root = hex(rootOf(leaves));
    const tree = new Tree(size, nodesOver(leaves));
    for (let start = 0; start < size; start++)
      for (let end = start + 1; end <= size; end++) {
        const proof = tree.range(start, end);
        const inside = leaves.slice(start, end);
        longest = Math.max(longest, proof.length - 2 * Math.log2(size));
        if (
          hex(rootFromRange(start, inside, size, proof)) === root &&
          rangeProofLength(start, end, size) === proof.length
        )
          proofs++;
        for (let i = start; i < end; i++)
          if (
            hex(Buffer.concat(inclusionFromRange(i, start, inside, size, proof)!)) ===
            hex(Buffer.concat(tree.inclusion(i)))
          )
            paths++;
        if (size > 10) continue;
        for (const wrong of forgeries(proof)) if (hex(rootFromRange(start, inside, size, wrong)) === root) forged++;
        if (hex(rootFromRange(start + 1, inside, size, proof)) === root) forged++;
        if (hex(rootFromRange(start, [stranger, ...inside.slice(1)], size, proof)) === root) forged++;
        if (inside.length > 1 && hex(rootFromRange(start, inside.slice(1), size, proof)) === root) forged++;
        if (inside.length > 1 && hex(rootFromRange(start, inside.toReversed(), size, proof)) === root) forged++;
        if (inclusionFromRange(end, start, inside, size, proof) !== null) forged++;
      }
  }
  t.equal(proofs, 2600);
  t.equal(paths, 17550, 'one path for each leaf of each range');
  t.equal(forged, 0);
  t.ok(longest <= 0, 'never more than 2·log2(n) hashes');
  t.equal(rootFromRange(0, [], 5, []), null, 'no leaf');
  t.equal(rootFromRange(4, all.slice(0, 2), 5, []), null, 'beyond the tree');
});

t.test('hashes that are not 32 bytes are refused, whatever was hashed just before', async (t) => {
  const [a, b] = numbered(2) as [Hash, Hash];
  const root = rootOf([a, b]);
  const short = b.subarray(0, 31) as Hash;
  const long = Buffer.concat([a, filled(1, 1)]) as Uint8Array as Hash;
  nodeHash(a, b);
  t.notOk(isIncluded(0, 2, a, [short], root), 'inclusion, 31');
  t.notOk(isIncluded(1, 2, b, [long], root), 'inclusion, 33');
  nodeHash(a, b);
  t.notOk(isConsistent(1, a, 2, root, [short]), 'consistency, 31');
  nodeHash(a, b);
  t.equal(rootFromRange(0, [a], 2, [short]), null, 'range, 31');
  t.equal(rootFromRange(1, [b], 2, [long]), null, 'range, 33');
  t.equal(rootFromRange(0, [a, short], 2, []), null, 'leaf of a range, 31');
});

t.test('proofs do not change the tree they are made from', async (t) => {
  const leaves = numbered(23);
  const tree = new Tree(23, nodesOver(leaves));
  for (let i = 0; i < 23; i++) tree.inclusion(i);
  t.equal(hex(tree.root()), hex(rootOf(leaves)));
  for (let i = 0; i < 23; i++) t.ok(isIncluded(i, 23, leaves[i]!, tree.inclusion(i), tree.root()));
});

t.test('what can not be asked', async (t) => {
  const tree = new Tree(5, nodesOver(numbered(5)));
  for (const run of [
    () => tree.inclusion(5),
    () => tree.inclusion(-1),
    () => tree.consistency(6),
    () => tree.range(2, 2),
    () => tree.range(0, 6),
    () => new Tree(2 ** 52 + 2, nodesOver([])),
    () => new Tree(1.5, nodesOver([])),
    () => new Frontier(3, [stranger]),
    () => new Frontier(1, [stranger.subarray(1) as Hash]),
    () => nodesOver(numbered(5))(2, 1),
  ])
    t.throws(run, RangeError);
});

t.test('right edge: grows in any steps to the same tree, and older values stay', async () => {
  property(fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 12 }), (steps) => {
    const leaves = numbered(steps.reduce((a, b) => a + b, 0));
    let edge = Frontier.empty;
    const nodes = new Map<string, Hash>();
    for (const step of steps) {
      const before = edge;
      const root = hex(before.root());
      edge = edge.append(leaves.slice(edge.size, edge.size + step), (level, index, h) =>
        nodes.set(`${level}/${index}`, h),
      );
      if (hex(before.root()) !== root) throw new Error('the older value changed');
    }
    const read: NodeReader = (level, index) => nodes.get(`${level}/${index}`)!;
    if (hex(edge.root()) !== hex(rootOf(leaves)) || hex(new Tree(edge.size, read).root()) !== hex(rootOf(leaves)))
      throw new Error('another root');
    if (hex(Frontier.of(edge.size, read).root()) !== hex(rootOf(leaves))) throw new Error('another edge');
  });
});

t.test('sizes beyond 32 bits: a tree of equal leaves, whose complete nodes are one for each level', async (t) => {
  const levels: Hash[] = [leafHash(Buffer.from('same'))];
  for (let level = 1; level <= 52; level++) levels.push(nodeHash(levels[level - 1]!, levels[level - 1]!));
  const read: NodeReader = (level) => levels[level]!;
  const leaf = levels[0]!;
  for (const size of [2 ** 31 + 1, 2 ** 32 - 1, 2 ** 32 + 5, 2 ** 40 + 2 ** 33 + 7, 2 ** 52 - 3, 2 ** 52]) {
    const tree = new Tree(size, read);
    const root = tree.root();
    t.equal(hex(Frontier.of(size, read).root()), hex(root), `edge of ${size}`);
    t.equal(
      hex(
        Frontier.of(size - 3, read)
          .append([leaf, leaf, leaf])
          .root(),
      ),
      hex(root),
      `growth to ${size}`,
    );
    for (const index of [0, 2 ** 31, size - 4, size - 1])
      t.ok(isIncluded(index, size, leaf, tree.inclusion(index), root), `${index} of ${size}`);
    for (const from of [1, 2 ** 31, 2 ** 31 + 1, size - 1])
      t.ok(isConsistent(from, new Tree(from, read).root(), size, root, tree.consistency(from)), `${from} to ${size}`);
    const range = tree.range(size - 9, size - 4);
    t.equal(hex(rootFromRange(size - 9, [leaf, leaf, leaf, leaf, leaf], size, range)), hex(root), `range of ${size}`);
  }
});
