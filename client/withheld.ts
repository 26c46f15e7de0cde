/**
 * Messages that the server took while a device of the recipient was connected, as it said itself, and that nobody has signed for since: it
 * may keep them back. A hint, given once for each, for a device may also have gone in that moment.
 */
import type { Message } from './message-table.ts';

/** Time enough for a device that was connected to store a message and sign for it. */
export const WITHHELD_AFTER_MS = 60_000;

export class Withheld {
  readonly #suspect: (message: Message) => void;
  readonly #afterMs: number;
  readonly #timers = new Map<number, NodeJS.Timeout>();
  readonly #suspected = new Set<number>();

  /** @param suspect told once of each */
  constructor(suspect: (message: Message) => void, afterMs = WITHHELD_AFTER_MS) {
    this.#suspect = suspect;
    this.#afterMs = afterMs;
  }

  get count(): number {
    return this.#suspected.size;
  }

  /** One of our messages is accepted (isQueued: nobody was there to take it), delivered or failed. */
  changed(message: Message, isQueued: boolean): void {
    const { row, state } = message;
    clearTimeout(this.#timers.get(row));
    this.#timers.delete(row);
    this.#suspected.delete(row);
    if (state !== 'accepted' || message.direction !== 'out' || isQueued) return;
    const late = setTimeout(() => {
      this.#timers.delete(row);
      this.#suspected.add(row);
      this.#suspect(message);
    }, this.#afterMs);
    this.#timers.set(row, late.unref());
  }

  /** Without a connection nothing can come. */
  forget(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }
}
