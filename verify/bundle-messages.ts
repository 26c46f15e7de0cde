/**
 * The messages of a bundle, in their order. Each is taken apart as it comes, and judged some way behind, when its signatures have been
 * checked: what is found, and in which order, does not depend on who has checked them. Memory is bounded by what waits, and by a row for each message.
 */
import { same, type Hash } from '../base/bytes.ts';
import { messageFolder, type BundleHead } from '../transcript/bundle.ts';
import { isReceipt } from '../transcript/statement.ts';
import { BundleLineage } from './bundle-lineage.ts';
import type { BundleLog } from './bundle-log.ts';
import { MessageAudit, type ReadMessage } from './bundle-message.ts';
import { BundleReceipts } from './bundle-receipts.ts';
import type { CertificateAudit } from './certificate-audit.ts';
import { checksIf, type CheckName } from './checks.ts';
import type { FindingCode, Findings } from './finding.ts';
import { MessageReader, type MessageFiles, type MessageParts } from './message-files.ts';
import { Places } from './places.ts';
import type { SignaturesAhead } from './signatures-ahead.ts';

/** Messages that wait, at most: work of the second thread for a hundredth of a second. Few, for what has waited is old when it is let go. */
const MAX_WAITING = 64;
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

/** A message, told in the order of the bundle as soon as it was judged. */
export interface JudgedMessage extends ReadMessage {
  readonly number: number;
  /** It is proven, and nothing was found against it. */
  readonly isGood: boolean;
}

/** All files of a message are here. */
interface Waiting {
  readonly number: number;
  readonly parts: MessageParts;
  readonly bytes: number;
  /** Nothing was found against the files as such. */
  readonly isSound: boolean;
}

/** Where a message stands: bundles are in order of time, then of log, then of index. */
export interface Order {
  readonly time: number;
  readonly log: number;
  readonly index: number;
}

export class BundleMessages {
  readonly #findings: Findings;
  readonly #reader: MessageReader;
  readonly #audit: MessageAudit;
  readonly #lineage: BundleLineage;
  readonly #logs: ReadonlyMap<string, BundleLog>;
  readonly #numbers: ReadonlyMap<BundleLog, number>;
  readonly #onMessage: (message: JudgedMessage) => void;
  #waiting: Waiting[] = [];
  #waitingFrom = 0;
  #waitingBytes = 0;
  #order: Order = { time: -1, log: 0, index: 0 };
  readonly #lastOf = new Map<BundleLog, Order>();
  #lastNumber = 0;
  readonly receipts: BundleReceipts;
  /** Checks that could not be made of each message. */
  readonly unmade = new Set<CheckName>();
  /** What is proven to stand at each index of each log. */
  readonly placed = new Places();
  count = 0;
  disclosed = 0;
  firstTime: number | null = null;
  lastTime: number | null = null;

  constructor(
    head: BundleHead | null,
    logs: ReadonlyMap<string, BundleLog>,
    certificates: CertificateAudit,
    findings: Findings,
    signatures: SignaturesAhead,
    onMessage: (message: JudgedMessage) => void,
  ) {
    const { conversation = null, profile = 'complete' } = head ?? {};
    this.#findings = findings;
    this.#logs = logs;
    this.#numbers = new Map([...logs.values()].map((log, number) => [log, number]));
    this.#reader = new MessageReader((origin) => this.#logs.get(origin), certificates, signatures);
    this.#audit = new MessageAudit(conversation, certificates, findings, signatures);
    this.#lineage = new BundleLineage(profile, findings);
    this.#onMessage = onMessage;
    this.receipts = new BundleReceipts(profile, certificates, findings);
  }

  /** What was signed under each session and counter. */
  get stated(): Places {
    return this.#lineage.stated;
  }
  get batches(): number {
    return this.#audit.batches;
  }
  get signers(): ReadonlySet<string> {
    return this.#audit.signers;
  }

  /** The next one. @param isSound nothing was found against its files as such */
  add(number: number, files: MessageFiles, isSound: boolean): void {
    let bytes = 0;
    for (const file of files.values()) bytes += file.length;
    this.#waiting.push({ number, parts: this.#reader.read(files), bytes, isSound });
    this.#waitingBytes += bytes;
    while (this.#waiting.length - this.#waitingFrom > MAX_WAITING || this.#waitingBytes > MAX_WAITING_BYTES)
      this.#judgeNext();
  }

  /** No more comes. */
  end(): void {
    while (this.#waitingFrom < this.#waiting.length) this.#judgeNext();
    this.receipts.end();
  }

  #judgeNext(): void {
    const next = this.#waiting[this.#waitingFrom++]!;
    this.#waitingBytes -= next.bytes;
    if (this.#waitingFrom === MAX_WAITING) {
      this.#waiting = this.#waiting.slice(MAX_WAITING);
      this.#waitingFrom = 0;
    }
    this.#judge(next);
  }

  #judge({ number, parts, isSound }: Waiting): void {
    const where = messageFolder(number);
    const before = this.#findings.errors;
    this.count++;
    if (number !== this.#lastNumber + 1) this.#find('E_ORDER', where, `want message ${this.#lastNumber + 1}`);
    this.#lastNumber = number;
    const read = this.#audit.check(where, parts);
    for (const check of unmadeOf(read, parts.files)) this.unmade.add(check);
    this.#follow(where, number, read);
    const isGoodSoFar = (): boolean => isSound && read.isProven && this.#findings.errors === before;
    this.receipts.add(where, number, parts.files, read, isGoodSoFar());
    if (read.plaintext) this.disclosed++;
    this.#onMessage({ ...read, number, isGood: isGoodSoFar() });
  }

  /** After the message before it. */
  #follow(
    where: string,
    number: number,
    { leaf, ms, bs, bsLeaf, msLeaf, entryLeaf, log, index, isSigned, isIncluded }: ReadMessage,
  ): void {
    if (!leaf) return;
    const { serverTime } = leaf;
    this.firstTime = Math.min(this.firstTime ?? serverTime, serverTime);
    this.lastTime = Math.max(this.lastTime ?? serverTime, serverTime);
    if (log && index !== null) {
      this.#checkOrder(where, log, index, serverTime);
      log.checkTime(where, serverTime);
      if (isIncluded) this.#place(where, number, log.origin, index, entryLeaf!);
    }
    if (!ms || !bs || !bsLeaf || !msLeaf || !same(ms.sender, bs.sender) || !same(ms.session, bs.session)) return;
    const batchIndex = index === null ? null : index - leaf.position;
    this.#lineage.add({ number, ms, msLeaf, bs, bsLeaf, batchIndex, serverTime, isSigned });
  }

  /** A log has one entry at each index, whatever it is proven under. */
  #place(where: string, number: number, origin: string, index: number, leaf: Hash): void {
    const row = this.placed.find(origin, index);
    if (row === undefined) this.placed.add(origin, index, leaf, number);
    else if (!this.placed.isAt(row, leaf))
      this.#find(
        'E_FORK',
        where,
        `the server has logged another entry where ${messageFolder(this.placed.labelAt(row))} is`,
      );
  }

  #checkOrder(where: string, log: BundleLog, index: number, time: number): void {
    const here = { time, log: this.#numbers.get(log)!, index };
    if (!isBefore(this.#order, here)) this.#find('E_ORDER', where, 'comes before the message before it');
    this.#order = here;
    const last = this.#lastOf.get(log);
    if (last && Math.sign(index - last.index) * Math.sign(time - last.time) < 0)
      this.#find('E_TIME_ORDER', where, 'the server time goes back');
    this.#lastOf.set(log, here);
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}

/** What a check needs of a message may be malformed, or not there: then nothing speaks against it, and nothing for it. */
function unmadeOf({ leaf, ms, bs, index, passed, plaintext }: ReadMessage, files: MessageFiles): CheckName[] {
  const { isKeyVouched, isUnderCheckpoint, isIncluded, isSignedByItsSender, isByGoodCertificate } = passed;
  return [
    ...checksIf(!isKeyVouched, 'log key'),
    ...checksIf(!isUnderCheckpoint, 'checkpoints'),
    ...checksIf(!isIncluded, 'inclusion'),
    ...checksIf(!isSignedByItsSender, 'signatures'),
    ...checksIf(!isByGoodCertificate, 'certificates'),
    ...checksIf(!leaf || !ms || !bs || index === null, 'order'),
    ...checksIf(!leaf && plaintext !== undefined, 'disclosure'),
    ...checksIf(ms !== null && isReceipt(ms.kind) && !files.has('ciphertext'), 'receipts'),
  ];
}

export const isBefore = (a: Order, b: Order): boolean =>
  a.time !== b.time ? a.time < b.time : a.log !== b.log ? a.log < b.log : a.index < b.index;
