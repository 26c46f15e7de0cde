/**
 * Whoever asks for more than he may is not read from for as long as he is told to wait, all refusals added up, and so long at most: his
 * pings must come in time. From then on he is watched, which means read one request at a time, and when that is refused as well, he rests
 * for twice as long as before; until something of his is admitted, or he was not refused for so long. What others may have used up he asks for
 * once without blame: then he knows how long that takes, and what else he has to say is read.
 */
const MAX_REST_MS = 5000;

export class Rest {
  readonly #monotonicMs: () => number;
  readonly #onOver: () => void;
  #timer: NodeJS.Timeout | undefined;
  #untilMs = -Infinity;
  /** how long the last one was at first; 0: there is nothing to watch */
  #lengthMs = 0;
  /** for so long he was told to wait for what others have used up */
  #sharedUntilMs = -Infinity;

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

  /** He was refused. @param isShared what he asked for is not for him alone */
  refused(retryAfterMs: number, isShared = false): void {
    const now = this.#monotonicMs();
    if (isShared) {
      const wasTold = now < this.#sharedUntilMs;
      this.#sharedUntilMs = Math.max(this.#sharedUntilMs, now + retryAfterMs);
      if (!wasTold) return;
    }
    let addedMs = retryAfterMs;
    if (!this.isNow) {
      const before = this.isWatched ? this.#lengthMs : 0;
      addedMs = this.#lengthMs = Math.min(Math.max(retryAfterMs, 2 * before), MAX_REST_MS);
    }
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
