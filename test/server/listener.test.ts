import { createHook } from 'node:async_hooks';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import { ChatError } from '../../base/errors.ts';
import { refusalRecord } from '../../protocol/hello.ts';
import { clientTlsOptions, type Credentials } from '../../runtime/tls.ts';
import { ConnectionLimits, networkOf } from '../../server/connection-limits.ts';
import { Listener } from '../../server/listener.ts';
import { LONG_MS, lateTimers } from '../support/late-timers.ts';
import {
  admitBy,
  ca,
  credentials,
  dial,
  dialTcp,
  dialTls,
  inbox,
  memoryLog,
  NO_LIMITS,
  serverCertificate,
  startServer,
  trusting,
  type TestServer,
} from '../support/pair.ts';
import { authority, type Authority } from '../support/pki.ts';

const alice = credentials(ca.client('alice'));

/** Resolves when the server has closed the socket. */
const dropped = (socket: Socket): Promise<void> =>
  socket.destroyed ? Promise.resolve() : new Promise((resolve) => socket.resume().once('close', () => resolve()));
const works = async (server: TestServer): Promise<boolean> => {
  const [link, client] = await Promise.all([server.nextLink(), dial(server.port, alice)]);
  const arrived = inbox(link);
  client.send({ type: 'ping', id: 1 });
  const frame = await arrived.next();
  client.close();
  return frame.type === 'ping';
};

t.test('what is not TLS is dropped at once, and logged', async (t) => {
  const junk: readonly [string, Buffer][] = [
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n')],
    ['a PROXY header', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n')],
    ['zeros', Buffer.alloc(4096)],
    ['SSLv2', Buffer.from(`802e0100020015000000100100800200800300800400800500800600400700c0${'00'.repeat(16)}`, 'hex')],
    ['a TLS record of 64 kB', Buffer.concat([Buffer.from('160301ffff', 'hex'), Buffer.alloc(65_535)])],
    ['an alert', Buffer.from('15030300020228', 'hex')],
  ];
  for (const [name, bytes] of junk) {
    const server = await startServer(t);
    const socket = await dialTcp(server.port);
    socket.write(bytes);
    await dropped(socket);
    t.match(await server.line('tls.refused'), { level: 'info', address: '127.0.0.1' }, name);
    t.ok(await works(server), `${name}: others are served`);
  }
});

t.test('what a peer says of itself is no failure of ours, nor of its certificate', async (t) => {
  const server = await startServer(t);
  for (const detail of [{}, { field: 'tls' }])
    for (const code of ['INTERNAL', 'DISK_FULL', 'BAD_CERT'] as const) {
      const socket = dialTls(server.port, alice);
      await once(socket, 'secureConnect');
      socket.write(refusalRecord(new ChatError(code, 'says the peer', detail)));
      await dropped(socket);
    }
  while (server.lines.length < 7) await new Promise(setImmediate);
  for (const { event, level, reason, stack } of server.lines.slice(1))
    t.strictSame([event, level, reason, stack], ['handshake.refused', 'info', 'reported', undefined]);
});

t.test('who never finishes is destroyed in time, and nobody waits for him', async (t) => {
  const isTime = lateTimers(t);
  const server = await startServer(t, { handshakeTimeoutMs: LONG_MS });
  const hello = await wholeHello();
  const half = hello.subarray(0, hello.length >> 1);
  const sockets: Socket[] = [];
  for (let i = 0; i < 200; i++) sockets.push(await dialTcp(server.port));
  for (let i = 0; i < 50; i++) {
    const socket = await dialTcp(server.port);
    socket.write(half);
    sockets.push(socket);
  }
  const dripping = await dialTcp(server.port);
  const drip = setInterval(() => dripping.write('\x16'), 20);
  sockets.push(dripping);
  t.ok(sockets.every((socket) => !socket.destroyed));
  t.ok(await works(server), 'an honest login in the middle of it');
  t.ok(server.listener.unfinishedHandshakes > 200, 'while they hang');
  isTime();
  await Promise.all(sockets.map(dropped));
  clearInterval(drip);
  const closed = server.lines.filter(({ event }) => event === 'tls.refused' || event === 'handshake.refused');
  t.ok(closed.length > 0 && closed.length <= 60, `logged, but not ${sockets.length} times: ${closed.length}`);
  while (server.listener.connections > 0) await new Promise(setImmediate);
  t.equal(server.listener.unfinishedHandshakes, 0, 'every place is free again');
});

/** A ClientHello, as Node sends it. */
async function wholeHello(): Promise<Buffer> {
  const { createServer } = await import('node:net');
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = (server.address() as { port: number }).port;
  const client = connectTls(clientTlsOptions(alice, trusting(ca), '127.0.0.1', port));
  client.on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  const [hello] = (await once(
    socket.on('error', () => {}),
    'data',
  )) as [Buffer];
  client.destroy();
  server.close();
  return hello;
}

t.test('one address has its share of connections, and gets it back', async (t) => {
  const server = await startServer(t, { limits: { ...NO_LIMITS, connectionsPerAddress: 3 } });
  const held = [await dialTcp(server.port), await dialTcp(server.port), await dialTcp(server.port)];
  const fourth = await dialTcp(server.port);
  await dropped(fourth);
  t.match(await server.line('connection.refused'), { code: 'RATE_LIMIT', sub: 'connections_per_address' });
  t.equal(server.listener.connections, 3);
  const other = connect({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.2' });
  other.on('error', () => {});
  await once(other, 'connect');
  const back = server.line('tls.refused');
  held[0]?.destroy();
  await back;
  t.ok(await works(server), 'after one has left');
  t.notOk(other.destroyed, 'another address has a share of its own');
  for (const socket of [...held, other]) socket.destroy();
});

t.test('all together have their share', async (t) => {
  const server = await startServer(t, { limits: { ...NO_LIMITS, connections: 2 } });
  const held = [await dialTcp(server.port), await dialTcp(server.port)];
  await dropped(await dialTcp(server.port));
  t.match(await server.line('connection.refused'), { code: 'RATE_LIMIT', sub: 'connections' });
  for (const socket of held) socket.destroy();
});

t.test('handshakes are paced on a clock that does not go back', async (t) => {
  let now = 1e6;
  const limits = { ...NO_LIMITS, handshakesPerAddressPerSecond: 5 };
  const server = await startServer(t, { limits, monotonicMs: () => now });
  const held: Socket[] = [];
  for (let i = 0; i < 5; i++) held.push(await dialTcp(server.port));
  await dropped(await dialTcp(server.port));
  t.match(await server.line('connection.refused'), { code: 'RATE_LIMIT', sub: 'handshakes_per_address' });
  now += 200;
  t.ok(await works(server), 'one more after a fifth of a second');
  await dropped(await dialTcp(server.port));
  for (const socket of held) socket.destroy();
});

t.test('certificates that lead nowhere cost their address as much as many connections', async (t) => {
  let now = 1e6;
  const limits = { ...NO_LIMITS, handshakesPerAddressPerSecond: 5 };
  const server = await startServer(t, { limits, monotonicMs: () => now });
  const many: Authority[] = [authority('Stranger 0')];
  for (let i = 1; i < 12; i++) many.unshift(many[0]!.intermediate(`Stranger ${i}`));
  const from = (localAddress: string, own: Credentials): Socket =>
    dialTls(server.port, own, { localAddress } as object);
  const refused = () => server.lines.filter(({ sub }) => sub === 'handshakes_per_address').length;
  await dropped(from('127.0.0.2', credentials(many[0]!.client('alice'), ...many)));
  t.match(await server.line('certificate.refused'), { address: '127.0.0.2', sub: 'untrusted' });
  now += 1000;
  await dropped(from('127.0.0.2', alice));
  t.equal(refused(), 1, 'a second is not enough');
  t.ok(await works(server), 'others come in');
  now += 10_000;
  const socket = from('127.0.0.2', alice);
  while (server.listener.unfinishedHandshakes === 0) await new Promise(setImmediate);
  t.equal(refused(), 1, 'until that has flown in');
  socket.destroy();

  const superfluous = credentials(ca.client('bob'), ...many);
  const [link, client] = await Promise.all([server.nextLink(), dial(server.port, superfluous)]);
  t.equal(link.peerChain.length, 2, 'who is let in');
  await dropped(await dialTcp(server.port));
  t.equal(refused(), 2, 'pays for them as well');
  client.close();
});

t.test('when too many are unfinished, the oldest makes room', async (t) => {
  const server = await startServer(t, { limits: { ...NO_LIMITS, unfinishedHandshakes: 2 } });
  const [first, second] = [await dialTcp(server.port), await dialTcp(server.port)];
  t.ok(await works(server));
  await dropped(first);
  t.notOk(second.destroyed, 'and no more than that');
  second.destroy();
});

t.test('who only connects costs no TLS, and is dropped like one who began it', async (t) => {
  const made: string[] = [];
  const hook = createHook({ init: (_, type) => void (type === 'TLSWRAP' && made.push(type)) }).enable();
  t.teardown(() => hook.disable());
  const isTime = lateTimers(t);
  const server = await startServer(t, { handshakeTimeoutMs: LONG_MS });
  const silent = await dialTcp(server.port);
  while (server.listener.unfinishedHandshakes === 0) await new Promise(setImmediate);
  isTime();
  await dropped(silent);
  t.match(await server.line('tls.refused'), { code: 'HANDSHAKE_TIMEOUT' });
  const gone = await dialTcp(server.port);
  while (server.listener.unfinishedHandshakes === 0) await new Promise(setImmediate);
  gone.destroy();
  while (server.listener.unfinishedHandshakes > 0) await new Promise(setImmediate);
  t.match(server.lines.at(-1), { event: 'tls.refused', code: 'CONNECTION_LOST' });
  t.equal(made.length, 0);
  t.ok(await works(server));
  t.equal(made.length, 2, 'one at each end');
  while (server.listener.connections > 0) await new Promise(setImmediate);
});

t.test('a hello in single bytes is as good as one in one piece', async (t) => {
  const server = await startServer(t);
  const hello = await wholeHello();
  const socket = await dialTcp(server.port);
  for (const byte of hello) {
    socket.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  const [answer] = (await once(socket, 'data')) as [Buffer];
  t.equal(answer[0], 22, 'a handshake record');
  socket.destroy();
});

t.test('admission counts and forgets', (t) => {
  let now = 0;
  const admission = new ConnectionLimits(
    { ...NO_LIMITS, handshakesPerAddressPerSecond: 2, connectionsPerAddress: 1 },
    () => now,
  );
  t.equal(admission.enter('192.0.2.1'), null);
  t.match(admission.enter('::ffff:192.0.2.1'), { sub: 'connections_per_address' }, 'the same machine');
  t.match(admission.enter('192.0.2.1'), { sub: 'handshakes_per_address' });
  now += 500;
  admission.leave('192.0.2.1');
  admission.leave('192.0.2.1');
  t.equal(admission.connections, 0, 'leaving twice is leaving once');
  t.equal(admission.enter('192.0.2.1'), null);
  now -= 10_000;
  t.match(admission.enter('192.0.2.1'), { code: 'RATE_LIMIT' }, 'a clock that goes back gives nothing');
  t.end();
});

t.test('addresses are counted by network', (t) => {
  const rows = [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
  ] as const;
  for (const [address, want] of rows) t.equal(networkOf(address), want, address);
  t.end();
});

t.test('several addresses, one of them taken', async (t) => {
  const { log } = memoryLog();
  const options = {
    own: credentials(serverCertificate),
    authorities: trusting(ca),
    admit: admitBy(trusting(ca), 'clientAuth'),
    suites: [1] as const,
    handshakeTimeoutMs: 1000,
    limits: NO_LIMITS,
    log,
    onLink: () => {},
  };
  const both = await Listener.open({
    ...options,
    listen: [
      { host: '127.0.0.1', port: 0 },
      { host: '127.0.0.2', port: 0 },
    ],
  });
  t.equal(both.endpoints.length, 2);
  const port = both.endpoints[0]!.port;
  const free = both.endpoints[1]!.port;
  const again = Listener.open({
    ...options,
    listen: [
      { host: '127.0.0.3', port: free },
      { host: '127.0.0.1', port },
    ],
  });
  await t.rejects(again, { code: 'UNAVAILABLE', sub: 'listen', message: /: another process listens there$/ });
  await both.close();
  const after = await Listener.open({ ...options, listen: [{ host: '127.0.0.3', port: free }] });
  await after.close();
  t.pass('what was opened before the failure is free again');
});

t.test('a new certificate is shown from the next connection on; links live on', async (t) => {
  const server = await startServer(t);
  const [link, client] = await Promise.all([server.nextLink(), dial(server.port, alice)]);
  const renewed = ca.server();
  server.listener.renew(credentials(renewed), trusting(ca));
  const second = await dial(server.port, alice);
  t.same(second.peerChain[0].der, renewed.der);
  t.notSame(client.peerChain[0].der, renewed.der);
  second.close();
  await server.listener.close();
  const arrived = inbox(link);
  client.send({ type: 'ping', id: 1 });
  t.match(await arrived.next(), { type: 'ping' }, 'also when nobody new is let in');
  await t.rejects(dial(server.port, alice), { code: 'UNREACHABLE' });
  client.close();
});

t.test('a socket that is still shaking hands is dropped when the listener closes', async (t) => {
  const server = await startServer(t);
  const socket = dialTls(server.port, alice);
  await once(socket, 'secureConnect');
  await server.listener.close();
  await dropped(socket);
  t.equal(server.listener.unfinishedHandshakes, 0);
});

t.test('no file descriptors left: refused, and back when there are some', async (t) => {
  const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
  const script = `
    import { startServer, dial, credentials, ca, dialTcp } from ${url('../support/pair.ts')};
    import { openSync, closeSync } from 'node:fs';
    import { once } from 'node:events';
    const teardowns = [];
    const server = await startServer({ teardown: (f) => teardowns.push(f) });
    const alice = credentials(ca.client('alice'));
    (await dial(server.port, alice)).close(); // everything is loaded
    const first = await dialTcp(server.port);
    const files = [];
    try { for (;;) files.push(openSync('/dev/null')); } catch (error) { if (error.code !== 'EMFILE') throw error; }
    closeSync(files.pop()); // for the client's end
    const refused = await dialTcp(server.port).then((s) => once(s.resume(), 'close').then(() => 'closed'), (e) => e.code);
    for (const fd of files) closeSync(fd);
    (await dial(server.port, alice)).close();
    console.log(refused, 'back');
    process.exit(0);
  `;
  const child = spawn('sh', ['-c', 'ulimit -n 256; exec "$0" --input-type=module -e "$1"', process.execPath, script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk) => (out += chunk));
  const [status] = await once(child, 'close');
  t.match(out, /^closed back\n$/);
  t.equal(status, 0);
});
