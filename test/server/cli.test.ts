/** `chat-server` as somebody at a shell has it: what it prints, where, and how it ends. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hex } from '../../base/bytes.ts';
import { parseKdf, saltedPassword, verifierOf } from '../../protocol/scram.ts';
import { openStore } from '../../store/open.ts';
import { ca, serverCertificate } from '../support/pair.ts';
import { newDevice, newUser, NOW } from '../support/store-world.ts';
import { Program, root } from '../support/system.ts';

t.setTimeout(300_000); // a busy machine is no failure
t.jobs = 2;

const dir = mkdtempSync(join(tmpdir(), 'chat-cli-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const put = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text, { mode: 0o600 });
  return join(dir, name);
};
put('server.crt', serverCertificate.pem);
put('server.key', serverCertificate.keyPem);
put('ca.crt', ca.pem);
function config(name: string, more: Readonly<Record<string, unknown>> = {}): string {
  mkdirSync(join(dir, name), { mode: 0o700 });
  const all: Record<string, unknown> = {
    listen: ['127.0.0.1:0'],
    state_dir: join(dir, name),
    'admin.socket': join(dir, `${name}.sock`),
    'tls.cert': join(dir, 'server.crt'),
    'tls.key': join(dir, 'server.key'),
    'tls.ca': [join(dir, 'ca.crt')],
    ...more,
  };
  return put(
    `${name}.toml`,
    Object.entries(all)
      .map(([k, v]) => `${k} = ${JSON.stringify(v)}\n`)
      .join(''),
  );
}

const start = (t: Test, args: readonly string[], env: Record<string, string> = {}): Program =>
  new Program(t, [join(root, 'bin/chat-server'), ...args], { CHAT_SERVER_CONFIG: undefined, ...env });

async function run(t: Test, args: readonly string[], env?: Record<string, string>) {
  const program = start(t, args, env);
  program.type('');
  return { status: await program.ended, out: program.out, err: program.err };
}

const good = config('good');
const cases: readonly (readonly [args: string, status: number, out: RegExp | '', err: RegExp | ''])[] = [
  [
    '--help',
    0,
    /^chat-server <command>[^]*chat-server run +start in the foreground +\[default\][^]*Exit status: 0 done[^]*8 not found or\s+a\s+migration\s+is\s+pending/,
    '',
  ],
  ['run --help', 0, /--config[^]*--listen +HOST:PORT; may be repeated/, ''],
  ['config --help', 0, /chat-server config check[^]*config schema/, ''],
  ['db migrate --help', 0, /--dry-run/, ''],
  ['completion', 0, /^###-begin-chat-server-completions-###\n[^]*complete .* chat-server\n/, ''],
  ['completion --help', 0, /^chat-server completion\n/, ''],
  ['--get-yargs-completions chat-server db _', 0, /^init\nmigrate\nstatus\n$/, ''],
  ['--version', 0, /^\d+\.\d+\.\d+\n$/, ''],
  ['frobnicate', 2, '', /^chat-server: .*frobnicate.*\[USAGE\]\n$/],
  ['stauts -c GOOD', 2, '', /^chat-server: .*(status|stauts).*\[USAGE\]\n$/],
  ['status --frobnicate', 2, '', /^chat-server: .*frobnicate.*\[USAGE\]\n$/],
  ['config', 2, '', /^chat-server: want check, show, defaults or schema; see --help \[USAGE\]\n$/],
  ['db', 2, '', /^chat-server: want init, migrate or status; see --help \[USAGE\]\n$/],
  ['user', 2, '', /^chat-server: want list, show, suspend, resume or passwd; see --help \[USAGE\]\n$/],
  ['user suspend', 2, '', /^chat-server: not enough non-option arguments.*; see --help \[USAGE\]\n$/],
  ['user suspend --help', 0, /^chat-server user suspend <account>[^]*--reason +for the log/, ''],
  [
    'user passwd bob -c GOOD',
    2,
    '',
    /^chat-server: missing required argument: password-stdin; see --help \[USAGE\]\n$/,
  ],
  ['user passwd bob --no-password-stdin -c GOOD', 2, '', /^chat-server: .*--password-stdin \[USAGE\]\n$/],
  [
    'user passwd bob secret --password-stdin -c GOOD',
    2,
    '',
    /^chat-server: unknown argument: secret; see --help \[USAGE\]\n$/,
  ],
  ['user passwd bob --password-stdin -c GOOD', 2, '', /^chat-server: a password is not empty \[USAGE\/password\]\n$/],
  [
    'transcript',
    2,
    '',
    /^chat-server: want list, checkpoint, export, verify, rotate or recover; see --help \[USAGE\]\n$/,
  ],
  ['run --listen', 2, '', /^chat-server: .*listen.*\[USAGE\]\n$/],
  ['run --listen nonsense -c GOOD', 2, '', /^chat-server: .*listen.*\[CONFIG_INVALID\]\n$/],
  ['run --log-format xml', 2, '', /^chat-server: invalid values: Argument: log-format, Given: "xml", .*\[USAGE\]\n$/],
  ['config check -c /nonexistent.toml -c GOOD', 0, /^configuration is valid\n$/, ''],
  ['config check -c GOOD --log-format xml --log-format text', 0, /^configuration is valid\n$/, ''],
  ['run --listen 127.0.0.1:1 --listen nonsense -c GOOD', 2, '', /^chat-server: .*listen.*\[CONFIG_INVALID\]\n$/],
  ['run --listen nonsense --listen 127.0.0.1:1 -c GOOD', 2, '', /^chat-server: .*listen.*\[CONFIG_INVALID\]\n$/],
  ['status -c /nonexistent.toml', 2, '', /^chat-server: .*\/nonexistent\.toml: no such file.*\[CONFIG_INVALID\]\n$/],
  ['status -c GOOD', 3, '', /^chat-server: no chat-server answers at .*good\.sock \[UNREACHABLE\]\n$/],
  ['config check -c GOOD', 0, 'configuration is valid\n' as unknown as RegExp, ''],
  ['config defaults', 0, /^# Settings of chat-server[^]*listen = /, ''],
  ['config schema', 0, /^\{[^]*"\$schema"/, ''],
  ['config show -c GOOD', 0, /listen/, ''],
];
for (const [words, status, out, err] of cases)
  t.test(`chat-server ${words}`, async (t) => {
    const result = await run(
      t,
      words.split(' ').map((word) => (word === 'GOOD' ? good : word)),
    );
    t.equal(result.status, status);
    for (const [stream, want] of [
      ['out', out],
      ['err', err],
    ] as const)
      if (want instanceof RegExp) t.match(result[stream], want);
      else t.equal(result[stream], want);
  });

t.test('config check names every fault at once', async (t) => {
  const bad = config('bad', {
    'tls.key': join(dir, 'none.key'),
    'tls.ca': [join(dir, 'server.key')],
    'tls.crl': [join(dir, 'none.crl')],
    state_dir: join(dir, 'ca.crt/state'),
  });
  const { status, out, err } = await run(t, ['config', 'check', '-c', bad]);
  t.strictSame([status, out], [2, '']);
  t.match(err, /tls\.key: .*none\.key/);
  t.match(err, /tls\.ca/);
  t.match(err, /none\.crl/);
  t.match(err, /state_dir: cannot use .*ca\.crt\/state.*ENOTDIR/);
  t.match(err, /\[CONFIG_INVALID\]\n$/);
});

t.test('config show says which database is in force', async (t) => {
  const show = async (env: Record<string, string>) => (await run(t, ['config', 'show', '-c', good], env)).out;
  t.match(await show({}), /^db\.url = ".*" {2}# default$/m);
  const parts = await show({ DB_HOST: 'db.example.org' });
  t.match(parts, /^# db\.url is not set: it is MySQL, by the settings below\ndb\.host = ".*" {2}# environment$/m);
});

t.test('config check looks at the state directory, and makes none', async (t) => {
  const absent = join(dir, 'absent/state');
  t.match(await run(t, ['config', 'check', '-c', config('absent-state', { state_dir: absent })]), {
    status: 0,
    err: '',
  });
  t.notOk(existsSync(join(dir, 'absent')));
  const open = config('open-state');
  chmodSync(join(dir, 'open-state'), 0o755);
  const { status, err } = await run(t, ['config', 'check', '-c', open]);
  t.equal(status, 2);
  t.match(err, /state_dir: .*open-state is open to others; chmod 700 it/);
});

t.test('config check says what else would keep the server from starting', async (t) => {
  const open = join(dir, 'open');
  mkdirSync(open);
  chmodSync(open, 0o755);
  const db = put('db-password', 'of the database');
  const file = config('no-start', {
    server_name: 'other.example',
    'admin.socket': join(open, 'admin.sock'),
    'transcript.dir': join(dir, 'ca.crt/log'),
    'db.url': 'mysql://chatuser@db.example.org/securechat',
    'db.password_file': db,
    'db.tls_ca': join(dir, 'none.crt'),
  });
  const { status, err } = await run(t, ['config', 'check', '-c', file]);
  t.equal(status, 2);
  t.match(err, /not issued for "other\.example"/);
  t.match(err, /admin\.socket: .*open is open to others; chmod 700 it/);
  t.match(err, /transcript\.dir: cannot use .*ca\.crt\/log.*ENOTDIR/);
  t.match(err, /database, .*none\.crt, cannot be read/);
  const address = config('no-name', { 'db.url': 'mysql://chatuser@192.0.2.1/securechat', 'db.password_file': db });
  t.match((await run(t, ['config', 'check', '-c', address])).err, /TLS to MySQL wants a host name/);
});

t.test('db init, status, migrate and user list, in the order of a first day', async (t) => {
  const file = config('day');
  const db = (...args: string[]) => run(t, [...args, '-c', file]);
  t.match(await db('db', 'migrate'), { status: 2, err: /\[STORE_SCHEMA\]/ }, 'nothing to migrate yet');
  t.match(await db('db', 'status'), { status: 8, out: /^schema 0, this program wants \d+\npending/ });
  t.match(await db('db', 'init'), { status: 0, out: /^schema 0 → \d+/ });
  t.match(await db('db', 'init'), { status: 2, err: /already.*\[STORE_SCHEMA\]/ });
  t.match(await db('db', 'migrate', '--dry-run'), { status: 0, out: /^schema \d+, this program wants \d+\n$/ });
  t.match(await db('db', 'migrate'), { status: 0, out: /up to date/ });
  t.strictSame(await db('user', 'list', '--json'), { status: 0, out: '', err: '' });
});

t.test('accounts are shown, suspended, and given another password, without a server', async (t) => {
  const file = config('accounts');
  t.match(await run(t, ['db', 'init', '-c', file]), { status: 0 });
  const store = await openStore(`sqlite:${join(dir, 'accounts/chat.db')}`, null);
  t.teardown(() => store.close());
  const user = await store.createUser(newUser('bob', { createdAt: NOW }));
  const { device } = await store.addDevice(newDevice(user.id), NOW, 5);
  const ask = (...args: string[]) => run(t, ['user', ...args, '-c', file]);

  const nobody = { status: 8, out: '', err: 'chat-server: nobody has this name [NO_SUCH_PEER]\n' };
  for (const args of [['show'], ['suspend'], ['resume']]) t.strictSame(await ask(...args, 'dave'), nobody, args[0]!);
  const line = (event: string, more = '') => new RegExp(`^\\S+ info  account\\.${event} user=bob${more}\\n$`);
  t.match(await ask('suspend', 'bob', '--reason', 'has left us', '--log-format', 'text'), {
    status: 0,
    out: 'bob: suspended; no server runs on this machine: one elsewhere is not told\n',
    err: line('suspended', ' because="has left us"'),
  });
  t.equal((await store.findUser('bob'))?.status, 'suspended');
  t.match(await ask('suspend', 'Bob@Example.org'), {
    status: 0,
    out: 'bob: was suspended already; no server runs on this machine: one elsewhere is not told\n',
  });
  t.match(await ask('suspend', 'bob', '--reason', 'x'.repeat(501)), { status: 2, err: /\[USAGE\]\n$/ });
  const shown = await ask('show', 'bob', '--json');
  t.match(JSON.parse(shown.out), {
    ...{ v: 1, type: 'user', username: 'bob', status: 'suspended', created_at: '2024-01-01T00:00:00.000Z' },
    devices: [{ sha256: hex(device.fingerprint), revoked_at: null }],
  });
  t.match(await ask('resume', 'bob', '--log-format', 'text'), {
    status: 0,
    out: 'bob: can log in again\n',
    err: line('resumed'),
  });
  t.match(await ask('resume', 'BOB'), { status: 0, out: 'bob: was not suspended\n' }, 'in whatever spelling');
  await store.createUser(newUser('carol'));
  t.match(await run(t, ['contact', 'add', 'Carol', 'Bob@example.org', '-c', file]), {
    status: 0,
    out: 'carol and bob: in contact\n',
  });
  t.match(
    (await ask('show', 'bob')).out,
    /^username +bob\n[^]*status +active\n[^]*last seen +never\ndevice +[0-9a-f]{64} {2}valid until /,
  );

  const set = start(t, ['user', 'passwd', 'bob', '--password-stdin', '-c', file]);
  set.type('correct\u00a0horse\n');
  t.equal(await set.ended, 0, set.tail);
  t.equal(set.out, 'bob: has another password; no server runs on this machine: one elsewhere is not told\n');
  t.notMatch(set.err, /correct|horse/);
  const { salt, pwdHash, serverKey, pwdKdf } = (await store.findUser('bob'))!;
  t.equal(pwdKdf, 'argon2id$m=65536,t=3,p=1');
  const { storedKey, serverKey: wanted } = verifierOf(
    await saltedPassword(Buffer.from('correct horse'), salt, parseKdf(pwdKdf)),
  );
  t.strictSame([pwdHash, hex(serverKey)], [hex(storedKey), hex(wanted)], 'as a client would make it');
  t.not(hex(salt), hex(user.salt));

  const deaf = createServer((socket) => socket.on('error', () => {}).end()).listen(join(dir, 'accounts.sock'));
  await once(deaf, 'listening');
  const untold = await ask('suspend', 'bob', '--log-format', 'text');
  t.match(untold, { status: 3, out: '', err: /\nchat-server: .* was not told: repeat this, .* \[UNREACHABLE\]\n$/ });
  t.match(untold.err, /^\S+ info  account\.suspended user=bob\n/, 'the database has it, and no other log');
  t.equal((await store.findUser('bob'))?.status, 'suspended', 'the database has it, as it says');
  deaf.close();
});

t.test('words are the same in every country', async (t) => {
  const { err } = await run(t, ['frobnicate'], { LC_ALL: 'de_DE.UTF-8', LANG: 'ja_JP.UTF-8' });
  t.equal(err, 'chat-server: unknown argument: frobnicate; see --help [USAGE]\n');
});

const isRoot = process.getuid?.() === 0;
t.test('root asks about the server of another user', { skip: isRoot ? false : 'this is not root' }, async (t) => {
  const key = put('theirs.key', serverCertificate.keyPem);
  chmodSync(key, 0o640); // root's, and its group is the server's
  const file = config('theirs', { 'tls.key': key });
  const state = join(dir, 'theirs');
  t.match(await run(t, ['config', 'check', '-c', file]), { status: 2, err: /\[UNSAFE_FILE\]\n$/ });
  t.match(await run(t, ['db', 'init', '-c', file]), { status: 0 });
  put('theirs/log.key', 'a key');
  chownSync(state, 65_534, 65_534);
  t.match(await run(t, ['user', 'list', '-c', file]), { status: 0, err: '' });
  t.match(await run(t, ['status', '-c', file]), { status: 3, err: /\[UNREACHABLE\]\n$/ });
  const another =
    /^chat-server: state_dir: .*theirs belongs to another user \(65534\): run this as that user \[UNSAFE_FILE\]\n$/;
  t.match(await run(t, ['transcript', 'rotate', '-c', file]), { status: 2, err: another });
  t.match(await run(t, ['transcript', 'recover', '-c', file]), { status: 2, err: another });
  t.notOk(existsSync(join(state, 'log.key.next')), 'which the server could not read');
});

t.test('what nobody takes is not said to be done', { skip: existsSync('/dev/full') ? false : 'no /dev/full' }, (t) => {
  const said = (redirection: string, ...words: string[]) => {
    const argv = [process.execPath, join(root, 'server/main.ts'), ...words];
    return spawnSync('sh', ['-c', `exec "$@" ${redirection}`, 'sh', ...argv], { encoding: 'utf8' });
  };
  const full = /^chat-server: the standard output did not take everything \(ENOSPC\) \[DISK_FULL\]\n$/;
  t.match(said('> /dev/full', 'config', 'defaults'), { status: 3, stderr: full });
  t.match(said('2> /dev/full', 'frobnicate'), { status: 2 }, 'the status says what the sentence cannot');
  t.end();
});

t.test('transcript verify is chat-verify', async (t) => {
  const { status, out, err } = await run(t, ['transcript', 'verify', '/nonexistent', '--ca', join(dir, 'ca.crt')]);
  const same = new Program(t, [join(root, 'bin/chat-verify'), '/nonexistent', '--ca', join(dir, 'ca.crt')], {});
  t.equal(status, await same.ended);
  t.equal(out, same.out);
  t.equal(err.replace(/^chat-server/, ''), same.err.replace(/^chat-verify/, ''));
  t.not(status, 0);
});

t.test(
  'without arguments it runs; -q says little, -v says more; a process that gives away keys does not start',
  async (t) => {
    const file = config('plain');
    const program = start(t, [], { CHAT_SERVER_CONFIG: file });
    await program.until('admin.listening', () => (program.err.includes('admin.listening') ? true : null));
    t.match(program.err, /Server running on 127\.0\.0\.1:\d+|server\.listening/);
    const status = await run(t, ['status', '-c', file]);
    t.match(status, { status: 0, err: '', out: /^version +\d[^]*\nlisten +127\.0\.0\.1:\d+\n[^]*users_online +0\n/ });
    t.match(JSON.parse((await run(t, ['status', '--json', '-c', file])).out), {
      v: 1,
      type: 'status',
      store: 'sqlite',
      connections: 0,
    });
    t.match(await run(t, ['run', '-c', file]), { status: 2, err: /\[IN_USE\]\n$/ }, 'one server for one state');
    t.match(await run(t, ['status', '-c', file]), { status: 0 }, 'and the first one still answers');
    t.equal(await program.terminate(), 0);
    t.notOk(existsSync(join(dir, 'plain.sock')), 'the socket is gone');
    t.equal(program.out, '');

    const quiet = start(t, ['-q', '-c', file]);
    const loud = start(t, ['-v', '--log-format', 'json', '-c', config('loud')]);
    await loud.until('a line', () => (loud.err.includes('admin.listening') ? true : null));
    for (const line of loud.err.trim().split('\n')) t.match(JSON.parse(line), { event: String });
    while ((await run(t, ['status', '-c', file])).status !== 0);
    t.equal(quiet.err, '');
    t.strictSame([await quiet.terminate(), await loud.terminate()], [0, 0]);
    const unsafe = await run(t, ['run', '-c', file], { NODE_TLS_REJECT_UNAUTHORIZED: '0' });
    t.equal(unsafe.status, 2);
    t.match(unsafe.err, /\[UNSAFE_PROCESS\]/);
  },
);
