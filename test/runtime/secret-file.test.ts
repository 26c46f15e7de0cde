import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t from 'tap';
import { readPasswordFile, readPasswords, readSecretFile, unsafeOwnership } from '../../runtime/secret-file.ts';

const text = (secret: { use<T>(use: (bytes: Buffer) => T): T }) => secret.use((bytes) => bytes.toString('latin1'));

t.test('who may own it and what others may do', async (t) => {
  const cases: readonly (readonly [
    mode: number,
    owner: number,
    self: number,
    isFile: boolean,
    fault: RegExp | null,
  ])[] = [
    [0o600, 1000, 1000, true, null],
    [0o400, 1000, 1000, true, null],
    [0o700, 1000, 1000, true, null],
    [0o600, 0, 1000, true, null],
    [0o440, 0, 1000, true, null],
    [0o640, 0, 1000, true, null],
    [0o600, 0, 0, true, null],
    [0o640, 0, 0, true, /mode 0640/],
    [0o640, 1000, 1000, true, /mode 0640/],
    [0o604, 1000, 1000, true, /mode 0604/],
    [0o644, 0, 1000, true, /mode 0644/],
    [0o660, 0, 1000, true, /mode 0660/],
    [0o602, 1000, 1000, true, /mode 0602/],
    [0o601, 1000, 1000, true, /mode 0601/],
    [0o600, 1001, 1000, true, /belongs to another user/],
    [0o600, 1001, 0, true, /belongs to another user/],
    [0o600, 1000, 1000, false, /not a regular file/],
  ];
  for (const [mode, owner, self, isFile, fault] of cases) {
    const found = unsafeOwnership({ isFile, mode: 0o100000 | mode, uid: owner }, self);
    const name = `${mode.toString(8)} of ${owner}, read by ${self}`;
    if (fault === null) t.equal(found, null, name);
    else t.match(found, fault, name);
  }
});

t.test('reading', async (t) => {
  const dir = t.testdir();
  const file = (name: string, content: string | Buffer, mode = 0o600) => {
    writeFileSync(join(dir, name), content);
    chmodSync(join(dir, name), mode);
    return join(dir, name);
  };
  t.equal(text(readSecretFile(file('key', 'k\n\n'), 'tls.key')), 'k\n\n', 'byte for byte');
  t.equal(text(readSecretFile(file('empty', ''), 'tls.key')), '');
  t.equal(text(readSecretFile(file('largest', 'x'.repeat(65_536)), 'tls.key')).length, 65_536);
  for (const [content, password] of [
    ['pw', 'pw'],
    ['pw\n', 'pw'],
    ['pw\r\n', 'pw'],
    ['pw\n\n', 'pw\n'],
    ['p w ', 'p w '],
    ['\n', ''],
    ['', ''],
    ['\r', '\r'],
  ] as const)
    t.equal(text(readPasswordFile(file('pw', content), 'db.password_file')), password, JSON.stringify(content));
  t.throws(() => readSecretFile(file('large', 'x'.repeat(65_537)), 'tls.key'), {
    code: 'CONFIG_INVALID',
    field: 'tls.key',
    message: /larger than 65536 bytes/,
  });
  t.throws(() => readSecretFile(file('open', 'x', 0o644), 'tls.key'), {
    code: 'UNSAFE_FILE',
    field: 'tls.key',
    message: /mode 0644/,
  });
  t.throws(() => readSecretFile(join(dir, 'none'), 'tls.key'), {
    code: 'CONFIG_INVALID',
    field: 'tls.key',
    message: /cannot read .* \(ENOENT\)/,
  });
  t.throws(() => readSecretFile(dir, 'tls.key'), {
    code: 'UNSAFE_FILE',
    field: 'tls.key',
    message: /not a regular file/,
  });
  execFileSync('mkfifo', ['-m', '600', join(dir, 'fifo')]);
  t.throws(
    () => readSecretFile(join(dir, 'fifo'), 'tls.key'),
    { code: 'UNSAFE_FILE', message: /not a regular file/ },
    'does not wait for a writer',
  );
});

t.test('passwords on standard input: one a line, prepared, and as many as are wanted', async (t) => {
  const read = async (content: string | Buffer, count: number): Promise<string[]> =>
    (await readPasswords(Readable.from([Buffer.from(content)]), count)).map((password) =>
      password.use((bytes) => bytes.toString()),
    );
  for (const end of ['', '\n', '\r\n']) t.strictSame(await read(`correct horse${end}`, 1), ['correct horse']);
  t.strictSame(await read('old\r\n new \n', 2), ['old', ' new ']);
  t.strictSame(await read('e\u0301\u00a0\n', 1), ['\u00e9 ']);
  for (const [content, count] of [
    ['', 1],
    ['\n', 1],
    ['one\ntwo\n', 1],
    ['one\n\n', 1],
    ['one\n', 2],
    ['one\n\n', 2],
    ['one\ntwo\nthree', 2],
    ['bell \u0007', 1],
    [Buffer.from([0xff, 0x0a]), 1],
  ] as const)
    await t.rejects(read(content, count), { code: 'USAGE', sub: 'password' }, JSON.stringify(content));
  await t.rejects(read('x'.repeat(4097), 1), { code: 'TOO_LARGE' });
});
