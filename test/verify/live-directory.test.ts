/** A directory that a server goes on writing, and readers of files that are not what they seem. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { decodeBundle, tilePath, TILE_WIDTH } from '../../transcript/tile.ts';
import { MAX_INPUT_BYTES, readInput, readInside } from '../../verify/capped-file.ts';
import { EXIT, Findings } from '../../verify/finding.ts';
import { auditDirectory } from '../../verify/log-directory.ts';
import { readTile } from '../../verify/tile-file.ts';
import { compose, genCerts, noteAt, seal, STORY, writeFiles } from '../support/log-writer.ts';

const { ca, world } = genCerts();
const leaves = compose(world, STORY.slice(0, 5)); // 274 entries
const files = seal(world, leaves);

function audit(dir: string, now: ReadonlyMap<string, Uint8Array>, size: number) {
  mkdirSync(dir);
  writeFiles(dir, now);
  writeFileSync(join(dir, 'checkpoint'), noteAt(world, leaves, size));
  const findings = new Findings();
  const audited = auditDirectory(dir, { roots: [ca], crls: [] }, [], findings);
  return { exit: EXIT[findings.verdict(false)], size: audited?.checkpoint?.size, entries: audited?.tally.entries };
}

t.test('the tiles are of a later time than the checkpoint', async (t) => {
  const dir = t.testdir({});
  t.same(audit(join(dir, 'full'), files, 14), { exit: 0, size: 14, entries: 14 }, 'a full tile for a partial one');
  const wider = seal(world, leaves.slice(0, 16));
  t.ok(wider.has('tile/entries/000.p/16'));
  t.same(audit(join(dir, 'wider'), wider, 14), { exit: 0, size: 14, entries: 14 }, 'a wider partial tile');
  const narrower = seal(world, leaves.slice(0, 14));
  t.same(audit(join(dir, 'narrower'), narrower, 16), { exit: 10, size: 16, entries: 0 }, 'a narrower one does not do');
});

t.test('what readTile cuts from a wider tile', async (t) => {
  const dir = t.testdir({});
  writeFiles(dir, files);
  const bundle = readTile(dir, { level: 'entries', index: 0, width: 3 }, 1_000_000);
  t.same('bytes' in bundle && bundle.path, 'tile/entries/000', 'names the file that served');
  t.equal('bytes' in bundle && decodeBundle(bundle.bytes, 3).length, 3, 'exactly three entries');
  const hashes = readTile(dir, { level: 0, index: 0, width: 255 }, 1_000_000);
  t.equal('bytes' in hashes && hashes.bytes.length, 255 * 32, 'exactly 255 hashes');
  t.match(readTile(dir, { level: 0, index: 1, width: TILE_WIDTH }, 1_000_000), { fault: 'is missing' }, 'never less');
  const short = tilePath({ level: 'entries', index: 5, width: 200 });
  writeFiles(dir, new Map([[short, Buffer.from([0, 1, 7, 0, 9])]]));
  const cut = readTile(dir, { level: 'entries', index: 5, width: 3 }, 100);
  t.throws(
    () => 'bytes' in cut && decodeBundle(cut.bytes, 3),
    { code: 'BAD_FRAME' },
    'damage is not hidden by cutting',
  );
});

t.test('files inside', async (t) => {
  const dir = t.testdir({ small: 'abc', folder: {} });
  const path = (name: string) => join(dir, name);
  t.same(readInside(path('small'), 3), { bytes: Buffer.from('abc') }, 'as large as allowed');
  t.match(readInside(path('small'), 2), { fault: /larger than 2 bytes/, isMissing: false });
  t.match(readInside(path('none'), 2), { fault: 'is missing', isMissing: true });
  t.match(readInside(path('small/none'), 2), { isMissing: true }, 'a file where a folder should be');
  t.match(readInside(path('folder'), 9), { fault: 'is not a regular file', isMissing: false });
  symlinkSync(path('small'), path('link'));
  t.match(readInside(path('link'), 9), { fault: 'is a symbolic link', isMissing: false });
  execFileSync('mkfifo', [path('pipe')]);
  t.match(
    readInside(path('pipe'), 9),
    { fault: 'is not a regular file', isMissing: false },
    'does not wait for a writer',
  );
  t.match(readInside('/dev/zero', 9), { fault: 'is not a regular file', isMissing: false });
});

t.test('files that the user names', async (t) => {
  const dir = t.testdir({ small: 'abc' });
  t.same(readInput(join(dir, 'small')), Buffer.from('abc'));
  t.throws(() => readInput(dir), { code: 'USAGE', message: /directory/ });
  t.throws(() => readInput(join(dir, 'none')), { code: 'USAGE', message: /ENOENT/ });
  t.throws(() => readInput('/dev/zero'), { code: 'USAGE', message: /larger/ }, 'ends without an end');
  writeFileSync(join(dir, 'large'), Buffer.alloc(MAX_INPUT_BYTES));
  t.equal(readInput(join(dir, 'large')).length, MAX_INPUT_BYTES, 'as large as allowed');
  renameSync(join(dir, 'small'), join(dir, 'moved'));
  rmSync(join(dir, 'large'));
});
