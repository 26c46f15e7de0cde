/** Files that hold a key or password: refused when anybody else could have read them, as ssh refuses such keys. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { fromUtf8 } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';
import { preparePassword } from '../protocol/scram.ts';

/** A private key of RSA-8192 takes 7 kB. */
const MAX_BYTES = 64 * 1024;
/** What is read of standard input for passwords. */
const MAX_STDIN_BYTES = 4096;

export interface Ownership {
  readonly isFile: boolean;
  readonly mode: number;
  readonly uid: number;
}

/**
 * Null, or what is wrong. Nobody else may read or write it; its group may read it only if root owns it, which is how packages and
 * secret mounts hand a key to a service (as PostgreSQL decides).
 */
export function unsafeOwnership({ isFile, mode, uid }: Ownership, ownUid: number): string | null {
  if (!isFile) return 'is not a regular file';
  if (uid !== ownUid && uid !== 0) return 'belongs to another user';
  const allowed = uid === 0 && ownUid !== 0 ? 0o740 : 0o700;
  const excess = mode & 0o777 & ~allowed;
  return excess === 0
    ? null
    : `has mode ${(mode & 0o777).toString(8).padStart(4, '0')}, which others can use; chmod 600 it`;
}

/**
 * The whole content. The check is made on the open file, so that nobody can put another in its place in between.
 * @throws UNSAFE_FILE with `field`; CONFIG_INVALID with `field` if it cannot be read or is larger than 64 KiB
 */
export function readSecretFile(path: string, field: string): Secret {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK); // or a FIFO would wait for its writer
  } catch (cause) {
    throw new ChatError('CONFIG_INVALID', `${field}: cannot read ${path} (${(cause as NodeJS.ErrnoException).code})`, {
      field,
      cause,
    });
  }
  try {
    const stat = fstatSync(fd);
    const fault = unsafeOwnership({ isFile: stat.isFile(), mode: stat.mode, uid: stat.uid }, process.geteuid?.() ?? 0);
    if (fault !== null) throw new ChatError('UNSAFE_FILE', `${field}: ${path} ${fault}`, { field });
    const bytes = Buffer.alloc(MAX_BYTES + 1);
    let length = 0;
    for (let got = 1; got > 0; length += got) got = readSync(fd, bytes, length, bytes.length - length, null);
    if (length > MAX_BYTES)
      throw new ChatError('CONFIG_INVALID', `${field}: ${path} is larger than ${MAX_BYTES} bytes`, { field });
    const content = Buffer.alloc(length, bytes.subarray(0, length));
    bytes.fill(0);
    return new Secret(content);
  } finally {
    closeSync(fd);
  }
}

/** As readSecretFile(), without the line ending that editors and `echo` leave behind a password. */
export function readPasswordFile(path: string, field: string): Secret {
  const content = readSecretFile(path, field);
  return content.use((bytes) => {
    let end = bytes.length;
    if (bytes[end - 1] === 0x0a) end -= bytes[end - 2] === 0x0d ? 2 : 1;
    return new Secret(bytes.subarray(0, end));
  });
}

/**
 * The passwords on standard input, one a line, prepared.
 * @throws USAGE/password when there are more or fewer, or one cannot be a password; TOO_LARGE
 */
export async function readPasswords(stdin: AsyncIterable<string | Uint8Array>, count: number): Promise<Secret[]> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stdin) {
    chunks.push(Buffer.from(chunk as Uint8Array));
    bytes += chunk.length;
    if (bytes > MAX_STDIN_BYTES)
      throw new ChatError('TOO_LARGE', `standard input has more than ${MAX_STDIN_BYTES} bytes`);
  }
  const unfit = (why: string): ChatError => new ChatError('USAGE', why, { sub: 'password' });
  const text = fromUtf8(Buffer.concat(chunks));
  if (text === null) throw unfit('the password on standard input is not UTF-8');
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/);
  if (lines.length !== count)
    throw unfit(`standard input has ${lines.length === 1 ? 'one line' : `${lines.length} lines`}, and not ${count}`);
  return lines.map((line) => new Secret(preparePassword(line)));
}
