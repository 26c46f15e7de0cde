/** The client's folder and files: refused when others may use them. Keys and passwords are read by runtime/secret-file.ts. */
import { readFileSync, statSync } from 'node:fs';
import { ChatError } from '../base/errors.ts';
import { makeFolder } from '../runtime/files.ts';
import { writeFailure } from '../runtime/whole-file.ts';

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
    makeFolder(path);
  } catch (cause) {
    throw writeFailure(path, cause);
  }
  assertPrivate(path);
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
