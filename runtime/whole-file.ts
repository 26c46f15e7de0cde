/** What a command writes for a person: a file that only its owner can read, and all of it, or what was there before. */
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, linkSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { ChatError } from '../base/errors.ts';

/**
 * @param mayReplace a file of this name
 * @throws USAGE when there is one that must stay, or something that is none; DISK_FULL, STORE_FAILED; whatever `pieces` throws
 */
export function writePieces(path: string, pieces: Iterable<Uint8Array>, mayReplace: boolean): void {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`; // nobody else's
  const taken = () => new ChatError('USAGE', `there is a file ${path} already: give another name, or --force`);
  if (!mayReplace && existsSync(path)) throw taken();
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === false)
      throw new ChatError('USAGE', `${path} is no file, and stays: give another name`);
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      for (const piece of pieces) for (let at = 0; at < piece.length;) at += writeSync(fd, piece, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    if (mayReplace) renameSync(temporary, path);
    else linkSync(temporary, path); // fails if somebody was quicker
  } catch (cause) {
    if (cause instanceof ChatError) throw cause;
    throw (cause as NodeJS.ErrnoException).code === 'EEXIST' ? taken() : writeFailure(path, cause);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** What it means that something could not be written: DISK_FULL when room helps, else STORE_FAILED. */
export function writeFailure(path: string, cause: unknown): ChatError {
  const { code } = cause as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? new ChatError('DISK_FULL', `no space left to write ${path}`, { cause })
    : new ChatError('STORE_FAILED', `cannot write ${path} (${code ?? 'unknown'})`, { cause });
}
