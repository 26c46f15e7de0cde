/**
 * Where two threads meet over signatures: memory that both have, with a slot for each job that one gives and the other takes. A word for each
 * says `4 × number of the job + state`. Slots are used again: who comes late to a job finds another number there, and can neither take it nor
 * answer for it.
 */
const STATE = { waiting: 0, taken: 1, good: 2, open: 3 } as const;
type State = keyof typeof STATE;

/** More than there are jobs whose answer somebody still wants. */
export const SLOTS = 1024;
/** What is signed and the signature, of one job: 261 bytes of a batch and those of RSA-8192. A longer one has no slot. */
export const SLOT_BYTES = 1344;
/** Numbers of jobs end here; a larger one has no slot. */
const MAX_JOB = 2 ** 29 - 1;
/** Words of a slot: state, number of the key, bytes of what is signed, bytes of the signature. */
const [STATES, KEYS, LENGTHS, SIGNATURES, COUNT] = [0, SLOTS, 2 * SLOTS, 3 * SLOTS, 4 * SLOTS];
const WORD_BYTES = 4 * (4 * SLOTS + 1);

/** One signature to be checked. */
export interface Work {
  /** Its number, as both sides count the keys. */
  readonly key: number;
  readonly data: Uint8Array;
  readonly signature: Uint8Array;
}

export class SignatureSlots {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;

  /** @param memory of another thread's; its own if left out */
  constructor(memory = new SharedArrayBuffer(WORD_BYTES + SLOTS * SLOT_BYTES)) {
    this.memory = memory;
    this.#words = new Int32Array(memory, 0, WORD_BYTES / 4);
    this.#bytes = Buffer.from(memory, WORD_BYTES);
  }

  /** The judge's: this job may be taken from now on. False: its slot is held by a job before it, or it fits into none. */
  offer(job: number, { key, data, signature }: Work): boolean {
    const slot = job % SLOTS;
    if (job > MAX_JOB || data.length + signature.length > SLOT_BYTES) return false;
    const before = Atomics.load(this.#words, STATES + slot);
    // Nobody begins with the job before while its bytes are written over.
    const isWaiting = (before & 3) === STATE.waiting;
    const closed = isWaiting
      ? Atomics.compareExchange(this.#words, STATES + slot, before, before | STATE.open)
      : before;
    if ((closed & 3) === STATE.taken) return false;
    this.#words[KEYS + slot] = key;
    this.#words[LENGTHS + slot] = data.length;
    this.#words[SIGNATURES + slot] = signature.length;
    this.#bytes.set(data, slot * SLOT_BYTES);
    this.#bytes.set(signature, slot * SLOT_BYTES + data.length);
    Atomics.store(this.#words, STATES + slot, word(job, 'waiting'));
    return true;
  }

  /** The judge's: all jobs below this one have been offered. */
  publish(count: number): void {
    Atomics.store(this.#words, COUNT, count);
    Atomics.notify(this.#words, COUNT);
  }

  /** The thread's: waits until there are more jobs than it has seen. @returns how many there are now */
  awaitMore(seen: number): number {
    Atomics.wait(this.#words, COUNT, seen);
    return Atomics.load(this.#words, COUNT);
  }

  /** Whoever checks it: null if somebody has it, or has gone on to another. */
  take(job: number): Work | null {
    const slot = job % SLOTS;
    if (this.#change(job, 'waiting', 'taken') !== word(job, 'waiting')) return null;
    const from = slot * SLOT_BYTES;
    const end = from + this.#words[LENGTHS + slot]!;
    const bytes = Buffer.from(this.#bytes.subarray(from, end + this.#words[SIGNATURES + slot]!)); // of its own
    return {
      key: this.#words[KEYS + slot]!,
      data: bytes.subarray(0, end - from),
      signature: bytes.subarray(end - from),
    };
  }

  /** For a job that was taken. */
  answer(job: number, isGood: boolean): void {
    this.#change(job, 'taken', isGood ? 'good' : 'open');
    Atomics.notify(this.#words, STATES + (job % SLOTS));
  }

  /**
   * The judge's: whether the signature was found good. What nobody has begun is not begun any more; what is begun is waited for.
   * @param help does another job meanwhile; false: there is none
   * @returns null when there is no answer after `patienceMs`
   */
  isGood(job: number, patienceMs: number, help: () => boolean = () => false): boolean | null {
    const [at, taken] = [STATES + (job % SLOTS), word(job, 'taken')];
    this.#change(job, 'waiting', 'open');
    while (Atomics.load(this.#words, at) === taken)
      if (!help() && Atomics.wait(this.#words, at, taken, patienceMs) === 'timed-out') return null;
    return Atomics.load(this.#words, at) === word(job, 'good');
  }

  #change(job: number, from: State, to: State): number {
    return Atomics.compareExchange(this.#words, STATES + (job % SLOTS), word(job, from), word(job, to));
  }
}

/** Of 32 bits, as the array's elements are. */
const word = (job: number, state: State): number => (4 * job + STATE[state]) | 0;
