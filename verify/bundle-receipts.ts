/**
 * What recipients have signed about the messages of a bundle: that each receipt is the one that was signed, that it stands in the log behind what
 * others wrote and it speaks of, one of which is here, and for which messages it counts. docs/TRANSCRIPT.md §f.
 */
import { hex, view } from '../base/bytes.ts';
import { messageFolder, type Profile } from '../transcript/bundle.ts';
import { decodeReceipt } from '../transcript/receipt.ts';
import { isCiphertextOf, isReceipt, isThreaded, KIND } from '../transcript/statement.ts';
import type { ReadMessage } from './bundle-message.ts';
import type { CertificateAudit } from './certificate-audit.ts';
import type { Findings } from './finding.ts';
import type { MessageFiles } from './message-files.ts';
import { userOf } from './people.ts';

/** A receipt that held, for one message. */
export interface MessageReceipt {
  readonly kind: typeof KIND.delivered | typeof KIND.read;
  /** fingerprint of the device, in hexadecimal */
  readonly device: string;
  /** Unix ms, of the log */
  readonly at: number;
}

/** A receipt, which may come before a message that it names. */
interface Signed {
  /** One for all messages that it names. */
  readonly said: MessageReceipt;
  readonly file: string;
  readonly user: string;
  readonly origin: string | undefined;
  readonly isGood: boolean;
}

/**
 * Names of messages that are not here yet: some 50 MB. Who signs a receipt can put any hash into it, 1,024 times; what a party has received is named
 * late only where a batch was signed again. Of more than these, that one of them came is not noticed.
 */
const MAX_EARLY = 2 ** 18;

export class BundleReceipts {
  readonly #profile: Profile;
  readonly #certificates: CertificateAudit;
  readonly #findings: Findings;
  /** leaf(MS), a letter for each byte → message, of those that came so far */
  readonly #messages = new Map<string, number>();
  /** By number of the message: who wrote it. */
  readonly #users: string[] = [];
  /** leaf(MS) that is not here yet → what has named it */
  readonly #early = new Map<string, Signed[]>();
  #earlyCount = 0;
  /** What has named no message that came so far. */
  readonly #lost = new Set<Signed>();
  /** messages of kind 1 */
  readonly #wanted: number[] = [];
  /** fingerprint of a device → its user */
  readonly #userOf = new Map<string, string>();
  /** number of a message → what was signed about it, in the order of the bundle; of each device the first of each kind */
  readonly receipts = new Map<number, MessageReceipt[]>();
  /** statements of receipts */
  count = 0;

  constructor(profile: Profile, certificates: CertificateAudit, findings: Findings) {
    this.#profile = profile;
    this.#certificates = certificates;
    this.#findings = findings;
  }

  /** The next message of the bundle. @param isGood nothing was found against it so far */
  add(
    where: string,
    number: number,
    files: MessageFiles,
    { leaf, ms, msLeaf, log }: ReadMessage,
    isGood: boolean,
  ): void {
    const file = `${where}/ciphertext`;
    const part = files.get('ciphertext');
    if (!leaf || !ms || !msLeaf) return;
    if (isThreaded(ms.kind)) {
      if (part) this.#findings.add('E_FORMAT', file, 'only a receipt has its contents here');
      const name = letters(msLeaf);
      const user = this.#ownerOf(hex(ms.sender));
      // Of another log it may speak: the message was there, and its batch was signed again for this one.
      for (const early of this.#early.get(name) ?? []) {
        this.#earlyCount--;
        this.#lost.delete(early);
        if (early.origin === log?.origin && early.user !== user)
          this.#findings.add('E_RECEIPT', early.file, 'speaks of a message that was written later');
        else this.#count(number, user, early);
      }
      this.#early.delete(name);
      this.#messages.set(name, number);
      this.#users[number] = user;
      if (ms.kind === KIND.message) this.#wanted.push(number);
      return;
    }
    if (!isReceipt(ms.kind)) return this.#findings.add('E_FORMAT', `${where}/entry`, 'is not of a conversation');
    this.count++;
    if (!part) return this.#findings.add('E_FORMAT', file, 'is missing');
    if (!isCiphertextOf(ms, [part])) return this.#findings.add('E_COMMIT', file, 'is not what the sender signed');
    const device = hex(ms.sender);
    const user = this.#ownerOf(device);
    const kind = ms.kind as MessageReceipt['kind'];
    const receipt: Signed = { said: { kind, device, at: leaf.serverTime }, file, user, origin: log?.origin, isGood };
    let isLost = true;
    for (const hash of decodeReceipt(part)) {
      const name = letters(hash);
      const named = this.#messages.get(name);
      if (named !== undefined) this.#count(named, this.#users[named]!, receipt);
      else if (this.#earlyCount < MAX_EARLY) {
        this.#early.set(name, pushed(this.#early.get(name), receipt));
        this.#earlyCount++;
      }
      isLost &&= named === undefined;
    }
    if (isLost) this.#lost.add(receipt);
  }

  /** No more comes. */
  end(): void {
    const isComplete = this.#profile === 'complete';
    for (const { file } of this.#lost)
      this.#findings.add(isComplete ? 'E_RECEIPT' : 'W_GAP', file, 'speaks of messages of which none is here');
  }

  /** One who signs that his own message came harms nobody else's evidence: it proves nothing, and the rest of his receipt stands. */
  #count(number: number, author: string, { said, file, user, isGood }: Signed): void {
    if (user === author)
      return this.#findings.addOnce(file, 'W_RECEIPT', file, 'speaks also of a message of its own signer');
    if (!isGood) return;
    const all = this.receipts.get(number) ?? [];
    // Who says it again and again says no more, and 1,024 times as much would be kept of each receipt.
    if (all.some(({ kind, device }) => kind === said.kind && device === said.device)) return;
    all.push(said);
    this.receipts.set(number, all);
  }

  /** Each message must have been received. */
  require(): void {
    for (const number of this.#wanted)
      if (!this.receipts.has(number))
        this.#findings.add(
          'W_NO_RECEIPT',
          messageFolder(number),
          'no device of a recipient has signed that it has this message',
        );
  }

  #ownerOf(device: string): string {
    const known = this.#userOf.get(device);
    if (known !== undefined) return known;
    const user = userOf(this.#certificates, device);
    this.#userOf.set(device, user);
    return user;
  }
}

/** Half as long as in hexadecimal. */
const letters = (hash: Uint8Array): string => view(hash).toString('latin1');

/** Once, if it was the last already. */
function pushed<T>(list: T[] = [], item: T): T[] {
  if (list.at(-1) !== item) list.push(item);
  return list;
}
