/**
 * Signatures that are checked before the judge asks for them, on a second thread. It can only confirm: what it has not found good when the
 * judge asks is checked there as ever, so that what is found is what one thread finds. While the thread is at what the judge asks for, the
 * first one does what comes behind it: both work until there is nothing left.
 */
import type { KeyObject } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { isSignedBy } from '../base/signature.ts';
import { SignatureSlots, SLOTS } from './signature-slots.ts';

/** A signature takes a millisecond at most: a thread that does not answer for so long is not asked any more. */
const PATIENCE_MS = 2000;

/** One signature that somebody will ask for; only here it is looked into. */
export interface Signed {
  readonly key: KeyObject;
  readonly data: Uint8Array;
  readonly signature: Uint8Array;
  /** Counted through; null: the thread does not have it. */
  readonly job: number | null;
  isGood: boolean | null;
}

export class SignaturesAhead {
  readonly #slots: SignatureSlots;
  readonly #keys = new Map<KeyObject, number>();
  /** The newest job of each slot, until somebody has asked for it. */
  readonly #placed = Array.from<Signed | null>({ length: SLOTS }).fill(null);
  /** Jobs [#begun, #next) may be waiting. */
  #next = 0;
  #begun = 0;
  #worker: Worker | null = null;
  #isLost = false;

  constructor(slots = new SignatureSlots()) {
    this.#slots = slots;
  }

  /** From now on there is a second thread; what was offered before is not for it. */
  start(): void {
    const suffix = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const name = new URL(`./signature-thread.${suffix}`, import.meta.url);
    this.#worker ??= new Worker(name, {
      workerData: this.#slots.memory,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    this.#worker.on('error', () => (this.#isLost = true));
    this.#worker.unref();
  }

  /** Lets go of the thread. */
  close(): void {
    this.#worker?.ref(); // until it has ended: a thread that nobody waits for leaves its port behind
    void this.#worker?.terminate();
    this.#worker = null;
  }

  /** Soon somebody will ask whether `data` bears this signature. */
  offer(key: KeyObject, data: Uint8Array, signature: Uint8Array): Signed {
    const signed = { key, data, signature, isGood: null };
    const job = this.#next;
    if (this.#worker === null || this.#isLost) return { ...signed, job: null };
    const hasSlot = this.#slots.offer(job, { key: this.#numberOf(key), data, signature });
    if (!hasSlot) return { ...signed, job: null }; // the thread is still at work for one that was judged long ago
    const offered: Signed = { ...signed, job };
    this.#placed[job % SLOTS] = offered;
    this.#slots.publish(++this.#next);
    return offered;
  }

  isGood(signed: Signed): boolean {
    signed.isGood ??= this.#isConfirmed(signed) || isSignedBy(signed.key, signed.data, signed.signature);
    return signed.isGood;
  }

  #isConfirmed({ job }: Signed): boolean {
    if (job === null || this.#isLost) return false;
    const found = this.#slots.isGood(job, PATIENCE_MS, () => this.#help());
    this.#isLost ||= found === null;
    const slot = job % SLOTS;
    if (this.#placed[slot]?.job === job) this.#placed[slot] = null; // nor is its file kept any longer
    return found === true;
  }

  /** Does the oldest job that nobody has begun. @returns whether there was one */
  #help(): boolean {
    this.#begun = Math.max(this.#begun, this.#next - SLOTS);
    while (this.#begun < this.#next) {
      const job = this.#begun++;
      const signed = this.#placed[job % SLOTS];
      if (!signed || this.#slots.take(job) === null) continue;
      this.#slots.answer(job, isSignedBy(signed.key, signed.data, signed.signature));
      return true;
    }
    return false;
  }

  /** Keys are counted as the thread gets them. */
  #numberOf(key: KeyObject): number {
    const known = this.#keys.get(key);
    if (known !== undefined) return known;
    this.#keys.set(key, this.#keys.size);
    this.#worker!.postMessage(key);
    return this.#keys.size - 1;
  }
}
