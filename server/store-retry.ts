/**
 * A store that lacks a window which the log has: it is offered the window again and again until it takes it, and nothing else meanwhile. A
 * store that is still down when the server ends gets it from the log at the next start.
 */
import { errorFields, type Log } from '../runtime/log.ts';
import type { StoredMessage, WindowRecord } from '../store/contract/log.ts';
import type { Store } from '../store/store.ts';

/** Between two attempts, at most. */
export const MAX_RETRY_MS = 5000;

export interface StoreRetryOptions {
  readonly store: Pick<Store, 'commitWindow'>;
  readonly log: Log;
  /** First pause before a window is offered to a failing store again; doubles up to 5 s. */
  readonly retryMs?: number;
}

export class StoreRetry {
  readonly #o: StoreRetryOptions;
  readonly #onDown: () => void;
  readonly #onBack: () => void;
  #isDown = false;
  #isEnding = false;
  #wake: (() => void) | null = null;

  /** @param onDown it lacks a window @param onBack it has it; what was loaded from it meanwhile is older */
  constructor(options: StoreRetryOptions, onDown: () => void, onBack: () => void) {
    this.#o = options;
    this.#onDown = onDown;
    this.#onBack = onBack;
  }

  /** It lacks a window now. */
  get isDown(): boolean {
    return this.#isDown;
  }

  /** @param reason why it has not taken the window. Null: the server ends before it does; recovery will do it */
  async commit(record: WindowRecord, reason: unknown): Promise<StoredMessage[][] | null> {
    const { store, log, retryMs = 100 } = this.#o;
    this.#isDown = true;
    this.#onDown();
    for (let pause = retryMs, error = reason; ; pause = Math.min(pause * 2, MAX_RETRY_MS)) {
      log.warn('store.failed', { ...errorFields(error), ms: pause });
      if (!this.#isEnding) await this.#pause(pause);
      try {
        const answers = await store.commitWindow(record);
        this.#onBack();
        this.#isDown = false;
        log.info('store.recovered', { size: record.logSize });
        return answers;
      } catch (failure) {
        if (this.#isEnding) return null;
        error = failure;
      }
    }
  }

  /** It is asked once more, and then no longer. */
  end(): void {
    this.#isEnding = true;
    this.#wake?.();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
