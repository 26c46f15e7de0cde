/** Rows of revocation lists that the server has logged: in the archive beside a log, and in bundles with their entries. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { concat, hex, type Hash } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import type { BundleCrl } from '../../transcript/bundle-writer.ts';
import { encodeLeaf, type CrlLeaf, type Leaf } from '../../transcript/leaf.ts';
import { leafHash, nodesOver, Tree } from '../../transcript/merkle.ts';
import { MAX_CRL_BYTES, parseCrl } from '../../x509/crl.ts';
import { bundleOf, type BundleAlterations } from '../support/bundle-writer.ts';
import { compose, noteAt, pemOf, seal, STORY, type World } from '../support/log-writer.ts';
import { authority, clientExtensions, DAY, ec, list, make, named, type Made } from '../x509/maker.ts';
import type { BundleRow } from './bundle-edits.ts';
import { ca, caKey, flipped, world, type Row } from './tamper.ts';

const BEGIN = world.begin;
const root: Made = {
  der: Buffer.from(ca.der),
  pair: { publicKey: ca.publicKey, privateKey: caKey },
  subject: Buffer.from(ca.subject.der),
  serial: 0,
};
const made = make(root, {
  from: BEGIN - DAY,
  until: BEGIN + 30 * DAY,
  pair: ec(),
  subject: named('bob'),
  extensions: clientExtensions('bob'),
});
/** The story with a certificate of bob's that a list can name. */
const people: World = {
  ...world,
  people: { ...world.people, bob: { chain: [made.der], key: made.pair.privateKey } },
};
const AT = 2000;
const entryOf = (der: Uint8Array, serverTime: number): CrlLeaf => {
  const { thisUpdate, nextUpdate } = parseCrl(der);
  return { type: 'crl', serverTime, digest: sha256(der) as Uint8Array as Hash, thisUpdate, nextUpdate };
};
/** The log of a server that knew these lists from its second batch on. */
const logOf = (ders: readonly Uint8Array[], alter: (leaf: CrlLeaf) => CrlLeaf = (leaf) => leaf): Leaf[] =>
  compose(people, [
    ...STORY.slice(0, 3),
    ...ders.map((der) => ({ leaf: (serverTime: number) => alter(entryOf(der, serverTime)), at: AT })),
    ...STORY.slice(3),
  ]);
const lists = (revokedAt: number | null, until = BEGIN + DAY, by: Made = root) =>
  list(by, { from: BEGIN - DAY, until, revoked: revokedAt === null ? [] : [[made.serial, revokedAt]] });

const empty = lists(null);
/** Bob's certificate has expired, and those of the others have not. */
const late = list(root, { from: BEGIN + 31 * DAY, until: BEGIN + 60 * DAY });
const nameOf = (der: Uint8Array) => `crl/${hex(sha256(der))}.crl`;
const archived = (leaves: readonly Leaf[], ...ders: readonly Uint8Array[]) => {
  const files = new Map<string, Uint8Array>(seal(people, leaves));
  for (const der of ders) files.set(nameOf(der), der);
  return files;
};
const kept = (...ders: readonly Uint8Array[]) => archived(logOf(ders), ...ders);
const INDEX = logOf([empty]).findIndex((leaf) => leaf.type === 'crl');
const ENTRY = `entry ${INDEX}`;
const second = `entry ${logOf([empty]).findIndex((leaf) => leaf.type === 'sigb' && leaf.serverTime === BEGIN + 1000)}`;
const afterwards = `entry ${logOf([empty]).findIndex((leaf) => leaf.type === 'sigb' && leaf.serverTime > BEGIN + 62_500)}`;
const instead = (make: (file: string, aside: string) => void) => (dir: string) => {
  const file = join(dir, nameOf(empty));
  renameSync(file, join(dir, 'aside'));
  make(file, join(dir, 'aside'));
};
const bad = (code: NonNullable<Row['code']>, where: string, exit = 10) => ({ exit, code, where, isAlone: true });
const stranger: Made = { ...authority('Strangers', { from: BEGIN - DAY, until: BEGIN + DAY }), subject: root.subject };

/** A name that no list of so many zeros has. */
const large = (digit: string) => `crl/${digit.repeat(64)}.crl`;
const forged = lists(null, BEGIN + DAY, stranger);

export const ARCHIVE: readonly Row[] = [
  { name: 'a list that is in the archive', files: () => kept(empty), exit: 0 },
  { name: 'a list that was logged twice', files: () => archived(logOf([empty, empty]), empty), exit: 0 },
  {
    name: 'a list that is in the archive, and not in the log yet',
    files: () => archived(logOf([]), empty),
    exit: 0,
  },
  {
    name: 'revoked before, says a list of the archive',
    files: () => kept(empty, lists(BEGIN)),
    ...bad('E_CERT_REVOKED', second, 12),
  },
  {
    name: 'revoked between two batches, says a list that was logged before both',
    files: () => kept(lists(BEGIN + 63_000)),
    ...bad('E_CERT_REVOKED', afterwards, 12),
  },
  { name: 'revoked later, says a list of the archive', files: () => kept(lists(BEGIN + 95_000)), exit: 0 },
  {
    name: 'a list that is not in the archive',
    files: () => archived(logOf([empty])),
    ...bad('W_CRL_MISSING', ENTRY, 0),
  },
  {
    name: 'a bit of a list',
    files: () => archived(logOf([empty])).set(nameOf(empty), flipped(empty, 40)),
    exit: 10,
    code: 'E_FORMAT',
    where: nameOf(empty),
  },
  {
    name: 'what is no list',
    files: () => archived(logOf([]), Buffer.from('hello')),
    ...bad('E_FORMAT', nameOf(Buffer.from('hello'))),
  },
  {
    name: 'a folder in place of a list',
    files: () => kept(empty),
    prepare: instead((file) => mkdirSync(file)),
    exit: 10,
    code: 'E_FORMAT',
    where: nameOf(empty),
  },
  {
    name: 'a pipe in place of a list',
    files: () => kept(empty),
    prepare: instead((file) => execFileSync('mkfifo', [file])),
    exit: 10,
    code: 'E_FORMAT',
    where: nameOf(empty),
  },
  {
    name: 'a link in place of a list',
    files: () => kept(empty),
    prepare: instead((file, aside) => symlinkSync(aside, file)),
    exit: 10,
    code: 'E_FORMAT',
    where: nameOf(empty),
  },
  {
    name: 'a file in place of the archive',
    files: () => archived(logOf([])).set('crl', Buffer.from('x')),
    exit: 0,
  },
  {
    name: 'no archive, which is that no list was logged',
    files: () => kept(empty),
    prepare: (dir) => rmSync(join(dir, 'crl'), { recursive: true }),
    ...bad('W_CRL_MISSING', ENTRY, 0),
  },
  {
    name: 'more in the archive than is read',
    files: () => archived(logOf([])),
    prepare: (dir) => {
      mkdirSync(join(dir, 'crl'));
      for (const digit of '12345') writeFileSync(join(dir, large(digit)), '');
      for (const digit of '1234') truncateSync(join(dir, large(digit)), MAX_CRL_BYTES);
    },
    exit: 10,
    code: 'W_CRL_MISSING',
    where: large('5'),
  },
  {
    name: 'an entry that says another time of the list',
    files: () =>
      archived(
        logOf([empty], (leaf) => ({ ...leaf, thisUpdate: leaf.thisUpdate - 1 })),
        empty,
      ),
    ...bad('E_LEAF', ENTRY),
  },
  {
    name: 'an entry that says another end of the list',
    files: () =>
      archived(
        logOf([empty], (leaf) => ({ ...leaf, nextUpdate: 0 })),
        empty,
      ),
    ...bad('E_LEAF', ENTRY),
  },
  {
    name: 'a list of the archive that its CA did not make',
    files: () => kept(forged),
    ...bad('E_CRL', nameOf(forged), 12),
  },
  {
    name: 'lists that have all ended before a message',
    files: () => kept(lists(null, BEGIN + 500), lists(null, BEGIN + 62_000)),
    ...bad(
      'W_CRL_OLD',
      `entry ${logOf([empty, empty]).findIndex((l) => l.type === 'sigb' && l.serverTime > BEGIN + 62_000)}`,
      0,
    ),
  },
  {
    name: 'lists of the command line that have all ended',
    files: () => archived(logOf([])),
    crls: [lists(null, BEGIN - 1000)],
    ...bad('W_CRL_OLD', 'entry 1', 0),
  },
  {
    name: 'one of which has not',
    files: () => archived(logOf([])),
    crls: [lists(null, BEGIN - 1000), lists(null, BEGIN + DAY), lists(null, BEGIN - 2000)],
    exit: 0,
  },
  {
    name: 'a list from when the certificate had expired, which need not name it any more',
    files: () => archived(logOf([])),
    crls: [late],
    ...bad('W_CRL_LATE', second, 0),
  },
  {
    name: 'beside one from before',
    files: () => archived(logOf([])),
    crls: [late, empty],
    exit: 0,
  },
  {
    name: 'beside one from before that has ended meanwhile',
    files: () => archived(logOf([])),
    crls: [late, lists(null, BEGIN + 62_000)],
    ...bad(
      'W_CRL_LATE',
      `entry ${logOf([]).findIndex((leaf) => leaf.type === 'sigb' && leaf.serverTime > BEGIN + 62_000)}`,
      0,
    ),
  },
];

const bundledIn = (leaves: readonly Leaf[], der: Uint8Array): BundleCrl => {
  const index = leaves.findIndex((leaf) => leaf.type === 'crl' && Buffer.from(leaf.digest).equals(sha256(der)));
  const entries = leaves.map(encodeLeaf);
  const path = new Tree(leaves.length, nodesOver(entries.map(leafHash))).inclusion(index);
  return { der, logged: { entry: entries[index]!, proof: { index, path, checkpoint: noteAt(people, leaves) } } };
};
const bundled =
  (der: Uint8Array, alter: BundleAlterations = {}, change?: (leaf: CrlLeaf) => CrlLeaf) =>
  () => {
    const leaves = logOf([der], change);
    const crls = [bundledIn(leaves, der)];
    return bundleOf(people, leaves, 'ab', { content: (content) => ({ ...content, crls }), ...alter });
  };
const withFiles = (change: (files: Map<string, Buffer>) => void) => bundled(empty, { files: change });
const file = (path: string, change: (bytes: Buffer) => Buffer) =>
  withFiles((files) => files.set(path, change(files.get(path)!)));
const text = (change: (text: string) => string) => (bytes: Buffer) => Buffer.from(change(bytes.toString()));
const [LIST, PLACE, PROOF] = ['crl/01.pem', 'crl/01.entry', 'crl/01.tlog-proof'];
const inSig = (number: number) => `msg/${String(number).padStart(6, '0')}/batch.sig`;

export const BUNDLE_CRLS: readonly BundleRow[] = [
  { name: 'a list with its entry', archive: bundled(empty), exit: 0 },
  {
    name: 'revoked before, says a list of the log',
    archive: bundled(lists(BEGIN)),
    ...bad('E_CERT_REVOKED', inSig(2), 12),
  },
  { name: 'revoked later, says a list of the log', archive: bundled(lists(BEGIN + 80_000)), exit: 0 },
  {
    name: 'an entry without its list',
    archive: withFiles((files) => files.delete(LIST)),
    ...bad('W_CRL_MISSING', PLACE, 0),
  },
  { name: 'an entry without its place', archive: withFiles((files) => files.delete(PROOF)), ...bad('E_FORMAT', PROOF) },
  { name: 'a place without an entry', archive: withFiles((files) => files.delete(PLACE)), ...bad('E_FORMAT', PLACE) },
  { name: 'another time of the server', archive: file(PLACE, (b) => flipped(b, 11)), ...bad('E_INCLUSION', PROOF) },
  {
    name: 'another index',
    archive: file(
      PROOF,
      text((t) => t.replace(`index ${INDEX}`, `index ${INDEX + 1}`)),
    ),
    ...bad('E_INCLUSION', PROOF),
  },
  {
    name: 'a place in a log that nobody knows',
    archive: file(
      PROOF,
      text((t) => t.replace('example.org', 'example.com')),
    ),
    ...bad('E_KEYBIND', PROOF, 12),
  },
  {
    name: 'a place under a checkpoint that the log did not sign',
    archive: file(
      PROOF,
      text((t) => t.replace(`\n${logOf([empty]).length}\n`, `\n${logOf([empty]).length - 1}\n`)),
    ),
    ...bad('E_CKPT_SIG', PROOF),
  },
  {
    name: 'an entry of a time at which nobody vouches for the log',
    archive: () => {
      const leaves = compose(
        people,
        [
          { leaf: (serverTime: number) => entryOf(empty, serverTime), at: 0 },
          ...STORY.map((step) => ({ ...step, at: step.at + 1000 })),
        ],
        { keyStatement: (statement) => ({ ...statement, notBefore: BEGIN + 500 }) },
      );
      const crls = [bundledIn(leaves, empty)];
      return bundleOf(people, leaves, 'ab', { content: (content) => ({ ...content, crls }) });
    },
    ...bad('E_KEYBIND', PROOF, 12),
  },
  {
    name: 'another list than that of the entry',
    archive: withFiles((files) => files.set(LIST, Buffer.from(pemOf(lists(BEGIN + 80_000), 'X509 CRL')))),
    ...bad('E_LEAF', PLACE),
  },
  {
    name: 'an entry that says other times than the list',
    archive: bundled(empty, {}, (leaf) => ({ ...leaf, nextUpdate: leaf.nextUpdate + 1 })),
    ...bad('E_LEAF', PLACE),
  },
  {
    name: 'the entry of something else',
    archive: file(PLACE, () => encodeLeaf({ type: 'time', serverTime: BEGIN, stamp: Buffer.alloc(0) })),
    exit: 10,
    code: 'E_FORMAT',
    where: PLACE,
  },
  {
    name: 'a place that is none',
    archive: file(PROOF, (b) => b.subarray(1)),
    exit: 10,
    code: 'E_FORMAT',
    where: PROOF,
  },
  { name: 'two lists in one file', archive: file(LIST, (b) => concat(b, b)), ...bad('E_FORMAT', LIST) },
  {
    name: 'a list that has ended before a message',
    archive: bundled(lists(null, BEGIN + 500)),
    ...bad('W_CRL_OLD', 'SHA256SUMS.sig', 0),
  },
];
