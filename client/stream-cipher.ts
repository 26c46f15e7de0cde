/**
 * A long byte string sealed in chunks, so that neither side holds all of it: AES-256-GCM with a fresh key, whose nonce counts the chunks and
 * marks the last one. A chunk that is missing, doubled, moved, cut off or added does not open. This is the STREAM construction (Hoang,
 * Reyhanitabar, Rogaway, Vizár, CRYPTO 2015), with the nonces of RFC 5116 §3.2 (fixed field, then counter) and a flag for the last record as
 * RFC 8188 §2 has it.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import { concat, u32 } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';

export const STREAM_KEY_BYTES = 32;
export const STREAM_TAG_BYTES = 16;
/** Chunks under one key. */
export const MAX_STREAM_CHUNKS = 16_384;

export class StreamCipher {
  readonly #key: KeyObject;
  readonly #context: Uint8Array;

  /** @param key 32 bytes, for this stream alone: it must never seal another @param context authenticated with every chunk */
  constructor(key: Uint8Array, context: Uint8Array) {
    this.#key = createSecretKey(key);
    this.#context = context;
  }

  /** ciphertext ‖ tag[16]. @param n 0 for the first */
  seal(n: number, isLast: boolean, chunk: Uint8Array): Buffer {
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonceOf(n, isLast), { authTagLength: STREAM_TAG_BYTES });
    cipher.setAAD(this.#context);
    return concat(cipher.update(chunk), cipher.final(), cipher.getAuthTag());
  }

  /** @throws DECRYPT_FAIL/chunk for any other chunk than the one that was sealed as this one */
  open(n: number, isLast: boolean, sealed: Uint8Array): Buffer {
    try {
      const end = sealed.length - STREAM_TAG_BYTES;
      const decipher = createDecipheriv('aes-256-gcm', this.#key, nonceOf(n, isLast), {
        authTagLength: STREAM_TAG_BYTES,
      });
      decipher.setAAD(this.#context);
      decipher.setAuthTag(sealed.subarray(end));
      return concat(decipher.update(sealed.subarray(0, end)), decipher.final());
    } catch (cause) {
      throw new ChatError('DECRYPT_FAIL', 'a piece of a history that is not the one that was sealed', {
        sub: 'chunk',
        cause,
      });
    }
  }
}

/** 00 × 7 ‖ counter u32 ‖ 01 for the last chunk, else 00 */
const nonceOf = (n: number, isLast: boolean): Buffer => concat(Buffer.alloc(7), u32(n), Buffer.of(isLast ? 1 : 0));
