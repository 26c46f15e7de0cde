/**
 * Who may have work done, and whose turn it is: weighted fair queueing (Demers, Keshav, Shenker, SIGCOMM 1989, §2.2) over users. Work that
 * has been let in is bounded; while there is more, each user gets the same share of it, measured in what it costs, and whoever asks for little
 * is next however much others ask for. Of one user, what came first goes first.
 */

interface Waiting {
  readonly cost: number;
  /** virtual time at which it would be done if all who wait were served at once */
  readonly finish: number;
  readonly enter: () => void;
}

/** One piece of work, before, in and after its turn. */
export class Place {
  readonly #enter: () => Promise<void> | null;
  readonly #leave: () => void;
  #at: 'before' | 'in' | 'after' = 'before';

  constructor(enter: () => Promise<void> | null, leave: () => void) {
    this.#enter = enter;
    this.#leave = leave;
  }

  /** @returns null: it is in, or was before */
  enter(): Promise<void> | null {
    if (this.#at !== 'before') return null;
    this.#at = 'in';
    return this.#enter();
  }

  /** Its turn is over, if there was one. */
  leave(): void {
    if (this.#at === 'in') this.#leave();
    this.#at = 'after';
  }
}

export class FairQueue {
  readonly #capacity: number;
  readonly #mostCounted: number;
  /** user → what waits of it, the oldest first, and when the last that it brought would be done */
  readonly #flows = new Map<number, { readonly waiting: Waiting[]; finish: number }>();
  /** the share that each has had who has waited since there was somebody to wait */
  #virtualTime = 0;
  #waiting = 0;
  /** of what is inside, as it is counted */
  #inside = 0;
  #isTurnDue = false;

  /** @param capacity cost of what may be inside at once. Something large is counted as three quarters of it, so that small ones go in beside it */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#mostCounted = (capacity * 3) / 4;
  }

  place(user: number, cost: number): Place {
    return new Place(
      () => this.#enter(user, cost),
      () => this.#leave(cost),
    );
  }

  /** All that wait are let in at once: what they were judged by holds no more, and they are judged anew. */
  open(): void {
    this.#letIn(true);
  }

  #enter(user: number, cost: number): Promise<void> | null {
    if (this.#waiting === 0 && this.#hasRoomFor(cost)) {
      this.#inside += this.#counted(cost);
      return null;
    }
    let flow = this.#flows.get(user);
    if (flow === undefined) this.#flows.set(user, (flow = { waiting: [], finish: 0 }));
    const { promise, resolve } = Promise.withResolvers<void>();
    flow.finish = Math.max(this.#virtualTime, flow.finish) + cost;
    flow.waiting.push({ cost, finish: flow.finish, enter: resolve });
    this.#waiting++;
    this.#letIn();
    return promise;
  }

  /** From the next turn of the event loop on its room is for others: what has come meanwhile is heard first. */
  #leave(cost: number): void {
    this.#inside -= this.#counted(cost);
    if (this.#waiting === 0 || this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(() => {
      this.#isTurnDue = false;
      this.#letIn();
    });
  }

  #hasRoomFor(cost: number): boolean {
    return this.#inside + this.#counted(cost) <= this.#capacity;
  }
  #counted(cost: number): number {
    return Math.min(cost, this.#mostCounted);
  }

  #letIn(isForced = false): void {
    for (let next = this.#next(); next !== null; next = this.#next()) {
      const { cost, enter } = next.first;
      if (!isForced && !this.#hasRoomFor(cost)) return;
      next.waiting.shift();
      this.#waiting--;
      this.#virtualTime += cost / next.users;
      this.#inside += this.#counted(cost);
      enter();
    }
    this.#flows.clear(); // nobody waits: all begin alike
    this.#virtualTime = 0;
  }

  /** What would be done first, of whom, and among how many users: also those who have had more than their share, until others have as much. */
  #next(): { readonly first: Waiting; readonly waiting: Waiting[]; readonly users: number } | null {
    let next: { readonly first: Waiting; readonly waiting: Waiting[] } | null = null;
    let users = 0;
    for (const [user, { waiting, finish }] of this.#flows) {
      const [first] = waiting;
      if (first === undefined && finish <= this.#virtualTime) {
        this.#flows.delete(user);
        continue;
      }
      users++;
      if (first === undefined) continue;
      if (next === null || first.finish < next.first.finish) next = { first, waiting };
    }
    return next && { ...next, users };
  }
}
