/**
 * What stands at numbered places of something that has a name: statements under the counters of a session, entries at the indices of a log,
 * roots of a log by size. One of each place; a row of some forty bytes for it.
 */
import type { Hash } from '../base/bytes.ts';
import { HashColumn } from './hash-column.ts';

export interface Place {
  readonly name: string;
  readonly index: number;
}

export class Places {
  /** name → place → row */
  readonly #rows = new Map<string, Map<number, number>>();
  readonly #hashes = new HashColumn();
  /** by row: the number of the message, or whatever else the owner knows it by */
  readonly #labels: number[] = [];

  /** The row at a place. */
  find(name: string, index: number): number | undefined {
    return this.#rows.get(name)?.get(index);
  }

  /** Nothing is there yet. */
  add(name: string, index: number, hash: Hash, label: number): void {
    const places = this.#rows.get(name) ?? new Map<number, number>();
    this.#rows.set(name, places);
    places.set(index, this.#hashes.push(hash));
    this.#labels.push(label);
  }

  isAt(row: number, hash: Hash): boolean {
    return this.#hashes.isAt(row, hash);
  }
  hashAt(row: number): Hash {
    return this.#hashes.at(row);
  }
  labelAt(row: number): number {
    return this.#labels[row]!;
  }

  /** By name, each in the order in which they came. */
  *entries(): Generator<Place & { readonly row: number }> {
    for (const [name, places] of this.#rows) for (const [index, row] of places) yield { name, index, row };
  }
}
