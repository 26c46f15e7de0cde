/** How far a program is, on one line of a terminal that is written over and gone at the end. Written once for each hundredth, not for each entry. */

const CELLS = 30;

export class ProgressBar {
  readonly #write: (text: string) => void;
  /** Hundredths; null: nothing stands on the line. */
  #shown: number | null = null;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** @param total what there seems to be; more may come */
  show(done: number, total: number): void {
    const share = total > 0 ? Math.min(100, Math.floor((100 * done) / total)) : 100;
    if (share === this.#shown) return;
    this.#shown = share;
    const cells = Math.floor((share * CELLS) / 100);
    const bar = '#'.repeat(cells) + '.'.repeat(CELLS - cells);
    this.#write(`\r[${bar}] ${String(share).padStart(3)} %, ${done} of ${total} checked\u001b[K`);
  }

  /** Nothing is left of it. */
  end(): void {
    if (this.#shown !== null) this.#write('\r\u001b[K');
    this.#shown = null;
  }
}
