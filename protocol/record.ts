/**
 * Records: `u32 length | payload` (docs/PROTOCOL.md §1). This file cuts a byte stream into payloads and decides nothing else; what a
 * payload means belongs to the handshake and the channel.
 */
import { u32, concat } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { MAX_UNPROVEN_RECORD_BYTES } from './limits.ts';

const LENGTH_BYTES = 4;
/** Memory that the beginning of a record gets when its length is known: most records need no more, and are moved once. */
const AT_ONCE_BYTES = 32_768;

/** The record that carries `payload`. */
export const encodeRecord = (payload: Uint8Array): Buffer => concat(u32(payload.length), payload);

/** Finds the records in a stream, however the stream is cut. It holds at most one record, and above 32 kB memory only for bytes that arrived. */
export class RecordReader {
  /** Largest length that is accepted from the next record on; the owner raises it when the peer has proven itself. */
  maxRecordBytes: number;
  /** The beginning of an unfinished record, its length field included; `#held` may be larger than what it holds. */
  #held: Buffer = Buffer.alloc(0);
  #heldBytes = 0;
  #failure: ChatError | null = null;

  constructor(maxRecordBytes = MAX_UNPROVEN_RECORD_BYTES) {
    this.maxRecordBytes = maxRecordBytes;
  }

  /**
   * The payloads that `chunk` completes; they may share its memory. Run it to its end before the next push: a reader whose generator
   * was left early has lost bytes.
   * @throws TOO_LARGE, BAD_FRAME/record.length as soon as the length is read, and then on every push
   */
  *push(chunk: Buffer): Generator<Buffer> {
    if (this.#failure !== null) throw this.#failure;
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#heldBytes === 0 && rest.length >= LENGTH_BYTES) {
        const end = LENGTH_BYTES + this.#checked(rest.readUInt32BE(0));
        if (rest.length >= end) {
          const payload = rest.subarray(LENGTH_BYTES, end);
          rest = rest.subarray(end);
          yield payload;
          continue;
        }
      }
      rest = this.#hold(rest, LENGTH_BYTES);
      if (this.#heldBytes < LENGTH_BYTES) return;
      const end = LENGTH_BYTES + this.#checked(this.#held.readUInt32BE(0));
      rest = this.#hold(rest, end);
      if (this.#heldBytes < end) return;
      const payload = this.#held.subarray(LENGTH_BYTES, end);
      this.#held = Buffer.alloc(0);
      this.#heldBytes = 0;
      yield payload;
    }
  }

  /** True when the stream may end here: no record was begun. */
  get isBetweenRecords(): boolean {
    return this.#heldBytes === 0;
  }

  #checked(length: number): number {
    if (length >= 1 && length <= this.maxRecordBytes) return length;
    this.#failure =
      length === 0
        ? new ChatError('BAD_FRAME', 'record without payload', { field: 'record.length' })
        : new ChatError('TOO_LARGE', `record of ${length} bytes announced, ${this.maxRecordBytes} allowed`, {
            field: 'record.length',
          });
    throw this.#failure;
  }

  /** Moves bytes until `untilBytes` are held; returns what is left over. Doubling keeps drip-fed records linear in time and memory. */
  #hold(bytes: Buffer, untilBytes: number): Buffer {
    const moved = Math.min(untilBytes - this.#heldBytes, bytes.length);
    if (moved <= 0) return bytes;
    const needBytes = this.#heldBytes + moved;
    if (this.#held.length < needBytes) {
      const wanted = Math.max(needBytes, 2 * this.#held.length, AT_ONCE_BYTES);
      const grown = Buffer.allocUnsafeSlow(Math.min(untilBytes, wanted));
      this.#held.copy(grown, 0, 0, this.#heldBytes);
      this.#held = grown;
    }
    bytes.copy(this.#held, this.#heldBytes, 0, moved);
    this.#heldBytes = needBytes;
    return bytes.subarray(moved);
  }
}
