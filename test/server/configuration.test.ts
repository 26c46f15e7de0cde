/** What is made of the settings: the database's address, the log's name, the cost of passwords, and which faults are told. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  checkConfig,
  configOf,
  effectiveConfig,
  kdfOf,
  logHostOf,
  readTls,
  storeOf,
} from '../../server/configuration.ts';
import { authority, type Issued } from '../support/pki.ts';

for (const name of Object.keys(process.env)) if (/^(?:DB_|CHAT_SERVER_)/.test(name)) delete process.env[name];
const ca = authority('Test CA');
const server = ca.server();
const now = Date.now();

/** A file of settings that nothing is wrong with but for what is said. */
function file(t: Test, more: Readonly<Record<string, unknown>> = {}, own: Issued = server): string {
  // A socket's path has to be short.
  const dir = mkdtempSync(join(tmpdir(), 'chat-conf-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const put = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text, { mode: 0o600 });
    return join(dir, name);
  };
  mkdirSync(join(dir, 'state'), { mode: 0o700 });
  const all: Readonly<Record<string, unknown>> = {
    listen: ['127.0.0.1:0'],
    state_dir: join(dir, 'state'),
    'admin.socket': join(dir, 'state/admin.sock'),
    'tls.cert': put('server.crt', own.pem),
    'tls.key': put('server.key', own.keyPem),
    'tls.ca': [put('ca.crt', ca.pem)],
    ...more,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name} = ${JSON.stringify(value)}\n`);
  put('password', 'secret\n');
  return put('server.toml', lines.join('').replaceAll('DIR', dir));
}
const of = (t: Test, more?: Readonly<Record<string, unknown>>, own?: Issued) =>
  configOf({ config: file(t, more, own) });
const withPassword = { 'db.password_file': 'DIR/password' };

t.test('where the database is, and with what it is opened', (t) => {
  const opened = (url: string, more = {}) => {
    const { url: href, password } = storeOf(of(t, { 'db.url': url, ...withPassword, ...more }));
    return [href, password?.use((bytes) => bytes.toString())];
  };
  t.match(storeOf(of(t)), { url: /^sqlite:\/.*\.db$/, password: null });
  t.strictSame(opened('mysql://u@127.0.0.1/chat'), ['mysql://u@127.0.0.1:3306/chat?tls=off', 'secret']);
  t.strictSame(opened('mysql://u@db.example.org:3307/chat'), ['mysql://u@db.example.org:3307/chat?tls=on', 'secret']);
  t.strictSame(opened('mysql://u@[::1]/chat')[0], 'mysql://u@[::1]:3306/chat?tls=off');
  const tlsCa = { 'db.tls_ca': '/etc/ca.pem' };
  t.strictSame(
    opened('mysql://u@db.example.org/chat', tlsCa)[0],
    'mysql://u@db.example.org:3306/chat?tls=on&ca=%2Fetc%2Fca.pem',
  );
  t.strictSame(
    opened('mysql://u@127.0.0.1/chat', tlsCa)[0],
    'mysql://u@127.0.0.1:3306/chat?tls=off',
    'where there is no TLS',
  );
  t.throws(() => storeOf(of(t, { 'db.url': 'mysql://u@127.0.0.1/chat' })), {
    code: 'CONFIG_INVALID',
    field: 'db.password_file',
  });
  t.end();
});

t.test('the name of the log: what is set, or the first DNS name of the certificate', (t) => {
  const hostOf = (own: Issued, more?: Readonly<Record<string, unknown>>) => {
    const config = of(t, more, own);
    return logHostOf(config, readTls(config, now).own);
  };
  t.equal(hostOf(server, { server_name: 'set.example' }), 'set.example');
  t.equal(
    hostOf(ca.server({ san: ['IP:127.0.0.1', 'DNS:Chat.Example.ORG', 'DNS:other.example'] })),
    'chat.example.org',
  );
  t.throws(() => hostOf(ca.server({ san: ['IP:127.0.0.1'] })), { code: 'CONFIG_INVALID', field: 'server_name' });
  t.end();
});

t.test('a certificate that clients would refuse', (t) => {
  const tls = (own: Issued) => () => readTls(of(t, {}, own), now);
  t.throws(tls(ca.client('alice')), { code: 'BAD_CERT', sub: 'wrong_eku' });
  t.throws(tls(authority('Other').server()), { code: 'BAD_CERT', sub: 'untrusted' });
  t.throws(() => readTls(of(t), now + 200 * 365 * 86_400_000), { code: 'BAD_CERT', sub: 'expired' });
  t.equal(readTls(of(t), now).own.chain.length >= 1, true);
  t.end();
});

t.test('a password costs what clients make it cost, or more where this server demands that', (t) => {
  const kdf = (more?: Readonly<Record<string, unknown>>) => kdfOf(of(t, more));
  t.equal(kdf(), 'argon2id$m=65536,t=3,p=1');
  t.equal(kdf({ 'auth.kdf': 'argon2id m=131072,t=4,p=1' }), 'argon2id$m=131072,t=4,p=1');
  t.equal(kdf({ 'auth.kdf': 'argon2id m=19456,t=4,p=1' }), 'argon2id$m=65536,t=4,p=1');
  t.end();
});

t.test('flags are above the file', (t) => {
  const config = file(t);
  const level = (flags: object) => configOf({ config, ...flags }).values.log.level;
  t.strictSame(
    [level({}), level({ verbose: 1 }), level({ quiet: true }), level({ verbose: 1, quiet: true })],
    ['info', 'debug', 'warn', 'debug'],
  );
  t.end();
});

t.test('what is checked, and how what is wrong is called', (t) => {
  const said: string[] = [];
  const check = (more?: Readonly<Record<string, unknown>>, own?: Issued) =>
    checkConfig({ config: file(t, more, own) }, (line) => said.push(line), now);
  t.equal(check(), 0);
  t.strictSame(said.splice(0), ['configuration is valid']);
  t.throws(() => check({ 'tls.key': 'DIR/none.key' }), { code: 'CONFIG_INVALID', message: /none\.key/ });
  const both = { 'tls.key': 'DIR/none.key', 'tls.ca': ['DIR/none.ca'] };
  t.throws(() => check(both), { message: /^(?!(?:[^]*none\.key){2})[^]*none\.key[^]*none\.ca/ }, 'each, and once');
  const open = file(t, { 'transcript.dir': 'DIR/ca.crt/log' });
  t.throws(() => checkConfig({ config: open }, () => undefined, now), {
    code: 'CONFIG_INVALID',
    message: /transcript\.dir/,
  });
  t.throws(() => check({ 'db.url': 'mysql://u@127.0.0.1/chat' }), { code: 'CONFIG_INVALID', message: /password_file/ });
  t.throws(() => check({ 'tls.crl': ['DIR/ca.crt'] }), { code: 'CONFIG_INVALID', message: /X509 CRL/ });
  const stamps = { 'transcript.tsa_url': 'http://127.0.0.1/', 'transcript.tsa_ca': 'DIR/none.tsa' };
  t.throws(() => check(stamps), { code: 'CONFIG_INVALID', message: /tsa_ca.*none\.tsa/ });
  t.throws(() => check({ server_name: 'other.example' }), { code: 'CONFIG_INVALID', message: /other\.example/ });
  t.throws(() => check({}, ca.client('alice')), { code: 'CONFIG_INVALID', message: /serverAuth/ });
  mkdirSync(join(open, '../open'), { mode: 0o755 });
  for (const [name, value] of [
    ['state_dir', join(open, '../open')],
    ['admin.socket', join(open, '../open/admin.sock')],
  ] as const) {
    const config = join(open, `../${name}.toml`);
    const others = { state_dir: join(open, '../state'), 'admin.socket': join(open, '../state/admin.sock') };
    const all = {
      listen: ['127.0.0.1:0'],
      'tls.cert': join(open, '../server.crt'),
      'tls.key': join(open, '../server.key'),
      'tls.ca': [join(open, '../ca.crt')],
      ...others,
      [name]: value,
    };
    writeFileSync(
      config,
      Object.entries(all)
        .map(([key, each]) => `${key} = ${JSON.stringify(each)}\n`)
        .join(''),
    );
    t.throws(() => checkConfig({ config }, () => undefined, now), { code: 'UNSAFE_FILE' }, name);
    writeFileSync(config, `tls.crl = [${JSON.stringify(join(open, '../ca.crt'))}]\n`, { flag: 'a' });
    t.throws(() => checkConfig({ config }, () => undefined, now), { code: 'CONFIG_INVALID' }, `${name}, and more`);
  }
  t.strictSame(said, []);
  t.end();
});

t.test('what is in force of the database: the line of the URL, or that there is none', (t) => {
  const url = (more?: Readonly<Record<string, unknown>>) =>
    effectiveConfig({ config: file(t, more) }, false).find((line) => /db\.url/.test(line));
  t.match(url(), /^db\.url = "sqlite:.*# default$/);
  t.match(url({ 'db.url': 'mysql://u@127.0.0.1/chat', ...withPassword }), /^db\.url = "mysql:/);
  t.match(url({ 'db.host': 'db.example.org', ...withPassword }), /^# db\.url is not set/);
  t.end();
});
