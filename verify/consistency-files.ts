/**
 * What a bundle holds to show that a smaller checkpoint of a log is of one history with its largest. A proof comes long before the message that
 * it is for: what it leads to is computed at once, and no more than that is kept of it.
 */
import { same, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { parseConsistency } from '../transcript/bundle.ts';
import { peekCheckpoint, type Checkpoint } from '../transcript/checkpoint.ts';
import { isConsistent, namesItsRoot, rootsFromConsistency } from '../transcript/proof.ts';
import { HashColumn } from './hash-column.ts';

/** In place of a row: it leads nowhere. */
const WRONG = -1;

export class ConsistencyFiles {
  readonly #folder: string;
  /** size → row of the root that its proof says, and that this one shows to be a prefix of the largest */
  readonly #rows = new Map<number, number>();
  readonly #roots = new HashColumn();
  /** Of powers of two, whose proofs do not say their root, and of sizes that need no proof: one for each bit of a size at most. */
  readonly #proofs = new Map<number, readonly Hash[]>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The file for a size. */
  nameOf(size: number): string {
    return `${this.#folder}/consistency/${size}`;
  }

  /** @param largest the note that it must end in, as far as that is known @throws BAD_FRAME */
  add(size: number, bytes: Uint8Array, largest: Largest | null): void {
    const { from, proof, checkpoint } = parseConsistency(bytes);
    if (from !== size) throw new ChatError('BAD_FRAME', 'is for another size than its name');
    this.#rows.set(size, WRONG);
    this.#proofs.delete(size);
    if (largest === null || !same(checkpoint, largest.note) || size > largest.size) return;
    if (!namesItsRoot(size) || size === largest.size) return void this.#proofs.set(size, proof);
    const roots = rootsFromConsistency(size, largest.size, proof);
    if (roots !== null && same(roots.newer, largest.root)) this.#rows.set(size, this.#roots.push(roots.older));
  }

  /** Whether the tree is a prefix of that of the largest checkpoint; undefined: nothing is here for its size. */
  isPrefix({ size, root }: Checkpoint, largest: Checkpoint): boolean | undefined {
    const proof = this.#proofs.get(size);
    if (proof !== undefined) return isConsistent(size, root, largest.size, largest.root, proof);
    const row = this.#rows.get(size);
    return row === undefined ? undefined : row !== WRONG && this.#roots.isAt(row, root);
  }
}

/** `checkpoint` of a log, before anybody has looked who signed it. */
export interface Largest {
  readonly note: Uint8Array;
  readonly size: number;
  readonly root: Hash;
}

/** Null for a note that says nothing. */
export function largestIn(note: Uint8Array): Largest | null {
  try {
    const { size, root } = peekCheckpoint(note);
    return { note, size, root };
  } catch (error) {
    if (ChatError.from(error).code === 'INTERNAL') throw error;
    return null;
  }
}
