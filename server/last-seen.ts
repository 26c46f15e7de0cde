/**
 * When users were there last, on its way to the store. It is gathered for a moment, for who leaves is seldom the only one: a network ends,
 * a shift does. A crash takes half a second of it, which nobody was promised.
 */
import { errorFields, type Log } from '../runtime/log.ts';
import type { User } from '../store/contract/accounts.ts';
import type { Store } from '../store/store.ts';

/** How long the first waits for others. */
const GATHER_MS = 500;
/** In one call of the store. */
const AT_ONCE = 256;

export interface LastSeenOptions {
  readonly store: Pick<Store, 'setLastSeen'>;
  readonly log: Log;
  readonly gatherMs?: number;
}

export class LastSeen {
  readonly #o: LastSeenOptions;
  /** User id → Unix ms: the store does not know it yet; and is being told, or was told last: somebody may have looked there before. */
  #waiting = new Map<number, number>();
  #told: ReadonlyMap<number, number> = new Map();
  #writing: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: LastSeenOptions) {
    this.#o = options;
  }

  /** @param at Unix ms */
  saw(userId: number, at: number): void {
    this.#waiting.set(userId, at);
    this.#timer ??= setTimeout(() => void this.settled(), this.#o.gatherMs ?? GATHER_MS).unref();
  }

  /** The newest that is known here of a user as the store has him. */
  of({ id, lastSeen }: Pick<User, 'id' | 'lastSeen'>): number | null {
    const told = this.#told.get(id);
    return this.#waiting.get(id) ?? (told === undefined ? lastSeen : Math.max(told, lastSeen ?? 0));
  }

  /** What was gathered is in the store, or has failed. Never rejects. */
  settled(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    this.#told = this.#waiting;
    this.#waiting = new Map();
    const all = [...this.#told].map(([userId, at]) => ({ userId, at }));
    try {
      for (let from = 0; from < all.length; from += AT_ONCE)
        await this.#o.store.setLastSeen(all.slice(from, from + AT_ONCE));
    } catch (error) {
      this.#o.log.warn('store.failed', errorFields(error));
    }
  }
}
