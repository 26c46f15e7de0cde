/** The log key's statement, signed by the server certificate: as files beside the log (`key.stmt`, `key.sig`) and as leaves in it. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { equal, utf8 } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import {
  endorseKeyStatement,
  formatKeyStatement,
  openKeyStatement,
  parseKeyStatement,
  parseOrigin,
  signKeyStatement,
} from '../../transcript/key-statement.ts';
import { decodeLeaf, encodeLeaf } from '../../transcript/leaf.ts';
import { formatVkey, type VerifierKey } from '../../transcript/note.ts';
import { parseCertificate, type Certificate } from '../../x509/certificate.ts';
import { checkServerName } from '../../x509/server-name.ts';
import type { Credentials } from '../../runtime/tls.ts';
import type { Succession } from './epochs.ts';
import { replaceFile, type Files } from './files.ts';

/** The first byte of a KEY entry. */
const KEY_TYPE = 6;

/** Who vouches for the log key: the server's certificate with its chain, DER, and its key. */
export interface ServerIdentity {
  readonly chain: readonly Uint8Array[];
  readonly privateKey: KeyObject;
}

export const serverIdentity = ({ chain, privateKey }: Credentials): ServerIdentity => ({
  chain: chain.map((certificate) => certificate.der),
  privateKey,
});

/** As clients get it at login. */
export interface LogIdentity {
  /** Text of the key statement. */
  readonly statement: string;
  readonly algorithm: number;
  readonly signature: Uint8Array;
}

/**
 * The server's certificate, for a log of this origin.
 * @throws BAD_FRAME/origin; BAD_CERT if it is not for the origin's host, or malformed; CONFIG_INVALID for another certificate's key
 */
export function serverCertificate(origin: string, chain: readonly Uint8Array[], privateKey: KeyObject): Certificate {
  const { host } = parseOrigin(origin);
  const [der] = chain;
  if (der === undefined) throw new ChatError('CONFIG_INVALID', 'the server has no certificate', { field: 'tls.cert' });
  const certificate = parseCertificate(der);
  checkServerName(certificate, host); // such a log could never be verified, and it can't be mended later
  const ownSpki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  if (!equal(ownSpki, certificate.publicKey.export({ type: 'spki', format: 'der' })))
    throw new ChatError('CONFIG_INVALID', 'the private key is not that of the certificate', { field: 'tls.key' });
  return certificate;
}

/** The statement on disk, if it is valid and of this certificate and log key. */
export async function readIdentity(
  files: Files,
  directory: string,
  log: VerifierKey,
  certificate: Certificate,
): Promise<LogIdentity | null> {
  const text = await files.readFile(join(directory, 'key.stmt'));
  const signature = await files.readFile(join(directory, 'key.sig'));
  if (text === null || signature === null) return null;
  try {
    const statement = openKeyStatement(text, signature, certificate.publicKey);
    const isOurs =
      formatVkey(statement.log) === formatVkey(log) && equal(statement.serverCertificate, certificate.fingerprint);
    return isOurs ? identityOf(text, signature) : null;
  } catch {
    return null; // of a certificate before, or written by halves
  }
}

/** As readIdentity(), of the newest statement among these entries: its files may not have been written yet. */
export function identityIn(
  entries: readonly Uint8Array[],
  log: VerifierKey,
  certificate: Certificate,
): LogIdentity | null {
  const newest = entries.findLast((entry) => entry[0] === KEY_TYPE);
  const leaf = newest && decodeLeaf(newest);
  if (leaf?.type !== 'key') return null;
  const { statement, algorithm, signature } = leaf;
  const { log: key, serverCertificate } = parseKeyStatement(statement);
  const isOurs = formatVkey(key) === formatVkey(log) && equal(serverCertificate, certificate.fingerprint);
  return isOurs ? { statement: Buffer.from(statement).toString('utf8'), algorithm, signature } : null;
}

/**
 * A new statement, valid as long as the certificate. @param succession of a later epoch @param replaced key of this log that the new one
 * takes over from
 */
export function issueIdentity(
  log: VerifierKey,
  certificate: Certificate,
  privateKey: KeyObject,
  succession: Succession | null = null,
  replaced: VerifierKey | null = null,
): LogIdentity {
  const { notBefore, notAfter, fingerprint } = certificate;
  const previous = replaced ?? succession?.previous ?? null;
  const statement = { log, notBefore, notAfter, serverCertificate: fingerprint, previous, recovery: succession };
  const text = formatKeyStatement(statement);
  return identityOf(text, signKeyStatement(text, privateKey));
}

/**
 * CERT, then KEY: a verifier that reads the log from its beginning needs nothing else but the CA.
 * @param previousKey the log's key that the statement replaces; null: there is none, or it is lost
 * @throws BAD_FRAME for a chain that does not fit a leaf
 */
export function identityEntries(
  identity: LogIdentity,
  chain: readonly Uint8Array[],
  serverTime: number,
  previousKey: KeyObject | null = null,
): Buffer[] {
  const { statement, algorithm, signature } = identity;
  const previousSignature = previousKey ? endorseKeyStatement(utf8(statement), previousKey) : Buffer.alloc(0);
  return [
    encodeLeaf({ type: 'cert', serverTime, chain }),
    encodeLeaf({ type: 'key', serverTime, statement: utf8(statement), algorithm, signature, previousSignature }),
  ];
}

/**
 * Only when the published checkpoint covers the statement's leaf: whoever reads these files first and the checkpoint after finds it
 * there. The one file follows the other at once; a reader who meets the moment between two certificates is told so.
 */
export async function writeIdentity(files: Files, directory: string, identity: LogIdentity): Promise<void> {
  const signature = Buffer.concat([Buffer.of(identity.algorithm), identity.signature]);
  await replaceFile(files, join(directory, 'key.sig'), signature);
  await replaceFile(files, join(directory, 'key.stmt'), utf8(identity.statement));
  await files.syncDirectory(directory);
}

const identityOf = (text: Buffer, signature: Buffer): LogIdentity => ({
  statement: text.toString('utf8'),
  algorithm: signature[0] ?? 0,
  signature: signature.subarray(1),
});
