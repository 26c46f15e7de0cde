/**
 * Rooms of this profile. The server keeps names, members and roles, and its word about them is shown; who can read is decided by the
 * members' devices alone. So every change of members is two: one at the server, and one of the group, which is asked for here.
 */
import { equal, hex, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import type { Reply } from '../protocol/messages.ts';
import { usersIn } from './e2ee/held.ts';
import { NO_GROUP, type Groups } from './groups.ts';
import type { Lobby } from './lobby.ts';
import { isPassing, waitMs } from './refusals.ts';
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

/** Of many who are told of one change, the first one's commit is enough. */
const MAX_DELAY_MS = 2000;

export class Rooms {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #lobby: Lobby;
  readonly #own: string;
  readonly #host: RoomsHost;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** of the connection */
  #ending = new AbortController();
  /** conversation → the look at its members that is under way, or comes behind that */
  readonly #looks = new Map<string, { isBegun: boolean; readonly done: Promise<void> }>();

  constructor(vault: Vault, groups: Groups, lobby: Lobby, own: string, host: RoomsHost) {
    this.#vault = vault;
    this.#groups = groups;
    this.#lobby = lobby;
    this.#own = own;
    this.#host = host;
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
      return this.#enter(session, reply);
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
      return this.#enter(session, reply);
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
          : await this.#enter(session, await session.requester.request({ type: 'room_get', room }, 'room'));
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

  /** Somebody has changed a room. A hint: who is in it is asked for again. */
  changed(session: Session, frame: Reply<'room_changed'>): void {
    const { change, username = frame.by } = frame;
    const known = this.#vault.conversation(frame.conversation as ConversationId);
    const isOut = change === 'left' || change === 'kicked' || change === 'banned';
    if (isOut && known !== null) {
      this.#vault.rooms.forget(known.id, [username]);
      this.#lobby.forget(known.id, [username]);
    }
    if (isOut && known !== null && username === this.#own) session.rosters.close(known.id);
    this.#host.warn(announcement(frame, this.#own));
    if (change !== 'topic' && change !== 'role' && change !== 'unbanned')
      this.#persist(() => this.#follow(session, frame, isOut, username === this.#own));
  }

  /** What the server cannot say now it is asked again when it said, and all else at the next login. */
  #persist(ask: () => Promise<void>): void {
    const { signal } = this.#ending;
    ask().catch((cause: unknown) => {
      const error = ChatError.from(cause);
      if (signal.aborted || error.cause !== REPORTED || !isPassing(error)) return;
      this.#after(waitMs(error), () => this.#persist(ask));
    });
  }

  /** Nothing is looked at later. */
  detach(): void {
    this.#ending.abort();
    this.#ending = new AbortController();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#looks.clear();
    this.#lobby.detach();
  }

  async #follow(
    session: Session,
    { room, conversation, change, by, turn }: Reply<'room_changed'>,
    isOut: boolean,
    isOwn: boolean,
  ): Promise<void> {
    const id = conversation as ConversationId;
    const known = this.#vault.conversation(id);
    if (isOwn && isOut) return;
    if (isOwn) {
      if (change === 'joined') this.#lobby.wait(id); // another device of this user has asked for all
      return void (await this.#enter(session, await session.requester.request({ type: 'room_get', room }, 'room')));
    }
    if (known === null || known.room?.closed !== false) return;
    await this.#looked(session, id);
    if (isOut) this.#after(Math.random() * MAX_DELAY_MS, () => this.#host.want(id));
    if (change === 'joined' && turn !== undefined && known.room.public) this.#lobby.ask(id, by, turn);
  }

  /** Who is in it now: asked once for all changes that come while it is being asked. */
  #looked(session: Session, id: ConversationId): Promise<void> {
    const last = this.#looks.get(hex(id));
    if (last?.isBegun === false) return last.done;
    const look = { isBegun: false, done: Promise.resolve() };
    look.done = (last?.done ?? Promise.resolve())
      .catch(() => {})
      .then(async () => {
        look.isBegun = true;
        await session.rosters.refresh(id);
      })
      .finally(() => {
        if (this.#looks.get(hex(id)) === look) this.#looks.delete(hex(id));
      });
    this.#looks.set(hex(id), look);
    return look.done;
  }

  async #get(name: string): Promise<RoomReply> {
    const room = roomName(name);
    return asAsked(
      await this.#host.asked(({ requester }) => requester.request({ type: 'room_get', room }, 'room')),
      name,
    );
  }

  async #enter(session: Session, reply: RoomReply): Promise<Conversation> {
    const id = reply.conversation as ConversationId;
    const before = this.#vault.conversation(id);
    // Whoever was out does not know what the group has become, also if this process ends before it has come in again.
    const isBack = before?.room?.closed === true && this.#groups.stored(id).conversation !== null;
    if (isBack && before.room.public) await this.#letGo(session, id);
    const conversation = await session.rosters.enter(reply);
    if (isBack && !before.room.public) this.#groups.markBroken(id); // who was inside is still to be known
    this.#host.want(id);
    return conversation;
  }

  /** What was said while this device was in its group is read first. */
  async #letGo(session: Session, id: ConversationId): Promise<void> {
    const { generation, since } = this.#groups.stored(id);
    await session.caughtUp();
    await this.#groups.exclusively(session, [id], async () => {
      const group = this.#groups.of(id);
      if (group.generation !== generation || group.since !== since) return; // it was let in meanwhile
      this.#groups.set(id, NO_GROUP);
      this.#vault.transaction(() => this.#groups.save([id]));
    });
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

  #after(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, ms);
    this.#timers.add(timer);
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

/** In words. */
function announcement({ room, change, by, username, role, topic }: Reply<'room_changed'>, own: string): string {
  const whom = username === own ? 'you' : (username ?? '');
  switch (change) {
    case 'joined':
      return `${by} has joined ${room}`;
    case 'left':
      return `${by} has left ${room}`;
    case 'invited':
      return `${by} has invited ${whom} into ${room}`;
    case 'kicked':
      return `${by} has removed ${whom} from ${room}`;
    case 'banned':
      return `${by} has banned ${whom} from ${room}`;
    case 'unbanned':
      return `${by} lets ${whom} into ${room} again`;
    case 'role':
      return `${by} made ${whom} ${role ?? 'member'} of ${room}`;
    case 'topic':
      return topic === undefined ? `${by} took the topic of ${room} away` : `${by} set the topic of ${room}: ${topic}`;
  }
}
