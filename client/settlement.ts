/** Waiting for a change of a room at the server to become one of its group. */
import { equal, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Listeners } from './listeners.ts';

/** How long it may take. */
const SETTLE_MS = 30_000;

/** Resolves with true when it is so; with false when nothing more happens to the group now. @throws NOT_REACHED; what the connection was lost for */
export function settlement(listeners: Listeners, id: ConversationId, isSo: () => boolean): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const done = (outcome: () => void): void => {
      clearTimeout(timer);
      stop();
      outcome();
    };
    const late = (): void =>
      done(() =>
        reject(
          new ChatError('NOT_REACHED', 'it is done at the server, and the group of the room has not followed yet'),
        ),
      );
    const timer = setTimeout(late, SETTLE_MS);
    const stop = listeners.on((event) => {
      if (event.on === 'lost') return done(() => reject(event.error));
      if (event.on !== 'group' || !equal(event.conversation, id)) return;
      if (isSo()) done(() => resolve(true));
      else if (event.isIdle) done(() => resolve(false));
    });
  });
}
