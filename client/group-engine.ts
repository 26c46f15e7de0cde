/**
 * The MLS engine as the rest of the client uses it: groups small and large alike. What concerns a group whose tree travels beside it (above
 * 50 devices), or is as wide as if it did, and a commit that is as large, is done in a thread of its own; the rest here, for it takes
 * milliseconds. Nothing that is done counts before it is stored.
 */
import { GroupThread, type Done, type Limits } from './group-thread.ts';
import { policy } from './group-rules.ts';
import type { Answers, Shift, Task, Wanted, WelcomeTo } from './group-task.ts';
import { Authority, type AuthorityOptions } from './e2ee/binding.ts';
import { Engine } from './e2ee/conversation.ts';
import { delta, snapshot } from './e2ee/delta.ts';
import type { Commit, Conversation, DeviceName } from './e2ee/group.ts';
import { Distant, isDistant, nextHandle, type Held } from './e2ee/held.ts';
import { headerOf } from './e2ee/header.ts';
import { MAX_INLINE_MEMBERS, type GroupDoor } from './e2ee/invitation.ts';
import type { OwnDevice, OwnKeyPackage, Validity } from './e2ee/key-package.ts';
import { MAX_COMMIT_BYTES } from './e2ee/layout.ts';
import { countIn, keysIn, usersBehind, widthOf } from './e2ee/presence.ts';
import { sketchOf, type Member, type Sketch } from './e2ee/sketch.ts';

/** Of a tree: what MAX_INLINE_MEMBERS take. */
const MAX_NEAR_LEAVES = 64;

interface With {
  readonly conversation: Held;
  /** secrets that are overwritten once it is stored; those of the other thread it overwrites itself */
  readonly spent: readonly Uint8Array[];
}
/** As Received, of groups small and large. */
export type Heard =
  | (With & {
      readonly kind: 'message';
      readonly sender: Member;
      readonly authenticatedData: Uint8Array;
      readonly plaintext: Uint8Array;
    })
  | (With & { readonly kind: 'commit'; readonly change: Shift; readonly authenticatedData: Uint8Array })
  | { readonly kind: 'adopted'; readonly conversation: Held }
  | { readonly kind: 'removed'; readonly change: Shift; readonly authenticatedData: Uint8Array };

/** What is to be stored where one state takes the place of another; null: nothing. */
export interface Change {
  /** with what of it can be known without it, if it is a large one; null: the deltas come behind what is stored */
  readonly snapshot: { readonly bytes: Uint8Array; readonly sketch: Sketch | null } | null;
  readonly deltas: readonly Uint8Array[];
}

export class GroupEngine {
  readonly #near: Engine;
  readonly #far: GroupThread;
  /** handles of the states that were worked on in this turn; null: nobody asks */
  readonly #touched: Set<number> | null;

  constructor(near: Engine, far: GroupThread, touched: Set<number> | null = null) {
    this.#near = near;
    this.#far = far;
    this.#touched = touched;
  }
  /** @param limits as for GroupThread */
  static async open(options: AuthorityOptions, limits?: Partial<Limits>): Promise<GroupEngine> {
    return new GroupEngine(await Engine.open(new Authority(options)), new GroupThread(options, limits));
  }

  /** The same, for work on some groups while there may be other work on others. Ends with keep(). */
  turn(): GroupEngine {
    return new GroupEngine(this.#near, this.#far, new Set());
  }
  /**
   * Of the states of this turn these are needed from now on, and no others.
   * @param current are on disk as the states of their groups
   * @param besides are not
   * @param former had their place
   */
  keep(
    current: readonly (Held | null)[],
    besides: readonly (Held | null)[],
    former: readonly (Held | null)[] = [],
  ): void {
    const touched = new Set([...(this.#touched ?? []), ...distantOf(former).map(({ handle }) => handle)]);
    this.#touched?.clear();
    this.#far.keep(touched, distantOf(current), distantOf(besides));
  }
  close(): Promise<void> {
    return this.#far.close();
  }
  /** Of the thread that worked on a large group last; 0: none has yet. */
  get farThreadId(): number {
    return this.#far.threadId;
  }

  newDeviceKey(): ReturnType<Engine['newDeviceKey']> {
    return this.#near.newDeviceKey();
  }
  keyPackage(device: OwnDevice, validity: Validity): Promise<OwnKeyPackage> {
    return this.#near.keyPackage(device, validity);
  }
  holder(published: Uint8Array, at: number): ReturnType<Engine['holder']> {
    return this.#near.holder(published, at);
  }
  create(device: OwnDevice, groupId: Uint8Array, settings: Uint8Array, at: number): Promise<Conversation> {
    return this.#near.create(device, groupId, settings, at);
  }

  /** @throws as Engine.commit() */
  async commit(
    held: Held,
    wanted: Wanted,
    at: number,
  ): Promise<Pick<Commit, 'commit' | 'welcome'> & { conversation: Held }> {
    if (!isDistant(held) && isSmall(held, wanted.add?.length)) return this.#near.commit(held, wanted, at, policy);
    const { value, made } = await this.#make({ do: 'commit', wanted, at }, await this.#distant(held));
    return { ...value, conversation: made! };
  }
  async adopt(held: Held): Promise<Held> {
    return isDistant(held) ? (await this.#make({ do: 'adopt' }, held)).made! : this.#near.adopt(held);
  }
  async drop(held: Held): Promise<Held> {
    return isDistant(held) ? (await this.#make({ do: 'drop' }, held)).made! : this.#near.drop(held);
  }
  /** @throws as Engine.encrypt() */
  async encrypt(
    held: Held,
    plaintext: Uint8Array,
    authenticatedData: Uint8Array,
  ): Promise<With & { message: Uint8Array }> {
    if (!isDistant(held)) return this.#near.encrypt(held, plaintext, authenticatedData);
    const { value, made } = await this.#make({ do: 'encrypt', plaintext, authenticatedData }, held);
    return { message: value.message, conversation: made!, spent: [] };
  }
  /** @throws as Engine.receive() */
  async receive(held: Held, bytes: Uint8Array, at: number): Promise<Heard> {
    // A large commit of a small group may add hundreds, to be refused only when all were looked at.
    const isHeavy = !isDistant(held) && bytes.length > MAX_COMMIT_BYTES && headerOf(bytes).isCommit;
    if (isDistant(held) || isHeavy) {
      const { value, made } = await this.#make({ do: 'receive', bytes, at }, await this.#distant(held));
      return value.kind === 'removed' ? (value as Heard) : ({ ...value, conversation: made!, spent: [] } as Heard);
    }
    const heard = await this.#near.receive(held, bytes, at, policy);
    if (heard.kind === 'removed') return heard;
    return { ...heard, conversation: await this.#placed(heard.conversation) } as Heard;
  }
  /** @throws as Engine.join() */
  async join(welcome: WelcomeTo, device: OwnDevice, secret: Uint8Array): Promise<{ conversation: Held; by: Member }> {
    if (!welcome.tree) {
      const { conversation, by } = await this.#near.join(welcome, device, secret);
      return { conversation: await this.#placed(conversation), by };
    }
    const { value, made } = await this.#make({ do: 'join', welcome, device, secret }, null);
    return { by: value.by, conversation: made! };
  }
  /** @throws as Engine.joinExternal() */
  async joinExternal(
    door: GroupDoor,
    device: OwnDevice,
    at: number,
    authenticatedData: Uint8Array,
  ): Promise<{ conversation: Held; commit: Uint8Array }> {
    if (door.tree === null) {
      const { conversation, commit } = await this.#near.joinExternal(door, device, at, authenticatedData);
      return { conversation: await this.#placed(conversation), commit };
    }
    const { value, made } = await this.#make({ do: 'joinExternal', door, device, at, authenticatedData }, null);
    return { commit: value.commit, conversation: made! };
  }
  door(held: Held): Promise<GroupDoor> {
    return isDistant(held) ? this.#ask({ do: 'door' }, held) : this.#near.door(held);
  }
  /** Every device in the group, this one included. @throws as Engine.members() */
  async members(held: Held): Promise<readonly Member[]> {
    return isDistant(held) ? held.sketch.members : this.#near.members(held);
  }
  /** Of those `keys` that holder() names, the ones that are in the group. @param leaving who goes out at the same time */
  async keys(held: Held, leaving: readonly DeviceName[]): Promise<readonly string[]> {
    return isDistant(held) ? this.#ask({ do: 'keys', leaving }, held) : keysIn(held, leaving);
  }
  /** Before coming in, when nothing of it is proven. @throws BAD_FRAME; DECRYPT_FAIL/welcome */
  async usersBehind(door: GroupDoor): Promise<readonly string[]> {
    return door.tree === null ? usersBehind(door) : this.#ask({ do: 'usersBehind', door }, null);
  }

  #ask<T extends Task>(task: T, of: Distant | null): Promise<Answers[T['do']]> {
    if (of !== null) this.#touched?.add(of.handle);
    return this.#far.ask(task, of);
  }
  async #make<T extends Task>(task: T, of: Distant | null): Promise<Done<T>> {
    if (of !== null) this.#touched?.add(of.handle);
    const done = await this.#far.make(task, of);
    if (done.made !== null) this.#touched?.add(done.made.handle);
    return done;
  }

  /** Where it is worked on from now on. @throws MissingBindings */
  #placed(conversation: Conversation): Held | Promise<Held> {
    return isSmall(conversation) ? conversation : this.#distant(conversation);
  }
  /** A small one that becomes large, as the other thread will know it. @throws MissingBindings */
  async #distant(held: Held): Promise<Distant> {
    if (isDistant(held)) return held;
    const sketch = sketchOf(held, await this.#near.members(held));
    return new Distant(nextHandle(), sketch, { snapshot: snapshot(held), deltas: [] });
  }
}

const distantOf = (all: readonly (Held | null)[]): Distant[] =>
  all.filter((held): held is Distant => held !== null && isDistant(held));

/** Places that nobody has take time as well. */
const isSmall = (conversation: Conversation, more = 0): boolean =>
  countIn(conversation) + more <= MAX_INLINE_MEMBERS && widthOf(conversation) <= MAX_NEAR_LEAVES;

/** What is to be stored where `before` is stored (null: none of this group is) and `after` takes its place. */
export function changeOf(before: Held | null, after: Held): Change {
  if (isDistant(after)) {
    const { snapshot: bytes, deltas } = after.changesSince(before);
    return { snapshot: bytes && { bytes, sketch: after.sketch }, deltas };
  }
  const change = before === null || isDistant(before) ? null : delta(before, after);
  if (change !== null) return { snapshot: null, deltas: [change] };
  return { snapshot: { bytes: snapshot(after), sketch: null }, deltas: [] };
}
