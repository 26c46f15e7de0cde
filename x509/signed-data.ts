/**
 * CMS SignedData (RFC 5652 §5) as time-stamps need it, read strictly from DER: content inside, one signer with signed attributes whose
 * certificate comes along, SHA-256 or stronger. What is signed is checked here; whether the signer is trusted is not.
 */
import { constants, createHash, verify, type KeyObject } from 'node:crypto';
import { concat, equal } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { parseCertificate, type Certificate } from './certificate.ts';
import {
  constructed,
  DerReader,
  integer,
  malformed,
  oid,
  open,
  openDer,
  primitive,
  smallInteger,
  TAG,
  type Element,
} from './der.ts';
import { serialHex } from './extensions.ts';
import { parseName, sameName } from './name.ts';
import { refusal } from './refusal.ts';
import { checkCaKey, isSignedBy } from './scheme.ts';

export interface SignedContent {
  readonly content: Uint8Array;
  readonly signer: Certificate;
  /** What else came along and can be read. */
  readonly certificates: readonly Certificate[];
  /** Signed, by dotted OID: the one value of each. */
  readonly attributes: ReadonlyMap<string, Element>;
}

const SIGNED_DATA = '1.2.840.113549.1.7.2';
const CONTENT_TYPE = '1.2.840.113549.1.9.3';
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const HASHES: Readonly<Record<string, string>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
/** Our own limit; a token has one or two. */
const MAX_CERTIFICATES = 16;
const MAX_ATTRIBUTES = 32;
const FIELD = 'signedData';

/**
 * @param contentType dotted OID that the content must have
 * @throws BAD_CERT/malformed, BAD_CERT/weak_key for a digest, scheme or key that is not accepted
 * @throws SIG_FAIL/time_stamp if the signer did not sign this content
 */
export function openSignedData(der: Uint8Array, contentType: string): SignedContent {
  const outer = openDer(der, FIELD);
  if (oid(outer.element(TAG.oid), FIELD) !== SIGNED_DATA) malformed(FIELD, 'another content type than SignedData');
  const wrapper = outer.inside(constructed(0));
  outer.end();
  const data = wrapper.inside();
  wrapper.end();
  if (smallInteger(data.element(TAG.integer), 5, FIELD) !== 3) malformed(FIELD, 'a version other than 3');
  data.element(TAG.set); // digestAlgorithms: a hint for readers in one pass; the signer's own counts
  const content = contentOf(data.inside(), contentType);
  const certificates = certificatesOf(data.optional(constructed(0)));
  data.optional(constructed(1)); // crls
  const signers = data.inside(TAG.set);
  data.end();
  const info = signers.inside();
  if (!signers.isEmpty) malformed(FIELD, 'more than one signer');
  return { content, ...openSigner(info, content, contentType, certificates) };
}

function contentOf(reader: DerReader, contentType: string): Uint8Array {
  if (oid(reader.element(TAG.oid), FIELD) !== contentType) malformed(FIELD, `content that is not ${contentType}`);
  const wrapper = reader.inside(constructed(0));
  reader.end();
  const { content } = wrapper.element(TAG.octetString);
  wrapper.end();
  return content;
}

/** One that can't be read is no help on a path, and takes nothing away. */
function certificatesOf(set: Element | undefined): Certificate[] {
  if (set === undefined) return malformed(FIELD, 'no certificates');
  const reader = open(set, FIELD);
  const found: Certificate[] = [];
  for (let count = 0; !reader.isEmpty; count++) {
    if (count === MAX_CERTIFICATES) malformed(FIELD, `more than ${MAX_CERTIFICATES} certificates`);
    const { der } = reader.any();
    try {
      found.push(parseCertificate(Buffer.from(der)));
    } catch (error) {
      if (ChatError.from(error).code !== 'BAD_CERT') throw error;
    }
  }
  return found;
}

function openSigner(
  info: DerReader,
  content: Uint8Array,
  contentType: string,
  certificates: readonly Certificate[],
): Omit<SignedContent, 'content'> {
  const version = smallInteger(info.element(TAG.integer), 3, FIELD);
  const byKeyId = info.optional(primitive(0));
  if (version !== (byKeyId ? 3 : 1)) malformed(FIELD, 'a version of the signer that does not fit how it is named');
  const isSigner = byKeyId ? hasKeyId(byKeyId) : hasSerial(info.inside());
  const hash = hashOf(info.element(TAG.sequence));
  const signedAttributes = info.element(constructed(0));
  const algorithm = info.element(TAG.sequence);
  const signature = info.element(TAG.octetString).content;
  info.optional(constructed(1)); // unsigned attributes: anybody may have put them there
  info.end();

  const signer = certificates.find(isSigner);
  if (signer === undefined) return malformed(FIELD, 'the certificate of the signer is not in it');
  checkCaKey(signer.publicKey); // before it is worked with: whoever makes a token chooses a key, and how slow that is
  const attributes = attributesOf(new DerReader(signedAttributes.content, FIELD));
  const type = attributes.get(CONTENT_TYPE);
  if (type?.tag !== TAG.oid || oid(type, FIELD) !== contentType)
    malformed(FIELD, 'no content type among what is signed');
  const digest = attributes.get(MESSAGE_DIGEST);
  if (digest?.tag !== TAG.octetString) return malformed(FIELD, 'no digest among what is signed');
  // RFC 5652 §5.4: signed under the tag of a SET, and not under the one that they are sent with.
  const tbs = concat(Buffer.of(TAG.set), signedAttributes.der.subarray(1));
  const isDigest = equal(digest.content, createHash(hash).update(content).digest());
  if (!isDigest || !isSigned(tbs, algorithm, hash, signature, signer.publicKey))
    throw new ChatError('SIG_FAIL', 'the signer of the time-stamp did not sign it', { sub: 'time_stamp' });
  return { signer, certificates: certificates.filter((other) => other !== signer), attributes };
}

function hasSerial(reader: DerReader): (certificate: Certificate) => boolean {
  const issuer = parseName(reader.element(TAG.sequence), FIELD);
  const serial = serialHex(integer(reader.element(TAG.integer), FIELD), FIELD);
  reader.end();
  return (certificate) => certificate.serial === serial && sameName(certificate.issuer, issuer);
}
const hasKeyId =
  ({ content }: Element) =>
  ({ subjectKeyId }: Certificate): boolean =>
    subjectKeyId !== undefined && equal(subjectKeyId, content);

/** RFC 5652 §11: each of those that count has one value, and none comes twice. */
function attributesOf(reader: DerReader): Map<string, Element> {
  const found = new Map<string, Element>();
  while (!reader.isEmpty) {
    const attribute = reader.inside();
    const id = oid(attribute.element(TAG.oid), FIELD);
    const values = attribute.inside(TAG.set);
    attribute.end();
    const value = values.any();
    if (!values.isEmpty || found.has(id)) malformed(FIELD, `attribute ${id} with more than one value`);
    if (found.size === MAX_ATTRIBUTES) malformed(FIELD, `more than ${MAX_ATTRIBUTES} attributes`);
    found.set(id, value);
  }
  return found;
}

/** Name of the hash for node:crypto. @throws BAD_CERT/weak_key for SHA-1 and the like */
export function hashOf(algorithm: Element): string {
  const reader = open(algorithm, FIELD);
  const id = oid(reader.element(TAG.oid), FIELD);
  reader.optional(TAG.null);
  reader.end();
  const hash = Object.hasOwn(HASHES, id) ? HASHES[id] : undefined;
  if (hash === undefined) throw refusal('weak_key', `digest ${id} is not accepted`);
  return hash;
}

/** RFC 3370 §3.2: CMS names an RSA key alone, where a certificate names hash and key together. */
function isSigned(tbs: Uint8Array, algorithm: Element, hash: string, signature: Uint8Array, key: KeyObject): boolean {
  if (oid(open(algorithm, FIELD).element(TAG.oid), FIELD) !== RSA_ENCRYPTION)
    return isSignedBy({ tbs, algorithm, signature }, key);
  if (key.asymmetricKeyType !== 'rsa') return false;
  return verify(hash, tbs, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
}
