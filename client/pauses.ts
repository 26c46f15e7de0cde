/** Conversations that cannot be written in now: each waits by itself, for longer each time, and holds up no other. */
import { hex, type ConversationId } from '../base/bytes.ts';

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;

interface Pause {
  readonly id: ConversationId;
  /** Unix ms */
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
    this.#set({ id, until: this.#now() + ms, ms });
  }
  /** It waits until then, and nothing was in vain. @param until Unix ms */
  until(id: ConversationId, until: number): void {
    this.#set({ id, until, ms: FIRST_MS / 2 });
  }
  end(id: ConversationId): void {
    this.#paused.delete(hex(id));
  }
  clear(): void {
    this.#paused.clear();
  }

  /** Those that wait while it is looked at what there is to do. */
  look(): ConversationId[] {
    const waiting = [...this.#paused.values()].filter(({ until }) => until > this.#now());
    this.#passedOver.clear();
    for (const { id } of waiting) this.#passedOver.add(hex(id));
    return waiting.map(({ id }) => id);
  }
  /** Unix ms at which those can be tried again that do wait; one that has ended while others were looked after is no reason to sleep. */
  get ends(): number[] {
    const now = this.#now();
    return [...this.#paused].flatMap(([key, { until }]) => (until > now || this.#passedOver.has(key) ? [until] : []));
  }

  #set(pause: Pause): void {
    this.#paused.set(hex(pause.id), pause);
    this.#passedOver.add(hex(pause.id));
  }
}
