/** Whether a signature of a bundle is good, by what is signed alone: a log's under a note, a sender's under a batch statement, which names him. */
import { hex } from '../base/bytes.ts';
import { algorithmOf, CONTEXT, verify } from '../base/signature.ts';
import { openCheckpoint } from '../transcript/checkpoint.ts';
import { parseVkey, type VerifierKey } from '../transcript/note.ts';
import { decodeBs } from '../transcript/statement.ts';
import { parsePem, type Certificate } from '../x509/certificate.ts';

/** In place of the number of a log: a batch statement. */
export const BATCH = -1;

export class SignatureCheck {
  readonly #certificates = new Map<string, Certificate>();
  readonly #logs: VerifierKey[] = [];

  /** One that is not what its name says is left out: the judge says what is wrong with it. */
  addCertificate(fingerprint: string, pem: string): void {
    try {
      const [own] = parsePem(pem);
      if (own && hex(own.fingerprint) === fingerprint) this.#certificates.set(fingerprint, own);
    } catch {
      // as above
    }
  }

  /** Logs are counted through, from 0 on. @throws BAD_FRAME */
  addLog(vkey: string): void {
    this.#logs.push(parseVkey(vkey));
  }

  /** @param log its number, or BATCH @param body the note, or the batch statement @param signature of the batch statement */
  isGood(log: number, body: Uint8Array, signature: Uint8Array): boolean {
    try {
      if (log === BATCH) return this.#isSigned(body, signature);
      openCheckpoint(body, this.#logs[log]!);
      return true;
    } catch {
      return false;
    }
  }

  #isSigned(body: Uint8Array, signature: Uint8Array): boolean {
    const own = this.#certificates.get(hex(decodeBs(body).sender));
    return own !== undefined && verify(own.publicKey, algorithmOf(own.publicKey), CONTEXT.senderBatch, body, signature);
  }
}
