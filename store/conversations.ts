/** Conversations: direct ones, two users and one row; those of one user's own devices; and the members and devices of any. */
import type { ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { standing } from './contacts.ts';
import { Conflict, first, insert, select, type Operation, type Row, type Target } from './operation.ts';
import { blob, integer, text } from './row.ts';
import type { Conversation } from './contract/conversations.ts';

const CONVERSATIONS: Target = {
  table: 'conversations',
  columns: ['conversation', 'user_low', 'user_high', 'created_at'],
  key: ['id'],
  onConflict: 'fail',
};
const SEQUENCES: Target = {
  table: 'sequences',
  columns: ['conversation_id', 'last_seq'],
  key: ['conversation_id'],
  onConflict: 'fail',
};
const BY_ID = 'SELECT id, conversation, user_low, user_high FROM conversations WHERE conversation = ?';
const BY_PAIR = 'SELECT id, conversation, user_low, user_high FROM conversations WHERE user_low = ? AND user_high = ?';

export function* openDirect(
  userA: number,
  userB: number,
  candidate: ConversationId,
  now: number,
): Operation<Conversation> {
  const low = Math.min(userA, userB);
  const high = Math.max(userA, userB);
  const known = yield* first(BY_PAIR, low, high);
  if (known) return yield* withMembers(known, now);
  const users = yield* select('SELECT id FROM users WHERE id IN (?...)', [low, high]);
  if (users.length !== 2)
    throw new ChatError('NO_SUCH_PEER', 'a direct conversation needs two users', { field: 'peer' });
  try {
    yield* insert(CONVERSATIONS, [[candidate, low, high, now]]);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    const winner = yield* first(BY_PAIR, low, high);
    if (winner) return yield* withMembers(winner, now);
    throw new ChatError('INTERNAL', 'another conversation has the candidate as its id', { field: 'candidate' });
  }
  const created = (yield* first(BY_PAIR, low, high)) as Row;
  yield* insert(SEQUENCES, [[integer(created, 'id'), 0]]);
  return yield* withMembers(created, now);
}

/** Its row has no `user_high`. The id is one's own alone, so that it keeps racing callers apart. */
export function* openSelf(userId: number, id: ConversationId, now: number): Operation<Conversation> {
  const known = yield* conversation(id, now);
  if (known) return known;
  if (!(yield* first('SELECT id FROM users WHERE id = ?', userId)))
    throw new ChatError('NO_SUCH_PEER', 'there is no such user', { field: 'peer' });
  try {
    yield* insert(CONVERSATIONS, [[id, userId, null, now]]);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    return (yield* conversation(id, now)) as Conversation;
  }
  const created = (yield* first(BY_ID, id)) as Row;
  yield* insert(SEQUENCES, [[integer(created, 'id'), 0]]);
  return yield* withMembers(created, now);
}

export function* conversation(id: ConversationId, now: number): Operation<Conversation | null> {
  const row = yield* first(BY_ID, id);
  return row && (yield* withMembers(row, now));
}

const DEVICES = 'LEFT JOIN devices d ON d.user_id = u.id AND d.revoked_at IS NULL AND d.not_after >= ? ';

function* withMembers(row: Row, now: number): Operation<Conversation> {
  // One statement, so that the epoch and the devices are those of one moment.
  const isRoom = row['user_low'] === null;
  const rows = isRoom ? yield* ofRoom(row, now) : yield* ofTwo(row, now);
  const members = new Map<number, { userId: number; username: string; devices: ConversationDevice[] }>();
  let epoch = rows[0] ? integer(rows[0], 'room_epoch') : 0;
  for (const each of rows) {
    const userId = integer(each, 'user_id');
    let member = members.get(userId);
    if (!member) {
      member = { userId, username: text(each, 'username'), devices: [] };
      members.set(userId, member);
      epoch += integer(each, 'device_epoch');
    }
    if (each['device_id'] !== null)
      member.devices.push({ id: integer(each, 'device_id'), fingerprint: blob(each, 'fingerprint') });
  }
  return {
    id: blob<ConversationId>(row, 'conversation'),
    epoch,
    members: [...members.values()],
    standing: yield* standingIn(row),
  };
}

function* standingIn(row: Row): Operation<Conversation['standing']> {
  if (row['user_low'] === null) return 'contacts';
  return row['user_high'] === null ? 'self' : yield* standing(integer(row, 'user_low'), integer(row, 'user_high'));
}

type ConversationDevice = Conversation['members'][number]['devices'][number];

const ofTwo = (row: Row, now: number): Operation<readonly Row[]> =>
  select(
    'SELECT 0 AS room_epoch, u.id AS user_id, u.username, u.device_epoch, d.id AS device_id, d.fingerprint FROM users u ' +
      DEVICES +
      'WHERE u.id IN (?...) ORDER BY u.id, d.id',
    now,
    row['user_high'] === null ? [integer(row, 'user_low')] : [integer(row, 'user_low'), integer(row, 'user_high')],
  );

const ofRoom = (row: Row, now: number): Operation<readonly Row[]> =>
  select(
    'SELECT r.epoch AS room_epoch, u.id AS user_id, u.username, u.device_epoch, d.id AS device_id, d.fingerprint FROM rooms r ' +
      'JOIN room_members m ON m.conversation_id = r.conversation_id JOIN users u ON u.id = m.user_id ' +
      DEVICES +
      'WHERE r.conversation_id = ? ORDER BY u.id, d.id',
    now,
    integer(row, 'id'),
  );

/** Ids of the conversations of rows, by `conversation_id`. */
export function* conversationsOf(rows: readonly Row[]): Operation<Map<number, ConversationId>> {
  const ids = [...new Set(rows.map((row) => integer(row, 'conversation_id')))];
  const names = yield* select('SELECT id, conversation FROM conversations WHERE id IN (?...)', ids);
  return new Map(names.map((row) => [integer(row, 'id'), blob<ConversationId>(row, 'conversation')]));
}
