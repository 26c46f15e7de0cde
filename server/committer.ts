/**
 * Commit windows: takes admitted batches as they come, writes those that are there as one window to log and store at the same time, and
 * answers each when both have it. No timer: what comes during a write leaves with the next one.
 */
import type { Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Log } from '../runtime/log.ts';
import type { MessageRecord, StoredMessage } from '../store/contract/log.ts';
import type { Store } from '../store/store.ts';
import { encodeLeaf, type Leaf } from '../transcript/leaf.ts';
import type { Batch, LineageChange } from '../transcript/lineage.ts';
import { sha256 } from '../base/hash.ts';
import { idKey } from '../base/id-key.ts';
import type { ServerIdentity } from './log/identity.ts';
import type { TranscriptLog } from './log/log.ts';
import type { Head } from './log/signer.ts';
import type { SenderLineage } from './sequencer-lineage.ts';
import { LoggedCertificates } from './logged-certificates.ts';
import { MAX_RETRY_MS, StoreRetry, type StoreRetryOptions } from './store-retry.ts';
import { RETRY_AFTER_MS, unanswered, unavailable } from './unavailable.ts';
import { answerTo, commitWindow, type Admitted, type CommitWindow } from './commit-window.ts';
import type { Accepted, Submission } from './submission.ts';

/** A window takes what is there up to these limits; one batch with its certificate always fits. */
export const MAX_WINDOW_ENTRIES = 4096;
const MAX_WINDOW_BYTES = 1024 * 1024;
/** The larger of MSG and SIGB leaves with an Ed25519 signature; an estimate is enough, for a record has room for four windows. */
const MAX_BATCH_ENTRY_BYTES = 262;

export interface CommitterOptions extends StoreRetryOptions {
  readonly transcript: TranscriptLog;
  readonly store: Store;
  /** Unix ms */
  readonly now: () => number;
}

/** An admitted batch on its way. */
interface Ticket extends Admitted {
  readonly sender: SenderLineage;
  readonly change: LineageChange;
  readonly key: string;
  readonly accepted: Promise<Accepted>;
  readonly resolve: (accepted: Accepted) => void;
  readonly reject: (error: ChatError) => void;
}

export class Committer {
  readonly #o: CommitterOptions;
  /** Lineage that was applied for batches which are refused, or that was loaded from a store behind the log, is void. */
  readonly #onVoid: () => void;
  readonly #certificates: LoggedCertificates;
  readonly #storeRetry: StoreRetry;
  /** Admitted and not yet answered, by sender, session and first counter. */
  readonly #tickets = new Map<string, Ticket>();
  /** Written, and queued for its recipients, who were not told: what came behind that failed. By the same key. */
  readonly #unoffered = new Set<string>();
  #queue: Ticket[] = [];
  /** What writes to the log besides, each between two windows. */
  readonly #chores: (() => Promise<void>)[] = [];
  #isRunning = false;
  /** Settles with the record that is being written; never rejects. */
  #appending: Promise<unknown> | null = null;
  #isHeld = false;
  /** Why nothing can be accepted any more. */
  #stopped: ChatError | null = null;

  constructor(options: CommitterOptions, onVoid: () => void) {
    this.#o = options;
    this.#onVoid = onVoid;
    this.#certificates = new LoggedCertificates(options.store, options.transcript.origin);
    const refuseWaiting = () => this.#refuse([], unavailable('the database did not answer', RETRY_AFTER_MS));
    this.#storeRetry = new StoreRetry(options, refuseWaiting, onVoid);
  }

  get appending(): Promise<unknown> | null {
    return this.#appending;
  }

  /** @throws UNAVAILABLE while the store lacks a window that the log has; LOG_FAILED, ROLLBACK, FORK */
  check(): void {
    if (this.#stopped) throw this.#stopped;
    if (this.#storeRetry.isDown) throw unavailable('the database does not answer', RETRY_AFTER_MS);
  }

  /** No batches until `release`, which comes after whatever must stand in the log before them. */
  hold(): void {
    this.#isHeld = true;
  }
  release(): void {
    this.#isHeld = false;
  }

  /** @throws UNAVAILABLE while nothing new may be signed: after an absence, until clients have shown what they hold */
  checkHeld(isHeld = this.#isHeld): void {
    const heldMs = Math.ceil(this.#o.transcript.heldMs);
    if (heldMs > 0 || isHeld)
      throw unavailable('the server was away, and waits for what others hold of its record', heldMs || RETRY_AFTER_MS);
  }

  /**
   * What is logged under a time at which the certificate of its sender has ended would be a fault in the log for ever.
   * @throws UNAVAILABLE: it is repeated under the next certificate
   */
  checkValid({ until }: Submission['device'], time = this.#time()): void {
    if (until < time) throw unavailable('the certificate of a sender has ended', RETRY_AFTER_MS);
  }

  /** @throws BAD_FRAME for a chain that does not fit an entry */
  async needsCertificate({ fingerprint, chain }: Submission['device']): Promise<boolean> {
    if (this.#certificates.isKnown(fingerprint) || (await this.#certificates.ask(fingerprint))) return false;
    encodeLeaf({ type: 'cert', serverTime: 0, chain });
    return true;
  }

  /** An admitted batch that is not answered yet. */
  find(batch: Batch): Ticket | undefined {
    return this.#tickets.get(keyOf(batch));
  }
  has(sender: Uint8Array, session: Uint8Array, firstCtr: number): boolean {
    return this.#tickets.has(`${idKey(sender)} ${idKey(session)} ${firstCtr}`);
  }

  /** Nobody was told of a batch that is in the log. */
  notOffered(batch: Batch): void {
    this.#unoffered.add(keyOf(batch));
  }
  /** Whether that is so; it is said once. */
  wasNotOffered(batch: Batch): boolean {
    return this.#unoffered.delete(keyOf(batch));
  }

  /** Takes an admitted batch; log and store have it when the promise resolves. */
  commit(admitted: Omit<Ticket, 'key' | 'accepted' | 'resolve' | 'reject'>): Promise<Accepted> {
    const { promise: accepted, resolve, reject } = Promise.withResolvers<Accepted>();
    accepted.catch(() => undefined); // whoever waits for it may have been refused before
    const key = keyOf(admitted.batch);
    const ticket: Ticket = { ...admitted, key, accepted, resolve, reject };
    this.#tickets.set(key, ticket);
    this.#queue.push(ticket);
    if (!this.#isRunning) void this.#run();
    return accepted;
  }

  /**
   * Another server certificate vouches for the log key: in its place among the windows, and in log and store when it resolves.
   * @throws as Certification.vouch(); UNAVAILABLE if the server ends before the store has it
   */
  vouch(server: ServerIdentity): Promise<void> {
    const certificates = server.chain.slice(0, 1).map((der) => sha256(der) as Uint8Array as Fingerprint);
    return this.#between(() => this.#besides(() => this.#o.transcript.certification.vouch(server), certificates));
  }

  /** A key that was prepared takes over. @returns whether there was one @throws as Certification.takeOver(); UNAVAILABLE as vouch() */
  async takeOver(server: ServerIdentity): Promise<boolean> {
    const certificates = server.chain.slice(0, 1).map((der) => sha256(der) as Uint8Array as Fingerprint);
    let isNew = false;
    const work = async () => void (isNew = await this.#o.transcript.certification.takeOver(server));
    await this.#between(() => this.#besides(work, certificates));
    return isNew;
  }

  /**
   * Entries that are no messages: in their place among the windows, and in log and store when it resolves.
   * @param leavesAt makes them, at least one, for their server time
   * @throws as TranscriptLog.append(); UNAVAILABLE if the server ends before the store has it
   */
  enter(leavesAt: (serverTime: number) => readonly Leaf[]): Promise<{ firstIndex: number; serverTime: number }> {
    const { transcript } = this.#o;
    return this.#between(async () => {
      const [firstIndex, serverTime] = [transcript.size, this.#time()];
      const entries = leavesAt(serverTime).map(encodeLeaf);
      await this.#besides(() => transcript.append({ time: serverTime, entries }), []);
      return { firstIndex, serverTime };
    });
  }

  /** The same of what nobody would vouch for: the server's certificate has ended, and there is no other yet. @throws UNAVAILABLE */
  #checkCovered(time: number): void {
    if (this.#o.transcript.certification.coveredUntil < time)
      throw unavailable('the certificate of the server has ended', RETRY_AFTER_MS);
  }

  /** Of the next entry, Unix ms: that of the log never goes back. */
  #time(): number {
    return Math.max(this.#o.now(), this.#o.transcript.time);
  }

  /** Between two windows. */
  #between<T>(chore: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#chores.push(() => chore().then(resolve, reject));
    if (!this.#isRunning) void this.#run();
    return promise;
  }

  /** A store that is down is asked once more, and then no longer. */
  end(): void {
    this.#storeRetry.end();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    await null; // let the rest of this tick join
    try {
      for (;;) {
        const chore = this.#chores.shift();
        if (chore) {
          await chore();
          continue;
        }
        if (this.#queue.length === 0) break;
        const tickets = this.#take();
        // It answers its tickets whatever happens; this is for a defect, which must not leave anybody waiting.
        await this.#commit(tickets).catch((error: unknown) => this.#refuse(tickets, ChatError.from(error)));
      }
    } finally {
      this.#isRunning = false; // in the same moment as both were seen empty
    }
  }

  /** Something that may write to the log, and the store is told of. @param certificates that are in the log then */
  async #besides(work: () => Promise<unknown>, certificates: Fingerprint[]): Promise<void> {
    this.check();
    this.checkHeld(false);
    const { transcript, store } = this.#o;
    const before = transcript.size;
    try {
      await work();
    } catch (error) {
      const failure = ChatError.from(error);
      if (failure.code === 'LOG_FAILED' || failure.code === 'ROLLBACK' || failure.code === 'FORK')
        this.#stopped = failure;
      throw failure;
    }
    if (transcript.size === before) return;
    const record = { origin: transcript.origin, logSize: transcript.size, batches: [], certificates };
    const isStored = await store.commitWindow(record).catch((error: unknown) => this.#storeRetry.commit(record, error));
    if (isStored === null) throw unavailable('the database did not answer', MAX_RETRY_MS);
  }

  /** The next window's batches. */
  #take(): Ticket[] {
    let [entries, bytes, count] = [0, 0, 0];
    for (const { batch, submission, needsCertificate } of this.#queue) {
      const certificateBytes = needsCertificate ? submission.device.chain.reduce((sum, der) => sum + der.length, 0) : 0;
      entries += 1 + batch.bs.count + (needsCertificate ? 1 : 0);
      bytes += (1 + batch.bs.count) * MAX_BATCH_ENTRY_BYTES + certificateBytes;
      if (count > 0 && (entries > MAX_WINDOW_ENTRIES || bytes > MAX_WINDOW_BYTES)) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #commit(tickets: readonly Ticket[]): Promise<void> {
    const { transcript, store } = this.#o;
    const time = this.#time();
    const { origin, size } = transcript;
    try {
      this.#checkCovered(time);
      for (const { submission } of tickets) this.checkValid(submission.device, time);
    } catch (error) {
      return this.#refuse(tickets, ChatError.from(error)); // all of them: what was admitted behind it may build on it
    }
    const window = commitWindow(tickets, { origin, size }, time, (fingerprint) =>
      this.#certificates.isKnown(fingerprint),
    );
    try {
      // Before the store hears of the window, for a full disk must leave no trace there.
      await transcript.makeRoom(window.entries);
    } catch (error) {
      const failure = ChatError.from(error);
      if (failure.code !== 'DISK_FULL' && failure.code !== 'TOO_LARGE') this.#stopped = failure;
      const { code, message } = failure;
      return this.#refuse(
        tickets,
        code === 'DISK_FULL' ? new ChatError(code, message, { retryAfterMs: MAX_RETRY_MS, cause: error }) : failure,
      );
    }
    const appended = transcript.append({ time, entries: window.entries, leaves: window.leaves });
    this.#appending = appended.then(
      () => (this.#appending = null),
      () => (this.#appending = null),
    );
    const [logged, stored] = await Promise.allSettled([appended, store.commitWindow(window.record)]);
    if (logged.status === 'rejected') {
      this.#stopped = ChatError.from(logged.reason);
      return this.#refuse(tickets, this.#stopped);
    }
    const answers =
      stored.status === 'fulfilled' ? stored.value : await this.#storeRetry.commit(window.record, stored.reason);
    if (answers === null) return this.#refuse(tickets, unavailable('the database did not answer', MAX_RETRY_MS));
    for (const [i, { messages }] of window.record.batches.entries()) warnOfBlobs(this.#o.log, messages, answers[i]!);
    for (const fingerprint of window.record.certificates) this.#certificates.add(fingerprint);
    await this.#accept(tickets, window, answers).catch((error: unknown) => {
      for (const { batch } of tickets) this.notOffered(batch);
      this.#refuse(tickets, unanswered(this.#o.log, error));
    });
  }

  async #accept(
    tickets: readonly Ticket[],
    window: CommitWindow,
    answers: readonly (readonly StoredMessage[])[],
  ): Promise<void> {
    const { transcript } = this.#o;
    const { record, serverTime } = window;
    const checkpoint: Head = transcript.latest;
    const acks = await Promise.allSettled(
      record.batches.map(({ batch }) => transcript.proofs.ack(batch.firstIndex, batch.count, serverTime)),
    );
    for (const [i, ticket] of tickets.entries()) {
      this.#forget(ticket);
      const ack = acks[i]!;
      if (ack.status === 'rejected') {
        this.notOffered(ticket.batch);
        ticket.reject(unanswered(this.#o.log, ack.reason));
      } else ticket.resolve(answerTo(ticket.submission, window, i, answers[i]!, { ack: ack.value, checkpoint }));
    }
  }

  /** These and all that wait, and forgets that they were admitted. */
  #refuse(tickets: readonly Ticket[], error: ChatError): void {
    this.#onVoid();
    for (const ticket of [...tickets, ...this.#queue.splice(0)]) {
      this.#forget(ticket);
      ticket.reject(error);
    }
  }

  #forget(ticket: Ticket): void {
    if (this.#tickets.delete(ticket.key)) ticket.sender.settle(ticket.change);
  }
}

/** A commit stands in the log without what it refers to: whoever needs that comes in from outside. */
export function warnOfBlobs(
  log: Log,
  messages: readonly Pick<MessageRecord, 'index'>[],
  answers: readonly (StoredMessage | null)[],
): void {
  for (const [i, answer] of answers.entries())
    if (answer?.lacksBlob) log.warn('message.incomplete', { index: messages[i]!.index });
}

const keyOf = ({ bs }: Batch): string => `${idKey(bs.sender)} ${idKey(bs.session)} ${bs.firstCtr}`;
