/**
 * Senders' signatures, checked where it costs least. libuv's thread pool keeps the main thread free to read sockets, but the way there
 * and back takes half as long as the check itself; so what is cheap, and what comes alone, is checked at once. Where there are but two
 * processors, everything is but large RSA keys: the second one has the database, the disk and the garbage to do.
 */
import { availableParallelism } from 'node:os';
import type { KeyObject } from 'node:crypto';
import { ALGORITHM, verify, verifyAsync, type Context } from '../base/signature.ts';

/** Between two checks on the main thread, of which each takes a tenth of that at most: what comes faster goes to the pool. */
const ALONE_MS = 0.5;
/** RSA up to here is verified in less time than the way to the pool takes. */
const CHEAP_RSA_BITS = 3072;

export class Signatures {
  readonly #monotonicMs: () => number;
  readonly #hasFreeCores: boolean;
  #inPool = 0;
  #checkedAtMs = -Infinity;

  constructor(monotonicMs: () => number = () => performance.now(), cores = availableParallelism()) {
    this.#monotonicMs = monotonicMs;
    this.#hasFreeCores = cores > 2;
  }

  /** As verify(). */
  async verify(
    key: KeyObject,
    algorithm: number,
    context: Context,
    body: Uint8Array,
    signature: Uint8Array,
  ): Promise<boolean> {
    const isRsa = algorithm === ALGORITHM.rsaPss;
    const isCheap = isRsa
      ? (key.asymmetricKeyDetails?.modulusLength ?? Infinity) <= CHEAP_RSA_BITS
      : !this.#hasFreeCores;
    if (isCheap) return verify(key, algorithm, context, body, signature);
    if (this.#inPool === 0 && this.#monotonicMs() - this.#checkedAtMs >= ALONE_MS) {
      const isRight = verify(key, algorithm, context, body, signature);
      this.#checkedAtMs = this.#monotonicMs();
      return isRight;
    }
    this.#inPool++;
    try {
      return await verifyAsync(key, algorithm, context, body, signature);
    } finally {
      this.#inPool--;
    }
  }
}
