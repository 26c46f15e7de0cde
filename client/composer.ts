/**
 * What is sent next: a commit that makes, enters or changes the group of a conversation, or else a batch of sealed messages and receipts; the
 * batch writer makes and stages it. A conversation that cannot be written in now waits by itself, and holds up no other.
 */
import { equal, hex, type ConversationId } from '../base/bytes.ts';
import { encode } from '../base/cbor.ts';
import { ChatError, type Code } from '../base/errors.ts';
import { MAX_BATCH_MESSAGES, MAX_SEND_BYTES } from '../protocol/messages.ts';
import { BatchWriter } from './batch-writer.ts';
import type { DeviceKeys } from './device.ts';
import { MAX_ADDS } from './e2ee/conversation.ts';
import { GroupPlanner, type Plan, type Wishes } from './group-plan.ts';
import { isSelf } from './group-rules.ts';
import type { Groups } from './groups.ts';
import type { Lobby } from './lobby.ts';
import { Pauses } from './pauses.ts';
import type { Session } from './session.ts';
import { ReceiptTurns } from './receipt-turns.ts';
import { fillBatch, type Signer } from './statements.ts';
import { deviceCount, type Conversation } from './roster.ts';
import type { StagedBatch } from './staged-batch.ts';
import type { Vault } from './vault.ts';
import { WantedGroups, type Reason } from './wanted-groups.ts';

export interface ComposerEvents {
  /** nothing is signed for such an audience: the messages of the conversation have failed */
  refused(id: ConversationId, code: Code): void;
  warn(sentence: string): void;
  /** its group, which was wanted, needs nothing, or nothing can be done about it now */
  idle(id: ConversationId): void;
}

/** Before keys that could not be replaced are tried again. */
const UPKEEP_PAUSE_MS = 3_600_000;
/** Times in a row that groups may change between plan and deed, before the one that did so last waits. */
const MAX_OUTDATED = 5;
/** Conversations that are looked at in vain before what can be sent is: each may cost a request or two. */
const MAX_VAIN = 8;
/** What says something about the group, and nothing about the connection or this machine. */
const VERDICTS: ReadonlySet<Code> = new Set<Code>([
  'DECRYPT_FAIL',
  'SIG_FAIL',
  'BAD_CERT',
  'BAD_FRAME',
  'TOO_LARGE',
  'NOT_FOUND',
]);
/** What is refused now and will be: the messages have failed, and their writer decides. */
const FINAL: ReadonlySet<Code> = new Set<Code>(['BAD_CERT', 'NOT_FOUND', 'NOT_CONTACT', 'BLOCKED']);
const LATER: ReadonlySet<Code> = new Set<Code>(['RATE_LIMIT', 'UNAVAILABLE', 'QUOTA']);

export class Composer {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #devices: DeviceKeys;
  readonly #planner: GroupPlanner;
  readonly #writer: BatchWriter;
  readonly #receipts: ReceiptTurns;
  readonly #events: ComposerEvents;
  readonly #now: () => number;
  readonly #wanted: WantedGroups;
  readonly #pauses: Pauses;
  readonly #warned = new Set<string>();
  /** conversation → until when nothing is done for its keys alone */
  readonly #deferred = new Map<string, number>();
  /** the conversation of a commit that only replaces keys, which nobody has asked for */
  #upkeep: ConversationId | null = null;
  /** What was sent last was such a commit: they take turns with what is to be written. */
  #wasUpkeep = false;
  /** the conversation of a commit that only replaces keys, for whatever reason */
  #renewing: ConversationId | null = null;
  /** The session of this device is to end with what waits now; after that nothing is said on this connection. */
  #ending: 'no' | 'asked' | 'done' = 'no';

  constructor(
    vault: Vault,
    groups: Groups,
    devices: DeviceKeys,
    lobby: Pick<Lobby, 'guests' | 'waitsUntil'>,
    signer: Signer,
    events: ComposerEvents,
    now: () => number,
  ) {
    this.#vault = vault;
    this.#groups = groups;
    this.#devices = devices;
    const wishes: Wishes = {
      invited: (id) => [...vault.rooms.invited(id), ...lobby.guests(id)],
      approved: () => vault.handovers.targets(),
      isDue: (id) => vault.freshness.isDue(id, now()),
      waitsUntil: (id) => lobby.waitsUntil(id),
    };
    this.#planner = new GroupPlanner(groups, signer.fingerprint, wishes, now);
    this.#writer = new BatchWriter(vault, groups, devices, signer, now);
    this.#receipts = new ReceiptTurns(vault.receipts);
    this.#events = events;
    this.#now = now;
    this.#wanted = new WantedGroups(vault.rooms, now);
    this.#pauses = new Pauses(now);
  }

  /** Another connection: what could not be done may be possible now. */
  begin(): void {
    this.#pauses.endAll();
    this.#deferred.clear();
    this.#wanted.begin();
    this.#planner.forget();
    this.#receipts.begin();
    this.#ending = 'no';
  }
  /** The session ends when nothing else can be sent. */
  end(): void {
    if (this.#ending === 'no') this.#ending = 'asked';
  }
  /** What this device has to say about what it has received goes now, also if nothing else does. */
  receipt(): void {
    this.#receipts.call();
  }
  /** One may have been refused: each goes alone, until all have gone. */
  receiptAlone(): void {
    this.#receipts.separate();
  }
  /** Once on each connection, or whenever there is a new reason. Answers whether that is news. */
  want(id: ConversationId, isNewReason: boolean): boolean {
    if (!this.#wanted.add(id, isNewReason)) return false;
    if (isNewReason) this.#pauses.end(id);
    return true;
  }
  /** The conversation waits for a while, each time for longer. */
  pause(id: ConversationId, atLeastMs = 0): void {
    this.#pauses.add(id, atLeastMs);
  }
  /** The same for so long, and nothing was in vain. */
  rest(id: ConversationId, ms: number): void {
    this.#pauses.until(id, this.#now() + ms);
  }
  /** Whether the commit that was refused only replaces keys: then it waits in silence, and nobody else has to. */
  defers(id: ConversationId): boolean {
    if (this.#upkeep === null || !equal(this.#upkeep, id)) return false;
    this.#deferred.set(hex(id), this.#now() + UPKEEP_PAUSE_MS);
    return true;
  }
  /** Others have changed the group before the commit came that was refused: if it only replaces keys, what is to be written goes first. */
  overtaken(id: ConversationId): void {
    if (this.#renewing !== null && equal(this.#renewing, id)) this.#vault.freshness.overtaken(id, this.#now());
  }
  /** Unix ms at which something that waits can be tried again, or keys are to be replaced; null: nothing waits. */
  get nextTry(): number | null {
    const now = this.#now();
    const due = this.#vault.freshness.next(now);
    const untils = this.#pauses.ends;
    const later = [...this.#deferred.values(), ...(due === null ? [] : [due])].filter((until) => until > now);
    const all = [...untils, ...later, ...this.#wanted.looks];
    return all.length === 0 ? null : Math.min(...all);
  }

  /** The next batch, staged; null when nothing can be sent now. @throws what has nothing to do with one conversation alone */
  async next(session: Session): Promise<StagedBatch | null> {
    /** conversations that have to wait, as was found here */
    const later = new Set<string>();
    this.#upkeep = this.#renewing = null; // nothing is staged
    const isIdle = (id: ConversationId): boolean => !this.#wanted.has(id) && !this.#vault.isWaiting(id);
    for (let outdated = 1; ;) {
      if (this.#ending === 'done') return null;
      const wanted = this.#wanted.all();
      const paused = this.#pauses.look(MAX_VAIN, isIdle, later);
      const isPaused = new Set(paused.map(hex));
      const waiting = this.#vault.waiting(MAX_BATCH_MESSAGES, MAX_SEND_BYTES, paused);
      const taken = fillBatch(waiting, (id) => deviceCount(this.#vault.conversation(id)));
      const sought = [
        ...taken.map(({ conversation }) => conversation),
        ...wanted.filter((id) => !isPaused.has(hex(id))),
      ];
      const all = new Map(sought.map((id) => [hex(id), id]));
      const [vain, others] = partition([...all.values()], (id) => this.#pauses.has(id));
      const upkeep = this.#due(isPaused).filter((id) => !all.has(hex(id)));
      const ready = new Set<string>();
      let concerned: readonly ConversationId[] = [];
      let left = MAX_VAIN;
      try {
        const isTheirTurn = !this.#wasUpkeep || all.size === 0;
        const tended = isTheirTurn ? upkeep.slice(0, MAX_VAIN) : [];
        this.#wasUpkeep = false;
        for (const id of tended) {
          concerned = [id];
          const commit = await this.#tend(session, id);
          this.#wasUpkeep = commit !== null;
          if (commit !== null) return commit;
        }
        for (const id of [...others, ...vain]) {
          if (left === 0) break;
          concerned = [id];
          const result = await this.#prepare(session, id);
          if (result === 'ready') ready.add(hex(id));
          else if (result !== 'later') return result;
          else if (left-- > 0) later.add(hex(id));
        }
        const { messages, receipts } = this.#receipts.with(taken.filter((each) => ready.has(hex(each.conversation))));
        if (messages.length + receipts.length > 0) {
          concerned = messages.map(({ conversation }) => conversation);
          return await this.#writer.messages(session, messages, receipts);
        }
        // What stands behind those that wait has its turn, and what was written meanwhile.
        if (left === MAX_VAIN && tended.length === upkeep.length) return this.#close(session);
      } catch (error) {
        if (!isOutdated(error)) throw error;
        // Others are faster, each time. That is no fault of anybody's.
        if (outdated++ % MAX_OUTDATED === 0) for (const id of concerned) this.pause(id);
      }
    }
  }

  /** Groups in which keys have to be replaced though nothing is to be written. */
  #due(isPaused: ReadonlySet<string>): ConversationId[] {
    const now = this.#now();
    return this.#vault.freshness
      .due(now)
      .filter((id) => (this.#deferred.get(hex(id)) ?? 0) <= now && !isPaused.has(hex(id)));
  }

  /** The commit that does it, unless it has to wait: for others, for a better answer, or for ever in a room that this device has left. */
  async #tend(session: Session, id: ConversationId): Promise<StagedBatch | null> {
    this.#deferred.set(hex(id), this.#now() + UPKEEP_PAUSE_MS);
    try {
      const roster = await session.rosters.trusted(id);
      if (roster.room?.closed === true) return null;
      if (isSelf(roster)) {
        this.#vault.freshness.drop(id); // it is made anew for whatever is handed over next
        return null;
      }
      const engine = await this.#groups.engine(session);
      const device = await this.#groups.exclusively(session, [id], (e) => this.#devices.ready(session, e));
      const plan = await this.#planner.plan(session, engine, roster, device);
      if (plan.kind === 'wait' || plan.kind === 'ready') return null;
      const commit = await this.#commit(session, id, plan);
      this.#upkeep = id;
      this.#deferred.delete(hex(id));
      return commit;
    } catch (cause) {
      const error = ChatError.from(cause);
      if (VERDICTS.has(error.code) && error.code !== 'NOT_FOUND')
        session.alarm(error, `group of ${hex(id)}`, encode(id));
      else if (!LATER.has(error.code) && !FINAL.has(error.code)) {
        if (isOutdated(error)) this.#deferred.delete(hex(id));
        throw error;
      }
      return null;
    }
  }

  /** Answers the commit that has to go first, if there is one. */
  async #prepare(session: Session, id: ConversationId): Promise<'ready' | 'later' | StagedBatch> {
    const reason = this.#wanted.reason(id);
    try {
      const roster = await session.rosters.trusted(id);
      if (roster.room?.closed === true) throw new ChatError('NOT_FOUND', `you are not in ${roster.peer} any more`);
      const engine = await this.#groups.engine(session);
      const device = await this.#groups.exclusively(session, [id], (e) => this.#devices.ready(session, e));
      const plan = await this.#planner.plan(session, engine, roster, device);
      this.#wanted.looked(id);
      if (plan.kind === 'wait') {
        // Another device may come, and nothing is sent by which the server could say that it is there: the next look has to know it.
        const isAlone = plan.why === 'no_device';
        return this.#waits(isAlone ? await session.rosters.refresh(id) : roster, plan, reason);
      }
      const commit = plan.kind === 'ready' ? null : await this.#commit(session, id, plan);
      // Of more than one commit has room for, the rest goes with the next one.
      const isDone = !(plan.kind === 'change' && plan.add.length === MAX_ADDS) && this.#wanted.done(id, reason);
      if (commit !== null) return commit;
      this.#pauses.end(id);
      if (isDone) this.#events.idle(id);
      return 'ready';
    } catch (cause) {
      const error = ChatError.from(cause);
      if (LATER.has(error.code)) this.pause(id, error.retryAfterMs ?? 0);
      else if (FINAL.has(error.code) || error.sub === 'fingerprint') {
        const isDone = this.#wanted.done(id, reason);
        this.#events.refused(id, error.code);
        this.#events.warn(`not sent: ${error.message}`);
        if (isDone) this.#events.idle(id);
      } else if (VERDICTS.has(error.code)) {
        session.alarm(error, `group of ${hex(id)}`, encode(id));
        this.pause(id);
      } else throw error;
      return 'later';
    }
  }

  #waits(roster: Conversation, plan: Extract<Plan, { kind: 'wait' }>, reason: Reason | undefined): 'later' {
    const { id, peer, room, members } = roster;
    if (plan.why === 'asked') {
      this.#pauses.until(id, plan.until);
      return 'later';
    }
    const { why } = plan;
    if (isSelf(roster) && !this.#vault.isWaiting(id)) {
      this.#wanted.done(id, reason); // the device that has something to hand over makes the group
      return 'later';
    }
    // Others have to do something first, and that will be heard.
    if (room !== undefined && why !== 'no_group_info' && this.#wanted.done(id, reason)) this.#events.idle(id);
    if (room !== undefined && why !== 'no_group_info' && !this.#vault.isWaiting(id)) return 'later';
    this.pause(id);
    // Whoever has an account has had a device: one that is not listed any more is revoked, or has expired.
    const isOver =
      why === 'no_device' && room === undefined && !members.some((m) => m.username === peer && m.devices.length > 0);
    const key = `${hex(id)} ${isOver ? 'over' : why}`;
    if (why !== 'no_group_info' && this.#warned.size !== this.#warned.add(key).size)
      this.#events.warn(
        isSelf(roster)
          ? 'the device that you approved has not published what it takes to hand it something: it has to connect once more'
          : `${isOver ? `every device of ${peer} is revoked or has expired` : waiting(peer, why)}: what you write waits`,
      );
    return 'later';
  }

  /** @throws DECRYPT_FAIL/group_info for a state of the group that lets nobody in, whatever is wrong with it */
  async #commit(
    session: Session,
    id: ConversationId,
    plan: Exclude<Plan, { kind: 'ready' | 'wait' }>,
  ): Promise<StagedBatch> {
    try {
      const batch = await this.#writer.commit(session, id, plan);
      if (plan.kind === 'change' && plan.add.length + plan.remove.length === 0) this.#renewing = id;
      return batch;
    } catch (cause) {
      const error = ChatError.from(cause);
      if (plan.kind !== 'enter' || !VERDICTS.has(error.code)) throw error;
      this.#planner.shut(id, plan.door);
      throw FINAL.has(error.code) ? new ChatError('DECRYPT_FAIL', error.message, { sub: 'group_info', cause }) : error;
    }
  }

  /** Nothing to close in a session that has said nothing. */
  #close(session: Session): StagedBatch | null {
    if (this.#ending !== 'asked') return null;
    this.#ending = 'done';
    return this.#writer.close(session);
  }
}

function waiting(peer: string, why: 'no_device' | 'alone' | 'not_let_in'): string {
  switch (why) {
    case 'no_device':
      return `${peer} has no device that can read encrypted messages yet`;
    case 'alone':
      return `nobody else can read in ${peer} yet`;
    case 'not_let_in':
      return `no member of ${peer} has let this device in yet`;
  }
}

/** Those for which it holds, and the others. */
function partition<T>(all: readonly T[], holds: (one: T) => boolean): [T[], T[]] {
  return [all.filter(holds), all.filter((one) => !holds(one))];
}

const isOutdated = (error: unknown): boolean =>
  error instanceof ChatError && error.code === 'STALE' && error.sub === 'epoch';
