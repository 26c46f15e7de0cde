/**
 * The write-ahead log as files: `00000001.wal`, `00000002.wal`… of one size, zero-filled and durable before the first record goes into
 * them, so that a commit changes no metadata and is one write and one fdatasync. A full disk is met while a segment is prepared, never
 * while a record is written. Segments whose records are published are zeroed and used again. Format and scan: transcript/wal.ts.
 */
import { join } from 'node:path';
import { ChatError } from '../../base/errors.ts';
import type { Frontier } from '../../transcript/merkle.ts';
import { encodeRecord, MAX_RECORD_BYTES, PAGE_BYTES, recordAt, scan, type WalRecord } from '../../transcript/wal.ts';
import { diskError, type Files, type OpenFile } from './files.ts';

export const SEGMENT_BYTES = 64 * 1024 * 1024;
const ZEROS = Buffer.alloc(1024 * 1024);

interface Segment {
  readonly number: number;
  readonly path: string;
  readonly file: OpenFile;
  readonly sizeBytes: number;
  usedBytes: number;
  /** log size after its last record */
  endSize: number;
}

/** Where a record will stand; nothing is written yet. */
export interface Place {
  readonly segment: Segment;
  readonly offset: number;
}

export class Segments {
  readonly #files: Files;
  readonly #directory: string;
  readonly #segmentBytes: number;
  /** Oldest first: with records, then the current one, then at most one that is ready. */
  readonly #segments: Segment[] = [];
  #current = 0;
  #number = 0;
  #recyclable: string | null = null;
  #preparing: Promise<void> | null = null;
  #wasTorn = false;

  private constructor(files: Files, directory: string, segmentBytes: number) {
    this.#files = files;
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
  }

  /**
   * Reads what is there and calls `onRecord` for each record that the durable tree lacks. A torn tail is zeroed; the newest record is
   * made durable before this resolves, for only then may its root be signed.
   * @param segmentBytes a multiple of 4096
   * @throws LOG_CORRUPT saying where and what to do; LOG_FAILED
   */
  static async open(
    files: Files,
    directory: string,
    segmentBytes: number,
    from: Frontier,
    onRecord: (record: WalRecord) => void,
  ): Promise<Segments> {
    const segments = new Segments(files, directory, segmentBytes);
    try {
      await segments.#recover(from, onRecord);
    } catch (error) {
      await segments.close();
      throw error;
    }
    return segments;
  }

  /** There was a torn tail, which was acknowledged to nobody. */
  get wasTorn(): boolean {
    return this.#wasTorn;
  }

  /** The longest record, bytes. */
  get recordBytes(): number {
    return Math.min(MAX_RECORD_BYTES, this.#segmentBytes);
  }

  /** @throws TOO_LARGE; DISK_FULL, LOG_FAILED when the next segment cannot be made: nothing has changed then */
  async reserve(bytes: number): Promise<Place> {
    if (bytes > this.recordBytes)
      throw new ChatError('TOO_LARGE', 'the window does not fit a segment', { field: 'wal' });
    const current = this.#segments[this.#current];
    if (current && current.usedBytes + bytes <= current.sizeBytes)
      return { segment: current, offset: current.usedBytes };
    if (this.#preparing) await this.#preparing.catch(() => undefined);
    const next = this.#current + (current ? 1 : 0);
    if (!this.#segments[next]) await this.#prepare();
    const segment = this.#segments[next];
    if (!segment) throw new ChatError('INTERNAL', 'a segment was prepared and is not there');
    this.#current = next;
    return { segment, offset: 0 };
  }

  /** Durable when it resolves. When it rejects nobody knows what is on the disk, and nothing may be written or signed any more. */
  async write({ segment, offset }: Place, record: Uint8Array, endSize: number): Promise<void> {
    await segment.file.write(record, offset);
    await segment.file.datasync();
    segment.usedBytes = offset + record.length;
    segment.endSize = endSize;
    const isLast = this.#current === this.#segments.length - 1;
    if (isLast && this.#preparing === null && segment.usedBytes * 2 > segment.sizeBytes)
      // Ahead of need. If it fails, reserve() tries again when the segment is needed, and reports.
      void this.#prepare().catch(() => undefined);
  }

  /** Gives up the segments whose records are all below `size`, for those are published. */
  async free(size: number): Promise<void> {
    for (
      let oldest = this.#segments[0];
      oldest && this.#current > 0 && oldest.endSize <= size;
      oldest = this.#segments[0]
    ) {
      this.#segments.shift();
      this.#current--;
      await oldest.file.close();
      if (this.#recyclable === null) {
        const path = join(this.#directory, `${oldest.number}.tmp`);
        await this.#files.rename(oldest.path, path);
        this.#recyclable = path;
      } else await this.#files.remove(oldest.path);
      // One after the other: if a younger one were gone from the disk and an older one not, entries would seem to be missing between.
      await this.#files.syncDirectory(this.#directory);
    }
  }

  async close(): Promise<void> {
    if (this.#preparing) await this.#preparing.catch(() => undefined);
    for (const { file } of this.#segments.splice(0)) await file.close();
  }

  #prepare(): Promise<void> {
    this.#preparing = this.#makeSegment().finally(() => (this.#preparing = null));
    return this.#preparing;
  }

  async #makeSegment(): Promise<void> {
    const number = this.#number + 1;
    const path = join(this.#directory, `${String(number).padStart(8, '0')}.wal`);
    const recycled = this.#recyclable;
    const temporary = recycled ?? join(this.#directory, `${number}.new.tmp`);
    this.#recyclable = null;
    let file: OpenFile | null = null;
    try {
      if (recycled === null) await this.#files.remove(temporary); // of an attempt that failed
      file = await this.#files.open(temporary, recycled === null ? 'create' : 'change');
      await zero(file, 0, this.#segmentBytes);
      await file.datasync();
      await this.#files.rename(temporary, path);
      await this.#files.syncDirectory(this.#directory);
      await file.close();
      file = await this.#files.open(path, 'durable'); // one call for each record in place of two
    } catch (error) {
      await file?.close().catch(() => undefined);
      await this.#files.remove(temporary).catch(() => undefined);
      throw diskError(error, 'making room for the next entries');
    }
    this.#number = number;
    this.#segments.push({ number, path, file, sizeBytes: this.#segmentBytes, usedBytes: 0, endSize: 0 });
  }

  async #recover(from: Frontier, onRecord: (record: WalRecord) => void): Promise<void> {
    const names = await this.#files.list(this.#directory);
    for (const name of names) if (name.endsWith('.tmp')) await this.#files.remove(join(this.#directory, name));
    await this.#files.syncDirectory(this.#directory); // names that a killed process has changed
    const found = names
      .filter((name) => /^\d{8,}\.wal$/.test(name))
      .sort((a, b) => Number.parseInt(a) - Number.parseInt(b));
    const contents: Buffer[] = [];
    for (const name of found) {
      const path = join(this.#directory, name);
      const bytes = await this.#files.readFile(path);
      if (bytes === null || bytes.length === 0 || bytes.length % PAGE_BYTES !== 0)
        throw corrupt(name, null, 'its length is not that of a segment');
      contents.push(bytes);
      const file = await this.#files.open(path, 'durable');
      const number = Number.parseInt(name);
      this.#number = Math.max(this.#number, number);
      this.#segments.push({ number, path, file, sizeBytes: bytes.length, usedBytes: 0, endSize: from.size });
    }

    let newest: WalRecord | null = null;
    let scanning = 0;
    let size = from.size;
    const segments = this.#segments;
    const inOrder = function* () {
      for (const [i, bytes] of contents.entries()) {
        scanning = i;
        yield bytes;
        segments[i]!.endSize = size;
      }
    };
    let end: ReturnType<typeof scan>;
    try {
      end = scan(inOrder(), from, (record, { size: after }) => {
        newest = record;
        size = after;
        onRecord(record);
      });
    } catch (error) {
      if (!(error instanceof ChatError) || error.code !== 'LOG_CORRUPT') throw error;
      const name = found[scanning] ?? 'no segment';
      throw corrupt(name, pageOfFault(contents[scanning]), error.message, error);
    }
    this.#current = end.segment;
    const current = segments[end.segment];
    if (!current) return;
    current.usedBytes = end.offset;
    for (const [i, segment] of segments.entries()) if (i < end.segment) segment.usedBytes = segment.sizeBytes;
    await this.#settle(contents, end.segment, end.offset, newest);
  }

  /** Zeroes what follows the last record, and writes that record once more, with the same bytes. */
  async #settle(contents: readonly Buffer[], at: number, end: number, newest: WalRecord | null): Promise<void> {
    for (const [i, segment] of this.#segments.entries()) {
      if (i < at) continue;
      const start = i === at ? end : 0;
      const isTorn = !isZero(contents[i] ?? ZEROS, start);
      if (isTorn) await zero(segment.file, start, segment.sizeBytes);
      this.#wasTorn ||= isTorn;
      if (i === at && newest !== null) {
        // Its fdatasync may have failed in a process before this one; then the pages that were just read are marked clean and exist
        // in memory alone, and no fdatasync would write them. Writing them makes them dirty again.
        const record = encodeRecord(newest);
        await segment.file.write(record, end - record.length);
      }
      if (isTorn || i === at) await segment.file.datasync();
    }
  }
}

function isZero(bytes: Buffer, from: number): boolean {
  for (let at = from; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length);
    if (ZEROS.compare(part, 0, part.length, 0, part.length) !== 0) return false;
  }
  return true;
}

async function zero(file: OpenFile, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += ZEROS.length)
    await file.write(ZEROS.subarray(0, Math.min(ZEROS.length, to - at)), at);
}

/** The first page that is no record where one is due, and is not the end either. */
function pageOfFault(bytes: Buffer | undefined): number | null {
  if (bytes === undefined) return null;
  try {
    let offset = 0;
    for (let next: number | null = null; offset < bytes.length;) {
      const found = recordAt(bytes, offset);
      if (found === null || (next !== null && found.record.first !== next)) break;
      next = found.record.first + found.record.entries.length;
      offset += found.paddedBytes;
    }
    return offset < bytes.length ? offset / PAGE_BYTES : null;
  } catch {
    return null;
  }
}

function corrupt(segment: string, page: number | null, message: string, cause?: ChatError): ChatError {
  const where = `segment ${segment}${page === null ? '' : `, page ${page}`}`;
  return new ChatError(
    'LOG_CORRUPT',
    `${where}: ${message}; acknowledged entries may be damaged, so nothing was changed: restore the log's folder from a copy ` +
      'that is as new, or start under a new node name (another origin, in an empty folder)',
    { ...(cause?.sub === undefined ? {} : { sub: cause.sub }), cause },
  );
}
