/** Failures that are not for good: what somebody has sent is to be sent again, after a while. */
import { ChatError, CODES } from '../base/errors.ts';
import { errorFields, type Log } from '../runtime/log.ts';

/** What he is told to wait, if nothing says how long it takes. */
export const RETRY_AFTER_MS = 1000;

export const unavailable = (message: string, retryAfterMs: number, cause?: unknown): ChatError =>
  new ChatError('UNAVAILABLE', message, { retryAfterMs, cause });

/**
 * What is in the log is accepted, whatever fails afterwards: a final refusal would have the sender write it a second time. He repeats
 * it, and gets his answer then; the operator is told now.
 */
export function unanswered(log: Log, error: unknown): ChatError {
  const failure = ChatError.from(error);
  const line = CODES[failure.code].blame === 'us' ? log.error : log.warn;
  line('transcript.failed', errorFields(failure));
  return unavailable('the batch is in the log, and its proof cannot be made now', RETRY_AFTER_MS, error);
}
