/** Messages that are to disappear, and do while a program runs; what was due before is erased when the vault is opened. */
import { ChatError } from '../base/errors.ts';
import type { Listeners } from './listeners.ts';
import type { Vault } from './vault.ts';

/** How often it is looked whether a message has to disappear: one step in an index. */
const EXPIRY_MS = 1000;

export class Expiry {
  readonly #vault: Vault;
  readonly #listeners: Listeners;
  readonly #now: () => number;
  readonly #timer: NodeJS.Timeout;

  /** Looks from now on. @param listeners are told of each that is gone */
  constructor(vault: Vault, listeners: Listeners, now: () => number) {
    this.#vault = vault;
    this.#listeners = listeners;
    this.#now = now;
    this.#timer = setInterval(() => this.#look(), EXPIRY_MS).unref();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    try {
      for (const row of this.#vault.annotations.purge(this.#now()))
        this.#listeners.tell({ on: 'state', message: this.#vault.message(row)!, isQueued: false });
    } catch (cause) {
      const error = ChatError.from(cause);
      this.#listeners.warn(`what was to disappear is still here: ${error.message} [${error.code}]`);
    }
  }
}
