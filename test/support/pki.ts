/**
 * Certificates and revocation lists made in memory, in milliseconds, also the wrong ones: a small DER writer (X.690) around
 * node:crypto. Nothing here is shared with the code under test.
 */
import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';

export type KeyType = 'ec256' | 'ed25519' | 'rsa2048';

export interface CertOptions {
  readonly cn?: string;
  readonly key?: KeyType;
  /** Unix ms */
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly ca?: boolean;
  /** dotted OIDs; empty: no extension */
  readonly eku?: readonly string[];
  /** bits of keyUsage, first bit first; null: no extension */
  readonly keyUsage?: readonly number[] | null;
  /** `email:`, `URI:`, `DNS:`, `IP:` and the value; the value may hold any character */
  readonly san?: readonly string[];
  readonly serial?: Buffer;
  /** the key to certify, in place of a new one */
  readonly keyPair?: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
}

export interface Issued {
  readonly der: Buffer;
  readonly pem: string;
  readonly key: KeyObject;
  readonly keyPem: string;
  readonly serial: Buffer;
  readonly cn: string;
}

export const EKU = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2', email: '1.3.6.1.5.5.7.3.4' } as const;
export const DAY_MS = 86_400_000;

const digitalSignature = [1];
const certSign = [0, 0, 0, 0, 0, 1, 1];

export interface Authority extends Issued {
  /** a certificate signed by this authority */
  issue(options?: CertOptions): Issued;
  /** for a person: e-mail and `URI:chat:` names, clientAuth */
  client(username: string, options?: CertOptions): Issued;
  /** for localhost */
  server(options?: CertOptions): Issued;
  /** an authority below this one */
  intermediate(cn: string, options?: CertOptions): Authority;
  /** PEM; `revoked` are certificates of this authority */
  crl(revoked: readonly Issued[], times?: { readonly thisUpdate?: number; readonly nextUpdate?: number }): string;
}

export function authority(cn = 'Test CA', options: CertOptions = {}): Authority {
  return asAuthority(make({ cn, ca: true, keyUsage: certSign, eku: [], ...options }, null));
}

/** A certificate that signs itself. */
export const selfSigned = (options: CertOptions): Issued => make(options, null);

function asAuthority(own: Issued): Authority {
  let crlNumber = 0;
  const issue = (o: CertOptions = {}) => make(o, own);
  return {
    ...own,
    issue,
    client: (username, o = {}) => issue(clientOptions(username, o)),
    server: (o = {}) =>
      issue({ cn: 'localhost', eku: [EKU.server], san: ['DNS:localhost', 'IP:127.0.0.1', 'IP:::1'], ...o }),
    intermediate: (cn, o = {}) => asAuthority(issue({ cn, ca: true, keyUsage: certSign, eku: [], ...o })),
    crl: (revoked, times = {}) => makeCrl(own, revoked, times, ++crlNumber),
  };
}

export const clientOptions = (username: string, o: CertOptions = {}): CertOptions => ({
  cn: username,
  eku: [EKU.client],
  san: [`email:${username}@example.org`, `URI:chat:${username}`],
  ...o,
});

function newKey(type: KeyType) {
  if (type === 'ed25519') return generateKeyPairSync('ed25519');
  if (type === 'rsa2048') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

function make(o: CertOptions, issuer: Issued | null): Issued {
  const cn = o.cn ?? 'someone';
  const { publicKey, privateKey } = o.keyPair ?? newKey(o.key ?? 'ec256');
  const serial = o.serial ?? Buffer.concat([Buffer.of(0x40), randomBytes(15)]);
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  const signer = issuer?.key ?? privateKey;
  const usage = o.keyUsage === undefined ? digitalSignature : o.keyUsage;
  const eku = o.eku ?? [EKU.client];
  const now = Date.now();
  const extensions = [
    extension('2.5.29.19', true, seq(...(o.ca ? [tlv(0x01, Buffer.of(0xff))] : []))),
    ...(usage === null ? [] : [extension('2.5.29.15', true, bitsOf(usage))]),
    ...(eku.length === 0 ? [] : [extension('2.5.29.37', false, seq(...eku.map(oid)))]),
    ...(o.san === undefined ? [] : [extension('2.5.29.17', false, seq(...o.san.map(generalName)))]),
    extension('2.5.29.14', false, tlv(0x04, keyId(spki))),
    extension('2.5.29.35', false, seq(tlv(0x80, keyId(issuer ? spkiOf(issuer) : spki)))),
  ];
  const tbs = seq(
    tlv(0xa0, integer(Buffer.of(2))),
    integer(serial),
    signatureAlgorithm(signer),
    name(issuer?.cn ?? cn),
    seq(time(o.notBefore ?? now - 3_600_000), time(o.notAfter ?? now + 90 * DAY_MS)),
    name(cn),
    spki,
    tlv(0xa3, seq(...extensions)),
  );
  const der = seq(tbs, signatureAlgorithm(signer), bitString(signTbs(tbs, signer)));
  const issued: Issued = {
    der,
    pem: pem('CERTIFICATE', der),
    key: privateKey,
    keyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    serial,
    cn,
  };
  spkis.set(issued.der, spki);
  return issued;
}

const spkis = new WeakMap<Buffer, Buffer>();
const spkiOf = (issued: Issued): Buffer => spkis.get(issued.der) as Buffer;
const keyId = (spki: Buffer) => createHash('sha256').update(spki).digest().subarray(0, 20);

function makeCrl(
  issuer: Issued,
  revoked: readonly Issued[],
  times: { readonly thisUpdate?: number; readonly nextUpdate?: number },
  number: number,
): string {
  const now = Date.now();
  const tbs = seq(
    integer(Buffer.of(1)),
    signatureAlgorithm(issuer.key),
    name(issuer.cn),
    time(times.thisUpdate ?? now - 60_000),
    time(times.nextUpdate ?? now + 30 * DAY_MS),
    ...(revoked.length === 0 ? [] : [seq(...revoked.map((r) => seq(integer(r.serial), time(now - 60_000))))]),
    tlv(
      0xa0,
      seq(
        extension('2.5.29.35', false, seq(tlv(0x80, keyId(spkiOf(issuer))))),
        extension('2.5.29.20', false, integer(Buffer.of(number & 0x7f))),
      ),
    ),
  );
  return pem('X509 CRL', seq(tbs, signatureAlgorithm(issuer.key), bitString(signTbs(tbs, issuer.key))));
}

export const pem = (label: string, der: Buffer): string =>
  `-----BEGIN ${label}-----\n${(der.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END ${label}-----\n`;

function signTbs(tbs: Buffer, key: KeyObject): Buffer {
  return sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', tbs, key);
}
function signatureAlgorithm(key: KeyObject): Buffer {
  if (key.asymmetricKeyType === 'ed25519') return seq(oid('1.3.101.112'));
  if (key.asymmetricKeyType === 'ec') return seq(oid('1.2.840.10045.4.3.2'));
  return seq(oid('1.2.840.113549.1.1.11'), tlv(0x05, Buffer.alloc(0)));
}

// ---- DER -------------------------------------------------------------------------------------------------------------------------
function tlv(tag: number, body: Buffer): Buffer {
  const n = body.length;
  const length =
    n < 0x80
      ? [n]
      : n < 0x100
        ? [0x81, n]
        : n < 0x10000
          ? [0x82, n >> 8, n & 0xff]
          : [0x83, n >> 16, (n >> 8) & 0xff, n & 0xff];
  return Buffer.concat([Buffer.of(tag, ...length), body]);
}
const seq = (...parts: readonly Buffer[]) => tlv(0x30, Buffer.concat(parts));
function integer(bytes: Buffer): Buffer {
  return tlv(0x02, (bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
}
const bitString = (bytes: Buffer) => tlv(0x03, Buffer.concat([Buffer.of(0), bytes]));
function bitsOf(bits: readonly number[]): Buffer {
  const last = bits.lastIndexOf(1);
  const bytes = Buffer.alloc(Math.floor(last / 8) + 1);
  bits.forEach((bit, i) => bit && bytes.writeUInt8((bytes[i >> 3] ?? 0) | (0x80 >> (i & 7)), i >> 3));
  return tlv(0x03, Buffer.concat([Buffer.of(7 - (last & 7)), bytes]));
}
function oid(dotted: string): Buffer {
  const [a = 0, b = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [];
  for (const arc of [a * 40 + b, ...rest]) {
    const septets = [arc & 0x7f];
    for (let v = Math.floor(arc / 128); v > 0; v = Math.floor(v / 128)) septets.unshift((v & 0x7f) | 0x80);
    bytes.push(...septets);
  }
  return tlv(0x06, Buffer.from(bytes));
}
const name = (cn: string) => seq(tlv(0x31, seq(oid('2.5.4.3'), tlv(0x0c, Buffer.from(cn, 'utf8')))));
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\..*/g, '') + 'Z';
  const year = Number(digits.slice(0, 4));
  return year < 2050 ? tlv(0x17, Buffer.from(digits.slice(2))) : tlv(0x18, Buffer.from(digits));
}
function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return seq(oid(id), ...(critical ? [tlv(0x01, Buffer.of(0xff))] : []), tlv(0x04, value));
}
function generalName(text: string): Buffer {
  const at = text.indexOf(':');
  const kind = text.slice(0, at);
  const value = text.slice(at + 1);
  if (kind === 'email') return tlv(0x81, Buffer.from(value, 'utf8'));
  if (kind === 'DNS') return tlv(0x82, Buffer.from(value, 'utf8'));
  if (kind === 'URI') return tlv(0x86, Buffer.from(value, 'utf8'));
  if (value === '::1') return tlv(0x87, Buffer.concat([Buffer.alloc(15), Buffer.of(1)]));
  return tlv(0x87, Buffer.from(value.split('.').map(Number)));
}
