/**
 * What parties outside the server have said of one log directory: in the cosignatures of `checkpoint` and of `cosigned`, and in its TIME
 * entries, each of which holds a checkpoint and a token over it. Each such checkpoint must be of the log itself.
 */
import { equal, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { openCheckpoint, peekCheckpoint, type Checkpoint } from '../transcript/checkpoint.ts';
import type { TimeLeaf } from '../transcript/leaf.ts';
import type { VerifierKey } from '../transcript/note.ts';
import { decodeStamp, type Stamp } from '../transcript/stamp.ts';
import type { Findings } from './finding.ts';
import { type OutsideAudit } from './outside.ts';
import { TreeFiles } from './tree-root.ts';

export class Attestations {
  readonly #size: number;
  readonly #files: TreeFiles;
  readonly #outside: OutsideAudit;
  readonly #findings: Findings;
  /** Checkpoints in TIME entries that are not of the entries. */
  readonly #strange: { readonly where: string; readonly size: number }[] = [];
  /** Entries below are cosigned by a quorum, and stamped. */
  #cosignedSize = 0;
  #stampedSize = 0;

  /** @param size of the log */
  constructor(dir: string, size: number, outside: OutsideAudit, findings: Findings) {
    this.#size = size;
    this.#files = new TreeFiles(dir, size);
    this.#outside = outside;
    this.#findings = findings;
  }

  /** A TIME entry. @param keyAt the key of the log for a checkpoint of a size that is not larger than `index` */
  entry(index: number, leaf: TimeLeaf, keyAt: (size: number) => VerifierKey): void {
    const where = `entry ${index}`;
    const stamp = this.#tried(where, () => decodeStamp(leaf.stamp));
    const checkpoint = stamp && this.#tried(where, () => this.#opened(stamp, keyAt));
    if (!checkpoint) return;
    const { size, root } = checkpoint;
    if (size > index || size === 0)
      return this.#findings.add('E_STAMP', where, `of a checkpoint of ${size} entries, which was not before it`);
    const own: Hash | null = this.#files.rootAt(size);
    if (own === null) return; // a finding of its own
    if (!equal(own, root)) return void this.#strange.push({ where, size });
    this.#cosigned(where, stamp.checkpoint, size);
    const moment = this.#outside.stamped(where, stamp.checkpoint, stamp.token);
    if (moment === null) return;
    this.#stampedSize = Math.max(this.#stampedSize, size);
    this.#before(size, moment.until, 'the time-stamping authority', where);
    this.#outside.checkNotBefore(where, leaf.serverTime, moment.from);
  }

  /** A checkpoint that is a file; the log has signed it. */
  checkpoint(where: string, note: Uint8Array, size: number): void {
    if (size <= this.#size) this.#cosigned(where, note, size);
  }

  /**
   * @param isProven the entries are those that the log has signed
   * @param areTilesRight the hash tiles are those of the entries: roots were read out of them, and of others say nothing against the server
   * @param isVouched whether a good certificate stands behind the key of a checkpoint of this size: only then the server is accused
   * @param lastMessage index of the newest
   */
  end(
    isProven: boolean,
    areTilesRight: boolean,
    isVouched: (size: number) => boolean,
    lastMessage: number | null,
  ): void {
    for (const { where, size } of isProven && !areTilesRight ? [] : this.#strange)
      if (isProven && isVouched(size) && isVouched(this.#size))
        this.#findings.add('E_FORK', where, `the server signed another history for size ${size}`);
      else this.#findings.add('E_CONSISTENCY', where, `the first ${size} entries are not those that were stamped`);
    const { quorum, requiresStamp, witnesses } = this.#outside.asked;
    if (quorum > 0 && this.#cosignedSize === 0)
      this.#findings.add('W_NO_QUORUM', 'checkpoint', `not cosigned by ${quorum} of the ${witnesses.length} witnesses`);
    else if (quorum > 0) this.#tail('W_UNWITNESSED', this.#cosignedSize, lastMessage, 'cosigned by a quorum');
    if (requiresStamp && this.#stampedSize === 0)
      this.#findings.add('W_NO_STAMP', 'log', 'no entry holds a time-stamp by a given authority');
    else if (requiresStamp) this.#tail('W_UNSTAMPED', this.#stampedSize, lastMessage, 'stamped');
  }

  #tail(code: 'W_UNWITNESSED' | 'W_UNSTAMPED', size: number, lastMessage: number | null, what: string): void {
    if (lastMessage !== null && lastMessage >= size)
      this.#findings.add(code, `entry ${size}`, `from here on no checkpoint is ${what} yet`);
  }

  #cosigned(where: string, note: Uint8Array, size: number): void {
    const moment = this.#outside.cosigned(where, note);
    if (moment === null) return;
    this.#cosignedSize = Math.max(this.#cosignedSize, size);
    this.#before(size, moment, 'a quorum of witnesses', where);
  }

  /** Times never decrease, so that of the last entry is enough. */
  #before(size: number, moment: number, whose: string, where: string): void {
    const time = size === 0 ? null : this.#files.timeAt(size - 1);
    if (time !== null) this.#outside.checkNotAfter(`entry ${size - 1}`, time, moment, `${whose} (${where})`);
  }

  #opened({ checkpoint }: Stamp, keyAt: (size: number) => VerifierKey): Checkpoint {
    return openCheckpoint(checkpoint, keyAt(peekCheckpoint(checkpoint).size));
  }

  #tried<T>(where: string, work: () => T): T | null {
    try {
      return work();
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      this.#findings.add(code === 'SIG_FAIL' ? 'E_CKPT_SIG' : 'E_STAMP', where, message);
      return null;
    }
  }
}
