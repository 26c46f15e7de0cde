/**
 * A strict reader of DER (X.690 §10): definite lengths in their shortest form, one encoding for one value, nothing left over.
 * It never recurses: callers descend as far as the grammar of RFC 5280 goes, and no deeper than MAX_DEPTH.
 */
import { hex } from '../base/bytes.ts';
import { refusal } from './refusal.ts';

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  numericString: 0x12,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Context-specific tags: `[n]` of a primitive type, and of a constructed one. */
export const primitive = (n: number): number => 0x80 | n;
export const constructed = (n: number): number => 0xa0 | n;

/** Nothing in a certificate or CRL nests deeper than eleven levels. */
const MAX_DEPTH = 16;
const MAX_OID_BYTES = 64;

export interface Element {
  /** The identifier octet: class, constructed bit and number together. */
  readonly tag: number;
  readonly content: Uint8Array;
  /** Identifier, length and content. */
  readonly der: Uint8Array;
  readonly depth: number;
}

/** @throws BAD_CERT/malformed, always */
export function malformed(field: string, why: string): never {
  throw refusal('malformed', `${field}: ${why}`);
}

/** Reads the elements of one constructed value in order. Every method throws BAD_CERT/malformed naming `field`. */
export class DerReader {
  readonly field: string;
  readonly #depth: number;
  #rest: Uint8Array;

  constructor(content: Uint8Array, field: string, depth = 0) {
    if (depth > MAX_DEPTH) malformed(field, 'nested too deeply');
    this.#rest = content;
    this.field = field;
    this.#depth = depth;
  }

  get isEmpty(): boolean {
    return this.#rest.length === 0;
  }

  /** The identifier octet of the next element; undefined at the end. */
  get nextTag(): number | undefined {
    return this.#rest[0];
  }

  any(): Element {
    const bytes = this.#rest;
    const [tag, first] = bytes;
    if (tag === undefined || first === undefined) return malformed(this.field, 'ends too early');
    if ((tag & 0x1f) === 0x1f) return malformed(this.field, 'tag number above 30');
    if (tag === 0) return malformed(this.field, 'end-of-contents octets');
    let header = 2;
    let length = first;
    if (first >= 0x80) {
      const octets = first & 0x7f;
      if (octets === 0) return malformed(this.field, 'indefinite length');
      if (octets > 4) return malformed(this.field, 'length of more than four octets');
      if (bytes.length < 2 + octets) return malformed(this.field, 'ends too early');
      length = 0;
      for (let i = 0; i < octets; i++) length = length * 256 + (bytes[2 + i] ?? 0);
      if (length < 0x80 || length < 256 ** (octets - 1))
        return malformed(this.field, 'length not in its shortest form');
      header += octets;
    }
    if (length > bytes.length - header) return malformed(this.field, 'ends too early');
    this.#rest = bytes.subarray(header + length);
    return {
      tag,
      content: bytes.subarray(header, header + length),
      der: bytes.subarray(0, header + length),
      depth: this.#depth,
    };
  }

  element(tag: number): Element {
    if (this.nextTag !== tag)
      malformed(this.field, `want tag 0x${tag.toString(16)}, found ${this.nextTag?.toString(16) ?? 'the end'}`);
    return this.any();
  }

  optional(tag: number): Element | undefined {
    return this.nextTag === tag ? this.any() : undefined;
  }

  /** The inside of the next element, which must be constructed and have this tag. */
  inside(tag: number = TAG.sequence): DerReader {
    return open(this.element(tag), this.field);
  }

  end(): void {
    if (!this.isEmpty) malformed(this.field, 'elements after the last one');
  }
}

/** The inside of an element. */
export const open = (element: Element, field: string): DerReader =>
  new DerReader(element.content, field, element.depth + 1);

/** The inside of the one element that is all of `der`. @throws BAD_CERT/malformed */
export function openDer(der: Uint8Array, field: string, tag: number = TAG.sequence, depth = 0): DerReader {
  const outer = new DerReader(der, field, depth);
  const inner = outer.inside(tag);
  outer.end();
  return inner;
}

/** X.690 §8.3.2: two's complement in the fewest octets. */
export function integer(element: Element, field: string): Uint8Array {
  const [first, second] = element.content;
  if (first === undefined) return malformed(field, 'empty INTEGER');
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)))
    return malformed(field, 'INTEGER not in its shortest form');
  return element.content;
}

/** An INTEGER or ENUMERATED of 0..`max`. @param max below 2^31 */
export function smallInteger(element: Element, max: number, field: string): number {
  const bytes = integer(element, field);
  const value = bytes.length > 4 || (bytes[0] ?? 0) >= 0x80 ? NaN : parseInt(hex(bytes), 16);
  return value <= max ? value : malformed(field, `want an integer of 0..${max}`);
}

/** X.690 §11.1 */
export function boolean(element: Element, field: string): boolean {
  const [octet, more] = element.content;
  if (more !== undefined || (octet !== 0 && octet !== 0xff)) return malformed(field, 'BOOLEAN is neither 00 nor FF');
  return octet === 0xff;
}

/** In dotted form. X.690 §8.19: each arc in the fewest octets. */
export function oid(element: Element, field: string): string {
  const { content } = element;
  const last = content.at(-1);
  if (last === undefined || last >= 0x80 || content.length > MAX_OID_BYTES) return malformed(field, 'not an OID');
  const arcs: bigint[] = [];
  let arc = 0n;
  let isStart = true;
  for (const octet of content) {
    if (isStart && octet === 0x80) return malformed(field, 'OID arc not in its shortest form');
    arc = (arc << 7n) | BigInt(octet & 0x7f);
    isStart = octet < 0x80;
    if (!isStart) continue;
    if (arcs.length === 0) {
      const root = arc < 40n ? 0n : arc < 80n ? 1n : 2n;
      arcs.push(root, arc - root * 40n);
    } else arcs.push(arc);
    arc = 0n;
  }
  return arcs.join('.');
}

/** A BIT STRING that is a whole number of octets, as signatures and keys are. */
export function octetsOfBitString(element: Element, field: string): Uint8Array {
  if (element.content[0] !== 0) return malformed(field, 'BIT STRING of broken octets');
  return element.content.subarray(1);
}

/** A BIT STRING of named bits: the numbers of those that are set. X.690 §11.2.2: no trailing zero bits, and padding of zeros. */
export function namedBits(element: Element, field: string): number[] {
  const [unused = 8, ...octets] = element.content;
  const last = octets.at(-1);
  if (unused > 7 || octets.length > 4 || (last === undefined && unused !== 0))
    return malformed(field, 'not a BIT STRING');
  if (last !== undefined && ((last >> unused) & 1) !== 1) return malformed(field, 'BIT STRING with trailing zero bits');
  if (last !== undefined && (last & ((1 << unused) - 1)) !== 0)
    return malformed(field, 'BIT STRING with padding other than zeros');
  return octets.flatMap((octet, i) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (octet >> (7 - bit)) & 1).map((bit) => i * 8 + bit),
  );
}

const TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;

/** Unix ms. RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050, both to the second and in UTC. */
export function time(element: Element, field: string): number {
  const { tag } = element;
  if (tag !== TAG.utcTime && tag !== TAG.generalizedTime) return malformed(field, 'not a time');
  const text = Buffer.from(element.content).toString('latin1');
  const century = tag === TAG.generalizedTime ? '' : Number(text.slice(0, 2)) >= 50 ? '19' : '20';
  const at = instant(century + text, field);
  if (tag === TAG.generalizedTime && at < Date.UTC(2050, 0)) return malformed(field, 'GeneralizedTime before 2050');
  return at;
}

/** Unix ms of a GeneralizedTime of any year (`invalidityDate`, RFC 5280 §5.3.2). */
export const generalizedTime = (element: Element, field: string): number =>
  instant(Buffer.from(element.content).toString('latin1'), field);

function instant(text: string, field: string): number {
  const parts = TIME.exec(text)?.slice(1).map(Number);
  if (!parts) return malformed(field, 'not a time of the form YYYYMMDDHHMMSSZ');
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts;
  const at = new Date(0);
  at.setUTCFullYear(year, month - 1, day); // Date.UTC() would move the years 0..99 into the 20th century
  at.setUTCHours(hour, minute, second);
  // The 31st of June or 24:00:00 would silently become another moment.
  const isReal = at.getUTCMonth() === month - 1 && at.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  return isReal ? at.getTime() : malformed(field, 'no such date or time');
}
