/** Rows of somebody who holds no key: files are changed after the fact. And of checkpoints that were kept elsewhere. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { encodeLeaf } from '../../transcript/leaf.ts';
import { formatNote, signNote, verifierKey } from '../../transcript/note.ts';
import { decodeBundle, encodeBundle, tilePath, TILE_WIDTH } from '../../transcript/tile.ts';
import { compose, headOf, noteAt, publicOf, seal, STORY, type World } from '../support/log-writer.ts';
import { altered, batch, files, flipped, leaves, relogged, resigned, without, world, type Row } from './tamper.ts';

const size = leaves.length;
const tail = size % TILE_WIDTH;
const path = {
  bundle0: tilePath({ level: 'entries', index: 0, width: TILE_WIDTH }),
  bundle1: tilePath({ level: 'entries', index: 1, width: TILE_WIDTH }),
  bundleTail: tilePath({ level: 'entries', index: 2, width: tail }),
  leaves0: tilePath({ level: 0, index: 0, width: TILE_WIDTH }),
  leavesTail: tilePath({ level: 0, index: 2, width: tail }),
  upper: tilePath({ level: 1, index: 0, width: 2 }),
};

const bundled = (bundle: string, width: number, change: (entries: Buffer[]) => void) =>
  altered(bundle, (bytes) => {
    const entries = decodeBundle(bytes, width);
    change(entries);
    return encodeBundle(entries);
  });
const checkpoint = (change: (text: string) => string) =>
  altered('checkpoint', (bytes) => Buffer.from(change(bytes.toString('utf8'))));
const otherDigit = (base64: string) => (base64 === 'A' ? 'B' : 'A');
const stranger = generateKeyPairSync('ed25519').privateKey;
/** A log under the name of the server's, by somebody who has no more than his own certificate. */
const nobodys: World = {
  ...world,
  logKey: stranger,
  log: verifierKey(world.origin, publicOf(stranger)),
  server: world.people['alice']!,
};
const signed = (text: string) => formatNote(text, [signNote(text, world.origin, world.logKey)]);
const head = headOf(world, leaves.map(encodeLeaf));
const noted = (note: Uint8Array) => altered('checkpoint', () => note);
/** The log as it was with `count` entries. */
const earlier = (count: number) => relogged((all) => all.slice(0, count));
/** A history of the same size, by the same people and the same server. */
const otherHistory = compose(world, STORY);
const instead = (name: string, put: (file: string) => void) => (dir: string) => {
  rmSync(join(dir, name));
  put(join(dir, name));
};

export const OUTSIDER: readonly Row[] = [
  { name: 'nothing is altered', files: () => files, exit: 0 },
  {
    name: 'a bit of an entry in a full bundle',
    files: () => bundled(path.bundle1, 256, (entries) => (entries[44] = flipped(entries[44]!, 150))),
    exit: 10,
    code: 'E_LEAF',
    where: 'entry 300',
  },
  {
    name: 'a bit of an entry, and all hash tiles made anew',
    files: () =>
      relogged(() => undefined, {
        entries: (entries) => entries.with(300, flipped(entries[300]!, 150)),
        note: () => files.get('checkpoint')!,
      }),
    exit: 10,
    code: 'E_ROOT',
    where: 'checkpoint',
  },
  {
    name: 'a bit of a hash',
    files: () => altered(path.leaves0, (bytes) => flipped(bytes, 32 * 17)),
    exit: 10,
    code: 'E_TILE',
    where: path.leaves0,
    isAlone: true,
  },
  {
    name: 'a bit of a hash of an upper level',
    files: () => altered(path.upper, (bytes) => flipped(bytes, 63, 7)),
    exit: 10,
    code: 'E_TILE',
    where: path.upper,
    isAlone: true,
  },
  {
    name: 'a bit of a hash and of its entry',
    files: () =>
      new Map([
        ...bundled(path.bundle0, 256, (entries) => (entries[7] = flipped(entries[7]!, 90))),
        ...[...altered(path.leaves0, (bytes) => flipped(bytes, 32 * 7))].filter(([name]) => name === path.leaves0),
      ]),
    exit: 10,
    code: 'E_LEAF',
    where: 'entry 7',
  },
  {
    name: 'an entry is dropped',
    files: () => bundled(path.bundle0, 256, (entries) => void entries.splice(20, 1)),
    exit: 10,
    code: 'E_ENTRIES',
    where: path.bundle0,
  },
  {
    name: 'an entry is dropped and the last one repeated',
    files: () =>
      bundled(path.bundle0, 256, (entries) => entries.push(...entries.splice(20, 1).slice(1), entries.at(-1)!)),
    exit: 10,
    code: 'E_LEAF',
    where: 'entry 20',
  },
  {
    name: 'two entries are swapped',
    files: () => bundled(path.bundle0, 256, (e) => ([e[7], e[8]] = [e[8]!, e[7]!])),
    exit: 10,
    code: 'E_LEAF',
    where: 'entry 7',
  },
  {
    name: 'an entry in two places',
    files: () => bundled(path.bundleTail, tail, (e) => (e[70] = e[69]!)),
    exit: 10,
    code: 'E_LEAF',
    where: 'entry 582',
  },
  {
    name: 'an entry too many',
    files: () => bundled(path.bundleTail, tail, (e) => e.push(e[0]!)),
    exit: 10,
    code: 'E_ENTRIES',
    where: path.bundleTail,
  },
  {
    name: 'the last entry is cut off',
    files: () => altered(path.bundleTail, (bytes) => bytes.subarray(0, -1)),
    exit: 10,
    code: 'E_ENTRIES',
    where: path.bundleTail,
  },
  {
    name: 'the last bundle is missing',
    files: () => without(path.bundleTail),
    exit: 10,
    code: 'E_TRUNCATED',
    where: path.bundleTail,
  },
  {
    name: 'the first bundle is missing',
    files: () => without(path.bundle0),
    exit: 10,
    code: 'E_TRUNCATED',
    where: path.bundle0,
  },
  {
    name: 'the last hash tile is shorter',
    files: () => altered(path.leavesTail, (bytes) => bytes.subarray(0, -32)),
    exit: 10,
    code: 'E_TILE',
    where: path.leavesTail,
    isAlone: true,
  },
  {
    name: 'a hash tile is missing',
    files: () => without(path.leaves0),
    exit: 10,
    code: 'E_TILE',
    where: path.leaves0,
    isAlone: true,
  },
  {
    name: 'an upper tile is missing',
    files: () => without(path.upper),
    exit: 10,
    code: 'E_TILE',
    where: path.upper,
    isAlone: true,
  },
  {
    name: 'root of the checkpoint',
    files: () => checkpoint((text) => text.replace(/^(.*\n\d+\n)(.)/, (_, before, c) => before + otherDigit(c))),
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'size of the checkpoint',
    files: () => checkpoint((text) => text.replace(`\n${size}\n`, `\n${size - 1}\n`)),
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'absurd size of an unsigned checkpoint',
    files: () => checkpoint((text) => text.replace(`\n${size}\n`, `\n${Number.MAX_SAFE_INTEGER}\n`)),
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'signature of the checkpoint',
    files: () => checkpoint((text) => text.replace(/(.)(.{8}\n)$/, (_, c, rest) => otherDigit(c) + rest)),
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'checkpoint signed by another key',
    files: () => noted(signCheckpoint(head, stranger)),
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'checkpoint signed by another key under the id of the right one',
    files: () => {
      const text = `${head.origin}\n${head.size}\n${Buffer.from(head.root).toString('base64')}\n`;
      return noted(formatNote(text, [{ ...signNote(text, world.origin, stranger), keyId: world.log.keyId }]));
    },
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'checkpoint of another log',
    files: () => noted(signCheckpoint({ ...head, origin: 'chat.example.org/log/n2' }, world.logKey)),
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'checkpoint that names another log, signed under the right name',
    files: () => noted(signed(`chat.example.org/log/n2\n${head.size}\n${Buffer.from(head.root).toString('base64')}\n`)),
    exit: 10,
    code: 'E_FORMAT',
    where: 'checkpoint',
  },
  {
    name: 'leading zero',
    files: () => noted(signed(`${head.origin}\n0${head.size}\n${Buffer.from(head.root).toString('base64')}\n`)),
    exit: 10,
    code: 'E_FORMAT',
    where: 'checkpoint',
  },
  {
    name: 'extension line, signed',
    files: () => noted(signed(`${head.origin}\n${head.size}\n${Buffer.from(head.root).toString('base64')}\nmore\n`)),
    exit: 10,
    code: 'E_FORMAT',
    where: 'checkpoint',
  },
  {
    name: 'extension line, not signed',
    files: () => checkpoint((text) => text.replace('\n\n', '\nmore\n\n')),
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'CRLF',
    files: () => checkpoint((text) => text.replaceAll('\n', '\r\n')),
    exit: 10,
    code: 'E_FORMAT',
    where: 'checkpoint',
  },
  { name: 'no text at all', files: () => checkpoint(() => ''), exit: 10, code: 'E_FORMAT', where: 'checkpoint' },
  {
    name: 'key.stmt of another key',
    files: () => {
      const other = { ...world, logKey: stranger, log: verifierKey(world.origin, publicOf(stranger)) };
      const theirs = seal(other, compose(other, []));
      return altered('key.stmt', () => theirs.get('key.stmt')!);
    },
    exit: 10,
    code: 'E_KEYBIND',
    where: 'entry 1',
  },
  {
    name: 'key.stmt with another line',
    files: () => altered('key.stmt', (bytes) => Buffer.from(bytes.toString().replace(/not-after \d/, 'not-after 9'))),
    exit: 10,
    code: 'E_LEAF',
    where: 'key.stmt',
    isAlone: true,
  },
  {
    name: 'key.stmt that is none',
    files: () => altered('key.stmt', () => Buffer.alloc(4096, 0x1b)),
    exit: 10,
    code: 'E_FORMAT',
    where: 'key.stmt',
  },
  {
    name: 'key.sig with another bit',
    files: () => altered('key.sig', (bytes) => flipped(bytes, 20)),
    exit: 10,
    code: 'E_LEAF',
    where: 'key.sig',
    isAlone: true,
  },
  { name: 'no checkpoint', files: () => without('checkpoint'), exit: 13, code: 'E_INPUT', where: 'checkpoint' },
  { name: 'no key.stmt', files: () => without('key.stmt'), exit: 13, code: 'E_INPUT', where: 'key.stmt' },
  { name: 'no key.sig', files: () => without('key.sig'), exit: 13, code: 'E_INPUT', where: 'key.sig' },
  {
    name: 'a checkpoint of two megabytes',
    files: () => altered('checkpoint', () => Buffer.alloc(2_000_000, 0x0a)),
    exit: 13,
    code: 'E_INPUT',
    where: 'checkpoint',
  },
  {
    name: 'a pipe in place of the checkpoint',
    files: () => files,
    prepare: instead('checkpoint', (file) => execFileSync('mkfifo', [file])),
    exit: 13,
    code: 'E_INPUT',
    where: 'checkpoint',
  },
  {
    name: 'a pipe in place of a bundle',
    files: () => files,
    prepare: instead(path.bundle1, (file) => execFileSync('mkfifo', [file])),
    exit: 10,
    code: 'E_ENTRIES',
    where: path.bundle1,
  },
  {
    name: 'a link in place of a bundle, to the right one',
    files: () => files,
    prepare: (dir) => {
      renameSync(join(dir, path.bundle1), join(dir, 'elsewhere'));
      symlinkSync(join(dir, 'elsewhere'), join(dir, path.bundle1));
    },
    exit: 10,
    code: 'E_ENTRIES',
    where: path.bundle1,
  },
  {
    name: 'a folder in place of a hash tile',
    files: () => files,
    prepare: instead(path.leaves0, (file) => mkdirSync(file)),
    exit: 10,
    code: 'E_TILE',
    where: path.leaves0,
  },
  {
    name: 'a bundle of a terabyte',
    files: () => files,
    prepare: instead(path.bundle1, (file) => {
      writeFileSync(file, '');
      truncateSync(file, 2 ** 40);
    }),
    exit: 10,
    code: 'E_ENTRIES',
    where: path.bundle1,
  },
  {
    name: 'a hash tile of a terabyte',
    files: () => files,
    prepare: instead(path.upper, (file) => {
      writeFileSync(file, '');
      truncateSync(file, 2 ** 40);
    }),
    exit: 10,
    code: 'E_TILE',
    where: path.upper,
  },
];

/** Checkpoints that somebody kept, and what they show of a server that holds its key. */
export const KNOWN: readonly Row[] = [
  { name: 'of the same size', files: () => files, known: () => [noteAt(world, leaves)], exit: 0 },
  {
    name: 'of many earlier sizes, also within a batch and at the end of a bundle',
    files: () => files,
    known: () => [1, 2, 100, 256, 257, 511, 512, 583].map((count) => noteAt(world, leaves, count)),
    exit: 0,
  },
  { name: 'of size 0', files: () => files, known: () => [noteAt(world, leaves, 0)], exit: 0 },
  {
    name: 'LIMIT: an older genuine state, and nobody kept a checkpoint',
    files: () => earlier(batch(10)),
    exit: 0,
  },
  {
    name: 'an older genuine state, and somebody kept a checkpoint',
    files: () => earlier(batch(10)),
    known: () => [noteAt(world, leaves)],
    exit: 14,
    code: 'E_ROLLBACK',
    where: 'known 1',
    isAlone: true,
  },
  {
    name: 'fork of the same size',
    files: () => files,
    known: () => [noteAt(world, otherHistory)],
    exit: 14,
    code: 'E_FORK',
    where: 'known 1',
    isAlone: true,
  },
  {
    name: 'fork of the same size, and the entries are damaged as well: two signed notes are proof enough',
    files: () => altered(path.bundle0, (bytes) => flipped(bytes, 3000)),
    known: () => [noteAt(world, otherHistory)],
    exit: 14,
    code: 'E_FORK',
    where: 'known 1',
  },
  {
    name: 'history rewritten: a fork at a smaller size',
    files: () => seal(world, otherHistory),
    known: () => [noteAt(world, leaves, 1), noteAt(world, leaves, 300)],
    exit: 14,
    code: 'E_FORK',
    where: 'known 2',
    isAlone: true,
  },
  {
    name: 'entries altered by somebody else do not make a fork of it',
    files: () => bundled(path.bundle0, 256, (entries) => (entries[7] = flipped(entries[7]!, 90))),
    known: () => [noteAt(world, leaves, 100)],
    exit: 10,
    code: 'E_CONSISTENCY',
    where: 'known 1',
  },
  {
    name: 'a checkpoint that claims less does not make a rollback of it',
    files: () => checkpoint((text) => text.replace(`\n${size}\n`, '\n300\n')),
    known: () => [noteAt(world, leaves)],
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'checkpoint',
  },
  {
    name: 'of another key',
    files: () => files,
    known: () => [signCheckpoint(head, stranger)],
    exit: 10,
    code: 'E_CKPT_SIG',
    where: 'known 1',
    isAlone: true,
  },
  {
    name: 'that is none',
    files: () => files,
    known: () => [Buffer.from('hello')],
    exit: 10,
    code: 'E_FORMAT',
    where: 'known 1',
    isAlone: true,
  },
  {
    name: 'a log of size 0, signed',
    files: () =>
      relogged(() => [], { files: (all) => ['key.stmt', 'key.sig'].forEach((f) => all.set(f, files.get(f)!)) }),
    exit: 12,
    code: 'E_KEYBIND',
    where: 'key.stmt',
  },
  {
    name: 'a log of size 0, and somebody kept a checkpoint',
    files: () =>
      relogged(() => [], { files: (all) => ['key.stmt', 'key.sig'].forEach((f) => all.set(f, files.get(f)!)) }),
    known: () => [noteAt(world, leaves, 10)],
    exit: 10, // nobody vouches for its key any more
    code: 'E_CONSISTENCY',
    where: 'known 1',
  },
  {
    name: 'another history of a log that somebody has made himself',
    files: () => seal(nobodys, compose(nobodys)),
    known: () => [signCheckpoint({ ...head, size: 9 }, stranger)],
    exit: 10,
    code: 'E_CONSISTENCY',
    where: 'known 1',
  },
  {
    name: 'or a larger one',
    files: () => seal(nobodys, compose(nobodys)),
    known: () => [signCheckpoint({ ...head, size: 9999 }, stranger)],
    exit: 10,
    code: 'E_CONSISTENCY',
    where: 'known 1',
  },
  {
    name: 'a log without a message proves nothing',
    files: () => seal(world, compose(world, [])),
    exit: 11,
    code: 'W_EMPTY',
    where: 'log',
  },
  {
    name: 'a size that the server signed and has no entries for',
    files: () => relogged(() => undefined, { checkpoint: (honest) => ({ ...honest, size: Number.MAX_SAFE_INTEGER }) }),
    exit: 10,
    code: 'E_TRUNCATED',
    where: tilePath({ level: 'entries', index: 2, width: TILE_WIDTH }),
  },
  {
    name: 'LIMIT: every trace of one sender is removed, and nobody kept a checkpoint',
    files: () =>
      resigned(
        {},
        STORY.filter((step) => !('sender' in step) || step.sender !== 'carol'),
      ),
    exit: 0,
  },
];
