/** Conversations of two, of rooms and of one user's own devices: who is in them; and the state of the MLS group of each. */
import type { ConversationId, Fingerprint } from '../../base/bytes.ts';
import type { Standing } from './contacts.ts';

export interface Conversation {
  readonly id: ConversationId;
  /** sum of the members' deviceEpoch, and of a number of the room's own; it grows with every change of members and devices */
  readonly epoch: number;
  /** two users, or those of a room, by ascending id, each with the devices that are neither revoked nor expired at the time asked about */
  readonly members: readonly {
    readonly userId: number;
    readonly username: string;
    readonly devices: readonly { readonly id: number; readonly fingerprint: Fingerprint }[];
  }[];
  /** of the two; in a room `contacts`: who is in it may write to it; `self`: of one user's own devices */
  readonly standing: ConversationStanding;
}

export type ConversationStanding = Standing | 'self';

/** A state of a conversation's MLS group: which of its groups one after another, and which epoch of that. Both from 1. */
export interface GroupState {
  readonly generation: number;
  readonly epoch: number;
}

export interface Group extends GroupState {
  /** what a device needs to enter from outside; null: only the log knows the commit that made this state */
  readonly groupInfo: Uint8Array | null;
}

export interface ConversationStore {
  /**
   * The direct conversation of two different users; created with `candidate` as its id when there is none. Racing callers get the
   * same one. @throws NO_SUCH_PEER unless both exist and are two
   */
  openDirect(userA: number, userB: number, candidate: ConversationId, now: number): Promise<Conversation>;
  /**
   * The conversation of one user's own devices, with this id; created when there is none. Racing callers get the same one.
   * @throws NO_SUCH_PEER for a user who does not exist
   */
  openSelf(user: number, id: ConversationId, now: number): Promise<Conversation>;
  conversation(id: ConversationId, now: number): Promise<Conversation | null>;

  /** The newest state of a conversation's group; null: nobody has made one. */
  group(conversation: ConversationId): Promise<Group | null>;
  /** That of an earlier state, if its commit has added somebody and is one of the 16 newest that did; null: it is not kept. */
  groupInfo(conversation: ConversationId, state: GroupState): Promise<Uint8Array | null>;
}
