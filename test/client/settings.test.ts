/** Flags before environment before file before what was remembered; every fault is named; nothing unsafe is read. */
import { mkdirSync, writeFileSync, readFileSync, chmodSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseAddress, remember, resolveSettings, formatAddress } from '../../client/settings.ts';

function home(t: Test, config?: string): { env: NodeJS.ProcessEnv; folder: string } {
  const folder = t.testdir({});
  if (config !== undefined) writeFileSync(join(folder, 'config.toml'), config);
  return { env: { CHAT_CLIENT_HOME: folder }, folder };
}

t.test('defaults', (t) => {
  const { env, folder } = home(t);
  t.match(resolveSettings({}, env), {
    profile: 'default',
    folder: join(folder, 'default'),
    host: '127.0.0.1',
    port: 6000,
    caFile: undefined,
  });
  t.end();
});

t.test('precedence', (t) => {
  const { env, folder } = home(
    t,
    'server = "file:1"\nca_file = "file-ca"\nprofile = "alice"\n[profiles.alice]\nca_file = "alice-ca"\n[profiles.bob]\nserver = "bob:2"\n',
  );
  t.match(resolveSettings({}, env), { profile: 'alice', host: 'file', caFile: join(folder, 'alice-ca') });
  t.match(resolveSettings({ profile: 'bob' }, env), { host: 'bob', port: 2, caFile: join(folder, 'file-ca') });
  t.match(resolveSettings({}, { ...env, CHAT_PROFILE: 'bob' }), { profile: 'bob' });
  const more = { ...env, CHAT_SERVER: 'env:3', CHAT_CA_FILE: '/env-ca' };
  t.match(resolveSettings({}, more), { host: 'env', port: 3, caFile: '/env-ca' });
  t.match(resolveSettings({ server: 'flag:4', ca_file: 'flag-ca' }, more, '/cwd'), {
    host: 'flag',
    port: 4,
    caFile: '/cwd/flag-ca',
  });
  t.match(resolveSettings({}, { ...more, CHAT_SERVER: '' }), { host: 'file' }, 'an empty variable is none');
  t.end();
});

t.test('one identity replaces the other as a whole', (t) => {
  const { env } = home(t, 'cert_file = "c"\nkey_file = "k"\n');
  t.match(resolveSettings({ p12_file: '/x.p12' }, env), { p12File: '/x.p12', certFile: undefined, keyFile: undefined });
  t.match(resolveSettings({ cert_file: '/a', key_file: '/b' }, { ...env, CHAT_P12_FILE: '/x' }), {
    p12File: undefined,
    certFile: '/a',
  });
  t.throws(() => resolveSettings({ p12_file: 'x', cert_file: 'y' }, env), {
    code: 'CONFIG_INVALID',
    message: /want one of them/,
  });
  t.end();
});

t.test('what worked is remembered, below everything else', (t) => {
  const { env, folder } = home(t);
  mkdirSync(join(folder, 'default'), { mode: 0o700 });
  const used = resolveSettings(
    { server: '[::1]:7', ca_file: '/ca', cert_file: '/c', key_file: '/k', password_file: '/pw' },
    env,
  );
  remember(used);
  t.match(resolveSettings({}, env), { host: '::1', port: 7, caFile: '/ca', certFile: '/c', passwordFile: undefined });
  t.match(resolveSettings({ server: 'other' }, env), { host: 'other', caFile: '/ca' });
  const path = join(folder, 'default', 'profile.json');
  t.notMatch(readFileSync(path, 'utf8'), /pw/, 'not where the password is');
  chmodSync(path, 0o644);
  t.throws(() => resolveSettings({}, env), { code: 'UNSAFE_FILE' }, 'whoever can write it chooses the authority');
  chmodSync(path, 0o600);
  for (const text of ['{', '[]', '{"ca_file":1}', '{"frobnicate":"x"}']) {
    writeFileSync(path, text);
    t.throws(() => resolveSettings({}, env), { code: 'CONFIG_INVALID', message: /damaged/ }, text);
  }
  t.end();
});

t.test('faults are all named', (t) => {
  const { env } = home(
    t,
    'frobnicate = 1\nserver = 7\n[profiles.alice]\npassword = "secret"\n[profiles.bob]\nca_file = ""\n',
  );
  t.throws(() => resolveSettings({}, env), {
    code: 'CONFIG_INVALID',
    message:
      /frobnicate: unknown setting.*server: want text.*profiles\.alice\.password: unknown setting.*profiles\.bob\.ca_file: want text/,
  });
  t.throws(() => resolveSettings({}, home(t, 'server = [').env), {
    code: 'CONFIG_INVALID',
    message: /line 1.*not valid TOML/,
  });
  t.throws(() => resolveSettings({}, home(t, 'profiles = 1').env), { code: 'CONFIG_INVALID', message: /want tables/ });
  for (const profile of ['', '.', '..', '../x', 'a/b', 'a b', 'x'.repeat(65)])
    t.throws(() => resolveSettings({ profile }, home(t).env), { code: 'CONFIG_INVALID' }, JSON.stringify(profile));
  t.throws(() => resolveSettings({ server: 'http://x' }, home(t).env), {
    code: 'CONFIG_INVALID',
    message: /^server: want/,
  });
  t.end();
});

t.test('XDG folders; relative ones are ignored, as the specification says', (t) => {
  const root = t.testdir({});
  const env = { HOME: root, XDG_DATA_HOME: join(root, 'data'), XDG_CONFIG_HOME: 'relative' };
  t.equal(resolveSettings({}, env).folder, join(root, 'data/chat-client/default'));
  t.equal(resolveSettings({}, { HOME: root }).folder, join(root, '.local/share/chat-client/default'));
  mkdirSync(join(root, '.config/chat-client'), { recursive: true });
  writeFileSync(join(root, '.config/chat-client/config.toml'), 'server = "here"\nca_file = "~/ca.crt"');
  t.match(resolveSettings({}, env), { host: 'here' });
  t.end();
});

t.test('addresses', (t) => {
  for (const [text, want] of [
    ['chat.example.org', { host: 'chat.example.org', port: 6000 }],
    ['127.0.0.1:1', { host: '127.0.0.1', port: 1 }],
    ['[::1]', { host: '::1', port: 6000 }],
    ['[2001:db8::1]:65535', { host: '2001:db8::1', port: 65_535 }],
    ['::1', null],
    ['x:0', null],
    ['x:65536', null],
    ['x:01', null],
    ['', null],
    ['x y', null],
    ['user@x', null],
  ] as const) {
    t.strictSame(parseAddress(text), want, text);
    if (want !== null) t.strictSame(parseAddress(formatAddress(want.host, want.port)), want);
  }
  t.end();
});
