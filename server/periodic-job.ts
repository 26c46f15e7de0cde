/** A job that is done again and again while the server runs. */
import { errorFields, type Log } from '../runtime/log.ts';

/**
 * Repeats a job until the stop that it answers; one run at a time, failures are logged and the next run tries again.
 * @returns ends it, when the run that it is in has ended
 */
export function every(
  ms: number,
  job: () => Promise<void>,
  log: Log,
  event: 'transcript.failed' | 'store.failed',
): () => Promise<void> {
  let running: Promise<void> | null = null;
  const timer = setInterval(() => {
    running ??= job()
      .catch((error: unknown) => log.warn(event, errorFields(error)))
      .finally(() => (running = null));
  }, ms);
  return async () => {
    clearInterval(timer);
    await running;
  };
}
