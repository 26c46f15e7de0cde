/**
 * Batches that come again, from senders who did not get the answer, and what proves a batch that is in the log already. Nothing is written
 * but the contents that a crash has taken.
 */
import { equal, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { StoredBatch } from '../store/contract/log.ts';
import { decodeLeaf, LEAF_HEADER_BYTES } from '../transcript/leaf.ts';
import type { Batch } from '../transcript/lineage.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeBs } from '../transcript/statement.ts';
import { warnOfBlobs, type Committer, type CommitterOptions } from './committer.ts';
import type { GroupCache } from './groups.ts';
import type { Incomplete } from './incomplete.ts';
import { messageRecords, type Accepted, type BatchEvidence, type Submission } from './submission.ts';
import { unanswered } from './unavailable.ts';

export class Repetitions {
  readonly #o: Pick<CommitterOptions, 'transcript' | 'store' | 'log'>;
  readonly #committer: Committer;
  readonly #groups: GroupCache;
  readonly #incomplete: Incomplete;

  constructor(
    options: Pick<CommitterOptions, 'transcript' | 'store' | 'log'>,
    committer: Committer,
    groups: GroupCache,
    incomplete: Incomplete,
  ) {
    this.#o = options;
    this.#committer = committer;
    this.#groups = groups;
    this.#incomplete = incomplete;
  }

  /**
   * Whether a batch with these counters was taken before: it gets its answer again, whatever has changed since. Also the certificate:
   * whoever holds what another certificate of this user has signed may ask for its answer, as a device does that was renewed before it
   * got one.
   */
  async isKnown(device: Pick<Submission['device'], 'userId' | 'fingerprint'>, bs: Uint8Array): Promise<boolean> {
    const { store } = this.#o;
    const { sender, session, firstCtr } = decodeBs(bs);
    if (!equal(sender, device.fingerprint)) {
      const signer = await store.deviceByFingerprint(sender as Fingerprint);
      if (signer?.userId !== device.userId) return false;
    }
    return (
      this.#committer.has(sender, session, firstCtr) || (await store.findBatch(sender, session, firstCtr)) !== null
    );
  }

  /**
   * Of counters that were used before: the same batch gets the same answer, another one is refused. Answers how the result is to be had.
   * @throws COUNTER_REUSED
   */
  async answer(submission: Submission, batch: Batch): Promise<() => Promise<Accepted>> {
    const { sender, session, firstCtr } = batch.bs;
    const reused = () =>
      new ChatError('COUNTER_REUSED', `session counter ${firstCtr} was used for another batch`, {
        field: 'msg_send.batch',
      });
    const ticket = this.#committer.find(batch);
    if (ticket) {
      if (!equal(ticket.batch.leaf, batch.leaf)) throw reused();
      return async () => {
        const accepted = await ticket.accepted;
        return { ...accepted, messages: accepted.messages.map((m) => ({ ...m, cursors: [] })), repeated: true };
      };
    }
    const stored = await this.#o.store.findBatch(sender, session, firstCtr);
    if (stored === null || stored.origin !== this.#o.transcript.origin || !equal(stored.batchHash, batch.leaf))
      throw reused();
    return async () => {
      try {
        return await this.#again(submission, batch, stored);
      } catch (error) {
        this.#committer.notOffered(batch);
        const failure = ChatError.from(error);
        if (failure.code === 'DISK_FULL' || failure.code === 'STORE_FAILED') throw failure;
        throw unanswered(this.#o.log, error);
      }
    };
  }

  async #again(submission: Submission, batch: Batch, stored: StoredBatch): Promise<Accepted> {
    const { store, transcript, log } = this.#o;
    const { firstIndex, serverTime } = stored;
    // What the log brought back after a crash has no contents yet; they are in this repetition.
    const bare = stored.messages.flatMap(({ hasContent }, i) => (hasContent ? [] : [i]));
    const records = messageRecords(submission, batch, firstIndex);
    const lacking = bare.map((i) => records[i]!);
    const completed = lacking.length > 0 ? await store.complete(transcript.origin, lacking) : [];
    warnOfBlobs(log, lacking, completed);
    for (const { isCommit, conversation, index } of lacking) {
      if (conversation === null) continue;
      this.#incomplete.completed(conversation, index);
      if (isCommit) this.#groups.forget(conversation);
    }
    // What another repetition has brought since they were looked up has the cursors of that one's recipients.
    const cursors = new Map(bare.map((i, at) => [i, completed[at]?.cursors]));
    log.debug('message.duplicate', { index: firstIndex, count: stored.count });
    const evidence = await this.evidence(firstIndex);
    const messages = stored.messages.map(({ index, seq, statementHash }, i) => ({
      ...submission.messages[i]!,
      index,
      seq,
      cursors: cursors.get(i) ?? [],
      statementHash,
      leafHash: evidence.hashes[i]!.leafHash,
    }));
    const repeated = completed.every((message) => message === null);
    const wasNotOffered = this.#committer.wasNotOffered(batch);
    return { firstIndex, serverTime, evidence, messages, repeated, unoffered: repeated && wasNotOffered };
  }

  /** Of a batch in the log. @throws NOT_FOUND if none begins there; LOG_CORRUPT */
  async evidence(firstIndex: number): Promise<BatchEvidence> {
    // The store may be ahead of the log by the window that is being written.
    while (firstIndex >= this.#o.transcript.size && this.#committer.appending) await this.#committer.appending;
    const { transcript } = this.#o;
    const absent = () => new ChatError('NOT_FOUND', `no batch begins at entry ${firstIndex}`);
    if (firstIndex >= transcript.size) throw absent();
    const [first] = await transcript.entries(firstIndex, firstIndex + 1);
    const leaf = decodeLeaf(first!);
    if (leaf.type !== 'sigb') throw absent();
    const count = Buffer.from(leaf.bs).readUInt32BE(64);
    const entries = await transcript.entries(firstIndex + 1, firstIndex + 1 + count);
    const hashes = entries.map((entry) => ({
      statementHash: leafHash(entry.subarray(LEAF_HEADER_BYTES)),
      leafHash: leafHash(entry),
    }));
    const { latest } = transcript;
    const ack = await transcript.proofs.ack(firstIndex, count, leaf.serverTime);
    return { algorithm: leaf.algorithm, signature: leaf.signature, batch: leaf.bs, ack, checkpoint: latest, hashes };
  }
}
