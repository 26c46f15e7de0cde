/** The hash tiles of a log directory, compared with the nodes of the tree as it is computed from the entries: levels 0, 8, 16 … are stored. */
import { equal, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { HASH_BYTES } from '../transcript/merkle.ts';
import { decodeTile, tileIn, tilePath, TILE_WIDTH } from '../transcript/tile.ts';
import type { Findings } from './finding.ts';
import { readTile } from './tile-file.ts';

/** Levels of the tree from one stored level to the next. */
const TILE_HEIGHT = 8;

interface OpenTile {
  readonly level: number;
  readonly index: number;
  readonly path: string;
  /** Null: it could not be read. */
  readonly hashes: readonly Hash[] | null;
  firstMismatch: number | null;
  mismatches: number;
}

export class HashTiles {
  readonly #dir: string;
  readonly #size: number;
  readonly #findings: Findings;
  /** The open tile of each stored level. */
  readonly #open: OpenTile[] = [];
  readonly #wrong: OpenTile[] = [];

  /** @param size of the log; no node beyond it may be shown */
  constructor(dir: string, size: number, findings: Findings) {
    this.#dir = dir;
    this.#size = size;
    this.#findings = findings;
  }

  /** The next complete node of each height, in order. */
  node(height: number, index: number, hash: Hash): void {
    if (height % TILE_HEIGHT !== 0) return;
    const level = height / TILE_HEIGHT;
    const tileIndex = Math.floor(index / TILE_WIDTH);
    let tile = this.#open[level];
    if (tile?.index !== tileIndex) this.#open[level] = tile = this.#read(level, tileIndex);
    const stored = tile.hashes?.[index % TILE_WIDTH];
    if (stored === undefined || equal(stored, hash)) return;
    if (tile.mismatches++ === 0) this.#wrong.push(tile);
    tile.firstMismatch ??= index;
  }

  /** All that were there are those of the entries so far. */
  get areRight(): boolean {
    return this.#wrong.length === 0;
  }

  /** @param areEntriesProven whether they make the root that was signed: then the tiles are wrong, and else it is the entries */
  end(areEntriesProven: boolean): void {
    for (const { level, path, firstMismatch, mismatches } of this.#wrong) {
      const others = mismatches > 1 ? `, and ${mismatches - 1} more in this tile` : '';
      if (level === 0 && !areEntriesProven)
        this.#findings.add('E_LEAF', `entry ${firstMismatch}`, `its hash in ${path} is another${others}`);
      else
        this.#findings.add(
          'E_TILE',
          path,
          `hash ${(firstMismatch ?? 0) % TILE_WIDTH} is not that of the entries below it${others}`,
        );
    }
  }

  #read(level: number, index: number): OpenTile {
    const tile = tileIn(this.#size, level, index);
    const open = { level, index, path: tilePath(tile), hashes: null, firstMismatch: null, mismatches: 0 };
    const file = readTile(this.#dir, tile, TILE_WIDTH * HASH_BYTES);
    if ('fault' in file) {
      this.#findings.add('E_TILE', open.path, file.fault);
      return open;
    }
    try {
      return { ...open, path: file.path, hashes: decodeTile(file.bytes, tile.width) };
    } catch (error) {
      this.#findings.add('E_TILE', file.path, ChatError.from(error).message);
      return open;
    }
  }
}
