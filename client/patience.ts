/** What the server says that it cannot do now is asked again on the same connection, about as long as a request may stay without an answer. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ChatError } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import { isPassing, waitMs } from './refusals.ts';
import type { Session } from './session.ts';

/** All waits for one thing together, ms. */
const PATIENCE_MS = 60_000;

/** @throws what it was refused with, if that does not go away in time, or the connection ends; whatever else `ask` throws */
export async function patiently<T>(session: Pick<Session, 'requester'>, ask: () => Promise<T>): Promise<T> {
  for (let leftMs = PATIENCE_MS; ;)
    try {
      return await ask();
    } catch (cause) {
      const error = ChatError.from(cause);
      if (error.cause !== REPORTED || !isPassing(error)) throw error;
      leftMs -= waitMs(error);
      if (leftMs < 0 || !(await hasWaited(session, waitMs(error)))) throw error;
    }
}

/** False: the connection has ended meanwhile. */
async function hasWaited({ requester }: Pick<Session, 'requester'>, ms: number): Promise<boolean> {
  const over = new AbortController();
  const isOver = await Promise.race([
    requester.link.closed.then(() => true),
    sleep(ms, false, { signal: over.signal }).catch(() => false),
  ]);
  over.abort();
  return !isOver;
}
