/**
 * What was sent to a device and is not acknowledged yet: the window of its flow control. Once full, half of it must be acknowledged before
 * more is read.
 */

/** Messages, and bytes of their parts and of the hashes beside them. */
export const IN_FLIGHT_ITEMS = 2048;
const IN_FLIGHT_BYTES = 4 * 1024 * 1024;

/** Whether no more may follow. */
export const fills = (items: number, bytes: number): boolean => items >= IN_FLIGHT_ITEMS || bytes >= IN_FLIGHT_BYTES;

export class InFlight {
  /** cursor → bytes of parts; with the first of a frame, those of its hashes as well */
  readonly #items = new Map<number, number>();
  #bytes = 0;
  #isFull = false;

  get isFull(): boolean {
    return this.#isFull;
  }
  get items(): number {
    return this.#items.size;
  }
  get bytes(): number {
    return this.#bytes;
  }
  has(cursor: number): boolean {
    return this.#items.has(cursor);
  }

  /** One alone always has, however large it is. */
  hasRoomFor(items: number, bytes: number): boolean {
    if (this.#isFull || this.#items.size + items > IN_FLIGHT_ITEMS) return false;
    return this.#items.size === 0 || this.#bytes + bytes <= IN_FLIGHT_BYTES;
  }

  add(cursor: number, bytes: number): void {
    this.#items.set(cursor, bytes);
    this.#bytes += bytes;
    if (fills(this.#items.size, this.#bytes)) this.#isFull = true;
  }

  /** They are acknowledged, or were skipped; those that are not on their way are ignored. */
  remove(cursors: readonly number[]): void {
    for (const cursor of cursors) {
      this.#bytes -= this.#items.get(cursor) ?? 0;
      this.#items.delete(cursor);
    }
    if (this.#items.size <= IN_FLIGHT_ITEMS / 2 && this.#bytes <= IN_FLIGHT_BYTES / 2) this.#isFull = false;
  }
}
