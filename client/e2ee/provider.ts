/**
 * The cryptography under MLS, by node:crypto, through ts-mls's public CryptoProvider interface. Synchronous inside although the
 * interface is asynchronous: the library's own provider imports a WebCrypto key for each primitive and is 3 to 12 times slower.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, hash, randomBytes, sign, verify } from 'node:crypto';
import { equal, view } from '../../base/bytes.ts';
import { expand, extract, HASH_BYTES, hmac, type HashName } from './hkdf.ts';
import { HpkeBase, NONCE_BYTES, open, seal, type AeadShape } from './hpke.ts';
import { dhKem, montgomery, remembered, weierstrass, xWing, type Kem } from './kem.ts';
import {
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  type Ciphersuite,
  type CiphersuiteImpl,
  type CiphersuiteName,
  type CryptoProvider,
  type Hash,
  type Hpke,
  type Kdf,
  type PrivateKey,
  type PublicKey,
  type Signature,
} from './mls.ts';

/** The one cipher suite of this product: X25519 and ML-KEM-768 together, so that either may fall. */
export const SUITE = 'MLS_256_XWING_AES256GCM_SHA512_Ed25519' satisfies CiphersuiteName;

/** @throws Error for a suite whose primitives are not here (ML-KEM alone, ML-DSA) */
export const nodeProvider: CryptoProvider = {
  async getCiphersuiteImpl(suite: Ciphersuite): Promise<CiphersuiteImpl> {
    const kdf = HASHES[suite.hpke.kdf];
    return {
      name: suite.name,
      hash: hashOf(HASHES[suite.hash]),
      kdf: kdfOf(kdf),
      hpke: hpkeOf(supported(KEMS[suite.hpke.kem]), kdf, AEADS[suite.hpke.aead]),
      signature: signatureOf(supported(SIGNATURES[suite.signature])),
      rng: { randomBytes },
    };
  },
};

export const openSuite = (name: CiphersuiteName = SUITE): Promise<CiphersuiteImpl> =>
  getCiphersuiteImpl(getCiphersuiteFromName(name), nodeProvider);

const HASHES: Record<Ciphersuite['hash'] | Ciphersuite['hpke']['kdf'], HashName> = {
  'SHA-256': 'sha256',
  'SHA-384': 'sha384',
  'SHA-512': 'sha512',
  'HKDF-SHA256': 'sha256',
  'HKDF-SHA384': 'sha384',
  'HKDF-SHA512': 'sha512',
};

/** RFC 9180 §7.3. */
const AEADS: Record<Ciphersuite['hpke']['aead'], AeadShape> = {
  AES128GCM: { id: 1, name: 'aes-128-gcm', keyBytes: 16 },
  AES256GCM: { id: 2, name: 'aes-256-gcm', keyBytes: 32 },
  CHACHA20POLY1305: { id: 3, name: 'chacha20-poly1305', keyBytes: 32 },
};

/** RFC 9180 §7.1. */
const KEMS: Partial<Record<Ciphersuite['hpke']['kem'], Kem>> = {
  'DHKEM-P256-HKDF-SHA256': dhKem(0x10, weierstrass('prime256v1', 32), 'sha256', 32, 0xff),
  'DHKEM-P384-HKDF-SHA384': dhKem(0x11, weierstrass('secp384r1', 48), 'sha384', 48, 0xff),
  'DHKEM-P521-HKDF-SHA512': dhKem(0x12, weierstrass('secp521r1', 66), 'sha512', 64, 0x01),
  'DHKEM-X25519-HKDF-SHA256': dhKem(0x20, montgomery('x25519', 32), 'sha256', 32, null),
  'DHKEM-X448-HKDF-SHA512': dhKem(0x21, montgomery('x448', 56), 'sha512', 64, null),
  'X-Wing': xWing(),
};

interface SignatureShape {
  /** Null: the algorithm brings its own hash. */
  readonly hash: HashName | null;
  readonly type: 'ed25519' | 'ed448' | 'ec';
  readonly namedCurve?: string;
  /** Of a private key; shorter scalars are padded. */
  readonly bytes: number;
}
const SIGNATURES: Partial<Record<Ciphersuite['signature'], SignatureShape>> = {
  Ed25519: { hash: null, type: 'ed25519', bytes: 32 },
  Ed448: { hash: null, type: 'ed448', bytes: 57 },
  P256: { hash: 'sha256', type: 'ec', namedCurve: 'P-256', bytes: 32 },
  P384: { hash: 'sha384', type: 'ec', namedCurve: 'P-384', bytes: 48 },
  P521: { hash: 'sha512', type: 'ec', namedCurve: 'P-521', bytes: 66 },
};

function supported<T>(shape: T | undefined): T {
  if (shape === undefined) throw new Error('this suite needs a primitive that is not implemented here');
  return shape;
}

function hashOf(name: HashName): Hash {
  return {
    digest: async (data) => hash(name, data, 'buffer'),
    mac: async (key, data) => hmac(name, key, data),
    verifyMac: async (key, tag, data) => equal(hmac(name, key, data), tag),
  };
}

const kdfOf = (hash: HashName): Kdf => ({
  size: HASH_BYTES[hash],
  extract: async (salt, ikm) => extract(hash, salt, ikm),
  expand: async (prk, info, lengthBytes) => expand(hash, prk, info, lengthBytes),
});

function hpkeOf(kem: Kem, kdf: HashName, aead: AeadShape): Hpke {
  const base = new HpkeBase(kem, kdf, aead);
  const none = Buffer.alloc(0);
  // The library only hands keys back to us. That they are bytes, and no CryptoKey, is known in these four lines alone.
  const asPublic = (key: Uint8Array) => key as Uint8Array & PublicKey;
  const asPrivate = (key: Uint8Array) => key as Uint8Array & PrivateKey;
  const bytesOf = (key: PublicKey | PrivateKey) => key as PublicKey & Uint8Array;
  const pair = ({ publicKey, privateKey }: { publicKey: Uint8Array; privateKey: Uint8Array }) => ({
    publicKey: asPublic(publicKey),
    privateKey: asPrivate(privateKey),
  });
  return {
    keyLength: aead.keyBytes,
    nonceLength: NONCE_BYTES,
    seal: async (key, plaintext, info, aad = none) => base.seal(bytesOf(key), info, aad, plaintext),
    open: async (key, enc, ciphertext, info, aad = none) => base.open(bytesOf(key), enc, info, aad, ciphertext),
    exportSecret: async (key, context, length, info) => base.sendExport(bytesOf(key), info, context, length),
    importSecret: async (key, context, enc, length, info) =>
      base.receiveExport(bytesOf(key), enc, info, context, length),
    importPrivateKey: async (bytes) => asPrivate(kem.privateKey(bytes)),
    importPublicKey: async (bytes) => asPublic(kem.publicKey(bytes)),
    exportPublicKey: async (key) => bytesOf(key),
    exportPrivateKey: async (key) => bytesOf(key),
    encryptAead: async (key, nonce, aad = none, plaintext) => seal(aead, key, nonce, aad, plaintext),
    decryptAead: async (key, nonce, aad = none, ciphertext) => open(aead, key, nonce, aad, ciphertext),
    deriveKeyPair: async (ikm) => pair(kem.deriveKeyPair(ikm)),
    generateKeyPair: async () => pair(kem.generateKeyPair()),
  };
}

function signatureOf({ hash: digest, type, namedCurve, bytes }: SignatureShape): Signature {
  const curve = namedCurve === undefined ? {} : { namedCurve };
  const padded = (key: Uint8Array) =>
    key.length < bytes && namedCurve ? Buffer.concat([Buffer.alloc(bytes - key.length), key]) : view(key);
  const privateKey = remembered((key) =>
    createPrivateKey({ key: padded(key), format: 'raw-private', asymmetricKeyType: type, ...curve }),
  );
  const publicKey = remembered((key) =>
    createPublicKey({ key: view(key), format: 'raw-public', asymmetricKeyType: type, ...curve }),
  );
  return {
    sign: async (key, message) => sign(digest, message, privateKey(key)),
    async verify(key, message, signature) {
      try {
        return verify(digest, message, publicKey(key), signature);
      } catch {
        return false; // bytes that are no key have signed nothing
      }
    },
    async keygen() {
      const pair =
        type === 'ec'
          ? generateKeyPairSync('ec', { namedCurve: namedCurve ?? '' })
          : generateKeyPairSync(type as 'ed25519');
      return {
        signKey: pair.privateKey.export({ format: 'raw-private' }),
        publicKey: pair.publicKey.export({ format: 'raw-public' }),
      };
    },
  };
}
