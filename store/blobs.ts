/**
 * What is too large for one frame: put piece by piece under its SHA-256 by one device, and kept for the commit that refers to it for as
 * long as that is needed. The hash is checked when the last piece has come; until then, and until a commit refers to it, nobody gets it.
 * Whoever puts holds the device's row, so that two connections of one device put one after the other.
 */
import { createHash } from 'node:crypto';
import { equal, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { forgetInfos } from './groups.ts';
import { holdDevices } from './keys.ts';
import { first, insert, run, select, type Operation, type Row, type Target } from './operation.ts';
import { blob, integer } from './row.ts';
import type { BlobLimits, BlobPiece } from './contract/blobs.ts';
import type { MessageRecord } from './contract/log.ts';

/** Every piece but the last one has so many bytes. */
export const PIECE_BYTES = 262_144;
/** `blobs.kind`: what the commit at `entry` has it for. */
const KIND = { unused: 0, parts: 1, groupInfo: 2 } as const;

const BLOBS: Target = {
  table: 'blobs',
  columns: ['device_id', 'hash', 'size', 'have', 'put_at', 'entry', 'kind'],
  key: ['id'],
  onConflict: 'fail',
};
const PIECES: Target = {
  table: 'blob_pieces',
  columns: ['blob_id', 'n', 'piece'],
  key: ['blob_id', 'n'],
  onConflict: 'fail',
};

export function* putBlobPiece(
  deviceId: number,
  { hash, size, offset, piece }: BlobPiece,
  now: number,
  limits: BlobLimits,
): Operation<number | null> {
  yield* holdDevices([deviceId]);
  const used = yield* first(
    'SELECT size FROM blobs WHERE device_id = ? AND hash = ? AND entry > 0 LIMIT 1',
    deviceId,
    hash,
  );
  if (used) return integer(used, 'size');
  const known = yield* first(UNUSED, deviceId, hash);
  if (known && integer(known, 'size') !== size)
    throw new ChatError('BAD_FRAME', 'the same hash was put with another size', { field: 'size' });
  const have = known ? integer(known, 'have') : 0;
  // Put again, it is wanted: a commit is about to refer to it.
  if (known && have === size) yield* run('UPDATE blobs SET put_at = ? WHERE id = ?', now, integer(known, 'id'));
  if (offset !== have || have === size) return have;
  if (!known) yield* insert(BLOBS, [[deviceId, hash, size, 0, now, 0, KIND.unused]]);
  const id = integer((known ?? (yield* first(UNUSED, deviceId, hash))) as Row, 'id');
  yield* insert(PIECES, [[id, offset / PIECE_BYTES, piece]]);
  const sum = offset + piece.length;
  yield* run('UPDATE blobs SET have = ?, put_at = ? WHERE id = ?', sum, now, id);
  if (sum === size && !equal(yield* hashOf(id), hash)) {
    yield* remove([id]);
    return null;
  }
  yield* makeRoom(deviceId, id, limits);
  return sum;
}

const UNUSED = 'SELECT id, size, have FROM blobs WHERE device_id = ? AND hash = ? AND entry = 0';

/** Piece by piece: a blob is never in memory as a whole. */
function* hashOf(id: number): Operation<Uint8Array> {
  const hash = createHash('sha256');
  for (let n = 0; ; n++) {
    const row = yield* first('SELECT piece FROM blob_pieces WHERE blob_id = ? AND n = ?', id, n);
    if (!row) return hash.digest();
    hash.update(blob(row, 'piece'));
  }
}

/** What the device has put and not used gives way, the oldest first. */
function* makeRoom(deviceId: number, newest: number, limits: BlobLimits): Operation<void> {
  const rows = yield* select(
    'SELECT id, size FROM blobs WHERE device_id = ? AND entry = 0 ORDER BY id DESC FOR UPDATE',
    deviceId,
  );
  const others = rows.filter((row) => integer(row, 'id') !== newest);
  let bytes = rows.reduce((sum, row) => (others.includes(row) ? sum : sum + integer(row, 'size')), 0);
  const gone = others.filter((row, i) => (bytes += integer(row, 'size')) > limits.bytes || i + 1 >= limits.count);
  yield* remove(gone.map((row) => integer(row, 'id')));
}

export function* blobPiece(hash: Hash, offset: number): Operation<{ size: number; piece: Uint8Array } | null> {
  const row = yield* first(
    'SELECT b.size, p.piece FROM blobs b JOIN blob_pieces p ON p.blob_id = b.id AND p.n = ? WHERE b.hash = ? AND b.entry > 0 LIMIT 1',
    Math.floor(offset / PIECE_BYTES),
    hash,
  );
  return row && { size: integer(row, 'size'), piece: blob(row, 'piece') };
}

export function* blobSizes(deviceId: number, hashes: readonly Hash[]): Operation<(number | null)[]> {
  const sizes: (number | null)[] = [];
  for (const hash of hashes) {
    const row = yield* first(
      'SELECT size FROM blobs WHERE device_id = ? AND hash = ? AND have = size LIMIT 1',
      deviceId,
      hash,
    );
    sizes.push(row && integer(row, 'size'));
  }
  return sizes;
}

export function* keptInfoBytes(userId: number): Operation<number> {
  const row = yield* first(
    'SELECT SUM(b.size) AS bytes FROM devices d JOIN blobs b ON b.device_id = d.id AND b.entry > 0 ' +
      'WHERE d.user_id = ? AND b.kind = 2',
    userId,
  );
  return Number(row?.['bytes'] ?? 0);
}

/** Inside the transaction that keeps the commit at `entry`. False: something that it refers to has gone since it was admitted. */
export function* useBlobs(entry: number, { senderDeviceId, content }: MessageRecord): Operation<boolean> {
  const { parts, groupInfo } = content?.blobs ?? {};
  let isWhole = true;
  for (const [kind, used] of [
    [KIND.parts, parts],
    [KIND.groupInfo, groupInfo],
  ] as const) {
    if (!used) continue;
    const row = yield* first(
      'SELECT id FROM blobs WHERE device_id = ? AND hash = ? AND entry = 0 AND have = size FOR UPDATE',
      senderDeviceId,
      used.hash,
    );
    if (row) yield* run('UPDATE blobs SET entry = ?, kind = ? WHERE id = ?', entry, kind, integer(row, 'id'));
    else isWhole = false;
  }
  return isWhole;
}

/** The commits at these entries were never made: their senders may refer to the same again. */
export function* rewindBlobs(from: number, to: number): Operation<void> {
  yield* run('UPDATE blobs SET entry = 0, kind = 0 WHERE entry BETWEEN ? AND ?', from, to);
}

export function* forgetBlobs(putBefore: number, limit: number): Operation<number> {
  yield* forgetInfos(limit);
  const rows = [
    // Held, for a commit may be about to use them.
    ...(yield* select('SELECT id FROM blobs WHERE entry = 0 AND put_at < ? LIMIT ? FOR UPDATE', putBefore, limit)),
    ...(yield* select(
      'SELECT b.id FROM blobs b WHERE b.entry > 0 AND b.kind = 1 AND NOT EXISTS ' +
        '(SELECT 1 FROM contents c WHERE c.entry = b.entry) LIMIT ?',
      limit,
    )),
    ...(yield* select(
      'SELECT b.id FROM blobs b WHERE b.entry > 0 AND b.kind = 2 ' +
        'AND NOT EXISTS (SELECT 1 FROM group_infos i WHERE i.entry = b.entry) ' +
        'AND NOT EXISTS (SELECT 1 FROM group_commits k JOIN conversation_groups g ' +
        'ON g.conversation_id = k.conversation_id AND g.entry = k.entry WHERE k.entry = b.entry) LIMIT ?',
      limit,
    )),
  ];
  yield* remove(rows.map((row) => integer(row, 'id')));
  return rows.length;
}

function* remove(ids: readonly number[]): Operation<void> {
  yield* run('DELETE FROM blob_pieces WHERE blob_id IN (?...)', ids);
  yield* run('DELETE FROM blobs WHERE id IN (?...)', ids);
}
