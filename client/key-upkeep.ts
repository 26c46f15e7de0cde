/**
 * Commits that only replace keys (freshness-table.ts says when those are due). One that nobody has asked for gives way: while it cannot be made it is
 * put off, and if it is refused, it waits in silence; nobody else has to.
 */
import { equal, hex, type ConversationId } from '../base/bytes.ts';
import type { FreshnessTable } from './freshness-table.ts';

/** Before keys that could not be replaced are tried again. */
const UPKEEP_PAUSE_MS = 3_600_000;

export class KeyUpkeep {
  readonly #freshness: FreshnessTable;
  readonly #now: () => number;
  /** conversation → until when nothing is done for its keys alone */
  readonly #deferred = new Map<string, number>();
  /** the conversation of the staged commit, if that only replaces keys, and nobody has asked for it */
  #unasked: ConversationId | null = null;
  /** the same, for whatever reason it was made */
  #renewing: ConversationId | null = null;

  constructor(freshness: FreshnessTable, now: () => number) {
    this.#freshness = freshness;
    this.#now = now;
  }

  /** Another connection: what could not be done may be possible now. */
  begin(): void {
    this.#deferred.clear();
  }

  /** Groups in which keys have to be replaced though nothing is to be written. */
  due(isPaused: ReadonlySet<string>): ConversationId[] {
    const now = this.#now();
    return this.#freshness.due(now).filter((id) => (this.#deferred.get(hex(id)) ?? 0) <= now && !isPaused.has(hex(id)));
  }
  /** Unix ms at which keys are to be replaced, or it can be tried again. */
  get tries(): number[] {
    const now = this.#now();
    const due = this.#freshness.next(now);
    return [...this.#deferred.values(), ...(due === null ? [] : [due])].filter((until) => until > now);
  }

  /** It is begun, and not again for long, unless it is resumed. */
  defer(id: ConversationId): void {
    this.#deferred.set(hex(id), this.#now() + UPKEEP_PAUSE_MS);
  }
  resume(id: ConversationId): void {
    this.#deferred.delete(hex(id));
  }
  /** Its keys are replaced with whatever is handed over next. */
  drop(id: ConversationId): void {
    this.#freshness.drop(id);
  }

  /** No batch is staged. */
  unstaged(): void {
    this.#unasked = this.#renewing = null;
  }
  /** A commit that only replaces keys is. */
  renews(id: ConversationId): void {
    this.#renewing = id;
  }
  /** A commit is that nobody has asked for. */
  tended(id: ConversationId): void {
    this.#unasked = id;
    this.resume(id);
  }
  /** Whether the commit that was refused is one that nobody has asked for: then it waits in silence. */
  defers(id: ConversationId): boolean {
    if (this.#unasked === null || !equal(this.#unasked, id)) return false;
    this.defer(id);
    return true;
  }
  /** Others have changed the group before the commit came that was refused: if it only replaces keys, what is to be written goes first. */
  overtaken(id: ConversationId): void {
    if (this.#renewing !== null && equal(this.#renewing, id)) this.#freshness.overtaken(id, this.#now());
  }
}
