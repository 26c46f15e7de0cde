/** Password proofs over a real connection, servers that cheat at them, and coming back after a loss. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Secret } from '../../base/secret.ts';
import type { AppEvent } from '../../client/app-event.ts';
import { App } from '../../client/app.ts';
import { Connection, pauseMs } from '../../client/connection.ts';
import { dialer } from '../../client/dial.ts';
import { parseAddress } from '../../client/settings.ts';
import { Vault } from '../../client/vault.ts';
import { Requester } from '../../client/requester.ts';
import { preparePassword } from '../../protocol/scram.ts';
import { Listener } from './listener.ts';
import { drop, ScriptedServer } from './scripted-server.ts';

const password = (text = 'correct horse'): Secret => new Secret(preparePassword(text));
const account = { username: 'alice', email: 'alice@example.org' };

async function world(t: Test): Promise<{ server: Listener; app: App; events: AppEvent[] }> {
  const server = new Listener();
  const address = await server.listen(t);
  const identity = server.identity('alice');
  const vault = Vault.open(join(t.testdir({}), 'p'));
  const app = new App({ vault, identity, server: address, dial: dialer(parseAddress(address)!, identity) });
  const events: AppEvent[] = [];
  app.on((event) => events.push(event));
  t.teardown(() => app.close());
  return { server, app, events };
}
const until = async (events: readonly AppEvent[], is: (event: AppEvent) => boolean): Promise<AppEvent> => {
  for (;;) {
    const found = events.find(is);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

t.test('register, log in, come back by token after the line was cut', async (t) => {
  const { server, app, events } = await world(t);
  await app.connect();
  await app.register(account, password());
  await t.rejects(app.login(password('wrong')), { code: 'AUTH_FAIL' });
  const asked = server.frames('login').length;
  await t.rejects(app.login(password(), 'mallory'), { code: 'CERT_ACCOUNT_MISMATCH' }, 'another certificate’s name');
  t.equal(server.frames('login').length, asked, 'is not asked for, and counts as no guess');
  t.equal(app.status().isConnected, false);
  await app.login(password());
  t.match(app.vault.profile.account(), account);
  t.ok(app.canResume);
  for (const code of ['UNAVAILABLE', 'QUOTA'] as const) {
    server.latest.close(code);
    await until(events, (e) => e.on === 'lost' && e.error.code === code && e.willRetry);
    while (!app.status().isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.equal(server.frames('resume').length, 2);
  t.equal(server.frames('login').length, 2, 'no password was asked for again');
});

t.test('sessions that do not last are no reason to begin with short pauses again', async (t) => {
  const { server, app, events } = await world(t);
  await app.connect();
  await app.register(account, password());
  await app.login(password());
  for (let i = 0; i < 5; i++) {
    server.latest.close('CONNECTION_LOST'); // as when the same certificate logs in elsewhere
    await until(events, () => server.frames('resume').length > i && app.status().isConnected);
  }
  const pauses = events.flatMap((e) => (e.on === 'waiting' ? [e.ms] : []));
  t.equal(pauses.length, 5);
  pauses.forEach((ms, i) => t.ok(ms >= 100 * 2 ** i && ms <= 200 * 2 ** i, `${ms} ms before attempt ${i + 1}`));
});

t.test('a server that asks for a wait longer than a day is asked again after a day, and not at once', async (t) => {
  const { server, app, events } = await world(t);
  await app.connect();
  await app.register(account, password());
  await app.login(password());
  server.script = (frame, link) => {
    if (frame.type !== 'resume') return false;
    link.send({ type: 'error', id: frame.id, code: 'UNAVAILABLE', retry_after_ms: Number.MAX_SAFE_INTEGER });
    return true;
  };
  server.latest.close('UNAVAILABLE');
  await until(events, (e) => e.on === 'waiting' && e.ms === 86_400_000);
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(server.frames('resume').length, 1);
});

t.test('a server may demand more of a password hash than the client would, and never less', async (t) => {
  for (const [demanded, answer] of [
    ['argon2id$m=65536,t=4,p=1', null],
    ['argon2id$m=19456,t=2,p=1', { code: 'WEAK_KDF', sub: 'memory' }],
    ['argon2id$m=4194304,t=4,p=1', { code: 'WEAK_KDF', sub: 'memory' }],
  ] as const) {
    const { server, app } = await world(t);
    server.script = (frame, link) => {
      if (frame.type === 'register' && frame.kdf !== demanded)
        link.send({ type: 'error', id: frame.id, code: 'WEAK_KDF', sub: 'passes' });
      else if (frame.type === 'login')
        link.send({
          type: 'login_challenge',
          id: frame.id,
          nonce: Buffer.alloc(24),
          salt: Buffer.alloc(16),
          kdf: demanded,
        });
      else return false;
      return true;
    };
    await app.connect();
    if (answer === null) await app.register(account, password());
    else await t.rejects(app.register(account, password()), answer);
    t.strictSame(
      server.frames('register').map(({ kdf }) => kdf),
      ['argon2id$m=65536,t=3,p=1', ...(answer === null ? [demanded] : [])],
    );
  }
});

t.test('a token that is no longer good: the password of this process serves', async (t) => {
  const { server, app, events } = await world(t);
  await app.connect();
  await app.register(account, password());
  await app.login(password());
  server.script = (frame, link) => {
    if (frame.type === 'resume') link.send({ type: 'error', id: frame.id, code: 'AUTH_FAIL' });
    return frame.type === 'resume';
  };
  server.latest.close('SHUTTING_DOWN');
  await until(events, (e) => e.on === 'lost');
  while (!app.status().isConnected) await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(server.frames('login_proof').length, 2);
});

t.test('an old token is not even shown', async (t) => {
  const { server, app } = await world(t);
  app.vault.profile.setResumeToken({ token: 'old', expires: Date.now() - 1, fingerprint: app.identity.fingerprint });
  t.notOk(app.canResume);
  await app.connect();
  await t.rejects(app.login(null), { code: 'NOT_LOGGED_IN' });
  app.vault.profile.setResumeToken({
    token: 'of another',
    expires: Date.now() + 100_000,
    fingerprint: Buffer.alloc(32),
  });
  await t.rejects(app.login(null), { code: 'NOT_LOGGED_IN' }, 'nor the token of another certificate');
  t.strictSame(server.frames('resume'), []);
});

t.test('what must not be tried again ends it', async (t) => {
  const { server, app, events } = await world(t);
  await app.connect();
  await app.register(account, password());
  await app.login(password());
  server.latest.close('BAD_CERT', 'revoked');
  const lost = await until(events, (e) => e.on === 'lost');
  t.match(lost, {
    willRetry: false,
    error: { code: 'BAD_CERT', sub: 'revoked', message: /your certificate \(revoked\)/ },
  });
  await t.rejects(app.settled(), { code: 'BAD_CERT' });
  t.equal(server.links.length, 1);
});

t.test('a server that cheats at the login', async (t) => {
  const { server, app } = await world(t);
  await app.connect();
  await app.register(account, password());
  let kdf = 'argon2id$m=8,t=1,p=1';
  server.script = (frame, link) => {
    if (frame.type !== 'login') return false;
    link.send({ type: 'login_challenge', id: frame.id, nonce: Buffer.alloc(24), salt: Buffer.alloc(16), kdf });
    return true;
  };
  await t.rejects(app.login(password()), { code: 'WEAK_KDF', sub: 'memory' }, 'a cost that makes guessing cheap');
  kdf = 'argon2id$m=1048577,t=3,p=1';
  await t.rejects(app.login(password()), { code: 'WEAK_KDF', sub: 'memory' }, 'a cost that stops this machine');
  t.equal(server.frames('login_proof').length, 0, 'nothing was proven to it');

  for (const signature of [undefined, Buffer.alloc(32, 1)]) {
    server.script = (frame, link) => {
      if (frame.type !== 'login_proof') return false;
      link.send({
        ...server.loginOk(frame.id, 'alice'),
        ...(signature === undefined ? {} : { server_signature: signature }),
      });
      return true;
    };
    await t.rejects(
      app.login(password()),
      { code: 'SIG_FAIL', sub: 'server_signature' },
      'it does not know the account',
    );
  }
  server.script = (frame, link) => {
    if (frame.type === 'resume') link.send(server.loginOk(frame.id, 'bob'));
    return frame.type === 'resume';
  };
  app.vault.profile.setResumeToken({ token: 'x', expires: 4_000_000_000_000, fingerprint: app.identity.fingerprint });
  await t.rejects(app.login(null), { code: 'CERT_ACCOUNT_MISMATCH' }, 'logged in as somebody else');
  t.equal(app.vault.profile.account(), null, 'nothing of it is kept');
});

t.test('pauses grow from 0.2 s to 30 s, and are drawn from their upper half', (t) => {
  t.strictSame(
    [0, 1, 2, 7, 8, 100].map((attempt) => [pauseMs(attempt, 0), pauseMs(attempt, 1)]),
    [
      [100, 200],
      [200, 400],
      [400, 800],
      [12_800, 25_600],
      [15_000, 30_000],
      [15_000, 30_000],
    ],
  );
  t.end();
});

t.test('requests and their replies', async (t) => {
  const server = new ScriptedServer();
  server.script = () => true;
  const requester = new Requester(server.connect('alice'));
  const ping = requester.request({ type: 'ping' }, 'pong');
  const open = requester.request({ type: 'conversation_open', peer: 'bob' }, 'conversation');
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  const [first, second] = server.received as { id: number }[];
  t.strictSame([first?.id, second?.id], [1, 2]);
  server.latest.send({ type: 'error', id: 2, code: 'RATE_LIMIT', retry_after_ms: 1500, sub: 'x\u001b' });
  await t.rejects(open, {
    code: 'RATE_LIMIT',
    retryAfterMs: 1500,
    message: 'too much in too short a time (x?); try again in 2 s',
  });
  server.latest.send({ type: 'pong', id: 1, server_time: 5 });
  t.equal((await ping).server_time, 5);

  const wrong = requester.request({ type: 'ping' }, 'pong');
  server.latest.send({ type: 'ok', id: 3 });
  await t.rejects(wrong, { code: 'BAD_FRAME', field: 'type' });
  t.match(await requester.link.closed, { code: 'BAD_FRAME' });
  const cause = { code: 'BAD_FRAME' };
  await t.rejects(requester.request({ type: 'ping' }, 'pong'), { code: 'CONNECTION_LOST', cause });
});

t.test('a reply that nobody asked for, a cut line, a server that goes silent', async (t) => {
  const server = new ScriptedServer();
  server.script = () => true;
  const unasked = new Requester(server.connect('alice'));
  server.latest.send({ type: 'ok', id: 77 });
  t.match(await unasked.link.closed, { code: 'BAD_FRAME' });

  const flooded = new Requester(server.connect('alice'));
  const sent = await server.compose('bob', [Buffer.alloc(400_000)]);
  const large = server.delivery(sent, server.append(sent));
  for (let i = 0; i < 60; i++) server.latest.send(large);
  t.match(await flooded.link.closed, { code: 'BAD_FRAME' }, 'before there was a login');

  const cut = new Requester(server.connect('alice'));
  const waiting = cut.request({ type: 'ping' }, 'pong');
  drop(server.latest);
  await t.rejects(waiting, { code: 'CONNECTION_LOST' });

  const silent = new Requester(server.connect('alice'), 10);
  const keepAlive = setInterval(() => {}, 1000); // the pings themselves keep no process alive
  t.match(await silent.link.closed, { code: 'CONNECTION_LOST' });
  clearInterval(keepAlive);
});

t.test('a server that answers pings, and something else not', async (t) => {
  const server = new ScriptedServer();
  // It is time for a ping when the one before is answered: a busy machine makes none late.
  let ping: () => void = () => {};
  const { setInterval: set } = globalThis;
  t.intercept(globalThis, 'setInterval', {
    value: (work: () => void) => {
      ping = work;
      return set(() => {}, 2 ** 30);
    },
  });
  const calm = async (): Promise<void> => {
    for (let i = 0; i < 4; i++) await new Promise(setImmediate);
  };
  const pinged = async <T>(outcome: Promise<T>): Promise<T> => {
    let isOver = false;
    const over = outcome.finally(() => (isOver = true));
    while (!isOver) {
      ping();
      await calm();
    }
    return over;
  };
  server.script = ({ type }) => type !== 'ping';
  for (const body of [{ type: 'conversation_open', peer: 'bob' }, { type: 'sync' }] as const) {
    const requester = new Requester(server.connect('alice'));
    const want = body.type === 'sync' ? ('synced' as const) : ('conversation' as const);
    await pinged(t.rejects(requester.request(body, want), { code: 'CONNECTION_LOST' }, body.type));
  }

  const sent = await server.compose('bob', ['hello']);
  const delivery = server.delivery(sent, server.append(sent));
  let pings = 0;
  server.script = (frame, link) => {
    if (frame.type === 'sync') return true;
    if (++pings % 10 === 0) link.send(delivery);
    if (pings === 40) link.send({ type: 'synced', id: 1 });
    return false;
  };
  const patient = new Requester(server.connect('alice'));
  patient.onNotice(() => {});
  await pinged(patient.request({ type: 'sync' }, 'synced'));
  t.equal(pings, 40, 'what waits for others is waited for as long as something comes');
  patient.link.close();

  // Fails when a line is given up on which something large takes its time: it would begin anew for ever.
  for (const direction of ['receivedBytes', 'queuedBytes'] as const) {
    server.script = () => true;
    server.received.length = 0;
    const slow = new Requester(server.connect('alice'));
    const link = slow.link as { -readonly [Key in typeof direction]: number };
    const asked = slow.request({ type: 'conversation_open', peer: 'bob' }, 'conversation');
    for (let i = 0; i < 5; i++) {
      ping();
      link[direction]++;
      await calm();
    }
    t.equal(server.frames('ping').length, 1, 'it has not been answered');
    server.latest.send({ type: 'pong', id: 2, server_time: 5 });
    server.latest.send(server.roster(1));
    await asked;
    for (let i = 0; i < 6; i++) {
      ping();
      link[direction]++;
      await calm();
    }
    t.equal(server.frames('ping').length, 2, 'and again');
    t.match(await slow.link.closed, { code: 'CONNECTION_LOST' }, 'but not for ever');
  }
});

t.test('the first attempt fails aloud', async (t) => {
  const server = new Listener();
  const identity = server.identity('alice');
  const vault = Vault.open(join(t.testdir({}), 'p'));
  const handlers = {
    open: () => {},
    notice: () => {},
    lost: () => t.fail('not a loss'),
    waiting: () => t.fail('no retry'),
  };
  const connection = new Connection(dialer({ host: '127.0.0.1', port: 9 }, identity), vault, handlers, Date.now);
  await t.rejects(connection.dial(), { code: 'UNREACHABLE', message: /127\.0\.0\.1:9/ });
  await connection.close();
  vault.close();
});
