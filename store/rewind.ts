/** Forgetting what a log has lost in a power cut: everything from an index on, with the numbers that it has used up. */
import { utf8 } from '../base/bytes.ts';
import { rewindBlobs } from './blobs.ts';
import { decodeTargets, entryOf } from './entry.ts';
import { rewindGroups } from './groups.ts';
import { Mailboxes } from './mailbox.ts';
import { first, run, select, type Operation, type Row } from './operation.ts';
import { blobOrNull, integer } from './row.ts';
import { rewindThreads } from './threads.ts';

export function* rewind(origin: string, size: number): Operation<void> {
  const log = yield* first('SELECT id, size FROM logs WHERE origin = ? FOR UPDATE', utf8(origin));
  if (!log || integer(log, 'size') <= size) return;
  const logId = integer(log, 'id');
  const from = entryOf(logId, size);
  const to = entryOf(logId + 1, 0) - 1;
  const lost = yield* select(
    'SELECT m.entry, m.session_id, m.conversation_id, m.seq, m.conv_ctr, m.sender_user_id, m.expires_at, m.statement_hash, ' +
      'm.previous_hash, m.targets, s.fingerprint FROM messages m JOIN sessions s ON s.id = m.session_id ' +
      'WHERE m.entry BETWEEN ? AND ? ORDER BY m.entry',
    from,
    to,
  );
  yield* rewindThreads(lost.filter((row) => row['seq'] !== 0));
  // Whatever of a closed session is lost, its end is.
  const sessions = [...new Set(lost.map((row) => integer(row, 'session_id')))];
  yield* run('UPDATE sessions SET is_closed = 0 WHERE id IN (?...)', sessions);
  yield* rewindGroups(from, to);
  yield* rewindBlobs(from, to);
  yield* rewindQueues(lost);
  for (const row of lost) {
    if (row['expires_at'] === null) continue;
    yield* run(
      'DELETE FROM expiries WHERE expires_at = ? AND entry = ?',
      integer(row, 'expires_at'),
      integer(row, 'entry'),
    );
  }
  yield* run('DELETE FROM contents WHERE entry BETWEEN ? AND ?', from, to);
  yield* run('DELETE FROM messages WHERE entry BETWEEN ? AND ?', from, to);
  yield* run('DELETE FROM batches WHERE entry BETWEEN ? AND ?', from, to);
  yield* run('DELETE FROM log_certificates WHERE log_id = ? AND window_end > ?', logId, size);
  yield* run('UPDATE logs SET size = ? WHERE id = ?', size, logId);
}

/** Removes every queue row that speaks of a lost message: copies for its recipients, receipts for its sender. */
function* rewindQueues(lost: readonly Row[]): Operation<void> {
  const entries = new Set(lost.map((row) => integer(row, 'entry')));
  const senders = yield* select('SELECT id FROM devices WHERE user_id IN (?...)', [
    ...new Set(lost.map((row) => integer(row, 'sender_user_id'))),
  ]);
  const recipients = lost.flatMap((row) => decodeTargets(blobOrNull(row, 'targets') ?? new Uint8Array()));
  const devices = new Set([
    ...senders.map((row) => integer(row, 'id')),
    ...recipients.map((target) => target.deviceId),
  ]);
  const mailboxes = yield* Mailboxes.hold(devices);
  for (const deviceId of devices) {
    // A scan of what waits for the device: it happens once, after a power cut.
    const rows = yield* select('SELECT cursor_no, entry, bytes FROM queue WHERE device_id = ?', deviceId);
    for (const row of rows) {
      if (!entries.has(integer(row, 'entry'))) continue;
      yield* run('DELETE FROM queue WHERE device_id = ? AND cursor_no = ?', deviceId, integer(row, 'cursor_no'));
      mailboxes.removed(deviceId, integer(row, 'bytes'));
    }
  }
  yield* mailboxes.write();
}
