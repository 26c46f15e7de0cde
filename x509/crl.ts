/** Certificate revocation lists (RFC 5280 §5): complete lists of one issuer. Delta, indirect and partitioned lists are refused. */
import { view } from '../base/bytes.ts';
import type { Certificate } from './certificate.ts';
import {
  constructed,
  generalizedTime,
  integer,
  malformed,
  open,
  openDer,
  smallInteger,
  TAG,
  time,
  DerReader,
} from './der.ts';
import { parseAuthorityKeyId, parseRawExtensions, serialHex, type RawExtension } from './extensions.ts';
import { parseName, sameName, type Name } from './name.ts';
import { decodePem } from './pem.ts';
import { refusal } from './refusal.ts';
import { checkCaKey, isSignedBy, parseSigned, sameAlgorithm, type Signed } from './scheme.ts';

/** RFC 5280 §5.3.1; index is the number on the wire. */
const CRL_REASONS = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  null, // not used
  null, // removeFromCRL: only in delta lists
  'privilegeWithdrawn',
  'aACompromise',
] as const;
export type CrlReason = NonNullable<(typeof CRL_REASONS)[number]>;

export interface Revocation {
  /** Unix ms. */
  readonly at: number;
  /** null: the entry gives none, which is not `unspecified`; or the list has several for one certificate */
  readonly reason: CrlReason | null;
}

export interface Crl {
  readonly der: Uint8Array;
  readonly issuer: Name;
  /** Unix ms. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** CRLNumber in lower-case hexadecimal. */
  readonly number: string;
  /** Key: serial number as in `Certificate.serial`. */
  readonly revoked: ReadonlyMap<string, Revocation>;
  readonly signed: Signed;
}

/** Our own limit: about 400,000 entries. */
export const MAX_CRL_BYTES = 16 * 1024 * 1024;

/** DER or PEM (any number of blocks). @throws BAD_CERT/malformed, BAD_CERT/unsupported */
export function parseCrls(bytes: Uint8Array): Crl[] {
  if (bytes[0] === TAG.sequence) return [parseCrl(bytes)];
  return decodePem(view(bytes).toString('latin1'), 'X509 CRL').map(parseCrl);
}

/** @throws BAD_CERT/malformed; BAD_CERT/unsupported for delta, indirect or partitioned lists and unknown critical extensions */
export function parseCrl(der: Uint8Array): Crl {
  if (der.length > MAX_CRL_BYTES) malformed('CRL', `more than ${MAX_CRL_BYTES} bytes`);
  const { tbs, signed } = parseSigned(openDer(der, 'CRL'));
  const reader = open(tbs, 'CRL');
  if (smallInteger(reader.element(TAG.integer), 1, 'CRL') !== 1) malformed('CRL', 'version is not 2');
  if (!sameAlgorithm(reader.element(TAG.sequence), signed.algorithm)) malformed('CRL', 'two different algorithms');
  const issuer = parseName(reader.element(TAG.sequence), 'CRL issuer');
  if (issuer.rdns.length === 0) malformed('CRL issuer', 'empty name');
  const thisUpdate = time(reader.any(), 'thisUpdate');
  const nextUpdate = time(reader.any(), 'nextUpdate'); // RFC 5280 §5.1.2.5: required
  const revoked = reader.nextTag === TAG.sequence ? parseRevoked(reader.inside()) : new Map<string, Revocation>();
  const wrapper = reader.inside(constructed(0));
  const number = parseCrlExtensions(parseRawExtensions(wrapper.inside()));
  wrapper.end();
  reader.end();
  return { der, issuer, thisUpdate, nextUpdate, number, revoked, signed };
}

function parseRevoked(sequence: DerReader): Map<string, Revocation> {
  const revoked = new Map<string, Revocation>();
  do {
    const entry = sequence.inside();
    const serial = serialHex(integer(entry.element(TAG.integer), 'userCertificate'), 'userCertificate');
    const at = time(entry.any(), 'revocationDate');
    const reason = entry.isEmpty ? null : parseEntryExtensions(parseRawExtensions(entry.inside()));
    entry.end();
    // The earlier date of two for one certificate: a list may not be able to shorten a revocation by repeating it.
    const before = revoked.get(serial);
    if (!before) revoked.set(serial, { at, reason });
    else revoked.set(serial, { at: Math.min(at, before.at), reason: reason === before.reason ? reason : null });
  } while (!sequence.isEmpty);
  return revoked;
}

function parseEntryExtensions(extensions: readonly RawExtension[]): CrlReason | null {
  let reason: CrlReason | null = null;
  for (const { oid, isCritical, value } of extensions) {
    if (isCritical) throw refusal('unsupported', `CRL entry with critical extension ${oid}`); // certificateIssuer above all
    const reader = new DerReader(value, 'CRL entry');
    if (oid === '2.5.29.21') {
      const code = smallInteger(reader.element(TAG.enumerated), CRL_REASONS.length - 1, 'reasonCode');
      reason = CRL_REASONS[code] ?? malformed('reasonCode', 'not a reason of a complete list');
    } else if (oid === '2.5.29.24') generalizedTime(reader.element(TAG.generalizedTime), 'invalidityDate');
    else continue;
    reader.end();
  }
  return reason;
}

/** The CRLNumber. */
function parseCrlExtensions(extensions: readonly RawExtension[]): string {
  let number: string | undefined;
  for (const { oid, isCritical, value } of extensions) {
    if (oid === '2.5.29.20') {
      if (isCritical) malformed('cRLNumber', 'must not be critical (RFC 5280 §5.2.3)');
      const reader = new DerReader(value, 'cRLNumber');
      number = serialHex(integer(reader.element(TAG.integer), 'cRLNumber'), 'cRLNumber');
      reader.end();
    } else if (oid === '2.5.29.35') parseAuthorityKeyId(value);
    // Critical ones limit what the list says: deltaCRLIndicator and issuingDistributionPoint are always critical (§5.2.4, §5.2.5).
    else if (isCritical) throw refusal('unsupported', `CRL with critical extension ${oid}`);
  }
  return number ?? malformed('cRLNumber', 'missing (RFC 5280 §5.2.3)');
}

const proven = new WeakMap<Crl, WeakMap<Certificate, boolean>>();

/**
 * The lists of `crls` that the holder of `issuer`'s key signed, newest first. Lists of others, and lists with a wrong signature or of a
 * CA that may not sign lists, are left out. The answer for one list and issuer is remembered for as long as both objects live.
 */
export function crlsOf(crls: readonly Crl[], issuer: Certificate): Crl[] {
  return crls.filter((crl) => isListOf(crl, issuer)).sort((a, b) => b.thisUpdate - a.thisUpdate);
}

function isListOf(crl: Crl, issuer: Certificate): boolean {
  if (!sameName(crl.issuer, issuer.subject)) return false;
  const known = proven.get(crl) ?? new WeakMap<Certificate, boolean>();
  proven.set(crl, known);
  let answer = known.get(issuer);
  if (answer === undefined) known.set(issuer, (answer = mayList(issuer) && isProperlySigned(crl, issuer)));
  return answer;
}

/** RFC 5280 §6.3.3 (f) */
const mayList = ({ keyUsage, basicConstraints }: Certificate): boolean =>
  basicConstraints?.ca === true && (keyUsage?.has('cRLSign') ?? true);

function isProperlySigned(crl: Crl, issuer: Certificate): boolean {
  try {
    checkCaKey(issuer.publicKey);
    return isSignedBy(crl.signed, issuer.publicKey);
  } catch {
    return false; // a key or hash that is not accepted
  }
}
