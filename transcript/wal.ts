/**
 * The write-ahead log of a transcript: one record for each commit window, and what a scan after a crash may conclude from the pages.
 * Record: "CLWR" ‖ length u32 ‖ first index u64 ‖ count u32 ‖ time u64 ‖ checkpoint length u32 ‖ 0 u32 ‖ checkpoint of the window
 * before ‖ count × (u16 length ‖ entry) ‖ root after ‖ CRC-32 of all before, then zeros up to a multiple of 4096. `length` is that of the
 * record without the padding. A record lies within one segment; unused pages are zeros, in recycled segments too. docs/TRANSCRIPT.md §c.
 */
import { crc32 } from 'node:zlib';
import { concat, equal, u32, u64, view, type Hash } from '../base/bytes.ts';
import { Cursor } from '../base/cursor.ts';
import { ChatError } from '../base/errors.ts';
import { peekCheckpoint } from './checkpoint.ts';
import { MAX_ENTRY_BYTES } from './leaf.ts';
import { HASH_BYTES, leafHash, type Frontier } from './merkle.ts';

/** A page that holds acknowledged data is never written again: a torn rewrite would hurt the old data. */
export const PAGE_BYTES = 4096;
/** Longer records are neither written nor believed. A window is closed at 1 MiB of entries. */
export const MAX_RECORD_BYTES = 4 * 1024 * 1024;

export interface WalRecord {
  /** Index of the first entry. */
  readonly first: number;
  /** The window's server time. */
  readonly time: number;
  /** Signed note of the window before; empty if none was signed yet. Its signature is for the caller to check. */
  readonly checkpoint: Uint8Array;
  /** At least one. */
  readonly entries: readonly Uint8Array[];
  /** Root of the tree with these entries. */
  readonly root: Hash;
}

export interface WalEnd {
  /** clean: zeros follow. torn: a last record was not fully written, so it was never acknowledged; zero everything from here on. */
  readonly end: 'clean' | 'torn';
  /** Where the next record goes, unless it needs a new segment. */
  readonly segment: number;
  readonly offset: number;
  /** The tree with all records. */
  readonly frontier: Frontier;
}

const MAGIC = 0x434c5752;
const HEADER_BYTES = 36;
const MIN_BYTES = HEADER_BYTES + HASH_BYTES + 4;
const ZEROS = Buffer.alloc(PAGE_BYTES);

/** Padded to whole pages. @param zeros makes its memory @throws TOO_LARGE above MAX_RECORD_BYTES; RangeError for no entry or one of more than 65535 bytes */
export function encodeRecord(record: WalRecord, zeros: (byteCount: number) => Buffer = Buffer.alloc): Buffer {
  const { first, time, checkpoint, entries, root } = record;
  if (entries.length === 0 || entries.some((entry) => entry.length > MAX_ENTRY_BYTES))
    throw new RangeError('a record needs entries, each of at most 65535 bytes');
  const length = entries.reduce((sum, entry) => sum + 2 + entry.length, MIN_BYTES + checkpoint.length);
  if (length > MAX_RECORD_BYTES) throw new ChatError('TOO_LARGE', 'the window does not fit a record', { field: 'wal' });
  const out = zeros(paddedLength(length));
  const head = concat(
    u32(MAGIC),
    u32(length),
    u64(first),
    u32(entries.length),
    u64(time),
    u32(checkpoint.length),
    u32(0),
    checkpoint,
  );
  out.set(head);
  let at = head.length;
  for (const entry of entries) {
    at = out.writeUInt16BE(entry.length, at);
    out.set(entry, at);
    at += entry.length;
  }
  out.set(root, at);
  out.writeUInt32BE(crc32(out.subarray(0, length - 4)), length - 4);
  return out;
}

/**
 * The record that begins at this page, and its padded length; null if none does: wrong magic, length or CRC.
 * @throws LOG_CORRUPT/format or /padding for a record whose CRC is right and whose content can't be
 */
export function recordAt(segment: Uint8Array, offset: number): { record: WalRecord; paddedBytes: number } | null {
  const b = view(segment);
  if (!hasRecord(b, offset)) return null;
  const length = b.readUInt32BE(offset + 4);
  const paddedBytes = paddedLength(length);
  if (!isZero(b.subarray(offset + length, offset + paddedBytes))) throw corrupt('padding', 'bytes after a record');
  try {
    return { record: decodeRecord(b.subarray(offset, offset + length - 4)), paddedBytes };
  } catch (cause) {
    throw corrupt('format', 'a record with a right checksum is malformed', cause);
  }
}

/**
 * Reads all records in order. Records that `from` covers already are skipped, and the last of them must end where `from` does.
 *
 * After the first page without a valid record, all that is left is looked at: zeros, then the end is clean; garbage without another
 * valid record, then the last write was torn; a valid record behind the fault, then acknowledged data is damaged, and cutting it off
 * would make the log sign a fork. A damaged *last* record can't be told from a torn one: compare with a checkpoint known elsewhere.
 *
 * @param segments in order, each a whole number of pages
 * @param from the right edge of the durable tree
 * @param onRecord called for each record after `from`, in order; its byte strings are views of the segment
 * @throws LOG_CORRUPT with sub `later_record`, `first_index` (entries missing or twice), `root` (the entries do not make the record's
 *   root), `checkpoint` (an earlier checkpoint contradicts the tree), `format` or `padding`
 */
export function scan(
  segments: Iterable<Uint8Array>,
  from: Frontier,
  onRecord?: (record: WalRecord, frontier: Frontier) => void,
): WalEnd {
  let frontier = from;
  let next: number | null = null; // index that the next record must begin with; null before the first
  let end: WalEnd['end'] = 'clean';
  let place = { segment: 0, offset: 0 };
  let segment = -1;
  for (const bytes of segments) {
    segment++;
    const b = view(bytes);
    let offset = 0;
    while (end === 'clean' && offset < b.length) {
      const found = recordAt(b, offset);
      if (found === null) break;
      const { record, paddedBytes } = found;
      const { first, root } = record;
      const after = first + record.entries.length;
      if (first !== (next ?? Math.min(first, from.size)) || (first < from.size && after > from.size))
        throw corrupt('first_index', `a record of ${first}..${after} after entry ${next ?? from.size}`);
      if (first >= from.size) {
        frontier = extend(frontier, record);
        onRecord?.(record, frontier);
      } else if (after === from.size && !equal(root, from.root())) throw corrupt('root', 'not the root of the tree');
      next = after;
      offset += paddedBytes;
      place = { segment, offset };
    }
    if (end === 'clean' && !isZero(b.subarray(offset))) end = 'torn';
    if (end === 'torn')
      for (; offset < b.length; offset += PAGE_BYTES)
        if (hasRecord(b, offset)) throw corrupt('later_record', `a valid record behind a fault, at byte ${offset}`);
  }
  if (next !== null && next < from.size) throw corrupt('first_index', 'the records end before the tree');
  return { end, ...place, frontier };
}

/** @throws LOG_CORRUPT/checkpoint or /root */
function extend(frontier: Frontier, record: WalRecord): Frontier {
  if (record.checkpoint.length > 0) {
    const { size, root } = peekCheckpoint(record.checkpoint);
    if (size > frontier.size || (size === frontier.size && !equal(root, frontier.root())))
      throw corrupt('checkpoint', 'an earlier checkpoint is not of this tree');
  }
  const next = frontier.append(record.entries.map(leafHash));
  if (!equal(next.root(), record.root)) throw corrupt('root', 'the entries do not make the root');
  return next;
}

function hasRecord(b: Buffer, offset: number): boolean {
  if (offset + MIN_BYTES > b.length || b.readUInt32BE(offset) !== MAGIC) return false;
  const length = b.readUInt32BE(offset + 4);
  if (length < MIN_BYTES || length > MAX_RECORD_BYTES || offset + paddedLength(length) > b.length) return false;
  return crc32(b.subarray(offset, offset + length - 4)) === b.readUInt32BE(offset + length - 4);
}

/** @throws BAD_FRAME */
function decodeRecord(bytes: Buffer): WalRecord {
  const c = new Cursor(bytes, 'wal');
  c.take(8, 'magic and length');
  const first = c.u64('first_index');
  const count = c.u32('count');
  if (count === 0) c.refuse('count', 'at least one entry');
  const time = c.u64('time');
  const checkpointBytes = c.u32('checkpoint');
  c.zeros(4, 'reserved');
  const checkpoint = c.take(checkpointBytes, 'checkpoint');
  if (checkpointBytes > 0) peekCheckpoint(checkpoint);
  const entries: Uint8Array[] = [];
  for (let i = 0; i < count; i++) entries.push(c.take(c.u16('entry'), 'entry'));
  const root = c.take(HASH_BYTES, 'root') as Uint8Array as Hash;
  c.end();
  return { first, time, checkpoint, entries, root };
}

const paddedLength = (length: number): number => Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;

function isZero(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i += PAGE_BYTES) {
    const page = bytes.subarray(i, i + PAGE_BYTES);
    if (page.compare(ZEROS, 0, page.length) !== 0) return false;
  }
  return true;
}

const corrupt = (sub: string, message: string, cause?: unknown) =>
  new ChatError('LOG_CORRUPT', `write-ahead log: ${message}`, { sub, cause });
