/** Reads a binary layout from front to back. What is missing, wrong or left over is refused by the name of its field. */
import { fromUtf8, readU64, view } from './bytes.ts';
import { bad } from './decode.ts';

export class Cursor {
  readonly #bytes: Buffer;
  readonly #what: string;
  #offset = 0;

  /** @param what the layout's name: the first part of every field name in a refusal, and all of it for a field that has none */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = view(bytes);
    this.#what = what;
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }
  get isAtEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  /** The next `length` bytes, not copied. @throws BAD_FRAME if there are fewer */
  take(length: number, field?: string): Buffer {
    const from = this.#skip(length, field);
    return this.#bytes.subarray(from, this.#offset);
  }
  /** Where they begin. */
  #skip(length: number, field?: string): number {
    const from = this.#offset;
    if (length > this.#bytes.length - from) this.refuse(field, `${length} bytes`);
    this.#offset = from + length;
    return from;
  }
  /** All that is left; may be empty. */
  rest(): Buffer {
    return this.take(this.#bytes.length - this.#offset);
  }

  u8(field?: string): number {
    return this.#bytes.readUInt8(this.#skip(1, field));
  }
  u16(field?: string): number {
    return this.#bytes.readUInt16BE(this.#skip(2, field));
  }
  u32(field?: string): number {
    return this.#bytes.readUInt32BE(this.#skip(4, field));
  }
  u64(field?: string): number {
    return readU64(this.#bytes, this.#skip(8, field), this.#nameOf(field));
  }
  /** @param length in bytes. @throws BAD_FRAME for what is not UTF-8 */
  text(length: number, field?: string): string {
    return fromUtf8(this.take(length, field)) ?? this.refuse(field, 'UTF-8');
  }
  /** Reserved bytes. @throws BAD_FRAME unless all are zero */
  zeros(length: number, field: string): void {
    for (let at = this.#skip(length, field); at < this.#offset; at++)
      if (this.#bytes[at] !== 0) this.refuse(field, 'zeros');
  }
  /** @throws BAD_FRAME if anything is left */
  end(): void {
    if (!this.isAtEnd) this.refuse('length', `${this.#offset} bytes and no more`);
  }
  /** @throws BAD_FRAME */
  refuse(field: string | undefined, want: string): never {
    return bad(this.#nameOf(field), want);
  }
  #nameOf(field: string | undefined): string {
    return field === undefined ? this.#what : `${this.#what}.${field}`;
  }
}
