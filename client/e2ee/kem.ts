/**
 * Key encapsulation for HPKE, by node:crypto: DHKEM over the curves of RFC 9180 §4.1, and X-Wing (draft-connolly-cfrg-xwing-kem), which
 * joins ML-KEM-768 with X25519. The product's groups use X-Wing; the others are here because only their suites have official vectors.
 * Keys go in and out as bytes; what OpenSSL makes of them is kept beside the byte string for as long as that lives.
 */
import {
  createECDH,
  createHash,
  createPrivateKey,
  createPublicKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { concat, u16 } from '../../base/bytes.ts';
import { LabeledHkdf, type HashName } from './hkdf.ts';

export interface KeyPair {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** Every method throws for bytes that are no key or no encapsulation of this KEM. */
export interface Kem {
  readonly id: number;
  /** RFC 9180 §4, DeriveKeyPair. */
  deriveKeyPair(ikm: Uint8Array): KeyPair;
  generateKeyPair(): KeyPair;
  /** The bytes, if they are a key. */
  publicKey(bytes: Uint8Array): Uint8Array;
  privateKey(bytes: Uint8Array): Uint8Array;
  encapsulate(publicKey: Uint8Array): { readonly enc: Uint8Array; readonly shared: Uint8Array };
  decapsulate(privateKey: Uint8Array, enc: Uint8Array): Uint8Array;
}

/** A curve: what DHKEM needs of it. */
interface Group {
  readonly privateBytes: number;
  /** A private key of these bytes; null if they are out of range. */
  toPrivate(bytes: Uint8Array): Uint8Array | null;
  toPublic(privateKey: Uint8Array): Uint8Array;
  checkPublic(bytes: Uint8Array): void;
  /** Throws for points that are not on the curve, or of low order (RFC 9180 §7.1.4). */
  exchange(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array;
}

/** RFC 9180 §4.1. */
export function dhKem(id: number, group: Group, hash: HashName, secretBytes: number, bitmask: number | null): Kem {
  const hkdf = new LabeledHkdf(hash, concat(Buffer.from('KEM'), u16(id)));
  const shared = (dh: Uint8Array, enc: Uint8Array, recipient: Uint8Array) =>
    hkdf.expand(hkdf.extract(NOTHING, 'eae_prk', dh), 'shared_secret', concat(enc, recipient), secretBytes);
  const pairOf = (privateKey: Uint8Array): KeyPair => ({ privateKey, publicKey: group.toPublic(privateKey) });

  function deriveKeyPair(ikm: Uint8Array): KeyPair {
    const prk = hkdf.extract(NOTHING, 'dkp_prk', ikm);
    if (bitmask === null) return pairOf(hkdf.expand(prk, 'sk', NOTHING, group.privateBytes));
    for (let counter = 0; counter < 256; counter++) {
      const candidate = hkdf.expand(prk, 'candidate', Buffer.of(counter), group.privateBytes);
      candidate[0]! &= bitmask;
      const privateKey = group.toPrivate(candidate);
      if (privateKey) return pairOf(privateKey);
    }
    throw new Error('no private key in 256 candidates');
  }

  const generateKeyPair = () => deriveKeyPair(randomBytes(group.privateBytes));
  return {
    id,
    deriveKeyPair,
    generateKeyPair,
    publicKey(bytes) {
      group.checkPublic(bytes);
      return bytes;
    },
    privateKey(bytes) {
      const privateKey = group.toPrivate(bytes);
      if (!privateKey) throw new Error('private key out of range');
      return privateKey;
    },
    encapsulate(publicKey) {
      const ephemeral = generateKeyPair();
      const dh = group.exchange(ephemeral.privateKey, publicKey);
      return { enc: ephemeral.publicKey, shared: shared(dh, ephemeral.publicKey, publicKey) };
    },
    decapsulate: (privateKey, enc) => shared(group.exchange(privateKey, enc), enc, group.toPublic(privateKey)),
  };
}

/** RFC 7748. */
export function montgomery(asymmetricKeyType: 'x25519' | 'x448', bytes: number): Group {
  const privateKey = remembered((key) =>
    createPrivateKey({ key: own(key, bytes), format: 'raw-private', asymmetricKeyType }),
  );
  const publicKey = remembered((key) =>
    createPublicKey({ key: own(key, bytes), format: 'raw-public', asymmetricKeyType }),
  );
  const publicOf = remembered((key) => createPublicKey(privateKey(key)).export({ format: 'raw-public' }));
  return {
    privateBytes: bytes,
    toPrivate: (key) => (privateKey(key), key),
    toPublic: publicOf,
    // Any private key shows a point of low order: it is a multiple of eight.
    checkPublic(key) {
      this.exchange(Buffer.alloc(bytes, 1), key);
    },
    exchange(mine, theirs) {
      const dh = diffieHellman({ privateKey: privateKey(mine), publicKey: publicKey(theirs) });
      // OpenSSL refuses this as well; RFC 7748 §6 asks for the check, and another build may not make it.
      if (dh.every((byte) => byte === 0)) throw new Error('all-zero result');
      return dh;
    },
  };
}

/** SEC 1; public keys are uncompressed points. */
export function weierstrass(curve: 'prime256v1' | 'secp384r1' | 'secp521r1', bytes: number): Group {
  const pair = remembered((key) => {
    const ecdh = createECDH(curve);
    ecdh.setPrivateKey(key);
    return ecdh;
  });
  return {
    privateBytes: bytes,
    toPrivate(key) {
      if (key.length > bytes) return null;
      const padded = key.length === bytes ? key : concat(Buffer.alloc(bytes - key.length), key);
      try {
        pair(padded);
        return padded;
      } catch {
        return null;
      }
    },
    toPublic: (key) => pair(key).getPublicKey(),
    checkPublic(key) {
      if (key.length !== 1 + 2 * bytes || key[0] !== 4) throw new Error('not an uncompressed point');
    },
    exchange(mine, theirs) {
      this.checkPublic(theirs);
      return pair(mine).computeSecret(theirs);
    },
  };
}

const MLKEM_PUBLIC_BYTES = 1184;
const MLKEM_CIPHERTEXT_BYTES = 1088;
const X25519_BYTES = 32;
/** `\./` over `/^\`, draft-connolly-cfrg-xwing-kem §5.3. */
const XWING_LABEL = Buffer.from('5c2e2f2f5e5c', 'hex');

/** draft-connolly-cfrg-xwing-kem §5. A private key is the 32-byte seed. */
export function xWing(): Kem {
  const x25519 = montgomery('x25519', X25519_BYTES);
  const opened = remembered((seed) => {
    const bytes = shake256(own(seed, 32), 96);
    const mlKem = createPrivateKey({ key: bytes.subarray(0, 64), format: 'raw-seed', asymmetricKeyType: 'ml-kem-768' });
    const privateX = bytes.subarray(64);
    const publicX = x25519.toPublic(privateX);
    const publicM = createPublicKey(mlKem).export({ format: 'raw-public' });
    return { mlKem, privateX, publicX, publicKey: concat(publicM, publicX) };
  });
  const parsed = remembered((bytes): { readonly mlKem: KeyObject; readonly publicX: Uint8Array } => {
    own(bytes, MLKEM_PUBLIC_BYTES + X25519_BYTES);
    const key = Buffer.from(bytes.subarray(0, MLKEM_PUBLIC_BYTES));
    // Kept: every use would otherwise make a new view, and with it a new key of OpenSSL.
    const publicX = bytes.subarray(MLKEM_PUBLIC_BYTES);
    x25519.checkPublic(publicX);
    return { mlKem: createPublicKey({ key, format: 'raw-public', asymmetricKeyType: 'ml-kem-768' }), publicX };
  });
  const combine = (...parts: readonly Uint8Array[]): Buffer =>
    createHash('sha3-256')
      .update(concat(...parts, XWING_LABEL))
      .digest();
  const pairOf = (privateKey: Uint8Array): KeyPair => ({ privateKey, publicKey: opened(privateKey).publicKey });
  return {
    id: 0x647a,
    deriveKeyPair: (ikm) => pairOf(shake256(ikm, 32)),
    generateKeyPair: () => pairOf(randomBytes(32)),
    publicKey(bytes) {
      parsed(bytes);
      return bytes;
    },
    privateKey(bytes) {
      opened(bytes);
      return bytes;
    },
    encapsulate(publicKey) {
      const { mlKem, publicX } = parsed(publicKey);
      const ephemeral = randomBytes(X25519_BYTES);
      const ctX = x25519.toPublic(ephemeral);
      const ssX = x25519.exchange(ephemeral, publicX);
      const { sharedKey: ssM, ciphertext: ctM } = encapsulate(mlKem);
      return { enc: concat(ctM, ctX), shared: combine(ssM, ssX, ctX, publicX) };
    },
    decapsulate(privateKey, enc) {
      own(enc, MLKEM_CIPHERTEXT_BYTES + X25519_BYTES);
      const { mlKem, privateX, publicX } = opened(privateKey);
      const ctX = enc.subarray(MLKEM_CIPHERTEXT_BYTES);
      const ssM = decapsulate(mlKem, enc.subarray(0, MLKEM_CIPHERTEXT_BYTES));
      return combine(ssM, x25519.exchange(privateX, ctX), ctX, publicX);
    },
  };
}

const NOTHING = Buffer.alloc(0);

const shake256 = (bytes: Uint8Array, outputLength: number): Buffer =>
  createHash('shake256', { outputLength }).update(bytes).digest();

/** The same bytes as a Buffer. @throws Error for another length */
function own(bytes: Uint8Array, lengthBytes: number): Buffer {
  if (bytes.length !== lengthBytes) throw new Error(`${bytes.length} bytes where ${lengthBytes} belong`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** `make` once for each byte string, by identity: nothing is copied into a table that outlives the key, and no key becomes text. */
export function remembered<T>(make: (bytes: Uint8Array) => T): (bytes: Uint8Array) => T {
  const known = new WeakMap<Uint8Array, { readonly value: T }>();
  return (bytes) => {
    let entry = known.get(bytes);
    if (!entry) known.set(bytes, (entry = { value: make(bytes) }));
    return entry.value;
  };
}
