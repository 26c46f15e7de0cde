/** The root that a log directory had at an earlier size, and the time of its last entry then: a few tiles are read for it, not the log. */
import { ChatError } from '../base/errors.ts';
import { decodeLeaf, MAX_ENTRY_BYTES } from '../transcript/leaf.ts';
import { HASH_BYTES, Tree } from '../transcript/merkle.ts';
import { decodeBundle, decodeTile, nodesInTiles, tileIn, TILE_WIDTH, type Tile } from '../transcript/tile.ts';
import type { Hash } from '../base/bytes.ts';
import { readTile } from './tile-file.ts';

/** Null: a tile is not there, which whoever compares all tiles with the entries finds. @param size at most `treeSize`, at least 1 */
export function rootAt(dir: string, treeSize: number, size: number): Hash | null {
  const load = (tile: Tile): readonly Hash[] => {
    const file = readTile(dir, tile, TILE_WIDTH * HASH_BYTES);
    if ('fault' in file) throw new ChatError('LOG_CORRUPT', file.fault);
    return decodeTile(file.bytes, tile.width);
  };
  return unlessDamaged(() => new Tree(size, nodesInTiles(treeSize, load)).root());
}

/** server_time of an entry; null as above. */
export function timeAt(dir: string, treeSize: number, index: number): number | null {
  return unlessDamaged(() => {
    const tile = tileIn(treeSize, 'entries', Math.floor(index / TILE_WIDTH));
    const file = readTile(dir, tile, TILE_WIDTH * (2 + MAX_ENTRY_BYTES));
    if ('fault' in file) throw new ChatError('LOG_CORRUPT', file.fault);
    return decodeLeaf(decodeBundle(file.bytes, tile.width)[index % TILE_WIDTH]!).serverTime;
  });
}

function unlessDamaged<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (ChatError.from(error).code === 'INTERNAL') throw error;
    return null;
  }
}
