/** A program that shares no code with ours, written from the C2SP specifications, reads the same log. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { base64 } from '../../base/bytes.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { formatVkey } from '../../transcript/note.ts';
import { compose, genCerts, headOf, seal, writeFiles } from '../support/log-writer.ts';
import { flipped } from './tamper.ts';

const script = fileURLToPath(new URL('../support/read-log.py', import.meta.url));
const hasPython = spawnSync('python3', ['--version']).status === 0;

t.test('the directory is a C2SP tiled log', { skip: hasPython ? false : 'needs python3' }, async (t) => {
  const { world } = genCerts();
  const leaves = compose(world);
  const files = seal(world, leaves);
  const dir = t.testdir({});
  writeFiles(dir, files);
  const read = () => {
    const { status, stdout, stderr } = spawnSync('python3', [script, dir, formatVkey(world.log)], { encoding: 'utf8' });
    return status === 0 ? JSON.parse(stdout) : stderr.trim().split('\n').at(-1);
  };
  const { size, root } = headOf(world, leaves.map(encodeLeaf));
  t.same(read(), { size, root: base64(root), tiles: 4, levels: 2 }, 'size, root, signature, tiles of two levels');
  for (const [path, fault] of [
    ['tile/entries/001', 'AssertionError: root'],
    ['tile/0/001', 'AssertionError: tile'],
    ['tile/1/000.p/2', 'AssertionError: tile'],
  ] as const) {
    writeFileSync(join(dir, path), flipped(files.get(path)!, 40));
    t.equal(read(), fault, `a bit in ${path}`);
    writeFileSync(join(dir, path), files.get(path)!);
  }
  writeFileSync(
    join(dir, 'checkpoint'),
    files
      .get('checkpoint')!
      .toString()
      .replace(`\n${size}\n`, `\n${size - 1}\n`),
  );
  t.match(read(), /CalledProcessError/, 'another size than was signed');
});
