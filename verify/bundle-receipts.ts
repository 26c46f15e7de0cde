/**
 * What recipients have signed about the messages of a bundle: that each receipt is the one that was signed, and that it speaks of messages of
 * somebody else that stood in the log before it. docs/TRANSCRIPT.md §f.
 */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeReceipt } from '../transcript/receipt.ts';
import { isCiphertextOf, isReceipt, isThreaded, KIND } from '../transcript/statement.ts';
import { identityOf } from '../x509/identity.ts';
import type { MessageFiles, ReadMessage } from './bundle-message.ts';
import type { CertificateAudit } from './certificate-audit.ts';
import type { Findings } from './finding.ts';

/** A receipt that held, for one message. */
export interface MessageReceipt {
  readonly kind: typeof KIND.delivered | typeof KIND.read;
  /** fingerprint of the device, in hexadecimal */
  readonly device: string;
  /** Unix ms, of the log */
  readonly at: number;
}

interface Placed {
  readonly number: number;
  readonly user: string;
}

export class BundleReceipts {
  readonly #certificates: CertificateAudit;
  readonly #findings: Findings;
  /** leaf(MS) → message, of those that came so far */
  readonly #messages = new Map<string, Placed>();
  /** leaf(MS) that is not here yet → where it was named */
  readonly #early = new Map<string, string>();
  /** messages of kind 1 */
  readonly #wanted = new Map<number, string>();
  /** number of a message → what was signed about it, in the order of the bundle */
  readonly receipts = new Map<number, MessageReceipt[]>();
  /** statements of receipts */
  count = 0;

  constructor(certificates: CertificateAudit, findings: Findings) {
    this.#certificates = certificates;
    this.#findings = findings;
  }

  /** The next message of the bundle. @param isGood nothing was found against it so far */
  add(where: string, number: number, files: MessageFiles, { leaf, ms }: ReadMessage, isGood: boolean): void {
    const file = `${where}/ciphertext`;
    const part = files.get('ciphertext');
    if (!leaf || !ms) return;
    if (isThreaded(ms.kind)) {
      if (part) this.#findings.add('E_FORMAT', file, 'only a receipt has its contents here');
      const name = hex(leafHash(leaf.ms));
      const early = this.#early.get(name);
      if (early !== undefined) this.#findings.add('E_RECEIPT', early, 'speaks of a message that was written later');
      this.#messages.set(name, { number, user: this.#userOf(hex(ms.sender)) });
      if (ms.kind === KIND.message) this.#wanted.set(number, where);
      return;
    }
    if (!isReceipt(ms.kind)) return this.#findings.add('E_FORMAT', `${where}/entry`, 'is not of a conversation');
    this.count++;
    if (!part) return this.#findings.add('E_FORMAT', file, 'is missing');
    if (!isCiphertextOf(ms, [part])) return this.#findings.add('E_COMMIT', file, 'is not what the sender signed');
    const device = hex(ms.sender);
    const user = this.#userOf(device);
    for (const hash of decodeReceipt(part)) {
      const named = this.#messages.get(hex(hash));
      if (named === undefined) this.#early.set(hex(hash), file);
      else if (named.user === user) this.#findings.add('E_RECEIPT', file, 'speaks of a message of its own sender');
      else if (isGood) {
        const known = this.receipts.get(named.number) ?? [];
        known.push({ kind: ms.kind as MessageReceipt['kind'], device, at: leaf.serverTime });
        this.receipts.set(named.number, known);
      }
    }
  }

  /** Each message must have been received. */
  require(): void {
    for (const [number, where] of this.#wanted)
      if (!this.receipts.has(number))
        this.#findings.add('W_NO_RECEIPT', where, 'no device of a recipient has signed that it has this message');
  }

  /** Whose certificate it is; a device that nobody knows is somebody by itself. */
  #userOf(device: string): string {
    const certificate = this.#certificates.certificate(device);
    try {
      return certificate === undefined ? device : identityOf(certificate).username;
    } catch (error) {
      if (ChatError.from(error).code === 'INTERNAL') throw error;
      return device;
    }
  }
}
