/**
 * What is sent next, and whose turn it is: a commit that makes, enters or changes the group of a conversation, or else a batch of sealed messages
 * and receipts, which batch-writer.ts makes. A conversation that cannot be written in now (preparation.ts) waits by itself, and holds up no other.
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import { MAX_BATCH_MESSAGES, MAX_SEND_BYTES } from '../protocol/messages.ts';
import { BatchWriter } from './batch-writer.ts';
import type { DeviceKeys } from './device.ts';
import { GroupPlanner, type Wishes } from './group-plan.ts';
import type { Groups } from './groups.ts';
import { KeyUpkeep } from './key-upkeep.ts';
import type { Lobby } from './lobby.ts';
import { Pauses } from './pauses.ts';
import { isOutdated, Preparation, type PreparationEvents } from './preparation.ts';
import type { Session } from './session.ts';
import { ReceiptTurns } from './receipt-turns.ts';
import { fillBatch, type Signer } from './statements.ts';
import { deviceCount } from './roster.ts';
import type { StagedBatch } from './staged-batch.ts';
import type { Vault } from './vault.ts';
import { WantedGroups } from './wanted-groups.ts';

/** Times in a row that groups may change between plan and deed, before the one that did so last waits. */
const MAX_OUTDATED = 5;
/** Conversations that are looked at in vain before what can be sent is: each may cost a request or two. */
const MAX_VAIN = 8;

export class Composer {
  readonly #vault: Vault;
  readonly #planner: GroupPlanner;
  readonly #writer: BatchWriter;
  readonly #receipts: ReceiptTurns;
  readonly #now: () => number;
  readonly #wanted: WantedGroups;
  readonly #pauses: Pauses;
  readonly #upkeep: KeyUpkeep;
  readonly #preparation: Preparation;
  /** What was sent last was a commit that only replaces keys, which nobody has asked for: they take turns with what is to be written. */
  #wasUpkeep = false;
  /** The session of this device is to end with what waits now; after that nothing is said on this connection. */
  #ending: 'no' | 'asked' | 'done' = 'no';

  constructor(
    vault: Vault,
    groups: Groups,
    devices: DeviceKeys,
    lobby: Pick<Lobby, 'guests' | 'waitsUntil'>,
    signer: Signer,
    events: PreparationEvents,
    now: () => number,
  ) {
    this.#vault = vault;
    const wishes: Wishes = {
      invited: (id) => [...vault.rooms.invited(id), ...lobby.guests(id)],
      approved: () => vault.handovers.targets(),
      isDue: (id) => vault.freshness.isDue(id, now()),
      waitsUntil: (id) => lobby.waitsUntil(id),
    };
    this.#planner = new GroupPlanner(groups, signer.fingerprint, wishes, now);
    this.#writer = new BatchWriter(vault, groups, devices, signer, now);
    this.#receipts = new ReceiptTurns(vault.receipts);
    this.#now = now;
    this.#wanted = new WantedGroups(vault.rooms, now);
    this.#pauses = new Pauses(now);
    this.#upkeep = new KeyUpkeep(vault.freshness, now);
    this.#preparation = new Preparation(
      vault,
      groups,
      devices,
      {
        planner: this.#planner,
        writer: this.#writer,
        wanted: this.#wanted,
        pauses: this.#pauses,
        upkeep: this.#upkeep,
      },
      events,
    );
  }

  /** Another connection: what could not be done may be possible now. */
  begin(): void {
    this.#pauses.endAll();
    this.#upkeep.begin();
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
  /** @see KeyUpkeep.defers */
  defers(id: ConversationId): boolean {
    return this.#upkeep.defers(id);
  }
  /** @see KeyUpkeep.overtaken */
  overtaken(id: ConversationId): void {
    this.#upkeep.overtaken(id);
  }
  /** Unix ms at which something that waits can be tried again, or keys are to be replaced; null: nothing waits. */
  get nextTry(): number | null {
    const all = [...this.#pauses.ends, ...this.#upkeep.tries, ...this.#wanted.looks];
    return all.length === 0 ? null : Math.min(...all);
  }

  /** The next batch, staged; null when nothing can be sent now. @throws what has nothing to do with one conversation alone */
  async next(session: Session): Promise<StagedBatch | null> {
    /** conversations that have to wait, as was found here */
    const later = new Set<string>();
    this.#upkeep.unstaged();
    const isIdle = (id: ConversationId): boolean => !this.#wanted.has(id) && !this.#vault.outgoing.isWaiting(id);
    for (let outdated = 1; ;) {
      if (this.#ending === 'done') return null;
      const wanted = this.#wanted.all();
      const paused = this.#pauses.look(MAX_VAIN, isIdle, later);
      const isPaused = new Set(paused.map(hex));
      const waiting = this.#vault.outgoing.waiting(MAX_BATCH_MESSAGES, MAX_SEND_BYTES, paused);
      const taken = fillBatch(waiting, (id) => deviceCount(this.#vault.conversation(id)));
      const sought = [
        ...taken.map(({ conversation }) => conversation),
        ...wanted.filter((id) => !isPaused.has(hex(id))),
      ];
      const all = new Map(sought.map((id) => [hex(id), id]));
      const [vain, others] = partition([...all.values()], (id) => this.#pauses.has(id));
      const upkeep = this.#upkeep.due(isPaused).filter((id) => !all.has(hex(id)));
      const ready = new Set<string>();
      let concerned: readonly ConversationId[] = [];
      let left = MAX_VAIN;
      try {
        const isTheirTurn = !this.#wasUpkeep || all.size === 0;
        const tended = isTheirTurn ? upkeep.slice(0, MAX_VAIN) : [];
        this.#wasUpkeep = false;
        for (const id of tended) {
          concerned = [id];
          const commit = await this.#preparation.tend(session, id);
          this.#wasUpkeep = commit !== null;
          if (commit !== null) return commit;
        }
        for (const id of [...others, ...vain]) {
          if (left === 0) break;
          concerned = [id];
          const result = await this.#preparation.prepare(session, id);
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

  /** Nothing to close in a session that has said nothing. */
  #close(session: Session): StagedBatch | null {
    if (this.#ending !== 'asked') return null;
    this.#ending = 'done';
    return this.#writer.close(session);
  }
}

/** Those for which it holds, and the others. */
function partition<T>(all: readonly T[], holds: (one: T) => boolean): [T[], T[]] {
  return [all.filter(holds), all.filter((one) => !holds(one))];
}
