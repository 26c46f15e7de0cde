/**
 * Archives that any `tar` opens (POSIX ustar), with one encoding for one content: regular files in bytewise order of their names, and in
 * every header nothing but name and size. What is not so is told and read on, as far as lengths can be believed. Files are only bytes with a
 * name here: nothing is ever written under that name. docs/TRANSCRIPT.md §e.
 */
const BLOCK_BYTES = 512;
/** Two empty blocks. */
export const ARCHIVE_END = Buffer.alloc(2 * BLOCK_BYTES);
/** Our own: one field of the header, and no name that a shell or a file system could take for something else. */
export const MAX_NAME_CHARS = 100;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*)*$/;
const SIZE = { at: 124, end: 136 } as const;
const CHECKSUM = 148;
const ZERO_DIGIT = 0x30;

/** Header, content, and zeros up to the next block. @throws RangeError for a name that can't be archived, or 8 GiB */
export function archived(name: string, bytes: Uint8Array): Buffer {
  if (!isName(name)) throw new RangeError(`no name for an archive: ${name}`);
  return Buffer.concat([header(name, bytes.length), bytes, Buffer.alloc(paddingOf(bytes.length))]);
}

export interface ArchivedFile {
  readonly name: string;
  readonly bytes: Buffer;
  /** What is not canonical about it. */
  readonly faults: readonly string[];
}

/** Cuts an archive into files, in whatever pieces it comes. Holds one file at a time; one that lies in several pieces is put together once. */
export class UstarReader {
  readonly #limitOf: (name: string) => number;
  #held: Buffer[] = [];
  /** So far the first of them was taken. */
  #at = 0;
  #heldBytes = 0;
  /** The first bytes of a file that is not whole yet. */
  #begun: Buffer | null = null;
  #begunBytes = 0;
  #open: { readonly name: string; readonly size: number; readonly faults: string[] } | null = null;
  #last = '';
  #emptyBlocks = 0;
  #fault: string | null = null;

  /** @param limitOf largest size of a file of this name; a larger one ends the reading */
  constructor(limitOf: (name: string) => number) {
    this.#limitOf = limitOf;
  }

  /** Why nothing more is read; null: nothing stands against it so far. */
  get fault(): string | null {
    return this.#fault;
  }

  /** The files that are complete now. Their bytes may be views of what was given. */
  *push(chunk: Uint8Array): Generator<ArchivedFile> {
    if (chunk.length > 0) this.#held.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    this.#heldBytes += chunk.length;
    while (this.#fault === null) {
      if (this.#open === null) {
        if (this.#heldBytes < BLOCK_BYTES) return;
        this.#begin(this.#take(BLOCK_BYTES));
        continue;
      }
      const { name, size, faults } = this.#open;
      const padding = paddingOf(size);
      if (this.#heldBytes < size + padding) return this.#gather(size + padding);
      this.#open = null;
      const whole = this.#take(size + padding);
      if (!isFilled(whole, size)) faults.push('is not followed by zeros');
      yield { name, bytes: whole.subarray(0, size), faults };
    }
  }

  /** No more comes. Then `fault` is the last word. */
  end(): void {
    if (this.#fault !== null) return;
    if (this.#open !== null || this.#heldBytes > 0) this.#fault = 'ends in the middle of a file';
    else if (this.#emptyBlocks < 2) this.#fault = 'has no end: want two empty blocks';
  }

  #begin(block: Buffer): void {
    if (isFilled(block, 0)) {
      if (++this.#emptyBlocks > 2) this.#fault = 'goes on behind its end';
      return;
    }
    if (this.#emptyBlocks > 0) {
      this.#fault = 'goes on behind its end';
      return;
    }
    const size = sizeIn(block);
    if (size === null) {
      this.#fault = 'has a header without a size';
      return;
    }
    const end = block.indexOf(0);
    const name = block.toString('latin1', 0, end < 0 ? MAX_NAME_CHARS : Math.min(end, MAX_NAME_CHARS));
    const faults: string[] = [];
    if (!isName(name)) faults.push('is no name for a file');
    else if (!isHeader(block, name)) faults.push('has another header than name and size make');
    if (name <= this.#last) faults.push('stands behind a name that comes later, or is there twice');
    this.#last = name;
    if (size > this.#limitOf(name)) this.#fault = `has a file of ${size} bytes: ${name}`;
    else this.#open = { name, size, faults };
  }

  #take(bytes: number): Buffer {
    const [first] = this.#held;
    this.#heldBytes -= bytes;
    if (this.#begun === null && first !== undefined && first.length - this.#at >= bytes) {
      const end = this.#at + bytes;
      const whole = first.subarray(this.#at, end);
      this.#at = end;
      if (end === first.length) this.#drop();
      return whole;
    }
    this.#gather(bytes);
    const whole = this.#begun!;
    this.#begun = null;
    this.#begunBytes = 0;
    return whole;
  }

  /** What is here of something that lies in several pieces goes into memory of its own: pieces are not held while more of them come. */
  #gather(bytes: number): void {
    this.#begun ??= Buffer.allocUnsafeSlow(bytes);
    while (this.#held.length > 0 && this.#begunBytes < bytes) {
      const first = this.#held[0]!;
      const end = Math.min(first.length, this.#at + bytes - this.#begunBytes);
      this.#begunBytes += first.copy(this.#begun, this.#begunBytes, this.#at, end);
      this.#at = end;
      if (end === first.length) this.#drop();
    }
  }

  #drop(): void {
    this.#held.shift();
    this.#at = 0;
  }
}

const isName = (name: string): boolean => name.length <= MAX_NAME_CHARS && NAME.test(name);
const paddingOf = (size: number): number => (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES;

/** POSIX.1-1988 `ustar`: mode 0644, and zero for owner, group, time and device. */
function header(name: string, size: number): Buffer {
  const octal = size.toString(8);
  if (octal.length > 11) throw new RangeError(`${size} bytes in an archive`);
  const block = Buffer.from(TEMPLATE);
  block.write(name, 0, 'latin1');
  block.write(octal, SIZE.end - 1 - octal.length, 'latin1');
  let sum = TEMPLATE_SUM;
  for (let at = 0; at < name.length; at++) sum += block[at]!;
  for (let at = SIZE.at; at < SIZE.end; at++) sum += block[at]! - TEMPLATE[at]!;
  block.write(checksumOf(sum), CHECKSUM, 'latin1');
  return block;
}

/** Zeros from here on. Bytes are looked at one by one, here and below: a bundle has seven short files for each message. */
function isFilled(bytes: Buffer, from: number): boolean {
  for (let at = from; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** Eleven octal digits and a zero; null: it is something else. */
function sizeIn(block: Buffer): number | null {
  let size = 0;
  for (let at = SIZE.at; at < SIZE.end - 1; at++) {
    const digit = block[at]! - ZERO_DIGIT;
    if (digit < 0 || digit > 7) return null;
    size = 8 * size + digit;
  }
  return block[SIZE.end - 1] === 0 ? size : null;
}

/** Whether header() makes this block of the name and the size that are in it. */
function isHeader(block: Buffer, name: string): boolean {
  let sum = TEMPLATE_SUM;
  for (let at = 0; at < name.length; at++) sum += block[at]!;
  for (let at = SIZE.at; at < SIZE.end; at++) sum += block[at]! - TEMPLATE[at]!;
  return (
    isTemplate(block, name.length, SIZE.at) &&
    isTemplate(block, SIZE.end, CHECKSUM) &&
    block.toString('latin1', CHECKSUM, CHECKSUM + 8) === checksumOf(sum) &&
    isTemplate(block, CHECKSUM + 8, BLOCK_BYTES)
  );
}

function isTemplate(block: Buffer, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if (block[at] !== TEMPLATE[at]) return false;
  return true;
}
const checksumOf = (sum: number): string => `${sum.toString(8).padStart(6, '0')}\0 `;

/** All that is the same in every header; the checksum counts itself as spaces. */
const TEMPLATE = Buffer.alloc(BLOCK_BYTES);
const ZERO = '0000000\0';
TEMPLATE.write(`0000644\0${ZERO}${ZERO}${'0'.repeat(11)}\0${'0'.repeat(11)}\0${' '.repeat(8)}0`, 100, 'latin1');
TEMPLATE.write('ustar\x0000', 257, 'latin1');
TEMPLATE.write(`${ZERO}${ZERO}`, 329, 'latin1');
const TEMPLATE_SUM = TEMPLATE.reduce((total, byte) => total + byte, 0);
