/**
 * The few file operations of the log, as an interface: `disk` is the real thing, and a test passes a disk that forgets what was not
 * synced. Data is durable after `datasync`; a name (created, renamed, removed) is durable after `syncDirectory` of its directory.
 */
import { constants, fdatasync, read, write } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rmdir, unlink, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ChatError } from '../../base/errors.ts';

export interface OpenFile {
  /** Fills `into` from `position` on; answers how many bytes there were before the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** All of `bytes`, or it rejects. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export interface Files {
  /** `create` refuses a file that exists. In one that is `durable` each write is on the disk when it resolves, and `datasync` has nothing to do. */
  open(path: string, how: 'create' | 'change' | 'durable'): Promise<OpenFile>;
  /** Null: there is no such file. */
  readFile(path: string): Promise<Buffer | null>;
  /** Names in a directory; none if it does not exist. */
  list(directory: string): Promise<string[]>;
  /** Replaces `to` if it exists. */
  rename(from: string, to: string): Promise<void>;
  /** A file that may not exist. */
  remove(path: string): Promise<void>;
  /** An empty directory; whatever stands in the way, it stays. */
  removeDirectory(path: string): Promise<void>;
  /** @returns whether it is new; parents must exist */
  makeDirectory(path: string): Promise<boolean>;
  syncDirectory(path: string): Promise<void>;
}

const MODE = 0o600; // who talked to whom and when is nobody else's business on this machine
const DIRECTORY_MODE = 0o700;

export const disk: Files = {
  open: async (path, how) => {
    const flags = { create: constants.O_CREAT | constants.O_EXCL, change: 0, durable: constants.O_DSYNC }[how];
    return new DiskFile(await open(path, constants.O_RDWR | flags, MODE), how === 'durable');
  },
  readFile: (path) => unless('ENOENT', readFile(path), null),
  list: (directory) => unless('ENOENT', readdir(directory), []),
  rename,
  remove: (path) => unless('ENOENT', unlink(path), undefined),
  removeDirectory: (path) => rmdir(path).catch(() => undefined),
  makeDirectory: (path) =>
    unless(
      'EEXIST',
      mkdir(path, DIRECTORY_MODE).then(() => true),
      false,
    ),
  syncDirectory: async (path) => {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

/** Creates a directory and what is missing above it, durably. */
export async function makeDirectories(files: Files, path: string): Promise<void> {
  try {
    if (!(await files.makeDirectory(path))) return;
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
    await makeDirectories(files, dirname(path));
    await files.makeDirectory(path);
  }
  await files.syncDirectory(dirname(path));
}

/**
 * Puts a whole file in place: readers see all of it or what was there before. Its contents are durable when this resolves, its name
 * once its directory is synced.
 */
export async function replaceFile(files: Files, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.tmp`;
  await files.remove(temporary);
  const file = await files.open(temporary, 'create');
  try {
    await file.write(bytes, 0);
    await file.datasync();
  } finally {
    await file.close();
  }
  await files.rename(temporary, path);
}

export const hasErrno = (error: unknown, errno: string): boolean =>
  error instanceof Error && 'code' in error && error.code === errno;

/** A full disk (or quota) has its own name, because it passes: the caller may try again. Every other failure of the disk is LOG_FAILED. */
export function diskError(error: unknown, doing: string): ChatError {
  if (error instanceof ChatError) return error;
  const isFull = hasErrno(error, 'ENOSPC') || hasErrno(error, 'EDQUOT');
  return isFull
    ? new ChatError('DISK_FULL', `no space left on the log's disk while ${doing}`, { cause: error })
    : new ChatError('LOG_FAILED', `the log's disk failed while ${doing}`, { cause: error });
}

/** Plain descriptors in the thread pool: FileHandle's own methods cost three times as much, and each window makes two such calls. */
class DiskFile implements OpenFile {
  readonly #handle: FileHandle;
  readonly #isDurable: boolean;
  constructor(handle: FileHandle, isDurable: boolean) {
    this.#handle = handle;
    this.#isDurable = isDurable;
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const bytes = await this.#call<number>((fd, settle) =>
        read(fd, into, done, into.length - done, position + done, settle),
      );
      if (bytes === 0) break;
      done += bytes;
    }
    return done;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length;)
      done += await this.#call<number>((fd, settle) =>
        write(fd, bytes, done, bytes.length - done, position + done, settle),
      );
  }

  async datasync(): Promise<void> {
    if (this.#isDurable) return;
    await this.#call<void>((fd, settle) => fdatasync(fd, settle as (error: unknown) => void));
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  #call<T>(start: (fd: number, settle: (error: unknown, value: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) =>
      start(this.#handle.fd, (error, value) => (error ? reject(error as Error) : resolve(value))),
    );
  }
}

const unless = <T, U>(errno: string, promise: Promise<T>, otherwise: U): Promise<T | U> =>
  promise.catch((error: unknown) => {
    if (hasErrno(error, errno)) return otherwise;
    throw error;
  });
