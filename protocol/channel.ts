/**
 * Sealed records: `u64 counter | AES-256-GCM ciphertext | 16-byte tag` (docs/PROTOCOL.md §3), for both phases, and the two ends of the
 * application phase with their rekeying. Pure: time comes in as data, there is no randomness to draw.
 */
import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';
import { readU64, view, writeU64 } from '../base/bytes.ts';
import { encode } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { recordKeys, rekeyed, type RecordKeys } from './key-schedule.ts';
import { MAX_KEY_AGE_MS, MAX_PLAINTEXT_BYTES, MAX_RECORDS_PER_KEY, SEAL_OVERHEAD_BYTES } from './limits.ts';
import { HEADER_BYTES, LENGTH_BYTES, plaintextOf, RECORD_OVERHEAD_BYTES, TAG_BYTES, unsealed } from './unsealed.ts';

const COUNTER_BYTES = 8;
/** A record with exactly this plaintext switches its direction to the next key; the frame is refused anywhere else. */
const REKEY = encode({ type: 'rekey' });

/**
 * Makes the record of the plaintext that stands in it.
 * @throws TOO_LARGE for one that no record can hold
 */
export function sealInPlace({ key, iv }: RecordKeys, counter: number, record: Buffer): void {
  const bytes = record.length - RECORD_OVERHEAD_BYTES;
  if (bytes > MAX_PLAINTEXT_BYTES) throw new ChatError('TOO_LARGE', `plaintext of ${bytes} bytes`, { field: 'record' });
  if (!Number.isSafeInteger(counter)) throw new ChatError('INTERNAL', 'record counter exhausted');
  record.writeUInt32BE(record.length - LENGTH_BYTES, 0);
  writeU64(record, counter, LENGTH_BYTES);
  const header = record.subarray(0, HEADER_BYTES);
  aesGcmSeal(key, nonce(iv, counter), header, plaintextOf(record), record.subarray(HEADER_BYTES));
}

/**
 * The whole record, length field included.
 * @param plaintext in pieces @throws TOO_LARGE for one that no record can hold
 */
export function sealRecord(keys: RecordKeys, counter: number, ...plaintext: readonly Uint8Array[]): Buffer {
  const record = unsealed(plaintext);
  sealInPlace(keys, counter, record);
  return record;
}

/**
 * The plaintext of the record whose payload this is.
 * @throws BAD_FRAME/record (too short), REPLAY (counter below `expected`), BAD_FRAME/record.counter (above), DECRYPT_FAIL
 */
export function openRecord({ key, iv }: RecordKeys, expected: number, payload: Uint8Array): Buffer {
  const counter = counterOf(payload);
  if (counter < expected)
    throw new ChatError('REPLAY', `record ${counter} came again, ${expected} is next`, { field: 'record.counter' });
  if (counter > expected)
    throw new ChatError('BAD_FRAME', `record ${counter} came, ${expected} is missing`, { field: 'record.counter' });
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32BE(payload.length, 0);
  writeU64(header, counter, LENGTH_BYTES);
  const sealed = view(payload).subarray(COUNTER_BYTES);
  return aesGcmOpen(key, nonce(iv, counter), header, sealed);
}

/** The counter that a payload claims. @throws BAD_FRAME */
export function counterOf(payload: Uint8Array): number {
  if (payload.length < SEAL_OVERHEAD_BYTES)
    throw new ChatError('BAD_FRAME', 'record too short for counter and tag', { field: 'record' });
  return readU64(view(payload), 0, 'record.counter');
}

/**
 * NIST SP 800-38D §7.1.
 * @param sealed gets ciphertext and tag: 16 bytes more than the plaintext, which may stand there itself
 * @throws INTERNAL unless the key has 256 bits and the nonce 96
 */
export function aesGcmSeal(
  key: KeyObject,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  sealed: Uint8Array,
): void {
  ownSizes(key, nonce);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(aad);
  sealed.set(cipher.update(plaintext));
  cipher.final(); // GCM is a stream: nothing is left over
  sealed.set(cipher.getAuthTag(), plaintext.length);
}

/**
 * NIST SP 800-38D §7.2. @param sealed ciphertext and then the 16 bytes of tag
 * @throws DECRYPT_FAIL, and no plaintext leaves before the tag is checked; INTERNAL as aesGcmSeal
 */
export function aesGcmOpen(key: KeyObject, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Buffer {
  ownSizes(key, nonce);
  const end = sealed.length - TAG_BYTES;
  if (end < 0) throw new ChatError('DECRYPT_FAIL', 'shorter than a tag');
  // Without authTagLength Node would take tags of 4 bytes; the cut above says the same a second time.
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(end));
  const plaintext = decipher.update(sealed.subarray(0, end));
  try {
    decipher.final();
  } catch (cause) {
    plaintext.fill(0);
    throw new ChatError('DECRYPT_FAIL', 'record failed authentication', { cause });
  }
  return plaintext;
}

/** Smaller limits than the protocol's, and where counting starts; only tests need them. */
export interface ChannelLimits {
  readonly maxRecordsPerKey?: number;
  readonly maxKeyAgeMs?: number;
  readonly firstCounter?: number;
}

/** The sending end of an open channel. Rekeys by itself before a limit is reached. */
export class Sealer {
  #secret: Secret;
  #keys: RecordKeys;
  #counter: number;
  #recordsUnderKey = 0;
  #keyedAtMs: number | null = null;
  readonly #maxRecords: number;
  readonly #maxKeyAgeMs: number;

  /** Takes ownership of `secret`. */
  constructor(secret: Secret, limits: ChannelLimits = {}) {
    this.#secret = secret;
    this.#keys = recordKeys(secret);
    this.#counter = limits.firstCounter ?? 0;
    this.#maxRecords = limits.maxRecordsPerKey ?? MAX_RECORDS_PER_KEY;
    this.#maxKeyAgeMs = limits.maxKeyAgeMs ?? MAX_KEY_AGE_MS;
  }

  /**
   * The bytes to write: one record, or a rekey record and then this one.
   * @param plaintext a CBOR sequence of one or more frames, 1..1,048,552 bytes, in pieces
   * @param nowMs a clock that does not go back; only its differences count
   * @throws TOO_LARGE
   */
  seal(plaintext: readonly Uint8Array[], nowMs: number): Buffer {
    return this.sealInPlace(unsealed(plaintext), nowMs);
  }

  /** The same, @param record with the plaintext in it: see unsealed.ts */
  sealInPlace(record: Buffer, nowMs: number): Buffer {
    const bytes = record.length - RECORD_OVERHEAD_BYTES;
    if (bytes === 0) throw new ChatError('INTERNAL', 'a record carries at least one frame');
    if (bytes > MAX_PLAINTEXT_BYTES)
      throw new ChatError('TOO_LARGE', `plaintext of ${bytes} bytes`, { field: 'record' });
    this.#keyedAtMs ??= nowMs;
    const isDue = this.#recordsUnderKey >= this.#maxRecords - 1 || nowMs - this.#keyedAtMs >= this.#maxKeyAgeMs;
    return isDue ? Buffer.concat([this.#rekey(nowMs), this.#next(record)]) : this.#next(record);
  }

  /** Forgets the secret; nothing can be sealed after the next limit. */
  wipe(): void {
    this.#secret.wipe();
  }

  #rekey(nowMs: number): Buffer {
    const record = this.#next(unsealed([REKEY]));
    const next = rekeyed(this.#secret);
    this.#secret.wipe();
    this.#secret = next;
    this.#keys = recordKeys(next);
    this.#recordsUnderKey = 0;
    this.#keyedAtMs = nowMs;
    return record;
  }

  #next(record: Buffer): Buffer {
    sealInPlace(this.#keys, this.#counter, record);
    this.#counter++;
    this.#recordsUnderKey++;
    return record;
  }
}

/** The receiving end of an open channel. Its first error is its last word: every later call throws the same. */
export class Opener {
  #secret: Secret;
  #keys: RecordKeys;
  #counter: number;
  #recordsUnderKey = 0;
  #failure: ChatError | null = null;
  #refusal: ((payload: Uint8Array) => ChatError | null) | null;
  readonly #maxRecords: number;

  /**
   * Takes ownership of `secret`.
   * @param refusal asked about a first record whose counter is 1: a server that refuses client_auth says why under its handshake key
   */
  constructor(
    secret: Secret,
    limits: ChannelLimits = {},
    refusal: ((payload: Uint8Array) => ChatError | null) | null = null,
  ) {
    this.#secret = secret;
    this.#keys = recordKeys(secret);
    this.#counter = limits.firstCounter ?? 0;
    this.#maxRecords = limits.maxRecordsPerKey ?? MAX_RECORDS_PER_KEY;
    this.#refusal = refusal;
  }

  /**
   * The frames of one record as a CBOR sequence; no bytes for a rekey record, which is dealt with here.
   * @throws BAD_FRAME, REPLAY, DECRYPT_FAIL, or what the server refused this client for; each ends the connection
   */
  open(payload: Uint8Array): Buffer {
    if (this.#failure !== null) throw this.#failure;
    try {
      return this.#open(payload);
    } catch (error) {
      this.#failure = ChatError.from(error);
      this.#secret.wipe();
      throw this.#failure;
    }
  }

  /** Forgets the secret; a rekey after this fails. */
  wipe(): void {
    this.#secret.wipe();
  }

  #open(payload: Uint8Array): Buffer {
    if (this.#refusal !== null) {
      const told = counterOf(payload) === 1 ? this.#refusal(payload) : null;
      this.#refusal = null;
      if (told !== null) throw told;
    }
    const plaintext = openRecord(this.#keys, this.#counter, payload);
    this.#counter++;
    this.#recordsUnderKey++;
    if (plaintext.length === 0) throw new ChatError('BAD_FRAME', 'record without a frame', { field: 'record' });
    if (!plaintext.equals(REKEY)) {
      if (this.#recordsUnderKey >= this.#maxRecords)
        throw new ChatError('BAD_FRAME', `key used for ${this.#maxRecords} records`, { field: 'rekey' });
      return plaintext;
    }
    // New keys cost three times a record, and no limit of requests counts them: they come between frames, which are counted.
    if (this.#recordsUnderKey === 1)
      throw new ChatError('BAD_FRAME', 'a key that no frame was sent under', { field: 'rekey' });
    const next = rekeyed(this.#secret);
    this.#secret.wipe();
    this.#secret = next;
    this.#keys = recordKeys(next);
    this.#recordsUnderKey = 0;
    return Buffer.alloc(0);
  }
}

/** Other nonce lengths take GCM's hashing path, which nothing here has reason to use. */
function ownSizes(key: KeyObject, nonce: Uint8Array): void {
  if (key.symmetricKeySize !== 32 || nonce.length !== 12)
    throw new ChatError('INTERNAL', 'not an AES-256-GCM key and nonce');
}

/** IV xor the counter in its last 8 bytes (RFC 8446 §5.3). */
function nonce(iv: Buffer, counter: number): Buffer {
  const out = Buffer.from(iv);
  const high = Math.floor(counter / 0x1_0000_0000);
  const low = counter % 0x1_0000_0000;
  out.writeUInt32BE((out.readUInt32BE(4) ^ high) >>> 0, 4);
  out.writeUInt32BE((out.readUInt32BE(8) ^ low) >>> 0, 8);
  return out;
}
