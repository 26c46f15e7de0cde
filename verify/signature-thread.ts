/** The second thread of `signatures-ahead.ts`: checks signatures that the first will ask for. What it does not confirm, the first judges itself. */
import { parentPort } from 'node:worker_threads';
import { hex } from '../base/bytes.ts';
import { algorithmOf, CONTEXT, verify } from '../base/signature.ts';
import { openCheckpoint } from '../transcript/checkpoint.ts';
import { parseVkey, type VerifierKey } from '../transcript/note.ts';
import { parsePem, type Certificate } from '../x509/certificate.ts';
import { STATE, type Job, type Work } from './signatures-ahead.ts';

const certificates = new Map<string, Certificate>();
const logs = new Map<string, VerifierKey>();

function isGood({ kind, by, body, signature }: Job): boolean {
  try {
    if (kind === 'note') {
      const log = logs.get(by) ?? parseVkey(by);
      logs.set(by, log);
      openCheckpoint(body, log);
      return true;
    }
    const own = certificates.get(by);
    return own !== undefined && verify(own.publicKey, algorithmOf(own.publicKey), CONTEXT.senderBatch, body, signature);
  } catch {
    return false;
  }
}

parentPort!.on('message', ({ states, certificates: more, jobs }: Work) => {
  for (const [fingerprint, pem] of more) {
    try {
      const [own] = parsePem(pem);
      if (own && hex(own.fingerprint) === fingerprint) certificates.set(fingerprint, own);
    } catch {
      // The first thread says what is wrong with it.
    }
  }
  for (const job of jobs) {
    if (Atomics.compareExchange(states, job.slot, STATE.waiting, STATE.taken) !== STATE.waiting) continue;
    Atomics.store(states, job.slot, isGood(job) ? STATE.good : STATE.open);
    Atomics.notify(states, job.slot);
  }
});
