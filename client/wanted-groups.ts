/**
 * Conversations whose group is to be looked at though nothing waits to be sent there: whoever knows a reason says so, once on each connection or
 * whenever it is a new one; and rooms with somebody who is to be let in are looked at again after a while. All of it is of one connection.
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import type { RoomTable } from './room-table.ts';
import { ASK_AGAIN_MS } from './taken-packages.ts';

/** Why a group is looked at; each time another object, so that what comes while one is dealt with is not taken for it. */
export interface Reason {
  readonly id: ConversationId;
}

export class WantedGroups {
  readonly #rooms: Pick<RoomTable, 'invited'>;
  readonly #now: () => number;
  readonly #wanted = new Map<string, Reason>();
  readonly #hadWanted = new Set<string>();
  /** rooms with somebody who is to be let in as soon as he has a device that can read, which nobody tells: → Unix ms of the next look */
  readonly #expecting = new Map<
    string,
    { readonly id: ConversationId; readonly from: number; readonly until: number }
  >();

  constructor(rooms: Pick<RoomTable, 'invited'>, now: () => number) {
    this.#rooms = rooms;
    this.#now = now;
  }

  /** Another connection. */
  begin(): void {
    this.#wanted.clear();
    this.#hadWanted.clear();
    this.#expecting.clear();
  }
  /** Answers whether that is news. */
  add(id: ConversationId, isNewReason: boolean): boolean {
    if (this.#hadWanted.size === this.#hadWanted.add(hex(id)).size && !isNewReason) return false;
    this.#wanted.set(hex(id), { id });
    return true;
  }
  has(id: ConversationId): boolean {
    return this.#wanted.has(hex(id));
  }
  /** Each of them; also those whose next look has come. */
  all(): ConversationId[] {
    const now = this.#now();
    for (const [key, { id, from, until }] of this.#expecting) {
      if (from <= now && now < until) continue;
      this.#expecting.delete(key);
      if (this.#isExpecting(id)) this.#wanted.set(key, { id });
    }
    return [...this.#wanted.values()].map(({ id }) => id);
  }

  /** To be given to done(), after the group was looked at. */
  reason(id: ConversationId): Reason | undefined {
    return this.#wanted.get(hex(id));
  }
  /** Nothing more is to be done for this reason. Answers false when another has come since, for which the group is looked at again. */
  done(id: ConversationId, reason: Reason | undefined): boolean {
    if (this.#wanted.get(hex(id)) !== reason) return false;
    this.#wanted.delete(hex(id));
    return true;
  }

  /** The group was looked at; if somebody is still to be let in, it is again after a while. */
  looked(id: ConversationId): void {
    if (!this.#isExpecting(id)) return;
    const now = this.#now();
    this.#expecting.set(hex(id), { id, from: now, until: now + ASK_AGAIN_MS });
  }
  /** Unix ms of those looks; now, if the clock was set back. */
  get looks(): number[] {
    const now = this.#now();
    return [...this.#expecting.values()].map(({ from, until }) => (from > now ? now : until));
  }

  #isExpecting(id: ConversationId): boolean {
    return this.#rooms.invited(id).length > 0;
  }
}
