/**
 * Who may have work done, and whose turn it is: fair queueing over users, with the virtual time of start-time fair queueing (Goyal, Vin,
 * Cheng, SIGCOMM 1996, §2), in the order of finish tags. Work that has been let in is bounded; while there is more, each user gets the same
 * share of it, measured in what it costs, and whoever asks for little is next however many ask for much: what he has left of his share, he
 * may have later. Of one user, what came first goes first.
 */
import { Heap } from '../base/heap.ts';

interface Waiting {
  readonly cost: number;
  /** its start tag and what it costs */
  readonly finish: number;
  /** of all that had to wait: of those that would be done at the same time, the first that came */
  readonly number: number;
  readonly enter: () => void;
}
/** Of one user. */
interface Flow {
  /** the oldest first; not empty while it is among those that wait */
  readonly waiting: Waiting[];
  /** finish tag of the last that it brought */
  finish: number;
}

/** So many flows are kept in any case. */
const MIN_FLOWS = 1000;

const isBefore = ({ waiting: [a] }: Flow, { waiting: [b] }: Flow): boolean =>
  a!.finish < b!.finish || (a!.finish === b!.finish && a!.number < b!.number);

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
  /** What one who has asked for nothing for a while may have before all others. */
  readonly #credit: number;
  /** user → also those of whom nothing waits, until others have had as much as they */
  readonly #flows = new Map<number, Flow>();
  /** those of whom something waits, by whose first would be done first */
  readonly #order = new Heap(isBefore);
  /** Twice what was left the last time: looking through all of them costs nothing on average. */
  #sweepAt = MIN_FLOWS;
  /** the highest start tag of what was let in since there was somebody to wait */
  #virtualTime = 0;
  #waiting = 0;
  #number = 0;
  /** of what is inside, as it is counted */
  #inside = 0;
  #isTurnDue = false;

  /** @param capacity cost of what may be inside at once. Something large is counted as three quarters of it, so that small ones go in beside it */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#mostCounted = (capacity * 3) / 4;
    this.#credit = capacity;
  }

  place(user: number, cost: number): Place {
    return new Place(
      () => this.#enter(user, cost),
      () => this.#leave(cost),
    );
  }

  /** Users of whom something is remembered. */
  get users(): number {
    return this.#flows.size;
  }

  /** There is more to do than is done. */
  get isBusy(): boolean {
    return this.#waiting > 0;
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
    if (flow === undefined) this.#flows.set(user, (flow = { waiting: [], finish: -Infinity }));
    const { promise, resolve } = Promise.withResolvers<void>();
    flow.finish = Math.max(this.#virtualTime - this.#credit, flow.finish) + cost;
    flow.waiting.push({ cost, finish: flow.finish, number: this.#number++, enter: resolve });
    if (flow.waiting.length === 1) this.#order.add(flow);
    this.#waiting++;
    if (this.#flows.size > this.#sweepAt) this.#forget();
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
    for (let next = this.#order.first; next !== undefined; next = this.#order.first) {
      const { cost, finish, enter } = next.waiting[0]!;
      if (!isForced && !this.#hasRoomFor(cost)) return;
      this.#order.take();
      next.waiting.shift();
      if (next.waiting.length > 0) this.#order.add(next);
      this.#waiting--;
      this.#virtualTime = Math.max(this.#virtualTime, finish - cost);
      this.#inside += this.#counted(cost);
      enter();
    }
    this.#flows.clear(); // nobody waits: all begin alike
    this.#virtualTime = 0;
  }

  /** Flows that would begin like new ones. */
  #forget(): void {
    for (const [user, { waiting, finish }] of this.#flows)
      if (waiting.length === 0 && finish <= this.#virtualTime - this.#credit) this.#flows.delete(user);
    this.#sweepAt = Math.max(MIN_FLOWS, 2 * this.#flows.size);
  }
}
