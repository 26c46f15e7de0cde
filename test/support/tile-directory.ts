/** Reads a published log as any C2SP tlog-tiles client would, and says whether its checkpoint holds. */
import { equal } from '../../base/bytes.ts';
import { openCheckpoint, type Checkpoint } from '../../transcript/checkpoint.ts';
import { EMPTY_ROOT, leafHash, rootOf } from '../../transcript/merkle.ts';
import { parseVkey } from '../../transcript/note.ts';
import { decodeBundle, decodeTile, tilePath, tilesOf, TILE_WIDTH } from '../../transcript/tile.ts';

/** @param read the bytes of a file below the log's directory, or null @throws Error naming what is wrong */
export async function checkTileDirectory(
  read: (path: string) => Promise<Buffer | null>,
  vkey: string,
): Promise<Checkpoint | null> {
  const note = await read('checkpoint');
  if (note === null) return null;
  const checkpoint = openCheckpoint(note, parseVkey(vkey));
  const levels: Uint8Array[][] = [];
  const leaves: Uint8Array[] = [];
  for (const tile of tilesOf(checkpoint.size)) {
    const path = tilePath(tile);
    // A partial tile may have become a full one meanwhile, of which it is a prefix.
    const bytes = (await read(path)) ?? (await read(tilePath({ ...tile, width: TILE_WIDTH })));
    if (bytes === null) throw new Error(`${path} is missing at size ${checkpoint.size}`);
    if (tile.level === 'entries') leaves.push(...decodeBundle(bytes, tile.width).map(leafHash));
    else (levels[tile.level] ??= []).push(...decodeTile(bytes, tile.width));
  }
  const level = (n: number) => (levels[n] ?? []) as Parameters<typeof rootOf>[0][number][];
  if (leaves.length !== checkpoint.size || !leaves.every((leaf, i) => equal(leaf, level(0)[i]!)))
    throw new Error('entries and leaf hashes differ');
  for (let n = 1; n < levels.length; n++)
    for (const [i, hash] of level(n).entries())
      if (!equal(hash, rootOf(level(n - 1).slice(i * TILE_WIDTH, (i + 1) * TILE_WIDTH))))
        throw new Error(`hash ${i} of level ${n} is not that of its tile`);
  if (!equal(checkpoint.size === 0 ? EMPTY_ROOT : rootOf(level(0)), checkpoint.root)) throw new Error('another root');
  return checkpoint;
}
