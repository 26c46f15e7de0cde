/** What the server says that it cannot do now is asked again on the same connection, about as long as a request may stay without an answer. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ChatError } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import { isPassing, waitMs } from './refusals.ts';
import type { Session } from './session.ts';

/** All waits together, ms. */
const PATIENCE_MS = 60_000;

/** For one thing that is asked. */
export class Patience {
  #leftMs = PATIENCE_MS;

  /** Resolves when it is time to ask again. @throws what it was refused with, if that does not go away in time, or the connection ends */
  async wait({ requester }: Session, cause: unknown): Promise<void> {
    const error = ChatError.from(cause);
    if (error.cause !== REPORTED || !isPassing(error)) throw error;
    const ms = waitMs(error);
    this.#leftMs -= ms;
    if (this.#leftMs < 0) throw error;
    const over = new AbortController();
    const isOver = await Promise.race([
      requester.link.closed.then(() => true),
      sleep(ms, false, { signal: over.signal }).catch(() => false),
    ]);
    over.abort();
    if (isOver) throw error;
  }
}
