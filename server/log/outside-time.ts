/**
 * Whether what parties outside say of the time can stand beside the times of the log. Those never go back: after a clock that was ahead they
 * stay there until the clock has come up, and whoever saw such an entry would seem to have seen it before it was made.
 */
import { ChatError } from '../../base/errors.ts';
import type { Log } from '../../runtime/log.ts';
import { decodeLeaf } from '../../transcript/leaf.ts';
import type { TranscriptLog } from './log.ts';

/** What a verifier allows. */
export const MAX_SKEW_MS = 5 * 60_000;

/** Whether the newest entry is of a time that is not yet; then it says so. */
export function isAhead({ time }: TranscriptLog, now: number, log: Log): boolean {
  if (time <= now + MAX_SKEW_MS) return false;
  log.warn('transcript.ahead', { ms: time - now });
  return true;
}

/** @param size of the checkpoint that was seen at this time @throws SIG_FAIL/clock; LOG_CORRUPT */
export async function checkSeen(transcript: TranscriptLog, size: number, time: number): Promise<void> {
  const [last] = await transcript.entries(size - 1, size);
  if (decodeLeaf(last!).serverTime > time + MAX_SKEW_MS)
    throw new ChatError('SIG_FAIL', 'seen before the time that its newest entry has', { sub: 'clock' });
}
