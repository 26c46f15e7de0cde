/**
 * Time-stamp tokens of any shape, right or wrong, written octet by octet: nothing of x509/ is used here. And cosignatures of witnesses, by the
 * words of C2SP tlog-cosignature, without anything of transcript/.
 */
import { createHash, sign, type KeyObject } from 'node:crypto';
import {
  ascii,
  caFlag,
  ec,
  ext,
  int,
  keyUsage,
  make,
  named,
  octets,
  oid,
  seq,
  set,
  tlv,
  type Made,
  type Shape,
} from '../x509/maker.ts';

export const STAMPING = '1.3.6.1.5.5.7.3.8';
const sha = (name: string, bytes: Uint8Array): Buffer => createHash(name).update(bytes).digest();
const NULL = Buffer.from([5, 0]);
export const HASH_OID = {
  sha1: '1.3.14.3.2.26',
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
} as const;
export const hashAlgorithm = (name: keyof typeof HASH_OID): Buffer => seq(oid(HASH_OID[name]), NULL);

/** For time-stamps alone, and critical. */
export const stamping = (...more: readonly string[]): Buffer =>
  ext('2.5.29.37', seq(...[STAMPING, ...more].map(oid)), true);
export const stampExtensions = (): Buffer[] => [keyUsage(0), stamping()];

/** An authority, and one that stamps by its word. */
export function stampAuthority(from: number, until: number, shape: Shape = {}): { root: Made; signer: Made } {
  const root = make(null, {
    pair: ec(),
    subject: named('Time root'),
    from,
    until,
    extensions: [caFlag(), keyUsage(5, 6)],
  });
  const signer = make(root, {
    pair: ec(),
    subject: named('Time'),
    from,
    until,
    extensions: stampExtensions(),
    ...shape,
  });
  return { root, signer };
}

export interface TokenShape {
  /** Unix ms */
  readonly time: number;
  readonly signer: Made;
  /** Name of the one who issued the signer's certificate. */
  readonly issuer: Made;
  readonly certificates?: readonly Uint8Array[];
  readonly nonce?: Uint8Array;
  /** Everything in TSTInfo behind the serial number. */
  readonly tail?: readonly Uint8Array[];
  /** Parts of TSTInfo in front of it. */
  readonly head?: readonly Uint8Array[];
  /** Value of SigningCertificateV2; null: there is none. */
  readonly bound?: Uint8Array | null;
  readonly attributes?: (attributes: Buffer[]) => Buffer[];
  readonly digest?: keyof typeof HASH_OID;
  readonly sid?: Uint8Array;
  readonly signerVersion?: number;
  readonly version?: number;
  readonly contentType?: string;
  readonly signers?: (info: Buffer) => Buffer[];
  readonly key?: KeyObject;
  readonly signature?: (signature: Buffer) => Buffer;
  /** Signed in place of the content. */
  readonly content?: (info: Buffer) => Buffer;
}

export const generalized = (text: string): Buffer => ascii(0x18, text);
const instant = (at: number): Buffer => generalized(`${new Date(at).toISOString().replace(/[-:T]|\.\d+Z/g, '')}Z`);
const ECDSA_OID = {
  sha1: '1.2.840.10045.4.1',
  sha256: '1.2.840.10045.4.3.2',
  sha384: '1.2.840.10045.4.3.3',
  sha512: '1.2.840.10045.4.3.4',
} as const;
const TST = '1.2.840.113549.1.9.16.1.4';
export const attribute = (id: string, ...values: readonly Uint8Array[]): Buffer => seq(oid(id), set(...values));
export const essCertId = (certificate: Uint8Array, ...more: readonly Uint8Array[]): Buffer =>
  seq(seq(seq(octets(sha('sha256', certificate)), ...more)));

/** @param stamped what the token is over */
export function tokenOver(stamped: Uint8Array, shape: TokenShape): Buffer {
  const { time, signer, issuer, digest = 'sha256', contentType = TST } = shape;
  const head = shape.head ?? [int(1), oid('1.2.3.4.1'), seq(hashAlgorithm('sha256'), octets(sha('sha256', stamped)))];
  const tail = shape.tail ?? [instant(time), ...(shape.nonce ? [int(shape.nonce)] : [])];
  const info = seq(...head, int(77), ...tail);
  const bound = shape.bound === undefined ? essCertId(signer.der) : shape.bound;
  const plain = [
    attribute('1.2.840.113549.1.9.3', oid(contentType)),
    attribute('1.2.840.113549.1.9.4', octets(sha(digest, info))),
    ...(bound === null ? [] : [attribute('1.2.840.113549.1.9.16.2.47', bound)]),
  ];
  const attributes = Buffer.concat(shape.attributes?.(plain) ?? plain);
  const key = shape.key ?? signer.pair.privateKey;
  const made = sign(digest, tlv(0x31, attributes), key);
  const signerInfo = seq(
    int(shape.signerVersion ?? 1),
    shape.sid ?? seq(issuer.subject, int(signer.serial)),
    hashAlgorithm(digest),
    tlv(0xa0, attributes),
    seq(oid(ECDSA_OID[digest])),
    octets(shape.signature?.(made) ?? made),
  );
  const signedData = seq(
    int(shape.version ?? 3),
    set(hashAlgorithm(digest)),
    seq(oid(contentType), tlv(0xa0, octets(shape.content?.(info) ?? info))),
    tlv(0xa0, ...(shape.certificates ?? [signer.der])),
    set(...(shape.signers?.(signerInfo) ?? [signerInfo])),
  );
  return seq(oid('1.2.840.113549.1.7.2'), tlv(0xa0, signedData));
}

/** A witness as C2SP describes one: its name and key, and what it says of a checkpoint. */
export interface Cosigner {
  readonly name: string;
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
}
const rawKey = ({ publicKey }: Cosigner): Buffer => publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
const keyIdOf = (who: Cosigner): Buffer =>
  sha('sha256', Buffer.concat([Buffer.from(`${who.name}\n\x04`), rawKey(who)])).subarray(0, 4);

export const witnessVkey = (who: Cosigner): string =>
  `${who.name}+${keyIdOf(who).toString('hex')}+${Buffer.concat([Buffer.of(4), rawKey(who)]).toString('base64')}`;

/** A signature line for this note. @param seconds Unix time @param claimed another one, in place of that which is signed */
export function cosignatureLine(note: Uint8Array, who: Cosigner, seconds: number, claimed = seconds): string {
  const whole = Buffer.from(note).toString('utf8');
  const text = whole.slice(0, whole.lastIndexOf('\n\n') + 1);
  const signature = sign(null, Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`), who.key);
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(claimed));
  return `— ${who.name} ${Buffer.concat([keyIdOf(who), time, signature]).toString('base64')}\n`;
}

/** The note with these lines more. */
export const withLines = (note: Uint8Array, ...lines: readonly string[]): Buffer =>
  Buffer.concat([note, Buffer.from(lines.join(''))]);
