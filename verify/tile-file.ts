/** A tile as a file, also while a server goes on writing: a partial tile is a prefix of every wider one (C2SP tlog-tiles). */
import { join } from 'node:path';
import { HASH_BYTES } from '../transcript/merkle.ts';
import { tilePath, TILE_WIDTH, type Tile } from '../transcript/tile.ts';
import { readInside, type FileRead } from './capped-file.ts';

/** A server replaces partial tiles while they are looked for; it never does so twice within one look. */
const LOOKS = 2;

/** Exactly as many hashes or entries as asked, if the file has them. `path`: the file that served, relative to the directory. */
export function readTile(
  dir: string,
  tile: Tile,
  maxBytes: number,
): { readonly bytes: Buffer; readonly path: string } | { readonly fault: string; readonly isMissing: boolean } {
  for (let look = 1; look <= LOOKS; look++)
    for (const width of widths(tile.width)) {
      const path = tilePath({ ...tile, width });
      const file = readInside(join(dir, path), maxBytes);
      if ('bytes' in file) return { path, bytes: width === tile.width ? file.bytes : prefix(file.bytes, tile) };
      if (!file.isMissing) return file;
    }
  return { fault: 'is missing', isMissing: true } satisfies FileRead;
}

/** What may serve, the likeliest first. */
function* widths(width: number): Generator<number> {
  yield width;
  if (width === TILE_WIDTH) return;
  yield TILE_WIDTH;
  for (let wider = width + 1; wider < TILE_WIDTH; wider++) yield wider;
}

function prefix(bytes: Buffer, { level, width }: Tile): Buffer {
  if (level !== 'entries') return bytes.subarray(0, width * HASH_BYTES);
  let end = 0;
  for (let i = 0; i < width && end + 2 <= bytes.length; i++) end += 2 + bytes.readUInt16BE(end);
  return bytes.subarray(0, end);
}
