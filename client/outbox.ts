/**
 * From "waiting to be signed" to "in the log, proven". One batch is on its way at a time; what is written meanwhile leaves together in
 * the next (no timer: quick when idle, wide when busy). A batch is on disk before its first byte is sent and is sent again, byte for
 * byte, after every drop, until the server has acknowledged or refused it; the acknowledgement is believed only when it proves that the
 * log holds these statements.
 */
import { randomBytes } from 'node:crypto';
import { equal, hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { encode, type Encodable } from '../base/cbor.ts';
import { ChatError, type Code } from '../base/errors.ts';
import { CONTEXT, sign } from '../base/signature.ts';
import { MAX_BATCH_MESSAGES, MAX_SEND_BYTES, type Reply } from '../protocol/messages.ts';
import { checkAck, decodeAck } from '../transcript/ack.ts';
import { audienceOf, COMMITMENT_KEY_BYTES, decodeBs, decodeMs, encodeBs } from '../transcript/statement.ts';
import { leafHash } from '../transcript/merkle.ts';
import type { Rosters } from './rosters.ts';
import type { Requester } from './requester.ts';
import { composeBatch, fillBatch, type Signer } from './statements.ts';
import { isBetrayal, type LogView } from './trust.ts';
import type { Conversation, Message, StagedBatch, Vault } from './vault.ts';

/** What one logged-in connection gives to outbox and inbox. */
export interface Session {
  readonly requester: Requester;
  readonly log: LogView;
  readonly rosters: Rosters;
  /** Proves, in the background, that new checkpoints continue the old ones. */
  prove(): void;
  /** Something that must not go on: a lie of the server (the evidence is kept), or a failure of this machine. Ends the session. */
  fault(error: ChatError, subject: string, detail: Uint8Array): void;
}

export interface OutboxEvents {
  /** @param isQueued no device of the recipient was connected */
  accepted(message: Message, isQueued: boolean): void;
  failed(message: Message): void;
  warn(sentence: string): void;
}

/** Refusals that go away by themselves. */
const RETRY: ReadonlySet<Code> = new Set<Code>([
  'RATE_LIMIT',
  'UNAVAILABLE',
  'STORE_FAILED',
  'DISK_FULL',
  'LOG_FAILED',
  'LOCKED',
]);
/** The device's statements do not continue what the server knows of it. */
const LOST_LINEAGE: ReadonlySet<Code> = new Set<Code>(['COUNTER_GAP', 'COUNTER_REUSED', 'LINEAGE']);
const RETRY_MS = 1000;
const MAX_STALE = 5;

export class Outbox {
  readonly #vault: Vault;
  readonly #signer: Signer;
  readonly #events: OutboxEvents;
  readonly #now: () => number;
  #session: Session | null = null;
  #isBusy = false;
  /** pump() was called while busy: what it was called for may have come too late for the look that was under way */
  #isAsked = false;
  #staleInARow = 0;
  #hasRestarted = false;
  #retry: NodeJS.Timeout | null = null;
  /** size of the log when the staged batch was first sent; null: it may have been sent before, so the log may hold it already */
  #sizeAtSend: number | null = null;

  constructor(vault: Vault, signer: Signer, events: OutboxEvents, now: () => number) {
    this.#vault = vault;
    this.#signer = signer;
    this.#events = events;
    this.#now = now;
  }

  attach(session: Session): void {
    this.#session = session;
    this.#hasRestarted = false;
    this.#sizeAtSend = null;
    this.pump();
  }
  detach(): void {
    this.#session = null;
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
  }

  /** Sends what there is to send, unless something is on its way already. */
  pump(): void {
    const session = this.#session;
    this.#isAsked = true;
    if (session === null || this.#isBusy || this.#retry !== null) return;
    this.#isBusy = true;
    this.#isAsked = false;
    void this.#sendNext(session)
      .catch((error: unknown) => this.#fault(session, ChatError.from(error)))
      .then((hasMore) => {
        this.#isBusy = false;
        if (hasMore || this.#isAsked) this.pump();
      });
  }

  /** True when there may be more to send. */
  async #sendNext(session: Session): Promise<boolean> {
    await new Promise(process.nextTick); // the rest of this tick joins the batch
    if (this.#session !== session) return false;
    const batch = this.#staged(session) ?? (await this.#compose(session));
    if (batch === null || this.#session !== session) return false;
    const { algorithm, signature, messages } = batch;
    let reply: Reply<'msg_ack'>;
    try {
      reply = await session.requester.request(
        { type: 'msg_send', algorithm, signature, batch: batch.batch, messages },
        'msg_ack',
      );
    } catch (error) {
      return this.#refused(session, batch, ChatError.from(error));
    }
    this.#accept(session, batch, reply);
    return true;
  }

  /** The batch on disk, made for this log. */
  #staged(session: Session): StagedBatch | null {
    const batch = this.#vault.outbox();
    if (batch === null) return null;
    const bs = decodeBs(batch.batch);
    const audience = audienceOf(session.log.origin);
    // Also if the certificate before the renewal has signed it: the log may hold it, and only its acknowledgement was lost.
    if (equal(bs.audience, audience)) return batch;
    if (!this.#isOwn(batch)) {
      this.#vault.unstage(false);
      return null;
    }
    // The statements stay what they are, so that a reader who finds them in both logs knows them for the same.
    const renewed = encodeBs({ ...bs, audience, signTime: this.#now() });
    const signed = { ...batch, ...sign(this.#signer.privateKey, CONTEXT.senderBatch, renewed), batch: renewed };
    this.#vault.stage(signed);
    return signed;
  }

  async #compose(session: Session): Promise<StagedBatch | null> {
    const conversations = new Map<string, Conversation>();
    const sendable: Message[] = [];
    while (sendable.length === 0) {
      const taken = fillBatch(this.#vault.waiting(MAX_BATCH_MESSAGES, MAX_SEND_BYTES));
      if (taken.length === 0) return null;
      for (const message of taken) {
        const key = hex(message.conversation);
        // Once refused, its messages have failed and wait no more.
        const conversation = conversations.get(key) ?? (await this.#trusted(session, message.conversation));
        if (conversation === null) continue;
        conversations.set(key, conversation);
        sendable.push(message);
      }
      if (this.#session !== session) return null;
    }
    const batch = composeBatch(
      this.#signer,
      this.#vault.session(this.#signer.fingerprint),
      sendable,
      conversations,
      sendable.map(() => randomBytes(COMMITMENT_KEY_BYTES)),
      session.log.origin,
      this.#now(),
    );
    this.#vault.stage(batch);
    this.#sizeAtSend = session.log.newestSize;
    return batch;
  }

  /** Null when the server names devices that are not its members': nothing is signed for such an audience. */
  async #trusted(session: Session, id: ConversationId): Promise<Conversation | null> {
    try {
      return await session.rosters.trusted(id);
    } catch (cause) {
      const error = ChatError.from(cause);
      if (error.code !== 'BAD_CERT' && error.code !== 'NOT_FOUND' && error.code !== 'SIG_FAIL') throw error;
      for (const message of this.#vault.waiting(MAX_BATCH_MESSAGES, MAX_SEND_BYTES))
        if (equal(message.conversation, id)) this.#fail([message.row], error.code);
      this.#events.warn(`not sent: ${error.message}`);
      return null;
    }
  }

  #accept(session: Session, batch: StagedBatch, reply: Reply<'msg_ack'>): void {
    const ack = decodeAck(reply.ack);
    const sent = {
      algorithm: batch.algorithm,
      signature: batch.signature,
      bs: batch.batch,
      messages: batch.messages.map(({ statement }) => statement),
    };
    const receipt = checkAck(ack, sent, session.log.key, session.requester.noteBefore(reply));
    if (reply.messages.length !== batch.rows.length)
      throw new ChatError('BAD_FRAME', 'places for another number of messages', { field: 'msg_ack.messages' });
    const before = this.#sizeAtSend;
    if (before !== null && receipt.first < before)
      throw new ChatError('ROLLBACK', `the server's record has shrunk: it had ${before} entries before this message`, {
        sub: 'shrunk',
      });
    const seqs = reply.messages.map(({ seq }) => seq);
    const evidence = {
      algorithm: batch.algorithm,
      signature: batch.signature,
      batch: batch.batch,
      ack: reply.ack,
      note: Buffer.from(receipt.note).toString('utf8'),
      items: sent.messages.map((statement) => ({ statement })),
    };
    session.log.keep(receipt.checkpoint, receipt.note); // by itself: a fork must leave its proof behind
    this.#vault.accept(batch, session.log.origin, receipt.serverTime, seqs, evidence);
    this.#sizeAtSend = null;
    this.#staleInARow = 0;
    session.prove();
    batch.rows.forEach((row, i) => {
      const message = this.#vault.message(row);
      if (message !== null) this.#events.accepted(message, reply.messages[i]!.queued);
    });
  }

  /** True when there is something to send at once. */
  async #refused(session: Session, batch: StagedBatch, error: ChatError): Promise<boolean> {
    const { code } = error;
    if (this.#session !== session || isBetrayal(error)) throw error;
    if (RETRY.has(code)) {
      this.#later(error.retryAfterMs ?? RETRY_MS);
      return false;
    }
    this.#sizeAtSend = null;
    if (code === 'STALE' && ++this.#staleInARow < MAX_STALE) {
      const ids = new Map(
        batch.messages.map(({ statement }) => decodeMs(statement).conversation).map((id) => [hex(id), id]),
      );
      for (const id of ids.values()) await session.rosters.refresh(id);
      this.#vault.unstage(false);
      return true;
    }
    if (LOST_LINEAGE.has(code) && !this.#hasRestarted) {
      this.#hasRestarted = true;
      this.#events.warn(
        `the server knows other messages of this device than this profile does [${code}]: was it copied, or put back from a backup? Going on in a new session`,
      );
      this.#vault.transaction(() => {
        this.#vault.unstage(false);
        this.#vault.restartSession(this.#signer.fingerprint, true);
      });
      return true;
    }
    if (isLost(code)) throw error;
    if (code === 'SIG_FAIL' && error.sub === 'sender' && !this.#isOwn(batch)) {
      this.#vault.unstage(false); // the log does not have it: signed anew
      return true;
    }
    // Which of them was meant is not said: each goes alone, and only the ones that are refused again have failed.
    if (batch.rows.length > 1) this.#vault.unstage(true);
    else this.#fail(batch.rows, code);
    return true;
  }

  #isOwn({ batch }: StagedBatch): boolean {
    return equal(decodeBs(batch).sender, this.#signer.fingerprint);
  }

  #fail(rows: readonly number[], code: Code): void {
    this.#vault.fail(rows, code);
    for (const row of rows) {
      const message = this.#vault.message(row);
      if (message !== null) this.#events.failed(message);
    }
  }

  #fault(session: Session, error: ChatError): boolean {
    if (this.#session !== session || isLost(error.code)) return false;
    const batch = this.#vault.outbox();
    const subject = batch === null ? 'outbox' : hex(leafHash(batch.batch) as Hash);
    session.fault(error, subject, encode((batch ?? {}) as unknown as Encodable));
    return false;
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
