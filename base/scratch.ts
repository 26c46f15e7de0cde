/**
 * Memory that is used again, for what is written to a disk and then not needed any more. V8 counts the bytes of all buffers that were made
 * since it last marked the whole heap, and does so again because of them: pages of the log and journal were half of these.
 */

/** What is larger is made anew, and not kept. */
const MAX_KEPT_BYTES = 256 * 1024;

export class Scratch {
  #bytes = Buffer.alloc(0);

  /** Zeros, whose bytes are those of the call before: its answer must not be needed any more. */
  zeros(byteCount: number): Buffer {
    if (byteCount > MAX_KEPT_BYTES) return Buffer.alloc(byteCount);
    if (byteCount > this.#bytes.length)
      this.#bytes = Buffer.allocUnsafeSlow(Math.max(byteCount, 2 * this.#bytes.length));
    return this.#bytes.subarray(0, byteCount).fill(0);
  }
}
