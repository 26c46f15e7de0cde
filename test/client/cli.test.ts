/** The commands as a person or a script meets them: arguments in, lines and exit status out, over real TLS and both handshakes. */
import { decodeMs, KIND } from '../../transcript/statement.ts';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { hex, type ConversationId } from '../../base/bytes.ts';
import { safetyNumber } from '../../client/e2ee/safety-number.ts';
import { main } from '../../client/main.ts';
import { resolveSettings } from '../../client/settings.ts';
import { Vault } from '../../client/vault.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { lateTimers } from '../support/late-timers.ts';
import { ScriptedServer, type Delivery } from './scripted-server.ts';
import { textIn } from './text-bytes.ts';
import { equip } from './side.ts';
import { Listener } from './listener.ts';

interface Result {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

class Sink extends Writable {
  text = '';
  onText: () => void = () => {};
  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.text += chunk.toString();
    this.onText();
    done();
  }
}

/** Somebody at a shell. */
class Shell {
  readonly env: NodeJS.ProcessEnv;
  readonly passwordFile: string;
  constructor(t: Test, server: Listener, address: string, name: string, password = 'correct horse battery') {
    const home = join(t.testdirName, `home-${name}`);
    this.passwordFile = join(t.testdirName, `password-${name}`);
    writeFileSync(this.passwordFile, `${password}\n`, { mode: 0o600 });
    this.env = { CHAT_CLIENT_HOME: home, CHAT_SERVER: address, ...server.files(t, name) };
  }
  async run(args: readonly string[], stdin: Readable | string | Buffer = ''): Promise<Result> {
    const out = new Sink();
    const err = new Sink();
    const input = stdin instanceof Readable ? stdin : Readable.from(stdin.length === 0 ? [] : [stdin]);
    const status = await main(args, this.env, { stdin: input, stdout: out, stderr: err });
    return { status, out: out.text, err: err.text };
  }
  register(): Promise<Result> {
    return this.run(['register', '--password-file', this.passwordFile]);
  }
}

async function world(t: Test): Promise<{ server: Listener; alice: Shell; address: string }> {
  t.testdir({});
  const server = new Listener();
  const address = await server.listen(t);
  const alice = new Shell(t, server, address, 'alice');
  await equip(server, resolveSettings({}, alice.env).folder, true);
  return { server, address, alice };
}
const lines = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

t.test('register, whoami, login, send, history, status', async (t) => {
  const { server, alice, address } = await world(t);
  t.strictSame(await alice.register(), { status: 0, out: 'registered alice <alice@example.org>\n', err: '' });
  const known = 'chat: this certificate has an account already: logging in to it\n';
  t.strictSame(await alice.register(), { status: 0, out: 'registered alice <alice@example.org>\n', err: known });

  const [who] = lines((await alice.run(['whoami', '--json'])).out);
  t.match(who, {
    v: 1,
    type: 'whoami',
    account: { username: 'alice', server: address },
    certificate: { username: 'alice' },
  });

  const wrong = join(t.testdirName, 'wrong');
  writeFileSync(wrong, 'incorrect horse', { mode: 0o600 });
  const refused = await alice.run(['login', '--password-file', wrong]);
  t.strictSame([refused.status, refused.out], [4, '']);
  t.equal(refused.err, 'chat: name or password is wrong [AUTH_FAIL]\n');
  const other = await alice.run(['register', '--password-file', wrong]);
  t.strictSame(other, { status: 4, out: '', err: `${known}chat: name or password is wrong [AUTH_FAIL]\n` });
  t.match(await alice.run(['login', '--password-stdin'], 'correct horse battery\n'), {
    status: 0,
    out: 'logged in as alice\n',
  });

  t.strictSame(await alice.run(['send', 'bob', 'stand by']), { status: 0, out: 'bob #1 accepted\n', err: '' });
  const piped = await alice.run(['send', 'bob', '-', '--json'], 'from a pipe\n');
  t.equal(piped.err, '');
  const [sent] = lines(piped.out);
  t.match(sent, { type: 'sent', peer: 'bob', seq: 2, state: 'accepted', body: 'from a pipe' });
  const [raw] = lines((await alice.run(['send', 'bob', '--json'], Buffer.of(0xff, 0, 0x0a))).out);
  t.equal(raw?.['body_base64url'], '_wAK', 'bytes that are not text stay as they are');

  t.equal((await alice.run(['send', 'bob', '--', '-42'])).out, 'bob #4 accepted\n');
  t.equal((await alice.run(['send', 'bob', '007'])).out, 'bob #5 accepted\n');
  const surplus = [
    ['send', 'bob', '--', 'two', 'words'],
    ['send', 'bob', 'one', '--', 'more'],
    ['edit', 'bob', '1', 'one', '--', 'more'],
    ['recv', '--', 'bob'],
  ];
  for (const args of surplus)
    t.match(await alice.run(args), { status: 2, out: '', err: /\[USAGE\]\n$/ }, args.join(' '));
  t.equal((await alice.run(['edit', 'bob', '5', '--', '-7'], 'not this')).status, 0);
  const late = await alice.run(['send', 'bob', 'hello', '--wait', 'delivered', '--timeout', '3s']);
  t.strictSame([late.status, late.out], [7, '']);
  t.equal(late.err, 'chat: the message is accepted, not delivered yet [NOT_REACHED]\n');

  await server.stop();
  const history = await alice.run(['history', 'bob']);
  t.equal(history.status, 0, 'history needs no server');
  t.match(
    history.out,
    /^#1 [0-9a-f]{8} .* You: stand by ✓\n#2 .* You: from a pipe ✓\n#3 .* \(3 bytes that are not text\) ✓\n#4 .*You: -42 ✓\n#5 .*You: -7 \(edited\) ✓\n#7 .*hello ✓\n$/,
  );
  t.equal(lines((await alice.run(['history', 'bob', '--json', '--last', '2'])).out).length, 2);
  t.strictSame(await alice.run(['history', 'Bob@Example.org']), history, 'by the address of his certificate as well');
  t.match(await alice.run(['receipts', 'off', 'bob@example.org']), { out: /^bob: off$/m, err: '' });
  const status = await alice.run(['status', '--json']);
  t.equal(status.status, 3);
  t.match(lines(status.out)[0], {
    connected: false,
    error: 'UNREACHABLE',
    account: 'alice',
    undelivered: 7,
    pending: 0,
  });
  t.match(status.err, /nothing answers at 127\.0\.0\.1:\d+.*\[UNREACHABLE\]/);
});

t.test('delivered', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    server.ack(link, frame, server.append(frame));
    const message = frame.messages.at(-1)!;
    void server.receipts(link, 'bob', [leafOf(message.statement)]);
    return true;
  };
  t.match(await alice.run(['send', 'bob', 'now', '--wait', 'delivered']), { status: 0, out: 'bob #1 delivered\n' });
});

t.test('recv shows what was delivered, once, whichever command took it', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  const evil = 'line one\n\u001b]0;owned\u0007\u202etxt\r\nServer delivered: ✔';
  let waiting: Delivery[] = [];
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    server.answer(frame, link, 'alice');
    for (const delivery of waiting.splice(0)) link.send(delivery);
    return true;
  };
  const deliver = async (...bodies: (string | Buffer)[]): Promise<void> => {
    const sent = await server.compose('bob', bodies);
    waiting.push(server.delivery(sent, server.append(sent)));
  };
  await deliver(evil);
  t.equal((await alice.run(['send', 'bob', 'hi'])).status, 0, 'takes the delivery on the way');
  const shown = await alice.run(['recv']);
  t.equal(shown.status, 0);
  t.notMatch(shown.out, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/u, 'nothing that a terminal obeys');
  t.match(
    shown.out,
    /bob: line one\n    \\u\{1b\}\]0;owned\\u\{7\}\\u\{202e\}txt\n    Server delivered: ✔\n$/,
    'no forged line',
  );
  t.equal((await alice.run(['recv'])).out, '', 'shown once');

  await deliver('two', Buffer.of(0xc0, 0x80));
  const json = lines((await alice.run(['recv', 'bob', '--max', '2', '--json', '--timeout', '60s'])).out);
  t.match(json, [{ from: 'bob', body: 'two' }, { body_base64url: 'wIA' }]);
  const since = lines((await alice.run(['recv', 'bob', '--since', '0', '--json'])).out);
  t.equal(since.length, 3, 'again on request');
  t.equal(since[0]?.['body'], evil, 'exact in JSON');
  t.match(await alice.run(['recv', '--max', '1', '--timeout', '50ms']), { status: 7 });

  const { time } = server;
  server.time = Number.MAX_SAFE_INTEGER;
  const sent = await server.compose('bob', ['from beyond all dates']);
  server.time = time;
  waiting.push(server.delivery(sent, server.append(sent)));
  await deliver('behind it');
  const late = await alice.run(['recv', '--max', '2', '--json', '--timeout', '60s']);
  t.match(lines(late.out), [{ sent_at: '9007199254740991 ms', logged_at: /^2027-/ }, { body: 'behind it' }]);
  t.match(await alice.run(['history', 'bob', '--json']), { status: 0, err: '' });
});

t.test('recv: what its reader did not take is printed by the next one', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  const sent = await server.compose('bob', ['one', 'two', 'three', 'four']);
  const delivery = server.delivery(sent, server.append(sent));
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    server.answer(frame, link, 'alice');
    link.send(delivery);
    return true;
  };
  const broken = async (code: string) => {
    let text = '';
    const err = new Sink();
    const stdout = new Writable({
      write(chunk: Buffer, _, done) {
        if (text !== '' && chunk.length > 0) return done(Object.assign(new Error(code), { code }));
        text += chunk.toString();
        done();
      },
    });
    const status = await main(['recv', '--json'], alice.env, { stdin: Readable.from([]), stdout, stderr: err });
    return [status, lines(text).map(({ body }) => body), err.text];
  };
  t.strictSame(await broken('EPIPE'), [0, ['one'], '']);
  const full = 'chat: no space left to write the standard output [DISK_FULL]\n';
  t.strictSame(await broken('ENOSPC'), [3, ['two'], full]);
  t.match(lines((await alice.run(['recv', '--json'])).out), [{ body: 'three' }, { body: 'four' }]);

  const vault = Vault.open(resolveSettings({}, alice.env).folder);
  vault.notices.add(Date.now(), 'bob uses a new device');
  vault.close();
  const closed = () =>
    new Writable({ write: (_, __, done) => done(Object.assign(new Error('EPIPE'), { code: 'EPIPE' })) });
  const status = (args: string[]) =>
    main(args, alice.env, { stdin: Readable.from([]), stdout: closed(), stderr: closed() });
  for (const args of [['history', 'bob', '--json'], ['whoami']]) t.equal(await status(args), 0);
  for (const told of ['bob uses a new device', undefined])
    t.match(lines((await alice.run(['whoami', '--json'])).out)[0], { text: told });
});

// Fails when what is slow to come counts as what is not there.
t.test('recv: what waited is waited for, however long the server takes to bring it', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  const sent = await server.compose('bob', ['from long ago']);
  const delivery = server.delivery(sent, server.append(sent));
  server.script = (frame, link) => {
    if (frame.type !== 'sync') return false;
    setTimeout(() => {
      link.send(delivery);
      server.answer(frame, link, 'alice');
    }, 1000);
    return true;
  };
  t.match(lines((await alice.run(['recv', '--json'])).out), [{ body: 'from long ago' }]);
});

// Fails when what the server could not bring counts as what is not there.
t.test('recv: where the server cannot bring what waits, that is said', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  server.script = (frame, link) => {
    if (frame.type !== 'sync') return false;
    link.send({ type: 'error', id: frame.id, code: 'QUOTA' });
    return true;
  };
  t.match(await alice.run(['recv']), { status: 5, out: '', err: /\[QUOTA\]\n$/ });
});

// Fails when somebody is not told that what he wrote goes by itself, and sends it twice.
t.test('send: what the server does not take in time is kept, and that is said', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  server.script = ({ type }) => type === 'msg_send';
  t.match(await alice.run(['send', 'bob', 'later', '--timeout', '1s']), {
    status: 7,
    out: '',
    err: 'chat: the message is kept, not accepted yet: it is sent as soon as the server takes it [NOT_REACHED]\n',
  });
});

// Fails when a password that was not needed becomes the name of somebody, or a message.
t.test('without a command: who may not be asked is told so, and standard input holds no password', async (t) => {
  const { alice } = await world(t);
  await alice.register();
  const words = 'correct horse battery\nbob\nhello\n';
  const refused = await alice.run(['--password-stdin'], words);
  t.match(refused, { status: 2, out: '', err: /give --password-file.*\[USAGE\]\n$/ });
  t.match(await alice.run(['--no-input'], words), { status: 2, out: '', err: /--no-input.*\[USAGE\]\n$/ });
});

// Fails when it ends with the connection over which that was coming.
t.test('recv: what waited is waited for over the next connection as well', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  const sent = await server.compose('bob', ['from long ago']);
  const delivery = server.delivery(sent, server.append(sent));
  let times = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'sync') return false;
    times++;
    if (times === 1) link.close('SHUTTING_DOWN');
    else if (times === 2) link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: 60 });
    else link.send(delivery);
    return times < 3;
  };
  t.match(lines((await alice.run(['recv', '--json'])).out), [{ body: 'from long ago' }]);
});

t.test('contact verify: a number to compare, and whose certificates are behind it', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  const holder = (user: string) => ({ user, certificateKeyHashes: [server.get(user).certificate.spkiHash] });
  const number = safetyNumber(holder('bob'), holder('alice'));
  const { out, status } = await alice.run(['contact', 'verify', 'bob']);
  t.equal(status, 0);
  const [first, second, , device] = out.split('\n');
  t.match(`${first} ${second}`, /^(\d{5} ){11}\d{5}$/);
  t.equal(`${first}${second}`.replaceAll(' ', ''), number);
  t.match(device, /^device [0-9a-f]{16} {2}CN=bob, issued by CN=Test CA, valid until 20/);
  const { fingerprint } = server.get('bob');
  t.match(lines((await alice.run(['contact', 'verify', 'bob', '--json'])).out), [
    { type: 'verification', peer: 'bob', number, devices: [{ subject: 'CN=bob', sha256: hex(fingerprint) }] },
  ]);
  const stranger = await alice.run(['contact', 'verify', 'carol']);
  t.match([stranger.status, stranger.err], [8, /NO_SUCH_PEER/]);

  const shown = await alice.run(['contact', 'verify', 'bob', '--confirm']);
  t.match(shown, { status: 0, out: /\nverified since \d{4}-\d\d-\d\d\n$/ });
  t.match(lines((await alice.run(['contact', 'verify', 'bob', '--json'])).out), [
    { type: 'verification', peer: 'bob', verified: true, verified_at: String, verified_until: null, verified_on: null },
  ]);
  t.match(await alice.run(['contact', 'verify', 'bob', '--clear']), { status: 0, out: /\nnot verified: if it was/ });
  t.match(await alice.run(['contact', 'verify', 'bob', '--clear']), { status: 8, err: /\[NOT_FOUND\]/ });
  t.match(await alice.run(['contact', 'verify', 'bob', '--clear', '--confirm']), { status: 2, err: /\[USAGE\]/ });
});

t.test('send that is interrupted while it waits asks nothing of the closed store later', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  const isTime = lateTimers(t);
  const running = alice.run(['send', 'bob', 'hello', '--wait', 'delivered', '--timeout', '1h']);
  while (server.frames('msg_send').length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 100)); // so that it waits
  process.emit('SIGINT');
  t.equal((await running).status, 130);
  isTime(); // what is thrown out of a timer here fails the test
  await new Promise(setImmediate);
});

t.test('send that is interrupted still says what it has to say of what came meanwhile', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  t.match(await alice.run(['login', '--password-file', alice.passwordFile]), { status: 0 });
  server.script = (frame) => {
    if (frame.type !== 'msg_received') return false;
    setTimeout(() => process.emit('SIGINT'), 20); // before it is said
    return true;
  };
  const running = alice.run(['send', 'bob', 'hello', '--wait', 'delivered', '--timeout', '20s']);
  while (server.frames('msg_send').length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const { items } = await server.say(server.latest, 'bob', ['meanwhile']);
  t.match(await running, { status: 130, err: 'chat: interrupted [INTERRUPTED]\n' });
  const receipts = server
    .frames('msg_send')
    .flatMap(({ messages }) => messages.filter(({ statement }) => decodeMs(statement).kind === KIND.delivered));
  t.strictSame(
    receipts.map(({ parts }) => hex(parts[0]!)),
    items.map((item) => 'statement' in item && hex(leafHash(item.statement))),
  );
  t.match(await alice.run(['status']), { status: 0 });
});

t.test('recv -f follows until it is interrupted', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  const out = new Sink();
  const running = main(['recv', '-f', '--json'], alice.env, {
    stdin: Readable.from([]),
    stdout: out,
    stderr: new Sink(),
  });
  await new Promise<void>((resolve) => {
    const interval = setInterval(() => {
      if (server.frames('resume').length === 0) return;
      clearInterval(interval);
      resolve();
    }, 5);
  });
  const seen = new Promise<void>((resolve) => (out.onText = () => out.text.includes('three') && resolve()));
  for (const body of ['one', 'two', 'three']) await server.say(server.latest, 'bob', [body]);
  await seen;
  process.emit('SIGINT');
  t.equal(await running, 130);
  t.strictSame(
    lines(out.text).map((line) => line['body']),
    ['one', 'two', 'three'],
  );
});

t.test('status says why there is no login', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    link.send({ type: 'error', id: frame.id, code: 'BAD_CERT', sub: 'revoked' });
    return true;
  };
  const revoked = await alice.run(['status']);
  t.match(revoked, { status: 6, err: /revoked.* \[BAD_CERT\/revoked\]\n$/ });
  t.match(revoked.out, /^server {7}.*: connected, not logged in: this device was revoked/);
  t.match(lines((await alice.run(['status', '--json'])).out)[0], {
    connected: true,
    logged_in: false,
    error: 'BAD_CERT',
    sub: 'revoked',
  });
  await server.stop();
  t.match((await alice.run(['status'])).out, /^server {7}.*: not connected: nothing answers at/);
});

t.test('failures: exit status, code and sentence', async (t) => {
  const { server, alice, address } = await world(t);
  const stranger = new ScriptedServer();
  const elsewhere = new Listener();
  elsewhere.server = elsewhere.ca.server({ san: ['DNS:elsewhere.example'] });
  const elsewhereAddress = await elsewhere.listen(t);
  const files = join(t.testdirName, 'other');
  mkdirSync(files);
  const put = (name: string, text: string, mode = 0o600): string => {
    writeFileSync(join(files, name), text, { mode });
    return join(files, name);
  };
  const old = server.ca.client('alice', { notAfter: Date.now() - 1000 });
  const serverOnly = server.ca.issue({ cn: 'alice', eku: ['1.3.6.1.5.5.7.3.1'] });
  const otherCa = put('other-ca.crt', stranger.ca.pem);
  const theirs = stranger.get('alice').issued;
  const pair = (name: string, { pem, keyPem }: { pem: string; keyPem: string }): string[] => [
    '--cert',
    put(`${name}.crt`, pem),
    '--key',
    put(`${name}.key`, keyPem),
  ];
  const rows: readonly (readonly [string, string[], number, RegExp])[] = [
    ['no such command', ['frobnicate'], 2, /\[USAGE\]/],
    ['no such option', ['status', '--frobnicate'], 2, /\[USAGE\]/],
    ['an option without its value', ['status', '--server'], 2, /\[USAGE\]/],
    ['nobody to send to', ['send'], 2, /\[USAGE\]/],
    ['an empty message', ['send', 'bob', ' \n'], 2, /an empty message is not sent \[USAGE\]/],
    ['a duration that is none', ['send', 'bob', 'x', '--timeout', 'soon'], 2, /--timeout.*\[USAGE\]/],
    ['a server that is none', ['status', '--server', 'a b'], 2, /server: want HOST or HOST:PORT \[CONFIG_INVALID\]/],
    ['a profile that leaves its folder', ['status', '-P', '../x'], 2, /\[CONFIG_INVALID\]/],
    ['no such configuration file', ['status', '-c', 'nowhere.toml'], 2, /\[CONFIG_INVALID\]/],
    ['no key at all', ['status', '--key', 'nowhere.key'], 2, /nowhere\.key.*\[CONFIG_INVALID\]/],
    [
      'a key that others can read',
      ['status', '--key', put('open.key', old.keyPem, 0o644)],
      2,
      /chmod 600.*\[UNSAFE_FILE\]/,
    ],
    [
      'the key of another certificate',
      ['status', '--key', put('wrong.key', old.keyPem)],
      6,
      /\[BAD_CERT\/key_mismatch\]/,
    ],
    ['an expired certificate', ['status', ...pair('old', old)], 6, /ask your authority.*\[BAD_CERT\/expired\]/],
    ['a certificate for servers', ['status', ...pair('srv', serverOnly)], 6, /clientAuth.*\[BAD_CERT\/wrong_eku\]/],
    ['a certificate of another authority', ['status', ...pair('theirs', theirs)], 6, /\[BAD_CERT\/untrusted\]/],
    [
      'a server of another authority',
      ['status', '--ca', otherCa, ...pair('theirs', theirs)],
      6,
      /certificate of the server.*; is --ca the authority.*\[BAD_CERT\/untrusted\]/,
    ],
    [
      'a certificate for another host',
      [
        'status',
        '--server',
        elsewhereAddress,
        '--ca',
        put('else-ca.crt', elsewhere.ca.pem),
        ...pair('else', elsewhere.get('alice').issued),
      ],
      6,
      /certificate of the server.* not for (127\.0\.0\.1|localhost), but for elsewhere\.example \[BAD_CERT\/wrong_host\]/,
    ],
    ['a name of no host', ['status', '--server', 'chat.invalid'], 3, /known here as chat\.invalid: .*\[UNREACHABLE\]/],
    ['nobody listening', ['status', '--server', '127.0.0.1:9'], 3, /\[UNREACHABLE\]/],
    ['not logged in, and nobody to ask', ['send', 'bob', 'x'], 4, /a password is needed.*\[NOT_LOGGED_IN\]/],
    ['no conversation in the records', ['history', 'bob'], 8, /\[NOT_FOUND\]/],
    ['no such profile', ['-P', 'nobody', 'history', 'bob'], 8, /there is no profile nobody here: .*\[NOT_FOUND\]/],
    ['nor here', ['-P', 'nobody', 'transcript', 'list'], 8, /there is no profile nobody here: .*\[NOT_FOUND\]/],
    ['nor there', ['-P', 'nobody', 'receipts', 'on'], 8, /there is no profile nobody here: .*\[NOT_FOUND\]/],
    ['a name that cannot be one', ['history', 'b\u001bob'], 2, /\[BAD_NAME\]/],
  ];
  for (const [name, args, status, err] of rows) {
    const result = await alice.run(args);
    t.equal(result.status, status, `${name}: ${result.err}`);
    t.match(result.err, err, name);
    t.match(result.err, /^(chat: [^\n]+\n)+$/, `${name}: prefixed lines`);
    t.notMatch(result.err, /\u001b/, name);
    if (args[0] !== 'status') t.equal(result.out, '', `${name}: nothing on standard output`);
  }
  await alice.register();
  t.match(await alice.run(['send', 'carol', 'x']), { status: 8, err: 'chat: nobody has this name [NO_SUCH_PEER]\n' });
  const bob = new Shell(t, server, address, 'bob');
  t.match(await alice.run(['whoami', '--cert', bob.env['CHAT_CERT_FILE']!, '--key', bob.env['CHAT_KEY_FILE']!]), {
    status: 6,
    err: /belongs to alice.*\[CERT_ACCOUNT_MISMATCH\]/,
  });
});

t.test('a lying server ends a command with 14, and status goes on saying so', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  await alice.run(['send', 'bob', 'one']);
  server.entries[0] = Buffer.from(server.entries[1]!);
  const result = await alice.run(['send', 'bob', 'two']);
  t.equal(result.status, 14);
  t.match(result.err, /^chat: ALARM: .* \[FORK\]; the evidence is kept\nchat: .*\[FORK\/consistency\]\n$/);
  t.match(lines((await alice.run(['status', '--json'])).out)[0], { alarms: 1 });
});

t.test('what worked is remembered; logout forgets the login alone', async (t) => {
  const { alice } = await world(t);
  await alice.register();
  const { CHAT_CLIENT_HOME } = alice.env;
  for (const name of Object.keys(alice.env)) if (name !== 'CHAT_CLIENT_HOME') delete alice.env[name];
  t.ok(CHAT_CLIENT_HOME);
  t.match(await alice.run(['send', 'bob', 'no flags']), { status: 0, out: 'bob #1 accepted\n' });
  t.equal((await alice.run(['logout'])).out, 'logged out\n');
  const typed = Object.assign(Readable.from(['by hand\n']), { isTTY: true, setRawMode: () => {} });
  t.match(
    await alice.run(['send', 'bob', '-'], typed),
    { status: 4, err: /give --password-file.*\[NOT_LOGGED_IN\]/ },
    'nobody is asked behind the end of what he typed',
  );
  t.match(await alice.run(['send', 'bob', 'x']), { status: 4, err: /\[NOT_LOGGED_IN\]/ });
});

t.test('a canary password and body are nowhere but where they belong', async (t) => {
  const { server, address } = await world(t);
  const shell = new Shell(t, server, address, 'bob', 'canary-pässwörd-4711');
  const results = [
    await shell.register(),
    await shell.run(['login', '-v', '--password-stdin'], 'canary-pässwörd-4711\n'),
    await shell.run(['login', '--password-stdin'], 'canary-pässwörd-4711 \u0007\n'),
    await shell.run(['status', '-v', '--json']),
  ];
  for (const { out, err } of results) t.notMatch(out + err, /canary/);
  const sent = server.received.flatMap((frame) =>
    Object.values(frame).filter((v) => v instanceof Uint8Array || typeof v === 'string'),
  );
  t.notOk(
    sent.some((value) => Buffer.from(value as string).includes('canary')),
    'not even inside the channel',
  );
});

// Fails when it makes a profile that nobody has asked for.
t.test('vault passphrase set: of a profile that there is', async (t) => {
  const { alice } = await world(t);
  const home = alice.env['CHAT_CLIENT_HOME']!;
  const first = join(t.testdirName, 'first');
  writeFileSync(first, 'open barley\n', { mode: 0o600 });
  const before = readdirSync(home, { recursive: true });
  for (const word of ['change', 'remove'])
    t.match(await alice.run(['vault', 'passphrase', word, '-P', 'mistyped', '--passphrase-file', first]), {
      status: 8,
      err: /\[NOT_FOUND\]\n$/,
    });
  t.match(await alice.run(['vault', 'passphrase', 'set', '-P', 'mistyped', '--passphrase-file', first]), {
    status: 8,
    out: '',
    err: 'chat: there is no profile mistyped here: register or login makes it [NOT_FOUND]\n',
  });
  t.strictSame(readdirSync(home, { recursive: true }), before);
});

t.test('a contact is somebody else', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  for (const name of ['alice', 'Alice@example.org'])
    t.match(await alice.run(['contact', 'add', name]), {
      status: 8,
      err: 'chat: that is you: a contact is somebody else [NO_SUCH_PEER]\n',
    });
  t.strictSame(server.frames('contact_add'), []);
});

t.test('vault passphrase: set, asked for, given, changed, removed', async (t) => {
  const { alice } = await world(t);
  await alice.register();
  const put = (name: string, text: string): string => {
    const path = join(t.testdirName, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const [first, second, short] = [put('p1', 'open sesame\n'), put('p2', 'open barley\n'), put('p3', 'sesame\n')];
  const passphrase = (...args: string[]) => alice.run(['vault', 'passphrase', ...args]);
  t.match(await passphrase('set'), {
    status: 2,
    err: /give --passphrase-file, or run in a terminal \[USAGE\/passphrase\]/,
  });
  t.match(await passphrase('set', '--passphrase-file', short), { status: 2, err: /at least 8 characters/ });
  t.match(await passphrase('change'), { status: 2, err: /take no passphrase; set gives them one \[USAGE\]/ });
  t.equal((await alice.run(['history', 'bob'])).status, 8, 'nothing is locked yet');
  t.match(await passphrase('set', '--passphrase-file', first), {
    status: 0,
    out: /^passphrase set: without it nobody/,
  });
  t.match(await passphrase('set', '--passphrase-file', first), { status: 2, err: /already: use change/ });

  for (const args of [['status'], ['logout'], ['send', 'bob', 'x'], []]) {
    const refused = await alice.run(args, '/quit\n');
    t.strictSame([refused.status, refused.out], [4, ''], args.join(' '));
    t.match(
      refused.err,
      /takes a passphrase: give --passphrase-file, set CHAT_VAULT_PASSPHRASE_FILE.*\[VAULT_LOCKED\]/,
    );
  }
  t.match(await alice.run(['status', '--passphrase-file', second]), {
    status: 4,
    err: 'chat: the passphrase does not open the store of this profile [WRONG_PASSPHRASE]\n',
  });
  alice.env['CHAT_VAULT_PASSPHRASE_FILE'] = first;
  t.match(await alice.run(['send', 'bob', 'hi']), { status: 0, out: 'bob #1 accepted\n' });
  t.match(await passphrase('change', '--new-passphrase-file', second, '--json'), {
    status: 0,
    out: /"state":"changed"/,
  });
  t.match(await alice.run(['history', 'bob']), { status: 4, err: /WRONG_PASSPHRASE/ });
  delete alice.env['CHAT_VAULT_PASSPHRASE_FILE'];

  const typed = (text: string): Readable => Object.assign(Readable.from([text]), { isTTY: true, setRawMode: () => {} });
  const asked = await alice.run(['history', 'bob'], typed('open barley\n'));
  t.match(asked, { status: 0, out: /^Passphrase of this profile: \n#1 .*You: hi/ });
  t.match(await alice.run(['history', 'bob', '--no-input'], typed('open barley\n')), {
    status: 4,
    err: /VAULT_LOCKED/,
  });
  const change = await alice.run(['vault', 'passphrase', 'change'], typed('open barley\none of them\nanother one\n'));
  t.match(change, { status: 2, err: /the two passphrases are not the same/ });
  t.match(await alice.run(['vault', 'passphrase', 'change'], typed('open barley\nnine tailors\nnine tailors\n')), {
    status: 0,
    out: /^Passphrase of this profile: \nNew passphrase: \nRepeat passphrase: \npassphrase changed\n$/,
  });
  t.match(await alice.run(['vault', 'passphrase', 'remove'], typed('nine tailors\n')), { status: 0 });
  t.match(await alice.run(['history', 'bob']), { status: 0, out: /You: hi/ });
});

t.test('presence: asked, set, and what cannot be', async (t) => {
  const { alice } = await world(t);
  await alice.register();
  t.match(await alice.run(['presence']), { status: 0, out: 'online; others are told when you were there last\n' });
  t.match(await alice.run(['presence', 'set', 'invisible', '--last-seen', 'off', '--json']), {
    status: 0,
    out: /"type":"presence","state":"invisible","last_seen":false/,
  });
  t.match(await alice.run(['presence']), { out: /^invisible: to others you are not there; nobody is told/ });
  t.match(await alice.run(['presence', 'set']), { status: 2, err: /want one of online.*\[USAGE\]/ });
  t.match(await alice.run(['presence', 'set', 'busy']), { status: 2, err: /\[USAGE\]/ });
});

t.test('help and version', async (t) => {
  const { alice } = await world(t);
  for (const words of [['send'], ['contact', 'verify'], ['receipts']]) {
    const { out } = await alice.run([...words, '--help']);
    t.match(out, /--timeout[^]*--all-options/, words.join(' '));
    t.notMatch(out, /--p12|--key-passphrase-file/, 'what every command has is said once');
    t.match((await alice.run([...words, '--help', '--all-options'])).out, /--p12[^]*--key-passphrase-file/);
  }
  t.match((await alice.run(['--help'])).out, /--p12[^]*--key-passphrase-file/);
  const help = await alice.run(['send', '--help']);
  t.equal(help.status, 0);
  t.match(help.out, /--wait[\s\S]*Examples:[\s\S]*df -h/);
  for (const command of ['list', 'export', 'anchors', 'alarms']) {
    const { out } = await alice.run(['transcript', command, '--help']);
    t.match(out.slice(out.indexOf('Examples:')), `chat-client transcript ${command} `, 'its example can be typed');
  }
  const { out } = await alice.run(['transcript', 'export', '--help']);
  t.match(out, /#room.*\[required\]/, 'a room as well');
  t.match((await alice.run(['--version'])).out, /^\d+\.\d+\.\d+\n$/);
});

t.test('a server that dates a message beyond all calendars', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  server.time = 2 ** 53 - 1;
  t.equal((await alice.run(['send', 'bob', 'stand by'])).status, 0);
  t.match(await alice.run(['history', 'bob']), { status: 0, out: /9007199254740991/ });
  t.match(await alice.run(['transcript', 'list']), { status: 0, out: /1 messages, 9007199254740991 ms/ });
});

// ---- the interactive mode, through pipes -------------------------------------------------------------------------------------------

t.test('who registers again because no answer came is logged in, by the right password alone', async (t) => {
  const { server, alice } = await world(t);
  server.script = (frame, link) => {
    if (frame.type !== 'register') return false;
    link.close('UNAVAILABLE');
    server.answer(frame, link, 'alice'); // it has the account, and nobody hears of it
    return true;
  };
  const answers = (password: string) => ['', '', '', password, password, 'bob', '/quit', ''].join('\n');
  t.equal((await alice.run([], answers('correct horse'))).status, 3);
  server.script = () => false;
  const wrong = await alice.run([], answers('incorrect horse'));
  t.match(wrong, { status: 4, err: 'chat: name or password is wrong [AUTH_FAIL]\n' });
  const right = await alice.run([], answers('correct horse'));
  t.equal(right.status, 0, right.err);
  const steps = [
    '✔ Registration request sent (encrypted)',
    "Server response: {'status': 'error', 'code': 'USER_EXISTS'}",
    'This certificate has an account already: logging in to it.',
    "Login response: {'status': 'ok'}",
  ];
  t.match(right.out, steps.join('\n'));
});

t.test('no arguments: the whole flow, line by line', async (t) => {
  const { server, alice, address } = await world(t);
  const input = new PassThrough();
  const out = new Sink();
  const err = new Sink();
  const running = main([], alice.env, { stdin: input, stdout: out, stderr: err });
  const sees = (what: string): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => void (out.text.includes(what) && resolve());
      out.onText = check;
      check();
    });
  const type = async (after: string, line: string): Promise<void> => {
    await sees(after);
    input.write(`${line}\n`);
  };
  await type('Register or login? [register]: ', '');
  await type('E-mail [alice@example.org]: ', '');
  await type('Username [alice]: ', '');
  await type('Password: ', 'correct horse');
  await type('Repeat password: ', 'correct horse');
  await type('Chat with: ', 'bob');
  await type('Type /quit to exit.', '   ');
  input.write('hey\n');
  await sees('You: hey\n');
  const frame = await waited(() => server.frames('msg_send')[0]);
  const message = leafOf(frame.messages.at(-1)!.statement);
  await server.receipts(server.latest, 'bob', [message]);
  await sees('Server delivered: ✔');
  await server.say(server.latest, 'bob', ['hello \u001b[31malice']);
  await sees('bob: hello \\u{1b}[31malice');
  server.latest.send({ type: 'presence', username: 'bob', online: true });
  server.latest.send({ type: 'presence', username: 'bob', online: true, state: 'away' });
  await sees('bob is away\n');
  server.latest.send({ type: 'presence', username: 'bob', online: true });
  await sees('bob is back\n');
  const typing = (username: string, on: boolean): void =>
    server.latest.send({ type: 'typing', conversation: server.conversation, username, on });
  for (const name of ['mallory', 'alice']) typing(name, true);
  typing('bob', true);
  typing('bob', true);
  await sees('bob is typing…\n');
  typing('bob', false);
  server.latest.send({ type: 'presence', username: 'bob', online: false });
  await sees('Partner has disconnected');
  t.notMatch(out.text, /(mallory|alice) is typing/, 'who is not in the conversation is not shown');
  t.equal(out.text.split('is typing…').length, 2, 'and who is, once');
  input.write('/away\n');
  await sees('You are away; others are told when you were there last.');
  input.write('/away now\n');
  await sees('! /away takes nothing more [USAGE]');
  input.write('/presence last-seen off\n');
  await sees('You are away; nobody is told when you were there last.');
  input.write('/presence nonsense\n');
  await sees('want one of online, away, dnd, invisible, last-seen on or last-seen off [USAGE]');
  input.write('/typing on\n');
  await sees('Others are told when you are typing.');
  server.script = (f, link) => {
    if (f.type !== 'msg_send') return false;
    server.ack(link, f, server.append(f), (r) => ({ ...r, messages: r.messages.map((m) => ({ ...m, queued: true })) }));
    return true;
  };
  input.write('for later\n');
  await sees('Server accepted: ✔ (queued, bob is offline)');
  input.write('/nonsense\n');
  await sees('Unknown command /nonsense');
  input.write('/history all\n');
  await sees('! /history wants a number of 1 to 9999, or nothing [USAGE]');
  input.write(' /quit\n');
  await sees('Not sent: a command has no space before the slash');
  input.write('//quit\n');
  await waited(() => server.written[2]);
  input.write('/quit now\n');
  t.equal(await running, 0, err.text);
  const shown = out.text.split('\n');
  const steps = [
    'Connected to server',
    '✔ Server certificate validated',
    'DH complete — encrypted channel established.',
    '✔ Registration request sent (encrypted)',
    "Server response: {'status': 'ok'}",
    "Login response: {'status': 'ok'}",
    'Secure channel ready — type your messages.',
    'Type /quit to exit.',
    'You: hey',
    'Server delivered: ✔',
  ];
  let at = -1;
  for (const step of steps) {
    const next = shown.indexOf(step, at + 1);
    t.ok(next > at, `${step} comes next`);
    at = next;
  }
  t.notMatch(out.text, /correct horse/, 'the password is not shown');
  t.notMatch(out.text, /\u001b/);
  t.equal(server.written.length, 3, 'blank lines are not sent');
  const peer = await server.peer;
  const said: string[] = [];
  for (const { messages } of server.written)
    for (const message of messages.filter(({ group }) => group !== undefined).slice(0, 1))
      said.push(textIn(await peer.open(message)));
  t.equal(said[2], '/quit');

  const again = new Shell(t, server, address, 'alice', 'correct horse');
  const second = await again.run([], '\n/quit\n');
  t.equal(second.status, 0, second.err);
  t.match(
    second.out,
    /Login response: \{'status': 'ok'\}\nChat with \[bob\]: \nSecure channel ready/,
    'no password asked again',
  );
  await again.run(['logout']);
  const third = await again.run(['--password-file', again.passwordFile], '/quit\n');
  t.match(
    third,
    { status: 0, out: /established\.\nLogin response: \{'status': 'ok'\}\nChat with/ },
    'nothing asked that is known',
  );
  await again.run(['logout']);
  t.match(await again.run([], 'correct horse\n/quit\n'), { status: 0, out: /established\.\nPassword: \nLogin/ });
});

t.test('interactive: all that came meanwhile is shown at once', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  t.match(await alice.run(['login', '--password-file', alice.passwordFile]), { status: 0 });
  const deliveries: Delivery[] = [];
  for (const first of [0, 550]) {
    const sent = await server.compose(
      'bob',
      Array.from({ length: 550 }, (_, i) => `number ${first + i}`),
    );
    deliveries.push(server.delivery(sent, server.append(sent)));
  }
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    server.answer(frame, link, 'alice');
    for (const delivery of deliveries) link.send(delivery);
    return true;
  };
  const { out } = await alice.run([], 'bob\n/quit\n');
  t.equal(out.match(/^bob: number \d+$/gm)?.length, 1100);
});

t.test('interactive: leaving waits for what cannot be sent now no longer than a moment', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  t.match(await alice.run(['login', '--password-file', alice.passwordFile]), { status: 0 });
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: 3_600_000 });
    return true;
  };
  t.match(await alice.run([], 'bob\nstand by\n/quit\n'), {
    status: 0,
    out: /1 not sent yet: kept for the next time\.\n$/,
  });
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    link.send({ type: 'error', id: frame.id, code: 'BLOCKED' });
    return true;
  };
  const next = await alice.run([], 'bob\nand this\n/quit\n');
  t.match(next.out, /\n! not sent to bob \[BLOCKED\]: “stand by”\n/, 'what was kept for the next time');
  t.match(next.out, /\n! not sent to bob \[BLOCKED\]: “and this”\n/);
});

t.test('passwd: a connection that ends before the answer, and a server that knows no such request', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  const change = () => alice.run(['passwd', '--password-stdin'], 'correct horse battery\nanother\n');
  server.script = (frame, link) => {
    if (frame.type === 'password_set') link.close('SHUTTING_DOWN');
    return frame.type === 'password_set';
  };
  t.match(await change(), { status: 3, err: /either password may be the right one now \[SHUTTING_DOWN\]\n$/ });
  server.script = (frame, link) => {
    if (frame.type === 'password_set') link.send({ type: 'error', id: frame.id, code: 'UNKNOWN_TYPE' });
    return frame.type === 'password_set';
  };
  t.match(await change(), { err: /the server does not know this request: it is older .* \[UNKNOWN_TYPE\]\n$/ });
  t.equal((await alice.run(['login', '--password-file', alice.passwordFile])).status, 0, 'nothing has changed');
});

t.test('interactive: refusals end it with their status', async (t) => {
  const { alice } = await world(t);
  t.match(await alice.run([], 'maybe\n'), { status: 2, out: /Invalid Choice\n$/ });
  const twice = await alice.run([], 'r\n\n\none password\nanother\n');
  t.match(twice, { status: 2, err: /the two passwords are not the same \[USAGE\/password\]/ });
  const wrong = await alice.run([], 'login\n\nsome password\n');
  t.match(wrong, { status: 4, out: /Login response: \{'status': 'error', 'code': 'AUTH_FAIL'\}\n$/ });
  t.equal((await alice.run([], '')).status, 130, 'the input ends before the flow does');
});

async function waited<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const leafOf = (statement: Uint8Array): Uint8Array => leafHash(statement);

t.test('receipts: off at first; history says who has signed what', async (t) => {
  const { server, alice } = await world(t);
  await alice.register();
  t.match(await alice.run(['receipts']), { status: 0, out: 'read receipts: off\n' });
  t.match(await alice.run(['receipts', 'on', '--json']), {
    status: 0,
    out: '{"v":1,"type":"receipts","read":"on","exceptions":[]}\n',
  });
  t.match(await alice.run(['receipts', 'maybe']), { status: 2, err: /\[USAGE\]/ });
  const unknown = { status: 8, out: '', err: /^chat: receipts: this profile knows no \S+: .*\[NOT_FOUND\]\n$/ };
  for (const name of ['bob', 'bob@example.org', '#ops']) {
    t.match(await alice.run(['receipts', 'off', name]), unknown, `${name}, of whom nothing was heard yet`);
    t.match(await alice.run(['receipts', 'default', name]), unknown);
  }
  t.match(await alice.run(['receipts']), { out: 'read receipts: on\n' }, 'nothing was set');
  t.match(await alice.run(['send', 'bob', 'hello']), { status: 0 });
  const vault = Vault.open(resolveSettings({}, alice.env).folder);
  const facts = { public: false, founder: false, closed: false };
  vault.putRoster(Buffer.alloc(32, 7) as Uint8Array as ConversationId, {
    peer: '#ops',
    epoch: 1,
    members: [{ username: 'carol', devices: [] }],
    room: facts,
  });
  vault.profile.setContacts([{ username: 'dave', state: 'asked' }]);
  vault.close();
  for (const name of ['carol', 'dave']) {
    t.match(await alice.run(['receipts', 'off', name]), { status: 0 }, `${name}, of a room or a contact`);
    t.match(await alice.run(['receipts', 'default', name]), { out: 'read receipts: on\n' });
  }
  t.match(await alice.run(['receipts', 'off', 'Bob']), { out: 'read receipts: on\nbob: off\n' });
  t.match(await alice.run(['receipts', 'on', '#ops', '--json']), {
    out: '{"v":1,"type":"receipts","read":"on","exceptions":[{"peer":"bob","read":"off"},{"peer":"#ops","read":"on"}]}\n',
  });
  t.match(await alice.run(['receipts', 'default', 'bob']), { out: 'read receipts: on\n#ops: on\n' });
  t.match(await alice.run(['receipts', 'default']), { status: 2, err: /want a name \[USAGE\]/ });
  t.match(await alice.run(['receipts', 'off', 'no body']), { status: 2, err: /\[BAD_NAME/ });
  server.script = (frame, link) => {
    if (frame.type !== 'msg_send') return false;
    server.ack(link, frame, server.append(frame));
    void server.receipts(link, 'bob', [leafOf(frame.messages.at(-1)!.statement)], KIND.read);
    return true;
  };
  t.match(await alice.run(['send', 'bob', 'now', '--wait', 'read']), { status: 0, out: 'bob #2 read\n' });
  const [line] = (await alice.run(['history', 'bob', '--json', '--last', '1'])).out.split('\n');
  t.match(JSON.parse(line!), { state: 'read', receipts: [{ by: 'bob', said: 'read', device: /^[0-9a-f]{64}$/ }] });
  t.match((await alice.run(['history', 'bob'])).out, /✓✓ read\n$/);
});
