/**
 * Rooms of this profile. The server keeps names, members and roles, and its word about them is shown; who can read is decided by the
 * members' devices alone. So every change of members is two: one at the server, and one of the group, which is asked for here.
 * What others do is followed in room-changes.ts.
 */
import { equal, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { usersIn } from './e2ee/held.ts';
import type { Groups } from './groups.ts';
import type { Lobby } from './lobby.ts';
import { RoomChanges } from './room-changes.ts';
import { RoomEntry } from './room-entry.ts';
import { listRooms, type RoomReply, type RoomSummary } from './room-list.ts';
import { roomName, roomTopic, type Role } from './room-terms.ts';
import type { Session } from './session.ts';
import type { Conversation } from './roster.ts';
import type { Vault } from './vault.ts';

export interface Occupant {
  readonly username: string;
  /** null: not on the server's list */
  readonly role: Role | null;
  /** a device of this user is in the group */
  readonly canRead: boolean;
}
export interface RoomView {
  readonly room: string;
  readonly isPublic: boolean;
  readonly topic: string | null;
  readonly occupants: readonly Occupant[];
  readonly banned: readonly string[];
}

export interface RoomsHost {
  /** @throws what keeps the server from being asked */
  asked<T>(ask: (session: Session) => Promise<T>): Promise<T>;
  /** The group has to be looked at. */
  want(id: ConversationId): void;
  /** Resolves with true when it is so; with false when nothing more happens to the group now. @throws NOT_REACHED */
  settles(id: ConversationId, isSo: () => boolean): Promise<boolean>;
  warn(sentence: string): void;
}

export class Rooms {
  /** what others do in them, told on the connection that there is */
  readonly changes: RoomChanges;
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #lobby: Lobby;
  readonly #own: string;
  readonly #entry: RoomEntry;
  readonly #host: RoomsHost;

  constructor(vault: Vault, groups: Groups, lobby: Lobby, own: string, host: RoomsHost) {
    this.#vault = vault;
    this.#groups = groups;
    this.#lobby = lobby;
    this.#own = own;
    this.#host = host;
    this.#entry = new RoomEntry(vault, groups, (id) => host.want(id));
    this.changes = new RoomChanges(vault, lobby, this.#entry, own, host);
  }

  /** @throws BAD_NAME, ROOM_EXISTS, QUOTA, TOO_LARGE */
  async create(name: string, isPublic: boolean, topic?: string): Promise<Conversation> {
    const visibility = isPublic ? ('public' as const) : ('private' as const);
    const more = topic === undefined ? {} : { topic: roomTopic(topic) };
    const conversation = await this.#host.asked(async (session) => {
      const reply = await session.requester.request(
        { type: 'room_create', room: roomName(name), visibility, ...more },
        'room',
      );
      return session.rosters.enter(asAsked(reply, name));
    });
    await this.#comesIn(conversation.id);
    return conversation;
  }

  /** Public rooms, and one's own. */
  list(): Promise<RoomSummary[]> {
    return this.#host.asked(({ requester }) => listRooms(requester));
  }

  /** @throws NO_SUCH_ROOM, NOT_ALLOWED/banned, QUOTA; NOT_REACHED when the group cannot be entered in time */
  async join(name: string): Promise<Conversation> {
    const conversation = await this.#host.asked(async (session) => {
      const reply = asAsked(await session.requester.request({ type: 'room_join', room: roomName(name) }, 'room'), name);
      if (reply.asked === true) this.#lobby.wait(reply.conversation as ConversationId);
      return this.#entry.enter(session, reply);
    });
    await this.#comesIn(conversation.id);
    return conversation;
  }

  /** What was said stays here. @throws NO_SUCH_ROOM, NOT_ALLOWED/last_owner */
  async leave(name: string): Promise<void> {
    const known = this.#vault.conversationWith(roomName(name));
    await this.#host.asked(async (session) => {
      await session.requester.request({ type: 'room_leave', room: name }, 'ok');
      if (known !== null) session.rosters.close(known.id);
    });
  }

  /**
   * Makes somebody a member, and lets his devices into the group.
   * @returns false: he is a member, and is let in as soon as he has a device that can read and this one is connected
   * @throws NO_SUCH_PEER, NOT_ALLOWED, BLOCKED, NOT_CONTACT, QUOTA
   */
  async invite(name: string, username: string): Promise<boolean> {
    const { id } = await this.open(name);
    const reply = await this.#host.asked(({ requester }) =>
      requester.request({ type: 'room_invite', room: name, username }, 'room'),
    );
    if (!reply.members.some((member) => member.username === username))
      throw new ChatError('BAD_FRAME', 'the server made somebody else a member', { field: 'room.members' });
    this.#vault.rooms.invite(id, username);
    await this.#host.asked(({ rosters }) => rosters.refresh(id));
    return this.#settles(id, () => this.#readers(id).includes(username));
  }

  /**
   * Takes somebody out, of the room and of its group; a ban also keeps him out.
   * @returns false: somebody else's device has to take him out of the group, with the next message at the latest
   * @throws NO_SUCH_PEER, NOT_ALLOWED/role
   */
  async remove(name: string, action: 'kick' | 'ban', username: string): Promise<boolean> {
    const { id } = await this.open(name);
    this.#vault.rooms.forget(id, [username]);
    await this.#host.asked(async ({ requester, rosters }) => {
      await requester.request({ type: `room_${action}`, room: name, username }, 'room');
      await rosters.refresh(id);
    });
    return this.#settles(id, () => !this.#readers(id).includes(username));
  }

  /** @throws NO_SUCH_PEER, NOT_ALLOWED/role */
  async unban(name: string, username: string): Promise<void> {
    const room = roomName(name);
    await this.#host.asked(({ requester }) => requester.request({ type: 'room_unban', room, username }, 'room'));
  }
  /** @throws NO_SUCH_PEER, NOT_ALLOWED with the sub role or last_owner */
  async setRole(name: string, username: string, role: Role): Promise<void> {
    const room = roomName(name);
    await this.#host.asked(({ requester }) => requester.request({ type: 'room_role', room, username, role }, 'room'));
  }
  /** @param topic empty: none. @throws NOT_ALLOWED/role, TOO_LARGE */
  async setTopic(name: string, topic: string): Promise<void> {
    const room = roomName(name);
    const more = topic === '' ? {} : { topic: roomTopic(topic) };
    await this.#host.asked(({ requester }) => requester.request({ type: 'room_topic', room, ...more }, 'room'));
  }

  /** Server's list and the group's, side by side. @throws NO_SUCH_ROOM */
  async view(name: string): Promise<RoomView> {
    const reply = await this.#get(name);
    const known = this.#vault.conversationWith(name);
    const readers = new Set(known === null ? [] : this.#readers(known.id));
    const listed = reply.members.map(({ username, role }) => ({ username, role, canRead: readers.has(username) }));
    const others = [...readers].filter((username) => !listed.some((each) => each.username === username));
    return {
      room: reply.room,
      isPublic: reply.visibility === 'public',
      topic: reply.topic ?? null,
      occupants: [...listed, ...others.map((username) => ({ username, role: null, canRead: true }))],
      banned: reply.banned,
    };
  }

  /** The room's conversation. @throws NO_SUCH_ROOM; NOT_FOUND when this user is not in it */
  async open(name: string): Promise<Conversation> {
    const known = this.#vault.conversationWith(roomName(name));
    if (known !== null && known.room?.closed !== true) return known;
    return this.#host.asked(async (session) => {
      const reply = await this.#get(name);
      if (!reply.members.some(({ username }) => username === this.#own))
        throw new ChatError('NOT_FOUND', `you are not in ${name}: join it, or be invited`, { field: 'room' });
      return this.#entry.enter(session, reply);
    });
  }

  /** At login: what has changed while nobody was here, said once; and what of the groups is left to be done. */
  async refresh(session: Session): Promise<void> {
    const own = (await listRooms(session.requester)).filter(({ role }) => role !== undefined);
    for (const { id, peer, room } of this.#vault.conversations()) {
      if (room === undefined || room.closed) continue;
      if (own.some((each) => each.room === peer)) continue;
      if (await isGone(session, id)) this.#host.warn(`you are not in ${peer} any more; what was said stays here`);
    }
    for (const { room } of own) {
      const known = this.#vault.conversationWith(room);
      const { id } =
        known !== null && known.room?.closed !== true
          ? known
          : await this.#entry.enter(session, await session.requester.request({ type: 'room_get', room }, 'room'));
      await this.#dropInvitations(session, id, room);
      const isLeft = this.#groups.stored(id).conversation === null || this.#vault.rooms.invited(id).length > 0;
      if (isLeft) this.#host.want(id);
    }
  }

  /** Of those whom somebody has taken out before they came in: whoever makes them members again lets them in. */
  async #dropInvitations({ requester }: Session, id: ConversationId, room: string): Promise<void> {
    const invited = this.#vault.rooms.invited(id);
    if (invited.length === 0) return;
    const { conversation, members } = await requester.request({ type: 'room_get', room }, 'room');
    if (!equal(conversation, id)) return;
    const isListed = (user: string): boolean => members.some(({ username }) => username === user);
    this.#vault.rooms.forget(
      id,
      invited.filter((user) => !isListed(user)),
    );
  }

  async #get(name: string): Promise<RoomReply> {
    const room = roomName(name);
    return asAsked(
      await this.#host.asked(({ requester }) => requester.request({ type: 'room_get', room }, 'room')),
      name,
    );
  }

  #readers(id: ConversationId): string[] {
    const { conversation } = this.#groups.stored(id);
    return conversation === null ? [] : usersIn(conversation);
  }

  async #comesIn(id: ConversationId): Promise<void> {
    await this.#settles(id, () => this.#groups.stored(id).conversation !== null && !this.#groups.isBroken(id));
  }
  #settles(id: ConversationId, isSo: () => boolean): Promise<boolean> {
    const settled = this.#host.settles(id, isSo);
    this.#host.want(id);
    return settled;
  }
}

/** Whether this user is in it no more; then it is closed. That it is not on a list proves nothing: there may be more rooms than are listed. */
async function isGone({ rosters }: Session, id: ConversationId): Promise<boolean> {
  try {
    await rosters.refresh(id);
  } catch (error) {
    return ChatError.from(error).code === 'NOT_FOUND';
  }
  return false;
}

function asAsked(reply: RoomReply, name: string): RoomReply {
  if (reply.room === name) return reply;
  throw new ChatError('BAD_FRAME', 'another room than asked for', { field: 'room.room' });
}
