/**
 * Values of the client's own disk, sealed with AES-256-GCM under a random key (vault-key.ts). What it protects: a copy of the database
 * alone (a backup, a stolen file) shows no body, name or token. What it does not: whoever has the key too reads all.
 */
import { createCipheriv, createDecipheriv, randomBytes, type KeyObject } from 'node:crypto';
import { concat, utf8 } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

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
