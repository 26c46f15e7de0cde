/** One bit anywhere in a log directory: always found, never exit status 0, and the finding names the file or the entry. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { parseTilePath, TILE_WIDTH } from '../../transcript/tile.ts';
import { EXIT, Findings } from '../../verify/finding.ts';
import { auditDirectory } from '../../verify/log-directory.ts';
import { compose, genCerts, seal, writeFiles, type Step } from '../support/log-writer.ts';
import { flipped } from './tamper.ts';

const isFuzz = process.env['FUZZ'] === '1';
const { ca, world } = genCerts();
const root = t.testdir({});

function written(name: string, story: readonly Step[]) {
  const leaves = compose(world, story);
  const files = seal(world, leaves);
  const dir = join(root, name);
  mkdirSync(dir);
  writeFiles(dir, files);
  return { leaves, files, dir };
}
function audit(dir: string) {
  const findings = new Findings();
  auditDirectory(dir, { roots: [ca], crls: [] }, [], findings);
  return { exit: EXIT[findings.verdict(false)]!, kept: findings.kept };
}
/** Why a flip was not found as it should be; null: it was. */
function miss(
  { dir, files }: ReturnType<typeof written>,
  path: string,
  offset: number,
  bit: number,
  places: readonly string[],
) {
  const bytes = files.get(path)!;
  writeFileSync(join(dir, path), flipped(bytes, offset, bit));
  const { exit, kept } = audit(dir);
  writeFileSync(join(dir, path), bytes);
  const isNamed = kept.some(({ code, where }) => code.startsWith('E_') && places.includes(where));
  return exit >= 10 && isNamed ? null : { path, offset, bit, exit, kept };
}

t.test('every byte of the small files', async (t) => {
  const log = written('small', [{ sender: 'carol', conversations: ['c', 'c'], at: 0 }]);
  t.equal(audit(log.dir).exit, 0, 'valid before');
  for (const path of ['checkpoint', 'key.stmt', 'key.sig']) {
    const bytes = log.files.get(path)!;
    const misses = Array.from(bytes, (_, offset) => miss(log, path, offset, (offset * 5) % 8, [path]));
    t.same(misses.filter(Boolean).slice(0, 3), [], `${path}: ${bytes.length} bits`);
  }
  t.equal(audit(log.dir).exit, 0, 'valid afterwards');
});

t.test('tiles and entries', async (t) => {
  const log = written('large', [
    { sender: 'alice', conversations: ['a', 'b'], at: 0 },
    { sender: 'bob', conversations: Array.from({ length: 270 }, () => 'b'), at: 1000 },
  ]);
  const tiles = [...log.files]
    .filter(([path]) => path.startsWith('tile/'))
    .map(([path, { length }]) => ({ path, length }));
  t.equal(tiles.length, 5, 'full and partial tiles, and an upper one');
  const ends = log.leaves.map(encodeLeaf).map((entry) => 2 + entry.length);
  /** In a bundle: the entry that the byte belongs to, or whose length it is. */
  const entryAt = (index: number, offset: number): number => {
    let entry = index * TILE_WIDTH;
    for (let end = ends[entry]!; end <= offset; end += ends[entry]!) entry++;
    return entry;
  };
  const places = (path: string, offset: number): string[] => {
    const { level, index } = parseTilePath(path);
    return level === 'entries' ? [path, `entry ${entryAt(index, offset)}`] : [path];
  };
  fc.assert(
    fc.property(fc.constantFrom(...tiles), fc.nat(), fc.nat(7), ({ path, length }, number, bit) => {
      const missed = miss(log, path, number % length, bit, places(path, number % length));
      if (missed) throw new Error(JSON.stringify(missed));
    }),
    isFuzz ? { numRuns: 30_000 } : { seed: 20260101, numRuns: process.env['CHAT_FEW_FLIPS'] === '1' ? 60 : 300 },
  );
  t.pass('300 bits');
  t.equal(audit(log.dir).exit, 0, 'valid afterwards');
});
