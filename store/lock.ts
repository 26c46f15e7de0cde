/**
 * One process at a time: the kernel's own lock, through an SQLite file, since Node has no call for it. The kernel drops it with the
 * process, however that ends, so there is no stale lock to judge; it also holds between containers and a second time in one process.
 */
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { ChatError } from '../base/errors.ts';

export interface Lock {
  release(): void;
}

/**
 * @param path a file of the lock's own, created if need be and left in place: removing it would let two processes lock two files
 * @throws IN_USE naming the holder
 */
export function acquireLock(path: string): Lock {
  const holderPath = `${path}.pid`;
  const db = openLockFile(path);
  try {
    db.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (cause) {
    db.close();
    if (!isBusy(cause)) throw cannotLock(path, cause);
    throw new ChatError('IN_USE', `${path} is locked by ${holderOf(holderPath)}; stop that one first`, { cause });
  }
  try {
    writeFileSync(holderPath, `${process.pid}\n`, { mode: 0o600 });
  } catch {
    // no room: then nobody is named
  }
  return {
    release: () => {
      rmSync(holderPath, { force: true });
      db.close();
    },
  };
}

/**
 * That of the process that serves with a database, of which there is one, and of whoever changes its schema.
 * @param path of the journal, but for the ends of its files' names: that of an embedded database @throws as acquireLock()
 */
export const acquireServingLock = (path: string): Lock => acquireLock(`${path}-ahead.lock`);

function openLockFile(path: string): DatabaseSync {
  try {
    // For its owner alone. Nothing is opened where there is a file: to close it would drop the lock that this process may have on it.
    if (!existsSync(path)) closeSync(openSync(path, 'wx', 0o600));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cannotLock(path, cause);
  }
  try {
    return new DatabaseSync(path, { timeout: 0 });
  } catch (cause) {
    throw cannotLock(path, cause);
  }
}

const SQLITE_BUSY = 5;
const isBusy = (error: unknown): boolean =>
  error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY;
const cannotLock = (path: string, cause: unknown): ChatError =>
  new ChatError('LOG_FAILED', `cannot lock ${path}; is its directory there and writable?`, { cause });

/** For the message alone: the lock does not depend on it. */
function holderOf(path: string): string {
  try {
    const pid = readFileSync(path, 'utf8').trim();
    if (/^\d{1,10}$/.test(pid)) return `process ${pid}`;
  } catch {
    // it has just begun or just ended
  }
  return 'another process';
}
