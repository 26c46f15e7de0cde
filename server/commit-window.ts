/** Admitted batches as what log and store get of them, and what their senders are answered when both have it. */
import type { Fingerprint, Hash } from '../base/bytes.ts';
import { idKey } from '../base/id-key.ts';
import type { StoredMessage, WindowRecord } from '../store/contract/log.ts';
import { batchEntries, encodeLeaf, LEAF_HEADER_BYTES } from '../transcript/leaf.ts';
import type { Batch } from '../transcript/lineage.ts';
import { leafHash } from '../transcript/merkle.ts';
import { messageRecords, type Accepted, type BatchEvidence, type Submission } from './submission.ts';

export interface Admitted {
  readonly submission: Submission;
  readonly batch: Batch;
  /** the log had no certificate of its sender when it was admitted */
  readonly needsCertificate: boolean;
}

export interface CommitWindow {
  /** Unix ms */
  readonly serverTime: number;
  /** Encoded leaves, and their hashes. */
  readonly entries: readonly Buffer[];
  readonly leaves: readonly Hash[];
  readonly record: WindowRecord;
}

/**
 * Certificates that the log lacks, then batch by batch SIGB and MSG leaves.
 * @param log its name, and its size before the window
 * @param isLogged whether a certificate has come into the log since its batch was admitted
 */
export function commitWindow(
  admitted: readonly Admitted[],
  { origin, size }: { readonly origin: string; readonly size: number },
  serverTime: number,
  isLogged: (fingerprint: Fingerprint) => boolean,
): CommitWindow {
  const entries: Buffer[] = [];
  const certificates = new Map<string, Fingerprint>();
  for (const { submission, needsCertificate } of admitted) {
    const { fingerprint, chain } = submission.device;
    const key = idKey(fingerprint);
    if (!needsCertificate || isLogged(fingerprint) || certificates.has(key)) continue;
    certificates.set(key, fingerprint);
    entries.push(encodeLeaf({ type: 'cert', serverTime, chain }));
  }
  const batches = admitted.map(({ submission, batch }) => {
    const { algorithm, signature, messages } = submission;
    const { sender, session, firstCtr, count } = batch.bs;
    const firstIndex = size + entries.length;
    const statements = messages.map((message) => message.statement);
    const leaves = batchEntries(serverTime, algorithm, signature, submission.batch, statements);
    entries.push(...leaves);
    const sigb = leaves[0]!.subarray(LEAF_HEADER_BYTES);
    const place = { firstIndex, firstCtr, count, serverTime };
    return {
      batch: { ...place, fingerprint: sender, session, sigb, batchHash: batch.leaf },
      messages: messageRecords(submission, batch, firstIndex),
    };
  });
  const record = { origin, logSize: size + entries.length, batches, certificates: [...certificates.values()] };
  return { serverTime, entries, leaves: entries.map(leafHash), record };
}

/**
 * @param i which batch of the window
 * @param stored what the store has answered, message by message
 * @param proof of this batch
 */
export function answerTo(
  submission: Submission,
  { serverTime, leaves, record }: CommitWindow,
  i: number,
  stored: readonly StoredMessage[],
  proof: Pick<BatchEvidence, 'ack' | 'checkpoint'>,
): Accepted {
  const start = record.logSize - leaves.length;
  const { batch, messages: records } = record.batches[i]!;
  const messages = records.map(({ index, statementHash }, at) => ({
    ...submission.messages[at]!,
    index,
    seq: stored[at]!.seq,
    cursors: stored[at]!.cursors,
    statementHash,
    leafHash: leaves[index - start]!,
  }));
  const { algorithm, signature } = submission;
  return {
    firstIndex: batch.firstIndex,
    serverTime,
    evidence: { algorithm, signature, batch: submission.batch, ...proof, hashes: messages },
    messages,
    repeated: false,
    unoffered: false,
  };
}
