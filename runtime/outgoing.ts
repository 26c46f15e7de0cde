/** Frames on their way to the peer: those of one turn of the event loop leave together, in few records and one write. */
import type { TLSSocket } from 'node:tls';
import { ChatError } from '../base/errors.ts';
import type { Sealer } from '../protocol/channel.ts';
import { MAX_PLAINTEXT_BYTES } from '../protocol/limits.ts';
import { plaintextOf, RECORD_OVERHEAD_BYTES } from '../protocol/unsealed.ts';

/** Frames are gathered into one record up to here: a larger record would only arrive later. A larger frame has a record of its own. */
const GATHER_BYTES = 65_536;

export class Outgoing {
  readonly #socket: TLSSocket;
  readonly #sealer: Sealer;
  readonly #onDrain: () => void;
  /** Frames, each with room around it for a record of its own. */
  #records: Buffer[] = [];
  #bytes = 0;
  #isFlushDue = false;

  /** @param onDrain the kernel has taken all that there was */
  constructor(socket: TLSSocket, sealer: Sealer, onDrain: () => void) {
    this.#socket = socket;
    this.#sealer = sealer;
    this.#onDrain = onDrain;
  }

  /** Bytes that the kernel has not taken. */
  get queuedBytes(): number {
    return this.#bytes + this.#socket.writableLength;
  }

  /** @throws TOO_LARGE for a frame that no record can hold, with this as `field` */
  push(record: Buffer, field: string): void {
    const bytes = record.length - RECORD_OVERHEAD_BYTES;
    if (bytes > MAX_PLAINTEXT_BYTES) throw new ChatError('TOO_LARGE', `frame of ${bytes} bytes`, { field });
    this.#records.push(record);
    this.#bytes += record.length;
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    setImmediate(() => this.flush()); // after all that this turn of the event loop brings
  }

  /** Sealing and writing happen here alone, in one go: the order of counters is the order on the wire. */
  flush(): void {
    this.#isFlushDue = false;
    const records = this.#records;
    this.drop();
    if (records.length === 0 || !this.#socket.writable) return;
    const now = performance.now();
    this.#socket.cork();
    for (let at = 0; at < records.length;) {
      const from = at;
      let bytes = records[at++]!.length;
      while (at < records.length && bytes + records[at]!.length <= GATHER_BYTES) bytes += records[at++]!.length;
      const sealed =
        at - from === 1
          ? this.#sealer.sealInPlace(records[from]!, now)
          : this.#sealer.seal(records.slice(from, at).map(plaintextOf), now);
      this.#socket.write(sealed, this.#written);
    }
    this.#socket.uncork();
  }

  /** What has not been sealed never leaves. */
  drop(): void {
    this.#records = [];
    this.#bytes = 0;
  }

  readonly #written = (): void => {
    if (this.queuedBytes === 0) this.#onDrain();
  };
}
