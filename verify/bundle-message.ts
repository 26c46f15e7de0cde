/**
 * One message of a bundle, by itself: what was logged, that it was, who signed it, and what it says if that is disclosed. Each check is
 * made as far as what it needs is there, whatever another one has found.
 */
import { equal, fromUtf8, hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { algorithmOf, CONTEXT, verify } from '../base/signature.ts';
import { openBatchTbs, parsePath, type MessageFile } from '../transcript/bundle.ts';
import { decodeLeaf, type MsgLeaf } from '../transcript/leaf.ts';
import { leafHash, rootFromInclusion } from '../transcript/merkle.ts';
import {
  decodeBs,
  decodeMs,
  isCommitted,
  splitOpening,
  type BatchStatement,
  type MessageStatement,
} from '../transcript/statement.ts';
import { decodeTlogProof, splitTlogProof, type TlogProof } from '../transcript/tlog-proof.ts';
import type { BundleLog } from './bundle-log.ts';
import type { CertificateAudit } from './certificate-audit.ts';
import type { FindingCode, Findings } from './finding.ts';
import { MAX_SKEW_MS } from './outside.ts';
import { batchKey, type Confirmed } from './signatures-ahead.ts';

export type MessageFiles = ReadonlyMap<MessageFile, Buffer>;

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
  /** Undefined: not disclosed. Null: what is disclosed is not what was signed. */
  readonly plaintext: Buffer | null | undefined;
}

interface Place {
  readonly log: BundleLog;
  readonly index: number;
  readonly isIncluded: boolean;
}

export class MessageAudit {
  readonly #conversation: ConversationId | null;
  readonly #logOf: (origin: string) => BundleLog | undefined;
  readonly #certificates: CertificateAudit;
  readonly #findings: Findings;
  readonly #confirmed: Confirmed;
  /** By digest of what is signed, signature and signer: one signature is behind many messages. */
  readonly #signatures = new Map<string, boolean>();

  constructor(
    conversation: ConversationId | null,
    logOf: (origin: string) => BundleLog | undefined,
    certificates: CertificateAudit,
    findings: Findings,
    confirmed: Confirmed,
  ) {
    this.#confirmed = confirmed;
    this.#conversation = conversation;
    this.#logOf = logOf;
    this.#certificates = certificates;
    this.#findings = findings;
  }

  /** Fingerprints, in hexadecimal, of those whose signature was found good. */
  readonly signers = new Set<string>();
  /** Batches with a good signature. */
  get batches(): number {
    return [...this.#signatures.values()].filter(Boolean).length;
  }

  check(where: string, files: MessageFiles): ReadMessage {
    const entry = this.#read(where, files, 'entry', (bytes) => {
      const found = decodeLeaf(bytes);
      return found.type === 'msg' ? found : refuse('is not the entry of a message');
    });
    const ms = entry && this.#read(where, files, 'entry', () => decodeMs(entry.ms));
    const bs = this.#read(where, files, 'batch.tbs', (bytes) => decodeBs(openBatchTbs(bytes)));
    const tbs = files.get('batch.tbs');
    const bsLeaf = bs && tbs ? leafHash(openBatchTbs(tbs)) : null;
    const bytes = files.get('entry');
    const msLeaf = entry && leafHash(entry.ms);
    const entryLeaf = bytes ? leafHash(bytes) : null;
    const place = this.#place(where, files, entry, entryLeaf);
    const hasSignature = bs !== null && this.#checkSignature(where, files, bs, entry);
    const hasPath = bs !== null && entry !== null && this.#checkPath(where, files, bs, entry, msLeaf!);
    if (ms && bs && entry) this.#checkStatements(where, ms, bs, entry);
    if (place && bs && !equal(bs.audience, place.log.audience))
      this.#find('E_AUDIENCE', `${where}/batch.tbs`, 'made for another log');
    const opening = files.get('opening');
    const plaintext = opening && (entry ? this.#disclosed(`${where}/opening`, opening, entry.ms) : null);
    const { log = null, index = null, isIncluded = false } = place ?? {};
    const own = { leaf: entry, ms, bs, bsLeaf, msLeaf, entryLeaf };
    return { ...own, log, index, isSigned: hasSignature && hasPath, isIncluded, plaintext };
  }

  /** In the log, under a checkpoint that the log signed, and the log's key is vouched for at that time. */
  #place(where: string, files: MessageFiles, entry: MsgLeaf | null, leaf: Hash | null): Place | null {
    const file = `${where}/log.tlog-proof`;
    const proof = this.#read(where, files, 'log.tlog-proof', (bytes) => this.#proofIn(bytes));
    if (!proof) return null;
    const { index, path } = proof;
    const log = this.#logOf(originIn(proof.checkpoint));
    if (log === undefined) {
      this.#find('E_KEYBIND', file, 'of a log whose key the bundle does not have');
      return null;
    }
    if (entry) log.checkCoverage(file, entry.serverTime);
    const checkpoint = log.checkpointOf(file, proof.checkpoint);
    if (!checkpoint || !leaf) return { log, index, isIncluded: false };
    const root = rootFromInclusion(index, checkpoint.size, leaf, path);
    const isIncluded = root !== null && equal(root, checkpoint.root);
    if (!isIncluded) this.#find('E_INCLUSION', file, 'the entry is not in the log at this index');
    return { log, index, isIncluded: isIncluded && log.isVouched };
  }

  /** A note of a log that is known is opened, and so looked into, by the log. @throws BAD_FRAME */
  #proofIn(bytes: Uint8Array): TlogProof {
    const proof = splitTlogProof(bytes);
    return this.#logOf(originIn(proof.checkpoint)) ? proof : decodeTlogProof(bytes);
  }

  #checkSignature(where: string, files: MessageFiles, { sender }: BatchStatement, entry: MsgLeaf | null): boolean {
    const file = `${where}/batch.sig`;
    const signature = files.get('batch.sig');
    if (signature === undefined) {
      this.#find('E_FORMAT', file, 'is missing');
      return false;
    }
    const name = hex(sender);
    const own = this.#certificates.certificate(name);
    if (own === undefined) {
      this.#findings.addOnce(name, 'E_CERT_UNKNOWN', file, 'the bundle has no certificate of this sender');
      return false;
    }
    const statement = openBatchTbs(files.get('batch.tbs')!);
    const key = batchKey(statement, signature);
    let isGood = this.#signatures.get(key);
    if (isGood === undefined) {
      isGood =
        this.#confirmed.batch(key) ||
        verify(own.publicKey, algorithmOf(own.publicKey), CONTEXT.senderBatch, statement, signature);
      this.#signatures.set(key, isGood);
    }
    if (isGood) this.signers.add(name);
    else this.#find('E_BATCH_SIG', file, 'the sender did not sign this batch');
    const judgement = entry && this.#certificates.check(file, name, entry.serverTime, 'clientAuth');
    return isGood && judgement?.fault === null;
  }

  #checkPath(where: string, files: MessageFiles, bs: BatchStatement, entry: MsgLeaf, leaf: Hash): boolean {
    const found = this.#read(where, files, 'batch.path', parsePath);
    if (!found) return false;
    const { index, size, path } = found;
    const root = rootFromInclusion(index, size, leaf, path);
    const isRight = index === entry.position - 1 && size === bs.count && root !== null && equal(root, bs.batchRoot);
    if (!isRight) this.#find('E_BATCH_PATH', `${where}/batch.path`, 'the message is not one of those that were signed');
    return isRight;
  }

  #checkStatements(where: string, ms: MessageStatement, bs: BatchStatement, entry: MsgLeaf): void {
    const file = `${where}/entry`;
    if (!equal(ms.sender, bs.sender) || !equal(ms.session, bs.session))
      this.#find('E_LEAF', file, 'another sender or session than the batch');
    else if (ms.sessionCtr !== bs.firstCtr + entry.position - 1)
      this.#find('E_CTR_GAP', file, `session counter ${ms.sessionCtr}, want ${bs.firstCtr + entry.position - 1}`);
    if (this.#conversation && !equal(ms.conversation, this.#conversation))
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

  #read<T>(where: string, files: MessageFiles, name: MessageFile, parse: (bytes: Buffer) => T): T | null {
    const bytes = files.get(name);
    try {
      if (bytes !== undefined) return parse(bytes);
    } catch (error) {
      const { code, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      this.#find('E_FORMAT', `${where}/${name}`, message);
      return null;
    }
    this.#find('E_FORMAT', `${where}/${name}`, 'is missing');
    return null;
  }

  #find(code: FindingCode, where: string, message: string): void {
    this.#findings.add(code, where, message);
  }
}

/** The first line of a note. */
export const originIn = (note: Uint8Array): string => fromUtf8(note.subarray(0, Math.max(0, note.indexOf(0x0a)))) ?? '';

function refuse(message: string): never {
  throw new ChatError('BAD_FRAME', message);
}
