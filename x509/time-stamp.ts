/**
 * Time-stamp tokens (RFC 3161, with RFC 5816): a time-stamping authority says that it was shown a digest at a time. A token that opens is
 * signed by the certificate in it; `trustTimeStamp` says whether that certificate may do so.
 */
import { createHash } from 'node:crypto';
import { equal } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Certificate } from './certificate.ts';
import type { Crl } from './crl.ts';
import {
  boolean,
  constructed,
  generalizedTime,
  integer,
  malformed,
  oid,
  open,
  openDer,
  primitive,
  smallInteger,
  TAG,
  type DerReader,
  type Element,
} from './der.ts';
import { parseRawExtensions, serialHex } from './extensions.ts';
import { parseGeneralNames, sameName } from './name.ts';
import { validatePath } from './path.ts';
import { hashOf, openSignedData } from './signed-data.ts';

export interface TimeStamp {
  /** SHA-256 of what was stamped. */
  readonly imprint: Uint8Array;
  /** Octets of the INTEGER of the request. */
  readonly nonce: Uint8Array | null;
  /** Unix ms, by the authority's clock; what it may be off, ms. */
  readonly time: number;
  readonly accuracyMs: number;
  readonly signer: Certificate;
  readonly certificates: readonly Certificate[];
}

/** Our own limit: a token with a chain of three has 6,000 bytes. */
export const MAX_TOKEN_BYTES = 32 * 1024;

const TST_INFO = '1.2.840.113549.1.9.16.1.4';
const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47';
const FIELD = 'time-stamp';

/**
 * @param token DER of the ContentInfo
 * @throws BAD_CERT/malformed, BAD_CERT/weak_key
 * @throws SIG_FAIL/time_stamp if its signer did not sign it, or did not sign that this certificate is his (RFC 5816 §2.2.1)
 */
export function openTimeStamp(token: Uint8Array): TimeStamp {
  if (token.length > MAX_TOKEN_BYTES) malformed(FIELD, `more than ${MAX_TOKEN_BYTES} bytes`);
  const { content, signer, certificates, attributes } = openSignedData(token, TST_INFO);
  const bound = attributes.get(SIGNING_CERTIFICATE_V2) ?? malformed(FIELD, 'nothing binds it to its certificate');
  if (!isBoundTo(bound, signer))
    throw new ChatError('SIG_FAIL', 'the time-stamp was made with another certificate', { sub: 'time_stamp' });
  return { ...parseInfo(openDer(content, FIELD)), signer, certificates };
}

/**
 * The path from the signer to one of these roots at the time of the stamp: keyUsage for signing, extendedKeyUsage critical and for
 * time-stamps alone (RFC 3161 §2.3).
 * @returns the CAs of the path, the root last
 * @param at judge as of this time (Unix ms) instead
 * @throws BAD_CERT as validatePath()
 */
export function trustTimeStamp(
  stamp: TimeStamp,
  roots: readonly Certificate[],
  crls: readonly Crl[],
  at?: number,
): Certificate[] {
  const { signer: leaf, certificates: intermediates, time } = stamp;
  const [, ...issuers] = validatePath({
    leaf,
    intermediates,
    roots,
    crls,
    at: at ?? time,
    purpose: 'timeStamping',
    revocation: 'at-stamping',
  });
  return issuers;
}

/** RFC 3161 §2.4.2 */
function parseInfo(info: DerReader): Omit<TimeStamp, 'signer' | 'certificates'> {
  if (smallInteger(info.element(TAG.integer), 1, FIELD) !== 1) malformed(FIELD, 'a version other than 1');
  oid(info.element(TAG.oid), FIELD); // policy: which one is the operator's choice when he chooses the authority
  const message = info.inside();
  const algorithm = message.element(TAG.sequence);
  const imprint = message.element(TAG.octetString).content;
  message.end();
  if (hashOf(algorithm) !== 'sha256' || imprint.length !== 32) malformed(FIELD, 'a digest other than SHA-256');
  integer(info.element(TAG.integer), FIELD); // serial number
  const time = timeOf(info.element(TAG.generalizedTime));
  const accuracyMs = accuracyOf(info.optional(TAG.sequence));
  const ordering = info.optional(TAG.boolean);
  if (ordering && !boolean(ordering, FIELD)) malformed(FIELD, 'default value written out');
  const nonce = info.optional(TAG.integer);
  info.optional(constructed(0)); // name of the authority: its certificate says it
  const extensions = info.optional(constructed(1));
  info.end();
  const critical = extensions && parseRawExtensions(open(extensions, FIELD)).find(({ isCritical }) => isCritical);
  if (critical) malformed(FIELD, `critical extension ${critical.oid} is not understood`);
  return { imprint, nonce: nonce ? integer(nonce, FIELD) : null, time, accuracyMs };
}

/** GeneralizedTime, in UTC, which may have a fraction without trailing zeros; what is finer than a millisecond is cut off. */
function timeOf(element: Element): number {
  const text = Buffer.from(element.content).toString('latin1');
  const [, whole, fraction = ''] = /^(\d{14})(?:\.(\d{0,8}[1-9]))?Z$/.exec(text) ?? malformed(FIELD, 'no time in UTC');
  const seconds = generalizedTime({ ...element, content: Buffer.from(`${whole}Z`, 'latin1') }, FIELD);
  return seconds + Number(fraction.slice(0, 3).padEnd(3, '0'));
}

/** Rounded up. */
function accuracyOf(element: Element | undefined): number {
  if (element === undefined) return 0;
  const reader = open(element, FIELD);
  const part = (tag: number, max: number): number => {
    const found = reader.optional(tag);
    return found ? smallInteger(found, max, FIELD) : 0;
  };
  const [seconds, millis, micros] = [part(TAG.integer, 86_400), part(primitive(0), 999), part(primitive(1), 999)];
  reader.end();
  return seconds * 1000 + millis + (micros > 0 ? 1 : 0);
}

/** RFC 5035 §3: the first ESSCertIDv2 is of the signer. What the others say is about the path, and not needed. */
function isBoundTo(attribute: Element, signer: Certificate): boolean {
  if (attribute.tag !== TAG.sequence) malformed(FIELD, 'no SigningCertificateV2');
  const value = open(attribute, FIELD).inside().inside();
  const algorithm = value.optional(TAG.sequence);
  const digest = value.element(TAG.octetString).content;
  const place = value.optional(TAG.sequence);
  value.end();
  const hash = algorithm ? hashOf(algorithm) : HASH_BY_DEFAULT;
  if (!equal(digest, createHash(hash).update(signer.der).digest())) return false;
  if (place === undefined) return true;
  const reader = open(place, FIELD);
  const names = parseGeneralNames(reader.inside());
  const serial = serialHex(integer(reader.element(TAG.integer), FIELD), FIELD);
  reader.end();
  return (
    serial === signer.serial && names.some((name) => name.type === 'directory' && sameName(name.value, signer.issuer))
  );
}
const HASH_BY_DEFAULT = 'sha256';
