/**
 * The tree and the entries of a log as files (C2SP tlog-tiles): hash tiles of 256 nodes each, entry bundles of 256 entries, partial ones
 * at the right edge. Paths are relative to the log's directory and have no height element.
 */
import { concat, u16, type Hash } from '../base/bytes.ts';
import { Cursor } from '../base/cursor.ts';
import { bad } from '../base/decode.ts';
import { MAX_ENTRY_BYTES } from './leaf.ts';
import { HASH_BYTES, rootOf, type NodeReader } from './merkle.ts';

/** Hashes or entries in a full tile; a tile of the level above has one hash for it. */
export const TILE_WIDTH = 256;
const TILE_HEIGHT = 8;
const MAX_LEVEL = 63;

export interface Tile {
  /** 0: leaf hashes. `entries`: not hashes but the log's entries. */
  readonly level: number | 'entries';
  readonly index: number;
  /** 1..256; less than 256: partial. */
  readonly width: number;
}

/** `tile/0/x001/234`, `tile/entries/000.p/17`. */
export function tilePath({ level, index, width }: Tile): string {
  let path = String(index % 1000).padStart(3, '0');
  // All elements but the last begin with an x, so that no file has the name of a directory.
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000))
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`;
  return `tile/${level}/${path}${width === TILE_WIDTH ? '' : `.p/${width}`}`;
}

/** @throws BAD_FRAME/tile.path for a path that tilePath() does not make */
export function parseTilePath(path: string): Tile {
  const match = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/){0,5}\d{3})(?:\.p\/(\d{1,3}))?$/.exec(path);
  const [, stage, digits, partial] = match ?? bad('tile.path', 'a tile path');
  const level = stage === 'entries' ? stage : Number(stage);
  const tile: Tile = { level, index: Number(digits!.replace(/[x/]/g, '')), width: Number(partial ?? TILE_WIDTH) };
  const isInRange = tile.width >= 1 && tile.width <= TILE_WIDTH && (level === 'entries' || level <= MAX_LEVEL);
  if (!isInRange || !Number.isSafeInteger(tile.index) || tilePath(tile) !== path) bad('tile.path', 'a canonical path');
  return tile;
}

/**
 * The tiles of a tree of `size` leaves that a tree of `from` leaves did not have with the same width: all of them for 0, and what is to
 * be written after growth otherwise. Level by level, left to right, hash tiles before bundles; never an empty one.
 */
export function* tilesOf(size: number, from = 0): Generator<Tile> {
  for (let level = 0, span = 1; level <= MAX_LEVEL && span <= size; level++, span *= TILE_WIDTH)
    yield* tilesAt(level, Math.floor(size / span), Math.floor(from / span));
  yield* tilesAt('entries', size, from);
}

/** The tile, full or partial, that a tree of `size` leaves has at this place. @throws RangeError if it has none */
export function tileIn(size: number, level: Tile['level'], index: number): Tile {
  const hashes = Math.floor(size / (level === 'entries' ? 1 : TILE_WIDTH ** level));
  const width = Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH);
  if (!(width >= 1)) throw new RangeError(`no tile ${level}/${index} in a tree of ${size}`);
  return { level, index, width };
}

export const encodeTile = (hashes: readonly Hash[]): Buffer => concat(...hashes);

/** Views of `bytes`. @throws BAD_FRAME/tile.length unless exactly `width` hashes */
export function decodeTile(bytes: Uint8Array, width: number): Hash[] {
  if (bytes.length !== width * HASH_BYTES) bad('tile.length', `${width} hashes`);
  return Array.from({ length: width }, (_, i) => bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES) as Hash);
}

/** u16 length ‖ entry, for each. @throws BAD_FRAME/bundle.entry for an entry of more than 65535 bytes */
export const encodeBundle = (entries: readonly Uint8Array[]): Buffer =>
  concat(
    ...entries.flatMap((entry) =>
      entry.length <= MAX_ENTRY_BYTES ? [u16(entry.length), entry] : bad('bundle.entry', `<= ${MAX_ENTRY_BYTES} bytes`),
    ),
  );

/** Views of `bytes`. @throws BAD_FRAME naming bundle.entry or bundle.length unless exactly `width` entries */
export function decodeBundle(bytes: Uint8Array, width: number): Buffer[] {
  const c = new Cursor(bytes, 'bundle');
  const entries = Array.from({ length: width }, () => c.take(c.u16('entry'), 'entry'));
  c.end();
  return entries;
}

/**
 * Nodes of a tree of `size` leaves, from its tiles.
 * @param load the hashes of a tile; called again for each node, so it should remember
 */
export const nodesInTiles =
  (size: number, load: (tile: Tile) => readonly Hash[]): NodeReader =>
  (level, index) => {
    const tileLevel = Math.floor(level / TILE_HEIGHT);
    const count = 2 ** (level % TILE_HEIGHT);
    const first = index * count; // at the tile's level
    const hashes = load(tileIn(size, tileLevel, Math.floor(first / TILE_WIDTH)));
    const start = first % TILE_WIDTH;
    if (start + count > hashes.length) throw new RangeError(`node ${level}/${index} is not complete at ${size}`);
    return rootOf(hashes.slice(start, start + count));
  };

function* tilesAt(level: Tile['level'], hashes: number, before: number): Generator<Tile> {
  for (let index = Math.floor(before / TILE_WIDTH); index * TILE_WIDTH < hashes; index++) {
    const width = Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH);
    if (index * TILE_WIDTH + width > before) yield { level, index, width };
  }
}
