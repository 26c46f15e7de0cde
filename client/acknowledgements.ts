/**
 * What this device keeps, on its way to the server over one connection. It is gathered for a moment, for a frame about one message costs the
 * server nearly as much as a frame about many; what is gathered when the connection is lost comes again over the next, and is known then
 * (docs/decisions/0027).
 */

/** How long the first waits for others. */
const GATHER_MS = 100;
/**
 * What does not wait. A server whose line is full (2,048 messages, or 4 MiB) goes on when half of it is acknowledged: what is held back here
 * stays below that half, or a long queue would stand still for GATHER_MS again and again. Beside 32 messages a frame costs next to nothing.
 */
const AT_ONCE = 32;
const AT_ONCE_BYTES = 1024 * 1024;

export class Acknowledgements {
  readonly #tell: (cursors: number[]) => void;
  readonly #gatherMs: number;
  #cursors: number[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout | null = null;

  /** @param tell sends them, 1 to 32 at a time; nothing when the connection has ended */
  constructor(tell: (cursors: number[]) => void, gatherMs = GATHER_MS) {
    this.#tell = tell;
    this.#gatherMs = gatherMs;
  }

  /** It is on the disk here. @param parts of the message, whose bytes the server counts */
  add(cursor: number, parts: readonly Uint8Array[] = []): void {
    this.#cursors.push(cursor);
    for (const part of parts) this.#bytes += part.length;
    if (this.#cursors.length >= AT_ONCE || this.#bytes >= AT_ONCE_BYTES) return this.flush();
    this.#timer ??= setTimeout(() => this.flush(), this.#gatherMs).unref();
  }

  /** Tells it now: before the connection is closed from here, and where nothing more is to be expected soon. */
  flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const cursors = this.#cursors;
    this.#cursors = [];
    this.#bytes = 0;
    if (cursors.length > 0) this.#tell(cursors);
  }
}
