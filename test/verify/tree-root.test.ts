/** Roots and times at earlier sizes: right, and read from the disk once, for a log may ask for the same ones thousands of times. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { leafHash, rootOf } from '../../transcript/merkle.ts';
import { TreeFiles } from '../../verify/tree-root.ts';
import { writeFiles } from '../support/log-writer.ts';
import { files, leaves } from './tamper.ts';

const hashes = leaves.map((leaf) => leafHash(encodeLeaf(leaf)));

t.test('a tree as files', async (t) => {
  const dir = t.testdir({});
  writeFiles(dir, files);
  const tree = new TreeFiles(dir, leaves.length);
  for (const size of [1, 2, 255, 256, 257, 511, 512, 513, leaves.length])
    t.same(tree.rootAt(size), rootOf(hashes.slice(0, size)), `${size} entries`);
  for (const index of [0, 9, 255, 256, leaves.length - 1]) t.equal(tree.timeAt(index), leaves[index]!.serverTime);
});

t.test('what was read is remembered', async (t) => {
  const dir = t.testdir({});
  writeFiles(dir, files);
  const tree = new TreeFiles(dir, leaves.length);
  tree.rootAt(200);
  tree.timeAt(3);
  rmSync(join(dir, 'tile'), { recursive: true });
  t.same(tree.rootAt(200), rootOf(hashes.slice(0, 200)));
  t.same(tree.rootAt(77), rootOf(hashes.slice(0, 77)), 'also for another size, of the same tiles');
  t.equal(tree.timeAt(200), leaves[200]!.serverTime, 'and for another entry of the same bundle');
  t.equal(tree.rootAt(300), null, 'what was not is not there');
  t.equal(tree.timeAt(300), null);
  writeFiles(dir, files);
  t.equal(tree.rootAt(300), null, 'nor is it looked for again');
  t.equal(tree.timeAt(300), null);
});
