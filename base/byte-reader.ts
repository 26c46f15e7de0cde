/** Reads length-prefixed binary from its front to its end; what is missing or left over is an error that names the field. */
import { fromUtf8, readU64, view } from './bytes.ts';
import { ChatError } from './errors.ts';

export class ByteReader {
  readonly #bytes: Buffer;
  readonly #field: string;
  #at = 0;

  constructor(bytes: Uint8Array, field: string) {
    this.#bytes = view(bytes);
    this.#field = field;
  }
  /** @throws BAD_FRAME */
  fail(want: string): never {
    throw new ChatError('BAD_FRAME', `${this.#field}: want ${want}`, { field: this.#field });
  }
  /** A view, not a copy. @throws BAD_FRAME */
  bytes(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) this.fail(`${length} more bytes`);
    return this.#bytes.subarray(this.#at, (this.#at += length));
  }
  u8 = (): number => this.bytes(1)[0]!;
  u16 = (): number => this.bytes(2).readUInt16BE();
  u32 = (): number => this.bytes(4).readUInt32BE();
  u64 = (): number => readU64(this.bytes(8), 0, this.#field);
  text(length: number): string {
    return fromUtf8(this.bytes(length)) ?? this.fail('UTF-8');
  }
  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }
  end(): void {
    if (!this.isAtEnd) this.fail('nothing more');
  }
}
