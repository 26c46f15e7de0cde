/** The second thread of `signatures-ahead.ts`: checks signatures that the first will ask for. What it does not confirm, the first judges itself. */
import type { KeyObject } from 'node:crypto';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { isSignedBy } from '../base/signature.ts';
import { SignatureSlots, SLOTS } from './signature-slots.ts';

const slots = new SignatureSlots(workerData as SharedArrayBuffer);
const keys: KeyObject[] = [];

/** Each was sent before the first job that names it. */
function keyOf(number: number): KeyObject {
  while (keys.length <= number) keys.push(receiveMessageOnPort(parentPort!)!.message as KeyObject);
  return keys[number]!;
}

// Ended from outside: it waits, and hears nothing meanwhile.
for (let next = 0; ;) {
  const count = slots.awaitMore(next);
  for (next = Math.max(next, count - SLOTS); next < count; next++) {
    const work = slots.take(next);
    if (work !== null) slots.answer(next, isSignedBy(keyOf(work.key), work.data, work.signature));
  }
}
