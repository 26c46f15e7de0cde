/**
 * What this profile can prove of one conversation, out of its own records: the batches that were sent and received, each with the
 * acknowledgement that proves its place in a log. Reads, and decides nothing but what belongs together.
 */
import { concat, equal, hex, utf8, type ConversationId, type Fingerprint, type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { MAX_BUNDLE_LOGS, MAX_BUNDLE_MESSAGES } from '../transcript/bundle.ts';
import type { BundleLog, BundleMessage } from '../transcript/bundle-writer.ts';
import { decodeAck, type Ack } from '../transcript/ack.ts';
import { peekCheckpoint, type Checkpoint } from '../transcript/checkpoint.ts';
import { encodeLeaf } from '../transcript/leaf.ts';
import { leafHash } from '../transcript/merkle.ts';
import { inclusionsFromRange, isConsistent } from '../transcript/proof.ts';
import { decodeReceipt } from '../transcript/receipt.ts';
import {
  audienceOf,
  decodeBs,
  decodeMs,
  isCommitted,
  isThreaded,
  type BatchStatement,
  type MessageStatement,
} from '../transcript/statement.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';
import type { Evidence, Ledger } from './ledger.ts';

/** One statement of the conversation, and the batch that it stands in. */
export interface Proven {
  readonly ms: MessageStatement;
  readonly statement: Uint8Array;
  /** leaf(MS) */
  readonly leaf: Hash;
  /** 1 for the first of its batch. */
  readonly position: number;
  /** In the log. */
  readonly index: number;
  readonly batch: ProvenBatch;
}
export interface ProvenBatch {
  readonly origin: string;
  readonly ack: Ack;
  readonly bs: BatchStatement;
  readonly bsLeaf: Hash;
  readonly evidence: Evidence;
}

/** Messages and commits of one conversation, or of all, in the order of a bundle: by time of the server, log and index; each once. */
export const provenMessages = (ledger: Ledger, conversation: ConversationId | null): Proven[] =>
  provenStatements(ledger, conversation).filter(({ ms }) => isThreaded(ms.kind));

/** The same, with what stands beside the conversations: receipts, and where sessions begin and end. */
export function provenStatements(ledger: Ledger, conversation: ConversationId | null): Proven[] {
  const origins = new Map(ledger.origins().map((origin) => [hex(audienceOf(origin)), origin]));
  const found = new Map<string, Proven>();
  for (const evidence of ledger.allEvidence()) {
    const bs = decodeBs(evidence.batch);
    const origin = origins.get(hex(bs.audience));
    if (origin === undefined) continue;
    const ack = decodeAck(evidence.ack);
    const batch = { origin, ack, bs, bsLeaf: leafHash(evidence.batch), evidence };
    for (const [i, { statement }] of evidence.items.entries()) {
      const ms = statement && decodeMs(statement);
      if (!ms || (conversation && !equal(ms.conversation, conversation))) continue;
      const leaf = leafHash(statement);
      const message = { ms, statement, leaf, position: i + 1, index: ack.first + 1 + i, batch };
      const before = found.get(hex(leaf));
      // A batch that was signed again for another log has the same statements: the last place counts, for what follows links to it.
      if (before === undefined || isBefore(before, message)) found.set(hex(leaf), message);
    }
  }
  return inOrder([...found.values()]);
}

/**
 * What was signed about these messages, by this device and by others. Without what speaks of a message of somebody else that the log had later:
 * two who signed so together would spoil the bundle of a third.
 * @param parts by leaf(MS), in hexadecimal
 */
export function receiptsAbout(
  ledger: Ledger,
  id: ConversationId,
  messages: readonly Proven[],
  parts: ReadonlyMap<string, Uint8Array>,
): Proven[] {
  const named = new Map(messages.map((message) => [hex(message.leaf), message]));
  const userOf = ({ ms }: Proven): string => {
    const [der] = ledger.certificate(ms.sender) ?? [];
    return der === undefined ? hex(ms.sender) : identityOf(parseCertificate(der)).username;
  };
  return provenStatements(ledger, id).filter((receipt) => {
    const part = parts.get(hex(receipt.leaf));
    const about = part === undefined ? [] : decodeReceipt(part).flatMap((leaf) => named.get(hex(leaf)) ?? []);
    const isBehind = ({ batch, index }: Proven): boolean =>
      batch.origin === receipt.batch.origin && index > receipt.index;
    const speaksTooSoon = about.some((message) => isBehind(message) && userOf(message) !== userOf(receipt));
    return about.length > 0 && !speaksTooSoon;
  });
}

/** Messages and receipts together. */
export const inOrder = (statements: readonly Proven[]): Proven[] =>
  statements.toSorted((a, b) => (isBefore(a, b) ? -1 : 1));

function isBefore(a: Proven, b: Proven): boolean {
  if (a.batch.ack.serverTime !== b.batch.ack.serverTime) return a.batch.ack.serverTime < b.batch.ack.serverTime;
  if (a.batch.origin !== b.batch.origin) return a.batch.origin < b.batch.origin;
  return a.index < b.index;
}

/**
 * As the files of a bundle.
 * @param isDisclosed by leaf(MS)
 * @param parts of receipts, by leaf(MS) in hexadecimal
 * @throws SIG_FAIL/commitment if what is kept of a message is not what its sender signed
 */
export function* bundleMessages(
  ledger: Ledger,
  messages: readonly Proven[],
  isDisclosed: (leaf: Hash) => boolean,
  parts: ReadonlyMap<string, Uint8Array> = new Map(),
): Generator<BundleMessage> {
  let open = null as { readonly batch: ProvenBatch; readonly paths: BatchPaths } | null;
  for (const { statement, leaf, position, index, batch } of messages) {
    if (open?.batch !== batch) open = { batch, paths: pathsOf(batch) };
    const { entries, statements } = open.paths;
    const { serverTime } = batch.ack;
    yield {
      entry: encodeLeaf({ type: 'msg', serverTime, position, ms: statement }),
      proof: { index, path: entries(index), checkpoint: utf8(batch.evidence.note) },
      bs: batch.evidence.batch,
      signature: batch.evidence.signature,
      path: { index: position - 1, size: batch.bs.count, path: statements(position - 1) },
      ciphertext: parts.get(hex(leaf)) ?? null,
      opening: isDisclosed(leaf) ? openingOf(ledger, leaf, statement) : null,
    };
  }
}

/** Null for a message without content, or whose content this device never had. */
function openingOf(ledger: Ledger, leaf: Hash, statement: Uint8Array): Buffer | null {
  const opening = ledger.opening(leaf);
  if (opening === null) return null;
  if (!isCommitted(opening.kf, statement, opening.body))
    throw new ChatError('SIG_FAIL', 'a message is kept that is not the one that was signed', { sub: 'commitment' });
  return concat(opening.kf, opening.body);
}

export interface BatchPaths {
  /** From an index of the log. */
  readonly entries: (index: number) => Hash[];
  /** From a place in the batch, 0 for the first. */
  readonly statements: (index: number) => Hash[];
}

/** Of a kept batch. @throws STORE_FAILED when asked for a place that it does not have */
export function pathsOf({ ack, evidence }: Pick<ProvenBatch, 'ack' | 'evidence'>): BatchPaths {
  const { algorithm, signature, batch: bs, items } = evidence;
  const { first, serverTime, treeSize, proof } = ack;
  const statements = items.map(({ statement, statement_hash: hash }) =>
    statement ? leafHash(statement) : (hash as Hash),
  );
  const entries = [
    leafHash(encodeLeaf({ type: 'sigb', serverTime, algorithm, signature, bs })),
    ...items.map(({ statement, leaf_hash: hash }, i) =>
      statement ? leafHash(encodeLeaf({ type: 'msg', serverTime, position: i + 1, ms: statement })) : (hash as Hash),
    ),
  ];
  return {
    entries: pathIn(inclusionsFromRange(first, entries, treeSize, proof)),
    statements: pathIn(inclusionsFromRange(0, statements, statements.length, [])),
  };
}

const pathIn =
  (paths: ((index: number) => Hash[] | null) | null) =>
  (index: number): Hash[] => {
    const path = paths?.(index) ?? null;
    if (path === null) throw new ChatError('STORE_FAILED', 'a kept acknowledgement does not fit its batch');
    return path;
  };

/** Asks the server; the answer is checked here. Null: it does not write that log any more. */
export type Prove = (origin: string, from: number, to: number) => Promise<Hash[] | null>;

/** Under which checkpoint a log is shown. */
export interface ShownCheckpoint extends Checkpoint {
  /** Signed, with cosignatures of witnesses if it has any. */
  readonly note: string;
  /** Time-stamp token over the note. */
  readonly token: Uint8Array | null;
}
/** Asks the server for a checkpoint that others vouch for, of so many entries if there is one. */
export type Attest = (origin: string, size: number) => Promise<ShownCheckpoint | null>;

/**
 * The logs that these messages stand in, by name. One that others vouch for is shown if it covers them, else the largest checkpoint.
 * @param prove null: no server is asked, and the checkpoints stay without a tie to each other
 * @param attest null, too: then it is the largest
 * @throws FORK if the server proves nothing, or something false; whatever `prove` throws
 */
export async function bundleLogs(
  ledger: Ledger,
  messages: readonly Proven[],
  prove: Prove | null,
  attest: Attest | null,
): Promise<BundleLog[]> {
  const origins = [...new Set(messages.map(({ batch }) => batch.origin))].sort();
  if (origins.length > MAX_BUNDLE_LOGS) throw new ChatError('TOO_LARGE', `more than ${MAX_BUNDLE_LOGS} logs`);
  const logs: BundleLog[] = [];
  for (const origin of origins) {
    const newest = ledger.newest(origin);
    if (newest === null) throw new ChatError('STORE_FAILED', 'the checkpoint of a log is gone');
    const notes = new Set(messages.filter(({ batch }) => batch.origin === origin).map(noteOf));
    const olders = [...notes].map((note) => peekCheckpoint(utf8(note)));
    const needed = Math.max(...olders.map(({ size }) => size));
    const attested = (await attest?.(origin, needed)) ?? null;
    const shown = attested !== null && attested.size >= needed ? attested : { ...newest, token: null };
    logs.push({
      keys: ledger.keyStatements(origin).map(({ statement, algorithm, signature }) => ({
        statement: utf8(statement),
        signature: concat(Buffer.of(algorithm), signature),
      })),
      takeovers: ledger.takeovers(origin),
      checkpoint: utf8(shown.note),
      token: shown.token,
      consistency: prove === null ? new Map<number, readonly Hash[]>() : await proofsOf(prove, olders, shown),
    });
  }
  return logs;
}

const noteOf = ({ batch }: Proven): string => batch.evidence.note;

/** Ties of smaller checkpoints to the largest, as far as the server proves them. */
async function proofsOf(
  prove: Prove,
  olders: readonly Checkpoint[],
  newest: Checkpoint,
): Promise<ReadonlyMap<number, readonly Hash[]>> {
  const proofs = new Map<number, readonly Hash[]>();
  for (const older of olders) {
    if (older.size >= newest.size) continue;
    const proof = await prove(older.origin, older.size, newest.size);
    if (proof === null) break; // a log that was given up stays as its parties hold it
    if (!isConsistent(older.size, older.root, newest.size, newest.root, proof))
      throw new ChatError('FORK', `the record of ${newest.size} entries does not continue that of ${older.size}`, {
        sub: 'consistency',
      });
    proofs.set(older.size, proof);
  }
  return proofs;
}

export interface Authorities {
  /** DER. */
  readonly certificates: Uint8Array[];
  readonly intermediates: Uint8Array[];
  /** Signers whose certificate this profile does not have, in hexadecimal. */
  readonly missing: string[];
}

/** Certificates of all who signed: senders, the servers behind log keys, the exporter. @param own chain of the exporter */
export function authoritiesOf(ledger: Ledger, messages: readonly Proven[], own: readonly Uint8Array[]): Authorities {
  const servers = [...new Set(messages.map(({ batch }) => batch.origin))]
    .flatMap((origin) => ledger.keyStatements(origin))
    .map(({ certificate }) => ledger.certificate(leafFingerprint(certificate)) ?? [certificate]);
  const missing: string[] = [];
  const senders = [...new Set(messages.map(({ ms }) => hex(ms.sender)))].map((name) => {
    const fingerprint = Buffer.from(name, 'hex') as Uint8Array as Fingerprint;
    const chain = equal(fingerprint, leafFingerprint(own[0]!)) ? [...own] : ledger.certificate(fingerprint);
    if (chain === null) missing.push(name);
    return chain ?? [];
  });
  const chains = [[...own], ...servers, ...senders].filter((chain) => chain.length > 0);
  return {
    certificates: chains.map((chain) => chain[0]!),
    intermediates: unique(chains.flatMap((chain) => chain.slice(1))),
    missing,
  };
}

const leafFingerprint = (der: Uint8Array): Fingerprint => sha256(der) as Uint8Array as Fingerprint;
const unique = (ders: readonly Uint8Array[]): Uint8Array[] => [
  ...new Map(ders.map((der) => [hex(sha256(der)), der])).values(),
];

/** @throws TOO_LARGE */
export function assertFits(messages: readonly Proven[]): void {
  if (messages.length > MAX_BUNDLE_MESSAGES)
    throw new ChatError(
      'TOO_LARGE',
      `a bundle has at most ${MAX_BUNDLE_MESSAGES} messages: narrow it with --since and --until`,
    );
}
