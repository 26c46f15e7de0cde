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

/** `file` is import.meta.filename of the caller, which must be nothing but calls of this. */
export async function inThread(file: string, name: string, work: (report: Report) => Promise<void>): Promise<void> {
  if (!isMainThread) {
    if ((workerData as { name?: string }).name !== name) return;
    const say = (kind: keyof Report) => (a: boolean | string, b?: string) => parentPort?.postMessage([kind, a, b]);
    return work({ ok: say('ok'), comment: say('comment'), skip: say('skip') });
  }
  const { default: t } = await import('tap');
  await t.test(name, async (t) => {
    const worker = new Worker(file, { workerData: { name } });
    await new Promise<void>((resolve, reject) => {
      worker.on('message', ([kind, a, b]: [keyof Report, boolean | string, string]) => {
        if (kind === 'ok') t.ok(a, b);
        else if (kind === 'skip') t.test(String(a), { skip: true }, async () => {});
        else t.comment(a);
      });
      worker.on('error', reject);
      worker.on('exit', () => resolve());
    });
  });
}
