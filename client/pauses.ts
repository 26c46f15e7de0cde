/** Conversations that cannot be written in now: each waits by itself, for longer each time, and holds up no other. */
import { hex, type ConversationId } from '../base/bytes.ts';

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;
/** Of Node, 24 days: a longer timer ends at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

interface Pause {
  readonly id: ConversationId;
  /** Unix ms, both. Before it began the clock was set back, and it is over. */
  readonly from: number;
  readonly until: number;
  readonly ms: number;
}

export class Pauses {
  readonly #now: () => number;
  readonly #paused = new Map<string, Pause>();
  /** those of them that the last look at what there is to do has passed over, or paused */
  readonly #passedOver = new Set<string>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** It waits for a while, each time for longer. */
  add(id: ConversationId, atLeastMs = 0): void {
    const before = this.#paused.get(hex(id));
    const ms = Math.max(Math.min((before?.ms ?? FIRST_MS / 2) * 2, LONGEST_MS), atLeastMs);
    const now = this.#now();
    this.#set({ id, from: now, until: now + ms, ms });
  }
  /** It waits until then, and nothing was in vain. @param until Unix ms */
  until(id: ConversationId, until: number): void {
    this.#set({ id, from: this.#now(), until, ms: FIRST_MS / 2 });
  }
  end(id: ConversationId): void {
    this.#paused.delete(hex(id));
  }
  /** All are over; which they were is still known. */
  endAll(): void {
    const now = this.#now();
    for (const [key, { id }] of this.#paused) this.#paused.set(key, { id, from: now, until: now, ms: FIRST_MS / 2 });
  }
  /** Whether it could not be written in when that was tried last. */
  has(id: ConversationId): boolean {
    return this.#paused.has(hex(id));
  }

  /**
   * Those that wait while it is looked at what there is to do. Of those that need not any more so many are looked at, which have waited longest, and
   * the others the next time: most of them are looked at in vain.
   * @param isIdle nothing is to be done there
   * @param tried keys of those that were looked at just now, and wait in any case
   */
  look(most: number, isIdle: (id: ConversationId) => boolean, tried: ReadonlySet<string>): ConversationId[] {
    const now = this.#now();
    const waiting: Pause[] = [];
    const over: Pause[] = [];
    for (const [key, pause] of this.#paused) {
      const isOver = pause.from > now || pause.until <= now;
      (isOver && !tried.has(key) ? over : waiting).push(pause);
    }
    over.sort((a, b) => a.until - b.until);
    for (let looked = 0; looked < most && over.length > 0;) {
      const { id } = over.shift()!;
      if (isIdle(id)) this.end(id);
      else looked++;
    }
    const all = [...waiting, ...over].map(({ id }) => id);
    this.#passedOver.clear();
    for (const id of all) this.#passedOver.add(hex(id));
    return all;
  }
  /** Unix ms at which those can be tried again that do wait; one that has ended while others were looked after is no reason to sleep. */
  get ends(): number[] {
    const now = this.#now();
    return [...this.#paused].flatMap(([key, { from, until }]) =>
      this.#passedOver.has(key) ? [Math.min(until, now + until - from)] : [],
    );
  }

  #set(pause: Pause): void {
    this.#paused.set(hex(pause.id), pause);
    this.#passedOver.add(hex(pause.id));
  }
}
