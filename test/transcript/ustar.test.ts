/** Archives: what `tar` reads and writes, however they are cut, and each way not to be canonical. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { ARCHIVE_END, archived, MAX_NAME_CHARS, UstarReader } from '../../transcript/ustar.ts';

const FILES: readonly (readonly [string, Buffer])[] = [
  ['BUNDLE', Buffer.from('hello\n')],
  ['a/b', Buffer.alloc(0)],
  ['a/c.d-e_f', Buffer.alloc(512, 7)],
  ['a/z', Buffer.alloc(513, 9)],
];
const archive = Buffer.concat([...FILES.map(([name, bytes]) => archived(name, bytes)), ARCHIVE_END]);

/** Cut into pieces of so many bytes. */
function read(bytes: Uint8Array, step = bytes.length, limit = 1000) {
  const reader = new UstarReader(() => limit);
  const files: [string, Buffer, readonly string[]][] = [];
  for (let at = 0; at < bytes.length; at += step)
    for (const { name, bytes: content, faults } of reader.push(bytes.subarray(at, at + step)))
      files.push([name, Buffer.from(content), faults]);
  reader.end();
  return { files, fault: reader.fault };
}
const altered = (offset: number, bytes: Uint8Array): Buffer => {
  const copy = Buffer.from(archive);
  copy.set(bytes, offset);
  return copy;
};
/** One header with a field of its own and a checksum that fits. */
function forged(name: string, offset: number, field: string): Buffer {
  const block = archived('x', Buffer.alloc(0));
  block.fill(0, 0, MAX_NAME_CHARS).write(name, 'latin1');
  block.write(field, offset, 'latin1');
  block.write(' '.repeat(8), 148, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([block, ARCHIVE_END]);
}

t.test('however it is cut', async (t) => {
  const whole = read(archive);
  t.same(whole, { files: FILES.map(([name, bytes]) => [name, bytes, []]), fault: null });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1500 }), (step) => {
      t.same(read(archive, step), whole, `in pieces of ${step}`);
    }),
    { seed: 1, numRuns: 40 },
  );
});

t.test('tar makes and reads the same bytes', async (t) => {
  const dir = t.testdir({ in: { a: {} }, out: {} });
  for (const [name, bytes] of FILES) writeFileSync(join(dir, 'in', name), bytes);
  const names = FILES.map(([name]) => name);
  const canonical = ['--format=ustar', '--owner=0', '--group=0', '--numeric-owner', '--mtime=@0', '--mode=0644'];
  const made = execFileSync('tar', [...canonical, '-C', join(dir, 'in'), '-cf', '-', ...names]);
  t.ok(made.subarray(0, archive.length).equals(archive), 'up to the zeros that tar fills its last record with');
  t.equal(read(made).fault, 'goes on behind its end', 'which are not ours');
  mkdirSync(join(dir, 'out'), { recursive: true });
  execFileSync('tar', ['-C', join(dir, 'out'), '-xf', '-'], { input: archive });
  for (const [name, bytes] of FILES) t.ok(readFileSync(join(dir, 'out', name)).equals(bytes), name);
});

t.test('faults of one file are told, and the rest is read', async (t) => {
  const second = archived('BUNDLE', FILES[0]![1]).length;
  const header = 'has another header than name and size make';
  for (const [what, bytes, at, faults] of [
    ['mode', altered(100, Buffer.from('0000755')), 0, [header]],
    ['time', altered(136, Buffer.from('00000000001')), 0, [header]],
    ['kind of file', altered(156, Buffer.from('2')), 0, [header]],
    ['user name', altered(265, Buffer.from('root')), 0, [header]],
    ['checksum', altered(150, Buffer.from('1')), 0, [header]],
    ['unused end of the header', altered(511, Buffer.of(1)), 0, [header]],
    ['padding', altered(second - 1, Buffer.of(1)), 0, ['is not followed by zeros']],
    ['name', altered(0, Buffer.from('/')), 0, ['is no name for a file']],
  ] as const) {
    const { files, fault } = read(bytes);
    t.same([files[at]![2], files.length, fault], [faults, FILES.length, null], what);
  }
  const [first, next] = FILES.map(([name, bytes]) => archived(name, bytes));
  const behind = 'stands behind a name that comes later, or is there twice';
  t.same(read(Buffer.concat([next!, first!, ARCHIVE_END])).files[1]![2], [behind]);
  t.same(read(Buffer.concat([first!, first!, ARCHIVE_END])).files[1]![2], [behind]);
  for (const name of ['../up', '/root', 'a//b', 'a/', '.', 'a/../b', '-rf', 'a b', 'a\n', 'é', ''])
    t.match(read(forged(name, 300, '')).files[0]![2], ['is no name for a file'], JSON.stringify(name));
  t.same(read(forged('x', 300, '')).files, [['x', Buffer.alloc(0), []]], 'while this one is fine');
});

t.test('what ends the reading', async (t) => {
  const start = archive.subarray(0, 512);
  for (const [what, bytes, fault] of [
    ['nothing', Buffer.alloc(0), 'has no end: want two empty blocks'],
    ['one empty block', archive.subarray(0, -512), 'has no end: want two empty blocks'],
    ['no empty block', archive.subarray(0, -1024), 'has no end: want two empty blocks'],
    ['half a header', archive.subarray(0, 100), 'ends in the middle of a file'],
    ['half a file', archive.subarray(0, 600), 'ends in the middle of a file'],
    ['a third empty block', Buffer.concat([archive, Buffer.alloc(512)]), 'goes on behind its end'],
    ['a byte more', Buffer.concat([archive, Buffer.of(0)]), 'ends in the middle of a file'],
    ['a file behind the end', Buffer.concat([archive, start]), 'goes on behind its end'],
    ['text', Buffer.alloc(1024, 0x41), 'has a header without a size'],
    ['a size in another base', altered(124, Buffer.from('9')), 'has a header without a size'],
    ['a size in base 256', altered(124, Buffer.of(0x80)), 'has a header without a size'],
    ['a size that does not end', altered(135, Buffer.from(' ')), 'has a header without a size'],
  ] as const)
    t.equal(read(bytes).fault, fault, what);
  t.equal(read(archive, 512, 512).fault, 'has a file of 513 bytes: a/z', 'a file above its limit');
  t.equal(read(archive, 512, 512).files.length, 3, 'and what was before it');
});

t.test('what is not archived', async (t) => {
  t.throws(() => archived('../up', Buffer.alloc(0)), RangeError);
  t.throws(() => archived('a'.repeat(101), Buffer.alloc(0)), RangeError);
  t.equal(archived('a'.repeat(100), Buffer.alloc(0)).length, 512);
});
