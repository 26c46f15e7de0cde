/**
 * Tests that make promises by the million run in a thread of their own: tap follows each one, which costs more than the test itself.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

export interface Report {
  /** One assertion, made by the test's own thread. */
  ok(passed: boolean, says: string): void;
  comment(says: string): void;
  skip(why: string): void;
}

/** What the thread says: each result, and how many they were. */
type Said = readonly [keyof Report, boolean | string, string?] | readonly ['end', number];

/** `file` is import.meta.filename of the caller, which must be nothing but calls of this. */
export async function inThread(file: string, name: string, work: (report: Report) => Promise<void>): Promise<void> {
  if (!isMainThread) {
    if ((workerData as { name?: string }).name !== name) return;
    let results = 0;
    const say = (...said: Said): void => {
      if (said[0] === 'ok' || said[0] === 'skip') results++;
      parentPort?.postMessage(said);
    };
    await work({
      ok: (passed, says) => say('ok', passed, says),
      comment: (says) => say('comment', says),
      skip: (why) => say('skip', why),
    });
    return say('end', results);
  }
  const { default: t } = await import('tap');
  await t.test(name, async (t) => {
    await follow(new Worker(file, { workerData: { name } }), {
      ok: (passed, says) => void t.ok(passed, says),
      comment: (says) => t.comment(says),
      skip: (why) => void t.test(why, { skip: true }, async () => {}),
    });
  });
}

/** Passes on what the thread says. @throws unless it comes to its end, has results, and all of them have arrived. */
export function follow(worker: Worker, report: Report): Promise<void> {
  let [results, announced] = [0, -1];
  return new Promise((resolve, reject) => {
    worker.on('message', (said: Said) => {
      if (said[0] === 'end') announced = said[1];
      else if (said[0] === 'comment') report.comment(String(said[1]));
      else {
        results++;
        if (said[0] === 'ok') report.ok(said[1] === true, said[2] ?? '');
        else report.skip(String(said[1]));
      }
    });
    let failure: unknown = null;
    worker.on('error', (error) => (failure = error)); // which may overtake what was said before it
    worker.on('exit', (status) => {
      if (failure !== null) reject(failure as Error);
      else if (status === 0 && results > 0 && results === announced) resolve();
      else reject(new Error(`the thread ended with status ${status}, ${results} results of ${announced}`));
    });
  });
}
