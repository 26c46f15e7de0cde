/** Proofs of consistency that a bundle holds: each size of a small tree, right and altered. */
import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import { formatConsistency } from '../../transcript/bundle.ts';
import { leafHash, nodesOver, Tree } from '../../transcript/merkle.ts';
import { ConsistencyFiles, largestIn } from '../../verify/consistency-files.ts';
import { noteAt } from '../support/log-writer.ts';
import { leaves, world } from './tamper.ts';

const hashes = Array.from({ length: 40 }, (_, i) => leafHash(Buffer.of(i)));
const tree = (size: number): Tree => new Tree(size, nodesOver(hashes.slice(0, size)));
const note = Buffer.from('the note of the largest\n');
const origin = 'chat.example.org/log/n1';
const another = leafHash(Buffer.from('another'));

t.test('each size of each tree', async (t) => {
  let [right, wrong, told] = [0, 0, 0];
  for (let to = 1; to <= hashes.length; to++) {
    const largest = { origin, size: to, root: tree(to).root() };
    for (let from = 1; from <= to; from++) {
      const older = { origin, size: from, root: tree(from).root() };
      const proof = tree(to).consistency(from);
      const ask = (path: readonly Hash[], of = older, ends = note): boolean | undefined => {
        const files = new ConsistencyFiles('log/01');
        files.add(from, formatConsistency(from, path, ends), { note, ...largest });
        return files.isPrefix(of, largest);
      };
      if (ask(proof)) right++;
      const altered = [
        ...proof.map((_, i) => proof.map((hash, k) => (k === i ? another : hash))),
        [...proof, another],
        ...(proof.length > 0 ? [proof.slice(1), proof.slice(0, -1)] : []),
      ];
      for (const path of altered) if (ask(path) !== false) wrong++;
      if (ask(proof, { ...older, root: another }) !== false) wrong++;
      if (ask(proof, older, Buffer.from('another note\n')) !== false) wrong++;
      if (new ConsistencyFiles('log/01').isPrefix(older, largest) === undefined) told++;
    }
  }
  t.equal(right, 820);
  t.equal(wrong, 0);
  t.equal(told, 820, 'where there is none, that is said');
});

t.test('what is for another size, or ends in nothing', async (t) => {
  const files = new ConsistencyFiles('log/01');
  const largest = { origin, size: 5, root: tree(5).root() };
  const bytes = formatConsistency(3, tree(5).consistency(3), note);
  t.throws(() => files.add(2, bytes, { note, ...largest }), { code: 'BAD_FRAME' });
  files.add(3, bytes, null);
  t.equal(files.isPrefix({ origin, size: 3, root: tree(3).root() }, largest), false);
  files.add(3, bytes, { note, ...largest });
  t.equal(files.isPrefix({ origin, size: 3, root: tree(3).root() }, largest), true, 'the last one of a name counts');
  files.add(6, formatConsistency(6, [another], note), { note, ...largest });
  t.equal(files.isPrefix({ origin, size: 6, root: tree(6).root() }, largest), false, 'of a larger one');
  t.equal(files.nameOf(3), 'log/01/consistency/3');
});

t.test('the largest, before it is judged', async (t) => {
  const signed = noteAt(world, leaves, 10);
  t.match(largestIn(signed), { size: 10, note: signed });
  const forged = Buffer.from(signed);
  const at = forged.length - 10; // of the signature, in base64
  forged.write(forged[at] === 0x41 ? 'B' : 'A', at);
  t.match(largestIn(forged), { size: 10 }, 'whoever signed it');
  t.equal(largestIn(Buffer.from('no note')), null);
});
