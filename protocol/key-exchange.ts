/**
 * The three ways to agree on a secret (docs/PROTOCOL.md §2). `ephemeral()` and `respond()` are the one place of this room that draws
 * randomness: their results go into the handshake as data, so a test can put fixed ones in their place. Everything else is pure.
 *
 * Groups and parameters are ours and never the peer's. What a peer sends is a share of fixed length, checked before use.
 */
import {
  createPrivateKey,
  createPublicKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { concat, view } from '../base/bytes.ts';
import { ChatError, withoutTraces } from '../base/errors.ts';
import { Secret } from '../base/secret.ts';

export const SUITE = { x25519MlKem768: 1, x25519: 2, ffdhe3072: 3 } as const;
export type Suite = (typeof SUITE)[keyof typeof SUITE];
export type Share = 'x25519' | 'mlkem768' | 'ffdhe3072';

/** What a suite needs from each side. */
export const SUITE_SHARES: { readonly [S in Suite]: readonly Share[] } = {
  1: ['mlkem768', 'x25519'],
  2: ['x25519'],
  3: ['ffdhe3072'],
};
/** Our order of preference where nothing else is configured. */
export const DEFAULT_SUITES: readonly Suite[] = [1, 2, 3];
/** Lengths on the wire: the client sends encapsulation keys, the server ciphertexts (FIPS 203 §8, table 3). */
export const CLIENT_SHARE_BYTES = { x25519: 32, mlkem768: 1184, ffdhe3072: 384 } as const;
export const SERVER_SHARE_BYTES = { x25519: 32, mlkem768: 1088, ffdhe3072: 384 } as const;
export const RANDOM_BYTES = 32;

export const isSuite = (value: number): value is Suite => Object.hasOwn(SUITE_SHARES, value);

/** Public values as they travel; absent when no suite needs them. */
export type Shares = { readonly [S in Share]?: Uint8Array };
/** Private keys of one handshake, for the shares of the same names. */
export type PrivateKeys = { readonly [S in Share]?: KeyObject };

/** What a client brings to one handshake. */
export interface Offer {
  readonly suites: readonly number[];
  readonly random: Uint8Array;
  readonly shares: Shares;
  readonly privateKeys: PrivateKeys;
}
/** What a server brings: `ikm` is the agreed secret, `shares` let the client compute it. */
export interface Answer {
  readonly random: Uint8Array;
  readonly shares: Shares;
  readonly ikm: Secret;
}
/** @throws DH_FAIL with the share as `field` */
export type Respond = (suite: Suite, clientShares: Shares) => Answer;

/** Fresh keys for one handshake of a client. Draws randomness. */
export function ephemeral(suites: readonly Suite[] = DEFAULT_SUITES): Offer {
  const needed = new Set(suites.flatMap((suite) => SUITE_SHARES[suite]));
  const keys: { [S in Share]?: KeyObject } = {};
  if (needed.has('mlkem768')) keys.mlkem768 = generateKeyPairSync('ml-kem-768').privateKey;
  if (needed.has('x25519')) keys.x25519 = generateKeyPairSync('x25519').privateKey;
  if (needed.has('ffdhe3072')) keys.ffdhe3072 = generateFfdhe3072();
  return offerOf(suites, randomBytes(RANDOM_BYTES), keys);
}

/** A server's answer to the shares of a client. Draws randomness. @throws DH_FAIL with the share as `field` */
export const respond: Respond = (suite, clientShares) => {
  const random = randomBytes(RANDOM_BYTES);
  if (suite === SUITE.ffdhe3072) {
    const own = generateFfdhe3072();
    return {
      random,
      shares: { ffdhe3072: publicShare('ffdhe3072', own) },
      ikm: ffdhe3072(own, clientShares.ffdhe3072),
    };
  }
  const own = generateKeyPairSync('x25519');
  const x25519Share = own.publicKey.export({ format: 'raw-public' });
  const classical = x25519(own.privateKey, clientShares.x25519);
  if (suite === SUITE.x25519) return { random, shares: { x25519: x25519Share }, ikm: classical };
  const { ciphertext, sharedSecret } = mlkem768Encapsulate(clientShares.mlkem768);
  return { random, shares: { x25519: x25519Share, mlkem768: ciphertext }, ikm: join(sharedSecret, classical) };
};

/** The offer that these private keys make. */
export function offerOf(suites: readonly number[], random: Uint8Array, privateKeys: PrivateKeys): Offer {
  const shares: { [S in Share]?: Uint8Array } = {};
  for (const share of ['x25519', 'mlkem768', 'ffdhe3072'] as const) {
    const key = privateKeys[share];
    if (key !== undefined) shares[share] = publicShare(share, key);
  }
  return { suites, random, shares, privateKeys };
}

/** The client's side: the agreed secret from its own keys and the server's shares. @throws DH_FAIL with the share as `field` */
export function agree(suite: Suite, keys: PrivateKeys, serverShares: Shares): Secret {
  if (suite === SUITE.ffdhe3072) return ffdhe3072(keys.ffdhe3072, serverShares.ffdhe3072);
  const classical = x25519(keys.x25519, serverShares.x25519);
  if (suite === SUITE.x25519) return classical;
  return join(mlkem768Decapsulate(keys.mlkem768, serverShares.mlkem768), classical);
}

/** RFC 7748 §6.1; 32 bytes. @throws DH_FAIL for another length or an all-zero result (low-order points) */
export function x25519(own: KeyObject | undefined, peer: Uint8Array | undefined): Secret {
  const share = exactly(peer, CLIENT_SHARE_BYTES.x25519, 'x25519');
  return guarded('x25519', () => {
    const publicKey = rawPublic(share, 'x25519') as unknown as KeyObject; // Node's types do not have this form here
    const shared = withoutTraces(() => diffieHellman({ privateKey: present(own), publicKey }));
    // OpenSSL refuses this as well; RFC 7748 §6.1 asks for the check, and another library may not make it.
    if (shared.length !== 32 || shared.every((byte) => byte === 0)) throw new Error('all-zero result');
    return new Secret(shared);
  });
}

/** FIPS 203 §6.2 with the checks of §7.2. @throws DH_FAIL for a key that is not 1184 canonical bytes */
export function mlkem768Encapsulate(peer: Uint8Array | undefined): { ciphertext: Buffer; sharedSecret: Secret } {
  const share = exactly(peer, CLIENT_SHARE_BYTES.mlkem768, 'mlkem768');
  return guarded('mlkem768', () => {
    const { ciphertext, sharedKey } = withoutTraces(() => encapsulate(rawPublic(share, 'ml-kem-768')));
    return { ciphertext: view(ciphertext), sharedSecret: new Secret(sharedKey) };
  });
}

/** FIPS 203 §6.3: a wrong ciphertext of the right length gives a wrong secret and no error. @throws DH_FAIL for another length */
export function mlkem768Decapsulate(own: KeyObject | undefined, ciphertext: Uint8Array | undefined): Secret {
  const share = exactly(ciphertext, SERVER_SHARE_BYTES.mlkem768, 'mlkem768');
  return guarded('mlkem768', () => new Secret(decapsulate(present(own), share)));
}

/** RFC 7919 §3 and §5.1; 384 bytes, zeros on the left kept. @throws DH_FAIL unless 2 <= share <= p-2 */
export function ffdhe3072(own: KeyObject | undefined, peer: Uint8Array | undefined): Secret {
  const share = exactly(peer, CLIENT_SHARE_BYTES.ffdhe3072, 'ffdhe3072');
  if (isBelow(share, TWO) || isBelow(P_MINUS_2, share)) throw refused('ffdhe3072', 'is not within 2..p-2');
  return guarded('ffdhe3072', () => {
    const spki = der(0x30, FFDHE3072_ALGORITHM, der(0x03, Buffer.alloc(1), integer(share)));
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    return new Secret(diffieHellman({ privateKey: present(own), publicKey })); // Node keeps the zeros on the left
  });
}

/** A private key of suite 3 from its exponent (big-endian). */
export function ffdhe3072PrivateKey(exponent: Uint8Array): KeyObject {
  const key = der(0x30, integer(Buffer.alloc(1)), FFDHE3072_ALGORITHM, der(0x04, integer(exponent)));
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
}

/** What the owner of this private key sends. */
export function publicShare(share: Share, privateKey: KeyObject): Buffer {
  const publicKey = createPublicKey(privateKey);
  if (share !== 'ffdhe3072') return publicKey.export({ format: 'raw-public' });
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  const bitString = contents(contents(spki).subarray(FFDHE3072_ALGORITHM.length));
  const magnitude = contents(bitString.subarray(1)); // behind the count of unused bits; perhaps a zero in front
  return concat(Buffer.alloc(Math.max(0, 384 - magnitude.length)), magnitude.subarray(-384));
}

/**
 * OpenSSL knows the prime and draws exponents of 275 bits (RFC 7919 §5.2). `createDiffieHellman` would test the prime for two seconds
 * on every call. Node's types have no 'dh' here.
 */
const generateFfdhe3072 = (): KeyObject =>
  (
    generateKeyPairSync as unknown as (
      type: 'dh',
      group: { prime: Buffer; generator: number },
    ) => { privateKey: KeyObject }
  )('dh', { prime: FFDHE3072_P, generator: 2 }).privateKey;

const join = (first: Secret, second: Secret): Secret => new Secret(first.use((a) => second.use((b) => concat(a, b))));

/**
 * Read where it is used: a KeyObject of it would be made for one use. Node finds out by exceptions that these bytes are neither KeyObject nor
 * CryptoKey.
 */
const rawPublic = (key: Uint8Array, asymmetricKeyType: 'x25519' | 'ml-kem-768') =>
  ({ key: view(key), format: 'raw-public', asymmetricKeyType }) as const;

function refused(share: Share, what: string, cause?: unknown): ChatError {
  return new ChatError('DH_FAIL', `${share} share ${what}`, { sub: 'share', field: share, cause });
}
function exactly(value: Uint8Array | undefined, bytes: number, share: Share): Uint8Array {
  if (value?.length !== bytes) throw refused(share, `has not ${bytes} bytes`);
  return value;
}
function present(key: KeyObject | undefined): KeyObject {
  if (key === undefined) throw new ChatError('INTERNAL', 'no private key for this share');
  return key;
}
/** OpenSSL's own refusals (low-order points, non-canonical keys) become DH_FAIL. */
function guarded<T>(share: Share, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw cause instanceof ChatError ? cause : refused(share, 'was refused', cause);
  }
}

/** Big-endian numbers of one length. Shares are public: no constant time needed. */
const isBelow = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) < 0;

/** DER of RFC 8017-style structures: tag, length (as many bytes as it needs), contents. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const contents = concat(...parts);
  const n = contents.length;
  const length = n < 0x80 ? [n] : n < 0x100 ? [0x81, n] : [0x82, n >> 8, n & 0xff];
  return concat(Buffer.from([tag, ...length]), contents);
}
/** Of a last element, whose contents reach to the end. */
const contents = (element: Buffer): Buffer => element.subarray(element[1]! < 0x80 ? 2 : 2 + (element[1]! & 0x7f));
function integer(magnitude: Uint8Array): Buffer {
  let from = 0;
  while (from < magnitude.length - 1 && magnitude[from] === 0) from++;
  const short = magnitude.subarray(from);
  return der(0x02, ...((short[0] ?? 0) >= 0x80 ? [Buffer.alloc(1), short] : [short]));
}

/** RFC 7919 §A.2. */
export const FFDHE3072_P = Buffer.from(
  'ffffffffffffffffadf85458a2bb4a9aafdc5620273d3cf1d8b9c583ce2d3695a9e13641146433fbcc939dce249b3ef9' +
    '7d2fe363630c75d8f681b202aec4617ad3df1ed5d5fd65612433f51f5f066ed0856365553ded1af3b557135e7f57c935' +
    '984f0c70e0e68b77e2a689daf3efe8721df158a136ade73530acca4f483a797abc0ab182b324fb61d108a94bb2c8e3fb' +
    'b96adab760d7f4681d4f42a3de394df4ae56ede76372bb190b07a7c8ee0a6d709e02fce1cdf7e2ecc03404cd28342f61' +
    '9172fe9ce98583ff8e4f1232eef28183c3fe3b1b4c6fad733bb5fcbc2ec22005c58ef1837d1683b2c6f34a26c1b2effa' +
    '886b4238611fcfdcde355b3b6519035bbc34f4def99c023861b46fc9d6e6c9077ad91d2691f7f7ee598cb0fac186d91c' +
    'aefe130985139270b4130c93bc437944f4fd4452e2d74dd364f2e21e71f54bff5cae82ab9c9df69ee86d2bc522363a0d' +
    'abc521979b0deada1dbf9a42d5c4484e0abcd06bfa53ddef3c1b20ee3fd59d7c25e41d2b66c62e37ffffffffffffffff',
  'hex',
);
/** AlgorithmIdentifier dhKeyAgreement (PKCS #3) with p and g. */
const FFDHE3072_ALGORITHM = der(
  0x30,
  Buffer.from('06092a864886f70d010301', 'hex'),
  der(0x30, integer(FFDHE3072_P), integer(Buffer.from([2]))),
);
const TWO = concat(Buffer.alloc(383), Buffer.from([2]));
const P_MINUS_2 = concat(FFDHE3072_P.subarray(0, 383), Buffer.from([0xfd]));
