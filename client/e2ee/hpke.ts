/** HPKE base mode (RFC 9180): single-shot encryption, and secret export. */
import { createCipheriv, createDecipheriv, createSecretKey, type CipherGCMTypes } from 'node:crypto';
import { concat, u16 } from '../../base/bytes.ts';
import { HASH_BYTES, LabeledHkdf, type HashName } from './hkdf.ts';
import type { Kem } from './kem.ts';

export interface AeadShape {
  readonly id: number;
  readonly name: CipherGCMTypes | 'chacha20-poly1305';
  readonly keyBytes: number;
}
export const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Ciphertext with the tag at its end. (A key that comes as bare bytes takes node:crypto three times as long.) */
export function seal(
  aead: AeadShape,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Buffer {
  const cipher = createCipheriv(aead.name as CipherGCMTypes, createSecretKey(key), nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(aad);
  return concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
}

/** @throws Error if it was not sealed with these */
export function open(aead: AeadShape, key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Buffer {
  const end = sealed.length - TAG_BYTES;
  if (end < 0) throw new Error('shorter than its tag');
  const decipher = createDecipheriv(aead.name as CipherGCMTypes, createSecretKey(key), nonce, {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(end));
  return concat(decipher.update(sealed.subarray(0, end)), decipher.final());
}

interface Context {
  readonly key: Buffer;
  readonly nonce: Buffer;
  readonly exporter: Buffer;
}

export class HpkeBase {
  readonly #kem: Kem;
  readonly #aead: AeadShape;
  readonly #hkdf: LabeledHkdf;
  readonly #hashBytes: number;
  readonly #pskIdHash: Buffer;

  constructor(kem: Kem, hash: HashName, aead: AeadShape) {
    const kdfId = { sha256: 1, sha384: 2, sha512: 3 }[hash];
    this.#kem = kem;
    this.#aead = aead;
    this.#hkdf = new LabeledHkdf(hash, concat(Buffer.from('HPKE'), u16(kem.id), u16(kdfId), u16(aead.id)));
    this.#hashBytes = HASH_BYTES[hash];
    this.#pskIdHash = this.#hkdf.extract(NOTHING, 'psk_id_hash', NOTHING);
  }

  /** RFC 9180 §6.1, SealBase. */
  seal(
    publicKey: Uint8Array,
    info: Uint8Array,
    aad: Uint8Array,
    plaintext: Uint8Array,
  ): { enc: Uint8Array; ct: Buffer } {
    const { enc, shared } = this.#kem.encapsulate(publicKey);
    const { key, nonce } = this.#schedule(shared, info);
    return { enc, ct: seal(this.#aead, key, nonce, aad, plaintext) };
  }
  /** RFC 9180 §6.1, OpenBase. @throws Error */
  open(privateKey: Uint8Array, enc: Uint8Array, info: Uint8Array, aad: Uint8Array, ct: Uint8Array): Buffer {
    const { key, nonce } = this.#schedule(this.#kem.decapsulate(privateKey, enc), info);
    return open(this.#aead, key, nonce, aad, ct);
  }
  /** RFC 9180 §6.2, SendExportBase. */
  sendExport(
    publicKey: Uint8Array,
    info: Uint8Array,
    context: Uint8Array,
    lengthBytes: number,
  ): { enc: Uint8Array; secret: Buffer } {
    const { enc, shared } = this.#kem.encapsulate(publicKey);
    return { enc, secret: this.#export(shared, info, context, lengthBytes) };
  }
  /** RFC 9180 §6.2, ReceiveExportBase. @throws Error */
  receiveExport(
    privateKey: Uint8Array,
    enc: Uint8Array,
    info: Uint8Array,
    context: Uint8Array,
    lengthBytes: number,
  ): Buffer {
    return this.#export(this.#kem.decapsulate(privateKey, enc), info, context, lengthBytes);
  }

  #export(shared: Uint8Array, info: Uint8Array, context: Uint8Array, lengthBytes: number): Buffer {
    return this.#hkdf.expand(this.#schedule(shared, info).exporter, 'sec', context, lengthBytes);
  }

  /** RFC 9180 §5.1 with mode_base: no pre-shared key, so both of its inputs are empty. */
  #schedule(shared: Uint8Array, info: Uint8Array): Context {
    const context = concat(Buffer.of(0), this.#pskIdHash, this.#hkdf.extract(NOTHING, 'info_hash', info));
    const secret = this.#hkdf.extract(shared, 'secret', NOTHING);
    return {
      key: this.#hkdf.expand(secret, 'key', context, this.#aead.keyBytes),
      nonce: this.#hkdf.expand(secret, 'base_nonce', context, NONCE_BYTES),
      exporter: this.#hkdf.expand(secret, 'exp', context, this.#hashBytes),
    };
  }
}

const NOTHING = Buffer.alloc(0);
