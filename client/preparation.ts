/**
 * A group before something is written in it: looked at, and the commit made that has to go first. What cannot be written in now waits by itself, or
 * its messages have failed and their writer is told; what of it is a lie is kept as evidence. Which of them are looked at, and when, is the
 * composer's to say.
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import { encode } from '../base/cbor.ts';
import { ChatError, type Code } from '../base/errors.ts';
import type { BatchWriter } from './batch-writer.ts';
import type { DeviceKeys } from './device.ts';
import { MAX_ADDS } from './e2ee/conversation.ts';
import type { GroupPlanner, Plan } from './group-plan.ts';
import { isSelf } from './group-rules.ts';
import type { Groups } from './groups.ts';
import type { KeyUpkeep } from './key-upkeep.ts';
import type { Pauses } from './pauses.ts';
import type { Conversation } from './roster.ts';
import type { Session } from './session.ts';
import type { StagedBatch } from './staged-batch.ts';
import type { Vault } from './vault.ts';
import type { Reason, WantedGroups } from './wanted-groups.ts';

export interface PreparationEvents {
  /** nothing is signed for such an audience: the messages of the conversation have failed */
  refused(id: ConversationId, code: Code): void;
  warn(sentence: string): void;
  /** its group, which was wanted, needs nothing, or nothing can be done about it now */
  idle(id: ConversationId): void;
}

/** What it works with, beside the groups themselves. */
export interface PreparationParts {
  readonly planner: GroupPlanner;
  readonly writer: BatchWriter;
  readonly wanted: WantedGroups;
  readonly pauses: Pauses;
  readonly upkeep: KeyUpkeep;
}

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

export class Preparation {
  readonly #vault: Vault;
  readonly #groups: Groups;
  readonly #devices: DeviceKeys;
  readonly #planner: GroupPlanner;
  readonly #writer: BatchWriter;
  readonly #wanted: WantedGroups;
  readonly #pauses: Pauses;
  readonly #upkeep: KeyUpkeep;
  readonly #events: PreparationEvents;
  readonly #warned = new Set<string>();

  constructor(
    vault: Vault,
    groups: Groups,
    devices: DeviceKeys,
    { planner, writer, wanted, pauses, upkeep }: PreparationParts,
    events: PreparationEvents,
  ) {
    this.#vault = vault;
    this.#groups = groups;
    this.#devices = devices;
    this.#planner = planner;
    this.#writer = writer;
    this.#wanted = wanted;
    this.#pauses = pauses;
    this.#upkeep = upkeep;
    this.#events = events;
  }

  /** Answers the commit that has to go first, if there is one. */
  async prepare(session: Session, id: ConversationId): Promise<'ready' | 'later' | StagedBatch> {
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
      if (LATER.has(error.code)) this.#pauses.add(id, error.retryAfterMs ?? 0);
      else if (FINAL.has(error.code) || error.sub === 'fingerprint') {
        const isDone = this.#wanted.done(id, reason);
        this.#events.refused(id, error.code);
        this.#events.warn(`not sent: ${error.message}`);
        if (isDone) this.#events.idle(id);
      } else if (VERDICTS.has(error.code)) {
        session.alarm(error, `group of ${hex(id)}`, encode(id));
        this.#pauses.add(id);
      } else throw error;
      return 'later';
    }
  }

  /** The commit that replaces keys there though nothing is to be written, unless it has to wait: for others, for a better answer, or for ever in a room that this device has left. */
  async tend(session: Session, id: ConversationId): Promise<StagedBatch | null> {
    this.#upkeep.defer(id);
    try {
      const roster = await session.rosters.trusted(id);
      if (roster.room?.closed === true) return null;
      if (isSelf(roster)) {
        this.#upkeep.drop(id); // it is made anew for whatever is handed over next
        return null;
      }
      const engine = await this.#groups.engine(session);
      const device = await this.#groups.exclusively(session, [id], (e) => this.#devices.ready(session, e));
      const plan = await this.#planner.plan(session, engine, roster, device);
      if (plan.kind === 'wait' || plan.kind === 'ready') return null;
      const commit = await this.#commit(session, id, plan);
      this.#upkeep.tended(id);
      return commit;
    } catch (cause) {
      const error = ChatError.from(cause);
      if (VERDICTS.has(error.code) && error.code !== 'NOT_FOUND')
        session.alarm(error, `group of ${hex(id)}`, encode(id));
      else if (!LATER.has(error.code) && !FINAL.has(error.code)) {
        if (isOutdated(error)) this.#upkeep.resume(id);
        throw error;
      }
      return null;
    }
  }

  #waits(roster: Conversation, plan: Extract<Plan, { kind: 'wait' }>, reason: Reason | undefined): 'later' {
    const { id, peer, room, members } = roster;
    if (plan.why === 'asked') {
      this.#pauses.until(id, plan.until);
      return 'later';
    }
    const { why } = plan;
    if (isSelf(roster) && !this.#vault.outgoing.isWaiting(id)) {
      this.#wanted.done(id, reason); // the device that has something to hand over makes the group
      return 'later';
    }
    // Others have to do something first, and that will be heard.
    if (room !== undefined && why !== 'no_group_info' && this.#wanted.done(id, reason)) this.#events.idle(id);
    if (room !== undefined && why !== 'no_group_info' && !this.#vault.outgoing.isWaiting(id)) return 'later';
    this.#pauses.add(id);
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
      if (plan.kind === 'change' && plan.add.length + plan.remove.length === 0) this.#upkeep.renews(id);
      return batch;
    } catch (cause) {
      const error = ChatError.from(cause);
      if (plan.kind !== 'enter' || !VERDICTS.has(error.code)) throw error;
      this.#planner.doors.shut(id, plan.door);
      throw FINAL.has(error.code) ? new ChatError('DECRYPT_FAIL', error.message, { sub: 'group_info', cause }) : error;
    }
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

/** The group, or who is in it, has changed since it was looked at. */
export const isOutdated = (error: unknown): boolean =>
  error instanceof ChatError && error.code === 'STALE' && error.sub === 'epoch';
