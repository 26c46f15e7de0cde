/**
 * Asks witnesses to cosign published checkpoints (C2SP tlog-witness, add-checkpoint). A witness keeps the newest checkpoint that it has
 * cosigned and wants to be shown that the next one continues it; so it also knows when this log was set back or changed. Nothing waits for it.
 */
import { concat } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { errorFields, type Log } from '../../runtime/log.ts';
import { formatConsistency } from '../../transcript/bundle.ts';
import { decimal, peekCheckpoint } from '../../transcript/checkpoint.ts';
import { openCosignatures, withCosignatures, type Cosignature, type WitnessKey } from '../../transcript/cosignature.ts';
import type { TranscriptLog } from './log.ts';
import { post, type Answer } from './outbound.ts';
import { checkSeen, isAhead, MAX_SKEW_MS } from './outside-time.ts';

export interface WitnessAddress {
  readonly key: WitnessKey;
  /** Submission prefix: `/add-checkpoint` comes behind it. */
  readonly url: string;
}

interface Asked {
  readonly address: WitnessAddress;
  /** What it has cosigned, as far as we know. */
  size: number;
}

export interface WitnessOptions {
  readonly transcript: TranscriptLog;
  readonly witnesses: readonly WitnessAddress[];
  readonly log: Log;
  /** Unix ms */
  readonly now: () => number;
  /** Of one request; 5 s by default. */
  readonly timeoutMs?: number;
}

/** A few signature lines; one of ML-DSA, which is ignored, has 3,300 bytes. */
const MAX_ANSWER_BYTES = 16 * 1024;
const TIMEOUT_MS = 5000;

export class Witnesses {
  readonly #o: WitnessOptions;
  readonly #asked: readonly Asked[];
  readonly #end = new AbortController();
  /** What the last round made of the checkpoint that was published then. */
  #newest: Buffer | null = null;
  #running: Promise<Buffer | null> | null = null;

  constructor(options: WitnessOptions) {
    this.#o = options;
    this.#asked = options.witnesses.map((address) => ({ address, size: 0 }));
  }

  /** Shows every witness what is published, if it has not cosigned that yet. @returns the published note, with what came of it; null: there is none
   *  @throws ROLLBACK if a witness has cosigned more than the log has; FORK if it has cosigned something else; DISK_FULL, LOG_FAILED */
  round(): Promise<Buffer | null> {
    this.#running ??= this.#round().finally(() => (this.#running = null));
    return this.#running;
  }

  /** What is under way ends at once. */
  async close(): Promise<void> {
    this.#end.abort();
    await this.#running?.catch(() => undefined);
  }

  async #round(): Promise<Buffer | null> {
    const { transcript } = this.#o;
    const note = await transcript.published();
    if (note === null) return null;
    const { size } = peekCheckpoint(note);
    if (size === 0) return note;
    const isFirst = this.#newest === null; // asked in any case: a witness also knows what the log has lost
    if (!isFirst && isAhead(transcript, this.#o.now(), this.#o.log)) return note;
    if (isFirst) await this.#remember();
    // The first time all: whoever has cosigned more than there is now says so.
    const asked = this.#asked.filter((each) => isFirst || each.size !== size);
    const found = await Promise.all(asked.map((each) => this.#ask(each, note, size)));
    const cosignatures = found.flatMap((one) => one ?? []);
    const whole = cosignatures.length > 0 ? withCosignatures(note, cosignatures) : note;
    if (cosignatures.length > 0) await transcript.cosign(whole, await this.#isBest(whole));
    return (this.#newest = whole);
  }

  /** At the start, who had cosigned what: a witness that had not is asked anew, and says itself what it has. */
  async #remember(): Promise<void> {
    const kept = await this.#kept();
    if (kept === null) return;
    const { size } = peekCheckpoint(kept);
    for (const each of this.#asked)
      if (size <= this.#o.transcript.size && this.#has(kept, each.address)) each.size = size;
  }

  /** Null also for a file that is damaged: it only saves a question. */
  async #kept(): Promise<Buffer | null> {
    const kept = await this.#o.transcript.cosigned();
    try {
      return kept === null || peekCheckpoint(kept).origin !== this.#o.transcript.origin ? null : kept;
    } catch {
      return null;
    }
  }

  #has(note: Uint8Array, { key }: WitnessAddress): boolean {
    try {
      return openCosignatures(note, [key]).length > 0;
    } catch {
      return false;
    }
  }

  /** Not fewer witnesses than on the one that is kept. */
  async #isBest(note: Buffer): Promise<boolean> {
    const kept = await this.#kept();
    const count = (bytes: Buffer): number => this.#asked.filter(({ address }) => this.#has(bytes, address)).length;
    return kept === null || count(note) >= count(kept);
  }

  /** Null, and a line of the log: it did not cosign. @throws ROLLBACK, FORK */
  async #ask(witness: Asked, note: Buffer, size: number): Promise<Cosignature | null> {
    const { log, transcript } = this.#o;
    const { name } = witness.address.key.witness;
    try {
      let answer = await this.#show(witness, note, size);
      if (answer.status === 409) {
        witness.size = this.#sizeIn(answer, witness, size);
        answer = await this.#show(witness, note, size);
        if (answer.status === 409) this.#sizeIn(answer, witness, size);
      }
      // The proof is of our own tree: what it does not lead to from there is not in it.
      if (answer.status === 422 && witness.size > 0) throw this.#forked(witness, answer);
      if (answer.status !== 200) {
        log.warn('witness.refused', { witness: name, status: answer.status, size });
        return null;
      }
      const cosignature = this.#cosignatureIn(answer, witness.address, note);
      await checkSeen(transcript, size, cosignature.time);
      witness.size = size;
      log.debug('witness.cosigned', { witness: name, size });
      return cosignature;
    } catch (error) {
      const failure = ChatError.from(error);
      if (failure.code === 'ROLLBACK' || failure.code === 'FORK') throw failure;
      if (!this.#end.signal.aborted) log.warn('witness.failed', { witness: name, size, ...errorFields(failure) });
      return null;
    }
  }

  async #show({ address, size: old }: Asked, note: Buffer, size: number): Promise<Answer> {
    const proof = await this.#o.transcript.proofs.consistency(old, size);
    const url = `${address.url.replace(/\/+$/, '')}/add-checkpoint`;
    const { timeoutMs = TIMEOUT_MS } = this.#o;
    const limits = { maxBytes: MAX_ANSWER_BYTES, timeoutMs, signal: this.#end.signal };
    return post(url, 'text/plain; charset=utf-8', formatConsistency(old, proof, note), limits);
  }

  /** What a 409 says that the witness has cosigned. @throws ROLLBACK, FORK; BAD_FRAME for what is no such size */
  #sizeIn(answer: Answer, witness: Asked, size: number): number {
    const { type, body } = answer;
    const known = type === 'text/x.tlog.size' ? decimal(/^(\d+)\n$/.exec(body.toString('latin1'))?.[1] ?? '') : null;
    const isOther = known !== null && known !== witness.size;
    if (!isOther && witness.size === size) throw this.#forked(witness, answer); // it has this size, and another root
    if (!isOther) throw new ChatError('BAD_FRAME', 'a conflict without another size', { field: 'answer' });
    if (known > this.#o.transcript.size)
      throw new ChatError(
        'ROLLBACK',
        `a witness has cosigned ${known} entries and the log has ${this.#o.transcript.size}: it was set back`,
      );
    if (known > size) throw new ChatError('BAD_FRAME', 'a size that was not published', { field: 'answer' });
    return known;
  }

  #forked({ address, size }: Asked, { status }: Answer): ChatError {
    this.#o.log.warn('witness.forked', { witness: address.key.witness.name, status, size });
    return new ChatError('FORK', `a witness has cosigned ${size} entries that this log does not have: it was changed`);
  }

  /** @throws SIG_FAIL/cosignature, SIG_FAIL/clock, BAD_FRAME */
  #cosignatureIn({ body }: Answer, { key }: WitnessAddress, note: Buffer): Cosignature {
    const bare = withCosignatures(note, []);
    const [found] = openCosignatures(concat(bare, body), [key]);
    if (found === undefined)
      throw new ChatError('SIG_FAIL', 'an answer without the cosignature of the witness', { sub: 'cosignature' });
    if (Math.abs(found.time - this.#o.now()) > MAX_SKEW_MS)
      throw new ChatError('SIG_FAIL', 'a cosignature of another time than ours', { sub: 'clock' });
    return found;
  }
}
