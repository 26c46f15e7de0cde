/**
 * Whoever asks for more than he may is not read from for as long as he is told to wait, all refusals added up, and so long at most: his
 * pings must come in time. From then on he is watched, which means read one request at a time, and when that is refused as well, he rests
 * for twice as long as before; until something of his is admitted, or he was not refused for so long.
 */
const MAX_REST_MS = 5000;

export class Rest {
  readonly #monotonicMs: () => number;
  readonly #onOver: () => void;
  #timer: NodeJS.Timeout | undefined;
  #untilMs = -Infinity;
  /** how long the last one was at first; 0: there is nothing to watch */
  #lengthMs = 0;

  constructor(monotonicMs: () => number, onOver: () => void) {
    this.#monotonicMs = monotonicMs;
    this.#onOver = onOver;
  }

  get isNow(): boolean {
    return this.#timer !== undefined;
  }
  get isWatched(): boolean {
    return this.#lengthMs > 0 && this.#monotonicMs() - this.#untilMs <= MAX_REST_MS;
  }

  /** He was refused. */
  refused(retryAfterMs: number): void {
    let addedMs = retryAfterMs;
    if (!this.isNow) {
      const before = this.isWatched ? this.#lengthMs : 0;
      addedMs = this.#lengthMs = Math.min(Math.max(retryAfterMs, 2 * before), MAX_REST_MS);
    }
    const now = this.#monotonicMs();
    this.#untilMs = Math.min(Math.max(this.#untilMs, now) + addedMs, now + MAX_REST_MS);
    clearTimeout(this.#timer);
    const over = (): void => {
      this.#timer = undefined;
      this.#onOver();
    };
    this.#timer = setTimeout(over, this.#untilMs - now).unref();
  }

  /** A batch of his is within all limits. */
  admitted(): void {
    this.#lengthMs = 0;
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
