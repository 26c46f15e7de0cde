/**
 * Files that the server trusts or keeps secret: read with a cap and a check of who else may write them, created so that a crash leaves
 * the old file or the new one, and watched for changes. What a key file may look like is decided in secret-file.ts.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
  type BigIntStats,
} from 'node:fs';
import { stat } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { readSecretFile } from './secret-file.ts';

/**
 * A file that decides who is let in: certificate, authority, revocation list. Whoever can write it can let himself in, so others may
 * read but not write it. The check is made on the open file.
 * @throws CONFIG_INVALID with `field` when it cannot be read or is larger than `maxBytes`; UNSAFE_FILE with `field`
 */
export function readTrustFile(path: string, field: string, maxBytes: number): Buffer {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // or a FIFO would wait for its writer
  } catch (cause) {
    throw unusable(field, `cannot read ${path} (${errnoOf(cause)})`, cause);
  }
  try {
    const { mode, uid, size } = fstatSync(fd);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw unusable(field, `${path} is not a regular file`);
    const ownUid = process.geteuid?.() ?? 0;
    if (uid !== ownUid && uid !== 0)
      throw new ChatError('UNSAFE_FILE', `${field}: ${path} belongs to another user`, { field });
    if ((mode & 0o022) !== 0 && !(uid === 0 && ownUid === 0 && (mode & 0o002) === 0))
      throw new ChatError('UNSAFE_FILE', `${field}: ${path} can be written by others; chmod 644 it`, { field });
    if (size > maxBytes) throw unusable(field, `${path} is larger than ${maxBytes} bytes`);
    const bytes = Buffer.alloc(maxBytes < size + 1 ? maxBytes : size + 1); // one more: has it grown?
    let length = 0;
    for (let got = 1; got > 0 && length < bytes.length; length += got)
      got = readSync(fd, bytes, length, bytes.length - length, null);
    if (length > size) throw unusable(field, `${path} is being written`);
    return bytes.subarray(0, length);
  } catch (cause) {
    throw cause instanceof ChatError ? cause : unusable(field, `cannot read ${path} (${errnoOf(cause)})`, cause);
  } finally {
    closeSync(fd);
  }
}

/**
 * The secret in `path`, which is made by `make` when there is no such file: mode 0600, durable before it is used, and never
 * overwritten, so that two processes that start together use the same one.
 * @throws UNSAFE_FILE, CONFIG_INVALID as readSecretFile()
 */
export function ensureSecretFile(path: string, field: string, make: () => Uint8Array): Secret {
  try {
    statSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw unusable(field, `cannot read ${path} (${errnoOf(error)})`, error);
    createOnce(path, field, make());
  }
  return readSecretFile(path, field);
}

/**
 * For a command that writes what the server is to read: whoever is not the user that the server runs as leaves files that it cannot.
 * @throws UNSAFE_FILE with `field`
 */
export function checkOwner(path: string, field: string): void {
  const { uid = null } = statSync(path, { throwIfNoEntry: false }) ?? {};
  if (uid !== null && uid !== (process.geteuid?.() ?? 0))
    throw new ChatError('UNSAFE_FILE', `${field}: ${path} belongs to another user (${uid}): run this as that user`, {
      field,
    });
}

/**
 * The folder, and those on the way to it, made with mode 0700 where they are missing. One by one: Node's own way never ends where a folder is
 * there and none can be made in it, as in /proc. @throws what mkdir() does
 */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (isFolder(path)) return;
    const parent = dirname(path);
    if (errnoOf(error) !== 'ENOENT' || parent === path || existsSync(parent)) throw error;
    makeFolder(parent);
    makeFolder(path);
  }
}
const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/** The folder, made with mode 0700 when it is missing. @throws UNSAFE_FILE with `field` when others may enter or change it */
export function ensurePrivateDirectory(path: string, field: string): void {
  try {
    makeFolder(path);
    checkOwner(path, field);
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0)
      throw new ChatError('UNSAFE_FILE', `${field}: ${path} is open to others; chmod 700 it`, { field });
  } catch (cause) {
    throw cause instanceof ChatError ? cause : unusable(field, `cannot use ${path} (${errnoOf(cause)})`, cause);
  }
}

/**
 * Whether ensurePrivateDirectory() would succeed; makes nothing. Whoever asks should be who will run the server.
 * @throws UNSAFE_FILE, CONFIG_INVALID with `field`
 */
export function checkPrivateDirectory(path: string, field: string): void {
  if (existsSync(path)) ensurePrivateDirectory(path, field);
  checkWritable(path, field);
}

/** Whether files can be made in the folder, and the folder itself where it is missing; makes nothing. @throws CONFIG_INVALID with `field` */
export function checkWritable(path: string, field: string): void {
  let directory = resolve(path);
  while (!existsSync(directory)) directory = dirname(directory);
  try {
    accessSync(`${directory}/.`, constants.W_OK | constants.X_OK); // the dot: it must be a directory
  } catch (cause) {
    throw unusable(field, `cannot use ${path}: cannot write into ${directory} (${errnoOf(cause)})`, cause);
  }
}

/**
 * Calls `changed` after any of the files was replaced, written, removed or made since this was made: before they are read. By polling: inotify
 * reports nothing for network file systems and loses track of files that are replaced by rename.
 */
export class FileWatch {
  readonly #paths: readonly string[];
  readonly #changed: () => void;
  readonly #timer: NodeJS.Timeout;
  #seen: Promise<string> | string;

  constructor(paths: readonly string[], changed: () => void, pollMs = 1000) {
    this.#paths = paths;
    this.#changed = changed;
    this.#seen = paths.map(lookAt).join('\n'); // at once: whatever comes after this line is a change
    this.#timer = setInterval(() => void this.poll(), pollMs);
    this.#timer.unref();
  }

  /** What the timer does; resolves after `changed` was called, if it was. */
  async poll(): Promise<void> {
    const before = this.#seen;
    const now = this.#look();
    this.#seen = now;
    if ((await before) !== (await now)) this.#changed();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<string> {
    const looks = this.#paths.map((path) => stat(path, { bigint: true }).then(looksOf, errnoOf));
    return (await Promise.all(looks)).join('\n');
  }
}

const looksOf = ({ ino, size, mtimeNs, ctimeNs }: BigIntStats): string => `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
function lookAt(path: string): string {
  try {
    return looksOf(statSync(path, { bigint: true }));
  } catch (error) {
    return errnoOf(error);
  }
}

function createOnce(path: string, field: string, content: Uint8Array): void {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      writeSync(fd, content);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    try {
      linkSync(temporary, path); // unlike rename, this never replaces
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error; // another process was first: its secret is ours
    } finally {
      unlinkSync(temporary);
    }
    const folder = openSync(dirname(path), constants.O_RDONLY);
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch (cause) {
    throw unusable(field, `cannot make ${path} (${errnoOf(cause)})`, cause);
  }
}

const errnoOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'unknown';
const unusable = (field: string, why: string, cause?: unknown): ChatError =>
  new ChatError('CONFIG_INVALID', `${field}: ${why}`, cause === undefined ? { field } : { field, cause });
