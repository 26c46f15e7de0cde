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
    const end = this.#offset + length;
    if (end > this.#bytes.length) this.refuse(field, `${length} bytes`);
    const taken = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return taken;
  }
  /** All that is left; may be empty. */
  rest(): Buffer {
    return this.take(this.#bytes.length - this.#offset);
  }

  u8(field?: string): number {
    return this.take(1, field).readUInt8();
  }
  u16(field?: string): number {
    return this.take(2, field).readUInt16BE();
  }
  u32(field?: string): number {
    return this.take(4, field).readUInt32BE();
  }
  u64(field?: string): number {
    return readU64(this.take(8, field), 0, this.#nameOf(field));
  }
  /** @param length in bytes. @throws BAD_FRAME for what is not UTF-8 */
  text(length: number, field?: string): string {
    return fromUtf8(this.take(length, field)) ?? this.refuse(field, 'UTF-8');
  }
  /** Reserved bytes. @throws BAD_FRAME unless all are zero */
  zeros(length: number, field: string): void {
    if (this.take(length, field).some((byte) => byte !== 0)) this.refuse(field, 'zeros');
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
