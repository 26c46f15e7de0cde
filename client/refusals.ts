/**
 * What becomes of a batch that the server has refused for its own sake: it is withdrawn and made anew once what it was made from is known
 * better, or it waits, or its messages have failed and their writer is told. How often that was in vain is remembered here, so that nothing
 * goes round for ever.
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import { ChatError, type Code } from '../base/errors.ts';
import { decodeMs } from '../transcript/statement.ts';
import type { Composer } from './composer.ts';
import { epochOf } from './e2ee/held.ts';
import type { Groups } from './groups.ts';
import type { Message } from './message-table.ts';
import { LONGEST_WAIT_MS } from './requester.ts';
import type { Session } from './session.ts';
import type { Stage } from './stage.ts';
import { commitOf, concernedBy, conversationsOf, openings, type StagedBatch } from './staged-batch.ts';
import type { Vault } from './vault.ts';

export interface RefusalEvents {
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
/** How long it takes them, if the server does not say. */
const RETRY_MS = 1000;
/** And at least, whatever it says: a batch is not for asking all the time. */
const SHORTEST_WAIT_MS = 50;
/** Times in a row that the devices of a conversation may be others than it was signed for, before it is tried less often. */
const MAX_STALE = 5;
/** Times that a group may be out of date though nothing new comes in, before this device comes in anew, and before it is tried less often. */
const MAX_STUCK = 3;
const LONGEST_REST_MS = 30_000;

export class Refusals {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #stage: Stage;
  readonly #composer: Composer;
  readonly #events: RefusalEvents;
  #hasRestarted = false;
  /** conversation → how often in a row its devices were others */
  readonly #stale = new Map<string, number>();
  /** conversation → how often in a row the server knew another state of its group, and nothing new came */
  readonly #stuck = new Map<string, number>();
  /** the same, also after this device has tried to come in anew */
  readonly #vain = new Map<string, number>();

  constructor(vault: Vault, groups: Groups, stage: Stage, composer: Composer, events: RefusalEvents) {
    this.#vault = vault;
    this.#groups = groups;
    this.#stage = stage;
    this.#composer = composer;
    this.#events = events;
  }

  /** Another connection. */
  begin(): void {
    this.#hasRestarted = false;
  }
  /** The server has taken it: what was in vain before does not count. */
  accepted(batch: StagedBatch): void {
    for (const id of conversationsOf(batch))
      for (const times of [this.#stale, this.#stuck, this.#vain]) times.delete(hex(id));
  }

  /**
   * Afterwards there is something to send at once.
   * @param error not the end of the connection, and isPassing() only of one conversation
   * @throws what the server is asked for then is refused with; the batch is withdrawn all the same
   */
  async settle(session: Session, batch: StagedBatch, error: ChatError): Promise<void> {
    const { code, sub } = error;
    if (isIncomplete(error) || isPassing(error)) {
      await this.#stage.withdraw(session, batch);
      this.#stillWanted(batch);
      // Whatever else is in the batch does not wait for it.
      for (const id of concernedBy(error, batch)) this.#composer.rest(id, waitMs(error));
      return;
    }
    if (code === 'STALE' && sub === 'epoch') return this.#catchUp(session, batch);
    if (code === 'STALE') return this.#refresh(session, batch, concernedBy(error, batch));
    if (LOST_LINEAGE.has(code) && !this.#hasRestarted) {
      this.#hasRestarted = true;
      this.#events.warn(
        `the server knows other messages of this device than this profile does [${code}]: was it copied, or put back from a backup? Going on in a new session`,
      );
      return this.#stage.restart(session, batch);
    }
    // The log does not have what the certificate before the renewal has signed: signed anew.
    if (code === 'SIG_FAIL' && sub === 'sender' && !this.#stage.isOwn(batch)) {
      await this.#stage.withdraw(session, batch);
      return this.#stillWanted(batch);
    }
    const id = commitOf(batch);
    if (id !== null) {
      await this.#stage.withdraw(session, batch);
      if (this.#composer.defers(id)) return;
      this.#events.warn(`what you write waits: ${error.message} [${code}]`);
      this.#composer.pause(id, error.retryAfterMs ?? 0);
      return;
    }
    // Which of them was meant is not said: each goes alone, and only the ones that are refused again have failed.
    if (batch.messages.length - openings(batch) > 1) {
      this.#vault.outgoing.unstage(true);
      this.#composer.receiptAlone();
    } else if (batch.rows.length === 1) this.#fail(batch.rows, code);
    else this.#vault.outgoing.dropReceipts(batch);
  }

  /** Nothing is signed for whom a conversation goes to now: what waits in it has failed. */
  abandon(id: ConversationId, code: Code): void {
    this.#fail(this.#vault.outgoing.waitingIn(id), code);
  }

  /** Somebody's devices are others than the batch was made for. In a room where many come and go that may be so many times in a row. */
  async #refresh(session: Session, batch: StagedBatch, concerned: readonly ConversationId[]): Promise<void> {
    await this.#stage.withdraw(session, batch);
    this.#stillWanted(batch);
    for (const id of conversationsOf(batch))
      await session.rosters.refresh(id).catch((cause: unknown) => {
        if (ChatError.from(cause).code !== 'NOT_FOUND') throw cause; // it is closed now, and nothing goes there any more
      });
    for (const id of concerned) {
      const times = (this.#stale.get(hex(id)) ?? 0) + 1;
      this.#stale.set(hex(id), times);
      if (times >= MAX_STALE) this.#composer.pause(id);
    }
  }

  /** The group is in another state than the batch was made in: what made that state is on its way, or was here and has been overlooked. */
  async #catchUp(session: Session, batch: StagedBatch): Promise<void> {
    await this.#stage.withdraw(session, batch);
    this.#stillWanted(batch);
    await session.caughtUp();
    const made = batch.messages.flatMap(({ statement, group }) =>
      group === undefined ? [] : [{ id: decodeMs(statement).conversation, ...group }],
    );
    for (const { id, generation, epoch } of new Map(made.map((each) => [hex(each.id), each])).values()) {
      const now = this.#groups.stored(id);
      const isSame = now.generation === generation && now.conversation !== null && epochOf(now.conversation) === epoch;
      const times = isSame ? (this.#stuck.get(hex(id)) ?? 0) + 1 : 0;
      this.#stuck.set(hex(id), times);
      const furthest = this.#groups.furthest(id);
      const isNews = furthest.generation > generation || (furthest.generation === generation && furthest.epoch > epoch);
      if (isNews) this.#composer.overtaken(id);
      const vain = isNews ? 0 : (this.#vain.get(hex(id)) ?? 0) + 1;
      this.#vain.set(hex(id), vain);
      if (vain > MAX_STUCK) this.#composer.rest(id, Math.min(RETRY_MS * 2 ** (vain - MAX_STUCK - 1), LONGEST_REST_MS));
      if (times < MAX_STUCK) continue;
      this.#stuck.delete(hex(id));
      this.#groups.markBroken(id);
    }
  }

  /** A commit that came too late may have had no message behind it that would ask for it again, whatever becomes of the questions that follow. */
  #stillWanted(batch: StagedBatch): void {
    const id = commitOf(batch);
    if (id !== null) this.#composer.want(id, true);
  }

  #fail(rows: readonly number[], code: Code): void {
    this.#vault.outgoing.fail(rows, code);
    for (const row of rows) {
      const message = this.#vault.message(row);
      if (message !== null) this.#events.failed(message);
    }
  }
}

/** How long to wait before what was refused is sent again. */
export const waitMs = ({ retryAfterMs = RETRY_MS }: Pick<ChatError, 'retryAfterMs'>): number =>
  Math.min(Math.max(retryAfterMs, SHORTEST_WAIT_MS), LONGEST_WAIT_MS);

/** Whether the same batch, sent again later, may be taken. */
export const isPassing = (error: ChatError): boolean => RETRY.has(error.code) && !isIncomplete(error);

/** The server says of one conversation alone that it cannot now. */
const isIncomplete = ({ code, sub }: ChatError): boolean => code === 'UNAVAILABLE' && sub === 'incomplete';
