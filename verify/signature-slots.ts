/**
 * Where two threads meet over signatures: a word of shared memory for each job that one gives and the other takes, `4 × number of the job +
 * state`. Words are used again: who comes late to a job finds another number there, and can neither take it nor answer for it.
 */
const STATE = { waiting: 0, taken: 1, good: 2, open: 3 } as const;
type State = keyof typeof STATE;

/** More than there are jobs whose answer somebody still wants. */
export const SLOTS = 4096;
/** Numbers of jobs end here; a larger one has no thread. */
const MAX_JOB = 2 ** 29 - 1;

export class SignatureSlots {
  readonly words: Int32Array;

  /** @param words of another thread's, shared; its own if left out */
  constructor(words: Int32Array = new Int32Array(new SharedArrayBuffer(4 * SLOTS))) {
    this.words = words;
  }

  /** The judge's: this job may be taken from now on. False: its word is held by a job before it, or there are too many. */
  offer(job: number): boolean {
    if (job > MAX_JOB || (this.words[job % SLOTS]! & 3) === STATE.taken) return false;
    Atomics.store(this.words, job % SLOTS, word(job, 'waiting'));
    return true;
  }

  /** Whoever checks it: false if somebody has it, or has gone on to another. */
  take(job: number): boolean {
    return this.#change(job, 'waiting', 'taken') === word(job, 'waiting');
  }

  /** For a job that was taken. */
  answer(job: number, isGood: boolean): void {
    this.#change(job, 'taken', isGood ? 'good' : 'open');
    Atomics.notify(this.words, job % SLOTS);
  }

  /**
   * The judge's: whether the signature was found good. What nobody has begun is not begun any more; what is begun is waited for.
   * @param help does another job meanwhile; false: there is none
   * @returns null when there is no answer after `patienceMs`
   */
  isGood(job: number, patienceMs: number, help: () => boolean = () => false): boolean | null {
    const [slot, taken] = [job % SLOTS, word(job, 'taken')];
    this.#change(job, 'waiting', 'open');
    while (Atomics.load(this.words, slot) === taken)
      if (!help() && Atomics.wait(this.words, slot, taken, patienceMs) === 'timed-out') return null;
    return Atomics.load(this.words, slot) === word(job, 'good');
  }

  #change(job: number, from: State, to: State): number {
    return Atomics.compareExchange(this.words, job % SLOTS, word(job, from), word(job, to));
  }
}

/** Of 32 bits, as the array's elements are. */
const word = (job: number, state: State): number => (4 * job + STATE[state]) | 0;
