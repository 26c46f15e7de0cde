/**
 * Against a log that was set back, by a restored backup or a copied machine: what it has signed is noted outside of its directory, and after
 * an absence nothing is signed until whoever holds a newer checkpoint has had the time to come and show it.
 */
import { equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { holdMs, writeAnchor, type Anchor } from './anchor.ts';
import { disk, diskError } from './files.ts';
import type { Nodes } from './nodes.ts';
import type { LogOptions } from './options.ts';
import { rootAt } from './recovery.ts';

export class Guard {
  readonly #options: LogOptions;
  readonly #nodes: Nodes;
  /** Nothing is signed before this time: somebody may come and show that the log was set back. Infinity: the wait has not begun. */
  #heldUntil = 0;
  #holdMs = 0;
  #noting: Promise<void> = Promise.resolve();

  constructor(options: LogOptions, nodes: Nodes) {
    this.#options = options;
    this.#nodes = nodes;
  }

  /** The gate after a start, for a log of `size` whose newest entry is of `time`. @throws ROLLBACK, FORK */
  async settle(anchor: Anchor | null, size: number, time: number): Promise<void> {
    const { now, settleMs = 0 } = this.#options;
    if (anchor !== null) {
      const { size: signed, root } = anchor.checkpoint;
      if (signed > size) throw setBack(signed, size, 'this server has signed');
      if (!equal(await rootAt(this.#nodes, signed), root)) throw changed(signed, 'this server has signed');
    }
    if (size === 0) return;
    this.#holdMs = holdMs(Math.max(anchor?.time ?? 0, time), now(), settleMs);
    this.#heldUntil = this.#holdMs > 0 ? Infinity : 0;
  }

  /** How long nothing can be appended yet, ms; 0: no longer held. */
  get heldMs(): number {
    if (this.#heldUntil === 0) return 0;
    return Math.max(0, Math.min(this.#holdMs, this.#heldUntil - performance.now()));
  }
  /** Clients can come from now on: the wait for them begins. Answers how long it is, ms. */
  beginHold(): number {
    if (this.#heldUntil === Infinity) this.#heldUntil = performance.now() + this.#holdMs;
    return this.heldMs;
  }

  /** Notes this checkpoint, and that the process is alive, one after the other. @throws DISK_FULL, LOG_FAILED */
  note(checkpoint: string): Promise<void> {
    const { anchorFile, now, files = disk } = this.#options;
    if (anchorFile === undefined) return Promise.resolve();
    const write = () =>
      writeAnchor(files, anchorFile, checkpoint, now()).catch((error: unknown) => {
        throw diskError(error, 'noting the newest checkpoint');
      });
    const written = this.#noting.then(write, write);
    this.#noting = written.catch(() => undefined);
    return written;
  }
  /** What was to be noted is, or has failed. */
  noted(): Promise<void> {
    return this.#noting;
  }
}

export const setBack = (shown: number, size: number, who: string): ChatError =>
  new ChatError('ROLLBACK', `${who} a checkpoint of ${shown} entries and the log has ${size}: it was set back`);
export const changed = (size: number, who: string): ChatError =>
  new ChatError('FORK', `${who} a checkpoint of ${size} entries that this log did not sign: its history was changed`);
