/** Rooms: names, members and their roles, and what a member may do to them. */
import type { ConversationId } from '../../base/bytes.ts';

export type RoomRole = 'owner' | 'admin' | 'member';

export interface NewRoom {
  /** canonical */
  readonly name: string;
  /** listed, and open to everybody; otherwise nobody but its members learns of it */
  readonly isPublic: boolean;
  readonly topic: string | null;
  readonly ownerId: number;
}

export interface Room extends Omit<NewRoom, 'ownerId'> {
  readonly id: ConversationId;
  /** by username; none are left of a room that has just ceased to be */
  readonly members: readonly { readonly userId: number; readonly username: string; readonly role: RoomRole }[];
  /** by username */
  readonly banned: readonly string[];
}

export interface RoomSummary extends Omit<NewRoom, 'ownerId'> {
  readonly memberCount: number;
  /** of the user who asks; null: he is no member */
  readonly role: RoomRole | null;
}

export type RoomChange =
  | { readonly do: 'join' | 'leave' }
  | { readonly do: 'invite' | 'kick' | 'ban' | 'unban'; readonly userId: number }
  | { readonly do: 'role'; readonly userId: number; readonly role: RoomRole }
  | { readonly do: 'topic'; readonly topic: string | null };

export interface ChangedRoom {
  readonly room: Room;
  /** false: it was so already */
  readonly isChanged: boolean;
  /** somebody has come or gone */
  readonly isOfMembers: boolean;
}

/** Of one room. */
export interface RoomLimits {
  /** active devices of all members; and members */
  readonly devices: number;
  readonly bans: number;
  /** rooms of one owner, for who is made one by another */
  readonly owned: number;
}

export interface RoomStore {
  /**
   * Makes a room with one member, its owner, and `candidate` as the id of its conversation.
   * @throws ROOM_EXISTS, also for the losers of a race; QUOTA when the owner owns `maxOwned` rooms already; NOT_FOUND/ownerId
   */
  createRoom(room: NewRoom, candidate: ConversationId, now: number, maxOwned: number): Promise<Room>;
  room(name: string): Promise<Room | null>;
  /** Public rooms and those of the user, by name, from the first behind `after`. */
  rooms(userId: number, after: string, limit: number): Promise<RoomSummary[]>;
  /**
   * What a user does to a room. Anybody joins a public room, any member invites into it; into a private one admins and the owner invite.
   * Admins and owners kick and ban whoever has a lower role, unban, and set the topic; owners give roles. A room keeps an owner while it
   * has members; when the last one leaves it ceases to be, and its name is free.
   * @throws NO_SUCH_ROOM, also for a private room of others; NOT_ALLOWED with sub `role`, `banned` or `last_owner`; NO_SUCH_PEER for a
   *   user who is no member; QUOTA
   */
  changeRoom(name: string, actorId: number, change: RoomChange, now: number, limits: RoomLimits): Promise<ChangedRoom>;
}
