/** Rooms as their members ask for them: names to users, changes to the store, and what has changed to whoever is connected. */
import { randomBytes } from 'node:crypto';
import { hex, u64, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { MAX_TURNS, type Reply, type Request } from '../protocol/messages.ts';
import type { Room, RoomChange, RoomSummary } from '../store/contract/rooms.ts';
import type { Store } from '../store/store.ts';
import { contactRefusal, type ContactPolicy } from './contacts.ts';
import type { Hub } from './hub.ts';
import type { Member } from './members.ts';
import { RateLimit } from './rate-limit.ts';

/** Each message is queued for each of them, and each change of their group costs each of them a tenth of a second. Also the most members. */
export const MAX_DEVICES = 1000;
const MAX_BANS = 1000;
const MAX_OWNED = 100;
/** Whoever owns so many is made owner of no other: others must not take from him what he needs for rooms of his own. */
const MAX_GIVEN = MAX_OWNED / 2;
const PAGE_ROOMS = 100;
/** Of one user. Each may make what everybody else has signed for the room stale, so that one who comes and goes keeps all from writing. */
const CHANGES_PER_MINUTE = 20;
const CHANGES_AT_ONCE = 200;
/** How long somebody who has joined a room counts as new there: he may not be in its group yet, and can let nobody in. */
const NEW_MS = 60_000;
/** `#` and what a username may be. */
const NAME = /^#[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/;

export type RoomRequest = Extract<Request, { readonly type: `room_${string}` }>;
type Change = Exclude<RoomRequest, { readonly type: 'room_create' | 'room_list' | 'room_get' }>;
type Event = Reply<'room_changed'>['change'];

const EVENTS: Readonly<Record<Change['type'], Event>> = {
  room_join: 'joined',
  room_leave: 'left',
  room_invite: 'invited',
  room_kick: 'kicked',
  room_ban: 'banned',
  room_unban: 'unbanned',
  room_role: 'role',
  room_topic: 'topic',
};

export interface RoomsOptions {
  readonly store: Store;
  readonly hub: Pick<Hub, 'forgetConversation' | 'tell' | 'atHand'>;
  readonly contactPolicy: ContactPolicy;
  readonly now: () => number;
  readonly monotonicMs?: () => number;
}

export class Rooms {
  readonly #o: RoomsOptions;
  readonly #changes: RateLimit;
  /** room and user → when he joined it; the newest last */
  readonly #new = new Map<string, number>();

  constructor(options: RoomsOptions) {
    this.#o = options;
    this.#changes = new RateLimit(CHANGES_PER_MINUTE, options.monotonicMs, CHANGES_AT_ONCE);
  }

  /** @throws BAD_NAME, ROOM_EXISTS, NO_SUCH_ROOM, NO_SUCH_PEER, NOT_ALLOWED, BLOCKED, NOT_CONTACT, QUOTA, with the field; RATE_LIMIT */
  async answer(member: Member, frame: RoomRequest): Promise<Reply> {
    if (frame.type === 'room_list') return this.#list(member, frame);
    if (frame.type === 'room_get') return this.#get(member, frame);
    this.#changes.take(`user:${member.user.id}`, 1);
    if (frame.type === 'room_create') return this.#create(member, frame);
    return this.#change(member, frame);
  }

  async #create({ user }: Member, frame: Request<'room_create'>): Promise<Reply<'room'>> {
    const { id, room: name, visibility, topic = '' } = frame;
    if (!NAME.test(name))
      throw new ChatError('BAD_NAME', 'a room is # and 1 to 63 of a-z, 0-9, ".", "_", "-"', {
        field: 'room_create.room',
      });
    const candidate = randomBytes(32) as Uint8Array as ConversationId;
    const room = { name, isPublic: visibility === 'public', topic: topic || null, ownerId: user.id };
    const { store, now } = this.#o;
    return roomReply(id, await store.createRoom(room, candidate, now(), MAX_OWNED));
  }

  async #list({ user }: Member, { id, after }: Request<'room_list'>): Promise<Reply<'rooms'>> {
    const rooms = await this.#o.store.rooms(user.id, after, PAGE_ROOMS + 1);
    return { type: 'rooms', id, rooms: rooms.slice(0, PAGE_ROOMS).map(summaryOf), has_more: rooms.length > PAGE_ROOMS };
  }

  async #get({ user }: Member, { id, room: name }: Request<'room_get'>): Promise<Reply<'room'>> {
    const room = await this.#o.store.room(name);
    if (room === null || !(room.isPublic || room.members.some(({ userId }) => userId === user.id)))
      throw new ChatError('NO_SUCH_ROOM', 'no room has this name', { field: 'room_get.room' });
    return roomReply(id, room);
  }

  async #change(member: Member, frame: Change): Promise<Reply> {
    const { store, hub, now } = this.#o;
    const { user } = member;
    const target = 'username' in frame ? await this.#userId(frame.username, frame.type) : user.id;
    if (frame.type === 'room_invite') await this.#checkContact(user.id, target);
    const limits = { devices: MAX_DEVICES, bans: MAX_BANS, owned: MAX_GIVEN };
    const changed = await store.changeRoom(frame.room, user.id, changeOf(frame, target), now(), limits);
    const { room } = changed;
    // In the same moment as it is known: nobody is to be answered, or written to, by the members of before.
    if (changed.isOfMembers) hub.forgetConversation(room.id);
    const isJoined = frame.type === 'room_join' && changed.isChanged;
    const turns = isJoined ? this.#turns(room, user.id) : new Map<Member, number>();
    if (changed.isChanged) {
      const notice: Reply<'room_changed'> = {
        type: 'room_changed',
        room: room.name,
        conversation: room.id,
        change: EVENTS[frame.type],
        by: user.username,
        ...('username' in frame ? { username: frame.username } : {}),
        ...('role' in frame ? { role: frame.role } : {}),
        ...(frame.type === 'room_topic' && room.topic !== null ? { topic: room.topic } : {}),
      };
      // Also to who was a member until now; a stranger need not learn of a private room that it has banned him.
      const gone = changed.isOfMembers ? [target] : [];
      const audience = new Set([...room.members.map(({ userId }) => userId), user.id, ...gone]);
      for (const userId of audience) hub.tell(userId, notice, member, turns);
    }
    if (frame.type === 'room_leave') return { type: 'ok', id: frame.id };
    return { ...roomReply(frame.id, room), ...(turns.size > 0 ? { asked: true } : {}) };
  }

  /**
   * The devices that let somebody in, and in which order: those of the members who have been there longest, the same ones for each who comes,
   * so that one of them lets in all who come at a time; others in another room.
   */
  #turns({ id, members }: Room, newcomer: number): Map<Member, number> {
    const key = (userId: number): string => `${hex(id)}/${userId}`;
    const now = this.#o.now();
    for (const [old, at] of this.#new) {
      if (now - at < NEW_MS && at <= now) break;
      this.#new.delete(old);
    }
    this.#new.delete(key(newcomer));
    this.#new.set(key(newcomer), now);
    const others = members.flatMap(({ userId }) => (userId === newcomer ? [] : [userId]));
    const order = this.#o.hub
      .atHand(others)
      .map((member) => ({
        member,
        isNew: this.#new.has(key(member.user.id)) ? 1 : 0,
        draw: sha256(id, u64(member.device.id)),
      }))
      .sort((a, b) => a.isNew - b.isNew || a.draw.compare(b.draw));
    return new Map(order.slice(0, MAX_TURNS).map(({ member }, turn) => [member, turn]));
  }

  /** Nobody is brought into a room by somebody who may not write to him. */
  async #checkContact(userId: number, target: number): Promise<void> {
    const { store, contactPolicy } = this.#o;
    if (target === userId) return;
    const refusal = contactRefusal(contactPolicy, await store.standing(userId, target), 'room_invite.username');
    if (refusal !== null) throw refusal;
  }

  async #userId(username: string, type: Change['type']): Promise<number> {
    const user = await this.#o.store.findUser(username);
    if (user?.username !== username)
      throw new ChatError('NO_SUCH_PEER', 'nobody has this name', { field: `${type}.username` });
    return user.id;
  }
}

function changeOf(frame: Change, userId: number): RoomChange {
  switch (frame.type) {
    case 'room_join':
      return { do: 'join' };
    case 'room_leave':
      return { do: 'leave' };
    case 'room_invite':
      return { do: 'invite', userId };
    case 'room_kick':
      return { do: 'kick', userId };
    case 'room_ban':
      return { do: 'ban', userId };
    case 'room_unban':
      return { do: 'unban', userId };
    case 'room_role':
      return { do: 'role', userId, role: frame.role };
    case 'room_topic':
      return { do: 'topic', topic: frame.topic ?? null };
  }
}

const visibilityOf = (isPublic: boolean): 'public' | 'private' => (isPublic ? 'public' : 'private');

const roomReply = (id: number, { id: conversation, name, isPublic, topic, members, banned }: Room): Reply<'room'> => ({
  type: 'room',
  id,
  room: name,
  conversation,
  visibility: visibilityOf(isPublic),
  ...(topic === null ? {} : { topic }),
  members: members.map(({ username, role }) => ({ username, role })),
  banned: [...banned],
});

const summaryOf = ({ name, isPublic, topic, memberCount, role }: RoomSummary): Reply<'rooms'>['rooms'][number] => ({
  room: name,
  visibility: visibilityOf(isPublic),
  members: memberCount,
  ...(topic === null ? {} : { topic }),
  ...(role === null ? {} : { role }),
});
