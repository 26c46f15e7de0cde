/**
 * What the world may read: tiles, entry bundles and the newest published checkpoint (C2SP tlog-tiles), a valid log at every instant.
 * Order: tiles, then their directories, then `state` and `checkpoint`, each by rename, then their directory; only then may segments of
 * the write-ahead log go. Partial tiles stay until the checkpoint after next: somebody may be reading the last one.
 */
import { dirname, join } from 'node:path';
import { base64, equal, fromBase64, utf8, type Hash } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { decimal } from '../../transcript/checkpoint.ts';
import { parseNote } from '../../transcript/note.ts';
import { EMPTY_ROOT, HASH_BYTES } from '../../transcript/merkle.ts';
import {
  decodeBundle,
  decodeTile,
  encodeBundle,
  tilePath,
  tilesOf,
  TILE_WIDTH,
  type Tile,
} from '../../transcript/tile.ts';
import { diskError, makeDirectories, replaceFile, type Files } from './files.ts';

/** What is durable outside the write-ahead log. */
export interface State {
  readonly size: number;
  readonly root: Hash;
  /** Size of the checkpoint before. */
  readonly before: number;
  /** Server time of the newest entry. */
  readonly time: number;
}

/** What the log has in memory of the tree that is to be published. */
export interface PublicationSource {
  hashes(level: number, index: number, width: number): Uint8Array;
  entries(from: number, to: number): readonly Uint8Array[];
}

const NOTHING: State = { size: 0, root: EMPTY_ROOT, before: 0, time: 0 };

export class Publication {
  readonly #files: Files;
  readonly #directory: string;
  readonly #known = new Set<string>();
  /** The checkpoint that was handed in last; it need not be on the disk yet. Null: none since the start. */
  #announced: Uint8Array | null = null;
  #writing: Promise<void> = Promise.resolve();
  #state: State;
  /** What the file `state` says: newer than `#state` when the checkpoint could not follow. */
  #written: State;
  /** Sizes whose tiles are there and whose state, or checkpoint, could not follow; and the last one. */
  readonly #attempted = new Set<number>();

  private constructor(files: Files, directory: string, state: State) {
    this.#files = files;
    this.#directory = directory;
    this.#state = state;
    this.#written = state;
  }

  /** @throws LOG_CORRUPT for a `state` that is not one */
  static async open(files: Files, directory: string): Promise<Publication> {
    await makeDirectories(files, directory);
    const bytes = await files.readFile(join(directory, 'state'));
    // What a killed process has renamed is seen here before it is durable, and what follows relies on it.
    await files.syncDirectory(directory);
    return new Publication(files, directory, bytes === null ? NOTHING : parseState(bytes));
  }

  get state(): State {
    return this.#state;
  }

  /** The published checkpoint; null: there is none. */
  checkpoint(): Promise<Buffer | null> {
    return this.#files.readFile(join(this.#directory, 'checkpoint'));
  }

  /** @throws LOG_CORRUPT */
  async hashes(level: number, index: number, width: number): Promise<Hash[]> {
    const tile: Tile = { level, index, width };
    return this.#decoded(tile, (bytes) => decodeTile(bytes, width));
  }

  /** @throws LOG_CORRUPT */
  async bundle(index: number, width: number): Promise<Buffer[]> {
    return this.#decoded({ level: 'entries', index, width }, (bytes) => decodeBundle(bytes, width));
  }

  /** Removes what a publication that was cut off has left at the right edge. @param size that it may have reached */
  async tidy(size: number): Promise<void> {
    const sizes = [this.#state.size, this.#state.before, this.#written.size];
    const keep = new Set(sizes.flatMap((each) => partialsOf(each)).map(tilePath));
    for (const tile of tilesOf(size, this.#state.size)) {
      const directory = `${tilePath({ ...tile, width: TILE_WIDTH })}.p`;
      const names = await this.#files.list(join(this.#directory, directory));
      for (const name of names)
        if (!keep.has(`${directory}/${name}`)) await this.#files.remove(join(this.#directory, directory, name));
      if (names.length > 0) await this.#files.removeDirectory(join(this.#directory, directory));
      this.#known.delete(directory); // the next publication makes it again
    }
  }

  /**
   * Makes (size, root, note) the published checkpoint. Durable when it resolves; when it rejects with the disk's error, the checkpoint
   * before is still valid and this may be called again.
   */
  async publish(size: number, root: Hash, time: number, note: Uint8Array, source: PublicationSource): Promise<void> {
    const { size: before } = this.#state;
    await this.#removePartials(this.#state.before, before);
    try {
      await this.#writeTiles(size, source);
    } catch (error) {
      await this.tidy(size).catch(() => undefined); // the next attempt is for another size
      throw error;
    }
    this.#attempted.add(size);
    const state: State = { size, root, before, time };
    await replaceFile(this.#files, join(this.#directory, 'state'), formatState(state));
    this.#written = state;
    await this.#files.syncDirectory(this.#directory); // a checkpoint beyond the state would lose its tiles to tidy()
    for (const each of this.#attempted) {
      await this.#removePartials(each, before, size);
      if (each !== size) this.#attempted.delete(each);
    }
    await this.replaceCheckpoint(note);
    this.#state = state;
  }

  /** Durable when it resolves. Also for a state whose checkpoint did not follow, because the process ended in between. */
  replaceCheckpoint(note: Uint8Array): Promise<void> {
    this.#announced = note;
    return this.#alone(() => this.#write('checkpoint', note));
  }

  /**
   * A published checkpoint has got cosignatures: it takes the place of the same one without, unless another was published meanwhile.
   * @param isBest it also becomes the one that is kept beside it, in `cosigned`
   */
  cosign(note: Uint8Array, isBest: boolean): Promise<void> {
    return this.#alone(async () => {
      if (isBest) await this.#write('cosigned', note);
      const newest = this.#announced ?? (await this.checkpoint());
      if (newest !== null && parseNote(newest).text === parseNote(note).text) await this.#write('checkpoint', note);
    });
  }

  /** The newest checkpoint with the most cosignatures; null: there is none. */
  cosigned(): Promise<Buffer | null> {
    return this.#files.readFile(join(this.#directory, 'cosigned'));
  }

  async #write(name: string, note: Uint8Array): Promise<void> {
    await replaceFile(this.#files, join(this.#directory, name), note);
    await this.#files.syncDirectory(this.#directory);
  }

  /** After whatever is being written already: an older checkpoint must never come after a newer one. */
  #alone(work: () => Promise<void>): Promise<void> {
    const done = this.#writing.then(work);
    this.#writing = done.catch(() => undefined);
    return done;
  }

  async #writeTiles(size: number, source: PublicationSource): Promise<void> {
    const directories = new Set<string>();
    for (const tile of tilesOf(size, this.#state.size)) {
      const path = tilePath(tile);
      const directory = dirname(path);
      const start = tile.index * TILE_WIDTH;
      const bytes =
        tile.level === 'entries'
          ? encodeBundle(source.entries(start, start + tile.width))
          : source.hashes(tile.level, tile.index, tile.width);
      await this.#makeDirectories(directory);
      await replaceFile(this.#files, join(this.#directory, path), bytes);
      directories.add(directory);
    }
    for (const directory of directories) await this.#files.syncDirectory(join(this.#directory, directory));
  }

  /** Partial tiles of a tree of one size, but for those that are of others as well. */
  async #removePartials(size: number, ...kept: readonly number[]): Promise<void> {
    const keep = new Set(kept.flatMap((each) => partialsOf(each)).map(tilePath));
    for (const tile of partialsOf(size)) {
      const path = tilePath(tile);
      if (keep.has(path)) continue;
      await this.#files.remove(join(this.#directory, path));
      await this.#files.removeDirectory(join(this.#directory, dirname(path)));
      this.#known.delete(dirname(path));
    }
  }

  /** Synced even if it is there: a killed process may have made it, and its name need not be durable yet. */
  async #makeDirectories(path: string): Promise<void> {
    if (this.#known.has(path) || path === '.') return;
    await this.#makeDirectories(dirname(path));
    await this.#files.makeDirectory(join(this.#directory, path));
    await this.#files.syncDirectory(join(this.#directory, dirname(path)));
    this.#known.add(path);
  }

  async #decoded<T>(tile: Tile, decode: (bytes: Buffer) => T): Promise<T> {
    const path = tilePath(tile);
    const bytes = await this.#files.readFile(join(this.#directory, path)).catch((error: unknown) => {
      throw diskError(error, `reading ${path}`);
    });
    if (bytes === null) throw corrupt(path, 'is missing');
    try {
      return decode(bytes);
    } catch (cause) {
      throw corrupt(path, 'has another length than its place in the tree asks for', cause);
    }
  }
}

/** The tiles at the right edge of a tree that are not full. */
function partialsOf(size: number): Tile[] {
  const tiles: Tile[] = [];
  const add = (level: Tile['level'], hashes: number) => {
    const width = hashes % TILE_WIDTH;
    if (width > 0) tiles.push({ level, index: Math.floor(hashes / TILE_WIDTH), width });
  };
  add('entries', size);
  for (let level = 0, hashes = size; hashes > 0; level++, hashes = Math.floor(hashes / TILE_WIDTH)) add(level, hashes);
  return tiles;
}

const TITLE = 'chatlog/v1 state';
const formatState = ({ size, root, before, time }: State): Buffer =>
  utf8(`${TITLE}\nsize ${size}\nroot ${base64(root)}\nbefore ${before}\ntime ${time}\n`);

/** @throws LOG_CORRUPT */
export function parseState(bytes: Buffer): State {
  const match = /^chatlog\/v1 state\nsize (\d+)\nroot (\S+)\nbefore (\d+)\ntime (\d+)\n$/.exec(
    bytes.toString('latin1'),
  );
  const [size, before, time] = [match?.[1], match?.[3], match?.[4]].map((text) => decimal(text ?? ''));
  const root = fromBase64(match?.[2] ?? '');
  if (size == null || before == null || time == null || root?.length !== HASH_BYTES || before > size)
    throw corrupt('state', 'is not readable');
  if (size === 0 && !equal(root, EMPTY_ROOT)) throw corrupt('state', 'contradicts itself');
  return { size, root: root as Uint8Array as Hash, before, time };
}

export const corrupt = (path: string, message: string, cause?: unknown): ChatError =>
  new ChatError('LOG_CORRUPT', `${path} ${message}; restore the log's folder from a copy that is as new`, {
    sub: 'tile',
    cause,
  });
