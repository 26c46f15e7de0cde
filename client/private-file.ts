/** The client's folder and files: refused when others may use them. Keys and passwords are read by runtime/secret-file.ts. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { ChatError } from '../base/errors.ts';

/** Mode bits mean nothing there; access control lists do, and Node does not read them. */
const HAS_MODES = process.platform !== 'win32';

/** @throws UNSAFE_FILE when group or others have any access, or somebody else owns it; CONFIG_INVALID when it is not there */
export function assertPrivate(path: string): void {
  const { mode, uid } = stat(path);
  if (!HAS_MODES) return;
  if ((mode & 0o077) !== 0)
    throw new ChatError(
      'UNSAFE_FILE',
      `others may read ${path}: run chmod ${(mode & 0o100) === 0 ? '600' : '700'} on it`,
    );
  const me = process.getuid?.();
  if (me !== undefined && uid !== me && uid !== 0)
    throw new ChatError('UNSAFE_FILE', `${path} belongs to another user of this machine`);
}

/** The bytes of a file that need not be secret. @throws CONFIG_INVALID, TOO_LARGE */
export function readBounded(path: string, maxBytes: number): Buffer {
  if (stat(path).size > maxBytes) throw new ChatError('TOO_LARGE', `${path} has more than ${maxBytes} bytes`);
  try {
    return readFileSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** Makes a folder that only its owner can enter. @throws UNSAFE_FILE when it exists and is open to others, DISK_FULL, STORE_FAILED */
export function makePrivateFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw writeFailure(path, cause);
  }
  assertPrivate(path);
}

/**
 * A file that only its owner can read: all of it, or what was there before.
 * @param mayReplace a file of this name
 * @throws USAGE when there is one that must stay; DISK_FULL, STORE_FAILED; whatever `pieces` throws
 */
export function writePieces(path: string, pieces: Iterable<Uint8Array>, mayReplace: boolean): void {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`; // nobody else's
  const taken = () => new ChatError('USAGE', `there is a file ${path} already: give another name, or --force`);
  if (!mayReplace && existsSync(path)) throw taken();
  try {
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

/** What it means that a file or folder of the profile could not be written: DISK_FULL when room helps, else STORE_FAILED. */
export function writeFailure(path: string, cause: unknown): ChatError {
  const { code } = cause as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? new ChatError('DISK_FULL', `no space left to write ${path}`, { cause })
    : new ChatError('STORE_FAILED', `cannot write ${path}`, { cause });
}

function stat(path: string) {
  try {
    return statSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): ChatError {
  const { code } = cause as NodeJS.ErrnoException;
  const why = code === 'ENOENT' ? 'there is no file' : code === 'EACCES' ? 'no permission to read' : 'cannot read';
  return new ChatError('CONFIG_INVALID', `${why} ${path}`, { cause });
}
