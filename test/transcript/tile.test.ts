import t from 'tap';
import fc from 'fast-check';
import { Frontier, leafHash, nodesOver, rootOf, Tree } from '../../transcript/merkle.ts';
import {
  decodeBundle,
  decodeTile,
  encodeBundle,
  encodeTile,
  nodesInTiles,
  parseTilePath,
  tileIn,
  tilePath,
  tilesOf,
  type Tile,
} from '../../transcript/tile.ts';
import { damaged, decodesStrictly, filled, property, refuses } from './sample.ts';

const leaves = Array.from({ length: 1100 }, (_, i) => leafHash(Buffer.from([i >> 8, i])));
const paths = (size: number, from = 0) => [...tilesOf(size, from)].map(tilePath);

t.test('paths of C2SP tlog-tiles', async (t) => {
  const rows: [tile: Tile, path: string][] = [
    [{ level: 0, index: 0, width: 256 }, 'tile/0/000'],
    [{ level: 0, index: 1234067, width: 256 }, 'tile/0/x001/x234/067'],
    [{ level: 0, index: 1000, width: 256 }, 'tile/0/x001/000'],
    [{ level: 'entries', index: 1234, width: 17 }, 'tile/entries/x001/234.p/17'],
    [{ level: 63, index: 999, width: 1 }, 'tile/63/999.p/1'],
    [{ level: 1, index: 2 ** 44, width: 255 }, 'tile/1/x017/x592/x186/x044/416.p/255'],
  ];
  for (const [tile, path] of rows) {
    t.equal(tilePath(tile), path);
    t.strictSame(parseTilePath(path), tile);
  }
  for (const path of [
    '',
    'tile/0',
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/00/000',
    'tile/64/000',
    'tile/-1/000',
    '/tile/0/000',
    'tile/0/x000/001',
    'tile/0/001/001',
    'tile/0/x001',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/000.p',
    'tile/data/000',
    'tile/8/0/000',
    'tile/0/000/',
    'tile/0/../000',
    'tile/0/000\n',
    'tile/0/x999/x999/x999/x999/x999/999',
  ])
    refuses(t, () => parseTilePath(path), 'BAD_FRAME', 'tile.path', JSON.stringify(path));
});

t.test('which tiles exist', async (t) => {
  t.strictSame(paths(0), []);
  t.strictSame(paths(1), ['tile/0/000.p/1', 'tile/entries/000.p/1']);
  t.strictSame(paths(256), ['tile/0/000', 'tile/1/000.p/1', 'tile/entries/000'], 'the example of 256');
  const large = paths(70_000).filter((path) => !path.includes('entries')); // the example of 70,000
  t.equal(large.length, 273 + 1 + 1 + 1 + 1);
  t.strictSame(large.slice(-5), ['tile/0/272', 'tile/0/273.p/112', 'tile/1/000', 'tile/1/001.p/17', 'tile/2/000.p/1']);
  t.strictSame(paths(300, 300), []);
  t.strictSame(paths(300, 299), ['tile/0/001.p/44', 'tile/entries/001.p/44']);
  t.strictSame(paths(512, 300), ['tile/0/001', 'tile/1/000.p/2', 'tile/entries/001']);
  property(
    fc.tuple(fc.nat(200_000), fc.nat(200_000)),
    ([a, b]) => {
      const [from, size] = [Math.min(a, b), Math.max(a, b)];
      const older = new Set(paths(from));
      if (
        paths(size, from).join() !==
        paths(size)
          .filter((path) => !older.has(path))
          .join()
      )
        throw new Error('not the difference');
      for (const tile of tilesOf(size))
        if (tilePath(tileIn(size, tile.level, tile.index)) !== tilePath(tile)) throw tile;
    },
    60,
  );
  t.throws(() => tileIn(256, 0, 1), RangeError);
  t.throws(() => tileIn(255, 1, 0), RangeError);
});

t.test('proofs from tiles are those from leaves', async (t) => {
  for (const size of [1, 255, 256, 257, 512, 700, 1100]) {
    const files = new Map<string, Buffer>();
    for (const tile of tilesOf(size)) {
      if (tile.level === 'entries') continue;
      const span = 256 ** tile.level;
      const at = (i: number) => (tile.index * 256 + i) * span;
      const hashes = Array.from({ length: tile.width }, (_, i) => rootOf(leaves.slice(at(i), at(i + 1))));
      files.set(tilePath(tile), encodeTile(hashes));
    }
    const read = nodesInTiles(size, (tile) => decodeTile(files.get(tilePath(tile))!, tile.width));
    const [fromTiles, fromLeaves] = [new Tree(size, read), new Tree(size, nodesOver(leaves.slice(0, size)))];
    t.strictSame(fromTiles.root(), fromLeaves.root(), `root of ${size}`);
    t.strictSame(fromTiles.inclusion(size >> 1), fromLeaves.inclusion(size >> 1));
    t.strictSame(fromTiles.consistency((size >> 1) + 1), fromLeaves.consistency((size >> 1) + 1));
    t.strictSame(Frontier.of(size, read).root(), fromLeaves.root());
  }
  const read = nodesInTiles(3, () => leaves.slice(0, 3));
  t.throws(() => read(1, 1), RangeError, 'a node that is not complete');
});

t.test('contents', async (t) => {
  const three = leaves.slice(0, 3);
  t.strictSame(decodeTile(encodeTile(three), 3).map(Buffer.from), three.map(Buffer.from));
  for (const width of [2, 4])
    refuses(t, () => decodeTile(encodeTile(three), width), 'BAD_FRAME', 'tile.length', `${width}`);
  refuses(t, () => decodeTile(filled(1, 95), 3), 'BAD_FRAME', 'tile.length', 'a cut hash');
  const entries = [filled(1, 0), filled(2, 300), filled(3, 65535)];
  const bundle = encodeBundle(entries);
  t.strictSame(decodeBundle(bundle, 3), entries);
  refuses(t, () => decodeBundle(bundle, 2), 'BAD_FRAME', 'bundle.length', 'an entry more');
  refuses(t, () => decodeBundle(bundle, 4), 'BAD_FRAME', 'bundle.entry', 'an entry less');
  refuses(t, () => decodeBundle(bundle.subarray(0, -1), 3), 'BAD_FRAME', 'bundle.entry', 'cut');
  refuses(t, () => encodeBundle([filled(1, 65536)]), 'BAD_FRAME', 'bundle.entry', 'too long');
  decodesStrictly(damaged(encodeBundle(entries.slice(0, 2))), (b) => decodeBundle(b, 2), encodeBundle);
});
