/**
 * Log and store after a crash between the two: what the store has and the log has lost is taken back, and what it lacks is told to it from the
 * log: places, lineage and certificates, without contents.
 */
import { hex, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import type { Log } from '../runtime/log.ts';
import type { WindowRecord } from '../store/contract/log.ts';
import type { Store } from '../store/store.ts';
import { decodeLeaf } from '../transcript/leaf.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeBs, decodeMs, isReceipt, isThreaded, KIND } from '../transcript/statement.ts';
import { MAX_WINDOW_ENTRIES } from './committer.ts';
import type { TranscriptLog } from './log/log.ts';

/** Entries that are applied in one transaction, and at most a batch more. */
const STEP_ENTRIES = 4096;

interface Halves {
  readonly transcript: TranscriptLog;
  readonly store: Store;
  readonly log: Log;
}

/**
 * Brings the two to the same size, before anything else is written.
 * @throws ROLLBACK if the store knows more than one window that the log lacks; STORE_FAILED; as TranscriptLog.append()
 */
export async function bringTogether({ transcript, store, log }: Halves): Promise<void> {
  const { origin, size } = transcript;
  const stored = await store.logSize(origin);
  if (stored > size) {
    // The log is at most one window behind, and that one was not acknowledged.
    const isOneWindow = stored - size <= MAX_WINDOW_ENTRIES && (await store.timesAfter(origin, size)) <= 1;
    if (size === 0 || !isOneWindow)
      throw new ChatError(
        'ROLLBACK',
        `the database has ${stored} entries of log ${origin} and the log only ${size}; restore the log's folder`,
      );
    await store.rewind(origin, size);
    log.warn('store.recovered', { size, count: stored - size });
  }
  await transcript.certification.certify();
  await replay(transcript, store, Math.min(stored, size));
  if (stored < size) log.warn('store.recovered', { size, count: size - stored });
}

/**
 * @param from size of the store, at the border of a batch
 * @throws STORE_FAILED if the database does not know a sender, so that it is older than the log by more than a crash explains; LOG_CORRUPT
 */
async function replay(log: TranscriptLog, store: Store, from: number): Promise<void> {
  const senders = new Map<string, { userId: number; id: number }>();
  const senderOf = async (fingerprint: Fingerprint) => {
    const key = hex(fingerprint);
    const device = senders.get(key) ?? (await store.deviceByFingerprint(fingerprint));
    if (device === null)
      throw new ChatError(
        'STORE_FAILED',
        'the log has messages of a device that the database lacks; restore a newer copy',
      );
    senders.set(key, device);
    return device;
  };

  const { origin, size } = log;
  let at = from;
  while (at < size) {
    const batches: WindowRecord['batches'][number][] = [];
    const certificates: Fingerprint[] = [];
    const start = at;
    while (at < size && at - start < STEP_ENTRIES) {
      const [entry] = await log.entries(at, at + 1);
      const leaf = decodeLeaf(entry!);
      if (leaf.type === 'cert') certificates.push(sha256(leaf.chain[0]!) as Uint8Array as Fingerprint);
      if (leaf.type !== 'sigb') {
        at++;
        continue;
      }
      const { sender, session, firstCtr, count } = decodeBs(leaf.bs);
      const { userId, id } = await senderOf(sender);
      const messages = await log.entries(at + 1, at + 1 + count);
      batches.push({
        batch: {
          firstIndex: at,
          fingerprint: sender,
          session,
          firstCtr,
          count,
          sigb: entry!.subarray(12),
          batchHash: leafHash(leaf.bs),
          serverTime: leaf.serverTime,
        },
        messages: messages.map((bytes, i) => {
          const message = decodeLeaf(bytes);
          if (message.type !== 'msg') throw new ChatError('LOG_CORRUPT', `entry ${at + 1 + i} is not in its batch`);
          const { kind, conversation, convCtr } = decodeMs(message.ms);
          return {
            index: at + 1 + i,
            conversation: isThreaded(kind) || isReceipt(kind) ? conversation : null,
            isThreaded: isThreaded(kind),
            statement: message.ms,
            statementHash: leafHash(message.ms),
            convCtr,
            senderUserId: userId,
            senderDeviceId: id,
            isCommit: kind === KIND.membership,
            isClose: kind === KIND.close,
            content: null,
          };
        }),
      });
      at += 1 + count;
    }
    await store.commitWindow({ origin, logSize: at, batches, certificates });
  }
}
