/**
 * One after another, for each conversation. MLS states are values: two encryptions from the same state would use the same key and nonce,
 * so whatever reads a state and writes its successor runs in here.
 */
export class ConversationQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  /**
   * Runs `work` after everything queued before it for any of `ids`, whether that succeeded or not, and before what is queued for them later. Places
   * for all of them are taken at once, so two that have several in common do not wait for each other.
   */
  run<T>(ids: readonly string[], work: () => Promise<T>): Promise<T> {
    const result = Promise.all(ids.map((id) => this.#tails.get(id))).then(work);
    const tail: Promise<void> = result.then(
      () => this.#forget(ids, tail),
      () => this.#forget(ids, tail),
    );
    for (const id of ids) this.#tails.set(id, tail);
    return result;
  }
  /** Runs `work` after everything that is queued now, and before what is queued later for any of the same. */
  runLast<T>(work: () => Promise<T>): Promise<T> {
    return this.run([...new Set([...this.#tails.keys(), ''])], work);
  }
  /** Resolves when everything that is queued now is done. */
  get settled(): Promise<void> {
    return Promise.all(this.#tails.values()).then(() => {});
  }

  /** Conversations with something under way. */
  get size(): number {
    return this.#tails.size;
  }

  #forget(ids: readonly string[], tail: Promise<unknown>): void {
    for (const id of ids) if (this.#tails.get(id) === tail) this.#tails.delete(id);
  }
}
