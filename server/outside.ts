/** Joins the server to parties outside, if it has any: witnesses are asked before anything is signed, then both kinds from time to time. */
import { ChatError } from '../base/errors.ts';
import type { LoadedServerConfig } from '../runtime/config.ts';
import { readTrustFile } from '../runtime/files.ts';
import { errorFields, type Log } from '../runtime/log.ts';
import { peekCheckpoint } from '../transcript/checkpoint.ts';
import { isSameWitness, parseWitness } from '../transcript/cosignature.ts';
import { parsePem, type Certificate } from '../x509/certificate.ts';
import type { TranscriptLog } from './log/log.ts';
import { TimeStamper } from './log/time-stamper.ts';
import { Witnesses, type WitnessAddress } from './log/witnesses.ts';
import type { Sequencer } from './sequencer.ts';

const MAX_CA_BYTES = 1024 * 1024;

export interface OutsideParties {
  readonly witnesses: readonly WitnessAddress[];
  readonly authority: { readonly url: string; readonly roots: readonly Certificate[] } | null;
}

/** @throws CONFIG_INVALID, UNSAFE_FILE; BAD_CERT for roots that are none */
export function readOutside({ values: { transcript } }: LoadedServerConfig): OutsideParties {
  const witnesses = transcript.witnesses.map(({ vkey, url }): WitnessAddress => {
    try {
      return { key: parseWitness(vkey), url };
    } catch (cause) {
      throw invalid('transcript.witness', `want the vkey of a witness (${ChatError.from(cause).message})`, cause);
    }
  });
  if (witnesses.some((one, i) => witnesses.slice(0, i).some((other) => isSameWitness(one.key, other.key))))
    throw invalid('transcript.witness', 'one key twice is one witness');
  const { tsaUrl: url, tsaCa } = transcript;
  if (url === undefined || tsaCa === undefined) return { witnesses, authority: null };
  const roots = parsePem(readTrustFile(tsaCa, 'transcript.tsa_ca', MAX_CA_BYTES).toString('latin1'));
  return { witnesses, authority: { url, roots } };
}

export interface OutsideOptions {
  readonly config: LoadedServerConfig;
  readonly transcript: TranscriptLog;
  readonly log: Log;
  /** Unix ms */
  readonly now: () => number;
}

/** A checkpoint that somebody outside vouches for. */
export interface Attested {
  /** Signed note, with cosignatures if it has any. */
  readonly note: Uint8Array;
  /** Time-stamp token over the note. */
  readonly token: Uint8Array | null;
}

export class OutsideJobs {
  readonly #o: OutsideOptions;
  readonly #parties: OutsideParties;
  readonly #witnesses: Witnesses | null;
  #stamper: TimeStamper | null = null;

  /** @throws as readOutside() */
  constructor(options: OutsideOptions) {
    const { config, transcript, log, now } = options;
    this.#o = options;
    this.#parties = readOutside(config);
    const { witnesses } = this.#parties;
    this.#witnesses = witnesses.length > 0 ? new Witnesses({ transcript, witnesses, log, now }) : null;
  }

  /** Before anything is signed. A witness that does not answer is not waited for longer than one request. @throws ROLLBACK, FORK */
  async gate(): Promise<void> {
    await this.#witnesses?.round();
  }

  /** @returns ends them */
  begin(sequencer: Sequencer): () => Promise<void> {
    const { config, transcript, log, now } = this.#o;
    const { witnessEveryMs, tsaEveryMs } = config.values.transcript;
    const [witnesses, { authority }] = [this.#witnesses, this.#parties];
    const ends: (() => Promise<void>)[] = [];
    const note = () => (witnesses ? witnesses.round() : transcript.published());
    if (authority !== null) {
      const enter: Sequencer['enter'] = (leavesAt) => sequencer.enter(leavesAt);
      const stamper = new TimeStamper({ ...authority, transcript, note, enter, log, now });
      this.#stamper = stamper;
      ends.push(repeat(tsaEveryMs, stamper, (error) => this.#failed('timestamp.failed', error)));
    }
    if (witnesses !== null)
      ends.push(repeat(witnessEveryMs, witnesses, (error) => this.#failed('witness.failed', error)));
    return async () => void (await Promise.all(ends.map((end) => end())));
  }

  /** One that covers so many entries, the stamped one before the cosigned one; else the larger of the two. Null: nobody vouches for anything yet. */
  async attested(size: number): Promise<Attested | null> {
    const stamp = await this.#stamper?.newest();
    const cosigned = await this.#o.transcript.cosigned();
    const found = [
      ...(stamp ? [{ note: stamp.checkpoint, token: stamp.token }] : []),
      ...(cosigned && this.#isOwn(cosigned) ? [{ note: cosigned, token: null }] : []),
    ].map((each) => ({ ...each, size: peekCheckpoint(each.note).size }));
    const { note, token } = found.find((each) => each.size >= size) ?? found.sort((a, b) => b.size - a.size)[0] ?? {};
    return note === undefined ? null : { note, token: token ?? null };
  }

  /** A file that is damaged says nothing. */
  #isOwn(note: Uint8Array): boolean {
    const { transcript } = this.#o;
    try {
      const { origin, size } = peekCheckpoint(note);
      return origin === transcript.origin && size <= transcript.size;
    } catch {
      return false;
    }
  }

  #failed(event: 'timestamp.failed' | 'witness.failed', error: unknown): void {
    const failure = ChatError.from(error);
    if (failure.code === 'ROLLBACK' || failure.code === 'FORK') this.#o.transcript.halt(failure);
    this.#o.log.warn(event, errorFields(failure));
  }
}

/** The first time at once. */
function repeat(
  everyMs: number,
  job: { round(): Promise<unknown>; close(): Promise<void> },
  onFailure: (error: unknown) => void,
): () => Promise<void> {
  let isEnding = false;
  const run = (): void =>
    void job.round().catch((error: unknown) => {
      if (!isEnding) onFailure(error);
    });
  const timer = setInterval(run, everyMs);
  run();
  return async () => {
    isEnding = true;
    clearInterval(timer);
    await job.close();
  };
}

const invalid = (field: string, message: string, cause?: unknown): ChatError =>
  new ChatError('CONFIG_INVALID', `${field}: ${message}`, { field, cause });
