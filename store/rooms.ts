/**
 * Rooms: conversations with a name, whose members come and go. Who may do what is judged here, in the transaction that does it. Every
 * change of the members raises the room's epoch, so that what was signed for the members of before is not taken for those of now.
 */
import type { ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { Conflict, first, insert, run, select, type Operation, type Row, type Target } from './operation.ts';
import { blob, integer, integerOrNull, text, textOrNull } from './row.ts';
import type { ChangedRoom, NewRoom, Room, RoomChange, RoomLimits, RoomRole, RoomSummary } from './contract/rooms.ts';

const CONVERSATIONS: Target = {
  table: 'conversations',
  columns: ['conversation', 'created_at'],
  key: ['id'],
  onConflict: 'fail',
};
const SEQUENCES: Target = {
  table: 'sequences',
  columns: ['conversation_id', 'last_seq'],
  key: ['conversation_id'],
  onConflict: 'fail',
};
const ROOMS: Target = {
  table: 'rooms',
  columns: ['conversation_id', 'name', 'is_public', 'topic', 'epoch'],
  key: ['conversation_id'],
  onConflict: 'fail',
};
const MEMBERS: Target = {
  table: 'room_members',
  columns: ['conversation_id', 'user_id', 'role'],
  key: ['conversation_id', 'user_id'],
  onConflict: ['role'],
};
const BANS: Target = {
  table: 'room_bans',
  columns: ['conversation_id', 'user_id'],
  key: ['conversation_id', 'user_id'],
  onConflict: 'fail',
};

/** As the column has it: a higher one may do what a lower one may. */
const RANK: Readonly<Record<RoomRole, number>> = { member: 1, admin: 2, owner: 3 };
const roleOf = (rank: number): RoomRole => (rank === RANK.owner ? 'owner' : rank === RANK.admin ? 'admin' : 'member');

interface Member {
  readonly userId: number;
  readonly username: string;
  readonly rank: number;
}

export function* createRoom(
  { name, isPublic, topic, ownerId }: NewRoom,
  candidate: ConversationId,
  now: number,
  maxOwned: number,
): Operation<Room> {
  yield* mayOwnOneMore(ownerId, maxOwned);
  if (yield* first('SELECT conversation_id FROM rooms WHERE name = ?', name)) throw exists();
  yield* insert(CONVERSATIONS, [[candidate, now]]);
  const { id } = (yield* first('SELECT id FROM conversations WHERE conversation = ?', candidate)) as Row;
  yield* insert(SEQUENCES, [[id!, 0]]);
  try {
    yield* insert(ROOMS, [[id!, name, isPublic ? 1 : 0, topic, 1]]);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    throw exists();
  }
  yield* insert(MEMBERS, [[id!, ownerId, RANK.owner]]);
  return (yield* room(name)) as Room;
}

export function* room(name: string): Operation<Room | null> {
  const row = yield* first(ROOM, name);
  return row && (yield* roomOf(row));
}

const ROOM =
  'SELECT r.conversation_id, r.name, r.is_public, r.topic, r.epoch, c.conversation FROM rooms r ' +
  'JOIN conversations c ON c.id = r.conversation_id WHERE r.name = ?';

export function* rooms(userId: number, after: string, limit: number): Operation<RoomSummary[]> {
  const rows = yield* select(
    'SELECT r.name, r.is_public, r.topic, m.role, ' +
      '(SELECT COUNT(*) FROM room_members n WHERE n.conversation_id = r.conversation_id) AS members ' +
      'FROM rooms r LEFT JOIN room_members m ON m.conversation_id = r.conversation_id AND m.user_id = ? ' +
      'WHERE r.name > ? AND (r.is_public = 1 OR m.user_id IS NOT NULL) ORDER BY r.name LIMIT ?',
    userId,
    after,
    limit,
  );
  return rows.map((row) => {
    const rank = integerOrNull(row, 'role');
    return {
      name: text(row, 'name'),
      isPublic: row['is_public'] === 1,
      topic: textOrNull(row, 'topic'),
      memberCount: integer(row, 'members'),
      role: rank === null ? null : roleOf(rank),
    };
  });
}

export function* changeRoom(
  name: string,
  actorId: number,
  change: RoomChange,
  now: number,
  limits: RoomLimits,
): Operation<ChangedRoom> {
  yield* first('SELECT conversation_id FROM rooms WHERE name = ? FOR UPDATE', name);
  const row = yield* first(ROOM, name);
  const members = row ? yield* membersOf(integer(row, 'conversation_id')) : [];
  const actor = members.find(({ userId }) => userId === actorId);
  if (!row || (!actor && row['is_public'] !== 1)) throw noSuchRoom();
  const held = new HeldRoom(row, members, now, limits);
  const isChanged = yield* held.change(actorId, actor?.rank ?? 0, change);
  return { room: yield* roomOf(row), isChanged, isOfMembers: held.isOfMembers };
}

/** A room whose row is held, so that its members are those that were read. */
class HeldRoom {
  isOfMembers = false;
  readonly #id: number;
  readonly #isPublic: boolean;
  readonly #members: readonly Member[];
  readonly #now: number;
  readonly #limits: RoomLimits;

  constructor(row: Row, members: readonly Member[], now: number, limits: RoomLimits) {
    this.#id = integer(row, 'conversation_id');
    this.#isPublic = row['is_public'] === 1;
    this.#members = members;
    this.#now = now;
    this.#limits = limits;
  }

  /** False: it is so already. */
  *change(actorId: number, rank: number, change: RoomChange): Operation<boolean> {
    switch (change.do) {
      case 'join':
        return yield* this.#admit(actorId);
      case 'leave':
        return rank > 0 && (yield* this.#remove(actorId));
      case 'invite':
        this.#needs(rank, this.#isPublic ? 'member' : 'admin');
        return yield* this.#admit(change.userId);
      case 'kick':
        if (!this.#member(change.userId)) throw noSuchMember();
        this.#outranks(rank, change.userId);
        return yield* this.#remove(change.userId);
      case 'ban':
        this.#outranks(rank, change.userId);
        return yield* this.#ban(change.userId);
      case 'unban':
        this.#needs(rank, 'admin');
        if (!(yield* this.#isBanned(change.userId))) return false;
        yield* run('DELETE FROM room_bans WHERE conversation_id = ? AND user_id = ?', this.#id, change.userId);
        return true;
      case 'role':
        this.#needs(rank, 'owner');
        return yield* this.#setRole(change.userId, RANK[change.role]);
      case 'topic':
        this.#needs(rank, 'admin');
        yield* run('UPDATE rooms SET topic = ? WHERE conversation_id = ?', change.topic, this.#id);
        return true;
    }
  }

  *#admit(userId: number): Operation<boolean> {
    if (this.#member(userId)) return false;
    if (yield* this.#isBanned(userId)) throw notAllowed('banned');
    const userIds = [...this.#members.map((member) => member.userId), userId];
    const devices = (yield* first(
      'SELECT COUNT(*) AS n FROM devices WHERE user_id IN (?...) AND revoked_at IS NULL AND not_after >= ?',
      userIds,
      this.#now,
    )) as Row;
    if (userIds.length > this.#limits.devices || integer(devices, 'n') > this.#limits.devices)
      throw new ChatError('QUOTA', `more than ${this.#limits.devices} devices in one room`, { field: 'room' });
    yield* insert(MEMBERS, [[this.#id, userId, RANK.member]]);
    yield* this.#raiseEpoch(1);
    return true;
  }

  *#remove(userId: number): Operation<boolean> {
    if (this.#members.length > 1) this.#keepsAnOwner(userId);
    // A conversation's epoch is the room's and those of its members together: it must not fall with the one who goes.
    const user = (yield* first('SELECT device_epoch FROM users WHERE id = ? FOR UPDATE', userId)) as Row;
    yield* run('DELETE FROM room_members WHERE conversation_id = ? AND user_id = ?', this.#id, userId);
    yield* this.#raiseEpoch(1 + integer(user, 'device_epoch'));
    if (this.#members.length > 1) return true;
    // Nobody is left who could let anybody in.
    yield* run('DELETE FROM room_bans WHERE conversation_id = ?', this.#id);
    yield* run('DELETE FROM rooms WHERE conversation_id = ?', this.#id);
    return true;
  }

  *#ban(userId: number): Operation<boolean> {
    if (yield* this.#isBanned(userId)) return false;
    const bans = (yield* first('SELECT COUNT(*) AS n FROM room_bans WHERE conversation_id = ?', this.#id)) as Row;
    if (integer(bans, 'n') >= this.#limits.bans)
      throw new ChatError('QUOTA', `more than ${this.#limits.bans} bans in one room`, { field: 'room' });
    if (this.#member(userId)) yield* this.#remove(userId);
    yield* insert(BANS, [[this.#id, userId]]);
    return true;
  }

  *#setRole(userId: number, rank: number): Operation<boolean> {
    const member = this.#member(userId);
    if (!member) throw noSuchMember();
    if (member.rank === rank) return false;
    this.#keepsAnOwner(userId);
    if (rank === RANK.owner) yield* mayOwnOneMore(userId, this.#limits.owned);
    yield* insert(MEMBERS, [[this.#id, userId, rank]]);
    return true;
  }

  *#raiseEpoch(by: number): Operation<void> {
    this.isOfMembers = true;
    yield* run('UPDATE rooms SET epoch = epoch + ? WHERE conversation_id = ?', by, this.#id);
  }

  *#isBanned(userId: number): Operation<boolean> {
    const row = yield* first(
      'SELECT user_id FROM room_bans WHERE conversation_id = ? AND user_id = ?',
      this.#id,
      userId,
    );
    return row !== null;
  }

  #member(userId: number): Member | undefined {
    return this.#members.find((member) => member.userId === userId);
  }
  #needs(rank: number, role: RoomRole): void {
    if (rank < RANK[role]) throw notAllowed('role');
  }
  #outranks(rank: number, userId: number): void {
    this.#needs(rank, 'admin');
    if (rank <= (this.#member(userId)?.rank ?? 0)) throw notAllowed('role');
  }
  #keepsAnOwner(userId: number): void {
    const owners = this.#members.filter((member) => member.rank === RANK.owner);
    if (owners.length === 1 && owners[0]?.userId === userId) throw notAllowed('last_owner');
  }
}

/** Holds the user, so that the rooms that were counted are all there are. @throws QUOTA; NOT_FOUND/ownerId */
function* mayOwnOneMore(userId: number, limit: number): Operation<void> {
  if (!(yield* first('SELECT id FROM users WHERE id = ? FOR UPDATE', userId)))
    throw new ChatError('NOT_FOUND', 'no user has this id', { field: 'ownerId' });
  const owned = yield* first(
    'SELECT COUNT(*) AS n FROM room_members WHERE user_id = ? AND role = ?',
    userId,
    RANK.owner,
  );
  if (owned && integer(owned, 'n') >= limit)
    throw new ChatError('QUOTA', `more than ${limit} rooms of one owner`, { field: 'room' });
}

function* membersOf(conversationId: number): Operation<Member[]> {
  const rows = yield* select(
    'SELECT m.user_id, m.role, u.username FROM room_members m JOIN users u ON u.id = m.user_id ' +
      'WHERE m.conversation_id = ? ORDER BY u.username',
    conversationId,
  );
  return rows.map((row) => ({
    userId: integer(row, 'user_id'),
    username: text(row, 'username'),
    rank: integer(row, 'role'),
  }));
}

/** As it is now, but for the row's own columns. */
function* roomOf(row: Row): Operation<Room> {
  const id = integer(row, 'conversation_id');
  const members = yield* membersOf(id);
  const banned = yield* select(
    'SELECT u.id, u.username FROM room_bans b JOIN users u ON u.id = b.user_id WHERE b.conversation_id = ? ORDER BY u.username',
    id,
  );
  const now = yield* first('SELECT topic FROM rooms WHERE conversation_id = ?', id);
  return {
    id: blob<ConversationId>(row, 'conversation'),
    name: text(row, 'name'),
    isPublic: row['is_public'] === 1,
    topic: now && textOrNull(now, 'topic'),
    members: members.map(({ userId, username, rank }) => ({ userId, username, role: roleOf(rank) })),
    banned: banned.map((each) => text(each, 'username')),
  };
}

const noSuchRoom = (): ChatError => new ChatError('NO_SUCH_ROOM', 'no room has this name', { field: 'room' });
const noSuchMember = (): ChatError => new ChatError('NO_SUCH_PEER', 'not a member of the room', { field: 'username' });
const exists = (): ChatError => new ChatError('ROOM_EXISTS', 'another room has this name', { field: 'room' });
/** @param sub `role`, `banned` or `last_owner` */
const notAllowed = (sub: string): ChatError => new ChatError('NOT_ALLOWED', 'the room does not allow it', { sub });
