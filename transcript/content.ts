/**
 * What a message says: MIMI message content (draft-ietf-mimi-content-08), the plaintext behind a commitment. One encoding for one value,
 * caps on everything, and no look inside what only its sender knows: unknown extensions are kept as bytes, unknown media types as well.
 * Ids of messages are leaf(MS), which the draft leaves to who carries the content. docs/TRANSCRIPT.md §a.
 */
import type { Hash } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import {
  ContentReader,
  writeBool,
  writeBytes,
  writeInteger,
  writeList,
  writeMap,
  writeNull,
  writeText,
  type Key,
} from './content-cbor.ts';

export const SALT_BYTES = 16;
/** Of a part, §4.4; numbers above are those of others, and are kept. */
export const DISPOSITION = {
  unspecified: 0,
  render: 1,
  reaction: 2,
  profile: 3,
  inline: 4,
  icon: 5,
  attachment: 6,
  session: 7,
  preview: 8,
} as const;
export const TEXT_PLAIN = 'text/plain;charset=utf-8';

const CARDINALITY = { null: 0, single: 1, external: 2, multi: 3 } as const;
const SEMANTICS = ['chooseOne', 'singleUnit', 'processAll'] as const;

/** The largest that a message can carry (client/body.ts pads it to a size class of half a MiB). */
const MAX_CONTENT_BYTES = 1024 * 1024;
const MAX_TOPIC_BYTES = 1024;
const MAX_EXTENSIONS = 32;
const MAX_KEY_BYTES = 255; // §4.3
const MAX_EXTENSION_BYTES = 65_536;
/** Of what is in the extensions map, which is the first level of four. */
const EXTENSION_DEPTH = 3;
const MAX_PART_DEPTH = 4;
/** In one content, on all levels. */
const MAX_PARTS = 64;
const MAX_LANGUAGE_BYTES = 64;
const MAX_TYPE_BYTES = 255;
const MAX_URL_BYTES = 4096;
const MAX_SECRET_BYTES = 1024;
const MAX_NAME_BYTES = 1024;
const UINT32 = 0xffff_ffff;

interface AnyPart {
  /** DISPOSITION, or a number up to 255 that this version gives no meaning */
  readonly disposition: number;
  /** RFC 5646, empty: not said */
  readonly language: string;
}
export interface NullPart extends AnyPart {
  readonly cardinality: 'null';
}
export interface SinglePart extends AnyPart {
  readonly cardinality: 'single';
  readonly contentType: string;
  readonly content: Uint8Array;
}
/** Encrypted bytes that lie somewhere else. */
export interface ExternalPart extends AnyPart {
  readonly cardinality: 'external';
  readonly contentType: string;
  readonly url: string;
  /** Unix seconds; 0: does not expire */
  readonly expires: number;
  readonly size: number;
  /** IANA AEAD number, 0: not encrypted */
  readonly encAlg: number;
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
  /** IANA named information hash, 0: none */
  readonly hashAlg: number;
  readonly contentHash: Uint8Array;
  readonly description: string;
  readonly filename: string;
}
export interface MultiPart extends AnyPart {
  readonly cardinality: 'multi';
  readonly semantics: (typeof SEMANTICS)[number];
  readonly parts: readonly Part[];
}
export type Part = NullPart | SinglePart | ExternalPart | MultiPart;

/** Seconds; since 1970, or `isRelative`: since the message was read. */
export interface Expiration {
  readonly isRelative: boolean;
  readonly seconds: number;
}

export interface Content {
  /** 16 random bytes, fresh for each */
  readonly salt: Uint8Array;
  /** leaf(MS) of the first version of what this one edits or deletes */
  readonly replaces: Hash | null;
  readonly topicId: Uint8Array;
  readonly expires: Expiration | null;
  /** leaf(MS) of what is answered or reacted to */
  readonly inReplyTo: Hash | null;
  /** Key to the CBOR of its value. Negative numbers and text are private keys. */
  readonly extensions: ReadonlyMap<Key, Uint8Array>;
  readonly part: Part;
}

/** @throws BAD_FRAME with the field, as decodeContent(): what is written can be read */
export function encodeContent(content: Content): Buffer {
  const { salt, replaces, topicId, expires, inReplyTo, extensions, part } = content;
  const bytes = writeList([
    writeBytes(salt),
    replaces === null ? writeNull() : writeBytes(replaces),
    writeBytes(topicId),
    expires === null ? writeNull() : writeList([writeBool(expires.isRelative), writeInteger(expires.seconds)]),
    inReplyTo === null ? writeNull() : writeBytes(inReplyTo),
    writeMap(extensions),
    partOf(part),
  ]);
  decodeContent(bytes);
  return bytes;
}

function partOf(part: Part): Buffer {
  const before = [
    writeInteger(part.disposition),
    writeText(part.language),
    writeInteger(CARDINALITY[part.cardinality]),
  ];
  switch (part.cardinality) {
    case 'null':
      return writeList(before);
    case 'single':
      return writeList([...before, writeText(part.contentType), writeBytes(part.content)]);
    case 'external':
      return writeList([
        ...before,
        ...[writeText(part.contentType), writeText(part.url), writeInteger(part.expires), writeInteger(part.size)],
        ...[writeInteger(part.encAlg), writeBytes(part.key), writeBytes(part.nonce), writeBytes(part.aad)],
        ...[writeInteger(part.hashAlg), writeBytes(part.contentHash), writeText(part.description)],
        writeText(part.filename),
      ]);
    case 'multi':
      return writeList([...before, writeInteger(SEMANTICS.indexOf(part.semantics)), writeList(part.parts.map(partOf))]);
  }
}

/** Whether bytes can be a content at all: a list of seven. Who only wants to know need not have an error made for it. */
export const beginsAsContent = (bytes: Uint8Array): boolean => bytes[0] === 0x87;

/** @throws BAD_FRAME naming the field, for anything but the one encoding of a content within the limits */
export function decodeContent(bytes: Uint8Array): Content {
  if (bytes.length > MAX_CONTENT_BYTES) bad('content', `at most ${MAX_CONTENT_BYTES} bytes`);
  const reader = new ContentReader(bytes);
  reader.list('content', 7, 7);
  const content: Content = {
    salt: reader.bytes('content.salt', SALT_BYTES, SALT_BYTES),
    replaces: idOf(reader, 'content.replaces'),
    topicId: reader.bytes('content.topic_id', MAX_TOPIC_BYTES),
    expires: expirationOf(reader),
    inReplyTo: idOf(reader, 'content.in_reply_to'),
    extensions: extensionsOf(reader),
    part: new PartReader(reader).next('content.part', 1),
  };
  reader.end('content');
  return content;
}

const idOf = (reader: ContentReader, field: string): Hash | null =>
  reader.null() ? null : (reader.bytes(field, 32, 32) as Uint8Array as Hash);

function expirationOf(reader: ContentReader): Expiration | null {
  if (reader.null()) return null;
  reader.list('content.expires', 2, 2);
  return { isRelative: reader.bool('content.expires'), seconds: reader.uint('content.expires', UINT32) };
}

function extensionsOf(reader: ContentReader): Map<Key, Uint8Array> {
  const field = 'content.extensions';
  const count = reader.map(field, MAX_EXTENSIONS);
  const start = reader.position;
  const extensions = new Map<Key, Uint8Array>();
  let before: Buffer | null = null;
  for (let i = 0; i < count; i++) {
    const from = reader.position;
    const key = reader.key(field, MAX_KEY_BYTES);
    before = reader.rising(field, from, before);
    extensions.set(key, reader.any(field, EXTENSION_DEPTH));
    if (reader.position - start > MAX_EXTENSION_BYTES) bad(field, `at most ${MAX_EXTENSION_BYTES} bytes`);
  }
  return extensions;
}

/** Field counts of a part, by its cardinality. */
const ITEMS = [3, 5, 15, 5] as const;

class PartReader {
  readonly #reader: ContentReader;
  #count = 0;

  constructor(reader: ContentReader) {
    this.#reader = reader;
  }

  next(field: string, depth: number): Part {
    if (depth > MAX_PART_DEPTH) bad(field, `at most ${MAX_PART_DEPTH} levels`);
    if (++this.#count > MAX_PARTS) bad(field, `at most ${MAX_PARTS} parts`);
    const reader = this.#reader;
    const items = reader.list(field, 15, 3);
    const disposition = reader.uint(`${field}.disposition`, 255);
    const language = reader.text(`${field}.language`, MAX_LANGUAGE_BYTES);
    const cardinality = reader.uint(`${field}.cardinality`, 3);
    if (ITEMS[cardinality] !== items) bad(field, `${ITEMS[cardinality]} items`);
    const head = { disposition, language };
    if (cardinality === CARDINALITY.null) return { ...head, cardinality: 'null' };
    if (cardinality === CARDINALITY.multi) return { ...head, ...this.#multi(field, depth) };
    const contentType = reader.text(`${field}.content_type`, MAX_TYPE_BYTES);
    if (cardinality === CARDINALITY.external) return { ...head, contentType, ...this.#external(field) };
    return {
      ...head,
      cardinality: 'single',
      contentType,
      content: reader.bytes(`${field}.content`, MAX_CONTENT_BYTES),
    };
  }

  #multi(field: string, depth: number): Pick<MultiPart, 'cardinality' | 'semantics' | 'parts'> {
    const semantics = SEMANTICS[this.#reader.uint(`${field}.semantics`, 2)] as (typeof SEMANTICS)[number];
    const count = this.#reader.list(`${field}.parts`, MAX_PARTS, 2);
    const parts: Part[] = [];
    for (let i = 0; i < count; i++) parts.push(this.next(`${field}.parts[${i}]`, depth + 1));
    return { cardinality: 'multi', semantics, parts };
  }

  #external(field: string): Omit<ExternalPart, keyof AnyPart | 'contentType'> {
    const reader = this.#reader;
    return {
      cardinality: 'external',
      url: reader.text(`${field}.url`, MAX_URL_BYTES),
      expires: reader.uint(`${field}.expires`, UINT32),
      size: reader.uint(`${field}.size`),
      encAlg: reader.uint(`${field}.enc_alg`, 0xffff),
      key: reader.bytes(`${field}.key`, MAX_SECRET_BYTES),
      nonce: reader.bytes(`${field}.nonce`, MAX_SECRET_BYTES),
      aad: reader.bytes(`${field}.aad`, MAX_SECRET_BYTES),
      hashAlg: reader.uint(`${field}.hash_alg`, 255),
      contentHash: reader.bytes(`${field}.content_hash`, MAX_SECRET_BYTES),
      description: reader.text(`${field}.description`, MAX_NAME_BYTES),
      filename: reader.text(`${field}.filename`, MAX_NAME_BYTES),
    };
  }
}
