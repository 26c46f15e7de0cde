/** Devices of users: certificates that were registered, what renews them, and what revokes them. */
import { utf8, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Device, NewDevice } from './contract/devices.ts';
import { Conflict, first, insert, run, select, type Operation, type Row, type Target } from './operation.ts';
import { blob, integer, integerOrNull, text } from './row.ts';

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

export function* keyHashesOf({ id, spkiHash }: Device): Operation<Uint8Array[]> {
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

export function deviceOf(row: Row): Device {
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
