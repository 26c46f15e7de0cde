/**
 * Key material that cannot print itself: string conversion, JSON, template literals and the inspector all show «secret».
 * `wipe()` is hygiene, not a promise: JavaScript engines copy, and OpenSSL keeps its own copies.
 */
import { inspect } from 'node:util';
import { ChatError } from './errors.ts';

export class Secret {
  #bytes: Buffer | null;

  /** Takes ownership: the caller must not keep or change `bytes`. */
  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Lends the bytes for the length of one call; `use` must not keep them. @throws INTERNAL after wipe() */
  use<T>(use: (bytes: Buffer) => T): T {
    if (this.#bytes === null) throw new ChatError('INTERNAL', 'secret used after it was wiped');
    return use(this.#bytes);
  }

  wipe(): void {
    this.#bytes?.fill(0);
    this.#bytes = null;
  }

  toString(): string {
    return '«secret»';
  }
  toJSON(): string {
    return '«secret»';
  }
  [inspect.custom](): string {
    return '«secret»';
  }
}
