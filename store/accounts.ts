/** Users, their devices, and the lockout of those who guess passwords. */
import { utf8, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
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
import type { Device, NewDevice } from './contract/devices.ts';

/** No lock lasts longer, however many failures there were: 24 h in ms. */
export const MAX_LOCKOUT_MS = 86_400_000;

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

const DEVICES: Target = {
  table: 'devices',
  columns: ['user_id', 'fingerprint', 'serial_key', 'spki_hash', 'chain', 'not_after', 'first_seen'],
  key: ['id'],
  onConflict: 'fail',
};
const MAILBOXES: Target = {
  table: 'mailboxes',
  columns: ['device_id', 'last_cursor', 'bytes', 'items'],
  key: ['device_id'],
  onConflict: 'fail',
};

export function* addDevice(
  device: NewDevice,
  now: number,
  limit: number,
): Operation<{ device: Device; isNew: boolean; keyHashes: Uint8Array[]; renewed: Fingerprint | null }> {
  const { userId, fingerprint, serialKey, spkiHash, chain, notAfter } = device;
  // The user's row is held from here on, so that the devices counted below are all there are.
  if (!(yield* first('SELECT id FROM users WHERE id = ? FOR UPDATE', userId)))
    throw new ChatError('NOT_FOUND', 'no user has this id', { field: 'userId' });
  const known = (yield* deviceOfUser(userId, fingerprint)) ?? (yield* endedCopyOf(device));
  if (known) return { device: known, isNew: false, keyHashes: yield* keyHashesOf(known), renewed: null };
  const earlier = yield* earlierOf(device);
  // One whose certificate has not ended is counted already.
  if (earlier === null || earlier.notAfter < now) yield* mayHaveOneMore(userId, now, limit);
  if (earlier) {
    const renewed = yield* renewDevice(earlier, device, now);
    return { device: renewed, isNew: true, keyHashes: yield* keyHashesOf(renewed), renewed: earlier.fingerprint };
  }
  try {
    yield* insert(DEVICES, [[userId, fingerprint, utf8(serialKey), spkiHash, chain, notAfter, now]]);
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    // Another user was registered with it just now: users of one certificate do not hold each other's rows.
    throw mismatch();
  }
  const added = (yield* deviceOfUser(userId, fingerprint)) as Device;
  yield* insert(MAILBOXES, [[added.id, 0, 0, 0]]);
  yield* run('UPDATE users SET device_epoch = device_epoch + 1 WHERE id = ?', userId);
  return { device: added, isNew: true, keyHashes: [spkiHash], renewed: null };
}

/**
 * The revoked device whose certificate this is in other bytes: anybody can turn the authority's signature, if it is of ECDSA, into a second one
 * over the same, which gives the certificate another fingerprint.
 */
function* endedCopyOf({ userId, serialKey, spkiHash, notAfter }: NewDevice): Operation<Device | null> {
  const row = yield* first(
    'SELECT * FROM devices WHERE user_id = ? AND serial_key = ? AND spki_hash = ? AND not_after = ? AND revoked_at IS NOT NULL LIMIT 1',
    userId,
    utf8(serialKey),
    spkiHash,
    notAfter,
  );
  return row && deviceOf(row);
}

/** @throws DEVICE_LIMIT */
function* mayHaveOneMore(userId: number, now: number, limit: number): Operation<void> {
  const active = yield* first(
    'SELECT COUNT(*) AS active FROM devices WHERE user_id = ? AND revoked_at IS NULL AND not_after >= ?',
    userId,
    now,
  );
  if (Number(active?.['active']) >= limit)
    throw new ChatError('DEVICE_LIMIT', `a user may have ${limit} devices`, { field: 'device' });
}

/** The device that goes on under this certificate: the one that has proven it, or the one with the same key. */
function* earlierOf({ userId, spkiHash, notAfter, continues }: NewDevice): Operation<Device | null> {
  if (continues !== undefined) {
    const sql = 'SELECT * FROM devices WHERE id = ? AND user_id = ? AND revoked_at IS NULL';
    const row = yield* first(sql, continues, userId);
    if (row) return deviceOf(row);
  }
  const row = yield* first(
    'SELECT * FROM devices WHERE user_id = ? AND spki_hash = ? AND revoked_at IS NULL AND not_after <= ? ' +
      'ORDER BY not_after DESC, id DESC LIMIT 1',
    userId,
    spkiHash,
    notAfter,
  );
  return row && deviceOf(row);
}

function* keyHashesOf({ id, spkiHash }: Device): Operation<Uint8Array[]> {
  const rows = yield* select('SELECT spki_hash FROM devices WHERE continued_by = ? ORDER BY id DESC', id);
  const earlier = rows.map((row) => blob(row, 'spki_hash'));
  return [spkiHash, ...earlier.filter((each) => Buffer.compare(each, spkiHash) !== 0)];
}

/**
 * The device keeps its row, and with it its queue and whatever else belongs to it; the certificate before gets a row of its own, for
 * what it has signed must stay provable.
 */
function* renewDevice(device: Device, renewed: NewDevice, now: number): Operation<Device> {
  const { userId, fingerprint, serialKey, spkiHash, chain, notAfter } = renewed;
  try {
    yield* run(
      'UPDATE devices SET fingerprint = ?, serial_key = ?, spki_hash = ?, chain = ?, not_after = ?, first_seen = ? WHERE id = ?',
      fingerprint,
      utf8(serialKey),
      spkiHash,
      chain,
      notAfter,
      now,
      device.id,
    );
  } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    throw mismatch();
  }
  const before = [userId, device.fingerprint, utf8(device.serialKey), device.spkiHash, device.chain, device.notAfter];
  yield* insert(DEVICES, [[...before, device.firstSeen]]);
  const retired = (yield* deviceOfUser(userId, device.fingerprint)) as Device;
  yield* run('UPDATE devices SET revoked_at = ?, continued_by = ? WHERE id = ?', now, device.id, retired.id);
  yield* insert(MAILBOXES, [[retired.id, 0, 0, 0]]);
  // They name the certificate before, which no roster has any more: who took one would refuse it.
  yield* run('DELETE FROM key_packages WHERE device_id = ?', device.id);
  yield* run('UPDATE users SET device_epoch = device_epoch + 1 WHERE id = ?', userId);
  return (yield* deviceOfUser(userId, fingerprint)) as Device;
}

function* deviceOfUser(userId: number, fingerprint: Fingerprint): Operation<Device | null> {
  const row = yield* first('SELECT * FROM devices WHERE fingerprint = ?', fingerprint);
  if (row && row['user_id'] !== userId) throw mismatch();
  return row && deviceOf(row);
}

const mismatch = (): ChatError =>
  new ChatError('CERT_ACCOUNT_MISMATCH', 'the certificate belongs to another user', { field: 'fingerprint' });

export function* deviceByFingerprint(fingerprint: Fingerprint): Operation<(Device & { username: string }) | null> {
  const row = yield* first(
    'SELECT d.*, u.username FROM devices d JOIN users u ON u.id = d.user_id WHERE d.fingerprint = ?',
    fingerprint,
  );
  return row && { ...deviceOf(row), username: text(row, 'username') };
}

export function* devicesOf(userId: number, limit: number): Operation<Device[]> {
  const sql = 'SELECT * FROM devices WHERE user_id = ? ORDER BY revoked_at IS NOT NULL, id DESC LIMIT ?';
  return (yield* select(sql, userId, limit)).map(deviceOf);
}

export function* revokeDevices(
  by: { readonly serialKey: string } | { readonly spkiHash: Uint8Array },
  at: number,
): Operation<number[]> {
  const [sql, key] =
    'serialKey' in by
      ? ['SELECT id, user_id, revoked_at FROM devices WHERE serial_key = ? ORDER BY id', utf8(by.serialKey)]
      : ['SELECT id, user_id, revoked_at FROM devices WHERE spki_hash = ? ORDER BY id', by.spkiHash];
  const users = [...new Set((yield* select(sql, key)).map((row) => integer(row, 'user_id')))];
  // Users before devices, as addDevice() does; then read again what may have changed meanwhile.
  yield* select('SELECT id FROM users WHERE id IN (?...) ORDER BY id FOR UPDATE', users);
  const rows = yield* select(sql, key);
  for (const row of rows) {
    if (row['revoked_at'] !== null) continue;
    yield* run('UPDATE devices SET revoked_at = ? WHERE id = ?', at, integer(row, 'id'));
    yield* run('UPDATE users SET device_epoch = device_epoch + 1 WHERE id = ?', integer(row, 'user_id'));
  }
  return rows.map((row) => integer(row, 'id'));
}

const FAILURES: Target = {
  table: 'login_failures',
  columns: ['subject', 'failures', 'locked_until'],
  key: ['subject'],
  onConflict: 'keep',
};

/** Fixed length, and the table tells nobody who tried. Sorted: racing callers take the rows in one order. */
const subjectKeys = (subjects: readonly string[]): Buffer[] =>
  [...new Set(subjects)].map((subject) => sha256(utf8(subject))).sort(Buffer.compare);

export function* countLoginFailure(
  subjects: readonly string[],
  now: number,
  maxFailures: number,
  lockoutMs: number,
): Operation<number> {
  const keys = subjectKeys(subjects);
  const fresh = keys.map((key) => [key, 0, 0]);
  yield* insert(FAILURES, fresh);
  yield* run('UPDATE login_failures SET failures = failures + 1 WHERE subject IN (?...)', keys);
  let longest = 0;
  for (const row of yield* select(
    'SELECT subject, failures, locked_until FROM login_failures WHERE subject IN (?...)',
    keys,
  )) {
    const beyond = integer(row, 'failures') - maxFailures;
    // Before there are so many it says when the last failure was, which locks nobody, whatever the clock was then.
    let until = now;
    if (beyond >= 0) {
      until += Math.min(lockoutMs * 2 ** beyond, MAX_LOCKOUT_MS);
      // Concurrent failures carry their own clocks: a lock never gets shorter.
      if (beyond > 0) until = Math.max(until, integer(row, 'locked_until'));
      longest = Math.max(longest, until);
    }
    if (until !== row['locked_until'])
      yield* run('UPDATE login_failures SET locked_until = ? WHERE subject = ?', until, blob(row, 'subject'));
  }
  return longest;
}

export function* forgetLoginFailures(before: number): Operation<void> {
  yield* run('DELETE FROM login_failures WHERE locked_until < ?', before);
}

export function* lockedUntil(subjects: readonly string[], now: number, maxFailures: number): Operation<number> {
  const row = yield* first(
    'SELECT MAX(locked_until) AS latest FROM login_failures WHERE subject IN (?...) AND failures >= ?',
    subjectKeys(subjects),
    maxFailures,
  );
  const until = row ? (integerOrNull(row, 'latest') ?? 0) : 0;
  return until > now ? until : 0;
}

export function* clearLoginFailures(subjects: readonly string[]): Operation<void> {
  yield* run('DELETE FROM login_failures WHERE subject IN (?...)', subjectKeys(subjects));
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

function deviceOf(row: Row): Device {
  return {
    id: integer(row, 'id'),
    userId: integer(row, 'user_id'),
    fingerprint: blob(row, 'fingerprint'),
    serialKey: Buffer.from(blob(row, 'serial_key')).toString('utf8'),
    spkiHash: blob(row, 'spki_hash'),
    chain: blob(row, 'chain'),
    notAfter: integer(row, 'not_after'),
    firstSeen: integer(row, 'first_seen'),
    revokedAt: integerOrNull(row, 'revoked_at'),
  };
}
