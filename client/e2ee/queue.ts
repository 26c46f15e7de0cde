/**
 * One after another, for each conversation. MLS states are values: two encryptions from the same state would use the same key and nonce,
 * so whatever reads a state and writes its successor runs in here.
 */
export class ConversationQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Runs `work` after everything queued for `id` before it, whether that succeeded or not. */
  run<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(id) ?? Promise.resolve();
    const result = before.then(work, work);
    const tail: Promise<void> = result.then(
      () => this.#forget(id, tail),
      () => this.#forget(id, tail),
    );
    this.#tails.set(id, tail);
    return result;
  }

  /** Conversations with something under way. */
  get size(): number {
    return this.#tails.size;
  }

  #forget(id: string, tail: Promise<unknown>): void {
    if (this.#tails.get(id) === tail) this.#tails.delete(id);
  }
}
