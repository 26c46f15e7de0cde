/** Files that somebody else made: read whole, up to a limit, and never waited for. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { ChatError } from '../base/errors.ts';

/** What is given on the command line. */
export const MAX_INPUT_BYTES = 32 * 1024 * 1024;

/** What is inside a directory that is not to be trusted: a pipe would block, a link leads out of what was handed over. */
const INSIDE = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY;

/** Bytes, or why there are none. `isMissing`: there is nothing of this name. */
export type FileRead = { readonly bytes: Buffer } | { readonly fault: string; readonly isMissing: boolean };

/** A regular file in a directory that is not to be trusted. */
export function readInside(path: string, maxBytes: number): FileRead {
  let fd: number;
  try {
    fd = openSync(path, INSIDE);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { fault: 'is missing', isMissing: true };
    return { fault: code === 'ELOOP' ? 'is a symbolic link' : `can't be opened (${code})`, isMissing: false };
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return { fault: 'is not a regular file', isMissing: false };
    const bytes = readUpTo(fd, maxBytes, stat.size);
    return bytes === null ? { fault: `is larger than ${maxBytes} bytes`, isMissing: false } : { bytes };
  } catch (error) {
    return { fault: `can't be read (${(error as NodeJS.ErrnoException).code})`, isMissing: false };
  } finally {
    closeSync(fd);
  }
}

/**
 * A file that the user names: may be a pipe, and `-` is standard input.
 * @throws USAGE saying which and why
 */
export function readInput(path: string): Buffer {
  let fd: number | null = null;
  try {
    fd = path === '-' ? 0 : openSync(path, 'r');
    const bytes = fstatSync(fd).isDirectory() ? null : readUpTo(fd, MAX_INPUT_BYTES, 64 * 1024);
    if (bytes !== null) return bytes;
  } catch (cause) {
    throw new ChatError('USAGE', `can't be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  } finally {
    if (fd !== null && fd !== 0) closeSync(fd);
  }
  throw new ChatError('USAGE', `is a directory, or larger than ${MAX_INPUT_BYTES} bytes`);
}

/**
 * The same for a file of any size, in pieces; each is valid for ever.
 * @throws USAGE as readInput()
 */
export function* inputChunks(path: string): Generator<Buffer> {
  let fd: number | null = null;
  try {
    fd = path === '-' ? 0 : openSync(path, 'r');
    for (;;) {
      const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      const read = readSome(fd, chunk, 0);
      if (read === 0) return;
      yield chunk.subarray(0, read);
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).syscall === undefined) throw cause;
    throw new ChatError('USAGE', `can't be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  } finally {
    if (fd !== null && fd !== 0) closeSync(fd);
  }
}
const CHUNK_BYTES = 1024 * 1024;

/** Waits also where whoever opened a pipe has said that nobody waits: what comes later belongs to the file as well. */
function readSome(fd: number, into: Buffer, from: number): number {
  for (;;)
    try {
      return readSync(fd, into, from, into.length - from, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(PAUSE, 0, 0, PAUSE_MS);
    }
}
const PAUSE = new Int32Array(new SharedArrayBuffer(4));
const PAUSE_MS = 10;

/** Null if there are more than `maxBytes`. @param guess how many there will be */
function readUpTo(fd: number, maxBytes: number, guess: number): Buffer | null {
  let buffer = Buffer.allocUnsafeSlow(Math.min(guess, maxBytes) + 1); // one more, to see the end
  let length = 0;
  for (;;) {
    const read = readSome(fd, buffer, length);
    length += read;
    if (length > maxBytes) return null;
    if (read === 0) return buffer.subarray(0, length);
    if (length === buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(2 * length, maxBytes + 1));
      buffer.copy(larger);
      buffer = larger;
    }
  }
}
