/** The signatures that certificates and CRLs carry, and the keys that may make them. Nothing with MD5 or SHA-1, nothing below 2048 bits. */
import { constants, verify, type KeyObject } from 'node:crypto';
import { view } from '../base/bytes.ts';
import { algorithmOf } from '../base/signature.ts';
import { constructed, DerReader, octetsOfBitString, oid, open, smallInteger, TAG, type Element } from './der.ts';
import { refusal } from './refusal.ts';

/** A `SIGNED{}` value: what was signed, how, and the signature. */
export interface Signed {
  readonly tbs: Uint8Array;
  readonly algorithm: Element;
  readonly signature: Uint8Array;
}

interface Scheme {
  readonly keyType: 'rsa' | 'ec' | 'ed25519';
  readonly hash: string | null;
  readonly parameters: 'null' | 'absent' | 'pss';
}

const SCHEMES: Readonly<Record<string, Scheme>> = {
  '1.2.840.113549.1.1.11': { keyType: 'rsa', hash: 'sha256', parameters: 'null' },
  '1.2.840.113549.1.1.12': { keyType: 'rsa', hash: 'sha384', parameters: 'null' },
  '1.2.840.113549.1.1.13': { keyType: 'rsa', hash: 'sha512', parameters: 'null' },
  '1.2.840.113549.1.1.10': { keyType: 'rsa', hash: null, parameters: 'pss' },
  '1.2.840.10045.4.3.2': { keyType: 'ec', hash: 'sha256', parameters: 'absent' },
  '1.2.840.10045.4.3.3': { keyType: 'ec', hash: 'sha384', parameters: 'absent' },
  '1.2.840.10045.4.3.4': { keyType: 'ec', hash: 'sha512', parameters: 'absent' },
  '1.3.101.112': { keyType: 'ed25519', hash: null, parameters: 'absent' },
};
const HASHES: Readonly<Record<string, string>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
const MGF1 = '1.2.840.113549.1.1.8';

/** RFC 5280 §4.1: `SEQUENCE { tbs, AlgorithmIdentifier, BIT STRING }`. @throws BAD_CERT/malformed */
export function parseSigned(outer: DerReader): { tbs: Element; signed: Signed } {
  const tbs = outer.element(TAG.sequence);
  const algorithm = outer.element(TAG.sequence);
  const signature = octetsOfBitString(outer.element(TAG.bitString), outer.field);
  outer.end();
  return { tbs, signed: { tbs: tbs.der, algorithm, signature } };
}

/** The OID of an AlgorithmIdentifier. @throws BAD_CERT/malformed */
export function algorithmOid(algorithm: Element, field: string): string {
  return oid(open(algorithm, field).element(TAG.oid), field);
}

/**
 * False for a signature that this key did not make.
 * @throws BAD_CERT/weak_key for a scheme that is not accepted, BAD_CERT/malformed for parameters that do not belong to it
 */
export function isSignedBy(signed: Signed, key: KeyObject): boolean {
  const reader = open(signed.algorithm, 'signatureAlgorithm');
  const id = oid(reader.element(TAG.oid), reader.field);
  const scheme = Object.hasOwn(SCHEMES, id) ? SCHEMES[id] : undefined;
  if (!scheme) throw refusal('weak_key', `signature algorithm ${id} is not accepted`);
  const pss = scheme.parameters === 'pss' ? pssParameters(reader.inside()) : null;
  if (scheme.parameters === 'null' && reader.element(TAG.null).content.length > 0)
    throw refusal('malformed', 'signatureAlgorithm: NULL that is not empty');
  reader.end();
  if (key.asymmetricKeyType !== scheme.keyType) return false;
  const { tbs, signature } = signed;
  try {
    if (pss) {
      const { hash, saltLength } = pss;
      return verify(hash, tbs, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }, signature);
    }
    if (scheme.keyType === 'rsa')
      return verify(scheme.hash, tbs, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
    return verify(scheme.hash, tbs, key, signature);
  } catch {
    return false; // a signature of impossible form
  }
}

/** RFC 4055 §3.1. The defaults mean SHA-1, so that hash and mask must be named; both are the same, and the trailer is the default. */
function pssParameters(reader: DerReader): { hash: string; saltLength: number } {
  const hash = hashOf(reader.inside(constructed(0)));
  const mask = reader.inside(constructed(1)).inside();
  const isMgf1 = oid(mask.element(TAG.oid), reader.field) === MGF1;
  const maskHash = hashOf(mask);
  const salt = reader.inside(constructed(2));
  const saltLength = smallInteger(salt.element(TAG.integer), 64, reader.field);
  salt.end();
  reader.end();
  if (!isMgf1 || maskHash !== hash) throw refusal('weak_key', 'RSA-PSS with another mask than MGF1 of the same hash');
  return { hash, saltLength };
}

function hashOf(reader: DerReader): string {
  const algorithm = reader.inside();
  reader.end();
  const id = oid(algorithm.element(TAG.oid), reader.field);
  algorithm.optional(TAG.null);
  algorithm.end();
  const hash = Object.hasOwn(HASHES, id) ? HASHES[id] : undefined;
  if (!hash) throw refusal('weak_key', `RSA-PSS with hash ${id} is not accepted`);
  return hash;
}

/** Whether the software can use such a key at all; its size is checked where it is trusted. */
export function isKnownKey(spki: Uint8Array, field: string): boolean {
  const outer = new DerReader(spki, field).inside();
  const algorithm = outer.inside();
  const point = octetsOfBitString(outer.element(TAG.bitString), field);
  outer.end();
  const id = oid(algorithm.element(TAG.oid), field);
  if (id === '1.3.101.112') return algorithm.isEmpty;
  if (id === '1.2.840.113549.1.1.1') return algorithm.optional(TAG.null)?.content.length === 0 && algorithm.isEmpty;
  if (id !== '1.2.840.10045.2.1' || algorithm.nextTag !== TAG.oid) return false;
  const curve = oid(algorithm.element(TAG.oid), field);
  // RFC 5480 §2.2: a compressed point would be a second spelling of the same key, with another hash.
  return CURVES.includes(curve) && algorithm.isEmpty && point[0] === 4;
}
const CURVES = ['1.2.840.10045.3.1.7', '1.3.132.0.34', '1.3.132.0.35'];

/** @throws BAD_CERT/weak_key unless a certificate with this key may sign others */
export function checkCaKey(key: KeyObject): void {
  // isKnownKey() let in P-256, P-384 and P-521 only; a CA's curve may be any of them.
  if (key.asymmetricKeyType !== 'ec') algorithmOf(key);
}

/** The same bytes: the inner and the outer AlgorithmIdentifier must agree (RFC 5280 §4.1.1.2). */
export const sameAlgorithm = (a: Element, b: Element): boolean => view(a.der).equals(b.der);
