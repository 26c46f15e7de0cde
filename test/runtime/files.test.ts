import { spawnSync } from 'node:child_process';
import { scrypt } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  readdirSync,
  readFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { ensurePrivateDirectory, ensureSecretFile, FileWatch, readTrustFile } from '../../runtime/files.ts';

const mode = (path: string) => statSync(path).mode & 0o777;

t.test('a file that decides who is let in', (t) => {
  const dir = t.testdir({
    good: 'certificate',
    big: 'x'.repeat(101),
    open: 'x',
    link: t.fixture('symlink', 'good'),
    empty: '',
  });
  const at = (name: string) => join(dir, name);
  t.equal(readTrustFile(at('good'), 'tls.ca', 100).toString(), 'certificate');
  t.equal(readTrustFile(at('link'), 'tls.ca', 100).toString(), 'certificate', 'a link is only a way to it');
  t.equal(readTrustFile(at('empty'), 'tls.ca', 100).length, 0);
  t.equal(readTrustFile(at('big'), 'tls.ca', 101).length, 101, 'exactly the most');
  t.throws(() => readTrustFile(at('big'), 'tls.ca', 100), { code: 'CONFIG_INVALID', field: 'tls.ca' });
  t.throws(() => readTrustFile(at('none'), 'tls.ca', 100), {
    code: 'CONFIG_INVALID',
    field: 'tls.ca',
    message: /ENOENT/,
  });
  t.throws(() => readTrustFile(dir, 'tls.ca', 100), { code: 'CONFIG_INVALID', message: /not a regular file/ });
  chmodSync(at('open'), 0o646);
  t.throws(() => readTrustFile(at('open'), 'tls.crl', 100), { code: 'UNSAFE_FILE', field: 'tls.crl' });
  spawnSync('mkfifo', [at('fifo')]);
  t.throws(() => readTrustFile(at('fifo'), 'tls.ca', 100), { code: 'CONFIG_INVALID' }, 'nobody waits for its writer');
  t.end();
});

t.test('a secret is made once, for its owner alone', (t) => {
  const dir = t.testdir();
  const path = join(dir, 'key');
  let made = 0;
  const make = () => Buffer.from(`secret ${++made}`);
  const old = process.umask(0);
  const first = ensureSecretFile(path, 'state_dir', make);
  process.umask(old);
  t.equal(first.use(String), 'secret 1');
  t.equal(mode(path), 0o600, 'whatever the umask');
  t.equal(ensureSecretFile(path, 'state_dir', make).use(String), 'secret 1');
  t.equal(made, 1);
  t.same(readdirSync(dir), ['key'], 'nothing temporary is left');
  const raced = join(dir, 'raced');
  const late = ensureSecretFile(raced, 'state_dir', () => {
    writeFileSync(raced, 'the other process', { mode: 0o600 });
    return Buffer.from('mine');
  });
  t.equal(late.use(String), 'the other process', 'who was first wins');
  t.equal(readFileSync(raced, 'utf8'), 'the other process');
  chmodSync(path, 0o644);
  t.throws(() => ensureSecretFile(path, 'state_dir', make), { code: 'UNSAFE_FILE', field: 'state_dir' });
  t.throws(() => ensureSecretFile(join(dir, 'no', 'folder'), 'state_dir', make), {
    code: 'CONFIG_INVALID',
    field: 'state_dir',
  });
  symlinkSync(join(dir, 'nowhere'), join(dir, 'dangling'));
  t.throws(() => ensureSecretFile(join(dir, 'dangling'), 'state_dir', make), {
    code: 'CONFIG_INVALID',
    field: 'state_dir',
  });
  t.end();
});

t.test('a private folder', (t) => {
  const dir = t.testdir();
  const path = join(dir, 'a', 'b');
  ensurePrivateDirectory(path, 'state_dir');
  t.equal(mode(path), 0o700);
  ensurePrivateDirectory(path, 'state_dir');
  chmodSync(path, 0o750);
  t.throws(() => ensurePrivateDirectory(path, 'state_dir'), { code: 'UNSAFE_FILE', field: 'state_dir' });
  writeFileSync(join(dir, 'file'), '');
  t.throws(() => ensurePrivateDirectory(join(dir, 'file'), 'state_dir'), {
    code: 'CONFIG_INVALID',
    field: 'state_dir',
  });
  t.end();
});

t.test(
  'a folder that cannot be made ends in an error',
  { skip: existsSync('/proc/self') ? false : 'no /proc' },
  (t) => {
    const files = new URL('../../runtime/files.ts', import.meta.url).href;
    const script = `import { makeFolder } from '${files}';
    try { makeFolder(process.argv[1]); } catch ({ code }) { console.log(code); }`;
    const made = (path: string) =>
      spawnSync(process.execPath, ['--input-type=module', '-e', script, path], { encoding: 'utf8', timeout: 30_000 });
    for (const path of ['/proc/none', '/proc/none/below/that'])
      t.match(made(path), { status: 0, stdout: 'ENOENT\n', signal: null }, path);
    const dir = t.testdir({ file: '', there: {}, nowhere: t.fixture('symlink', 'none') });
    t.equal(made(join(dir, 'file')).stdout, 'EEXIST\n');
    t.equal(made(join(dir, 'file', 'below')).stdout, 'ENOTDIR\n');
    t.equal(made(join(dir, 'nowhere')).stdout, 'EEXIST\n');
    for (const path of ['there', 'there/a/b/', 'there/a/../c/d']) {
      t.match(made(join(dir, 'there')), { status: 0, stdout: '' });
      t.match(made(`${dir}/${path}`), { status: 0, stdout: '' });
      t.ok(statSync(join(dir, path)).isDirectory(), path);
    }
    t.strictSame(
      ['there/a', 'there/a/b', 'there/c/d'].map((path) => mode(join(dir, path))),
      [0o700, 0o700, 0o700],
    );
    t.end();
  },
);

t.test('changes of files are seen', async (t) => {
  const dir = t.testdir({ one: 'a', two: 'b' });
  const at = (name: string) => join(dir, name);
  let changes = 0;
  const watch = new FileWatch([at('one'), at('two'), at('three')], () => changes++, 1e9);
  t.teardown(() => watch.close());
  const steps: readonly [string, () => void][] = [
    ['written', () => writeFileSync(at('one'), 'cc')], // within the same tick of the clock of some file systems
    ['replaced', () => (writeFileSync(at('new'), 'd'), renameSync(at('new'), at('two')))],
    ['touched', () => utimesSync(at('one'), 1, 1)],
    ['made', () => writeFileSync(at('three'), '')],
    ['closed to us', () => chmodSync(at('three'), 0)],
    ['removed', () => rmSync(at('three'))],
    ['a folder in its place', () => mkdirSync(at('three'))],
  ];
  await watch.poll();
  t.equal(changes, 0);
  for (const [name, change] of steps) {
    changes = 0;
    change();
    await watch.poll();
    await watch.poll();
    t.equal(changes, 1, name);
  }
});

t.test('what changes as soon as they are watched is seen, however long the first look would take', async (t) => {
  const path = join(t.testdir({ one: 'a' }), 'one');
  const busy = Array.from({ length: 16 }, () => promisify(scrypt)('x', 'y', 32)); // no thread is left to look
  let changes = 0;
  const watch = new FileWatch([path], () => changes++, 1e9);
  t.teardown(() => watch.close());
  writeFileSync(path, 'bb');
  await Promise.all(busy);
  await watch.poll();
  t.equal(changes, 1);
});
