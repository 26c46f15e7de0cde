/** Reads a binary layout from front to back. Every read names its field, so that what is refused can be found. */
import { readU64, view } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';

export class Cursor {
  readonly #bytes: Buffer;
  readonly #what: string;
  #offset = 0;

  /** @param what the layout's name, the first part of every field name in a refusal */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = view(bytes);
    this.#what = what;
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** The next `length` bytes, not copied. @throws BAD_FRAME if there are fewer */
  take(length: number, field: string): Buffer {
    const end = this.#offset + length;
    if (end > this.#bytes.length) this.refuse(field, `${length} bytes`);
    const taken = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return taken;
  }
  /** All that is left; may be empty. */
  rest(): Buffer {
    return this.take(this.#bytes.length - this.#offset, 'rest');
  }

  u8(field: string): number {
    return this.take(1, field).readUInt8();
  }
  u16(field: string): number {
    return this.take(2, field).readUInt16BE();
  }
  u32(field: string): number {
    return this.take(4, field).readUInt32BE();
  }
  u64(field: string): number {
    return readU64(this.take(8, field), 0, `${this.#what}.${field}`);
  }
  /** Reserved bytes. @throws BAD_FRAME unless all are zero */
  zeros(length: number, field: string): void {
    if (this.take(length, field).some((byte) => byte !== 0)) this.refuse(field, 'zeros');
  }
  /** @throws BAD_FRAME if anything is left */
  end(): void {
    if (this.#offset !== this.#bytes.length) this.refuse('length', `${this.#offset} bytes and no more`);
  }
  refuse(field: string, want: string): never {
    return bad(`${this.#what}.${field}`, want);
  }
}
