/**
 * One message of a bundle, by itself: what was logged, that it was, who signed it, and what it says if that is disclosed. Each check is
 * made as far as what it needs is there, whatever another one has found.
 */
import { same, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { MsgLeaf } from '../transcript/leaf.ts';
import { rootFromInclusion } from '../transcript/proof.ts';
import { isCommitted, splitOpening, type BatchStatement, type MessageStatement } from '../transcript/statement.ts';
import type { BundleLog } from './bundle-log.ts';
import type { CertificateAudit } from './certificate-audit.ts';
import type { FindingCode, Findings } from './finding.ts';
import type { MessageParts, ReadBatch } from './message-files.ts';
import { MAX_SKEW_MS } from './outside.ts';
import type { Part } from './part.ts';
import type { SignaturesAhead } from './signatures-ahead.ts';

/** What stands in the files of one message, so far as it could be read. */
export interface ReadMessage {
  readonly leaf: MsgLeaf | null;
  readonly ms: MessageStatement | null;
  readonly bs: BatchStatement | null;
  readonly bsLeaf: Hash | null;
  /** leaf(MS), and that of the entry. */
  readonly msLeaf: Hash | null;
  readonly entryLeaf: Hash | null;
  readonly log: BundleLog | null;
  readonly index: number | null;
  /** By somebody whose certificate was good: nobody else can have made it. */
  readonly isSigned: boolean;
  /** In a log whose key is vouched for, at this index: nobody but the server can have put it there. */
  readonly isIncluded: boolean;
  /** All of that, by certificates that were good at its time. What speaks against one of many messages is found once. */
  readonly isProven: boolean;
  /** Which of these was found to be so; what is not may have failed, or there was nothing to judge by. */
  readonly passed: Passed;
  /** Undefined: not disclosed. Null: what is disclosed is not what was signed. */
  readonly plaintext: Buffer | null | undefined;
}

export interface Passed {
  readonly isKeyVouched: boolean;
  readonly isUnderCheckpoint: boolean;
  readonly isIncluded: boolean;
  readonly isSignedByItsSender: boolean;
  readonly isByGoodCertificate: boolean;
}

interface Place {
  readonly log: BundleLog;
  readonly index: number;
  readonly isKeyVouched: boolean;
  readonly isUnderCheckpoint: boolean;
  readonly isIncluded: boolean;
}

/** By the key of the certificate that is named; and was that certificate good? */
interface Signature {
  readonly isGood: boolean;
  readonly isByGoodCertificate: boolean;
}
const UNSIGNED: Signature = { isGood: false, isByGoodCertificate: false };

export class MessageAudit {
  readonly #conversation: ConversationId | null;
  readonly #certificates: CertificateAudit;
  readonly #findings: Findings;
  readonly #signatures: SignaturesAhead;
  /** leaf(BS) of the newest batch with a good signature. */
  #batch: Hash | null = null;

  constructor(
    conversation: ConversationId | null,
    certificates: CertificateAudit,
    findings: Findings,
    signatures: SignaturesAhead,
  ) {
    this.#conversation = conversation;
    this.#certificates = certificates;
    this.#findings = findings;
    this.#signatures = signatures;
  }

  /** Fingerprints, in hexadecimal, of those whose signature was found good. */
  readonly signers = new Set<string>();
  /** Batches with a good signature. */
  batches = 0;

  check(where: string, parts: MessageParts): ReadMessage {
    const { files, batch, msLeaf, entryLeaf } = parts;
    const entry = this.#read(where, 'entry', parts.entry);
    const ms = parts.ms && this.#read(where, 'entry', parts.ms);
    const bs = this.#read(where, 'batch.tbs', batch.bs);
    const place = this.#place(where, parts, entry);
    const signature = bs === null ? UNSIGNED : this.#checkSignature(where, batch, entry);
    const hasPath = bs !== null && entry !== null && this.#checkPath(where, parts, bs, entry);
    if (ms && bs && entry) this.#checkStatements(where, ms, bs, entry);
    if (place && bs && !same(bs.audience, place.log.audience))
      this.#find('E_AUDIENCE', `${where}/batch.tbs`, 'made for another log');
    const opening = files.get('opening');
    const plaintext = opening && (entry ? this.#disclosed(`${where}/opening`, opening, entry.ms) : null);
    const { log = null, index = null, isKeyVouched = false, isUnderCheckpoint = false } = place ?? {};
    const isInLog = place?.isIncluded ?? false;
    const own = { leaf: entry, ms, bs, bsLeaf: batch.leaf, msLeaf, entryLeaf };
    const { isGood, isByGoodCertificate } = signature;
    const isSigned = isGood && isByGoodCertificate && hasPath;
    const isSignedByItsSender = isGood && hasPath && ms !== null;
    return {
      ...{ ...own, log, index, isSigned, plaintext },
      isIncluded: isInLog && log!.isVouched,
      isProven: isSigned && isInLog && isKeyVouched,
      passed: { isKeyVouched, isUnderCheckpoint, isIncluded: isInLog, isSignedByItsSender, isByGoodCertificate },
    };
  }

  /** In the log, under a checkpoint that the log signed, and the log's key is vouched for at that time. */
  #place(where: string, parts: MessageParts, entry: MsgLeaf | null): Place | null {
    const file = `${where}/log.tlog-proof`;
    const proof = this.#read(where, 'log.tlog-proof', parts.proof);
    if (!proof) return null;
    const { log, note, entryLeaf: leaf } = parts;
    if (log === undefined || note === null) {
      this.#find('E_KEYBIND', file, 'of a log whose key the bundle does not have');
      return null;
    }
    const { index, path } = proof;
    const isKeyVouched = entry !== null && log.checkCoverage(file, entry.serverTime);
    const checkpoint = log.checkpointOf(file, note);
    const found = { log, index, isKeyVouched, isUnderCheckpoint: checkpoint !== null };
    if (!checkpoint || !leaf) return { ...found, isIncluded: false };
    const root = rootFromInclusion(index, checkpoint.size, leaf, path);
    const isIncluded = root !== null && same(root, checkpoint.root);
    if (!isIncluded) this.#find('E_INCLUSION', file, 'the entry is not in the log at this index');
    return { ...found, isIncluded };
  }

  #checkSignature(where: string, { signature, signed, sender, leaf }: ReadBatch, entry: MsgLeaf | null): Signature {
    const file = `${where}/batch.sig`;
    if (signature === undefined) {
      this.#find('E_FORMAT', file, 'is missing');
      return UNSIGNED;
    }
    if (signed === null) {
      this.#findings.addOnce(sender!, 'E_CERT_UNKNOWN', file, 'the bundle has no certificate of this sender');
      return UNSIGNED;
    }
    const isGood = this.#signatures.isGood(signed);
    if (isGood) this.#count(sender!, leaf!);
    else this.#find('E_BATCH_SIG', file, 'the sender did not sign this batch');
    const judgement = entry && this.#certificates.check(file, sender!, entry.serverTime, 'clientAuth');
    return { isGood, isByGoodCertificate: judgement?.fault === null };
  }

  #count(sender: string, batch: Hash): void {
    this.signers.add(sender);
    if (this.#batch !== null && same(this.#batch, batch)) return;
    this.batches++;
    this.#batch = batch;
  }

  #checkPath(where: string, parts: MessageParts, bs: BatchStatement, entry: MsgLeaf): boolean {
    const found = this.#read(where, 'batch.path', parts.path);
    if (!found) return false;
    const { index, size, path } = found;
    const root = rootFromInclusion(index, size, parts.msLeaf!, path);
    const isRight = index === entry.position - 1 && size === bs.count && root !== null && same(root, bs.batchRoot);
    if (!isRight) this.#find('E_BATCH_PATH', `${where}/batch.path`, 'the message is not one of those that were signed');
    return isRight;
  }

  #checkStatements(where: string, ms: MessageStatement, bs: BatchStatement, entry: MsgLeaf): void {
    const file = `${where}/entry`;
    if (!same(ms.sender, bs.sender) || !same(ms.session, bs.session))
      this.#find('E_LEAF', file, 'another sender or session than the batch');
    else if (ms.sessionCtr !== bs.firstCtr + entry.position - 1)
      this.#find('E_CTR_GAP', file, `session counter ${ms.sessionCtr}, want ${bs.firstCtr + entry.position - 1}`);
    if (this.#conversation && !same(ms.conversation, this.#conversation))
      this.#find('E_LEAF', file, 'of another conversation than the bundle');
    if (Math.abs(ms.clientTime - entry.serverTime) > MAX_SKEW_MS)
      this.#find('W_SKEW', file, 'the clocks of client and server differ by more than 5 minutes');
  }

  #disclosed(where: string, opening: Buffer, ms: Uint8Array): Buffer | null {
    try {
      const { kf, plaintext } = splitOpening(opening);
      if (isCommitted(kf, ms, plaintext)) return Buffer.from(plaintext);
    } catch (error) {
      if (ChatError.from(error).code === 'INTERNAL') throw error;
    }
    this.#find('E_COMMIT', where, 'is not what the sender committed to');
    return null;
  }

  #read<T>(where: string, name: string, { value, fault }: Part<T>): T | null {
    if (fault !== null) this.#find('E_FORMAT', `${where}/${name}`, fault);
    return value;
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}
