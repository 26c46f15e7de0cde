/** Many hashes, one behind the other, without an object for each: a bundle of 100,000 messages asks for several of every message. */
import type { Hash } from '../base/bytes.ts';
import { HASH_BYTES } from '../transcript/merkle.ts';

export class HashColumn {
  #bytes = Buffer.alloc(64 * HASH_BYTES);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** @returns its row, counted from 0 */
  push(hash: Uint8Array): number {
    const at = this.#length * HASH_BYTES;
    if (at === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], 2 * at);
    this.#bytes.set(hash, at);
    return this.#length++;
  }

  /** A copy. */
  at(row: number): Hash {
    return Buffer.from(this.#bytes.subarray(row * HASH_BYTES, (row + 1) * HASH_BYTES)) as Uint8Array as Hash;
  }

  isAt(row: number, hash: Uint8Array): boolean {
    return this.#bytes.compare(hash, 0, hash.length, row * HASH_BYTES, (row + 1) * HASH_BYTES) === 0;
  }
}
