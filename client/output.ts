/** The standard output. What was written there may have reached nobody: a reader that went away, or a full disk. */
import type { Writable } from 'node:stream';
import { ChatError } from '../base/errors.ts';
import { writeFailure } from '../runtime/whole-file.ts';

/** Resolves when all that was written so far has left this process. @throws as outputFailure() */
export const written = (out: NodeJS.WritableStream): Promise<void> =>
  new Promise((resolve, reject) =>
    // What has failed before is told of every later write as another failure.
    out.write('', (cause) => (cause ? reject(outputFailure((out as Writable).errored ?? cause)) : resolve())),
  );

/** @returns INTERRUPTED when isUnread(); DISK_FULL, STORE_FAILED */
export function outputFailure(cause: Error): ChatError {
  if (!isUnread(cause)) return writeFailure('the standard output', cause);
  return new ChatError('INTERRUPTED', 'nobody reads the standard output any more', { cause });
}
/** A reader that has seen enough has closed its end: no reason to complain. */
export const isUnread = (error: unknown): boolean =>
  error instanceof Error && ((error as NodeJS.ErrnoException).code === 'EPIPE' || isUnread(error.cause));
