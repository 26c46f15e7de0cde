/**
 * Group commit: the only writer of the log, and of messages into the store. What arrives while one window is being written leaves
 * together in the next: no timer, quick when idle, wide when busy. A window goes to the log and to the store at the same time, and is
 * acknowledged when both have it. Order: statements, signature, lineage (each sender's batches one after another) → room → log and
 * store → acknowledgement. A crash in between is mended by recover() and by the senders, who repeat what was not acknowledged.
 */
import { equal, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { idKey } from '../base/id-key.ts';
import { CONTEXT } from '../base/signature.ts';
import type { Leaf } from '../transcript/leaf.ts';
import { decodeBatch, judge, type Batch } from '../transcript/lineage.ts';
import { audienceOf, isCiphertextOf } from '../transcript/statement.ts';
import { Committer, MAX_WINDOW_ENTRIES, type CommitterOptions } from './committer.ts';
import { FairQueue, type Place } from './fair-queue.ts';
import { GroupCache } from './groups.ts';
import { AWAITED_MS, Incomplete } from './incomplete.ts';
import type { ServerIdentity } from './log/identity.ts';
import { LineageCache } from './sequencer-lineage.ts';
import { Repetitions } from './repetitions.ts';
import { bringTogether } from './sequencer-recovery.ts';
import { Signatures } from './signatures.ts';
import type { Accepted, BatchEvidence, Submission } from './submission.ts';
import { RETRY_AFTER_MS, unanswered, unavailable } from './unavailable.ts';

/** Parts and statements of batches that are not answered yet, over all senders. */
const MAX_WAITING_BYTES = 256 * 1024 * 1024;
/** What batches cost that are being written and delivered: a window of that takes some 10 ms to write, and its deliveries leave in slices. */
const MAX_COST = 2048;
/** What costs more keeps its place while the database has too much to be told already: it is what others would wait for. */
const SMALL_COST = 64;
/** A device that gets a message costs 1, and a message too; a batch with its signature as much as 16 of them. */
const BATCH_COST = 16;
/** What a refused sender is told to wait while somebody else has to repeat something first. */
const INCOMPLETE_RETRY_MS = 1000;
/** Crashes so shortly after one another that senders could not repeat anything between them leave this much at most. */
const INCOMPLETE_ENTRIES = 4 * MAX_WINDOW_ENTRIES;

type Deliver = (accepted: Accepted) => Promise<void> | void;

export class Sequencer {
  readonly #o: CommitterOptions;
  readonly #audience: Hash;
  readonly #signatures = new Signatures();
  readonly #fairly = new FairQueue(MAX_COST);
  readonly #lineage: LineageCache;
  readonly #groups: GroupCache;
  readonly #incomplete = new Incomplete();
  readonly #committer: Committer;
  readonly #repetitions: Repetitions;
  /** Sender → the end of the line of its batches that wait for admission. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #active = new Set<Promise<Accepted>>();
  #waitingBytes = 0;
  #isDraining = false;

  constructor(options: CommitterOptions) {
    this.#o = options;
    this.#audience = audienceOf(options.transcript.origin);
    this.#lineage = new LineageCache(options.store);
    this.#groups = new GroupCache(options.store);
    this.#committer = new Committer(options, () => {
      this.#lineage.clear();
      this.#groups.clear();
      this.#fairly.open();
    });
    this.#repetitions = new Repetitions(options, this.#committer, this.#groups, this.#incomplete);
  }

  /**
   * Brings log and store to the same size; to be called once, before anything else.
   * @throws as bringTogether()
   */
  async recover(): Promise<void> {
    const { transcript, store, log, now } = this.#o;
    await bringTogether({ transcript, store, log });
    const incomplete = await store.incomplete(transcript.origin, Math.max(0, transcript.size - INCOMPLETE_ENTRIES));
    this.#incomplete.begin(incomplete, now() + AWAITED_MS);
  }

  /**
   * Admits a batch, has it logged and stored. Resolves when both are durable. Batches of one sender are admitted in the order of the
   * calls, those of different users in turns by what they cost. Everything that is refused leaves no trace.
   * @param deliver tells those whom it concerns; the turn of others comes when that is done
   * @throws BAD_FRAME for a malformed statement; SIG_FAIL/sender, /ciphertext or /batch; LINEAGE with the finding as `sub`;
   *   STALE/epoch; UNAVAILABLE/incomplete; COUNTER_GAP; COUNTER_REUSED; TOO_LARGE; UNAVAILABLE or DISK_FULL with retryAfterMs; SHUTTING_DOWN; LOG_FAILED, ROLLBACK, FORK
   */
  async submit(submission: Submission, deliver: Deliver = () => {}): Promise<Accepted> {
    const work = this.#submit(submission, deliver);
    this.#active.add(work);
    try {
      return await work;
    } finally {
      this.#active.delete(work);
    }
  }

  async #submit(submission: Submission, deliver: Deliver): Promise<Accepted> {
    if (this.#isDraining) throw new ChatError('SHUTTING_DOWN', 'the server is ending');
    this.#committer.check();
    const { device, messages } = submission;
    const bytes = bytesOf(submission);
    if (this.#waitingBytes + bytes > MAX_WAITING_BYTES) throw unavailable('too many messages wait', 200);
    const batch = decodeBatch(
      submission.batch,
      messages.map(({ statement }) => statement),
      submission.statements,
    );
    checkParts(submission, batch);
    if (!equal(batch.bs.sender, device.fingerprint)) {
      if (!(await this.#repetitions.isKnown(device, submission.batch)))
        throw new ChatError('SIG_FAIL', 'the batch names another certificate than the connection', { sub: 'sender' });
      return await this.#delivered(batch, await (await this.#repetitions.answer(submission, batch))(), deliver);
    }

    this.#waitingBytes += bytes;
    const cost = costOf(submission);
    const place = this.#fairly.place(device.userId, cost);
    try {
      const isSigned = this.#verify(submission);
      isSigned.catch(() => undefined); // it is awaited only when its turn comes
      const answer = await this.#inTurn(idKey(device.fingerprint), async () => {
        await isSigned;
        try {
          return await this.#admit(submission, batch, place);
        } finally {
          this.#lineage.leave(batch);
        }
      });
      return await this.#delivered(batch, await answer(), deliver);
    } catch (error) {
      const failure = ChatError.from(error);
      throw failure.code === 'STORE_FAILED' ? unavailable('the database did not answer', RETRY_AFTER_MS, error) : error;
    } finally {
      const relief = cost > SMALL_COST ? this.#o.store.relief() : null;
      if (relief === null) place.leave();
      else void relief.then(() => place.leave());
      this.#waitingBytes -= bytes;
    }
  }

  /** As Repetitions.isKnown(). */
  isKnown(device: Pick<Submission['device'], 'userId' | 'fingerprint'>, bs: Uint8Array): Promise<boolean> {
    return this.#repetitions.isKnown(device, bs);
  }

  /** Of a batch in the log. @throws as Repetitions.evidence() */
  evidence(firstIndex: number): Promise<BatchEvidence> {
    return this.#repetitions.evidence(firstIndex);
  }

  /** No batches are admitted until release(). */
  hold(): void {
    this.#committer.hold();
  }
  release(): void {
    this.#committer.release();
  }

  /** Another server certificate vouches for the log key from now on. @throws as Committer.vouch(); SHUTTING_DOWN */
  async vouch(server: ServerIdentity): Promise<void> {
    if (this.#isDraining) throw new ChatError('SHUTTING_DOWN', 'the server is ending');
    await this.#committer.vouch(server);
  }

  /** A key of the log that was prepared takes over. @throws as Committer.takeOver(); SHUTTING_DOWN */
  async takeOver(server: ServerIdentity): Promise<boolean> {
    if (this.#isDraining) throw new ChatError('SHUTTING_DOWN', 'the server is ending');
    return await this.#committer.takeOver(server);
  }

  /** Entries that are no messages. @throws as Committer.enter(); SHUTTING_DOWN */
  async enter(leavesAt: (serverTime: number) => readonly Leaf[]): Promise<{ firstIndex: number; serverTime: number }> {
    if (this.#isDraining) throw new ChatError('SHUTTING_DOWN', 'the server is ending');
    return await this.#committer.enter(leavesAt);
  }

  /** Refuses what is new, and resolves when everything before is answered. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    this.#committer.end();
    await Promise.allSettled([...this.#active]);
  }

  async #delivered(batch: Batch, accepted: Accepted, deliver: Deliver): Promise<Accepted> {
    try {
      await deliver(accepted);
    } catch (error) {
      this.#committer.notOffered(batch);
      throw unanswered(this.#o.log, error);
    }
    return accepted;
  }

  async #verify({ device, algorithm, signature, batch }: Submission): Promise<void> {
    if (!(await this.#signatures.verify(device.publicKey, algorithm, CONTEXT.senderBatch, batch, signature)))
      throw new ChatError('SIG_FAIL', 'the certificate did not sign this batch', { sub: 'batch' });
  }

  /** Runs `work` after those of the same sender that came before. */
  async #inTurn<T>(sender: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(sender) ?? Promise.resolve()).then(work, work);
    this.#turns.set(sender, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(sender) === turn) this.#turns.delete(sender);
    }
  }

  /** Judges a batch whose turn has come. Answers how its result is to be had, for the next batch need not wait for that. */
  async #admit(submission: Submission, batch: Batch, place: Place): Promise<() => Promise<Accepted>> {
    const { bs } = batch;
    const needsCertificate = await this.#committer.needsCertificate(submission.device);
    const conversations = batch.messages.map(({ ms }) => ms.conversation);
    for (let hasWaited = false; ;) {
      const groups = await this.#groups.load(submission, conversations);
      const sender = await this.#lineage.load(batch, submission);
      this.#committer.check();
      if (!this.#lineage.holds(bs.sender, sender) || !this.#groups.holds(groups)) continue;
      // From here to the queue nothing waits: what is judged is what is applied.
      const { findings, change } = judge(batch, this.#audience, sender);
      const fault = findings.find(({ code }) => code.startsWith('E_'));
      if (fault === undefined) {
        // It was known when the hub asked, and what was on its way then has been refused since.
        if (submission.refusal !== null) throw submission.refusal;
        this.#committer.checkHeld();
        this.#committer.checkValid(submission.device);
        const stale = this.#groups.judge(submission, conversations, groups);
        const settled = this.#groups.settled(groups);
        if (stale !== null && settled !== null && !hasWaited) {
          // Who is told so fetches what has overtaken him at once: it must be there to be fetched.
          await settled;
          hasWaited = true;
          continue;
        }
        this.#checkComplete(submission, conversations, stale);
        const entrance = place.enter();
        if (entrance !== null) {
          await entrance;
          continue;
        }
        sender.apply(change);
        const accepted = this.#committer.commit({ submission, batch, sender, change, needsCertificate });
        this.#groups.apply(submission, groups, accepted);
        return () => accepted;
      }
      const { code, position, message } = fault;
      if (position === 0 && code === 'E_CTR_REGRESS') return this.#repetitions.answer(submission, batch);
      if (position === 0 && code === 'E_CTR_GAP')
        throw new ChatError('COUNTER_GAP', message, { field: 'msg_send.batch' });
      const field = position === 0 ? 'msg_send.batch' : `msg_send.messages[${position - 1}].statement`;
      throw new ChatError('LINEAGE', message, { sub: code.toLowerCase(), field });
    }
  }

  /** @param stale what was made in another state than the newest, perhaps by somebody who could not know it. @throws it; UNAVAILABLE/incomplete */
  #checkComplete({ messages }: Submission, conversations: readonly ConversationId[], stale: ChatError | null): void {
    const now = this.#o.now();
    for (const [i, { groupInfo }] of messages.entries()) {
      const field = `msg_send.messages[${i}].group`;
      if (groupInfo === null && stale?.field !== field) continue;
      if (this.#incomplete.concerns(conversations[i]!, now))
        throw new ChatError('UNAVAILABLE', 'a crash has interrupted what somebody else was sending there', {
          sub: 'incomplete',
          field,
          retryAfterMs: INCOMPLETE_RETRY_MS,
        });
    }
    if (stale !== null) throw stale;
  }
}

/** @throws SIG_FAIL/ciphertext naming the message */
function checkParts({ messages }: Submission, batch: Batch): void {
  for (const [i, { parts }] of messages.entries())
    if (!isCiphertextOf(batch.messages[i]!.ms, parts))
      throw new ChatError('SIG_FAIL', 'the statement is not about these parts', {
        sub: 'ciphertext',
        field: `msg_send.messages[${i}].parts`,
      });
}

const costOf = ({ messages }: Submission): number =>
  messages.reduce((sum, { recipients }) => sum + 1 + recipients.length, BATCH_COST);

const bytesOf = ({ messages, batch, signature }: Submission): number =>
  messages.reduce(
    (sum, { statement, parts, groupInfo }) =>
      sum + statement.length + (groupInfo?.length ?? 0) + parts.reduce((all, part) => all + part.length, 0),
    batch.length + signature.length,
  );
