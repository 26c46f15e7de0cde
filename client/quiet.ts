/** The moment when receipts go: once nothing more has come for a while, for each statement costs the server as much as a message; or soon in any case. */

/** How long they wait for the next message that needs one, and how long at most. */
const QUIET_MS = 200;
const LONGEST_QUIET_MS = 1000;

export class Quiet {
  readonly #over: () => void;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | null = null;
  /** Unix ms at which the first of them began to wait */
  #since = 0;

  /** @param over called when it has been quiet for long enough */
  constructor(over: () => void, now: () => number) {
    this.#over = over;
    this.#now = now;
  }

  get isAwaited(): boolean {
    return this.#timer !== null;
  }
  /** Something has come: it has to be quiet from now on, again if it was to be before. */
  begin(): void {
    const now = this.#now();
    // The clock may have been set back.
    this.#since = this.#timer === null ? now : Math.min(this.#since, now);
    if (this.#timer !== null) clearTimeout(this.#timer);
    const left = this.#since + LONGEST_QUIET_MS - now;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#over();
      },
      Math.max(0, Math.min(QUIET_MS, left)),
    );
  }
  /** It is not waited for any more. */
  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
