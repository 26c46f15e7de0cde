/** Time-outs that come when a test says so: where they are real, a machine that is busy for as long makes them come too early. */
import type { Test } from 'tap';

/** More than any test takes, ms. */
export const LONG_MS = 3_600_000;

/** Timers of LONG_MS, or what is left of it, wait for the function that is answered: it runs the work of those that were not cleared. */
export function lateTimers(t: Test): () => void {
  const waiting = new Map<NodeJS.Timeout, () => void>();
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  const forget = (timer: NodeJS.Timeout): void => {
    waiting.delete(timer);
    clear(timer);
  };
  t.intercept(globalThis, 'setTimeout', {
    value: (work: () => void, ms: number) => {
      const timer = set(work, ms);
      if (ms > LONG_MS / 2) waiting.set(timer, work);
      return timer;
    },
  });
  t.intercept(globalThis, 'clearTimeout', { value: forget });
  return () => {
    for (const [timer, work] of [...waiting]) {
      forget(timer);
      work();
    }
  };
}
