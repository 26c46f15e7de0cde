/** A thread that ends before its work does is a failure, however quietly it ends. */
import t from 'tap';
import { Worker } from 'node:worker_threads';
import { follow } from './thread.ts';

const ok = "say(['ok', true, 'as it should']);";
const rows: readonly (readonly [string, string, RegExp | null])[] = [
  ['all of it', `${ok} say(['comment', 'slow']); say(['end', 1]);`, null],
  ['nothing to test, and that said', "say(['skip', 'no vectors']); say(['end', 1]);", null],
  ['it leaves', `${ok} process.exit(0);`, /status 0, 1 results of -1/],
  ['it leaves with a status', `${ok} say(['end', 1]); process.exit(3);`, /status 3, 1 results of 1/],
  ['it waits for what never comes', `${ok} new Promise(() => {}).then(() => say(['end', 1]));`, /1 results of -1/],
  ['it throws', `${ok} throw new RangeError('too far');`, /too far/],
  ['it has tested nothing', "say(['end', 0]);", /0 results of 0/],
  ['a result is missing', `${ok} say(['end', 2]);`, /1 results of 2/],
];
for (const [name, code, refusal] of rows)
  t.test(name, async (t) => {
    const heard: string[] = [];
    const followed = follow(
      new Worker(`const say = (said) => require('node:worker_threads').parentPort.postMessage(said); ${code}`, {
        eval: true,
      }),
      {
        ok: (passed, says) => void heard.push(`${passed}: ${says}`),
        comment: (says) => void heard.push(says),
        skip: (why) => void heard.push(why),
      },
    );
    if (refusal) await t.rejects(followed, { message: refusal });
    else await t.resolves(followed);
    if (code.includes(ok)) t.equal(heard[0], 'true: as it should');
  });
