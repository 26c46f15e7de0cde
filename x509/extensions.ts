/** The extensions of a certificate that decide what it may do (RFC 5280 §4.2). What is critical and not here is listed, for the path to refuse. */
import { hex, view } from '../base/bytes.ts';
import { parseConstraints, type NameConstraints } from './constraints.ts';
import {
  boolean,
  constructed,
  DerReader,
  integer,
  malformed,
  namedBits,
  oid,
  open,
  openDer,
  primitive,
  smallInteger,
  TAG,
} from './der.ts';
import { generalNamesOf, parseGeneralNames, type GeneralName } from './name.ts';

const KEY_USAGES = [
  'digitalSignature',
  'contentCommitment',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

export const EKU = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  any: '2.5.29.37.0',
} as const;

export interface AuthorityKeyId {
  readonly keyId?: Uint8Array;
  /** Both or none: issuer and serial number of the issuer's certificate. */
  readonly issuer?: readonly GeneralName[];
  readonly serial?: string;
}

export interface Extensions {
  readonly basicConstraints?: { readonly ca: boolean; readonly pathLength?: number };
  readonly keyUsage?: ReadonlySet<KeyUsage>;
  /** Dotted OIDs; EKU names the ones that matter here. */
  readonly extKeyUsage?: readonly string[];
  readonly isExtKeyUsageCritical?: boolean;
  readonly subjectAltName?: readonly GeneralName[];
  readonly nameConstraints?: NameConstraints;
  readonly subjectKeyId?: Uint8Array;
  readonly authorityKeyId?: AuthorityKeyId;
  /** Dotted OIDs of critical extensions that are not understood: a certificate with any of them is never accepted. */
  readonly criticalUnknown: readonly string[];
}

export interface RawExtension {
  readonly oid: string;
  readonly isCritical: boolean;
  readonly value: Uint8Array;
}

const MAX_EXTENSIONS = 64;

/** RFC 5280 §4.1: no extension twice, `critical` absent rather than FALSE. @throws BAD_CERT/malformed */
export function parseRawExtensions(sequence: DerReader): RawExtension[] {
  const found = new Map<string, RawExtension>();
  do {
    const extension = sequence.inside();
    const id = oid(extension.element(TAG.oid), sequence.field);
    const critical = extension.optional(TAG.boolean);
    const isCritical = critical !== undefined && boolean(critical, id);
    if (critical && !isCritical) malformed(id, 'default value written out');
    const value = extension.element(TAG.octetString).content;
    extension.end();
    if (found.has(id)) malformed(id, 'extension twice');
    if (found.size === MAX_EXTENSIONS) malformed(sequence.field, `more than ${MAX_EXTENSIONS} extensions`);
    found.set(id, { oid: id, isCritical, value });
  } while (!sequence.isEmpty);
  return [...found.values()];
}

/** @throws BAD_CERT/malformed */
export function parseExtensions(raw: readonly RawExtension[]): Extensions {
  const out: { -readonly [K in keyof Extensions]: Extensions[K] } = { criticalUnknown: [] };
  const criticalUnknown: string[] = [];
  for (const { oid: id, isCritical, value } of raw) {
    switch (id) {
      case '2.5.29.14':
        if (isCritical) malformed('subjectKeyIdentifier', 'must not be critical (RFC 5280 §4.2.1.2)');
        out.subjectKeyId = octetString(value, 'subjectKeyIdentifier');
        break;
      case '2.5.29.15':
        out.keyUsage = parseKeyUsage(value);
        break;
      case '2.5.29.17':
        out.subjectAltName = generalNamesOf(value, 'subjectAltName');
        break;
      case '2.5.29.19':
        out.basicConstraints = parseBasicConstraints(value);
        break;
      case '2.5.29.30':
        out.nameConstraints = parseConstraints(value);
        break;
      case '2.5.29.32':
        // certificatePolicies: any policy will do here, so there is nothing to check (RFC 5280 §6.1.1 (c)).
        break;
      case '2.5.29.35':
        if (isCritical) malformed('authorityKeyIdentifier', 'must not be critical (RFC 5280 §4.2.1.1)');
        out.authorityKeyId = parseAuthorityKeyId(value);
        break;
      case '2.5.29.37':
        out.extKeyUsage = parseExtKeyUsage(value);
        out.isExtKeyUsageCritical = isCritical;
        break;
      default:
        if (isCritical) criticalUnknown.push(id);
    }
  }
  return { ...out, criticalUnknown };
}

function octetString(value: Uint8Array, field: string): Uint8Array {
  const reader = new DerReader(value, field);
  const { content } = reader.element(TAG.octetString);
  reader.end();
  return content.length > 0 && content.length <= 64 ? content : malformed(field, 'want 1..64 octets');
}

function parseKeyUsage(value: Uint8Array): ReadonlySet<KeyUsage> {
  const field = 'keyUsage';
  const reader = new DerReader(value, field);
  const bits = namedBits(reader.element(TAG.bitString), field);
  reader.end();
  if (bits.length === 0) malformed(field, 'no bit set (RFC 5280 §4.2.1.3)');
  return new Set(bits.map((bit) => KEY_USAGES[bit] ?? malformed(field, 'unknown bit')));
}

function parseBasicConstraints(value: Uint8Array): { ca: boolean; pathLength?: number } {
  const field = 'basicConstraints';
  const reader = openDer(value, field);
  const flag = reader.optional(TAG.boolean);
  const ca = flag !== undefined && boolean(flag, field);
  if (flag && !ca) malformed(field, 'default value written out');
  const length = reader.optional(TAG.integer);
  reader.end();
  if (!length) return { ca };
  if (!ca) malformed(field, 'path length of something that is no CA');
  return { ca, pathLength: smallInteger(length, 0x7fffffff, field) };
}

function parseExtKeyUsage(value: Uint8Array): string[] {
  const reader = openDer(value, 'extKeyUsage');
  const oids: string[] = [];
  do oids.push(oid(reader.element(TAG.oid), reader.field));
  while (!reader.isEmpty);
  return oids;
}

/** RFC 5280 §4.2.1.1 */
export function parseAuthorityKeyId(value: Uint8Array): AuthorityKeyId {
  const field = 'authorityKeyIdentifier';
  const reader = openDer(value, field);
  const keyId = reader.optional(primitive(0))?.content;
  const issuer = reader.optional(constructed(1));
  const serial = reader.optional(primitive(2));
  reader.end();
  if ((issuer === undefined) !== (serial === undefined)) malformed(field, 'issuer without serial number');
  return {
    ...(keyId && { keyId }),
    ...(issuer && { issuer: parseGeneralNames(open(issuer, field)) }),
    ...(serial && { serial: serialHex(integer(serial, field), field) }),
  };
}

/** Lower-case hexadecimal without the sign octet. RFC 5280 §4.1.2.2: not negative, at most 20 octets. */
export function serialHex(bytes: Uint8Array, field: string): string {
  if ((bytes[0] ?? 0) >= 0x80) malformed(field, 'negative serial number');
  if (bytes.length > 20) malformed(field, 'serial number of more than 20 octets');
  return hex(bytes.length > 1 && bytes[0] === 0 ? view(bytes).subarray(1) : bytes);
}
