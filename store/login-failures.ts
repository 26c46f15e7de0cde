/** The lockout of those who guess passwords: failed logins are counted, and who has too many of them waits. */
import { utf8 } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import { first, insert, run, select, type Operation, type Target } from './operation.ts';
import { blob, integer, integerOrNull } from './row.ts';

/** No lock lasts longer, however many failures there were: 24 h in ms. */
export const MAX_LOCKOUT_MS = 86_400_000;

const FAILURES: Target = {
  table: 'login_failures',
  columns: ['subject', 'failures', 'locked_until'],
  key: ['subject'],
  onConflict: 'keep',
};

/** Fixed length, and the table tells nobody who tried. Sorted: racing callers take the rows in one order. */
const subjectKeys = (subjects: readonly string[]): Buffer[] =>
  [...new Set(subjects)].map((subject) => sha256(utf8(subject))).sort(Buffer.compare);

export function* countLoginFailure(
  subjects: readonly string[],
  now: number,
  maxFailures: number,
  lockoutMs: number,
): Operation<number> {
  const keys = subjectKeys(subjects);
  const fresh = keys.map((key) => [key, 0, 0]);
  yield* insert(FAILURES, fresh);
  yield* run('UPDATE login_failures SET failures = failures + 1 WHERE subject IN (?...)', keys);
  let longest = 0;
  for (const row of yield* select(
    'SELECT subject, failures, locked_until FROM login_failures WHERE subject IN (?...)',
    keys,
  )) {
    const beyond = integer(row, 'failures') - maxFailures;
    // Before there are so many it says when the last failure was, which locks nobody, whatever the clock was then.
    let until = now;
    if (beyond >= 0) {
      until += Math.min(lockoutMs * 2 ** beyond, MAX_LOCKOUT_MS);
      // Concurrent failures carry their own clocks: a lock never gets shorter.
      if (beyond > 0) until = Math.max(until, integer(row, 'locked_until'));
      longest = Math.max(longest, until);
    }
    if (until !== row['locked_until'])
      yield* run('UPDATE login_failures SET locked_until = ? WHERE subject = ?', until, blob(row, 'subject'));
  }
  return longest;
}

export function* forgetLoginFailures(before: number): Operation<void> {
  yield* run('DELETE FROM login_failures WHERE locked_until < ?', before);
}

export function* lockedUntil(subjects: readonly string[], now: number, maxFailures: number): Operation<number> {
  const row = yield* first(
    'SELECT MAX(locked_until) AS latest FROM login_failures WHERE subject IN (?...) AND failures >= ?',
    subjectKeys(subjects),
    maxFailures,
  );
  const until = row ? (integerOrNull(row, 'latest') ?? 0) : 0;
  return until > now ? until : 0;
}

export function* clearLoginFailures(subjects: readonly string[]): Operation<void> {
  yield* run('DELETE FROM login_failures WHERE subject IN (?...)', subjectKeys(subjects));
}
