/**
 * Messages that the log alone brought back after a crash. Their senders still have the contents, and repeat them as soon as they are
 * connected again. Meanwhile the groups of their conversations do not go on: a member keeps the keys of two epochs that are over, so whoever
 * got such a message behind three commits could not read it. A sender who stays away is not waited for any longer after a while.
 */
import { hex, type ConversationId } from '../base/bytes.ts';
import type { IncompleteMessage } from '../store/contract/log.ts';

/** From the start of the server on. A client tries again within seconds; members give up a group that leads nowhere after 30 s. */
export const AWAITED_MS = 15_000;

export class Incomplete {
  /** conversation → indexes in the log */
  readonly #awaited = new Map<string, Set<number>>();
  #until = 0;

  /** @param until Unix ms */
  begin(messages: readonly IncompleteMessage[], until: number): void {
    this.#until = until;
    for (const { conversation, index } of messages) {
      const indexes = this.#awaited.get(hex(conversation));
      if (indexes) indexes.add(index);
      else this.#awaited.set(hex(conversation), new Set([index]));
    }
  }

  /** Its content has come. */
  completed(conversation: ConversationId, index: number): void {
    const indexes = this.#awaited.get(hex(conversation));
    indexes?.delete(index);
    if (indexes?.size === 0) this.#awaited.delete(hex(conversation));
  }

  /** Whether something of this conversation is still waited for. @param now Unix ms */
  concerns(conversation: ConversationId, now: number): boolean {
    this.#until = Math.min(this.#until, now + AWAITED_MS); // a clock that was set back makes it no longer
    if (now >= this.#until) this.#awaited.clear();
    return this.#awaited.size > 0 && this.#awaited.has(hex(conversation));
  }
}
