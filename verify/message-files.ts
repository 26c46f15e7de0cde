/**
 * The files of one message of a bundle, taken apart before it is judged, so that its signatures are checked meanwhile. Nothing is found here:
 * what can't be read is kept as that.
 */
import { fromUtf8, hex, same, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { openBatchTbs, parsePath, type BatchPath, type MessageFile } from '../transcript/bundle.ts';
import { decodeLeaf, type MsgLeaf } from '../transcript/leaf.ts';
import { leafHash } from '../transcript/merkle.ts';
import { decodeBs, decodeMs, type BatchStatement, type MessageStatement } from '../transcript/statement.ts';
import { splitTlogProof, type TlogProof } from '../transcript/tlog-proof.ts';
import type { BundleLog, ReadNote } from './bundle-log.ts';
import type { CertificateAudit } from './certificate-audit.ts';
import { partOf, type Part } from './part.ts';
import type { Signed, SignaturesAhead } from './signatures-ahead.ts';

export type MessageFiles = ReadonlyMap<MessageFile, Buffer>;

/** What was signed of a batch, and by whom as it says. */
export interface ReadBatch {
  readonly tbs: Buffer | undefined;
  readonly signature: Buffer | undefined;
  readonly bs: Part<BatchStatement>;
  readonly leaf: Hash | null;
  /** Fingerprint, in hexadecimal. */
  readonly sender: string | null;
  /** Null: the bundle does not have the certificate, or the signature. */
  readonly signed: Signed | null;
}

export interface MessageParts {
  readonly files: MessageFiles;
  readonly entry: Part<MsgLeaf>;
  readonly ms: Part<MessageStatement> | null;
  readonly batch: ReadBatch;
  readonly path: Part<BatchPath>;
  readonly proof: Part<TlogProof>;
  readonly log: BundleLog | undefined;
  readonly note: ReadNote | null;
  /** leaf(MS), and that of the entry. */
  readonly msLeaf: Hash | null;
  readonly entryLeaf: Hash | null;
}

export class MessageReader {
  readonly #logOf: (origin: string) => BundleLog | undefined;
  readonly #certificates: CertificateAudit;
  readonly #signatures: SignaturesAhead;
  /** The newest: messages of one batch follow each other. */
  #batch: ReadBatch | null = null;

  constructor(
    logOf: (origin: string) => BundleLog | undefined,
    certificates: CertificateAudit,
    signatures: SignaturesAhead,
  ) {
    this.#logOf = logOf;
    this.#certificates = certificates;
    this.#signatures = signatures;
  }

  read(files: MessageFiles): MessageParts {
    const bytes = files.get('entry');
    const entry = partOf(bytes, entryIn);
    const batch = this.#batchIn(files.get('batch.tbs'), files.get('batch.sig'));
    const proof = partOf(files.get('log.tlog-proof'), splitTlogProof);
    const log = proof.value === null ? undefined : this.#logOf(originIn(proof.value.checkpoint));
    return {
      files,
      entry,
      ms: entry.value && partOf(entry.value.ms, decodeMs),
      batch,
      path: partOf(files.get('batch.path'), parsePath),
      proof,
      log,
      note: log?.read(proof.value!.checkpoint) ?? null,
      msLeaf: entry.value && leafHash(entry.value.ms),
      entryLeaf: bytes ? leafHash(bytes) : null,
    };
  }

  #batchIn(tbs: Buffer | undefined, signature: Buffer | undefined): ReadBatch {
    const last = this.#batch;
    if (last !== null && areSame(last.tbs, tbs) && areSame(last.signature, signature)) return last;
    const bs = partOf(tbs, (bytes) => decodeBs(openBatchTbs(bytes)));
    const sender = bs.value && hex(bs.value.sender);
    const own = sender === null ? undefined : this.#certificates.certificate(sender);
    const signed = own && tbs && signature ? this.#signatures.offer(own.publicKey, tbs, signature) : null;
    const leaf = bs.value && leafHash(openBatchTbs(tbs!));
    return (this.#batch = { tbs, signature, bs, leaf, sender, signed });
  }
}

const areSame = (a: Buffer | undefined, b: Buffer | undefined): boolean =>
  a === undefined || b === undefined ? a === b : same(a, b);

/** The first line of a note. */
export const originIn = (note: Uint8Array): string => fromUtf8(note.subarray(0, Math.max(0, note.indexOf(0x0a)))) ?? '';

function entryIn(bytes: Uint8Array): MsgLeaf {
  const found = decodeLeaf(bytes);
  return found.type === 'msg' ? found : refuse('is not the entry of a message');
}

function refuse(message: string): never {
  throw new ChatError('BAD_FRAME', message);
}
