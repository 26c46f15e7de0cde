/**
 * Values of the client's own disk, sealed with AES-256-GCM under a random key in a file of mode 0600. What it protects: a copy of the
 * database alone (a backup, a stolen file) shows no body, name or token. What it does not: whoever can read the key file reads all.
 */
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { concat, utf8 } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { assertPrivate, writeFailure } from './private-file.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** The key in `path`; made, synced and renamed into place when there is none. @throws UNSAFE_FILE, DISK_FULL, STORE_FAILED */
export function sealingKey(path: string, mayCreate: boolean): KeyObject {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT' || !mayCreate)
      throw new ChatError('STORE_FAILED', `the key of the local store cannot be read: ${path}`, { cause });
    try {
      bytes = writeKey(path);
    } catch (failure) {
      throw writeFailure(path, failure);
    }
  }
  assertPrivate(path);
  if (bytes.length !== KEY_BYTES) throw new ChatError('STORE_FAILED', `the key of the local store is damaged: ${path}`);
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

export class Seal {
  readonly #key: KeyObject;

  constructor(key: KeyObject) {
    this.#key = key;
  }

  /**
   * nonce[12] ‖ ciphertext ‖ tag[16]. Nonces are random: NIST SP 800-38D §8.3 allows 2^32 of them under one key.
   * @param place table and row, authenticated with the value, so that a value can't be moved to another row
   */
  seal(place: string, value: Uint8Array): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(utf8(place));
    return concat(nonce, cipher.update(value), cipher.final(), cipher.getAuthTag());
  }

  /** @throws STORE_FAILED when the value was altered, moved, or sealed under another key */
  open(place: string, sealed: Uint8Array): Buffer {
    try {
      const end = sealed.length - TAG_BYTES;
      const decipher = createDecipheriv('aes-256-gcm', this.#key, sealed.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES, // else Node takes tags of 4 bytes
      });
      decipher.setAAD(utf8(place));
      decipher.setAuthTag(sealed.subarray(end));
      const opened = decipher.update(sealed.subarray(NONCE_BYTES, end));
      return concat(opened, decipher.final());
    } catch (cause) {
      throw new ChatError('STORE_FAILED', 'a value of the local store was altered or belongs to another key', {
        cause,
      });
    }
  }
}

function writeKey(path: string): Buffer {
  const bytes = randomBytes(KEY_BYTES);
  const temporary = `${path}.new`;
  const file = openSync(temporary, 'w', 0o600);
  try {
    writeSync(file, bytes);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  const directory = openSync(dirname(path), 'r');
  try {
    fsyncSync(directory); // the name must survive a power cut before anything is sealed under the key
  } finally {
    closeSync(directory);
  }
  return bytes;
}
