/**
 * The tree's nodes: in memory the right edge, what is not yet published, and the tiles used last; all others are on disk, where each
 * full tile is checked against its parent before it is believed. Appending and proving cost the same in a small log and in a large one.
 */
import { equal, type Hash } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { Frontier, HASH_BYTES, nodeHash, Tree } from '../../transcript/merkle.ts';
import { decodeTile, TILE_WIDTH } from '../../transcript/tile.ts';

/** A tile spans 8 levels of the tree. */
const TILE_HEIGHT = 8;
const NODES_PER_TILE = 510; // its root is a leaf of the tile above
const RECENT_TILES = 128; // 2 MiB

/** The hashes at the bottom of a tile. @throws LOG_CORRUPT if the file is missing or has another length */
export type TileReader = (level: number, index: number, width: number) => Promise<Hash[]>;

/** A tree with more leaves, not yet in force. */
export interface Growth {
  readonly root: Hash;
  /** Puts it in force. */
  commit(): void;
}

export class Nodes {
  #frontier = Frontier.empty;
  /** Right edge, and full tiles that are not on disk yet. */
  readonly #kept = new Map<number, Tile>();
  readonly #recent = new Map<number, Tile>();
  readonly #readTile: TileReader;

  constructor(readTile: TileReader) {
    this.#readTile = readTile;
  }

  /** The tree of `size` leaves whose tiles are on disk. Its root is for the caller to check. @throws LOG_CORRUPT */
  static async restore(size: number, readTile: TileReader): Promise<Nodes> {
    const nodes = new Nodes(readTile);
    for (let level = 0, hashes = size; hashes > 0; level++, hashes = Math.floor(hashes / TILE_WIDTH)) {
      const width = hashes % TILE_WIDTH;
      if (width === 0) continue;
      const index = Math.floor(hashes / TILE_WIDTH);
      nodes.#kept.set(keyOf(level, index), Tile.of(await readTile(level, index, width)));
    }
    nodes.#frontier = Frontier.of(size, nodes.read);
    return nodes;
  }

  get size(): number {
    return this.#frontier.size;
  }

  root(): Hash {
    return this.#frontier.root();
  }

  frontier(): Frontier {
    return this.#frontier;
  }

  /** Computes the tree with these leaves at the right; nothing has changed until `commit`. */
  grow(leaves: readonly Hash[]): Growth {
    const nodes: [level: number, index: number, hash: Hash][] = [];
    const frontier = this.#frontier.append(leaves, (...node) => nodes.push(node));
    return {
      root: frontier.root(),
      commit: () => {
        this.#frontier = frontier;
        for (const node of nodes) this.#set(...node);
      },
    };
  }

  /** The bottom of a tile that is not published yet, as wide as the tree of `size` has it. */
  unpublished(level: number, index: number, width: number): Buffer {
    const tile = this.#kept.get(keyOf(level, index));
    if (tile === undefined || tile.width < width) throw new RangeError(`tile ${level}/${index} is not in memory`);
    return tile.bottom(width);
  }

  /** Tiles that are full in the tree of `size` are on disk now. */
  published(size: number): void {
    for (const [key, tile] of this.#kept) {
      const { level, index } = tileOf(key);
      if ((index + 1) * TILE_WIDTH ** (level + 1) > size) continue;
      this.#kept.delete(key);
      this.#remember(key, tile);
    }
  }

  /**
   * Makes proofs in a tree of `size` leaves; tiles that `prove` turns out to need are read, and then it is called once more.
   * @throws LOG_CORRUPT naming a tile that does not fit the tree
   */
  async prove<T>(tree: Tree, prove: (tree: Tree) => T): Promise<T> {
    for (;;) {
      try {
        return prove(tree);
      } catch (error) {
        if (!(error instanceof MissingTile)) throw error;
        await this.#load(error.level, error.index);
      }
    }
  }

  /** A tree over these nodes. Right-edge hashes are kept with it, so that all proofs of one checkpoint share them. */
  tree(size: number): Tree {
    return new Tree(size, this.read);
  }

  /** Leaf hashes [index·256, +256) of a full tile. @throws LOG_CORRUPT */
  async leaves(index: number): Promise<Hash[]> {
    return decodeTile((await this.#load(0, index)).bottom(TILE_WIDTH), TILE_WIDTH);
  }

  /** @throws MissingTile, which prove() answers by loading it */
  readonly read = (level: number, index: number): Hash => {
    const at = placeOf(level, index);
    const tile = this.#find(at.level, at.index);
    if (tile === undefined) throw new MissingTile(at.level, at.index);
    return tile.at(at.height, at.position);
  };

  #set(level: number, index: number, hash: Hash): void {
    const at = placeOf(level, index);
    const key = keyOf(at.level, at.index);
    let tile = this.#kept.get(key);
    if (tile === undefined) this.#kept.set(key, (tile = new Tile()));
    tile.set(at.height, at.position, hash);
  }

  #find(level: number, index: number): Tile | undefined {
    const key = keyOf(level, index);
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept;
    const recent = this.#recent.get(key);
    if (recent !== undefined) this.#remember(key, recent);
    return recent;
  }

  async #load(level: number, index: number): Promise<Tile> {
    const known = this.#find(level, index);
    if (known !== undefined) return known;
    const tile = Tile.of(await this.#readTile(level, index, TILE_WIDTH));
    const parent = await this.#load(level + 1, Math.floor(index / TILE_WIDTH));
    if (!equal(tile.root(), parent.at(0, index % TILE_WIDTH)))
      throw new ChatError(
        'LOG_CORRUPT',
        `hash tile ${index} of level ${level} does not belong to this tree; restore it`,
      );
    this.#remember(keyOf(level, index), tile);
    return tile;
  }

  #remember(key: number, tile: Tile): void {
    this.#recent.delete(key);
    this.#recent.set(key, tile); // the one used last stands last
    for (const oldest of this.#recent.keys()) {
      if (this.#recent.size <= RECENT_TILES) break;
      this.#recent.delete(oldest);
    }
  }
}

/** Up to 256 consecutive hashes and the nodes over them. */
class Tile {
  width = 0;
  readonly #nodes = Buffer.alloc(NODES_PER_TILE * HASH_BYTES);

  static of(bottom: readonly Hash[]): Tile {
    const tile = new Tile();
    Frontier.empty.append(bottom, (height, position, hash) => tile.set(height, position, hash));
    return tile;
  }

  set(height: number, position: number, hash: Hash): void {
    if (height === TILE_HEIGHT) return;
    if (height === 0) this.width = position + 1;
    this.#nodes.set(hash, offsetOf(height, position));
  }

  at(height: number, position: number): Hash {
    const offset = offsetOf(height, position);
    return this.#nodes.subarray(offset, offset + HASH_BYTES) as Uint8Array as Hash;
  }

  bottom(width: number): Buffer {
    return this.#nodes.subarray(0, width * HASH_BYTES);
  }

  /** Of a full tile. */
  root(): Hash {
    return nodeHash(this.at(TILE_HEIGHT - 1, 0), this.at(TILE_HEIGHT - 1, 1));
  }
}

class MissingTile extends Error {
  readonly level: number;
  readonly index: number;
  constructor(level: number, index: number) {
    super(`tile ${level}/${index} is on disk`);
    this.level = level;
    this.index = index;
  }
}

const offsetOf = (height: number, position: number): number => (512 - 2 ** (9 - height) + position) * HASH_BYTES;

/** Where the node of a tree's level stands in a tile. */
function placeOf(level: number, index: number) {
  const height = level % TILE_HEIGHT;
  const across = 2 ** (TILE_HEIGHT - height);
  return {
    level: (level - height) / TILE_HEIGHT,
    index: Math.floor(index / across),
    height,
    position: index % across,
  };
}

// 2^52 leaves have 7 levels of tiles and at most 2^44 tiles in the lowest one.
const LEVEL_STRIDE = 2 ** 45;
const keyOf = (level: number, index: number): number => level * LEVEL_STRIDE + index;
const tileOf = (key: number) => ({ level: Math.floor(key / LEVEL_STRIDE), index: key % LEVEL_STRIDE });
