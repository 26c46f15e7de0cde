/**
 * What devices publish about themselves: bindings, which are found by their hash, and key packages, each of which is handed out once.
 * Whoever changes them holds the device's row, so that of two who ask at once each gets another package.
 */
import type { Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { first, insert, run, select, type Operation, type Target } from './operation.ts';
import { blob, integer } from './row.ts';
import type { KeyPackages } from './contract/keys.ts';

/** Bindings that are kept of each device, the newest. */
export const MAX_BINDINGS = 16;

const BINDINGS: Target = {
  table: 'bindings',
  columns: ['device_id', 'hash', 'binding'],
  key: ['id'],
  onConflict: 'fail',
};
const KEY_PACKAGES: Target = {
  table: 'key_packages',
  columns: ['device_id', 'last_resort', 'package'],
  key: ['id'],
  onConflict: 'fail',
};

export function* putBinding(deviceId: number, binding: Uint8Array): Operation<void> {
  yield* holdDevices([deviceId]);
  const hash = sha256(binding);
  yield* run('DELETE FROM bindings WHERE device_id = ? AND hash = ?', deviceId, hash);
  yield* insert(BINDINGS, [[deviceId, hash, binding]]);
  const kept = yield* select(
    'SELECT id FROM bindings WHERE device_id = ? ORDER BY id DESC LIMIT ?',
    deviceId,
    MAX_BINDINGS,
  );
  const oldest = kept.at(-1);
  if (oldest) yield* run('DELETE FROM bindings WHERE device_id = ? AND id < ?', deviceId, integer(oldest, 'id'));
}

export function* binding(hash: Hash): Operation<Uint8Array | null> {
  const row = yield* first('SELECT binding FROM bindings WHERE hash = ? LIMIT 1', hash);
  return row && blob(row, 'binding');
}

export function* putKeyPackages(deviceId: number, put: KeyPackages, limit: number): Operation<number> {
  yield* holdDevices([deviceId]);
  if (put.isFresh) yield* run('DELETE FROM key_packages WHERE device_id = ?', deviceId);
  const row = yield* first('SELECT COUNT(*) AS n FROM key_packages WHERE device_id = ? AND last_resort = 0', deviceId);
  const count = row ? integer(row, 'n') : 0;
  if (put.isLastResort) {
    yield* run('DELETE FROM key_packages WHERE device_id = ? AND last_resort = 1', deviceId);
    yield* insert(
      KEY_PACKAGES,
      put.packages.map((each) => [deviceId, 1, each]),
    );
    return count;
  }
  if (count + put.packages.length > limit)
    throw new ChatError('QUOTA', `more than ${limit} key packages of one device`, { field: 'packages' });
  yield* insert(
    KEY_PACKAGES,
    put.packages.map((each) => [deviceId, 0, each]),
  );
  return count + put.packages.length;
}

export function* takeKeyPackages(
  deviceIds: readonly number[],
): Operation<{ readonly deviceId: number; readonly package: Uint8Array }[]> {
  yield* holdDevices(deviceIds);
  const oldest = yield* select(
    'SELECT device_id, last_resort, MIN(id) AS id FROM key_packages WHERE device_id IN (?...) ' +
      'GROUP BY device_id, last_resort ORDER BY device_id, last_resort',
    deviceIds,
  );
  // An ordinary one where there is any: it comes first.
  const chosen = oldest.filter((row, i) => row['device_id'] !== oldest[i - 1]?.['device_id']);
  const ids = chosen.map((row) => integer(row, 'id'));
  const rows = yield* select(
    'SELECT id, device_id, package FROM key_packages WHERE id IN (?...) ORDER BY device_id',
    ids,
  );
  yield* run('DELETE FROM key_packages WHERE last_resort = 0 AND id IN (?...)', ids);
  return rows.map((row) => ({ deviceId: integer(row, 'device_id'), package: blob(row, 'package') }));
}

/** Until the transaction ends. @throws NOT_FOUND/device */
export function* holdDevices(deviceIds: readonly number[]): Operation<void> {
  const ids = [...new Set(deviceIds)];
  const rows = yield* select('SELECT id FROM devices WHERE id IN (?...) ORDER BY id FOR UPDATE', ids);
  if (rows.length !== ids.length) throw new ChatError('NOT_FOUND', 'no device has this id', { field: 'device' });
}
