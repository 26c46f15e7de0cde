/** Conversations as values: what they are, what can be read off them, and what comes out when they change. */
import type { Device } from './binding.ts';
import type { WelcomeParts } from './invitation.ts';
import { SETTINGS_EXTENSION } from './key-package.ts';
import type { GroupState } from './mls.ts';

/** Opaque but for the functions of this room. */
export interface Conversation {
  readonly state: GroupState;
  readonly pending: Pending | null;
}
export interface Pending {
  readonly state: GroupState;
  /** The MLSMessage to send, byte for byte, as often as need be. */
  readonly commit: Uint8Array;
}

/** Names a device for removal. */
export type DeviceName = Pick<Device, 'user' | 'deviceId'>;

/** A commit as its policy sees it. */
export interface RosterChange {
  readonly by: Device;
  /** The author let himself in, or came back: then `removed` is his former appearance. */
  readonly isExternal: boolean;
  readonly added: readonly Device[];
  readonly removed: readonly Device[];
  /** Before the commit. */
  readonly members: readonly Device[];
  /** The bytes with which the group was created. */
  readonly settings: Uint8Array;
}
/** Null, or why the group does not allow it. Every member must come to the same answer, so it may depend on nothing but its argument. */
export type Policy = (change: RosterChange) => string | null;

/** Whoever is inside may add and remove; from outside nobody comes in but a member's device that lost its state. */
export const byInvitation: Policy = ({ isExternal, removed }) =>
  isExternal && removed.length === 0 ? 'this conversation is by invitation' : null;
/** Everybody with a good binding may come in. */
export const openToAll: Policy = () => null;

export interface Commit {
  readonly conversation: Conversation;
  readonly commit: Uint8Array;
  /** For those who were added: one part for all, and for each his own. */
  readonly welcome: WelcomeParts | null;
  /** Secrets of the old state: `erase()` them when the commit was adopted and stored. Erased before, the old state is broken. */
  readonly spent: readonly Uint8Array[];
}
export type Received =
  | {
      readonly kind: 'message';
      readonly conversation: Conversation;
      readonly sender: Device;
      readonly authenticatedData: Uint8Array;
      readonly plaintext: Uint8Array;
      readonly spent: readonly Uint8Array[];
    }
  | {
      readonly kind: 'commit';
      readonly conversation: Conversation;
      readonly change: RosterChange;
      readonly authenticatedData: Uint8Array;
      /** Our own commit of this epoch lost, and has to be made again if it is still wanted. */
      readonly lost: Uint8Array | null;
      readonly spent: readonly Uint8Array[];
    }
  /** The pending commit was met, and is now the state. */
  | { readonly kind: 'adopted'; readonly conversation: Conversation }
  /** This device is out. The conversation that it had can be read no further. */
  | { readonly kind: 'removed'; readonly change: RosterChange; readonly authenticatedData: Uint8Array };

export const groupId = ({ state }: Conversation): Uint8Array => state.groupContext.groupId;
export const epoch = ({ state }: Conversation): bigint => state.groupContext.epoch;
/** Equal for all members of an epoch, and for nobody else: what shows whether the group has split. */
export const epochAuthenticator = ({ state }: Conversation): Uint8Array => state.keySchedule.epochAuthenticator;

/** This device's own key in the tree, and whether a commit of its own has put it there, or a key package. */
export function ownKey({ state }: Conversation): { readonly key: Uint8Array; readonly isCommitted: boolean } {
  const node = state.ratchetTree[2 * state.privatePath.leafIndex];
  if (node?.nodeType !== 'leaf') throw new TypeError('this device is not in the group');
  return { key: node.leaf.hpkePublicKey, isCommitted: node.leaf.leafNodeSource === 'commit' };
}

/** Overwrites secrets that are no longer wanted. Hygiene, not a promise: the engine may have copies. */
export function erase(spent: readonly Uint8Array[]): void {
  for (const secret of spent) secret.fill(0);
}

/** The bytes with which the group was created; empty if there were none. */
export const settings = ({ state }: Pick<Conversation, 'state'>): Uint8Array =>
  state.groupContext.extensions.find((e) => e.extensionType === SETTINGS_EXTENSION)?.extensionData ?? new Uint8Array();
