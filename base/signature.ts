/**
 * Signatures by certificate keys. The algorithm is the key's type and nothing negotiable: 1 Ed25519 (RFC 8032, pure), 2 ECDSA P-256
 * with SHA-256 (DER), 3 RSA-PSS with SHA-256, MGF1-SHA-256 and 32 bytes of salt (RFC 8017 §8.1), modulus >= 2048 bits.
 * What is signed is always `tbs(context, body)`: the certificate keys also sign TLS 1.3 handshakes, and RFC 8446 §4.4.3 gives every
 * such signature 64 spaces and a context string of its own. TLS 1.2 must be off, for it signs bytes that the peer chooses.
 */
import { constants, sign as nodeSign, verify as nodeVerify, type KeyObject } from 'node:crypto';
import { concat, utf8 } from './bytes.ts';
import { ChatError } from './errors.ts';

export const ALGORITHM = { ed25519: 1, ecdsaP256: 2, rsaPss: 3 } as const;
export type Algorithm = (typeof ALGORITHM)[keyof typeof ALGORITHM];
/** RSA-4096 makes 512 bytes; the largest key that is accepted has 8192 bits. */
export const MAX_SIGNATURE_BYTES = 1024;

export const CONTEXT = {
  serverHandshake: 'chat/v1, server handshake',
  clientHandshake: 'chat/v1, client handshake',
  senderBatch: 'chatlog/v1, sender batch',
  logKey: 'chatlog/v1, log key',
  bundle: 'chatlog/v1, bundle',
  deviceBinding: 'chat/v1, device binding',
  deviceContinuity: 'chat/v1, device continuity',
} as const;
export type Context = (typeof CONTEXT)[keyof typeof CONTEXT];

const SPACES = Buffer.alloc(64, 0x20);

/** The bytes to be signed: 64 spaces, context, zero byte, body (the shape of RFC 8446 §4.4.3). */
export const tbs = (context: Context, body: Uint8Array): Buffer => concat(SPACES, utf8(context), Buffer.alloc(1), body);

/** What a key makes. */
interface Scheme {
  readonly algorithm: Algorithm;
  /** Of a signature. */
  readonly minBytes: number;
  readonly maxBytes: number;
}

/** The algorithm of this key. @throws BAD_CERT/weak_key for a type or size that is not accepted */
export const algorithmOf = (key: KeyObject): Algorithm => schemeOf(key).algorithm;

/** @throws BAD_CERT/weak_key */
function schemeOf(key: KeyObject): Scheme {
  const known = schemes.get(key);
  if (known !== undefined) return known;
  const found = schemeIn(key);
  schemes.set(key, found);
  return found;
}
/** A key's own details are read anew each time that they are asked for. */
const schemes = new WeakMap<KeyObject, Scheme>();

function schemeIn(key: KeyObject): Scheme {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === 'ed25519') return { algorithm: ALGORITHM.ed25519, minBytes: 64, maxBytes: 64 };
  if (type === 'ec' && details?.namedCurve === 'prime256v1')
    return { algorithm: ALGORITHM.ecdsaP256, minBytes: 8, maxBytes: 72 };
  const bits = details?.modulusLength ?? 0;
  const exponent = details?.publicExponent ?? 0n;
  const bytes = Math.ceil(bits / 8); // RFC 8017 §8.1.2; OpenSSL also takes one without its first zeros, a second spelling
  if (type === 'rsa' && bits >= 2048 && bits <= 8192 && isExponent(exponent))
    return { algorithm: ALGORITHM.rsaPss, minBytes: bytes, maxBytes: bytes };
  throw new ChatError(
    'BAD_CERT',
    'key is neither Ed25519, ECDSA P-256 nor RSA of 2048..8192 bits with an odd e of 65537..2^64 - 1',
    { sub: 'weak_key' },
  );
}

/**
 * An even one belongs to no RSA key (FIPS 186-5 §A.1.1). A signature takes as long as the exponent has bits: of one as long as the modulus, a hundred
 * times as long as of others, and whoever owns the key chooses it. OpenSSL has this limit for moduli above 3072 bits.
 */
const isExponent = (exponent: bigint): boolean => exponent >= 65537n && exponent < 1n << 64n && (exponent & 1n) === 1n;

const pss = (key: KeyObject) => ({
  key,
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: 32, // Node signs with the largest salt and verifies any unless told
});

/** @throws BAD_CERT/weak_key */
export function sign(
  privateKey: KeyObject,
  context: Context,
  body: Uint8Array,
): { algorithm: Algorithm; signature: Buffer } {
  const algorithm = algorithmOf(privateKey);
  const data = tbs(context, body);
  if (algorithm === ALGORITHM.ed25519) return { algorithm, signature: nodeSign(null, data, privateKey) };
  if (algorithm === ALGORITHM.ecdsaP256) return { algorithm, signature: nodeSign('sha256', data, privateKey) };
  return { algorithm, signature: nodeSign('sha256', data, pss(privateKey)) };
}

/** False for a wrong signature, a wrong algorithm for the key, or a key that is not accepted; never throws. */
export function verify(
  publicKey: KeyObject,
  algorithm: number,
  context: Context,
  body: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    return verifyRaw(publicKey, algorithm, tbs(context, body), signature);
  } catch {
    return false;
  }
}

/** The same over bytes that already are what was signed (`SHA256SUMS.tbs`, test vectors). @throws BAD_CERT/weak_key */
export function verifyRaw(publicKey: KeyObject, algorithm: number, data: Uint8Array, signature: Uint8Array): boolean {
  if (!isOfScheme(publicKey, algorithm, signature)) return false;
  if (algorithm === ALGORITHM.ed25519) return nodeVerify(null, data, publicKey, signature);
  if (algorithm === ALGORITHM.ecdsaP256) return nodeVerify('sha256', data, publicKey, signature);
  return nodeVerify('sha256', data, pss(publicKey), signature);
}

/** @throws BAD_CERT/weak_key */
function isOfScheme(publicKey: KeyObject, algorithm: number, { length }: Uint8Array): boolean {
  const scheme = schemeOf(publicKey);
  return scheme.algorithm === algorithm && scheme.minBytes <= length && length <= scheme.maxBytes;
}

/** Whether the key made this signature over `data`, by its own algorithm; false for a key that is not accepted. Never throws. */
export function isSignedBy(publicKey: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verifyRaw(publicKey, algorithmOf(publicKey), data, signature);
  } catch {
    return false;
  }
}

/** As verify(), in libuv's thread pool: for the server, which verifies all day and must go on reading sockets meanwhile. */
export function verifyAsync(
  publicKey: KeyObject,
  algorithm: number,
  context: Context,
  body: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      if (!isOfScheme(publicKey, algorithm, signature)) return resolve(false);
      const key = algorithm === ALGORITHM.rsaPss ? pss(publicKey) : publicKey;
      nodeVerify(algorithm === ALGORITHM.ed25519 ? null : 'sha256', tbs(context, body), key, signature, (error, ok) =>
        resolve(!error && ok),
      );
    } catch {
      resolve(false);
    }
  });
}
