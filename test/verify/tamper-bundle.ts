/** Rows of bundles: altered by somebody without a key, sealed again by an exporter who lies, made by a server or senders who do. */
import { generateKeyPairSync } from 'node:crypto';
import { concat, type Hash } from '../../base/bytes.ts';
import { formatHead, formatPath, parsePath } from '../../transcript/bundle.ts';
import type { BundleContent, BundleMessage } from '../../transcript/bundle-writer.ts';
import { peekCheckpoint, signCheckpoint } from '../../transcript/checkpoint.ts';
import { formatKeyStatement, signKeyStatement, type KeyStatement } from '../../transcript/key-statement.ts';
import { encodeLeaf, type Leaf } from '../../transcript/leaf.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { verifierKey } from '../../transcript/note.ts';
import { BS_BYTES } from '../../transcript/statement.ts';
import { ARCHIVE_END, archived } from '../../transcript/ustar.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import type { FindingCode } from '../../verify/finding.ts';
import {
  bundleOf,
  certificateFile,
  contentOf,
  credentialOf,
  type BundleAlterations,
} from '../support/bundle-writer.ts';
import {
  compose,
  fingerprintOf,
  headOf,
  noteAt,
  STORY,
  type Alterations,
  type Credential,
  type Step,
  type World,
} from '../support/log-writer.ts';
import {
  authority,
  clientExtensions,
  DAY,
  dns,
  ec,
  eku,
  EKU,
  keyUsage,
  list,
  make,
  makeCa,
  named,
  san,
  type Made,
} from '../x509/maker.ts';
import { ca, caKey, flipped, leaves, world } from './tamper.ts';

export interface BundleRow {
  readonly name: string;
  readonly archive: () => Buffer;
  readonly other?: () => Buffer;
  readonly known?: () => readonly Uint8Array[];
  readonly crls?: readonly Uint8Array[];
  /** DER, trusted in addition to the authority of gen-certs.sh. */
  readonly roots?: readonly Uint8Array[];
  readonly at?: number;
  readonly exit: number;
  readonly code?: FindingCode;
  readonly where?: string;
  readonly isAlone?: boolean;
}

const { alice, bob } = { alice: credentialOf(world, 'alice'), bob: credentialOf(world, 'bob') };
const BEGIN = world.begin;
const root: Made = {
  der: Buffer.from(ca.der),
  pair: { publicKey: ca.publicKey, privateKey: caKey },
  subject: Buffer.from(ca.subject.der),
  serial: 0,
};
const SEAL = 'SHA256SUMS.sig';
const msg = (number: number, file = ''): string => `msg/${String(number).padStart(6, '0')}${file && `/${file}`}`;

export const plain: Buffer = bundleOf(world, leaves, 'ab');
/** The bytes of the archive with something done to them, and no new seal. */
const raw = (change: (bytes: Buffer) => Buffer) => () => change(Buffer.from(plain));
const sealed = (alter: BundleAlterations) => () => bundleOf(world, leaves, 'ab', alter);
const withFiles = (files: (files: Map<string, Buffer>) => void) => sealed({ files });
const file = (path: string, change: (bytes: Buffer) => Buffer) =>
  withFiles((files) => {
    const bytes = files.get(path);
    if (bytes === undefined) throw new RangeError(path);
    files.set(path, change(bytes));
  });
const without = (...paths: string[]) =>
  withFiles((files) => {
    for (const path of paths) if (!files.delete(path)) throw new RangeError(path);
  });
const swapped = (a: string, b: string) =>
  withFiles((files) => {
    const [left, right] = [files.get(a)!, files.get(b)!];
    files.set(a, right).set(b, left);
  });
const withMessages = (change: (messages: BundleMessage[]) => BundleMessage[]) => sealed({ messages: change });
const selective: BundleAlterations['head'] = (head) => ({ ...head, profile: 'selective' });
const withContent = (content: (content: BundleContent) => BundleContent) => sealed({ content });

/** Where the header of a file is in the archive. */
function headerOf(path: string): number {
  const at = plain.indexOf(Buffer.concat([Buffer.from(path), Buffer.alloc(101 - path.length)]).subarray(0, 100));
  if (at < 0 || at % 512 !== 0) throw new RangeError(path);
  return at;
}
const sizeAt = (at: number): number => Number.parseInt(plain.toString('latin1', at + 124, at + 135), 8);
const lengthOf = (at: number): number => 512 * (1 + Math.ceil(sizeAt(at) / 512));
const cut = (bytes: Buffer, path: string): Buffer => {
  const at = headerOf(path);
  return concat(bytes.subarray(0, at), bytes.subarray(at + lengthOf(at)));
};
const found = (code: FindingCode, where: string, isAlone = true, exit = 10) => ({ exit, code, where, isAlone });

export const BUNDLE_OUTSIDER: readonly BundleRow[] = [
  { name: 'nothing is altered', archive: () => plain, exit: 0 },
  {
    name: 'a bit of an entry',
    archive: raw((bytes) => flipped(bytes, headerOf(msg(3, 'entry')) + 512 + 40)),
    ...found('E_SUMS', msg(3, 'entry'), false),
  },
  {
    name: 'a bit of a checkpoint',
    archive: raw((bytes) => flipped(bytes, headerOf('log/01/checkpoint') + 512 + 30)),
    ...found('E_SUMS', 'log/01/checkpoint', false),
  },
  {
    name: 'a bit of the head',
    archive: raw((bytes) => flipped(bytes, 512 + 30)),
    ...found('E_SUMS', 'BUNDLE', false),
  },
  {
    name: 'the time of a file',
    archive: raw((bytes) => flipped(bytes, headerOf(msg(3, 'entry')) + 140)),
    ...found('E_FORMAT', msg(3, 'entry')),
  },
  {
    name: 'bytes behind a file',
    archive: raw((bytes) => flipped(bytes, headerOf(msg(3, 'entry')) + 1023)),
    ...found('E_FORMAT', msg(3, 'entry')),
  },
  {
    name: 'the archive is cut off',
    archive: raw((bytes) => bytes.subarray(0, headerOf(msg(5, 'entry')) + 700)),
    ...found('E_FORMAT', 'archive', false),
  },
  {
    name: 'and what is announced is not there',
    archive: raw((bytes) => concat(bytes.subarray(0, headerOf(msg(5, 'batch.path'))), ARCHIVE_END)),
    ...found('E_TRUNCATED', 'BUNDLE', false),
  },
  { name: 'without its end', archive: raw((bytes) => bytes.subarray(0, -1024)), ...found('E_FORMAT', 'archive') },
  {
    name: 'longer than it is',
    archive: raw((bytes) => concat(bytes, Buffer.alloc(512))),
    ...found('E_FORMAT', 'archive'),
  },
  {
    name: 'a file taken out',
    archive: raw((bytes) => cut(bytes, msg(2, 'opening'))),
    ...found('E_SUMS', msg(2, 'opening')),
  },
  {
    name: 'the last file taken out',
    archive: raw((bytes) => cut(bytes, msg(17, 'opening'))),
    ...found('E_SUMS', msg(17, 'opening')),
  },
  {
    name: 'a text put in',
    archive: () => {
      const closed = bundleOf(world, leaves, 'ab', { messages: (m) => m.with(0, { ...m[0]!, opening: null }) });
      const path = msg(1, 'opening');
      const at = closed.indexOf(Buffer.concat([Buffer.from(msg(2, 'batch.path')), Buffer.alloc(9)]));
      const [{ opening }] = [...contentOf(world, leaves, 'ab').messages()] as [BundleMessage];
      return concat(closed.subarray(0, at), archived(path, opening!), closed.subarray(at));
    },
    ...found('E_SUMS', msg(1, 'opening')),
  },
  {
    name: 'a file put in',
    archive: raw((bytes) => {
      const at = headerOf(msg(2, 'batch.path'));
      return concat(bytes.subarray(0, at), archived('msg/000001/zzz', Buffer.from('x')), bytes.subarray(at));
    }),
    ...found('E_SUMS', 'msg/000001/zzz', false),
  },
  {
    name: 'files in another order',
    archive: raw((bytes) => {
      const [a, b] = [headerOf(msg(2, 'entry')), headerOf(msg(2, 'log.tlog-proof'))];
      const end = b + lengthOf(b);
      return concat(bytes.subarray(0, a), bytes.subarray(b, end), bytes.subarray(a, b), bytes.subarray(end));
    }),
    ...found('E_FORMAT', msg(2, 'entry'), false),
  },
  {
    name: 'the sums altered with the file',
    archive: sealed({ sums: (sums) => sums.replace(/^[0-9a-f]{64} {2}BUNDLE$/m, `${'0'.repeat(64)}  BUNDLE`) }),
    ...found('E_SUMS', 'BUNDLE'),
  },
  {
    name: 'a bit of the seal',
    archive: raw((bytes) => flipped(bytes, headerOf(SEAL) + 512 + 9)),
    ...found('E_BUNDLE_SIG', SEAL),
  },
  { name: 'no seal', archive: raw((bytes) => cut(bytes, SEAL)), ...found('E_BUNDLE_SIG', SEAL) },
  { name: 'sealed by another key', archive: sealed({ key: bob.key }), ...found('E_BUNDLE_SIG', SEAL) },
  {
    name: 'no sums',
    archive: raw((bytes) => cut(bytes, 'SHA256SUMS')),
    ...found('E_SUMS', 'SHA256SUMS'),
  },
  {
    name: 'sums that are no sums',
    archive: sealed({ sums: (sums) => sums.replace('  ', ' *') }),
    ...found('E_FORMAT', 'SHA256SUMS', false),
  },
  {
    name: 'sums without the end of a line',
    archive: sealed({ sums: (sums) => sums.slice(0, -1) }),
    ...found('E_FORMAT', 'SHA256SUMS', false),
  },
];

const { privateKey: rogueKey, publicKey: roguePublic } = generateKeyPairSync('ed25519');
const rogueLog = verifierKey(world.origin, roguePublic);
/** A log key of the exporter's own, for which somebody vouches: checkpoints under it are signed anew. */
function rogueContent(by: Credential, content: BundleContent): BundleContent {
  const [own] = [parseCertificate(by.chain[0]!)];
  const { notBefore, notAfter, fingerprint } = own;
  const named = { log: rogueLog, notBefore, notAfter, serverCertificate: fingerprint, previous: null };
  const statement = formatKeyStatement(named);
  const entries = leaves.map(encodeLeaf);
  const checkpoint = signCheckpoint({ ...headOf(world, entries), root: NO_HASH }, rogueKey);
  const messages = [...content.messages()].map((one) => {
    const { size, root } = peekCheckpoint(one.proof.checkpoint);
    return {
      ...one,
      proof: { ...one.proof, checkpoint: signCheckpoint({ origin: world.origin, size, root }, rogueKey) },
    };
  });
  const keys = [{ statement, signature: signKeyStatement(statement, by.key) }];
  const log = { ...content.logs[0]!, keys, checkpoint };
  return { ...content, logs: [log], messages: () => messages };
}
const rogue = (by: Credential) => withContent((content) => rogueContent(by, content));
const rogueTwice = withContent((content) => {
  const forged = rogueContent(alice, content);
  const messages = [...forged.messages()].map((one, i) =>
    i === 2
      ? {
          ...one,
          proof: {
            ...one.proof,
            checkpoint: signCheckpoint({ origin: world.origin, size: 10, root: NO_HASH }, rogueKey),
          },
        }
      : one,
  );
  return { ...forged, messages: () => messages };
});
const first = { path: msg(1), entry: msg(1, 'entry'), opening: msg(1, 'opening'), proof: msg(1, 'log.tlog-proof') };
const consistency = 'log/01/consistency/10';
const text = (change: (text: string) => string) => (bytes: Buffer) => Buffer.from(change(bytes.toString()));

/** A batch that the server has logged twice, and messages of it from both places. */
const replayed = () => {
  const last = leaves.findLastIndex((leaf) => leaf.type === 'sigb');
  return bundleOf(world, [...leaves, ...leaves.slice(last)], 'ab', { messages: (m) => m.toSpliced(9, 9) });
};

export const BUNDLE_EXPORTER: readonly BundleRow[] = [
  { name: 'a batch from two places', archive: replayed, ...found('E_ORDER', msg(10)) },
  {
    name: 'one signature of several of a batch',
    archive: file(msg(3, 'batch.sig'), (b) => flipped(b, 12)),
    ...found('E_BATCH_SIG', msg(3, 'batch.sig')),
  },
  {
    name: 'another position in the entry',
    archive: file(msg(2, 'entry'), (b) => flipped(b, 3, 1)),
    ...found('E_BATCH_PATH', msg(2, 'batch.path'), false),
  },
  {
    name: 'an altered message beside the true one accuses nobody',
    archive: withMessages(([a, ...rest]) => [a!, { ...a!, entry: flipped(a!.entry, 100) }, ...rest]),
    ...found('E_CTR_REGRESS', msg(2), false),
  },
  {
    name: 'a bit of an entry, sealed',
    archive: file(msg(3, 'entry'), (b) => flipped(b, 100)),
    ...found('E_INCLUSION', msg(3, 'log.tlog-proof'), false),
  },
  {
    name: 'which is not what was signed either',
    archive: file(msg(3, 'entry'), (b) => flipped(b, 100)),
    ...found('E_BATCH_PATH', msg(3, 'batch.path'), false),
  },
  {
    name: 'another server time',
    archive: file(first.entry, (b) => flipped(b, 11)),
    ...found('E_INCLUSION', first.proof),
  },
  {
    name: 'another text',
    archive: file(first.opening, (b) => flipped(b, b.length - 1)),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'another key of the commitment',
    archive: file(first.opening, (b) => flipped(b, 0)),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'a text that is longer',
    archive: file(first.opening, (b) => concat(b, Buffer.of(0))),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'no text at all',
    archive: file(first.opening, (b) => b.subarray(0, 32)),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'not even a key',
    archive: file(first.opening, (b) => b.subarray(0, 31)),
    ...found('E_COMMIT', first.opening),
  },
  {
    name: 'openings swapped',
    archive: swapped(msg(2, 'opening'), msg(3, 'opening')),
    ...found('E_COMMIT', msg(2, 'opening'), false),
  },
  { name: 'a text that is not disclosed', archive: without(first.opening), exit: 0 },
  {
    name: 'proofs swapped',
    archive: swapped(msg(2, 'log.tlog-proof'), msg(3, 'log.tlog-proof')),
    ...found('E_INCLUSION', msg(3, 'log.tlog-proof'), false),
  },
  {
    name: 'the place before',
    archive: file(
      first.proof,
      text((t) => t.replace('index 4', 'index 3')),
    ),
    ...found('E_INCLUSION', first.proof),
  },
  {
    name: 'a place beyond the tree',
    archive: file(
      first.proof,
      text((t) => t.replace('index 4', 'index 400')),
    ),
    ...found('E_INCLUSION', first.proof, false),
  },
  {
    name: 'a proof with a hash too many',
    archive: file(
      first.proof,
      text((t) => t.replace('\n\n', `\n${Buffer.alloc(32).toString('base64')}\n\n`)),
    ),
    ...found('E_INCLUSION', first.proof),
  },
  {
    name: 'a malformed proof',
    archive: file(
      first.proof,
      text((t) => t.replace('index', 'Index')),
    ),
    ...found('E_FORMAT', first.proof),
  },
  {
    name: 'a proof in a log that nobody knows',
    archive: file(
      first.proof,
      text((t) => t.replace('example.org', 'example.com')),
    ),
    ...found('E_KEYBIND', first.proof, false, 12),
  },
  {
    name: 'a checkpoint that the log did not sign',
    archive: file(
      first.proof,
      text((t) => t.replace('\n5\n', '\n6\n')),
    ),
    ...found('E_CKPT_SIG', first.proof),
  },
  {
    name: 'paths swapped',
    archive: swapped(msg(2, 'batch.path'), msg(3, 'batch.path')),
    ...found('E_BATCH_PATH', msg(2, 'batch.path'), false),
  },
  {
    name: 'a path from another place',
    archive: file(msg(2, 'batch.path'), (b) => formatPath({ ...parsePath(b), index: 1 })),
    ...found('E_BATCH_PATH', msg(2, 'batch.path')),
  },
  {
    name: 'a path in a larger batch',
    archive: file(msg(2, 'batch.path'), (b) => formatPath({ ...parsePath(b), size: 4 })),
    ...found('E_BATCH_PATH', msg(2, 'batch.path')),
  },
  {
    name: 'a malformed path',
    archive: file(msg(2, 'batch.path'), (b) => concat(b, Buffer.from('\n'))),
    ...found('E_FORMAT', msg(2, 'batch.path')),
  },
  {
    name: 'the signature of another batch',
    archive: swapped(msg(1, 'batch.sig'), msg(4, 'batch.sig')),
    ...found('E_BATCH_SIG', msg(1, 'batch.sig'), false),
  },
  {
    name: 'an empty signature',
    archive: file(msg(1, 'batch.sig'), () => Buffer.alloc(0)),
    ...found('E_BATCH_SIG', msg(1, 'batch.sig')),
  },
  {
    name: 'a signature under another context',
    archive: file(msg(1, 'batch.tbs'), (b) => flipped(b, 70)),
    ...found('E_FORMAT', msg(1, 'batch.tbs'), false),
  },
  {
    name: 'a malformed batch statement',
    archive: file(msg(1, 'batch.tbs'), (b) => flipped(b, b.length - BS_BYTES)),
    ...found('E_FORMAT', msg(1, 'batch.tbs'), false),
  },
  {
    name: 'the batch statement of another batch',
    archive: swapped(msg(1, 'batch.tbs'), msg(4, 'batch.tbs')),
    ...found('E_BATCH_PATH', msg(1, 'batch.path'), false),
  },
  {
    name: 'the entry of a batch in place of that of a message',
    archive: file(first.entry, () => encodeLeaf(leaves[3]!)),
    ...found('E_FORMAT', first.entry, false),
  },
  {
    name: 'an entry that is none',
    archive: file(first.entry, () => Buffer.from('hello')),
    ...found('E_FORMAT', first.entry, false),
  },
  ...['batch.path', 'batch.sig', 'batch.tbs', 'entry', 'log.tlog-proof'].map((name) => ({
    name: `no ${name}`,
    archive: without(msg(6, name)),
    ...found('E_FORMAT', msg(6, name), false),
  })),

  { name: 'a message left out', archive: withMessages((m) => m.toSpliced(3, 1)), ...found('E_CONV_GAP', msg(4)) },
  { name: 'the first message left out', archive: withMessages((m) => m.slice(1)), ...found('E_CONV_GAP', msg(3)) },
  {
    name: 'a message left out, as the bundle says',
    archive: sealed({ messages: (m) => m.toSpliced(3, 1), head: selective }),
    exit: 0,
    code: 'W_GAP',
    where: msg(4),
  },
  {
    name: 'the end of a session left out, as the bundle says',
    archive: sealed({ messages: (m) => m.toSpliced(4, 1), head: selective }),
    exit: 0,
    code: 'W_GAP',
    where: msg(5),
  },
  {
    name: 'the end of a session left out',
    archive: withMessages((m) => m.toSpliced(4, 1)),
    ...found('E_CONV_LINK', msg(5), false),
  },
  {
    name: 'all before a session left out',
    archive: sealed({ messages: (m) => m.slice(5), head: selective }),
    exit: 0,
    code: 'W_CONV_ELSEWHERE',
    where: msg(1),
  },
  { name: 'LIMIT: the last messages left out', archive: withMessages((m) => m.slice(0, 12)), exit: 0 },
  {
    name: 'LIMIT: all of one sender left out',
    archive: withMessages((m) => m.filter(({ opening }) => !Buffer.from(opening!).toString().endsWith('bob'))),
    exit: 0,
  },
  {
    name: 'a number left out',
    archive: withFiles((files) => {
      for (const name of [...files.keys()]) if (name.startsWith(msg(4))) files.delete(name);
    }),
    ...found('E_ORDER', msg(5), false),
  },
  {
    name: 'more messages announced',
    archive: withFiles((files) =>
      files.set('BUNDLE', text((t) => t.replace('messages 17', 'messages 18'))(files.get('BUNDLE')!)),
    ),
    ...found('E_TRUNCATED', 'BUNDLE'),
  },
  {
    name: 'two messages exchanged',
    archive: withMessages(([a, b, ...rest]) => [b!, a!, ...rest]),
    ...found('E_ORDER', msg(2)),
  },
  {
    name: 'two messages of one batch exchanged',
    archive: withMessages(([a, b, c, ...rest]) => [a!, c!, b!, ...rest]),
    ...found('E_CTR_REGRESS', msg(3), false),
  },
  {
    name: 'a message twice',
    archive: withMessages(([a, ...rest]) => [a!, a!, ...rest]),
    ...found('E_CTR_REGRESS', msg(2), false),
  },
  {
    name: 'a message of another conversation',
    archive: withMessages((m) => [...m, ...contentOf(world, leaves, 'notes').messages()]),
    ...found('E_LEAF', msg(18, 'entry'), false),
  },
  {
    name: 'the name of another conversation',
    archive: sealed({ head: (head) => ({ ...head, conversation: contentOf(world, leaves, 'bc').head.conversation }) }),
    ...found('E_LEAF', msg(1, 'entry'), false),
  },
  { name: 'no message', archive: withMessages(() => []), ...found('W_EMPTY', 'BUNDLE', true, 11) },
  {
    name: 'a head that is none',
    archive: withFiles((files) => files.set('BUNDLE', Buffer.from('hello'))),
    ...found('E_FORMAT', 'BUNDLE', false),
  },
  {
    name: 'a head of a complete bundle, in which something is missing',
    archive: withFiles((files) =>
      files.set('BUNDLE', formatHead({ ...contentOf(world, leaves, 'ab').head, messages: 16 })),
    ),
    ...found('E_TRUNCATED', 'BUNDLE'),
  },
  {
    name: 'a file of a name that no bundle has',
    archive: withFiles((files) => files.set('msg/000001/ciphertext', Buffer.from('x'))),
    ...found('E_FORMAT', 'msg/000001/ciphertext'),
  },

  {
    name: 'no certificate of a sender',
    archive: without(certificateFile(bob)),
    ...found('E_CERT_UNKNOWN', msg(2, 'batch.sig'), true, 12),
  },
  {
    name: 'no certificate of the exporter',
    archive: without(certificateFile(alice)),
    ...found('E_CERT_UNKNOWN', 'BUNDLE', false, 12),
  },
  {
    name: 'certificates under names of others',
    archive: swapped(certificateFile(alice), certificateFile(bob)),
    ...found('E_FORMAT', certificateFile(alice), false),
  },
  {
    name: 'a malformed certificate',
    archive: file(certificateFile(bob), (b) => b.subarray(1)),
    ...found('E_FORMAT', certificateFile(bob), false),
  },
  {
    name: 'two certificates in one file',
    archive: file(certificateFile(bob), (b) => concat(b, b)),
    ...found('E_FORMAT', certificateFile(bob), false),
  },
  {
    name: 'no certificate of the server',
    archive: without(certificateFile(world.server)),
    ...found('E_KEYBIND', 'log/01/key-01.stmt', true, 12),
  },
  {
    name: 'a log key that nobody signed for',
    archive: file('log/01/key-01.sig', (b) => flipped(b, 20)),
    ...found('E_KEYBIND', 'log/01/key-01.sig', true, 12),
  },
  {
    name: 'a log key of the exporter, by his certificate',
    archive: rogue(alice),
    ...found('E_KEYBIND', 'log/01/key-01.stmt', false, 10),
  },
  {
    name: 'a malformed key statement',
    archive: file('log/01/key-01.stmt', (b) => b.subarray(1)),
    ...found('E_FORMAT', 'log/01/key-01.stmt', false),
  },
  ...['checkpoint', 'key-01.sig', 'key-01.stmt'].map((name) => ({
    name: `no ${name}`,
    archive: without(`log/01/${name}`),
    ...found('E_FORMAT', `log/01/${name}`, false),
  })),
  { name: 'no log', archive: withContent((c) => ({ ...c, logs: [] })), ...found('E_KEYBIND', first.proof, false, 12) },
  {
    name: 'a log twice',
    archive: withContent((c) => ({ ...c, logs: [c.logs[0]!, { ...c.logs[0]!, consistency: new Map() }] })),
    ...found('E_FORMAT', 'log/02'),
  },
  {
    name: 'a last checkpoint that the log did not sign',
    archive: file('log/01/checkpoint', () => signCheckpoint(headOf(world, leaves.map(encodeLeaf)), rogueKey)),
    ...found('E_CKPT_SIG', 'log/01/checkpoint', false),
  },
  {
    name: 'an older checkpoint as the last',
    archive: file('log/01/checkpoint', () => noteAt(world, leaves, 10)),
    ...found('E_CONSISTENCY', msg(4, 'log.tlog-proof'), false),
  },
  {
    name: 'no consistency proof',
    archive: without(consistency),
    exit: 0,
    code: 'W_UNLINKED',
    where: msg(2, 'log.tlog-proof'),
  },
  {
    name: 'an altered consistency proof',
    archive: file(
      consistency,
      text((t) => t.replace(/\n[^\n]{10}/, `\nAAAAAAAAAA`)),
    ),
    ...found('E_CONSISTENCY', consistency),
  },
  {
    name: 'a consistency proof to another checkpoint',
    archive: file(
      consistency,
      text((t) => t.replace('\n584\n', '\n585\n')),
    ),
    ...found('E_CONSISTENCY', consistency),
  },
  {
    name: 'a consistency proof from another size',
    archive: swapped(consistency, 'log/01/consistency/14'),
    ...found('E_FORMAT', consistency, false),
  },
  {
    name: 'a malformed consistency proof',
    archive: file(
      consistency,
      text((t) => t.replace('old', 'new')),
    ),
    ...found('E_FORMAT', consistency, false),
  },
];

/** A log of senders who sign something else, or of a server that logs something else. */
const made =
  (alter: Alterations, story: readonly Step[] = STORY) =>
  () =>
    bundleOf(world, compose(world, story, alter), 'ab');
const relogged = (change: (copy: Leaf[]) => void) => () => {
  const copy = leaves.slice();
  change(copy);
  return bundleOf(world, copy, 'ab');
};
const inBatch = (batch: number, position: number, change: NonNullable<Alterations['ms']>): Alterations => ({
  ms: (ms, b, p) => (b === batch && p === position ? change(ms, b, p) : ms),
});
const batchOf = (batch: number, change: NonNullable<Alterations['bs']>): Alterations => ({
  bs: (bs, b) => (b === batch ? change(bs, b) : bs),
});
const zeros = (bytes: number) => Buffer.alloc(bytes) as Uint8Array;
/** The story with a batch that has another server time. */
const later = STORY.with(9, { ...STORY[9]!, at: 59_000 });

export const BUNDLE_SERVER: readonly BundleRow[] = [
  {
    name: 'signed without the context',
    archive: made({
      signature: (signed, b) => (b === 1 ? { ...signed, signature: flipped(signed.signature, 12) } : signed),
    }),
    ...found('E_BATCH_SIG', msg(2, 'batch.sig'), false),
  },
  {
    name: 'signed by somebody else',
    archive: made({ signer: (who, b) => (b === 1 ? alice : who) }),
    ...found('E_BATCH_SIG', msg(2, 'batch.sig'), false),
  },
  {
    name: 'signed for another log',
    archive: made(batchOf(1, (bs) => ({ ...bs, audience: zeros(32) as Hash }))),
    ...found('E_AUDIENCE', msg(2, 'batch.tbs'), false),
  },
  {
    name: 'a statement of another session',
    archive: made(inBatch(1, 1, (ms) => ({ ...ms, session: zeros(16) as typeof ms.session }))),
    ...found('E_LEAF', msg(2, 'entry'), false),
  },
  {
    name: 'a statement of another sender',
    archive: made(inBatch(1, 1, (ms) => ({ ...ms, sender: fingerprintOf(alice) }))),
    ...found('E_LEAF', msg(2, 'entry'), false),
  },
  {
    name: 'a jump of the session counter in a batch',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, sessionCtr: 7 }))),
    ...found('E_CTR_GAP', msg(3, 'entry'), false),
  },
  {
    name: 'a jump of the conversation counter',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, convCtr: 7 }))),
    ...found('E_CONV_GAP', msg(3), false),
  },
  {
    name: 'a conversation counter that goes back',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, convCtr: 1 }))),
    ...found('E_CONV_GAP', msg(3), false),
  },
  {
    name: 'a broken link',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, prevConv: Buffer.alloc(32, 1) as Uint8Array as Hash }))),
    ...found('E_CONV_LINK', msg(3), false),
  },
  {
    name: 'no link',
    archive: made(inBatch(1, 2, (ms) => ({ ...ms, prevConv: NO_HASH }))),
    ...found('E_CONV_LINK', msg(3), false),
  },
  {
    name: 'a first message that follows another',
    archive: made(inBatch(1, 1, (ms) => ({ ...ms, prevConv: Buffer.alloc(32, 1) as Uint8Array as Hash }))),
    exit: 10,
    code: 'E_COMMIT',
    where: msg(2, 'opening'),
  },
  {
    name: 'which is in another log',
    archive: () =>
      bundleOf(
        world,
        compose(
          world,
          STORY,
          inBatch(1, 1, (ms) => ({ ...ms, prevConv: Buffer.alloc(32, 1) as Uint8Array as Hash })),
        ),
        'ab',
        { messages: (m) => m.map((one) => ({ ...one, opening: null })) },
      ),
    exit: 0,
    code: 'W_CONV_ELSEWHERE',
    where: msg(2),
  },
  {
    name: 'a session that begins anew',
    archive: () =>
      bundleOf(
        world,
        compose(
          world,
          STORY,
          inBatch(5, 1, (ms) => ({ ...ms, prevConv: NO_HASH })),
        ),
        'ab',
        { messages: (m) => m.map((one) => ({ ...one, opening: null })) },
      ),
    exit: 0,
    code: 'W_CONV_RESTART',
    where: msg(6),
  },
  {
    name: 'a batch that follows another',
    archive: made(batchOf(2, (bs) => ({ ...bs, prevBatch: zeros(32) as Hash }))),
    ...found('E_BATCH_CHAIN', msg(4, 'batch.tbs')),
  },
  {
    name: 'a first batch that follows another',
    archive: made(batchOf(0, (bs) => ({ ...bs, prevBatch: Buffer.alloc(32, 1) as Uint8Array as Hash }))),
    ...found('E_BATCH_CHAIN', msg(1, 'batch.tbs'), false),
  },
  {
    name: 'a batch that begins before the last one ends',
    archive: made(batchOf(2, (bs) => ({ ...bs, firstCtr: 1 }))),
    ...found('E_CTR_REGRESS', msg(4, 'batch.tbs'), false),
  },
  {
    name: 'clocks that differ',
    archive: () =>
      bundleOf(
        world,
        compose(
          world,
          STORY,
          inBatch(0, 1, (ms) => ({ ...ms, clientTime: ms.clientTime - 300_000 })),
        ),
        'ab',
        { messages: (m) => m.map((one) => ({ ...one, opening: null })) },
      ),
    exit: 0,
    code: 'W_SKEW',
    where: first.entry,
  },
  { name: 'a server time that goes back', archive: made({}, later), ...found('E_TIME_ORDER', msg(7), false) },
  {
    name: 'a message logged with another time than its batch',
    archive: relogged((copy) => {
      const leaf = copy[8]!;
      if (leaf.type === 'msg') copy[8] = { ...leaf, serverTime: leaf.serverTime + 1 };
    }),
    ...found('E_ORDER', msg(3), false),
  },
  {
    name: 'a server certificate as a sender',
    archive: () =>
      bundleOf(
        { ...world, people: { ...world.people, bob: world.server } },
        compose({ ...world, people: { ...world.people, bob: world.server } }),
        'ab',
      ),
    ...found('E_CERT_USAGE', msg(2, 'batch.sig'), false, 12),
  },
  {
    name: 'times that the statement of the log key does not cover',
    archive: made({ keyStatement: (s) => ({ ...s, notAfter: BEGIN + 500 }) }),
    ...found('E_KEYBIND', msg(2, 'log.tlog-proof'), true, 12),
  },
  {
    name: 'a log of another host',
    archive: () => {
      const elsewhere: World = {
        ...world,
        origin: 'chat.example.com/log/n1',
        log: verifierKey('chat.example.com/log/n1', roguePublic),
        logKey: rogueKey,
      };
      return bundleOf(elsewhere, compose(elsewhere), 'ab');
    },
    ...found('E_KEYBIND', 'log/01/key-01.stmt', true, 12),
  },
];

const validity = { from: BEGIN - DAY, until: BEGIN + 30 * DAY };
const stranger = authority('Strangers', validity);
const lists = (by: Made, ...revoked: (readonly [number, number])[]) =>
  list(by, { from: BEGIN - DAY, until: BEGIN + DAY, revoked });
const withBob = (shape: Parameters<typeof make>[1], by: Made = root) => {
  const dave = make(by, {
    ...validity,
    pair: ec(),
    subject: named('dave'),
    extensions: clientExtensions('dave'),
    ...shape,
  });
  const people: World = {
    ...world,
    people: { ...world.people, bob: { chain: [dave.der], key: dave.pair.privateKey } },
  };
  const archive = () => bundleOf(people, compose(people), 'ab');
  const withList = (der: Buffer) => () =>
    bundleOf(people, compose(people), 'ab', { content: (content) => ({ ...content, crls: [{ der, logged: null }] }) });
  return { archive, withList, serial: dave.serial };
};
const other = authority('Other Root', validity);
const middle = makeCa(other, 'Middle', validity);
const viaMiddle = make(middle, {
  ...validity,
  pair: ec(),
  subject: named('dave'),
  extensions: clientExtensions('dave'),
});
const below = (...above: Made[]) => {
  const chain = [viaMiddle, ...above].map(({ der }) => der);
  const people: World = { ...world, people: { ...world.people, bob: { chain, key: viaMiddle.pair.privateKey } } };
  return () => bundleOf(people, compose(people), 'ab');
};
const inSig = (code: FindingCode, number = 2) => found(code, msg(number, 'batch.sig'), true, 12);
const fresh = withBob({});
const listed = (der: Buffer) => withContent((content) => ({ ...content, crls: [{ der, logged: null }] }));

/** A server that gets another certificate between two messages: the first statement ends, and a second one begins. */
function renewed(by: Made, change: (statement: KeyStatement) => KeyStatement = (s) => s, isThere = true) {
  const older: Alterations = { keyStatement: (s) => ({ ...s, notAfter: BEGIN + 50_000 }) };
  const { fingerprint } = parseCertificate(by.der);
  const younger = { log: world.log, notBefore: BEGIN + 40_000, notAfter: BEGIN + DAY, serverCertificate: fingerprint };
  const statement = formatKeyStatement(change({ ...younger, previous: null, recovery: null }));
  const key = { statement, signature: signKeyStatement(statement, by.pair.privateKey) };
  return () =>
    bundleOf(world, compose(world, STORY, older), 'ab', {
      content: (content) => ({
        ...content,
        certificates: [...content.certificates, by.der],
        logs: [{ ...content.logs[0]!, keys: [...content.logs[0]!.keys, ...(isThere ? [key] : [])] }],
      }),
    });
}
const server = (purpose: string, name = 'chat.example.org') =>
  make(root, {
    ...validity,
    pair: ec(),
    subject: named(name),
    extensions: [keyUsage(0), eku(purpose), san(dns(name))],
  });
const second = server(EKU.server);
const serverShape = {
  ...validity,
  pair: ec(),
  subject: named('chat.example.org'),
  extensions: [keyUsage(0), eku(EKU.server), san(dns('chat.example.org'))],
};
const credentialFrom = (made: Made): Credential => ({ chain: [made.der], key: made.pair.privateKey });
/** Sealed with this certificate. */
const byServer = (exporter: Credential) => () =>
  bundleOf({ ...world, people: { ...world.people, exporter } }, leaves, 'ab', {}, 'exporter');
const afterwards = msg(6, 'log.tlog-proof');

export const BUNDLE_TRUST: readonly BundleRow[] = [
  { name: 'a server with another certificate', archive: renewed(second), exit: 0 },
  {
    name: 'of which there is no statement',
    archive: renewed(second, undefined, false),
    ...found('E_KEYBIND', afterwards, true, 12),
  },
  {
    name: 'or one for another key',
    archive: renewed(second, (s) => ({ ...s, log: rogueLog })),
    ...found('E_KEYBIND', 'log/01/key-02.stmt', false, 12),
  },
  {
    name: 'or one that begins too late',
    archive: renewed(second, (s) => ({ ...s, notBefore: BEGIN + 62_000 })),
    ...found('E_KEYBIND', afterwards, true, 12),
  },
  {
    name: 'or that certificate is for no server',
    archive: renewed(server(EKU.client)),
    ...found('E_CERT_USAGE', afterwards, true, 12),
  },
  {
    name: 'or for another one',
    archive: renewed(server(EKU.server, 'chat.example.com')),
    ...found('E_KEYBIND', 'log/01/key-02.stmt', false, 12),
  },

  { name: 'of another authority', archive: withBob({}, stranger).archive, ...inSig('E_CERT_CHAIN') },
  { name: 'by an intermediate', archive: below(middle), roots: [other.der], exit: 0 },
  { name: 'by an intermediate that is not there', archive: below(), roots: [other.der], ...inSig('E_CERT_CHAIN') },
  { name: 'expired before', archive: withBob({ until: BEGIN }).archive, ...inSig('E_CERT_EXPIRED') },
  {
    name: 'expired between two messages',
    archive: withBob({ until: BEGIN + 30_000 }).archive,
    ...inSig('E_CERT_EXPIRED', 7),
  },
  { name: 'expired later', archive: withBob({ until: BEGIN + 80_000 }).archive, exit: 0 },
  {
    name: 'expired today',
    archive: withBob({ until: BEGIN + 80_000 }).archive,
    at: BEGIN + 90_000,
    ...inSig('E_CERT_EXPIRED'),
  },
  { name: 'good on another day', archive: withBob({ until: BEGIN }).archive, at: BEGIN - 1000, exit: 0 },
  {
    name: 'revoked before',
    archive: fresh.archive,
    crls: [lists(root, [fresh.serial, BEGIN])],
    ...inSig('E_CERT_REVOKED'),
  },
  { name: 'revoked later', archive: fresh.archive, crls: [lists(root, [fresh.serial, BEGIN + 80_000])], exit: 0 },
  { name: 'a list in the bundle', archive: listed(lists(root)), exit: 0 },
  {
    name: 'a list in the bundle that revokes',
    archive: fresh.withList(lists(root, [fresh.serial, BEGIN])),
    ...inSig('E_CERT_REVOKED'),
  },
  {
    name: 'a list in the bundle that its CA did not make',
    archive: listed(lists({ ...stranger, subject: root.subject })),
    ...found('E_CRL', 'crl/01.pem', true, 12),
  },
  {
    name: 'a malformed list in the bundle',
    archive: withFiles((files) => files.set('crl/01.pem', Buffer.from('x'))),
    ...found('E_FORMAT', 'crl/01.pem'),
  },
  { name: 'exported by the server', archive: byServer(world.server), exit: 0 },
  {
    name: 'exported by a server of another host',
    archive: byServer(credentialFrom(server(EKU.server, 'chat.example.com'))),
    ...found('E_CERT_USAGE', SEAL, true, 12),
  },
  {
    name: 'exported by a server whose certificate had ended',
    archive: byServer(credentialFrom(make(root, { ...serverShape, until: BEGIN }))),
    ...found('E_CERT_EXPIRED', SEAL, true, 12),
  },
  {
    name: 'exported by a certificate for e-mail',
    archive: byServer(credentialFrom(server('1.3.6.1.5.5.7.3.4'))),
    ...found('E_CERT_USAGE', SEAL, true, 12),
  },
  {
    name: 'exported by a certificate that has expired',
    archive: sealed({ head: (head) => ({ ...head, created: BEGIN + 900 * DAY }) }),
    ...found('E_CERT_EXPIRED', SEAL, true, 12),
  },
];
const fork = (): Leaf[] => {
  const story = STORY.toSpliced(9, 1, { sender: 'bob', conversations: ['bc'], at: 63_000 });
  const other = compose(world, story);
  const from = leaves.findLastIndex((leaf) => leaf.type === 'sigb' && leaf.serverTime === BEGIN + 63_000);
  return [...leaves.slice(0, from), ...other.slice(from)];
};
const short = leaves.slice(
  0,
  leaves.findLastIndex((leaf) => leaf.type === 'sigb'),
);

/** The first batch with another time, as somebody has logged it. */
const delayed = (content: NonNullable<BundleAlterations['content']>) => () => {
  const later = leaves.map((leaf, i) => (i === 3 || i === 4 ? { ...leaf, serverTime: leaf.serverTime + 1 } : leaf));
  return bundleOf(world, later, 'ab', { content });
};

export const BUNDLE_KNOWN: readonly BundleRow[] = [
  { name: 'the last checkpoint', archive: () => plain, known: () => [noteAt(world, leaves)], exit: 0 },
  {
    name: 'one that a message is proven under',
    archive: () => plain,
    known: () => [noteAt(world, leaves, 10)],
    exit: 0,
  },
  {
    name: 'one of another size',
    archive: () => plain,
    known: () => [noteAt(world, leaves, 8)],
    exit: 0,
    code: 'W_UNLINKED',
    where: 'known 1',
  },
  {
    name: 'one of another history',
    archive: () => plain,
    known: () => [signCheckpoint({ ...headOf(world, []), size: 10, root: NO_HASH }, world.logKey)],
    ...found('E_FORK', 'known 1', true, 14),
  },
  {
    name: 'one that the log did not sign',
    archive: () => plain,
    known: () => [signCheckpoint(headOf(world, leaves.slice(0, 10).map(encodeLeaf)), rogueKey)],
    ...found('E_CKPT_SIG', 'known 1'),
  },
  {
    name: 'one of another log',
    archive: () => plain,
    known: () => [signCheckpoint({ ...headOf(world, []), origin: 'chat.example.com/log/n1' }, rogueKey)],
    ...found('E_CKPT_SIG', 'known 1'),
  },
  {
    name: 'two checkpoints of one size in one bundle',
    archive: withMessages((m) =>
      m.map((one, i) =>
        i === 2
          ? {
              ...one,
              proof: {
                ...one.proof,
                checkpoint: signCheckpoint({ ...headOf(world, []), size: 10, root: NO_HASH }, world.logKey),
              },
            }
          : one,
      ),
    ),
    ...found('E_FORK', msg(3, 'log.tlog-proof'), false, 14),
  },

  {
    name: 'the bundle of the other party',
    archive: () => plain,
    other: () => bundleOf(world, leaves, 'ab', {}, 'bob'),
    exit: 0,
  },
  {
    name: 'a bundle of less',
    archive: () => plain,
    other: () => bundleOf(world, short, 'ab', {}, 'bob'),
    exit: 0,
    code: 'W_MISSING',
    where: 'other',
  },
  {
    name: 'a bundle of more',
    archive: () => bundleOf(world, short, 'ab', {}, 'bob'),
    other: () => plain,
    exit: 0,
    code: 'W_MISSING',
    where: 'other',
  },
  {
    name: 'a bundle of another conversation',
    archive: () => plain,
    other: () => bundleOf(world, leaves, 'bc', {}, 'bob'),
    ...found('E_INPUT', 'other', true, 13),
  },
  {
    name: 'a bundle of a forked log',
    archive: () => plain,
    other: () => bundleOf(world, fork(), 'ab', {}, 'bob'),
    ...found('E_FORK', world.origin, false, 14),
  },
  {
    name: 'a sender who says different things',
    archive: () => plain,
    other: made(inBatch(0, 1, (ms) => ({ ...ms, clientTime: ms.clientTime - 1 }))),
    ...found('E_DOUBLE', msg(1), false, 14),
  },
  {
    name: 'and the server another thing at one place',
    archive: () => plain,
    other: made(inBatch(0, 1, (ms) => ({ ...ms, clientTime: ms.clientTime - 1 }))),
    ...found('E_FORK', msg(1), false, 14),
  },
  {
    name: 'another text that the sender did not sign is held against nobody',
    archive: () => plain,
    other: file(first.entry, (b) => flipped(b, 100)),
    exit: 0,
    code: 'W_MISSING',
    where: 'other',
  },
  {
    name: 'nor a log whose key nobody vouches for',
    archive: () => plain,
    other: withContent((content) => rogueContent(alice, content)),
    exit: 0,
  },
  {
    name: 'nor what such a log says twice',
    archive: rogueTwice,
    ...found('E_CONSISTENCY', msg(3, 'log.tlog-proof'), false),
  },
  {
    name: 'nor what such a log has at a place',
    archive: () => plain,
    other: delayed((content) => rogueContent(alice, content)),
    exit: 0,
  },
  {
    name: 'while the server is, for another entry at a place',
    archive: () => plain,
    other: delayed((content) => content),
    ...found('E_FORK', msg(1), false, 14),
  },
];
