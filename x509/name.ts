/** Distinguished names (RFC 5280 §4.1.2.4) and the names of a subjectAltName (§4.2.1.6), from their structure and never from text. */
import { fromUtf8, hex, view } from '../base/bytes.ts';
import { constructed, DerReader, malformed, oid, open, openDer, primitive, TAG, type Element } from './der.ts';

/** One attribute of a distinguished name. */
export interface Attribute {
  readonly oid: string;
  /** ASN.1 type of the value: it is not the attribute's meaning, but BMPString and T61String are tricks. */
  readonly tag: number;
  /** Null for a type that is not UTF8String or a subset of ASCII: such a value is compared by its bytes and never read. */
  readonly text: string | null;
  readonly der: Uint8Array;
}

export interface Name {
  readonly der: Uint8Array;
  readonly rdns: readonly (readonly Attribute[])[];
  /** For people: safe to print anywhere, at most MAX_SHOWN_CHARS, not for comparison. */
  readonly text: string;
}

export type GeneralName =
  | { readonly type: 'email' | 'dns' | 'uri'; readonly value: string }
  | { readonly type: 'ip'; readonly value: Uint8Array }
  | { readonly type: 'directory'; readonly value: Name }
  | { readonly type: 'other'; readonly tag: number; readonly value: Uint8Array };

export const ATTRIBUTE = { commonName: '2.5.4.3', email: '1.2.840.113549.1.9.1' } as const;
const SHORT: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '0.9.2342.19200300.100.1.1': 'UID',
  '0.9.2342.19200300.100.1.25': 'DC',
  '1.2.840.113549.1.9.1': 'emailAddress',
};
const MAX_SHOWN_CHARS = 256;
const ASCII_TYPES: readonly number[] = [TAG.printableString, TAG.ia5String, TAG.numericString];

/** @throws BAD_CERT/malformed */
export function parseName(element: Element, field: string): Name {
  const rdns: Attribute[][] = [];
  const sequence = open(element, field);
  while (!sequence.isEmpty) rdns.push(parseRdn(sequence.inside(TAG.set)));
  return { der: element.der, rdns, text: show(rdns) };
}

/** The values of one attribute type, wherever in the name they stand. */
export const attributes = (name: Name, type: string): Attribute[] => name.rdns.flat().filter((a) => a.oid === type);

/** Bytes equal: what RFC 5280 §4.1.2.6 makes CAs write, and what cannot be fooled by a fold. */
export const sameName = (a: Name, b: Name): boolean => view(a.der).equals(b.der);

function parseRdn(rdn: DerReader): Attribute[] {
  const found: Attribute[] = [];
  let previous: Uint8Array | undefined;
  do {
    const element = rdn.element(TAG.sequence);
    if (previous && Buffer.compare(previous, element.der) >= 0) malformed(rdn.field, 'SET OF not in order');
    previous = element.der;
    const pair = open(element, rdn.field);
    const type = oid(pair.element(TAG.oid), rdn.field);
    const value = pair.any();
    pair.end();
    found.push({ oid: type, tag: value.tag, text: textOf(value, rdn.field), der: value.der });
  } while (!rdn.isEmpty);
  return found;
}

function textOf({ tag, content }: Element, field: string): string | null {
  if (tag === TAG.utf8String) return fromUtf8(content) ?? malformed(field, 'UTF8String that is not UTF-8');
  return ASCII_TYPES.includes(tag) ? ascii(content, field) : null;
}

function ascii(content: Uint8Array, field: string): string {
  if (content.some((octet) => octet >= 0x80)) malformed(field, 'octets that are not ASCII');
  return view(content).toString('latin1');
}

function show(rdns: readonly (readonly Attribute[])[]): string {
  const text = rdns
    .map((rdn) => rdn.map((a) => `${SHORT[a.oid] ?? a.oid}=${printable(a.text ?? `#${hex(a.der)}`)}`).join('+'))
    .join(', ');
  return text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS)}…` : text || '(no name)';
}

/** Latin letters, digits and printable ASCII stay; whatever could move, hide or reorder text on a screen is spelled out. */
const printable = (text: string): string =>
  text
    .slice(0, MAX_SHOWN_CHARS)
    .replace(/[\\,+=]/g, '\\$&')
    .replace(/[^\x20-\x7e\p{Script=Latin}]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`);

/** The entries of a GeneralNames (RFC 5280 §4.2.1.6). @throws BAD_CERT/malformed */
export function parseGeneralNames(sequence: DerReader): GeneralName[] {
  const names: GeneralName[] = [];
  do names.push(parseGeneralName(sequence.any(), sequence.field));
  while (!sequence.isEmpty);
  return names;
}

export function parseGeneralName(element: Element, field: string): GeneralName {
  const { tag, content } = element;
  switch (tag) {
    case primitive(1):
      return { type: 'email', value: checked(mailbox, printableAscii(content, field), field) };
    case primitive(2):
      return { type: 'dns', value: checked(hostPattern, printableAscii(content, field), field) };
    case primitive(6):
      return { type: 'uri', value: checked(uri, printableAscii(content, field), field) };
    case primitive(7):
      if (content.length !== 4 && content.length !== 16) malformed(field, 'IP address of neither 4 nor 16 octets');
      return { type: 'ip', value: content };
    case constructed(4):
      return { type: 'directory', value: directoryName(element, field) };
    case constructed(0):
    case constructed(3):
    case constructed(5):
    case primitive(8):
      return { type: 'other', tag, value: content };
  }
  return malformed(field, 'no such kind of name');
}

/** A Name is a CHOICE, so its context tag is explicit (X.680 §31.2.7). */
export function directoryName(element: Element, field: string): Name {
  const explicit = open(element, field);
  const name = parseName(explicit.element(TAG.sequence), field);
  explicit.end();
  return name;
}

/** NUL, line breaks, escape sequences and spaces have no place in an address, a host or a URI, and deceive who prints or cuts them. */
export function printableAscii(content: Uint8Array, field: string): string {
  if (content.some((octet) => octet <= 0x20 || octet >= 0x7f)) malformed(field, 'characters that no name may have');
  return view(content).toString('latin1');
}

const mailbox = /^[^@]+@[^@]+$/;
const hostPattern = /^(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/i;
const uri = /^[a-z][a-z0-9+.-]*:./i;
const checked = (form: RegExp, text: string, field: string): string =>
  text.length <= 2048 && form.test(text) ? text : malformed(field, 'not a name of its kind');

/** The one GeneralNames value in `der`. @throws BAD_CERT/malformed */
export const generalNamesOf = (der: Uint8Array, field: string): GeneralName[] => parseGeneralNames(openDer(der, field));
