/**
 * What binds a log's Ed25519 key to the organisation's CA: seven lines of text, signed with the server's certificate key. A verifier
 * needs nothing but the CA's certificate. A log of a later epoch has two more, which say what was lost of the one before.
 * docs/TRANSCRIPT.md §c.
 *
 * Silent in the format, decided here: the text is UTF-8 and at most 4096 bytes; names of hosts and nodes are lower-case; the epoch is
 * left out for the first, and e2, e3… follow. A previous key belongs to the same host and node, of this or an earlier epoch. It signs
 * TBS("chatlog/v1, log key", text) as well; that can't be taken for a note, for no origin begins with a space.
 */
import type { KeyObject } from 'node:crypto';
import {
  base64,
  concat,
  fromBase64,
  fromHex,
  fromUtf8,
  hex,
  utf8,
  type Fingerprint,
  type Hash,
} from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { ChatError } from '../base/errors.ts';
import { ALGORITHM, CONTEXT, MAX_SIGNATURE_BYTES, sign, verify } from '../base/signature.ts';
import { decimal, type Checkpoint } from './checkpoint.ts';
import { HASH_BYTES } from './merkle.ts';
import { formatVkey, parseVkey, type VerifierKey } from './note.ts';

export interface Origin {
  /** What the server certificate's DNS SAN must be. */
  readonly host: string;
  readonly node: string;
  /** 1, 2, 3…: each begins an empty log. */
  readonly epoch: number;
}

export interface KeyStatement {
  /** Its name is the log's origin. */
  readonly log: VerifierKey;
  /** Unix ms; both inclusive. Entries outside are not covered. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** SHA-256 of the DER of the certificate whose key signs the statement. */
  readonly serverCertificate: Fingerprint;
  /** The key that this one replaces; null: none. */
  readonly previous: VerifierKey | null;
  /** Of every log of a later epoch than the first, and of no other. */
  readonly recovery: Recovery | null;
}

/** What became of the log of the epoch before. */
export interface Recovery {
  /** Its entries below this are still there. */
  readonly kept: number;
  /** Its newest checkpoint that is known: entries from `kept` to there are lost. Whatever it signed beyond is not known. */
  readonly known: Pick<Checkpoint, 'size' | 'root'>;
}

/** A frame has room for as much. docs/PROTOCOL.md §5.2 */
export const MAX_STATEMENT_BYTES = 4096;
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const ORIGIN = new RegExp(`^(${LABEL}(?:\\.${LABEL})*)/log/([a-z0-9][a-z0-9-]{0,31})(?:/e([1-9][0-9]{0,8}))?$`);

/** `<dns-name>/log/<node>[/e<epoch>]`. @throws BAD_FRAME/origin */
export function parseOrigin(text: string): Origin {
  const [, host, node, epoch] = ORIGIN.exec(text) ?? bad('origin', '<dns-name>/log/<node>[/e<epoch>] in lower case');
  if (host!.length > 253) bad('origin', 'a DNS name of at most 253 characters');
  if (epoch === '1') bad('origin', 'no epoch for the first'); // it would be a second name
  return { host: host!, node: node!, epoch: Number(epoch ?? 1) };
}

/** @throws BAD_FRAME/origin */
export function formatOrigin({ host, node, epoch }: Origin): string {
  const text = `${host}/log/${node}${epoch === 1 ? '' : `/e${epoch}`}`;
  parseOrigin(text);
  return text;
}

/** @throws BAD_FRAME naming the field if parseKeyStatement() would refuse it */
export function formatKeyStatement(
  statement: Omit<KeyStatement, 'recovery'> & Partial<Pick<KeyStatement, 'recovery'>>,
): Buffer {
  const { log, notBefore, notAfter, serverCertificate, previous, recovery } = statement;
  const text = [
    'chatlog/v1 log key',
    `origin ${log.name}`,
    `vkey ${formatVkey(log)}`,
    `not-before ${notBefore}`,
    `not-after ${notAfter}`,
    `server-cert-sha256 ${hex(serverCertificate)}`,
    `previous ${previous === null ? 'none' : formatVkey(previous)}`,
    ...(recovery ? recoveryLines(recovery) : []),
  ];
  const bytes = utf8(`${text.join('\n')}\n`);
  parseKeyStatement(bytes);
  return bytes;
}

/** @throws BAD_FRAME naming statement.<line> */
export function parseKeyStatement(bytes: Uint8Array): KeyStatement {
  const text = bytes.length <= MAX_STATEMENT_BYTES ? fromUtf8(bytes) : null;
  const lines = text?.split('\n') ?? bad('statement', `UTF-8 of at most ${MAX_STATEMENT_BYTES} bytes`);
  if (lines.pop() !== '' || (lines.length !== 7 && lines.length !== 9))
    bad('statement.lines', 'exactly seven lines, or nine of a later epoch');
  if (lines[0] !== 'chatlog/v1 log key') bad('statement.title', 'chatlog/v1 log key');
  const value = (line: number, name: string): string =>
    lines[line]!.startsWith(`${name} `) ? lines[line]!.slice(name.length + 1) : bad(`statement.${name}`, 'this line');
  const time = (line: number, name: string): number =>
    decimal(value(line, name)) ?? bad(`statement.${name}`, 'a decimal number without leading zeros');

  const name = value(1, 'origin');
  const origin = parseOrigin(name);
  if (lines.length !== (origin.epoch === 1 ? 7 : 9))
    bad('statement.lines', 'kept and known in a later epoch, and in no other');
  const log = parseVkey(value(2, 'vkey'));
  if (log.name !== name) bad('statement.vkey', 'a key with the name of the origin');
  const notBefore = time(3, 'not-before');
  const notAfter = time(4, 'not-after');
  if (notAfter < notBefore) bad('statement.not-after', 'a time after not-before');
  const serverCertificate = fromHex(value(5, 'server-cert-sha256'));
  if (serverCertificate?.length !== 32) bad('statement.server-cert-sha256', '64 lower-case hex digits');
  const earlier = value(6, 'previous');
  const previous = earlier === 'none' ? null : parseVkey(earlier);
  if (previous !== null) {
    const { host, node, epoch } = parseOrigin(previous.name);
    if (host !== origin.host || node !== origin.node || epoch > origin.epoch)
      bad('statement.previous', 'a key of the same host and node, not of a later epoch');
    if (earlier === formatVkey(log)) bad('statement.previous', 'another key than the new one');
  }
  return {
    log,
    notBefore,
    notAfter,
    serverCertificate: serverCertificate as Uint8Array as Fingerprint,
    previous,
    recovery: origin.epoch === 1 ? null : parseRecovery(value(7, 'kept'), value(8, 'known')),
  };
}

/** The last two lines of a statement of a later epoch. */
export const recoveryLines = ({ kept, known }: Recovery): string[] => [
  `kept ${kept}`,
  `known ${known.size} ${base64(known.root)}`,
];

/** @throws BAD_FRAME naming statement.kept or statement.known */
export function parseRecovery(kept: string, known: string): Recovery {
  const count = decimal(kept) ?? bad('statement.kept', 'a decimal number without leading zeros');
  const [number = '', encoded = '', ...more] = known.split(' ');
  const size = decimal(number);
  const root = fromBase64(encoded);
  if (size === null || size < count || root?.length !== HASH_BYTES || more.length > 0)
    bad('statement.known', 'a size, not below kept, and a root in base64');
  return { kept: count, known: { size, root: root as Uint8Array as Hash } };
}

/** Contents of `key.sig`: algorithm u8 ‖ signature. @param certificateKey of the certificate that the statement names @throws BAD_CERT/weak_key */
export function signKeyStatement(text: Uint8Array, certificateKey: KeyObject): Buffer {
  const { algorithm, signature } = sign(certificateKey, CONTEXT.logKey, text);
  return concat(Buffer.of(algorithm), signature);
}

/** 64 bytes, to stand in the KEY leaf. @param previousLogKey the Ed25519 key that the statement names as previous */
export const endorseKeyStatement = (text: Uint8Array, previousLogKey: KeyObject): Buffer =>
  sign(previousLogKey, CONTEXT.logKey, text).signature;

/**
 * The statement, verified against the key of the certificate that it names. The caller checks the certificate: its fingerprint, chain,
 * serverAuth, and a DNS SAN equal to the origin's host.
 * @throws BAD_FRAME as parseKeyStatement(), or naming statement.signature
 * @throws SIG_FAIL/log_key unless this certificate's key made the signature
 */
export function openKeyStatement(text: Uint8Array, signature: Uint8Array, certificateKey: KeyObject): KeyStatement {
  const statement = parseKeyStatement(text);
  const [algorithm] = signature;
  if (algorithm === undefined || signature.length < 2 || signature.length > 1 + MAX_SIGNATURE_BYTES)
    bad('statement.signature', 'algorithm and signature');
  if (!verify(certificateKey, algorithm, CONTEXT.logKey, text, signature.subarray(1)))
    throw new ChatError('SIG_FAIL', 'the server certificate did not sign the log key', { sub: 'log_key' });
  return statement;
}

/**
 * Whether the signature beside a statement is what it must be: that of the key it replaces. There is none of one that replaces none; and
 * that of a log of an earlier epoch may be missing, for its key may be lost with it.
 */
export function agrees(statement: KeyStatement, text: Uint8Array, endorsement: Uint8Array): boolean {
  const { previous, log } = statement;
  const isNeeded = previous !== null && previous.name === log.name;
  return endorsement.length === 0 ? !isNeeded : isEndorsed(statement, text, endorsement);
}

/** Whether the key that a statement replaces agreed to it. False also if it replaces none. */
export function isEndorsed(statement: KeyStatement, text: Uint8Array, endorsement: Uint8Array): boolean {
  const { previous } = statement;
  return previous !== null && verify(previous.publicKey, ALGORITHM.ed25519, CONTEXT.logKey, text, endorsement);
}
