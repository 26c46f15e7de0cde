/**
 * From "waiting to be signed" to "in the log, proven". One batch is on its way at a time; what is written meanwhile leaves together in
 * the next (no timer: quick when idle, wide when busy). A batch is on disk before its first byte is sent and is sent again, byte for
 * byte, after every drop, until the server has acknowledged or refused it; the acknowledgement is believed only when it proves that the
 * log holds these statements. What is sent next is the composer's to say; what comes of a refusal stands in refusals.ts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { encode, type Encodable } from '../base/cbor.ts';
import { ChatError, type Code } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import type { Reply } from '../protocol/messages.ts';
import { leafHash } from '../transcript/merkle.ts';
import { checkAcceptance } from './ack-check.ts';
import { putBlob } from './blobs.ts';
import { Composer } from './composer.ts';
import type { DeviceKeys } from './device.ts';
import type { Groups } from './groups.ts';
import type { Lobby } from './lobby.ts';
import { LONGEST_TIMER_MS } from './pauses.ts';
import { Quiet } from './quiet.ts';
import { isPassing, Refusals, waitMs, type RefusalEvents } from './refusals.ts';
import type { Session } from './session.ts';
import { Stage } from './stage.ts';
import type { Signer } from './statements.ts';
import { isBetrayal } from './trust.ts';
import { commitOf, isOfOne, named, openings, type StagedBatch } from './staged-batch.ts';
import type { Message } from './message-table.ts';
import type { Vault } from './vault.ts';

export interface OutboxEvents extends RefusalEvents {
  /** @param isQueued no device of the recipient was connected */
  accepted(message: Message, isQueued: boolean): void;
  /** there may be word for a person in the vault */
  noticed(): void;
  /** its group has changed by our doing; or it was wanted, and is left as it is */
  grouped(id: ConversationId, isIdle: boolean): void;
}

/** How often it is looked whether a session has ended: rarely more than once. */
const END_STEP_MS = 10;

export class Outbox {
  readonly #vault: Vault;
  readonly #signer: Signer;
  readonly #stage: Stage;
  readonly #composer: Composer;
  readonly #refusals: Refusals;
  readonly #events: OutboxEvents;
  readonly #now: () => number;
  /** for receipts */
  readonly #quiet: Quiet;
  #session: Session | null = null;
  #isBusy = false;
  #sending: Promise<void> = Promise.resolve();
  /** pump() was called while busy: what it was called for may have come too late for the look that was under way */
  #isAsked = false;
  #retry: NodeJS.Timeout | null = null;
  /** for conversations that wait by themselves, while others are sent */
  #wake: NodeJS.Timeout | null = null;
  /** size of the log when the staged batch was first sent; null: the log may hold it already, for it was sent before, or not refused for good */
  #sizeAtSend: number | null = null;

  constructor(
    vault: Vault,
    groups: Groups,
    devices: DeviceKeys,
    lobby: Pick<Lobby, 'guests' | 'waitsUntil'>,
    signer: Signer,
    events: OutboxEvents,
    now: () => number,
  ) {
    this.#vault = vault;
    this.#signer = signer;
    this.#events = events;
    this.#now = now;
    this.#quiet = new Quiet(() => {
      this.#composer.receipt();
      this.pump();
    }, now);
    this.#stage = new Stage(vault, groups, signer, now);
    const refused = (id: ConversationId, code: Code): void => this.#refusals.abandon(id, code);
    const warn = (sentence: string): void => events.warn(sentence);
    const idle = (id: ConversationId): void => events.grouped(id, true);
    this.#composer = new Composer(vault, groups, devices, lobby, signer, { refused, warn, idle }, now);
    this.#refusals = new Refusals(vault, groups, this.#stage, this.#composer, events);
  }

  attach(session: Session): void {
    this.#session = session;
    this.#sizeAtSend = null;
    this.#refusals.begin();
    this.#composer.begin();
    this.owe();
    this.pump();
  }
  detach(): void {
    this.#session = null;
    for (const timer of [this.#retry, this.#wake]) if (timer) clearTimeout(timer);
    this.#retry = this.#wake = null;
    this.#quiet.end();
  }

  /**
   * The group of a conversation has to be made, entered or changed, though nothing waits to be sent.
   * @param isNewReason else once on each connection
   */
  want(id: ConversationId, isNewReason = false): void {
    if (this.#composer.want(id, isNewReason)) this.pump();
  }

  /** There may be something to say about what was received: once nothing more comes, or soon. */
  owe(): void {
    if (this.#session === null || (!this.#quiet.isAwaited && this.#vault.receipts.owed() === 0)) return;
    this.#quiet.begin();
  }
  /** Resolves when all of that is said, as far as the server takes it now, and within so many milliseconds. */
  async receipt(withinMs: number): Promise<void> {
    const late = new AbortController();
    const isLate = sleep(withinMs, undefined, { signal: late.signal }).catch(() => {});
    for (let left = Infinity; this.#session !== null && !late.signal.aborted;) {
      const owed = this.#vault.receipts.owed();
      if (owed === 0 || owed >= left) break;
      left = owed;
      this.#composer.receipt();
      this.pump();
      await Promise.race([this.#sending, isLate.then(() => late.abort())]);
    }
    late.abort();
  }

  /**
   * What can be sent is sent, and then the last statement of this device's session; nothing after that on this connection.
   * @returns whether the server has it, within so many milliseconds
   */
  async end(withinMs: number): Promise<boolean> {
    const until = performance.now() + withinMs;
    while (
      this.#session !== null &&
      this.#vault.sessions.isOpen(this.#signer.fingerprint) &&
      performance.now() < until
    ) {
      this.#composer.receipt();
      this.#composer.end();
      this.pump();
      await Promise.race([this.#sending, sleep(until - performance.now(), undefined, { ref: false })]);
      await sleep(END_STEP_MS);
    }
    return !this.#vault.sessions.isOpen(this.#signer.fingerprint);
  }

  /** Sends what there is to send, unless something is on its way already. */
  pump(): void {
    const session = this.#session;
    this.#isAsked = true;
    if (session === null || this.#isBusy || this.#retry !== null) return;
    this.#isBusy = true;
    this.#isAsked = false;
    this.#sending = this.#sendNext(session)
      .catch((error: unknown) => this.#fault(session, ChatError.from(error)))
      .then((hasMore) => {
        this.#isBusy = false;
        if (hasMore || this.#isAsked) this.pump();
      });
  }
  /** Resolves when nothing is done any more; after detach(). */
  get settled(): Promise<void> {
    return this.#sending;
  }

  /** True when there may be more to send. */
  async #sendNext(session: Session): Promise<boolean> {
    await new Promise(process.nextTick); // the rest of this tick joins the batch
    if (this.#session !== session) return false;
    const batch = (await this.#stage.batch(session)) ?? (await this.#compose(session));
    if (batch === null || this.#session !== session) return false;
    const { algorithm, signature, messages } = batch;
    let reply: Reply<'msg_ack'>;
    try {
      for (const { parts_blob: parts, info_blob: info } of messages)
        for (const blob of [parts, info]) if (blob !== undefined) await putBlob(session.requester, blob);
      reply = await session.requester.request(
        { type: 'msg_send', algorithm, signature, batch: batch.batch, messages: messages.map(named) },
        'msg_ack',
      );
    } catch (error) {
      return this.#refused(session, batch, ChatError.from(error));
    }
    await this.#accept(session, batch, reply);
    return true;
  }

  async #compose(session: Session): Promise<StagedBatch | null> {
    const batch = await this.#composer.next(session);
    if (this.#session !== session) return null;
    if (batch !== null) this.#sizeAtSend = session.log.newestSize;
    else this.#sleep();
    return batch;
  }

  async #accept(session: Session, batch: StagedBatch, reply: Reply<'msg_ack'>): Promise<void> {
    const noteBefore = session.requester.noteBefore(reply);
    const { receipt, seqs, evidence } = checkAcceptance(batch, reply, session.log.key, noteBefore, this.#sizeAtSend);
    session.log.keep(receipt.checkpoint, receipt.note); // by itself: a fork must leave its proof behind
    const keep = () => this.#vault.outgoing.accept(batch, session.log.origin, receipt.serverTime, seqs, evidence);
    const warnings = await this.#stage.adopt(session, batch, keep);
    this.#sizeAtSend = null;
    this.#refusals.accepted(batch);
    session.prove();
    this.#events.noticed();
    for (const warning of warnings) this.#events.warn(warning);
    const changed = commitOf(batch);
    if (changed !== null) this.#events.grouped(changed, false);
    batch.rows.forEach((row, i) => {
      const message = this.#vault.message(row);
      if (message !== null) this.#events.accepted(message, reply.messages[openings(batch) + i]!.queued);
    });
  }

  /** True when there is something to send at once. */
  async #refused(session: Session, batch: StagedBatch, error: ChatError): Promise<boolean> {
    if (this.#session !== session || isBetrayal(error)) throw error;
    if (isPassing(error) && !this.#isToWithdraw(error, batch)) {
      if (error.code !== 'RATE_LIMIT') this.#sizeAtSend = null; // it may be in the log without its proof
      this.#later(waitMs(error));
      return false;
    }
    this.#sizeAtSend = null;
    if (isLost(error.code)) throw error;
    try {
      await this.#refusals.settle(session, batch, error);
    } finally {
      this.owe(); // what was said with it about what was received is said again
    }
    return true;
  }

  /**
   * Whether what is refused for the sake of one conversation makes room for the others. What was sent before may be in the log, and is repeated
   * as it is; but that there is nobody to have it, the server says only of what is not there.
   */
  #isToWithdraw(error: ChatError, batch: StagedBatch): boolean {
    return isOfOne(error, batch) && (error.code === 'UNAVAILABLE' || this.#sizeAtSend !== null);
  }

  #fault(session: Session, error: ChatError): boolean {
    if (this.#session !== session || isLost(error.code)) return false;
    // Of something that had to be asked first the server says that it cannot now. What is staged may be in the log.
    if (error.cause === REPORTED && isPassing(error)) {
      this.#sizeAtSend = null;
      this.#later(waitMs(error));
      return false;
    }
    const batch = this.#vault.outgoing.staged();
    const subject = batch === null ? 'outbox' : hex(leafHash(batch.batch) as Hash);
    // Of what is in blobs the hashes are enough, and are what was signed.
    const sent = batch === null ? {} : { ...batch, messages: batch.messages.map(named) };
    session.fault(error, subject, encode(sent as unknown as Encodable));
    return false;
  }

  /** Until a conversation that waits can be tried again. */
  #sleep(): void {
    const at = this.#composer.nextTry;
    if (this.#wake) clearTimeout(this.#wake);
    this.#wake =
      at === null ? null : setTimeout(() => this.pump(), Math.min(Math.max(at - this.#now(), 0) + 1, LONGEST_TIMER_MS));
  }

  #later(ms: number): void {
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.pump();
    }, ms);
  }
}

/** The connection went, or the other end says that it goes: everything stays as it is and is sent again. */
const isLost = (code: Code): boolean =>
  code === 'CONNECTION_LOST' || code === 'SHUTTING_DOWN' || code === 'NOT_LOGGED_IN' || code === 'UNREACHABLE';
