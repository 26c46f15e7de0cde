/**
 * The files of an evidence bundle: their names, and the small texts among them. One encoding for one content, as everywhere; whether what
 * they say holds is decided by whoever verifies. docs/TRANSCRIPT.md §e.
 */
import { fromHex, fromUtf8, hex, utf8, view, type ConversationId, type Fingerprint, type Hash } from '../base/bytes.ts';
import { bad } from '../base/decode.ts';
import { CONTEXT, tbs } from '../base/signature.ts';
import { decimal } from './checkpoint.ts';
import { formatHashLines, parseHashLines } from './hash-lines.ts';
import { HASH_BYTES } from './merkle.ts';
import { BS_BYTES, MAX_BATCH } from './statement.ts';

/** Messages in one bundle: 6 digits would allow more, and nobody reads more. */
export const MAX_BUNDLE_MESSAGES = 100_000;
/** Logs, key statements of a log, and revocation lists: two digits. */
export const MAX_BUNDLE_LOGS = 99;
export const MAX_BUNDLE_KEYS = 99;
export const MAX_BUNDLE_CRLS = 99;
/** With intermediates: whoever reads a bundle keeps each. */
export const MAX_BUNDLE_CERTIFICATES = 4096;

/** complete: every message of the conversation that the exporter has seen, from the first on. selective: some of them. */
export type Profile = 'complete' | 'selective';

export interface BundleHead {
  readonly profile: Profile;
  /** Unix ms, by the exporter's clock. */
  readonly created: number;
  readonly conversation: ConversationId;
  readonly messages: number;
  /** Of the certificate whose key seals the bundle. */
  readonly exporter: Fingerprint;
}

/** A message's place among the statements of its batch. */
export interface BatchPath {
  /** 0 for the first. */
  readonly index: number;
  readonly size: number;
  /** Leaf's sibling first; leads from leaf(MS) to batch_root. */
  readonly path: readonly Hash[];
}

const TITLE = 'chatlog/v1 bundle';
const LINE_FEED = 0x0a;
const ZERO_DIGIT = 0x30;
/** In a batch of 1024. */
const MAX_PATH = 10;
const MAX_CONSISTENCY = 63;

/** @throws BAD_FRAME if parseHead() would refuse it */
export function formatHead({ profile, created, conversation, messages, exporter }: BundleHead): Buffer {
  const lines = [
    TITLE,
    `profile ${profile}`,
    `created ${created}`,
    `conversation ${hex(conversation)}`,
    `messages ${messages}`,
    `exporter ${hex(exporter)}`,
  ];
  const bytes = utf8(`${lines.join('\n')}\n`);
  parseHead(bytes);
  return bytes;
}

/** @throws BAD_FRAME naming bundle.<line> */
export function parseHead(bytes: Uint8Array): BundleHead {
  const lines = fromUtf8(bytes)?.split('\n') ?? bad('bundle', 'UTF-8');
  if (lines.length !== 7 || lines[6] !== '') bad('bundle.lines', 'exactly six lines');
  if (lines[0] !== TITLE) bad('bundle.title', TITLE);
  const value = (line: number, name: string): string =>
    lines[line]!.startsWith(`${name} `) ? lines[line]!.slice(name.length + 1) : bad(`bundle.${name}`, 'this line');
  const number = (line: number, name: string): number =>
    decimal(value(line, name)) ?? bad(`bundle.${name}`, 'a decimal number without leading zeros');
  const digest = (line: number, name: string): Uint8Array => {
    const found = fromHex(value(line, name));
    return found?.length === HASH_BYTES ? found : bad(`bundle.${name}`, '64 lower-case hex digits');
  };
  const profile = value(1, 'profile');
  if (profile !== 'complete' && profile !== 'selective') bad('bundle.profile', 'complete or selective');
  const messages = number(4, 'messages');
  if (messages > MAX_BUNDLE_MESSAGES) bad('bundle.messages', `at most ${MAX_BUNDLE_MESSAGES}`);
  return {
    profile: profile as Profile,
    created: number(2, 'created'),
    conversation: digest(3, 'conversation') as ConversationId,
    messages,
    exporter: digest(5, 'exporter') as Fingerprint,
  };
}

/** A line of SHA256SUMS, which `sha256sum -c` reads. */
export const sumLine = (name: string, digest: Uint8Array): string => `${hex(digest)}  ${name}\n`;

/** @throws BAD_FRAME naming path.lines, .index, .size or .path */
export function formatPath({ index, size, path }: BatchPath): Buffer {
  const bytes = utf8(`index ${index}\nsize ${size}\n${formatHashLines(path)}`);
  parsePath(bytes);
  return bytes;
}

/** @throws BAD_FRAME naming path.lines, .index, .size or .path */
export function parsePath(bytes: Uint8Array): BatchPath {
  const whole = view(bytes);
  const first = whole.indexOf(LINE_FEED) + 1;
  const second = first === 0 ? 0 : whole.indexOf(LINE_FEED, first) + 1;
  if (second === 0) bad('path.lines', 'two lines and at most ten hashes');
  const number = (from: number, end: number, name: string): number => {
    const line = whole.toString('latin1', from, end - 1);
    return (
      (line.startsWith(`${name} `) ? decimal(line.slice(name.length + 1)) : null) ??
      bad(`path.${name}`, 'a decimal number')
    );
  };
  const [index, size] = [number(0, first, 'index'), number(first, second, 'size')];
  if (size > MAX_BATCH || index >= size) bad('path.size', `a batch of at most ${MAX_BATCH} that has the index`);
  const path = parseHashLines(whole, second, whole.length) ?? bad('path.path', 'a hash in base64 on each line');
  return path.length <= MAX_PATH ? { index, size, path } : bad('path.lines', 'at most ten hashes');
}

/** What a batch's signature covers, as a file. */
export const batchTbs = (bs: Uint8Array): Buffer => tbs(CONTEXT.senderBatch, bs);

const BATCH_PREFIX = tbs(CONTEXT.senderBatch, Buffer.alloc(0));

/** The batch statement in it, a view. @throws BAD_FRAME/tbs unless these are the bytes that a sender signs */
export function openBatchTbs(bytes: Uint8Array): Buffer {
  const prefix = bytes.subarray(0, BATCH_PREFIX.length);
  if (bytes.length !== BATCH_PREFIX.length + BS_BYTES || Buffer.compare(prefix, BATCH_PREFIX) !== 0)
    bad('tbs', 'the context of a sender batch, and a batch statement');
  return Buffer.from(bytes.buffer, bytes.byteOffset + BATCH_PREFIX.length, BS_BYTES);
}

/** Consistency from an older checkpoint to the one that follows it here: the body of C2SP tlog-witness add-checkpoint. */
export function formatConsistency(from: number, proof: readonly Hash[], checkpoint: Uint8Array): Buffer {
  const bytes = Buffer.concat([utf8(`old ${from}\n${formatHashLines(proof)}\n`), checkpoint]);
  parseConsistency(bytes);
  return bytes;
}

/** @throws BAD_FRAME naming consistency.lines, .old or .proof; the checkpoint is not looked into, and is a view */
export function parseConsistency(bytes: Uint8Array): { from: number; proof: Hash[]; checkpoint: Buffer } {
  const whole = view(bytes);
  const end = whole.indexOf('\n\n', 0, 'latin1') + 1; // behind the last line
  if (end === 0) bad('consistency.lines', 'an empty line');
  const first = whole.indexOf(LINE_FEED) + 1;
  const old = whole.toString('latin1', 0, first - 1);
  const from = (old.startsWith('old ') ? decimal(old.slice(4)) : null) ?? bad('consistency.old', 'a decimal number');
  const proof = parseHashLines(whole, first, end) ?? bad('consistency.proof', 'a hash in base64 on each line');
  if (proof.length > MAX_CONSISTENCY) bad('consistency.proof', `at most ${MAX_CONSISTENCY} hashes`);
  return { from, proof, checkpoint: whole.subarray(end + 1) };
}

export const MESSAGE_FILES = [
  'batch.path',
  'batch.sig',
  'batch.tbs',
  'ciphertext',
  'entry',
  'log.tlog-proof',
  'opening',
] as const;
export type MessageFile = (typeof MESSAGE_FILES)[number];
const MESSAGE_NAMES: ReadonlyMap<string, MessageFile> = new Map(MESSAGE_FILES.map((name) => [name, name]));

/** What a file of a bundle is. `number` counts from 1. */
export type BundleName =
  | { readonly is: 'head' | 'sums' | 'seal' | 'chain' }
  | { readonly is: 'certificate'; readonly fingerprint: string }
  | { readonly is: 'crl' | 'crl_entry' | 'crl_proof'; readonly number: number }
  | { readonly is: 'checkpoint' | 'stamp' | 'takeovers'; readonly number: number }
  | { readonly is: 'statement' | 'statement_sig'; readonly number: number; readonly key: number }
  | { readonly is: 'consistency'; readonly number: number; readonly size: number }
  | { readonly is: 'message'; readonly number: number; readonly file: MessageFile };

const FIXED: Readonly<Record<string, BundleName>> = {
  BUNDLE: { is: 'head' },
  SHA256SUMS: { is: 'sums' },
  'SHA256SUMS.sig': { is: 'seal' },
  'cert/chain.pem': { is: 'chain' },
};

/** Bytewise order of names is the order in which they are needed: head, sums, certificates, lists, logs, messages. */
export function nameOf(file: BundleName): string {
  switch (file.is) {
    case 'head':
      return 'BUNDLE';
    case 'sums':
      return 'SHA256SUMS';
    case 'seal':
      return 'SHA256SUMS.sig';
    case 'chain':
      return 'cert/chain.pem';
    case 'certificate':
      return `cert/${file.fingerprint}.pem`;
    case 'crl':
      return `crl/${digits(file.number, 2)}.pem`;
    case 'crl_entry':
      return `crl/${digits(file.number, 2)}.entry`;
    case 'crl_proof':
      return `crl/${digits(file.number, 2)}.tlog-proof`;
    case 'checkpoint':
      return `log/${digits(file.number, 2)}/checkpoint`;
    case 'stamp':
      return `log/${digits(file.number, 2)}/checkpoint.tsr`;
    case 'takeovers':
      return `log/${digits(file.number, 2)}/takeovers`;
    case 'statement':
      return `log/${digits(file.number, 2)}/key-${digits(file.key, 2)}.stmt`;
    case 'statement_sig':
      return `log/${digits(file.number, 2)}/key-${digits(file.key, 2)}.sig`;
    case 'consistency':
      return `log/${digits(file.number, 2)}/consistency/${file.size}`;
    case 'message':
      return `${messageFolder(file.number)}/${file.file}`;
  }
}

/** Where the files of a message are. */
export const messageFolder = (number: number): string => `msg/${digits(number, 6)}`;

/** Null: no file of a bundle has this name. */
export function parseName(name: string): BundleName | null {
  if (name.startsWith('msg/')) return messageName(name);
  const fixed = Object.hasOwn(FIXED, name) ? FIXED[name] : undefined;
  if (fixed) return fixed;
  const [, fingerprint] = /^cert\/([0-9a-f]{64})\.pem$/.exec(name) ?? [];
  if (fingerprint !== undefined) return { is: 'certificate', fingerprint };
  const [, crl, part] = /^crl\/(\d\d)\.(entry|pem|tlog-proof)$/.exec(name) ?? [];
  if (crl !== undefined) {
    const is = part === 'pem' ? 'crl' : part === 'entry' ? 'crl_entry' : 'crl_proof';
    return Number(crl) > 0 ? { is, number: Number(crl) } : null;
  }
  const [, digits, rest] = /^log\/(\d\d)\/(.+)$/.exec(name) ?? [];
  const number = Number(digits);
  if (digits === undefined || number === 0) return null;
  if (rest === 'checkpoint' || rest === 'takeovers') return { is: rest, number };
  if (rest === 'checkpoint.tsr') return { is: 'stamp', number };
  const [, key, suffix] = /^key-(\d\d)\.(sig|stmt)$/.exec(rest!) ?? [];
  if (key !== undefined && Number(key) > 0)
    return { is: suffix === 'sig' ? 'statement_sig' : 'statement', number, key: Number(key) };
  const size = decimal(/^consistency\/(.+)$/.exec(rest!)?.[1] ?? '');
  return size === null ? null : { is: 'consistency', number, size };
}

/** Most files of a bundle are of messages. */
function messageName(name: string): BundleName | null {
  const file = MESSAGE_NAMES.get(name.slice('msg/000000/'.length));
  if (file === undefined || name['msg/000000'.length] !== '/') return null;
  let number = 0;
  for (let at = 'msg/'.length; at < 'msg/000000'.length; at++) {
    const digit = name.charCodeAt(at) - ZERO_DIGIT;
    if (digit < 0 || digit > 9) return null;
    number = 10 * number + digit;
  }
  return number === 0 ? null : { is: 'message', number, file };
}

const digits = (number: number, count: number): string => String(number).padStart(count, '0');
