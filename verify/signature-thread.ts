/**
 * The second thread of `signatures-ahead.ts`: checks signatures that the first will ask for. What it does not confirm, the first judges
 * itself.
 */
import { parentPort } from 'node:worker_threads';
import { hex } from '../base/bytes.ts';
import { algorithmOf, CONTEXT, verify } from '../base/signature.ts';
import { openCheckpoint } from '../transcript/checkpoint.ts';
import { parseVkey, type VerifierKey } from '../transcript/note.ts';
import { decodeBs } from '../transcript/statement.ts';
import { parsePem, type Certificate } from '../x509/certificate.ts';
import { SignatureSlots } from './signature-slots.ts';
import type { Work } from './signatures-ahead.ts';

const certificates = new Map<string, Certificate>();
const logs: VerifierKey[] = [];

/** @param log its number; -1: the body is a batch statement */
function isGood(log: number, body: Uint8Array, signature: Uint8Array): boolean {
  try {
    if (log >= 0) {
      openCheckpoint(body, logs[log]!);
      return true;
    }
    const own = certificates.get(hex(decodeBs(body).sender));
    return own !== undefined && verify(own.publicKey, algorithmOf(own.publicKey), CONTEXT.senderBatch, body, signature);
  } catch {
    return false;
  }
}

parentPort!.on('message', ({ words, certificates: more, vkeys, jobs, bytes }: Work) => {
  for (const [fingerprint, pem] of more) {
    try {
      const [own] = parsePem(pem);
      if (own && hex(own.fingerprint) === fingerprint) certificates.set(fingerprint, own);
    } catch {
      // The first thread says what is wrong with it.
    }
  }
  logs.push(...vkeys.map((vkey) => parseVkey(vkey)));
  const slots = new SignatureSlots(words);
  let at = 0;
  for (let i = 0; i < jobs.length; i += 4) {
    const [job, log, bodyBytes, signatureBytes] = jobs.subarray(i, i + 4) as unknown as [
      number,
      number,
      number,
      number,
    ];
    const body = bytes.subarray(at, (at += bodyBytes));
    const signature = bytes.subarray(at, (at += signatureBytes));
    if (slots.take(job)) slots.answer(job, isGood(log, body, signature));
  }
});
