/**
 * The key of the vault: 32 random bytes in `vault.key`, either as they are (mode 0600), or wrapped under a key that Argon2id (RFC 9106)
 * derives from a passphrase. Another passphrase wraps the same key anew, so nothing of the vault is written again. Each change is one
 * rename: a kill leaves the file of before or the one of after, and what it leaves beside them the next open removes.
 */
import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { hex } from '../base/bytes.ts';
import { decode, encode } from '../base/cbor.ts';
import { bytes, record, text, uint, type Decoded } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { DEFAULT_KDF, formatKdf, parseKdf, SALT_BYTES, saltedPassword } from '../protocol/scram.ts';
import { writeFailure } from '../runtime/whole-file.ts';
import { assertPrivate } from './private-file.ts';
import { Seal } from './seal.ts';

const KEY_BYTES = 32;
/** nonce[12] ‖ key ‖ tag[16] */
const SEALED_BYTES = 12 + KEY_BYTES + 16;
const wrapping = record({ v: uint(1, 1), kdf: text(64), salt: bytes(SALT_BYTES), sealed: bytes(SEALED_BYTES) });
/** A key that a passphrase opens, as it is in the file (deterministic CBOR). `kdf` as in protocol/scram.ts. */
type Wrapping = Decoded<typeof wrapping>;
type KeyFile = { readonly clear: Buffer } | { readonly wrapping: Wrapping };

export const keyPath = (folder: string): string => join(folder, 'vault.key');

/** Whether it takes a passphrase. False for a profile that is not there yet. @throws UNSAFE_FILE, STORE_FAILED */
export function isWrapped(path: string): boolean {
  const file = read(path);
  if (file !== null && 'clear' in file) file.clear.fill(0);
  return file !== null && 'wrapping' in file;
}

/**
 * The key of a vault that takes no passphrase; made, synced and renamed into place when there is none.
 * @throws VAULT_LOCKED when it takes one; UNSAFE_FILE, DISK_FULL, STORE_FAILED
 */
export function clearKey(path: string, mayCreate: boolean): KeyObject {
  let file = read(path);
  if (file === null) {
    if (!mayCreate) throw missing(path);
    file = { clear: randomBytes(KEY_BYTES) };
    replace(path, file.clear);
  }
  if ('wrapping' in file) throw new ChatError('VAULT_LOCKED', 'the store of this profile takes a passphrase');
  return keyObject(file.clear);
}

/** @param passphrase from preparePassword() @throws WRONG_PASSPHRASE; UNSAFE_FILE, STORE_FAILED */
export async function unwrappedKey(path: string, passphrase: Secret): Promise<KeyObject> {
  return keyObject(await unwrap(path, passphrase));
}

/**
 * From now on `after` opens the vault, and nothing else. Durable when it resolves. The caller has opened the vault, so that nobody else does.
 * @param before passphrase of now; null: there is none
 * @param after passphrase from then on; null: none, the key lies in the file as it is
 * @returns whether another name (a hard link) still leads to the file of before, which this could not make unreadable
 * @throws WRONG_PASSPHRASE, VAULT_LOCKED; DISK_FULL, STORE_FAILED: then it is as it was
 */
export async function setPassphrase(path: string, before: Secret | null, after: Secret | null): Promise<boolean> {
  const key = before === null ? clearBytes(path) : await unwrap(path, before);
  try {
    return replace(path, after === null ? key : encode(await wrap(key, after)));
  } finally {
    key.fill(0);
  }
}

/** What a kill in the middle of a change has left, which may be the key as it is. */
export const removeLeftover = (path: string): void => rmSync(`${path}.new`, { force: true });

async function wrap(key: Buffer, passphrase: Secret): Promise<Wrapping> {
  const salt = randomBytes(SALT_BYTES);
  const kdf = formatKdf(DEFAULT_KDF);
  return { v: 1, kdf, salt, sealed: (await wrapper(passphrase, kdf, salt)).seal(placeOf(kdf, salt), key) };
}

async function unwrap(path: string, passphrase: Secret): Promise<Buffer> {
  const file = read(path);
  if (file === null) throw missing(path);
  if ('clear' in file) {
    file.clear.fill(0);
    throw new ChatError('USAGE', 'the store of this profile takes no passphrase');
  }
  const { kdf, salt, sealed } = file.wrapping;
  const seal = await wrapper(passphrase, kdf, salt);
  try {
    return seal.open(placeOf(kdf, salt), sealed);
  } catch (cause) {
    throw new ChatError('WRONG_PASSPHRASE', 'the passphrase does not open the store of this profile', { cause });
  }
}

function clearBytes(path: string): Buffer {
  const file = read(path);
  if (file === null) throw missing(path);
  if ('wrapping' in file) throw new ChatError('VAULT_LOCKED', 'the store of this profile takes a passphrase');
  return file.clear;
}

/** @throws STORE_FAILED for a cost out of bounds: whoever writes the file must not choose what a guess costs, or how much memory it takes */
async function wrapper(passphrase: Secret, kdf: string, salt: Uint8Array): Promise<Seal> {
  let cost;
  try {
    cost = parseKdf(kdf);
  } catch (cause) {
    throw new ChatError('STORE_FAILED', 'the key of the local store is damaged: its password hash', { cause });
  }
  const key = await passphrase.use((each) => saltedPassword(each, salt, cost));
  try {
    return new Seal(key.use((each) => createSecretKey(each)));
  } finally {
    key.wipe();
  }
}

/** Authenticated with the key: a wrapping is of its own salt and cost. */
const placeOf = (kdf: string, salt: Uint8Array): string => `vault.key/${kdf}/${hex(salt)}`;

/** Null when there is none. */
function read(path: string): KeyFile | null {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new ChatError('STORE_FAILED', `the key of the local store cannot be read: ${path}`, { cause });
  }
  assertPrivate(path);
  if (content.length === KEY_BYTES) return { clear: content };
  try {
    return { wrapping: wrapping(decode(content), 'vault.key') };
  } catch (cause) {
    throw new ChatError('STORE_FAILED', `the key of the local store is damaged: ${path}`, { cause });
  }
}

/**
 * All of the new file or all of the old one, and durable before it returns. The bytes of the old one are then overwritten, as far as a
 * file system writes in place at all. @returns whether they were not, for another name leads to them
 */
function replace(path: string, content: Uint8Array): boolean {
  let old: number | null = null;
  try {
    old = openedIfThere(path);
    const file = openSync(`${path}.new`, 'w', 0o600);
    try {
      writeSync(file, content);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
    const directory = openSync(dirname(path), 'r');
    try {
      fsyncSync(directory); // the name must survive a power cut before anything relies on it
    } finally {
      closeSync(directory);
    }
    if (old === null) return false;
    const { nlink, size } = fstatSync(old);
    if (nlink > 0) return true; // a backup that shares the file: not ours to destroy
    writeSync(old, Buffer.alloc(size), 0, size, 0);
    fsyncSync(old);
    return false;
  } catch (cause) {
    throw writeFailure(path, cause);
  } finally {
    if (old !== null) closeSync(old);
  }
}

function openedIfThere(path: string): number | null {
  try {
    return openSync(path, 'r+');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw cause;
  }
}

function keyObject(content: Buffer): KeyObject {
  const key = createSecretKey(content);
  content.fill(0);
  return key;
}

const missing = (path: string): ChatError =>
  new ChatError('STORE_FAILED', `the key of the local store cannot be read: ${path}`);
