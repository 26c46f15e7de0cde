/**
 * Has published checkpoints stamped by a time-stamping authority (RFC 3161 over HTTP), and logs each stamp as a TIME entry: only one that any
 * verifier with the authority's root will take, or it would stand in the log for ever. Nothing waits for it.
 */
import { randomBytes } from 'node:crypto';
import { equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import type { Log } from '../../runtime/log.ts';
import { peekCheckpoint } from '../../transcript/checkpoint.ts';
import { decodeLeaf, type Leaf } from '../../transcript/leaf.ts';
import { decodeStamp, encodeStamp, imprintOf, type Stamp } from '../../transcript/stamp.ts';
import type { Certificate } from '../../x509/certificate.ts';
import { MAX_ANSWER_BYTES, timeStampRequest, tokenIn } from '../../x509/time-stamp-request.ts';
import { openTimeStamp, trustTimeStamp } from '../../x509/time-stamp.ts';
import type { TranscriptLog } from './log.ts';
import { post } from './outbound.ts';
import { checkSeen, isAhead, MAX_SKEW_MS } from './outside-time.ts';

export interface TimeStamperOptions {
  readonly transcript: TranscriptLog;
  readonly url: string;
  /** That the authority's certificate must lead to. */
  readonly roots: readonly Certificate[];
  /** The published note that is to be stamped; null: there is none. */
  readonly note: () => Promise<Uint8Array | null>;
  /** As Sequencer.enter(). */
  readonly enter: (leavesAt: (serverTime: number) => readonly Leaf[]) => Promise<{ readonly firstIndex: number }>;
  readonly log: Log;
  /** Unix ms */
  readonly now: () => number;
  /** 10 s by default. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 10_000;
/** So far back a start looks for the newest stamp. */
const LOOK_BACK = 4096;

export class TimeStamper {
  readonly #o: TimeStamperOptions;
  readonly #end = new AbortController();
  #running: Promise<void> | null = null;
  /** Entries that need no stamp any more. Null: not looked for yet. */
  #covered: number | null = null;
  #newest: Stamp | null = null;

  constructor(options: TimeStamperOptions) {
    this.#o = options;
  }

  /**
   * Stamps what is published, unless nothing was logged since the stamp before.
   * @throws UNREACHABLE, UNAVAILABLE/refused, BAD_CERT, SIG_FAIL for an answer that is no good; as Committer.enter()
   */
  round(): Promise<void> {
    this.#running ??= this.#round().finally(() => (this.#running = null));
    return this.#running;
  }

  /** The newest that is in the log, if it is not too far back. */
  async newest(): Promise<Stamp | null> {
    this.#covered ??= await this.#look();
    return this.#newest;
  }

  /** What is under way ends at once. */
  async close(): Promise<void> {
    this.#end.abort();
    await this.#running?.catch(() => undefined);
  }

  async #round(): Promise<void> {
    const { transcript, note: published, enter, log, now } = this.#o;
    if (transcript.heldMs > 0 || isAhead(transcript, now(), log)) return;
    const note = await published();
    if (note === null) return;
    const { size } = peekCheckpoint(note);
    if (size <= (this.#covered ??= await this.#look())) return;
    const token = await this.#token(note, size);
    if (this.#end.signal.aborted) return;
    const stamp = encodeStamp({ checkpoint: note, token });
    const { firstIndex } = await enter((serverTime) => [{ type: 'time', serverTime, stamp }]);
    this.#covered = coveredBy(firstIndex, size);
    this.#newest = { checkpoint: note, token };
    log.info('timestamp.logged', { index: firstIndex, size, bytes: token.length });
  }

  async #token(note: Uint8Array, size: number): Promise<Buffer> {
    const { transcript, url, roots, now, timeoutMs = TIMEOUT_MS } = this.#o;
    const imprint = imprintOf(note);
    const nonce = randomBytes(16);
    nonce[0] = 0x40 | (nonce[0]! & 0x3f); // positive, and in its shortest form
    const limits = { maxBytes: MAX_ANSWER_BYTES, timeoutMs, signal: this.#end.signal };
    const answer = await post(url, 'application/timestamp-query', timeStampRequest(imprint, nonce), limits);
    if (answer.status !== 200 || answer.type !== 'application/timestamp-reply')
      throw new ChatError('UNAVAILABLE', `the authority answers with HTTP status ${answer.status}`, { sub: 'refused' });
    const token = tokenIn(answer.body);
    const stamp = openTimeStamp(token);
    if (!equal(stamp.imprint, imprint) || stamp.nonce === null || !equal(stamp.nonce, nonce))
      throw new ChatError('SIG_FAIL', 'the time-stamp of something else than was sent', { sub: 'time_stamp' });
    trustTimeStamp(stamp, roots, []);
    if (Math.abs(stamp.time - now()) > MAX_SKEW_MS)
      throw new ChatError('SIG_FAIL', 'the time-stamp of another time than ours', { sub: 'clock' });
    await checkSeen(transcript, size, stamp.time);
    return token;
  }

  async #look(): Promise<number> {
    const { transcript } = this.#o;
    const { size } = transcript;
    const first = Math.max(0, size - LOOK_BACK);
    const entries = await transcript.entries(first, size);
    for (let at = entries.length - 1; at >= 0; at--) {
      const leaf = decodeLeaf(entries[at]!);
      if (leaf.type !== 'time' || leaf.stamp.length === 0) continue;
      const { checkpoint, token } = decodeStamp(leaf.stamp);
      this.#newest ??= { checkpoint: Buffer.from(checkpoint), token: Buffer.from(token) };
      return coveredBy(first + at, peekCheckpoint(checkpoint).size);
    }
    return 0;
  }
}

/**
 * What is under a stamp, and its TIME entry itself if nothing came while the authority answered: what did waits for the next.
 * @param index of the TIME entry @param size of the note in it
 */
const coveredBy = (index: number, size: number): number => (index === size ? index + 1 : size);
