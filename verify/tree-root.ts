/**
 * The root that a log directory had at an earlier size, and the time of its last entry then: a few tiles are read for it, not the log. What
 * was read is remembered, for a log may hold a checkpoint in every other entry, and a bundle of entries may have 16 MB.
 */
import { ChatError } from '../base/errors.ts';
import { decodeLeaf, MAX_ENTRY_BYTES } from '../transcript/leaf.ts';
import { HASH_BYTES, Tree } from '../transcript/merkle.ts';
import { decodeBundle, decodeTile, nodesInTiles, tileIn, tilePath, TILE_WIDTH, type Tile } from '../transcript/tile.ts';
import type { Hash } from '../base/bytes.ts';
import { readTile } from './tile-file.ts';

/** 8 KiB each. */
const MAX_TILES = 256;
/** 2 KiB each: the times of a bundle. */
const MAX_BUNDLES = 1024;
const MAX_ROOTS = 256;

export class TreeFiles {
  readonly #dir: string;
  readonly #size: number;
  readonly #roots = new Recent<number, Hash | null>(MAX_ROOTS);
  readonly #tiles = new Recent<string, readonly Hash[] | null>(MAX_TILES);
  readonly #times = new Recent<number, readonly (number | null)[] | null>(MAX_BUNDLES);

  /** @param size of the log */
  constructor(dir: string, size: number) {
    this.#dir = dir;
    this.#size = size;
  }

  /** Null: a tile is not there, which whoever compares all tiles with the entries finds. @param size at most that of the log, at least 1 */
  rootAt(size: number): Hash | null {
    const load = (tile: Tile): readonly Hash[] => {
      const read = () => unlessDamaged(() => decodeTile(this.#read(tile, HASH_BYTES), tile.width));
      const hashes = this.#tiles.of(tilePath(tile), read);
      if (hashes === null) throw new ChatError('LOG_CORRUPT', 'a tile is damaged');
      return hashes;
    };
    return this.#roots.of(size, () => unlessDamaged(() => new Tree(size, nodesInTiles(this.#size, load)).root()));
  }

  /** server_time of an entry; null as above. */
  timeAt(index: number): number | null {
    const number = Math.floor(index / TILE_WIDTH);
    const times = this.#times.of(number, () =>
      unlessDamaged(() => {
        const tile = tileIn(this.#size, 'entries', number);
        const entries = decodeBundle(this.#read(tile, 2 + MAX_ENTRY_BYTES), tile.width);
        return entries.map((entry) => unlessDamaged(() => decodeLeaf(entry).serverTime));
      }),
    );
    return times?.[index % TILE_WIDTH] ?? null;
  }

  /** @param itemBytes most bytes of one hash or entry @throws LOG_CORRUPT */
  #read(tile: Tile, itemBytes: number): Buffer {
    const file = readTile(this.#dir, tile, TILE_WIDTH * itemBytes);
    if ('fault' in file) throw new ChatError('LOG_CORRUPT', file.fault);
    return file.bytes;
  }
}

/** The last few answers. */
class Recent<K, V> {
  readonly #limit: number;
  readonly #kept = new Map<K, V>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  of(key: K, make: () => V): V {
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    const made = make();
    if (this.#kept.size >= this.#limit) this.#kept.delete(this.#kept.keys().next().value!);
    this.#kept.set(key, made);
    return made;
  }
}

function unlessDamaged<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (ChatError.from(error).code === 'INTERNAL') throw error;
    return null;
  }
}
