/**
 * X.509 certificates (RFC 5280 §4), read strictly from DER. A parsed certificate is well-formed and nothing more: `validatePath` says
 * whether it is trusted, `identityOf` who it is.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { ownCopy, view, type Fingerprint } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import { constructed, integer, malformed, open, openDer, smallInteger, TAG, time, type DerReader } from './der.ts';
import { parseExtensions, parseRawExtensions, serialHex, type Extensions } from './extensions.ts';
import { parseName, sameName, type Name } from './name.ts';
import { decodePem, encodePem } from './pem.ts';
import { refusal } from './refusal.ts';
import { algorithmOid, isKnownKey, parseSigned, sameAlgorithm, type Signed } from './scheme.ts';

export interface Certificate extends Extensions {
  readonly der: Uint8Array;
  /** SHA-256 of the DER. It names these bytes, not the holder: see `revocationKeys`. */
  readonly fingerprint: Fingerprint;
  readonly version: 1 | 3;
  /** Lower-case hexadecimal, without a sign octet. */
  readonly serial: string;
  readonly issuer: Name;
  readonly subject: Name;
  /** Issuer and subject are the same name. */
  readonly isSelfIssued: boolean;
  /** Unix ms; both ends belong to the validity. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** RSA, an elliptic curve of NIST or Ed25519; whether it is strong enough depends on where it stands (`validatePath`). */
  readonly publicKey: KeyObject;
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly spkiHash: Uint8Array;
  /** Dotted OID. */
  readonly signatureAlgorithm: string;
  readonly signed: Signed;
}

/** Our own limit. A certificate of a person or host has 400..2,500 bytes. */
export const MAX_CERTIFICATE_BYTES = 64 * 1024;

/** @throws BAD_CERT/malformed; BAD_CERT/weak_key for a kind of key that is never accepted (DSA, P-192, secp256k1, Ed448, …) */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_CERTIFICATE_BYTES) malformed('certificate', `more than ${MAX_CERTIFICATE_BYTES} bytes`);
  const { tbs, signed } = parseSigned(openDer(der, 'certificate'));
  const reader = open(tbs, 'certificate');
  const version = parseVersion(reader);
  const serial = serialHex(integer(reader.element(TAG.integer), 'serialNumber'), 'serialNumber');
  const algorithm = reader.element(TAG.sequence);
  if (!sameAlgorithm(algorithm, signed.algorithm)) malformed('signature', 'two different algorithms');
  const issuer = parseName(reader.element(TAG.sequence), 'issuer');
  if (issuer.rdns.length === 0) malformed('issuer', 'empty name');
  const validity = reader.inside();
  const notBefore = time(validity.any(), 'notBefore');
  const notAfter = time(validity.any(), 'notAfter');
  validity.end();
  const subject = parseName(reader.element(TAG.sequence), 'subject');
  const spki = reader.element(TAG.sequence).der;
  const explicit = version === 3 ? reader.optional(constructed(3)) : undefined;
  reader.end(); // unique identifiers ([1], [2]) and extensions of a v1 certificate end up here
  const wrapper = explicit && open(explicit, 'extensions');
  const extensions = wrapper ? parseRawExtensions(wrapper.inside()) : [];
  wrapper?.end();
  return {
    ...parseExtensions(extensions),
    der,
    fingerprint: ownCopy(sha256(der)) as Uint8Array as Fingerprint,
    version,
    serial,
    issuer,
    subject,
    isSelfIssued: sameName(issuer, subject),
    notBefore,
    notAfter,
    publicKey: parseKey(spki),
    spkiHash: ownCopy(sha256(spki)),
    signatureAlgorithm: algorithmOid(algorithm, 'signature'),
    signed,
  };
}

/** One or more certificates, in the order of the file. @throws BAD_CERT as parseCertificate() */
export const parsePem = (text: string): Certificate[] => decodePem(text, 'CERTIFICATE').map(parseCertificate);

export const toPem = (certificate: Certificate): string => encodePem(certificate.der, 'CERTIFICATE');

function parseVersion(reader: DerReader): 1 | 3 {
  if (reader.nextTag !== constructed(0)) return 1;
  const wrapper = reader.inside(constructed(0));
  const version = smallInteger(wrapper.element(TAG.integer), 2, 'version');
  wrapper.end();
  return version === 2 ? 3 : malformed('version', 'neither 1 nor 3');
}

function parseKey(spki: Uint8Array): KeyObject {
  if (!isKnownKey(spki, 'subjectPublicKeyInfo'))
    throw refusal('weak_key', 'subjectPublicKeyInfo: key is neither RSA, P-256, P-384, P-521 nor Ed25519');
  try {
    return createPublicKey({ key: view(spki), format: 'der', type: 'spki' });
  } catch (cause) {
    throw refusal('malformed', 'subjectPublicKeyInfo: no such key', cause);
  }
}
