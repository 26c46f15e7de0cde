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

/** Cuts an archive into files, in whatever pieces it comes. Holds one file at a time. */
export class UstarReader {
  readonly #limitOf: (name: string) => number;
  #held: Buffer[] = [];
  /** So far the first of them was taken. */
  #at = 0;
  #heldBytes = 0;
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
      if (this.#heldBytes < size + padding) return;
      this.#open = null;
      const whole = this.#take(size + padding);
      if (padding > 0 && whole.compare(EMPTY, 0, padding, size) !== 0) faults.push('is not followed by zeros');
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
    if (block[0] === 0 && block.equals(EMPTY)) {
      if (++this.#emptyBlocks > 2) this.#fault = 'goes on behind its end';
      return;
    }
    if (this.#emptyBlocks > 0) {
      this.#fault = 'goes on behind its end';
      return;
    }
    const digits = /^([0-7]{11})\0$/.exec(block.toString('latin1', SIZE.at, SIZE.end))?.[1];
    if (digits === undefined) {
      this.#fault = 'has a header without a size';
      return;
    }
    const size = Number.parseInt(digits, 8);
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
    let [first] = this.#held;
    if (first === undefined || first.length - this.#at < bytes) {
      if (first !== undefined) this.#held[0] = first.subarray(this.#at);
      first = Buffer.concat(this.#held);
      this.#held = [first];
      this.#at = 0;
    }
    const end = this.#at + bytes;
    const whole = first.subarray(this.#at, end);
    this.#at = end;
    if (end === first.length) {
      this.#held.shift();
      this.#at = 0;
    }
    this.#heldBytes -= bytes;
    return whole;
  }
}

const EMPTY = Buffer.alloc(BLOCK_BYTES);
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

/** Whether header() makes this block of the name and the size that are in it. Nothing is made, for each message of a bundle has seven. */
function isHeader(block: Buffer, name: string): boolean {
  const isSame = (from: number, end: number): boolean => TEMPLATE.compare(block, from, end, from, end) === 0;
  let sum = TEMPLATE_SUM;
  for (let at = 0; at < name.length; at++) sum += block[at]!;
  for (let at = SIZE.at; at < SIZE.end; at++) sum += block[at]! - TEMPLATE[at]!;
  return (
    isSame(name.length, SIZE.at) &&
    isSame(SIZE.end, CHECKSUM) &&
    block.toString('latin1', CHECKSUM, CHECKSUM + 8) === checksumOf(sum) &&
    isSame(CHECKSUM + 8, BLOCK_BYTES)
  );
}
const checksumOf = (sum: number): string => `${sum.toString(8).padStart(6, '0')}\0 `;

/** All that is the same in every header; the checksum counts itself as spaces. */
const TEMPLATE = Buffer.alloc(BLOCK_BYTES);
const ZERO = '0000000\0';
TEMPLATE.write(`0000644\0${ZERO}${ZERO}${'0'.repeat(11)}\0${'0'.repeat(11)}\0${' '.repeat(8)}0`, 100, 'latin1');
TEMPLATE.write('ustar\x0000', 257, 'latin1');
TEMPLATE.write(`${ZERO}${ZERO}`, 329, 'latin1');
const TEMPLATE_SUM = TEMPLATE.reduce((total, byte) => total + byte, 0);
