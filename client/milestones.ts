/** Waiting for what becomes of an own message: accepted, delivered, read, or failed. */
import { ChatError, CODES } from '../base/errors.ts';
import type { Message, MessageState } from './message-table.ts';
import type { Vault } from './vault.ts';

/** What becomes of it, in this order. */
const LADDER: readonly MessageState[] = ['accepted', 'delivered', 'read'];
export type Milestone = 'accepted' | 'delivered' | 'read';

export class Milestones {
  readonly #vault: Vault;
  readonly #events: MilestoneEvents;
  /** ends each wait that is under way, whose timer would else hold the process and then ask a closed store */
  readonly #waits = new Set<() => void>();

  constructor(vault: Vault, events: MilestoneEvents) {
    this.#vault = vault;
    this.#events = events;
  }

  /**
   * Resolves when the message is accepted, delivered, or read.
   * @throws what it was refused for; NOT_REACHED after `timeoutMs`; what ended the connection for good
   */
  reached(row: number, want: Milestone, timeoutMs: number): Promise<Message> {
    return new Promise((resolve, reject) => {
      const done = (outcome: () => void): void => {
        clearTimeout(timer);
        stop();
        this.#waits.delete(leave);
        outcome();
      };
      const check = (): void => {
        const message = this.#vault.message(row);
        if (message === null) return;
        if (LADDER.indexOf(message.state) >= LADDER.indexOf(want)) return done(() => resolve(message));
        if (message.state === 'failed') return done(() => reject(failure(message)));
        const down = this.#events.down();
        if (down !== null) done(() => reject(down));
      };
      const late = (): void =>
        done(() => {
          const at = LADDER.indexOf(this.#vault.message(row)?.state ?? 'waiting');
          const missed = `not ${LADDER[at + 1]} yet`;
          // It goes by itself: whoever sends it again has said it twice.
          const state =
            at < 0 ? `kept, ${missed}: it is sent as soon as the server takes it` : `${LADDER[at]}, ${missed}`;
          reject(new ChatError('NOT_REACHED', `the message is ${state}`));
        });
      const leave = (): void => done(() => reject(new ChatError('INTERRUPTED', 'the client was closed')));
      const timer = setTimeout(late, timeoutMs);
      const stop = this.#events.on(check);
      this.#waits.add(leave);
      check();
    });
  }

  /** Nobody waits any more. */
  close(): void {
    for (const leave of this.#waits) leave();
  }
}

export interface MilestoneEvents {
  /** called whenever something has happened; answers a function that ends it */
  on(look: () => void): () => void;
  /** what ended the connection for good */
  down(): ChatError | null;
}

function failure(message: Message): ChatError {
  const code = message.reason !== null && Object.hasOwn(CODES, message.reason) ? message.reason : 'NOT_REACHED';
  const why =
    message.reason === 'EXPIRED' ? 'it waited too long for the recipient and was dropped' : 'the server refused it';
  return new ChatError(code as keyof typeof CODES, `the message failed: ${why}`);
}
