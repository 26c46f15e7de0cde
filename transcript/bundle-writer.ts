/** Makes an evidence bundle out of what is known to hold. Asks for the messages twice, for sums stand before what they are of. */
import type { KeyObject } from 'node:crypto';
import { type Hash } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { CONTEXT, sign } from '../base/signature.ts';
import { encodePem } from '../x509/pem.ts';
import { answerWith } from '../x509/time-stamp-request.ts';
import {
  batchTbs,
  formatConsistency,
  formatHead,
  formatPath,
  MAX_BUNDLE_CERTIFICATES,
  MAX_BUNDLE_KEYS,
  nameOf,
  sumLine,
  type BatchPath,
  type BundleHead,
  type BundleName,
} from './bundle.ts';
import { parseKeyStatement } from './key-statement.ts';
import { decodeLeaf } from './leaf.ts';
import { formatVkey } from './note.ts';
import { formatTakeovers, type Takeover } from './takeovers.ts';
import { encodeTlogProof, type TlogProof } from './tlog-proof.ts';
import { ARCHIVE_END, archived } from './ustar.ts';

export interface BundleLog {
  /** Key statements, each with `algorithm u8 ‖ signature` by the server certificate that it names: one for each certificate. */
  readonly keys: readonly { readonly statement: Uint8Array; readonly signature: Uint8Array }[];
  /** What ties the keys of these to each other, if they are not all of one. */
  readonly takeovers?: readonly Takeover[];
  /** The largest signed note that is known. */
  readonly checkpoint: Uint8Array;
  /** A time-stamp token over exactly these bytes. */
  readonly token?: Uint8Array | null;
  /** From the size of an older checkpoint to this one. */
  readonly consistency: ReadonlyMap<number, readonly Hash[]>;
}

export interface BundleMessage {
  /** The MSG leaf. */
  readonly entry: Uint8Array;
  readonly proof: TlogProof;
  readonly bs: Uint8Array;
  readonly signature: Uint8Array;
  readonly path: BatchPath;
  /** The part of a receipt; left out for messages and commits. */
  readonly ciphertext?: Uint8Array | null;
  /** kf ‖ plaintext; null: not disclosed */
  readonly opening: Uint8Array | null;
}

export interface BundleCrl {
  readonly der: Uint8Array;
  /** The CRL leaf and its place; null: it is from elsewhere. */
  readonly logged: { readonly entry: Uint8Array; readonly proof: TlogProof } | null;
}

export interface BundleContent {
  readonly head: BundleHead;
  /** DER; of senders, servers and the exporter. */
  readonly certificates: readonly Uint8Array[];
  readonly intermediates: readonly Uint8Array[];
  readonly crls: readonly BundleCrl[];
  readonly logs: readonly BundleLog[];
  /** In order of server_time, log and index; the same each time it is called. */
  readonly messages: () => Iterable<BundleMessage>;
}

/**
 * The archive, piece by piece. Of a log with more key statements than a bundle may have, those stay that are needed.
 * @param key of the exporter's certificate
 * @throws TOO_LARGE if a bundle has no room for it
 */
export function writeBundle(content: BundleContent, key: KeyObject): Generator<Buffer> {
  const { certificates, intermediates, logs } = content;
  const fingerprints = new Set(certificates.map((der) => sha256(der).toString('hex')));
  if (fingerprints.size + intermediates.length > MAX_BUNDLE_CERTIFICATES)
    throw tooLarge(`${MAX_BUNDLE_CERTIFICATES} certificates`);
  if (logs.every(({ keys }) => keys.length <= MAX_BUNDLE_KEYS)) return piecesOf(content, key);
  const times = timesOf(content);
  return piecesOf({ ...content, logs: logs.map((log) => ({ ...log, keys: neededKeys(log.keys, times) })) }, key);
}

type File = readonly [name: string, bytes: Uint8Array];

function* piecesOf(content: BundleContent, key: KeyObject): Generator<Buffer> {
  const head = formatHead(content.head);
  const lines: Buffer[] = [line(nameOf({ is: 'head' }), head)];
  for (const [name, bytes] of filesOf(content)) lines.push(line(name, bytes));
  yield* sealFiles(head, Buffer.concat(lines), filesOf(content), key);
}

/** The same around any files; for whoever has them already. @param files in order, without BUNDLE */
export function* sealFiles(
  head: Uint8Array,
  sums: Uint8Array,
  files: Iterable<File>,
  key: KeyObject,
): Generator<Buffer> {
  yield archived(nameOf({ is: 'head' }), head);
  yield archived(nameOf({ is: 'sums' }), sums);
  yield archived(nameOf({ is: 'seal' }), sign(key, CONTEXT.bundle, sums).signature);
  for (const [name, bytes] of files) yield archived(name, bytes);
  yield ARCHIVE_END;
}

/** All but BUNDLE and what is made of them, in order. */
export function* filesOf(content: BundleContent): Generator<File> {
  const certificates = new Map(content.certificates.map((der) => [sha256(der).toString('hex'), der]));
  const authorities: File[] = [...certificates].map(([fingerprint, der]) => [
    nameOf({ is: 'certificate', fingerprint }),
    pem(der),
  ]);
  if (content.intermediates.length > 0)
    authorities.push([nameOf({ is: 'chain' }), Buffer.concat(content.intermediates.map(pem))]);
  yield* sorted(authorities);
  for (const [i, crl] of content.crls.entries()) yield* crlFiles(i + 1, crl);
  for (const [i, log] of content.logs.entries()) yield* sorted(logFiles(i + 1, log));
  let number = 0;
  for (const message of content.messages()) yield* messageFiles(++number, message);
}

/** Server times of all entries. */
function timesOf({ messages, crls }: BundleContent): Set<number> {
  const times = new Set<number>();
  for (const { entry } of messages()) times.add(decodeLeaf(entry).serverTime);
  for (const { logged } of crls) if (logged !== null) times.add(decodeLeaf(logged.entry).serverTime);
  return times;
}

/** One of each key, and one for each of these times. */
function neededKeys(keys: BundleLog['keys'], times: ReadonlySet<number>): BundleLog['keys'] {
  const all = keys.map((key) => ({ key, statement: parseKeyStatement(key.statement) }));
  const needed = new Set(new Map(all.map((one) => [formatVkey(one.statement.log), one])).values());
  for (const time of times) {
    const covers = ({ statement: { notBefore, notAfter } }: (typeof all)[number]): boolean =>
      notBefore <= time && time <= notAfter;
    const found = [...needed].some(covers) ? undefined : all.findLast(covers);
    if (found) needed.add(found);
  }
  if (needed.size > MAX_BUNDLE_KEYS) throw tooLarge(`${MAX_BUNDLE_KEYS} certificates of the server`);
  return all.filter((one) => needed.has(one)).map(({ key }) => key);
}

const tooLarge = (what: string): ChatError =>
  new ChatError('TOO_LARGE', `a bundle has at most ${what}: choose a shorter time`);

function* crlFiles(number: number, { der, logged }: BundleCrl): Generator<File> {
  if (logged !== null) yield [nameOf({ is: 'crl_entry', number }), logged.entry];
  yield [nameOf({ is: 'crl', number }), Buffer.from(encodePem(der, 'X509 CRL'))];
  if (logged !== null) yield [nameOf({ is: 'crl_proof', number }), encodeTlogProof(logged.proof)];
}

function logFiles(number: number, { keys, takeovers = [], checkpoint, token, consistency }: BundleLog): File[] {
  const proofs = [...consistency].map(([size, proof]): File => [
    nameOf({ is: 'consistency', number, size }),
    formatConsistency(size, proof, checkpoint),
  ]);
  const statements = keys.flatMap(({ statement, signature }, i): File[] => [
    [nameOf({ is: 'statement_sig', number, key: i + 1 }), signature],
    [nameOf({ is: 'statement', number, key: i + 1 }), statement],
  ]);
  const ties: File[] =
    takeovers.length === 0 ? [] : [[nameOf({ is: 'takeovers', number }), formatTakeovers(takeovers)]];
  const stamps: File[] = token ? [[nameOf({ is: 'stamp', number }), answerWith(token)]] : [];
  return [[nameOf({ is: 'checkpoint', number }), checkpoint], ...stamps, ...proofs, ...statements, ...ties];
}

function* messageFiles(number: number, message: BundleMessage): Generator<File> {
  const at = (file: Extract<BundleName, { is: 'message' }>['file']): string => nameOf({ is: 'message', number, file });
  yield [at('batch.path'), formatPath(message.path)];
  yield [at('batch.sig'), message.signature];
  yield [at('batch.tbs'), batchTbs(message.bs)];
  if (message.ciphertext) yield [at('ciphertext'), message.ciphertext];
  yield [at('entry'), message.entry];
  yield [at('log.tlog-proof'), encodeTlogProof(message.proof)];
  if (message.opening !== null) yield [at('opening'), message.opening];
}

const pem = (der: Uint8Array): Buffer => Buffer.from(encodePem(der, 'CERTIFICATE'));
const line = (name: string, bytes: Uint8Array): Buffer => Buffer.from(sumLine(name, sha256(bytes)));
const sorted = (files: readonly File[]): File[] => [...files].sort(([a], [b]) => (a < b ? -1 : 1));
