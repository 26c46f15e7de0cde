/** The second thread of `signatures-ahead.ts`: checks signatures that the first will ask for. What it does not confirm, the first judges itself. */
import { parentPort } from 'node:worker_threads';
import { SignatureCheck } from './signature-check.ts';
import { SignatureSlots } from './signature-slots.ts';
import type { Work } from './signatures-ahead.ts';

const check = new SignatureCheck();

parentPort!.on('message', ({ words, certificates, vkeys, jobs, bytes }: Work) => {
  for (const [fingerprint, pem] of certificates) check.addCertificate(fingerprint, pem);
  for (const vkey of vkeys) check.addLog(vkey);
  const slots = new SignatureSlots(words);
  let at = 0;
  for (let i = 0; i < jobs.length; i += 4) {
    const [number, log, bodyBytes, signatureBytes] = jobs.subarray(i, i + 4) as unknown as [
      number,
      number,
      number,
      number,
    ];
    const body = bytes.subarray(at, (at += bodyBytes));
    const signature = bytes.subarray(at, (at += signatureBytes));
    if (slots.take(number)) slots.answer(number, check.isGood(log, body, signature));
  }
});
