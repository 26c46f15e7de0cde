/** The published files of the server's own log, as its operator's commands read them: also while the server writes on. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChatError } from '../base/errors.ts';
import { peekCheckpoint, type Checkpoint } from '../transcript/checkpoint.ts';
import { decodeLeaf, MAX_ENTRY_BYTES, type Leaf } from '../transcript/leaf.ts';
import { HASH_BYTES } from '../transcript/merkle.ts';
import { decodeBundle, decodeTile, tileIn, tilePath, TILE_WIDTH } from '../transcript/tile.ts';
import { readTile } from '../verify/tile-file.ts';
import { Nodes } from './log/nodes.ts';

const MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES);

export interface PublishedLog {
  readonly checkpoint: Checkpoint;
  /** signed */
  readonly note: Buffer;
}

/** Of the first log, and of those of later epochs that have published something, the newest last. */
export function logDirectories(dir: string): string[] {
  const names = existsSync(dir) ? readdirSync(dir) : [];
  const epochs = names.flatMap((name) => /^e([2-9]|[1-9][0-9]{1,8})$/.exec(name)?.[1] ?? []).map(Number);
  const later = epochs.sort((a, b) => a - b).map((epoch) => join(dir, `e${epoch}`));
  return [dir, ...later.filter((each) => existsSync(join(each, 'checkpoint')))];
}

/** @throws NOT_FOUND if nothing was published yet; LOG_CORRUPT */
export function publishedLog(dir: string): PublishedLog {
  let note: Buffer;
  try {
    note = readFileSync(join(dir, 'checkpoint'));
  } catch (cause) {
    throw new ChatError('NOT_FOUND', `no transcript in ${dir}: has the server been started?`, { cause });
  }
  return { checkpoint: peekCheckpoint(note), note };
}

/** Every entry below the checkpoint, in order. @throws LOG_CORRUPT */
export function* entriesOf(dir: string, size: number): Generator<{ index: number; bytes: Buffer; leaf: Leaf }> {
  for (let start = 0; start < size; start += TILE_WIDTH) {
    const tile = tileIn(size, 'entries', start / TILE_WIDTH);
    const file = readTile(dir, tile, MAX_BUNDLE_BYTES);
    if ('fault' in file) throw corrupt(tilePath(tile), file.fault);
    const entries = decodeBundle(file.bytes, tile.width);
    for (const [i, bytes] of entries.entries()) yield { index: start + i, bytes, leaf: decodeLeaf(bytes) };
  }
}

/** Makes proofs out of the hash tiles. @throws LOG_CORRUPT */
export const nodesIn = (dir: string, size: number): Promise<Nodes> =>
  Nodes.restore(size, async (level, index, width) => {
    const tile = { level, index, width };
    const file = readTile(dir, tile, TILE_WIDTH * HASH_BYTES);
    if ('fault' in file) throw corrupt(tilePath(tile), file.fault);
    return decodeTile(file.bytes, width);
  });

const corrupt = (path: string, fault: string): ChatError =>
  new ChatError('LOG_CORRUPT', `${path} ${fault}: chat-server transcript verify says more`, { sub: 'tile' });
