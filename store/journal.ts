/**
 * Windows that the database does not have yet, on this machine's disk: two files, written in turns. One takes what comes while the
 * database is told what is in the other, which is then filled with zeros, so that no ciphertext outlives its queue here. A record is
 * whole or it is none, and a file is read up to the first that is none.
 *
 * Record: "CSWJ" ‖ u32 length of the body ‖ body ‖ CRC-32 of everything before, padded with zeros to 4096, so that no sector with an older
 * record is ever written again.
 */
import { constants, write } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { ChatError } from '../base/errors.ts';
import { Scratch } from '../base/scratch.ts';
import { decodeWindow, encodeWindow, type NumberedWindow } from './journal-record.ts';

/** A window as it was read, with the bytes of its record. */
export interface JournalledWindow extends NumberedWindow {
  readonly record: Uint8Array;
}

const MAGIC = 0x4353574a;
const HEAD_BYTES = 8;
const CRC_BYTES = 4;
const PAGE_BYTES = 4096;
/** A file grows by so much, filled with zeros: writing into what is there already costs half of what growing costs. */
const STEP_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(STEP_BYTES);
/** Far above any window; what else there is, the database is told at once. */
const MAX_FILE_BYTES = 1024 * 1024 * 1024;

interface Half {
  readonly handle: FileHandle;
  /** where the next record begins */
  end: number;
  allocated: number;
  /** up to where something may stand that is no record: its writing failed */
  spoiled: number;
  /** log → where the last of its records ends, also of one that is being written */
  readonly until: Map<string, number>;
  /** its zeros are being written */
  clearing: Promise<void> | null;
}

export class Journal {
  readonly #halves: readonly [Half, Half];
  #active = 0;
  /** of the record that is being written */
  readonly #scratch = new Scratch();

  private constructor(halves: readonly [Half, Half]) {
    this.#halves = halves;
  }

  /**
   * @param path of the files, but for their ends: that of an embedded database
   * @returns what was written and not cleared, in no particular order between the two files
   * @throws STORE_FAILED, DISK_FULL
   */
  static async open(path: string): Promise<{ journal: Journal; windows: JournalledWindow[] }> {
    const halves: Half[] = [];
    const windows: JournalledWindow[] = [];
    try {
      for (const name of [`${path}-ahead-0`, `${path}-ahead-1`]) {
        // A write is on the disk when it returns.
        const handle = await open(name, constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC, 0o600);
        const { size } = await handle.stat();
        const half: Half = { handle, end: 0, allocated: size, spoiled: 0, until: new Map(), clearing: null };
        halves.push(half);
        if (size > MAX_FILE_BYTES) throw new ChatError('STORE_FAILED', `${name} is too large to be what it should be`);
        const bytes = Buffer.alloc(size);
        for (let at = 0; at < size;) {
          const { bytesRead } = await handle.read(bytes, at, size - at, at);
          if (bytesRead === 0) break;
          at += bytesRead;
        }
        if (size === 0) await syncName(name);
        windows.push(...recordsIn(bytes));
        half.end = endOf(bytes);
      }
    } catch (error) {
      for (const { handle } of halves) await handle.close();
      throw failure(error);
    }
    return { journal: new Journal(halves as unknown as readonly [Half, Half]), windows };
  }

  get #half(): Half {
    return this.#halves[this.#active]!;
  }

  /**
   * Durable when it resolves; when it rejects, the next one takes its place. One at a time.
   * @returns the body of its record @throws DISK_FULL, STORE_FAILED
   */
  async append(window: NumberedWindow): Promise<Uint8Array> {
    let crcAt = 0;
    const allocate = (bodyBytes: number): Buffer => {
      crcAt = HEAD_BYTES + bodyBytes;
      return this.#scratch.zeros(Math.ceil((crcAt + CRC_BYTES) / PAGE_BYTES) * PAGE_BYTES);
    };
    const record = encodeWindow(window, HEAD_BYTES, allocate);
    record.writeUInt32BE(MAGIC, 0);
    record.writeUInt32BE(crcAt - HEAD_BYTES, 4);
    record.writeUInt32BE(crc32(record.subarray(0, crcAt)), crcAt);
    const body = Buffer.from(record.subarray(HEAD_BYTES, crcAt));
    const half = this.#half; // which it stays, whatever is turned meanwhile
    const end = half.end + record.length;
    if (end > MAX_FILE_BYTES) throw new ChatError('STORE_FAILED', 'the journal of the database is full');
    half.until.set(window.window.origin, window.window.logSize);
    try {
      for (; end > half.allocated; half.allocated += STEP_BYTES) await writeAll(half.handle, ZEROS, half.allocated);
      if (half.spoiled > end) await writeAll(half.handle, Buffer.alloc(half.spoiled - end), end);
      half.spoiled = end;
      await writeAll(half.handle, record, half.end);
    } catch (error) {
      throw failure(error);
    }
    half.end = end;
    return body;
  }

  get isClear(): boolean {
    return this.#halves.every(({ end, until }) => end === 0 && until.size === 0);
  }

  /** From now on the other file is written, unless it still holds something. */
  turn(): void {
    const { end, clearing, until } = this.#halves[1 - this.#active]!;
    if (end === 0 && clearing === null && until.size === 0) this.#active = 1 - this.#active;
  }

  /**
   * Clears the file that is not written, if the database has all of it. Never rejects: what fails is tried again with the next.
   * @param told how much of each log the database has
   */
  async clearOther(told: ReadonlyMap<string, number>): Promise<void> {
    const half = this.#halves[1 - this.#active]!;
    if (half.clearing !== null || (half.end === 0 && half.until.size === 0)) return;
    if (half.until.entries().some(([origin, size]) => (told.get(origin) ?? 0) < size)) return;
    half.clearing = this.#clear(half)
      .catch(() => undefined)
      .finally(() => (half.clearing = null));
    await half.clearing;
  }

  /** The database has everything. @throws STORE_FAILED, DISK_FULL */
  async clear(): Promise<void> {
    try {
      for (const half of this.#halves) {
        await half.clearing;
        await this.#clear(half);
      }
    } catch (error) {
      throw failure(error);
    }
  }

  async close(): Promise<void> {
    for (const { handle, clearing } of this.#halves) {
      await clearing;
      await handle.close();
    }
  }

  /** From its end to its beginning: what is left of it when that is cut short is what is read first. */
  async #clear(half: Half): Promise<void> {
    half.end = Math.max(half.end, half.spoiled);
    while (half.end > 0) {
      const from = Math.max(0, half.end - STEP_BYTES);
      await writeAll(half.handle, ZEROS.subarray(0, half.end - from), from);
      half.end = from;
    }
    half.spoiled = 0;
    half.until.clear();
  }
}

async function syncName(path: string): Promise<void> {
  const directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function* recordsIn(bytes: Buffer): Generator<JournalledWindow> {
  for (let at = 0; at + PAGE_BYTES <= bytes.length && bytes.readUInt32BE(at) === MAGIC;) {
    const length = HEAD_BYTES + bytes.readUInt32BE(at + 4) + CRC_BYTES;
    if (at + length > bytes.length) return;
    const crcAt = at + length - CRC_BYTES;
    if (crc32(bytes.subarray(at, crcAt)) !== bytes.readUInt32BE(crcAt)) return;
    const record = bytes.subarray(at + HEAD_BYTES, crcAt);
    yield { ...decodeWindow(record), record };
    at += Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
  }
}

/** Behind the last page that is not all zeros: records, and what is left of one that was being written. */
function endOf(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return Math.ceil(end / PAGE_BYTES) * PAGE_BYTES;
}

/** Plain descriptors: FileHandle's own methods cost three times as much. */
async function writeAll({ fd }: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;)
    done += await new Promise<number>((resolve, reject) =>
      write(fd, bytes, done, bytes.length - done, position + done, (error, count) =>
        error ? reject(error) : resolve(count),
      ),
    );
}

function failure(error: unknown): ChatError {
  if (error instanceof ChatError) return error;
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? new ChatError('DISK_FULL', 'no space left for the database', { cause: error })
    : new ChatError('STORE_FAILED', 'the journal of the database failed', { cause: error });
}
