/**
 * What travels between the client and the thread that works on large groups (group-thread.ts, group-worker.ts). Values alone, and bytes of
 * their own.
 */
import type { Code } from '../base/errors.ts';
import type { Commit, DeviceName } from './e2ee/group.ts';
import type { Kept } from './e2ee/held.ts';
import type { GroupDoor } from './e2ee/invitation.ts';
import type { OwnDevice } from './e2ee/key-package.ts';
import type { Member, Sketch } from './e2ee/sketch.ts';

/** The parameters of the methods of the engine; `policy` is the client's own. */
export interface Wanted {
  readonly add?: readonly Uint8Array[];
  readonly remove?: readonly Pick<Member, 'user' | 'deviceId'>[];
  readonly authenticatedData?: Uint8Array;
}
export interface WelcomeTo {
  readonly shared: Uint8Array;
  readonly secrets: Uint8Array;
  readonly tree?: Uint8Array | null;
}
export type Task =
  | { readonly do: 'commit'; readonly wanted: Wanted; readonly at: number }
  | { readonly do: 'adopt' | 'drop' | 'door' }
  | { readonly do: 'encrypt'; readonly plaintext: Uint8Array; readonly authenticatedData: Uint8Array }
  | { readonly do: 'receive'; readonly bytes: Uint8Array; readonly at: number }
  | { readonly do: 'join'; readonly welcome: WelcomeTo; readonly device: OwnDevice; readonly secret: Uint8Array }
  | {
      readonly do: 'joinExternal';
      readonly door: GroupDoor;
      readonly device: OwnDevice;
      readonly at: number;
      readonly authenticatedData: Uint8Array;
    }
  | { readonly do: 'keys'; readonly leaving: readonly DeviceName[] }
  | { readonly do: 'usersBehind'; readonly door: GroupDoor };

/** Of what a commit of others did. */
export interface Shift {
  readonly by: Member;
  readonly added: readonly Member[];
}
export interface Answers {
  readonly commit: Pick<Commit, 'commit' | 'welcome'>;
  readonly adopt: null;
  readonly drop: null;
  readonly door: GroupDoor;
  readonly encrypt: { readonly message: Uint8Array };
  readonly receive:
    | {
        readonly kind: 'message';
        readonly sender: Member;
        readonly authenticatedData: Uint8Array;
        readonly plaintext: Uint8Array;
      }
    | { readonly kind: 'commit' | 'removed'; readonly change: Shift; readonly authenticatedData: Uint8Array }
    | { readonly kind: 'adopted' };
  readonly join: { readonly by: Member };
  readonly joinExternal: { readonly commit: Uint8Array };
  readonly keys: readonly string[];
  readonly usersBehind: readonly string[];
}

export interface Request {
  readonly id: number;
  readonly task: Task;
  /** handle of the state that is worked on; 0: none */
  readonly of: number;
  /** the state itself, where the thread does not have it yet */
  readonly give: Kept | null;
  /** handle of the state that it makes; 0: none */
  readonly into: number;
  /** a snapshot is wanted, though a delta would do */
  readonly isFull: boolean;
  /** that the thread does not have yet */
  readonly bindings: readonly Uint8Array[];
}
/** States that are kept from now on, of which what those had that came before them is overwritten; and states that are forgotten. */
export interface Keep {
  readonly keep: readonly number[];
  readonly forget: readonly number[];
}
export type Made = { readonly delta: Uint8Array } | { readonly snapshot: Uint8Array; readonly sketch: Sketch };
export type Reply =
  | { readonly id: number; readonly value: unknown; readonly made: Made | null; readonly thread: number }
  | { readonly id: number; readonly error: Failure };
/** A ChatError without its cause. `missing`: names of bindings that have to be fetched. */
export interface Failure {
  readonly code: Code;
  readonly message: string;
  readonly field: string | undefined;
  readonly sub: string | undefined;
  readonly missing: readonly string[] | null;
}
/** What the thread begins with. DER. */
export interface Beginning {
  readonly organisation: string;
  readonly roots: readonly Uint8Array[];
  readonly intermediates: readonly Uint8Array[];
}

/** With no byte string that is a part of a larger one: that would travel as a whole. */
export function compact<T>(value: T): T {
  if (value instanceof Uint8Array) {
    const isWhole = value.byteLength === value.buffer.byteLength;
    return (isWhole ? value : new Uint8Array(value)) as unknown as T;
  }
  if (Array.isArray(value)) return value.map(compact) as unknown as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, compact(each)])) as T;
}
