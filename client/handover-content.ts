/** What travels of a history between two devices of one user: an announcement, and pieces, each a message of a content type of its own. */
import { bytes, literal, record, uint, type Decode, type Decoded } from '../base/decode.ts';
import { decode, encode } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import { decodeContent, DISPOSITION, encodeContent } from '../transcript/content.ts';
import { MAX_STREAM_CHUNKS, STREAM_KEY_BYTES, STREAM_TAG_BYTES } from './stream-cipher.ts';

export const ARCHIVE_ID_BYTES = 16;
/** Bytes of an archive in one piece: with its envelopes it just fits the largest message. */
export const CHUNK_BYTES = 512 * 1024 - 2048;

const ANNOUNCEMENT = 'application/x.securechat.archive+cbor';
const PIECE = 'application/x.securechat.archive-piece+cbor';

export const announcement = record({
  v: literal(1),
  archive: bytes(ARCHIVE_ID_BYTES),
  to: bytes(32),
  key: bytes(STREAM_KEY_BYTES),
  sha256: bytes(32),
  size: uint(),
  pieces: uint(MAX_STREAM_CHUNKS, 1),
});
/** `to`: the device that it is for, by its certificate; `sha256` and `size` are of all sealed pieces, one behind the other. */
export type Announcement = Decoded<typeof announcement>;
const piece = record({
  v: literal(1),
  archive: bytes(ARCHIVE_ID_BYTES),
  n: uint(MAX_STREAM_CHUNKS - 1),
  sealed: bytes(STREAM_TAG_BYTES, CHUNK_BYTES + STREAM_TAG_BYTES),
});
export type Piece = Decoded<typeof piece>;

/** @param salt 16 fresh random bytes */
export const announcementContent = (salt: Uint8Array, value: Announcement): Buffer =>
  contentOf(salt, ANNOUNCEMENT, encode(value));
/** @param salt 16 fresh random bytes */
export const pieceContent = (salt: Uint8Array, value: Piece): Buffer => contentOf(salt, PIECE, encode(value));

/** @throws BAD_FRAME for what is neither */
export function readHandover(
  plaintext: Uint8Array,
): { readonly announcement: Announcement } | { readonly piece: Piece } {
  const { part } = decodeContent(plaintext);
  if (part.cardinality === 'single' && part.contentType === ANNOUNCEMENT)
    return { announcement: read(announcement, part.content) };
  if (part.cardinality === 'single' && part.contentType === PIECE) return { piece: read(piece, part.content) };
  throw new ChatError('BAD_FRAME', 'a message among the own devices that is no history', { field: 'content' });
}

const read = <T>(shape: Decode<T>, content: Uint8Array): T => shape(decode(content), 'archive');

const contentOf = (salt: Uint8Array, contentType: string, content: Uint8Array): Buffer =>
  encodeContent({
    salt,
    replaces: null,
    topicId: new Uint8Array(),
    expires: null,
    inReplyTo: null,
    extensions: new Map(),
    part: { cardinality: 'single', disposition: DISPOSITION.attachment, language: '', contentType, content },
  });
