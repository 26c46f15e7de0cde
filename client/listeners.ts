/** Who is told what happens while this client runs: its front end, and whoever waits for something here. */
import type { AppEvent } from './app-event.ts';
import type { Vault } from './vault.ts';

export class Listeners {
  readonly #vault: Vault;
  readonly #handlers = new Set<(event: AppEvent) => void>();
  /** the row of the newest one that handlers have heard of, or whoever opened the vault */
  #lastNotice: number;

  constructor(vault: Vault) {
    this.#vault = vault;
    this.#lastNotice = vault.notices.untold().at(-1)?.row ?? 0;
  }

  /** Answers a function that ends it. */
  on(handler: (event: AppEvent) => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  tell(event: AppEvent): void {
    for (const handler of this.#handlers) handler(event);
  }
  warn(text: string): void {
    this.tell({ on: 'warning', text });
  }
  /** What has come since this was done last. What was there before is told by whoever opens the vault. */
  tellNotices(): void {
    for (const notice of this.#vault.notices.untold(this.#lastNotice)) {
      this.#lastNotice = notice.row;
      this.tell({ on: 'warning', text: notice.text, notice });
    }
  }
}
