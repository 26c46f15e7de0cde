/** Users: their names, passwords and standing, and what they show of themselves. */
import type { Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { Conflict, first, insert, run, select, type Operation, type Row, type Target } from './operation.ts';
import { blob, integer, integerOrNull, text, textOrNull } from './row.ts';
import type {
  KnownUser,
  NewUser,
  PasswordRecord,
  PresenceChoice,
  PresenceState,
  Seen,
  User,
  UserStatus,
} from './contract/accounts.ts';
import type { NewDevice } from './contract/devices.ts';
import { addDevice, deviceOf, keyHashesOf } from './devices.ts';

const USERS: Target = {
  table: 'users',
  columns: [
    'email',
    'username',
    'display_name',
    'salt',
    'pwd_hash',
    'server_key',
    'pwd_kdf',
    'cert_identity',
    'status',
    'created_at',
  ],
  key: ['id'],
  onConflict: 'fail',
};

export function* createUser(user: NewUser, device?: Omit<NewDevice, 'userId' | 'continues'>): Operation<User> {
  const { email, username, displayName, salt, pwdHash, serverKey, pwdKdf, certIdentity, createdAt } = user;
  const row = [email, username, displayName, salt, pwdHash, serverKey, pwdKdf, certIdentity, 'active', createdAt];
  try {
    yield* insert(USERS, [row]);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    // Both may be taken, and which key refuses first is the engine's choice: the name is named.
    const field = (yield* first('SELECT id FROM users WHERE username = ?', username)) ? 'username' : 'email';
    throw new ChatError('USER_EXISTS', `this ${field} is taken`, { field });
  }
  const find = () => first('SELECT * FROM users WHERE username = ?', username);
  const created = userOf((yield* find()) as Row);
  if (device === undefined) return created;
  yield* addDevice({ ...device, userId: created.id }, createdAt, 1);
  return userOf((yield* find()) as Row);
}

export function* setEmail(userId: number, email: string): Operation<void> {
  try {
    yield* run('UPDATE users SET email = ? WHERE id = ?', email, userId);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    throw new ChatError('USER_EXISTS', 'this email is taken', { field: 'email' });
  }
}

export function* setStatus(userId: number, status: UserStatus): Operation<boolean> {
  const user = yield* heldUser(userId);
  if (user.status === status) return false;
  yield* run('UPDATE users SET status = ? WHERE id = ?', status, userId);
  return true;
}

export function* setPassword(
  userId: number,
  { salt, pwdHash, serverKey, pwdKdf }: PasswordRecord,
  before: string | null,
): Operation<boolean> {
  const user = yield* heldUser(userId);
  if (user.pwdHash === pwdHash) return true; // the call is repeated: nobody has one StoredKey with two salts
  if (before !== null && user.pwdHash !== before) return false;
  const sql = 'UPDATE users SET salt = ?, pwd_hash = ?, server_key = ?, pwd_kdf = ? WHERE id = ?';
  yield* run(sql, salt, pwdHash, serverKey, pwdKdf, userId);
  return true;
}

/** Whoever else would change it waits. @throws NOT_FOUND */
function* heldUser(userId: number): Operation<User> {
  const row = yield* first('SELECT * FROM users WHERE id = ? FOR UPDATE', userId);
  if (!row) throw new ChatError('NOT_FOUND', 'no user has this id', { field: 'userId' });
  return userOf(row);
}

export function* findUser(account: string): Operation<User | null> {
  // One question, whoever is asked for: how long it takes must not tell whether a name is there.
  const sql = 'SELECT * FROM users WHERE username = ? UNION ALL SELECT * FROM users WHERE email = ?';
  const rows = yield* select(sql, account, account);
  // MySQL compares as if trailing spaces were not there.
  const row = rows.find(({ username }) => username === account) ?? rows.find(({ email }) => email === account);
  return row === undefined ? null : userOf(row);
}

export function* userWithDevice(userId: number, fingerprint: Fingerprint): Operation<KnownUser | null> {
  const row = yield* first('SELECT * FROM users WHERE id = ?', userId);
  if (!row) return null;
  const found = yield* first('SELECT * FROM devices WHERE fingerprint = ? AND user_id = ?', fingerprint, userId);
  const device = found && deviceOf(found);
  return { user: userOf(row), known: device && { device, keyHashes: yield* keyHashesOf(device) } };
}

export function* listUsers(): Operation<User[]> {
  return (yield* select('SELECT * FROM users ORDER BY id')).map(userOf);
}

export function* setLastSeen(seen: readonly Seen[]): Operation<void> {
  // By ascending id, as everybody takes rows.
  for (const { userId, at } of seen.toSorted((a, b) => a.userId - b.userId))
    yield* run('UPDATE users SET last_seen = ? WHERE id = ?', at, userId);
}

/** Numbers of the database. */
const PRESENCES = ['online', 'away', 'dnd', 'invisible'] as const satisfies readonly PresenceState[];

export function* setPresence(userId: number, { state, showsLastSeen }: PresenceChoice): Operation<void> {
  const number = PRESENCES.indexOf(state);
  yield* run('UPDATE users SET presence = ?, shows_last_seen = ? WHERE id = ?', number, showsLastSeen ? 1 : 0, userId);
}

function userOf(row: Row): User {
  const status = text(row, 'status');
  return {
    id: integer(row, 'id'),
    email: text(row, 'email'),
    username: text(row, 'username'),
    displayName: textOrNull(row, 'display_name'),
    salt: blob(row, 'salt'),
    pwdHash: text(row, 'pwd_hash'),
    serverKey: blob(row, 'server_key'),
    pwdKdf: text(row, 'pwd_kdf'),
    certIdentity: text(row, 'cert_identity'),
    // Whatever else a later schema may know, it is not `active`.
    status: status === 'active' ? 'active' : 'suspended',
    createdAt: integer(row, 'created_at'),
    lastSeen: integerOrNull(row, 'last_seen'),
    // Whatever else a later schema may know, it is not to be seen.
    presence: {
      state: PRESENCES[integer(row, 'presence')] ?? 'invisible',
      showsLastSeen: integer(row, 'shows_last_seen') === 1,
    },
    deviceEpoch: integer(row, 'device_epoch'),
  };
}
