/** Token buckets on a monotonic clock: a caller may use its burst at once and then as much as flows in. Idle buckets are forgotten. */
import { ChatError } from '../base/errors.ts';

/** So many buckets are kept in any case. */
const MIN_BUCKETS = 10_000;

interface Bucket {
  tokens: number;
  /** when that was so, ms */
  at: number;
}

export class RateLimit {
  readonly #burst: number;
  readonly #perMs: number;
  readonly #monotonicMs: () => number;
  readonly #buckets = new Map<string, Bucket>();
  /** Twice what was left the last time: looking through all of them costs nothing on average. */
  #sweepAt = MIN_BUCKETS;

  /**
   * @param perMinute units that flow in each minute
   * @param burst the most that can be saved up
   */
  constructor(perMinute: number, monotonicMs: () => number = () => performance.now(), burst = perMinute) {
    this.#burst = burst;
    this.#perMs = perMinute / 60_000;
    this.#monotonicMs = monotonicMs;
  }

  /** Buckets that are kept. */
  get size(): number {
    return this.#buckets.size;
  }

  /**
   * More than can be saved up is lent when the bucket is full.
   * @param taken what was taken for the same before
   * @throws RATE_LIMIT with retryAfterMs; then nothing was taken
   */
  take(key: string, units: number, taken = 0): void {
    this.#filled(key, units, taken).tokens -= units;
  }

  /** As if these had not been taken. */
  giveBack(key: string, units: number): void {
    const bucket = this.#buckets.get(key);
    if (bucket !== undefined) bucket.tokens = Math.min(this.#burst, bucket.tokens + units);
  }

  /** Whether take() would: it takes nothing. @throws as take() */
  check(key: string, units: number, taken = 0): void {
    this.#filled(key, units, taken);
  }

  /** @throws as take() */
  #filled(key: string, units: number, taken: number): Bucket {
    const now = this.#monotonicMs();
    if (this.#buckets.size > this.#sweepAt) this.#forget(now);
    const bucket = this.#buckets.get(key) ?? { tokens: this.#burst, at: now };
    bucket.tokens = Math.min(this.#burst, bucket.tokens + (now - bucket.at) * this.#perMs);
    bucket.at = now;
    this.#buckets.set(key, bucket);
    const missing = Math.min(units, this.#burst - taken) - bucket.tokens;
    if (missing > 0) {
      const retryAfterMs = Math.ceil(missing / this.#perMs);
      throw new ChatError('RATE_LIMIT', 'too much in too short a time', { retryAfterMs });
    }
    return bucket;
  }

  #forget(now: number): void {
    for (const [key, bucket] of this.#buckets)
      if (bucket.tokens + (now - bucket.at) * this.#perMs >= this.#burst) this.#buckets.delete(key);
    this.#sweepAt = Math.max(MIN_BUCKETS, 2 * this.#buckets.size);
  }
}
