/**
 * Certificates and CRLs of any shape, right or wrong, written octet by octet: nothing of x509/ is used here. Each part can be replaced by
 * bytes that no CA would write.
 */
import { constants, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';

export const tlv = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts);
  const { length } = content;
  const long =
    length < 0x100
      ? [0x81, length]
      : length < 0x10000
        ? [0x82, length >> 8, length & 255]
        : [0x83, length >> 16, (length >> 8) & 255, length & 255];
  return Buffer.concat([Buffer.from([tag, ...(length < 0x80 ? [length] : long)]), content]);
};
export const seq = (...parts: readonly Uint8Array[]): Buffer => tlv(0x30, ...parts);
export const set = (...parts: readonly Uint8Array[]): Buffer => tlv(0x31, ...parts);
export const int = (value: number | Uint8Array): Buffer =>
  tlv(2, typeof value === 'number' ? Buffer.from(value < 128 ? [value] : [value >> 8, value & 255]) : value);
export const octets = (...parts: readonly Uint8Array[]): Buffer => tlv(4, ...parts);
export const bits = (bytes: Uint8Array, unused = 0): Buffer => tlv(3, Buffer.from([unused]), bytes);
export const TRUE = Buffer.from([1, 1, 0xff]);
export const ascii = (tag: number, text: string): Buffer => tlv(tag, Buffer.from(text, 'latin1'));
export const utf8 = (text: string): Buffer => tlv(0x0c, Buffer.from(text, 'utf8'));
export const bmp = (text: string): Buffer => tlv(0x1e, Buffer.from(text, 'utf16le').swap16());

export function oid(dotted: string): Buffer {
  const [a = 0, b = 0, ...rest] = dotted.split('.').map(Number);
  const arc = (value: number): number[] =>
    value < 128 ? [value] : [...arc(Math.floor(value / 128)).map((o) => o | 0x80), value % 128];
  return tlv(6, Buffer.from([a * 40 + b, ...rest].flatMap(arc)));
}

export const rdn = (type: string, value: Uint8Array): Buffer => set(seq(oid(type), value));
export const CN = '2.5.4.3';
export const named = (cn: string): Buffer => seq(rdn(CN, utf8(cn)));

/** One extension. */
export const ext = (id: string, value: Uint8Array, isCritical = false): Buffer =>
  seq(oid(id), ...(isCritical ? [TRUE] : []), octets(value));
export const EKU = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2', any: '2.5.29.37.0' } as const;
export const eku = (...oids: readonly string[]): Buffer => ext('2.5.29.37', seq(...oids.map(oid)));
/** Bits as RFC 5280 numbers them: 0 digitalSignature, 5 keyCertSign, 6 cRLSign. */
export const keyUsage = (...on: readonly number[]): Buffer => {
  const octet = on.reduce((all, bit) => all | (0x80 >> bit), 0);
  return ext('2.5.29.15', bits(Buffer.from([octet]), 7 - Math.max(...on)), true);
};
export const caFlag = (pathLength?: number): Buffer =>
  ext('2.5.29.19', seq(TRUE, ...(pathLength === undefined ? [] : [int(pathLength)])), true);
export const san = (...names: readonly Uint8Array[]): Buffer => ext('2.5.29.17', seq(...names));
export const uri = (text: string): Buffer => ascii(0x86, text);
export const email = (text: string): Buffer => ascii(0x81, text);
export const dns = (text: string): Buffer => ascii(0x82, text);
export const ip = (...address: readonly number[]): Buffer => tlv(0x87, Buffer.from(address));

export const utc = (at: number): Buffer => {
  const text = new Date(at).toISOString().replace(/[-:T]|\.\d+/g, '');
  return at < Date.UTC(2050, 0) ? ascii(0x17, text.slice(2)) : ascii(0x18, text);
};

/** The time at which everything is judged unless a test says otherwise. */
export const NOW = Date.UTC(2026, 5, 15);
export const DAY = 86_400_000;

const NOTHING = Buffer.alloc(0);
const ECDSA_SHA256 = seq(oid('1.2.840.10045.4.3.2'));
const RSA_SHA256 = seq(oid('1.2.840.113549.1.1.11'), Buffer.from([5, 0]));
const ED25519 = seq(oid('1.3.101.112'));

export interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}
export const ec = (namedCurve = 'P-256'): Pair => generateKeyPairSync('ec', { namedCurve });
export const ed25519 = (): Pair => generateKeyPairSync('ed25519');
export const rsa = (modulusLength = 2048, publicExponent = 65537): Pair =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent });

export interface Made {
  readonly der: Buffer;
  readonly pair: Pair;
  readonly subject: Buffer;
  readonly serial: number;
}

export interface Shape {
  /** 0: v1, without extensions; 2: v3 */
  readonly version?: number;
  readonly serial?: number;
  readonly subject?: Uint8Array;
  readonly issuer?: Uint8Array;
  readonly from?: number;
  readonly until?: number;
  readonly pair?: Pair;
  readonly spki?: Uint8Array;
  readonly extensions?: readonly Uint8Array[];
  readonly algorithm?: Uint8Array;
  readonly outerAlgorithm?: Uint8Array;
  readonly hash?: string;
  /** RSA-PSS with 32 octets of salt */
  readonly isPss?: boolean;
  /** Behind the two times; behind the extensions, inside their wrapper; and behind that. */
  readonly validityTail?: Uint8Array;
  readonly insideTail?: Uint8Array;
  readonly tail?: Uint8Array;
}

let serials = 100;
const shared = ec();

/** Signed by `issuer`, by itself if there is none. Without extensions of its own it is a good client certificate of `alice`. */
export function make(issuer: Made | null, shape: Shape = {}): Made {
  const { version = 2, serial = ++serials, pair = shared, from = NOW - DAY, until = NOW + DAY } = shape;
  const subject = Buffer.from(shape.subject ?? named('alice'));
  const key = (issuer?.pair ?? pair).privateKey;
  const algorithm = shape.algorithm ?? algorithmOf(key);
  const extensions = shape.extensions ?? clientExtensions();
  const { validityTail = NOTHING, insideTail = NOTHING, tail = NOTHING } = shape;
  const tbs = seq(
    ...(version === 0 ? [] : [tlv(0xa0, int(version))]),
    int(serial),
    algorithm,
    shape.issuer ?? issuer?.subject ?? subject,
    seq(utc(from), utc(until), validityTail),
    subject,
    shape.spki ?? pair.publicKey.export({ type: 'spki', format: 'der' }),
    ...(version === 0 || extensions.length === 0 ? [] : [tlv(0xa3, seq(...extensions), insideTail)]),
    tail,
  );
  const der = seq(tbs, shape.outerAlgorithm ?? algorithm, bits(signed(tbs, key, shape.hash, shape.isPss)));
  return { der, pair, subject, serial };
}

export const clientExtensions = (username = 'alice'): Buffer[] => [
  keyUsage(0),
  eku(EKU.client),
  san(uri(`chat:${username}`)),
];

export const authority = (cn = 'Root', shape: Shape = {}): Made => makeCa(null, cn, shape);
export const makeCa = (issuer: Made | null, cn: string, shape: Shape = {}): Made =>
  make(issuer, {
    pair: ec(),
    subject: named(cn),
    extensions: [caFlag(), keyUsage(5, 6)],
    until: NOW + 100 * DAY,
    ...shape,
  });

export interface ListShape {
  readonly from?: number;
  readonly until?: number;
  readonly issuer?: Uint8Array;
  /** 1: v2 */
  readonly version?: number;
  /** Serial numbers; `[serial, date]` for another date than a day ago; `[serial, date, reason]` */
  readonly revoked?: readonly (number | readonly [serial: number, at: number, reason?: number | undefined])[];
  readonly entryExtensions?: readonly Uint8Array[];
  /** Entries as they are, behind those of `revoked`. */
  readonly entries?: readonly Uint8Array[];
  readonly extensions?: readonly Uint8Array[];
  /** Behind the extensions, inside their wrapper; and behind that. */
  readonly insideTail?: Uint8Array;
  readonly tail?: Uint8Array;
  readonly outerAlgorithm?: Uint8Array;
}

export function list(issuer: Made, shape: ListShape = {}): Buffer {
  const { from = NOW - DAY, until = NOW + DAY, revoked = [], entryExtensions = [] } = shape;
  const { insideTail = NOTHING, tail = NOTHING } = shape;
  const listed = revoked.map((entry) => {
    const [serial, at, reason] = typeof entry === 'number' ? [entry, NOW - DAY] : entry;
    const reasons = reason === undefined ? [] : [ext('2.5.29.21', tlv(10, Buffer.of(reason)))];
    const extensions = [...reasons, ...entryExtensions];
    return seq(int(serial), utc(at), ...(extensions.length > 0 ? [seq(...extensions)] : []));
  });
  const entries = [...listed, ...(shape.entries ?? [])];
  const algorithm = algorithmOf(issuer.pair.privateKey);
  const tbs = seq(
    int(shape.version ?? 1),
    algorithm,
    shape.issuer ?? issuer.subject,
    utc(from),
    utc(until),
    ...(entries.length > 0 ? [seq(...entries)] : []),
    tlv(0xa0, seq(...(shape.extensions ?? [ext('2.5.29.20', int(7))])), insideTail),
    tail,
  );
  return seq(tbs, shape.outerAlgorithm ?? algorithm, bits(signed(tbs, issuer.pair.privateKey)));
}

function algorithmOf(key: KeyObject): Buffer {
  if (key.asymmetricKeyType === 'rsa') return RSA_SHA256;
  return key.asymmetricKeyType === 'ed25519' ? ED25519 : ECDSA_SHA256;
}
const signed = (tbs: Uint8Array, key: KeyObject, hash = 'sha256', isPss = false): Buffer =>
  sign(
    key.asymmetricKeyType === 'ed25519' ? null : hash,
    tbs,
    isPss ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : key,
  );

const SHA = { sha1: '1.3.14.3.2.26', sha256: '2.16.840.1.101.3.4.2.1', sha384: '2.16.840.1.101.3.4.2.2' } as const;
/** AlgorithmIdentifier of RSA-PSS (RFC 4055 §3.1). */
export const pss = (hash: keyof typeof SHA, maskHash = hash, mask = '1.2.840.113549.1.1.8'): Buffer =>
  seq(
    oid('1.2.840.113549.1.1.10'),
    seq(
      tlv(0xa0, seq(oid(SHA[hash]), Buffer.from([5, 0]))),
      tlv(0xa1, seq(oid(mask), seq(oid(SHA[maskHash]), Buffer.from([5, 0])))),
      tlv(0xa2, int(32)),
    ),
  );
