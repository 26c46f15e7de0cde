/**
 * A conversation as the rest of the client holds it: a small one as its state, a large one (`Distant`) as a handle of the state that another
 * thread has, what is known of it (`Sketch`), and the bytes that it is kept as. What can be read off either is here.
 */
import { epoch, groupId, ownKey, settings, type Conversation } from './group.ts';
import { usersIn as usersInTree } from './presence.ts';
import type { Sketch } from './sketch.ts';

export type Held = Conversation | Distant;

/** A snapshot, and deltas after it, in their order (delta.ts). */
export interface Kept {
  readonly snapshot: Uint8Array;
  readonly deltas: readonly Uint8Array[];
}
/** How a state came about: from bytes, or from another by a delta; null: it is kept, and nobody needs to know any more. */
type Origin = Kept | { readonly before: Distant; readonly delta: Uint8Array } | null;

let lastHandle = 0;
/** One that no state has had in this process. */
export const nextHandle = (): number => ++lastHandle;

export class Distant {
  readonly handle: number;
  readonly sketch: Sketch;
  /** since the snapshot */
  readonly deltaCount: number;
  #origin: Origin;

  /** @param handle what the other thread knows it by: a new one for each state */
  constructor(handle: number, sketch: Sketch, origin: NonNullable<Origin>) {
    this.handle = handle;
    this.sketch = sketch;
    this.#origin = origin;
    this.deltaCount = 'before' in origin ? origin.before.deltaCount + 1 : origin.deltas.length;
  }

  /** From which the other thread can make it; null: that has it, or can have it no more. */
  get bytes(): Kept | null {
    return this.#origin !== null && 'snapshot' in this.#origin ? this.#origin : null;
  }

  /** What is to be stored where `stored` is what is stored now. @returns `snapshot` null: the deltas are enough */
  changesSince(stored: Held | null): { readonly snapshot: Uint8Array | null; readonly deltas: readonly Uint8Array[] } {
    if (stored === this) return { snapshot: null, deltas: [] };
    const origin = this.#origin;
    if (origin === null) throw new TypeError('a state that is stored already comes after one that is not');
    if ('snapshot' in origin) return origin;
    const { snapshot, deltas } = origin.before.changesSince(stored);
    return { snapshot, deltas: [...deltas, origin.delta] };
  }

  /** It is on disk as the current state, and the other thread has it: how it came about is of no interest any more. */
  settle(): void {
    this.#origin = null;
  }
}

export const isDistant = (held: Held): held is Distant => held instanceof Distant;

export const epochOf = (held: Held): number => (isDistant(held) ? held.sketch.epoch : Number(epoch(held)));
export const groupIdIn = (held: Held): Uint8Array => (isDistant(held) ? held.sketch.groupId : groupId(held));
export const settingsIn = (held: Held): Uint8Array => (isDistant(held) ? held.sketch.settings : settings(held));
export const ownKeyIn = (held: Held): ReturnType<typeof ownKey> => (isDistant(held) ? held.sketch : ownKey(held));
/** The epoch that a pending commit makes; null: none is pending. */
export function pendingEpoch(held: Held): number | null {
  if (isDistant(held)) return held.sketch.pending;
  return held.pending && Number(held.pending.state.groupContext.epoch);
}
/** The same object for as long as nobody comes or goes, and perhaps another if nobody did. */
export const rosterToken = (held: Held): object => (isDistant(held) ? held.sketch.members : held.state.ratchetTree);

const known = new WeakMap<Sketch, string[]>();
/** Users of whom a device is in the group, each once, in order. */
export function usersIn(held: Held): string[] {
  if (!isDistant(held)) return usersInTree(held);
  const { sketch } = held;
  const users = known.get(sketch) ?? [...new Set(sketch.members.map(({ user }) => user))].sort();
  known.set(sketch, users);
  return users;
}
