/**
 * Who has joined a public room and is not in its group yet. Seen from inside: whom this device lets in, all of a moment in one commit, when
 * the server says that it is its turn. Seen from outside: how long this device waits for others before it enters by itself. All of it is of one
 * connection. The server's word decides who acts, and when; not who may come in, for into the group of a public room everybody may.
 */
import { hex, type ConversationId } from '../base/bytes.ts';

/** How long others may take to let this device in. */
export const JOIN_WAIT_MS = 3000;
/** Between two commits by which this device lets somebody into one room. */
const GATHER_MS = 500;
/** How much later each next device acts, if those before it have not. */
const TURN_MS = 1000;
/** Of one room. */
const MAX_GUESTS = 1000;

export interface LobbyHost {
  /** Users of whom a device is in the group. */
  inside(id: ConversationId): readonly string[];
  /** Somebody is to be let in: the group has to be looked at. */
  want(id: ConversationId): void;
}

interface Room {
  readonly id: ConversationId;
  /** user → Unix ms from which on it is this device's to let him in */
  readonly guests: Map<string, number>;
  /** those of them for whom the group was looked at */
  readonly called: Set<string>;
  /** Unix ms at which that was done last */
  last: number;
  timer: NodeJS.Timeout | null;
}

export class Lobby {
  readonly #host: LobbyHost;
  readonly #waitMs: number;
  readonly #now: () => number;
  readonly #rooms = new Map<string, Room>();
  /** conversation → Unix ms until which others are waited for */
  readonly #waits = new Map<string, number>();

  constructor(host: LobbyHost, waitMs: number, now: () => number) {
    this.#host = host;
    this.#waitMs = waitMs;
    this.#now = now;
  }

  /** This device has joined, and others were asked to let it in. */
  wait(id: ConversationId): void {
    this.#waits.set(hex(id), this.#now() + this.#waitMs);
  }
  /** It is inside. Answers whether it has waited for that. */
  entered(id: ConversationId): boolean {
    return this.#waits.delete(hex(id));
  }
  /** Unix ms until which it does not enter by itself; 0: it does at once. */
  waitsUntil(id: ConversationId): number {
    const until = this.#waits.get(hex(id)) ?? 0;
    // Later than it was ever set: the clock was put back.
    const isOver = until <= this.#now() || until > this.#now() + this.#waitMs;
    if (isOver) this.#waits.delete(hex(id));
    return isOver ? 0 : until;
  }

  /** @param turn how many were asked before this device */
  ask(id: ConversationId, user: string, turn: number): void {
    const room = this.#rooms.get(hex(id)) ?? { id, guests: new Map(), called: new Set(), last: 0, timer: null };
    this.#rooms.set(hex(id), room);
    if (room.guests.size >= MAX_GUESTS && !room.guests.has(user)) return;
    room.guests.set(user, this.#now() + turn * TURN_MS);
    room.called.delete(user);
    this.#schedule(room);
  }
  /** Whom this device is to let in now. */
  guests(id: ConversationId): readonly string[] {
    const now = this.#now();
    const { guests = new Map<string, number>() } = this.#rooms.get(hex(id)) ?? {};
    return [...guests].flatMap(([user, due]) => (due <= now ? [user] : []));
  }
  /** He is inside, or does not want to come in any more. */
  forget(id: ConversationId, users: readonly string[]): void {
    const room = this.#rooms.get(hex(id));
    for (const user of users) {
      room?.guests.delete(user);
      room?.called.delete(user);
    }
  }

  detach(): void {
    for (const { timer } of this.#rooms.values()) if (timer !== null) clearTimeout(timer);
    this.#rooms.clear();
    this.#waits.clear();
  }

  #schedule(room: Room): void {
    if (room.timer !== null) clearTimeout(room.timer);
    const dues = [...room.guests].flatMap(([user, due]) => (room.called.has(user) ? [] : [due]));
    const at = Math.max(Math.min(...dues), room.last + GATHER_MS);
    room.timer = dues.length === 0 ? null : setTimeout(() => this.#call(room), Math.max(0, at - this.#now()));
  }

  #call(room: Room): void {
    const now = this.#now();
    this.forget(room.id, this.#host.inside(room.id));
    const due = [...room.guests].flatMap(([user, at]) => (at <= now && !room.called.has(user) ? [user] : []));
    for (const user of due) room.called.add(user);
    if (due.length > 0) {
      room.last = now;
      this.#host.want(room.id);
    }
    this.#schedule(room);
  }
}
