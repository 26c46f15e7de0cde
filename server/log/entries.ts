/** The log's entries: in memory those that no full bundle has yet, the others on disk, believed only as far as their leaf hashes go. */
import { equal } from '../../base/bytes.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { TILE_WIDTH } from '../../transcript/tile.ts';
import type { Nodes } from './nodes.ts';
import { corrupt, type Publication } from './publication.ts';

/** Full bundles that were read last, about 70 kB each. */
const RECENT_BUNDLES = 32;

export class Entries {
  readonly #nodes: Nodes;
  readonly #publication: Publication;
  readonly #bundles = new Map<number, readonly Buffer[]>();
  /** From here on they are in memory; a multiple of 256. */
  #from: number;
  #held: Uint8Array[];
  #heldBytes = 0;

  /** @param held entries from `from` on */
  constructor(nodes: Nodes, publication: Publication, from: number, held: Uint8Array[]) {
    this.#nodes = nodes;
    this.#publication = publication;
    this.#from = from;
    this.#held = held;
  }

  /** Memory that the next publication gives back, about. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Copies them into memory of their own: pieces of larger buffers would hold all of those until the next publication. */
  push(entries: readonly Uint8Array[]): void {
    const block = Buffer.allocUnsafeSlow(entries.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const entry of entries) {
      block.set(entry, at);
      this.#held.push(block.subarray(at, (at += entry.length)));
    }
    this.#heldBytes += block.length;
  }

  /** Of entries that are not published yet, or in the last bundle. */
  held(from: number, to: number): readonly Uint8Array[] {
    return this.#held.slice(from - this.#from, to - this.#from);
  }

  /** A tree of `size` is on disk now. */
  published(size: number): void {
    const from = size - (size % TILE_WIDTH);
    this.#held = this.#held.slice(from - this.#from);
    this.#from = from;
    this.#heldBytes = this.#held.reduce((sum, entry) => sum + entry.length, 0);
  }

  /** Entries [from, to), which the log has. @throws LOG_CORRUPT */
  async read(from: number, to: number): Promise<Uint8Array[]> {
    const found: Uint8Array[] = [];
    for (let at = from; at < to;) {
      let end = to;
      if (at >= this.#from) for (const entry of this.held(at, to)) found.push(entry);
      else {
        const index = Math.floor(at / TILE_WIDTH);
        const start = index * TILE_WIDTH;
        end = Math.min(to, start + TILE_WIDTH);
        for (const entry of (await this.#bundle(index)).slice(at - start, end - start)) found.push(entry);
      }
      at = end;
    }
    return found;
  }

  async #bundle(index: number): Promise<readonly Buffer[]> {
    const entries = this.#bundles.get(index) ?? (await this.#readBundle(index));
    this.#bundles.delete(index);
    this.#bundles.set(index, entries); // the one used last stands last
    for (const oldest of this.#bundles.keys()) {
      if (this.#bundles.size <= RECENT_BUNDLES) break;
      this.#bundles.delete(oldest);
    }
    return entries;
  }

  async #readBundle(index: number): Promise<Buffer[]> {
    const entries = await this.#publication.bundle(index, TILE_WIDTH);
    const leaves = await this.#nodes.leaves(index);
    for (const [i, entry] of entries.entries())
      if (!equal(leafHash(entry), leaves[i]!))
        throw corrupt('tile/entries', `has another entry ${index * TILE_WIDTH + i} than the tree`);
    return entries;
  }
}
