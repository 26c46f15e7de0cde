/**
 * From what is on the disk to a log that may sign: published tiles up to `state`, then the records of the write-ahead log, then the
 * question whether anything signed earlier contradicts the result. It changes nothing but a torn tail and leftovers of its own.
 */
import { join } from 'node:path';
import { equal, type Hash } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { openCheckpoint, type LogKeys } from '../../transcript/checkpoint.ts';
import { EMPTY_ROOT, leafHash } from '../../transcript/merkle.ts';
import { tileIn, TILE_WIDTH } from '../../transcript/tile.ts';
import { makeDirectories, type Files } from './files.ts';
import { Nodes } from './nodes.ts';
import { corrupt, Publication } from './publication.ts';
import { Segments } from './segments.ts';

export interface Recovered {
  readonly nodes: Nodes;
  readonly segments: Segments;
  readonly publication: Publication;
  /** Entries that no full bundle has, from the last multiple of 256 in the published log on. */
  readonly entries: Uint8Array[];
  readonly entriesFrom: number;
  /** Server time of the newest entry; 0 for an empty log. */
  readonly time: number;
  /** Size of the published checkpoint; 0: there is none. */
  readonly checkpointSize: number;
}

/** Whether a log was ever begun in this directory. */
export async function isEmptyLog(files: Files, directory: string): Promise<boolean> {
  const names = await files.list(directory);
  const records = await files.list(join(directory, 'wal'));
  return !names.includes('state') && !names.includes('checkpoint') && !records.some((name) => name.endsWith('.wal'));
}

/** @param log its key, and those that it had before @throws LOG_CORRUPT, ROLLBACK, FORK, LOG_FAILED; CONFIG_INVALID if the key is not the log's */
export async function recover(files: Files, directory: string, segmentBytes: number, log: LogKeys): Promise<Recovered> {
  const publication = await Publication.open(files, directory);
  const { state } = publication;
  const nodes = await Nodes.restore(state.size, (level, index, width) => publication.hashes(level, index, width));
  if (!equal(nodes.root(), state.root)) throw corrupt('tile', 'files do not make the root of the published log');
  const entriesFrom = state.size - (state.size % TILE_WIDTH);
  const entries = await edgeEntries(publication, nodes, entriesFrom);

  let { time } = state;
  let newestNote: Uint8Array | null = null;
  const wal = join(directory, 'wal');
  await makeDirectories(files, wal);
  const frontier = nodes.frontier();
  const segments = await Segments.open(files, wal, segmentBytes, frontier, (record) => {
    nodes.grow(record.entries.map(leafHash)).commit();
    // Copies: what is kept must not hold on to the segment that was read.
    for (const entry of record.entries) entries.push(Buffer.from(entry));
    time = record.time;
    if (record.checkpoint.length > 0) newestNote = Buffer.from(record.checkpoint);
  });
  try {
    if (newestNote !== null) openOwn(newestNote, log, 'the write-ahead log');
    await publication.tidy(nodes.size);
    const checkpointSize = await checkPublished(publication, nodes, log);
    return { nodes, segments, publication, entries, entriesFrom, time, checkpointSize };
  } catch (error) {
    await segments.close();
    throw error;
  }
}

/** Entries of the partial bundle at the right edge, each compared with its leaf hash. */
async function edgeEntries(publication: Publication, nodes: Nodes, from: number): Promise<Uint8Array[]> {
  const { size } = publication.state;
  if (size === from) return [];
  const { index, width } = tileIn(size, 'entries', from / TILE_WIDTH);
  const entries = await publication.bundle(index, width);
  for (const [i, entry] of entries.entries())
    if (!equal(leafHash(entry), nodes.read(0, from + i)))
      throw corrupt('tile/entries', `has another entry ${from + i}`);
  return entries;
}

/** The gate before the first signature: the log must be the one that signed the published checkpoint, and not be shorter. */
async function checkPublished(publication: Publication, nodes: Nodes, log: LogKeys): Promise<number> {
  const note = await publication.checkpoint();
  if (note === null) return 0;
  const { size, root } = openOwn(note, log, 'the published checkpoint');
  if (size > nodes.size)
    throw new ChatError(
      'ROLLBACK',
      `the published checkpoint has ${size} entries and the log only ${nodes.size}; restore the missing part or begin a new epoch`,
    );
  if (!equal(await rootAt(nodes, size), root))
    throw new ChatError('FORK', `the log has another history than its published checkpoint of ${size} entries`);
  return size;
}

/** The root that the log had with its first `size` entries. @throws LOG_CORRUPT */
export const rootAt = (nodes: Nodes, size: number): Promise<Hash> =>
  size === 0 ? Promise.resolve(EMPTY_ROOT) : nodes.prove(nodes.tree(size), (tree) => tree.root());

function openOwn(note: Uint8Array, log: LogKeys, where: string) {
  try {
    return openCheckpoint(note, log);
  } catch (cause) {
    throw new ChatError(
      'CONFIG_INVALID',
      `${where} is not signed by this key as ${log[0].name}: another key or name?`,
      {
        field: 'transcript.key',
        cause,
      },
    );
  }
}
