/**
 * The password proof (docs/PROTOCOL.md §4): the key functions of SCRAM (RFC 5802 §3, RFC 7677) over an AuthMessage of our own that is
 * bound to the session, with Argon2id (RFC 9106) in the place of Hi(). The password and what derives from it alone never travel.
 */
import { argon2, pbkdf2 } from 'node:crypto';
import { concat, equal, utf8, view } from '../base/bytes.ts';
import { encode } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import { hmacSha256, sha256 } from '../base/hash.ts';
import { Secret } from '../base/secret.ts';
import {
  ARGON2_MEMORY_KIB,
  ARGON2_PASSES,
  MAX_ARGON2_MEMORY_KIB,
  MAX_ARGON2_PASSES,
  MAX_PASSWORD_BYTES,
  MAX_PBKDF2_ROUNDS,
  MIN_ARGON2_MEMORY_KIB,
  MIN_ARGON2_PASSES,
  MIN_PBKDF2_ROUNDS,
} from './limits.ts';

export const SALT_BYTES = 16;
export const NONCE_BYTES = 24;

export type Kdf =
  | { readonly name: 'argon2id'; readonly memoryKib: number; readonly passes: number }
  | { readonly name: 'pbkdf2-sha256'; readonly rounds: number };
/** What a new password gets. */
export const DEFAULT_KDF: Kdf = { name: 'argon2id', memoryKib: ARGON2_MEMORY_KIB, passes: ARGON2_PASSES };

/** `argon2id$m=65536,t=3,p=1` or `pbkdf2-sha256$i=600000`. */
export const formatKdf = (kdf: Kdf): string =>
  kdf.name === 'argon2id' ? `argon2id$m=${kdf.memoryKib},t=${kdf.passes},p=1` : `pbkdf2-sha256$i=${kdf.rounds}`;

/**
 * Both sides parse what the other names, so that neither a lying server nor a careless client sets the cost.
 * @throws WEAK_KDF with sub unknown, memory, passes, parallelism or rounds
 */
export function parseKdf(text: string): Kdf {
  const argon = /^argon2id\$m=([1-9]\d{0,9}),t=([1-9]\d{0,9}),p=([1-9]\d{0,9})$/.exec(text);
  if (argon) {
    const [memoryKib, passes, lanes] = argon.slice(1).map(Number) as [number, number, number];
    within('memory', memoryKib, MIN_ARGON2_MEMORY_KIB, MAX_ARGON2_MEMORY_KIB);
    within('passes', passes, MIN_ARGON2_PASSES, MAX_ARGON2_PASSES);
    within('parallelism', lanes, 1, 1);
    return { name: 'argon2id', memoryKib, passes };
  }
  const rounds = Number(/^pbkdf2-sha256\$i=([1-9]\d{0,9})$/.exec(text)?.[1] ?? NaN);
  if (Number.isNaN(rounds)) throw weak('unknown', 'not a password hash that this version knows');
  within('rounds', rounds, MIN_PBKDF2_ROUNDS, MAX_PBKDF2_ROUNDS);
  return { name: 'pbkdf2-sha256', rounds };
}

/** Of two Argon2id's the larger of each cost; else the first. */
export const strongerKdf = (a: Kdf, b: Kdf): Kdf =>
  a.name === 'argon2id' && b.name === 'argon2id'
    ? { ...a, memoryKib: Math.max(a.memoryKib, b.memoryKib), passes: Math.max(a.passes, b.passes) }
    : a;

/** @throws WEAK_KDF/memory or passes for one of the same hash that costs less than `floor`; hashes are not compared with each other */
export function checkNotBelow(kdf: Kdf, floor: Kdf): void {
  if (kdf.name !== 'argon2id' || floor.name !== 'argon2id') return;
  within('memory', kdf.memoryKib, floor.memoryKib, MAX_ARGON2_MEMORY_KIB);
  within('passes', kdf.passes, floor.passes, MAX_ARGON2_PASSES);
}

/**
 * OpaqueString (RFC 8265 §4.2) as UTF-8: other spaces become U+0020, then NFC. Characters outside PRECIS's FreeformClass are refused;
 * so are the joiners, which that class allows in some contexts.
 * @throws USAGE/password when empty, over 1024 bytes, or with such characters
 */
export function preparePassword(password: string): Buffer {
  const prepared = utf8(password.replace(/\p{Zs}/gu, ' ').normalize('NFC'));
  if (prepared.length === 0) throw unfit('a password is not empty');
  if (prepared.length > MAX_PASSWORD_BYTES) throw unfit(`a password has at most ${MAX_PASSWORD_BYTES} bytes`);
  if (!FREEFORM.test(prepared.toString())) throw unfit('a password has no control or unassigned characters');
  return prepared;
}
/** RFC 8264 §4.3.1; an unpaired surrogate has become U+FFFD in UTF-8 and would not come back as typed, so it is refused too. */
const FREEFORM =
  /^[[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]--[\p{Default_Ignorable_Code_Point}\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb\ufffd]]+$/v;

/** SaltedPassword: 32 bytes; Argon2id works in the thread pool. @param password from preparePassword() */
export function saltedPassword(password: Uint8Array, salt: Uint8Array, kdf: Kdf): Promise<Secret> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, key: Buffer) =>
      error ? reject(new ChatError('INTERNAL', 'password hash failed', { cause: error })) : resolve(new Secret(key));
    if (kdf.name === 'pbkdf2-sha256') return pbkdf2(password, salt, kdf.rounds, 32, 'sha256', done);
    const cost = { memory: kdf.memoryKib, passes: kdf.passes, parallelism: 1, tagLength: 32 };
    argon2('argon2id', { message: password, nonce: salt, ...cost }, done);
  });
}

/** What a server keeps: it can check proofs with it and make none. */
export interface Verifier {
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}
export const verifierOf = (salted: Secret): Verifier =>
  salted.use((key) => ({ storedKey: sha256(clientKey(key)), serverKey: hmacSha256(key, utf8('Server Key')) }));

/** Everything that both sides have seen of this login. */
export interface Login {
  readonly username: string;
  readonly clientNonce: Uint8Array;
  readonly serverNonce: Uint8Array;
  readonly salt: Uint8Array;
  /** As it travelled. */
  readonly kdf: string;
  /** loginBinding() of the session: a proof for one session is worthless in every other. */
  readonly channelBinding: Uint8Array;
}

/** The bytes that proof and server signature cover. */
export const authMessage = (login: Login): Buffer =>
  encode([
    'chat/v1 scram',
    login.username,
    login.clientNonce,
    login.serverNonce,
    login.salt,
    login.kdf,
    login.channelBinding,
  ]);

/** ClientKey XOR HMAC(StoredKey, AuthMessage); 32 bytes. */
export const clientProof = (salted: Secret, message: Uint8Array): Buffer =>
  salted.use((key) => {
    const own = clientKey(key);
    return xor(own, hmacSha256(sha256(own), message));
  });

/** True for a proof by the holder of the password, false for any other bytes. Constant time. */
export function checkProof(storedKey: Uint8Array, message: Uint8Array, proof: Uint8Array): boolean {
  return equal(sha256(xor(proof, hmacSha256(storedKey, message))), storedKey);
}

/** HMAC(ServerKey, AuthMessage): proves to the client that the server knows the account. 32 bytes. */
export const serverSignature = (serverKey: Uint8Array, message: Uint8Array): Buffer => hmacSha256(serverKey, message);

/** The client's check of the same. Constant time. */
export const checkServerSignature = (salted: Secret, message: Uint8Array, signature: Uint8Array): boolean =>
  equal(serverSignature(verifierOf(salted).serverKey, message), signature);

/** The salt of a user who does not exist: always the same for one name, so that names cannot be told apart. */
export const fakeSalt = (secret: Secret, username: string): Buffer =>
  fake(secret, 'salt', username).subarray(0, SALT_BYTES);

/** Keys nobody has a password for: checkProof() with them does the same work as with real ones and is false. */
export const fakeVerifier = (secret: Secret, username: string): Verifier => ({
  storedKey: fake(secret, 'stored key', username),
  serverKey: fake(secret, 'server key', username),
});

const fake = (secret: Secret, what: string, username: string): Buffer =>
  secret.use((key) => hmacSha256(key, encode(['chat/v1 fake', what, username])));

const clientKey = (salted: Uint8Array): Buffer => hmacSha256(salted, utf8('Client Key'));

function xor(a: Uint8Array, b: Uint8Array): Buffer {
  const out = view(concat(a));
  for (let i = 0; i < out.length; i++) out[i]! ^= b[i] ?? 0;
  return out;
}

function within(sub: string, value: number, min: number, max: number): void {
  if (!(value >= min && value <= max)) throw weak(sub, `${sub} ${value} is not within ${min}..${max}`);
}
const weak = (sub: string, why: string) => new ChatError('WEAK_KDF', `password hash refused: ${why}`, { sub });
const unfit = (why: string) => new ChatError('USAGE', why, { sub: 'password' });
