/** How the server starts, fails to start, is told to read its files again, and is stopped at a bad moment. */
import { EventEmitter, once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import t from 'tap';
import { Lifecycle, type Signals } from '../../runtime/lifecycle.ts';
import { askAdmin } from '../../server/admin.ts';
import { ca, credentials, dial, memoryLog, serverCertificate, trusting } from '../support/pair.ts';
import { authority } from '../support/pki.ts';
import { RawClient } from '../support/raw-client.ts';
import { Program, root } from '../support/system.ts';
import { openConversation, world } from '../support/world.ts';

t.setTimeout(240_000); // a busy machine is no failure

t.test('whatever keeps it from starting: the reason, and everything is let go of again', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  await w.stop();
  const path = (name: string): string => join(w.dir, name);
  /** Puts something else in the place of a file; answers how to undo it. */
  const instead = (name: string, make: (path: string) => void): (() => void) => {
    renameSync(path(name), path('aside'));
    make(path(name));
    return () => {
      rmSync(path(name), { recursive: true });
      renameSync(path('aside'), path(name));
    };
  };
  const junk = (name: string): (() => void) => instead(name, (file) => writeFileSync(file, 'junk', { mode: 0o600 }));
  const cases: readonly (readonly [
    name: string,
    spoil: () => () => void,
    want: { code: string | RegExp; field?: string; sub?: string },
  ])[] = [
    ['a certificate that is none', () => junk('certs/server.crt'), { code: 'CONFIG_INVALID', field: 'tls.cert' }],
    [
      'a certificate for clients',
      () => instead('certs/server.crt', (f) => writeFileSync(f, ca.client('x').pem)),
      { code: 'CONFIG_INVALID', field: 'tls.key' },
    ],
    ['authorities that are none', () => junk('certs/ca.crt'), { code: 'CONFIG_INVALID', field: 'tls.ca' }],
    [
      'another authority',
      () => instead('certs/ca.crt', (f) => writeFileSync(f, authority().pem)),
      { code: 'BAD_CERT', sub: 'untrusted' },
    ],
    [
      'a state that others can read',
      () => (chmodSync(path('state'), 0o755), () => chmodSync(path('state'), 0o700)),
      { code: 'UNSAFE_FILE', field: 'state_dir' },
    ],
    ['a database that is none', () => junk('state/chat.db'), { code: /^STORE_/ }],
    ['a folder in the place of the database', () => instead('state/chat.db', (f) => mkdirSync(f)), { code: /^STORE_/ }],
    ['a file in the place of the transcript', () => junk('state/transcript'), { code: /./ }],
    ['a log key that is none', () => junk('state/log.key'), { code: /./ }],
    ['a token key that is none', () => junk('state/token.key'), { code: 'CONFIG_INVALID', field: 'state_dir' }],
    [
      'a file in the place of the socket',
      () => (writeFileSync(path('admin.sock'), ''), () => rmSync(path('admin.sock'))),
      { code: 'UNSAFE_FILE', field: 'admin.socket' },
    ],
  ];
  for (const [name, spoil, want] of cases) {
    const mend = spoil();
    await t.rejects(w.restart(), want, name);
    mend();
  }
  await w.restart();
  await (await w.login(alice)).settled();
  t.pass('and starts when all is well again: no lock, no socket, no table is held');

  const taken = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  await t.rejects(world(t, { listen: ['127.0.0.1:0', `127.0.0.1:${port}`] }), { code: 'UNAVAILABLE', sub: 'listen' });
  taken.close();
});

t.test('a stop that is asked for while it starts waits until it has, and stops all of it', async (t) => {
  const { log } = memoryLog();
  const life = new Lifecycle(log, 60_000, Object.assign(new EventEmitter(), { exit: () => {} }) as Signals);
  const opened = Promise.withResolvers<void>();
  const order: string[] = [];
  const started = life.start(async () => {
    life.onStop('first', () => void order.push('first'));
    await opened.promise;
    life.onStop('second', () => void order.push('second'));
  });
  const stopped = life.stop('SIGTERM');
  await new Promise(setImmediate);
  t.strictSame(order, [], 'not what is half open');
  opened.resolve();
  await started;
  t.equal(await stopped, 0);
  t.strictSame(order, ['second', 'first']);

  const stuck = new Lifecycle(log, 1, Object.assign(new EventEmitter(), { exit: () => {} }) as Signals);
  void stuck.start(() => new Promise(() => {}));
  t.equal(await stuck.stop('SIGTERM'), 0, 'nor for ever');
});

t.test('a SIGHUP that comes while it starts is obeyed when it has', async (t) => {
  const { log, lines } = memoryLog();
  const signals = Object.assign(new EventEmitter(), { exit: () => {} });
  const life = new Lifecycle(log, 60_000, signals as Signals);
  const opened = Promise.withResolvers<void>();
  const order: string[] = [];
  const started = life.start(async () => {
    order.push('reads the certificate');
    await opened.promise;
    life.onReload(() => void order.push('reads it again'));
  });
  signals.emit('SIGHUP', 'SIGHUP');
  await new Promise(setImmediate);
  t.strictSame([order, lines], [['reads the certificate'], []], 'and is not said to be done before');
  opened.resolve();
  await started;
  await life.reload();
  t.strictSame(order, ['reads the certificate', 'reads it again', 'reads it again']);

  const failing = new Lifecycle(log, 60_000, signals as Signals);
  const broken = Promise.withResolvers<void>();
  const failed = failing.start(() => broken.promise);
  const reloaded = failing.reload();
  broken.reject(new Error('no start'));
  await failed.catch(() => failing.stop('failed'));
  await reloaded;
  t.notMatch(lines.slice(2), [{ event: 'server.reloaded' }], 'what has not started reads nothing');
});

t.test('signals, at the real program', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'chat-daemon-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const put = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text, { mode: 0o600 });
    return join(dir, name);
  };
  const settings = {
    listen: ['127.0.0.1:0'],
    state_dir: join(dir, 'state'),
    'admin.socket': join(dir, 'admin.sock'),
    'tls.cert': put('server.crt', serverCertificate.pem),
    'tls.key': put('server.key', serverCertificate.keyPem),
    'tls.ca': [put('ca.crt', ca.pem)],
    'log.format': 'json',
  };
  const config = put(
    'server.toml',
    Object.entries(settings)
      .map(([k, v]) => `${k} = ${JSON.stringify(v)}\n`)
      .join(''),
  );
  const run = (): Program => new Program(t, [join(root, 'bin/chat-server'), 'run', '-c', config], {});
  const says = (program: Program, event: string, since = 0): Promise<Record<string, unknown>> =>
    program.until(event, () => {
      const lines = program.err.slice(since).split('\n').slice(0, -1);
      return lines.map((l) => JSON.parse(l) as Record<string, unknown>).find((l) => l['event'] === event) ?? null;
    });

  const another = createServer().listen(settings['admin.socket']);
  await once(another, 'listening');
  const deaf = run();
  t.equal(await deaf.ended, 2);
  t.match(deaf.err, /\[IN_USE\]/);
  t.notMatch(deaf.err, 'server.listening', 'nobody is let in whom an operator could not have ended');
  another.close();
  await once(another, 'close');

  const hasty = run();
  await says(hasty, 'server.starting');
  t.equal(await hasty.terminate(), 0, 'SIGTERM as soon as it starts');
  t.match(hasty.err, /"event":"server.stopped"/);

  const server = run();
  const { port } = await says(server, 'server.listening');
  await says(server, 'admin.listening');
  server.child.kill('SIGUSR1');
  const socket = join(dir, 'admin.sock');
  t.match(await askAdmin(socket, 'status'), { pid: server.pid });
  const link = async (own = credentials(ca.client('alice')), authorities = trusting(ca)): Promise<RawClient> =>
    new RawClient(await dial(Number(port), own, { authorities }));
  const a = await link();
  await a.settled();
  t.notMatch(server.err, /Debugger|inspector/i, 'SIGUSR1 opens no inspector');

  const second = authority('Second CA');
  await t.rejects(link(credentials(second.client('bob'))), { code: 'BAD_CERT', sub: 'untrusted' });
  put('ca.crt', ca.pem + second.pem);
  let since = server.err.length;
  server.child.kill('SIGHUP');
  await says(server, 'server.reloaded', since);
  const b = await link(credentials(second.client('bob')));
  await b.settled();
  put('ca.crt', ca.pem);
  server.child.kill('SIGHUP');
  t.strictSame(
    await b.link.closed,
    { code: 'BAD_CERT', sub: 'untrusted' },
    'an authority that is gone takes its people along',
  );
  await a.settled();

  const elsewhere = ca.server({ san: ['DNS:other.example'] });
  for (const [what, certificate, key, refusal] of [
    ['junk', 'junk', 'junk', { code: 'CONFIG_INVALID', field: 'tls.cert' }],
    ['for another host', elsewhere.pem, elsewhere.keyPem, { code: 'BAD_CERT', sub: 'wrong_host' }],
  ] as const) {
    put('server.crt', certificate);
    put('server.key', key);
    since = server.err.length;
    server.child.kill('SIGHUP');
    t.match(await says(server, 'config.failed', since), refusal, what);
    await (await link()).settled();
  }
  const renewed = ca.server();
  put('server.crt', renewed.pem);
  put('server.key', renewed.keyPem);
  since = server.err.length;
  server.child.kill('SIGHUP');
  await says(server, 'certificate.renewed', since);
  await says(server, 'server.reloaded', since);
  const c = await link();
  t.same(c.link.peerChain[0].der, renewed.der, 'new connections get it');
  await c.settled();
  await a.settled();
  t.equal(await server.terminate(), 0);
  t.strictSame(await a.link.closed, { code: 'SHUTTING_DOWN' });
});

t.test('a torn last record is said once, and a whole one never', async (t) => {
  const w = await world(t);
  const said = () => w.lines.filter(({ event }) => event === 'transcript.recovered');
  await w.restart();
  t.strictSame(said(), []);
  await w.stop();
  const records = join(w.dir, 'state/transcript/wal');
  const [newest] = readdirSync(records).sort().slice(-1);
  const segment = readFileSync(join(records, newest!));
  segment[segment.length - 1] = 1; // of a record that the last write began
  writeFileSync(join(records, newest!), segment);
  await w.restart();
  t.match(said(), [{ level: 'warn', size: w.server.transcript.size }]);
  await w.restart();
  t.strictSame(said(), [], 'it was repaired');
});

t.test('a transcript whose disk fails ends the server, and not with 0', async (t) => {
  const w = await world(t);
  const alice = await w.person('alice');
  await w.person('bob');
  const a = await w.login(alice);
  const talk = await openConversation(a, 'bob');
  rmSync(join(w.dir, 'state/transcript'), { recursive: true });
  writeFileSync(join(w.dir, 'state/transcript'), '');
  a.send(alice.lineage.texts(talk, ['hello']));
  await w.line('transcript.failed');
  t.equal((await a.link.closed).code, 'SHUTTING_DOWN');
  t.equal(await w.stop(), 1);
});

t.test('a thread of SQLite that dies ends the server, by name, and not with 0', async (t) => {
  const threads: Worker[] = [];
  const watch = (worker: Worker) => void threads.push(worker);
  process.on('worker', watch);
  const w = await world(t);
  process.off('worker', watch);
  const alice = await w.person('alice');
  const a = await w.login(alice);
  t.equal(threads.length, 1);
  await a.request({ type: 'sync' }, 'synced'); // nothing of hers is being read when the thread dies
  void threads[0]!.terminate();
  await w.line('store.failed');
  t.equal((await a.link.closed).code, 'SHUTTING_DOWN');
  t.equal(await w.stop(), 1);
  t.match(
    w.lines.find(({ event }) => event === 'server.failed'),
    { code: 'STORE_FAILED', reason: 'store' },
  );
});
