import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TLSSocket, type ConnectionOptions } from 'node:tls';
import t from 'tap';
import { decode, encode, HOLE, type Value } from '../../base/cbor.ts';
import { openRecord } from '../../protocol/channel.ts';
import { startClient, step } from '../../protocol/handshake.ts';
import { ephemeral } from '../../protocol/key-exchange.ts';
import { templateOf } from '../../protocol/frame-codec.ts';
import type { Reply, Request } from '../../protocol/messages.ts';
import { encodeRecord, RecordReader } from '../../protocol/record.ts';
import { openClientLink, type ClientLink, type ServerLink } from '../../runtime/link.ts';
import { serverContext, serverTlsOptions } from '../../runtime/tls.ts';
import {
  admitBy,
  ca,
  credentials,
  dial,
  dialTcp,
  dialTls,
  inbox,
  pair,
  serverCertificate,
  startServer,
  trusting,
  type TestServer,
} from '../support/pair.ts';
import { LONG_MS, lateTimers } from '../support/late-timers.ts';
import { authority } from '../support/pki.ts';
import { Relay } from '../support/relay.ts';

const alice = credentials(ca.client('alice'));

const ping = (id: number): Request<'ping'> => ({ type: 'ping', id });
const bigSend = (id: number, bytes = 1_000_000): Request<'msg_send'> => ({
  type: 'msg_send',
  id,
  algorithm: 1,
  signature: Buffer.alloc(64),
  batch: Buffer.alloc(172),
  messages: [{ statement: Buffer.alloc(248), parts: [Buffer.alloc(bytes)] }],
});

// Takes the two seconds that a peer has to read our last words; runs beside the other tests.
const lingering = (async () => {
  const teardowns: (() => unknown)[] = [];
  const server = await startServer({ teardown: (f: () => unknown) => void teardowns.push(f) } as never);
  const socket = dialTls(server.port, alice);
  const admit = admitBy(trusting(ca), 'serverAuth');
  const [link] = await Promise.all([server.nextLink(), openClientLink(socket, { own: alice, admit })]);
  socket.pause().removeAllListeners('end');
  Object.defineProperty(socket, 'resume', { value: () => socket }); // reads nothing, ends nothing
  const from = performance.now();
  link.close('SHUTTING_DOWN');
  await link.closed;
  const ms = performance.now() - from;
  socket.destroy();
  for (const teardown of teardowns) await teardown();
  return ms;
})();

t.test('both ends agree, whatever the suite', async (t) => {
  for (const suite of [1, 2, 3] as const) {
    const { server, client } = await pair(t, { server: { suites: [suite] } });
    t.equal(server.suite, suite);
    t.equal(client.suite, suite);
    t.match(server.confirmation, /^[0-9a-f]{16}$/);
    t.equal(server.confirmation, client.confirmation);
    t.ok(server.exporter.use((a) => client.exporter.use((b) => a.equals(b))));
    t.equal(server.peerChain[0].subject.text, 'CN=alice');
    t.same(client.ownFingerprint, server.peerChain[0].fingerprint);
    t.same(server.ownFingerprint, client.peerChain[0].fingerprint);
    t.equal(server.address, '127.0.0.1');
  }
  const server = await startServer(t, { suites: [2] });
  await t.rejects(dial(server.port, alice, { suites: [1] }), { code: 'DH_FAIL', sub: 'no_common_suite' });
  t.match(await server.line('handshake.refused'), { code: 'DH_FAIL', sub: 'no_common_suite' });
});

t.test('frames arrive in order, however they were sent', async (t) => {
  const { server, client } = await pair(t);
  const arrived = inbox<Request>(server);
  let id = 0;
  for (let tick = 0; tick < 20; tick++) {
    for (let i = 0; i < 100; i++) client.send(ping(++id));
    if (tick % 5 === 0) client.send(bigSend(++id));
    if (tick % 3 === 0) await new Promise(setImmediate);
  }
  const ids: number[] = [];
  while (ids.length < id) ids.push(((await arrived.next()) as Request<'ping'>).id);
  t.same(
    ids,
    Array.from({ length: id }, (_, i) => i + 1),
  );
});

t.test('what many bring at the same moment is read over several turns of the event loop', async (t) => {
  const server = await startServer(t);
  const clients = await Promise.all(Array.from({ length: 40 }, () => dial(server.port, alice)));
  while (server.links.length < 40) await new Promise(setImmediate);
  let [came, inTurn, most] = [0, 0, 0];
  const ids: number[] = [];
  for (const link of server.links)
    link.onFrame((frame) => {
      if (frame.type === 'ping') return void ids.push(frame.id);
      came++;
      most = Math.max(most, ++inTurn);
    });
  for (const [i, client] of clients.entries()) {
    client.send(bigSend(1, 60_000));
    client.send(ping(i + 1));
  }
  while (ids.length < 40) {
    inTurn = 0;
    await new Promise(setImmediate);
  }
  t.equal(came, 40);
  t.ok(most <= 18, `${most} of 60 kB in one turn`);
  t.equal(new Set(ids).size, 40, 'and what came after them');
  for (const client of clients) client.close();
});

t.test('what has come of a record that is not whole yet counts', async (t) => {
  const server = await startServer(t);
  const line = await Relay.to(t, server.port);
  const client = await dial(line.port, alice);
  while (server.links.length < 1) await new Promise(setImmediate);
  const link = server.links[0]!;
  link.onFrame(() => t.fail('not whole'));
  line.cutAfter(100_000);
  client.send(bigSend(1, 900_000));
  await link.closed;
  t.ok(link.receivedBytes > 50_000 && link.receivedBytes <= 100_000, `${link.receivedBytes} bytes`);
});

t.test('what one brings in small pieces is read over several turns, and others are heard in between', async (t) => {
  const server = await startServer(t);
  const clients = await Promise.all([dial(server.port, alice), dial(server.port, alice), dial(server.port, alice)]);
  while (server.links.length < 3) await new Promise(setImmediate);
  const [inOne, inMany, other] = server.links as [ServerLink, ServerLink, ServerLink];
  const clientOf = (link: ServerLink) => clients.find(({ confirmation }) => confirmation === link.confirmation)!;
  inMany.pause();
  let [inTurn, most, came, before] = [0, 0, 0, 0];
  for (const link of [inOne, inMany])
    link.onFrame(() => {
      came++;
      most = Math.max(most, ++inTurn);
    });
  other.onFrame(() => (before = came));
  for (let id = 1; id <= 1000; id++) {
    clientOf(inMany).send(ping(id));
    if (id % 2 === 0) await new Promise(setImmediate); // so many records
  }
  for (let id = 1; id <= 1000; id++) clientOf(inOne).send(ping(id));
  clientOf(other).send(ping(1));
  inMany.resume();
  while (came < 2000 || before === 0) {
    inTurn = 0;
    await new Promise(setImmediate);
  }
  t.ok(most <= 128, `${most} of two in one turn, or in pieces of two`);
  t.ok(before < 2000, 'somebody else');
  for (const client of clients) client.close();
});

t.test('frames that several get arrive like any others, between them', async (t) => {
  const server = await startServer(t);
  const clients = await Promise.all([dial(server.port, alice), dial(server.port, alice)]);
  while (server.links.length < 2) await new Promise(setImmediate);
  const came: Reply[][] = clients.map((client) => {
    const frames: Reply[] = [];
    client.onFrame((frame) => frames.push(frame));
    return frames;
  });
  const shared = templateOf({ note: 'note', type: 'checkpoint' }, { id: HOLE, type: 'ok' });
  for (const [i, client] of clients.entries()) {
    const link = server.links.find(({ confirmation }) => confirmation === client.confirmation)!;
    link.send({ type: 'ok', id: 1 });
    link.sendShared(shared, [2 + i]);
    link.send({ type: 'ok', id: 9 });
  }
  while (came.some(({ length }) => length < 4)) await new Promise(setImmediate);
  for (const [i, frames] of came.entries())
    t.strictSame(
      frames.map((frame) => ('id' in frame ? frame.id : frame.type)),
      [1, 'checkpoint', 2 + i, 9],
    );
  const large = templateOf({ note: 'n'.repeat(1_048_576), type: 'checkpoint' });
  const [first] = server.links;
  t.throws(() => first!.sendShared(large, []), { code: 'TOO_LARGE' });
  first!.close();
  t.doesNotThrow(() => first!.sendShared(large, []), 'ignored once closed');
  for (const client of clients) client.close();
});

t.test('frames of one tick leave in one record and one write', async (t) => {
  const server = await startServer(t);
  const { link, writes } = await tapped(server);
  for (let i = 1; i <= 50; i++) link.send(ping(i));
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(writes.length, 1);
  link.send(bigSend(51));
  link.send(ping(52));
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(writes.length, 3, 'a large frame does not make a small one wait for its end');
  const arrived = inbox<Request>(server.links[0]!);
  for (let i = 1; i <= 52; i++) t.match(await arrived.next(), { id: i });
  t.throws(() => link.send({ ...bigSend(53), signature: Buffer.alloc(100_000) }), {
    code: 'TOO_LARGE',
    field: 'msg_send',
  });
  link.close();
});

t.test('a pause holds frames that were decrypted already', async (t) => {
  const { server, client } = await pair(t);
  const seen: number[] = [];
  const each: (() => void)[] = [];
  server.onFrame((frame) => {
    seen.push((frame as Request<'ping'>).id);
    server.pause();
    each.shift()?.();
  });
  const next = () => new Promise<void>((resolve) => each.push(resolve));
  const first = next();
  for (const id of [1, 2, 3]) client.send(ping(id)); // one record
  await first;
  const answers = inbox<Reply>(client);
  server.send({ type: 'pong', id: 1, server_time: 0 });
  await answers.next();
  t.same(seen, [1], 'the others wait');
  for (const want of [
    [1, 2],
    [1, 2, 3],
  ]) {
    const more = next();
    server.resume();
    await more;
    t.same(seen, want);
  }
});

t.test('a pause reaches the sender, and a resume lets it go on', async (t) => {
  const { server, client } = await pair(t);
  let count = 0;
  const first = Promise.withResolvers<void>();
  const all = Promise.withResolvers<void>();
  server.onFrame(() => {
    if (++count === 40) all.resolve();
    if (count > 1) return;
    server.pause(); // from within, as a session does it
    first.resolve();
  });
  const drained = new Promise<void>((resolve) => client.onDrain(resolve));
  for (let id = 1; id <= 40; id++) client.send(bigSend(id));
  t.ok(client.queuedBytes > 40_000_000, 'nothing has left yet');
  await first.promise;
  const held = await Promise.race([drained, new Promise((resolve) => setTimeout(resolve, 400, 'held'))]);
  t.equal(held, 'held', 'the kernels take some megabytes and no more');
  t.equal(count, 1);
  server.resume();
  await all.promise;
  await drained;
  t.equal(client.queuedBytes, 0);
});

t.test('who reads nothing is cut before the memory is gone', async (t) => {
  const { server, client } = await pair(t);
  client.pause();
  const chain = Array.from({ length: 10 }, () => Buffer.alloc(65_535));
  for (let id = 1; id <= 120; id++) server.send({ type: 'certificate', id, chain });
  t.same(await server.closed, { code: 'QUOTA' });
  t.equal((await client.closed).code, 'CONNECTION_LOST');
});

t.test('a frame that does not decode is answered and ends the link', async (t) => {
  const rows: readonly [string, unknown, { id?: number; code: string; field: string }][] = [
    ['an unknown field', { type: 'ping', id: 7, extra: 1 }, { id: 7, code: 'BAD_FRAME', field: 'ping.?' }],
    ['a missing field', { type: 'login', id: 8, account: 'x' }, { id: 8, code: 'BAD_FRAME', field: 'login.nonce' }],
    ['an unknown type', { type: 'nope', id: 9 }, { id: 9, code: 'UNKNOWN_TYPE', field: 'frame.type' }],
    ['an id that is none', { type: 'ping', id: 0 }, { code: 'BAD_FRAME', field: 'ping.id' }],
    ['rekey among others', { type: 'rekey' }, { code: 'UNKNOWN_TYPE', field: 'frame.type' }],
    ["a server's frame", { type: 'pong', id: 3, server_time: 1 }, { id: 3, code: 'UNKNOWN_TYPE', field: 'frame.type' }],
  ];
  for (const [name, frame, want] of rows) {
    const { server, client } = await pair(t);
    const arrived = inbox<Request>(server);
    const answers = inbox<Reply>(client);
    client.send(ping(1));
    client.send(frame as Request);
    client.send(ping(2));
    const answer = await answers.next();
    t.same(answer, { type: 'error', ...want }, name);
    t.same(await server.closed, { code: want.code }, `${name}: closed`);
    t.equal(
      (await client.closed).code === null,
      want.id !== undefined,
      `${name}: an error without id is about the link`,
    );
    t.same(arrived.all, [ping(1)], `${name}: what came before is handed out, nothing after`);
  }
});

t.test('records that were changed, repeated, left out or cut off', async (t) => {
  type Tamper = (record: Buffer, write: (bytes: Buffer) => void, end: () => void) => void;
  const u32 = (n: number) => Buffer.from([n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]);
  const rows: readonly [string, Tamper, { code: string | null; field?: string }][] = [
    ['a bit of the ciphertext', (r, write) => write(flipped(r, r.length - 20)), { code: 'DECRYPT_FAIL' }],
    ['a bit of the tag', (r, write) => write(flipped(r, r.length - 1)), { code: 'DECRYPT_FAIL' }],
    ['repeated', (r, write) => write(Buffer.concat([r, r])), { code: 'REPLAY', field: 'record.counter' }],
    ['a counter ahead', (r, write) => write(flipped(r, 11)), { code: 'BAD_FRAME', field: 'record.counter' }],
    ['length 0', (_, write) => write(u32(0)), { code: 'BAD_FRAME', field: 'record.length' }],
    ['length 1 MiB + 1', (_, write) => write(u32(1_048_577)), { code: 'TOO_LARGE', field: 'record.length' }],
    ['length 4 GiB - 1', (_, write) => write(u32(0xffffffff)), { code: 'TOO_LARGE', field: 'record.length' }],
    [
      'a payload of 15 bytes',
      (_, write) => write(encodeRecord(Buffer.alloc(15))),
      { code: 'BAD_FRAME', field: 'record' },
    ],
    ['cut off', (r, write, end) => (write(r.subarray(0, r.length - 1)), end()), { code: 'CONNECTION_LOST' }],
    ['cut off in its length', (r, write, end) => (write(r.subarray(0, 2)), end()), { code: 'CONNECTION_LOST' }],
    ['between two records', (r, write, end) => (write(r), end()), { code: null }],
  ];
  for (const [name, tamper, want] of rows) {
    const server = await startServer(t);
    const { link, socket, intercept } = await tapped(server);
    const arrived = inbox<Request>(server.links[0]!);
    const answers = inbox<Reply>(link);
    intercept((record, write) => tamper(record, write, () => void socket.end()));
    link.send(ping(1));
    t.same(await server.links[0]!.closed, { code: want.code }, name);
    if (want.code !== null && want.code !== 'CONNECTION_LOST') {
      const { code, field } = want;
      t.same(
        await answers.next(),
        { type: 'error', code, ...(field === undefined ? {} : { field }) },
        `${name}: answer`,
      );
      t.equal((await link.closed).code, want.code);
    }
    t.ok(arrived.all.length <= (name === 'repeated' || want.code === null ? 1 : 0), `${name}: nothing was believed`);
  }
});

t.test('before the handshake: junk, lengths and drips', async (t) => {
  const rows: readonly [string, Buffer, { code: string; field?: string }][] = [
    ['length 0', Buffer.from('00000000', 'hex'), { code: 'BAD_FRAME', field: 'record.length' }],
    ['length 64 KiB + 1', Buffer.from('00010001', 'hex'), { code: 'TOO_LARGE', field: 'record.length' }],
    ['length 4 GiB - 1', Buffer.from('ffffffff', 'hex'), { code: 'TOO_LARGE', field: 'record.length' }],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), { code: 'TOO_LARGE', field: 'record.length' }],
    ['not CBOR', encodeRecord(Buffer.from('hello')), { code: 'BAD_FRAME' }],
    ['a frame', encodeRecord(encode({ type: 'ping', id: 1 })), { code: 'UNKNOWN_TYPE', field: 'frame.type' }],
    ['a version to come', encodeRecord(encode({ type: 'client_hello', version: 2 })), { code: 'UNSUPPORTED_VERSION' }],
  ];
  for (const [name, bytes, want] of rows) {
    const server = await startServer(t);
    const socket = dialTls(server.port, alice);
    await once(socket, 'secureConnect');
    socket.write(bytes);
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    t.match(Buffer.concat(chunks).toString('latin1'), want.code, `${name}: told in plaintext`);
    t.match(await server.line('handshake.refused'), want, `${name}: logged`);
    t.equal(server.links.length, 0);
  }
  for (const [name, bytes, want] of rows.slice(0, 3)) {
    const server = await startServer(t);
    const socket = dialTls(server.port, alice);
    await once(socket, 'secureConnect');
    const endpoint = { ...alice, peerPublicKey: alice.chain[0].publicKey, binding: Buffer.alloc(96), deadlineMs: 0 };
    const [begun, [hello]] = startClient(endpoint, ephemeral([2]));
    if (hello?.do === 'send') socket.write(hello.record);
    const reader = new RecordReader();
    const records: Buffer[] = [];
    for await (const chunk of socket) {
      if (records.length === 0) socket.write(bytes);
      for (const record of reader.push(chunk as Buffer)) records.push(Buffer.from(record));
    }
    const [keyed] = step(begun, { on: 'record', payload: records[0]! });
    if (keyed.at !== 'awaitServerAuth' || records.length !== 3)
      return t.fail(`${name}: ${keyed.at}, ${records.length}`);
    const { code, field } = want;
    const told = [...(decode(openRecord(keyed.server, 1, records[2]!)) as ReadonlyMap<string, Value>)];
    t.same(Object.fromEntries(told), { type: 'error', code, field }, `${name}: told under the handshake key`);
  }
  const isTime = lateTimers(t);
  const server = await startServer(t, { handshakeTimeoutMs: LONG_MS });
  const socket = dialTls(server.port, alice);
  await once(socket, 'secureConnect');
  socket.write(Buffer.from('00000100', 'hex'));
  const drip = setInterval(() => socket.write('x'), 20);
  await sleep(100);
  isTime();
  await new Promise((resolve) => socket.resume().once('close', resolve)); // a drop that comes behind the end is an error, and no failure
  clearInterval(drip);
  t.match(await server.line('handshake.refused'), { code: 'HANDSHAKE_TIMEOUT' }, 'a drip does not buy time');
});

t.test('silence ends a link, also when it drips; pings keep it', async (t) => {
  // It is late, and looked for silence, when the test says so: a busy machine makes nothing late.
  let aheadMs = 0;
  const looks: (() => void)[] = [];
  const { now } = performance;
  t.intercept(performance, 'now', { value: () => now.call(performance) + aheadMs });
  const { setInterval: set } = globalThis;
  t.intercept(globalThis, 'setInterval', {
    value: (work: () => void, ms: number) => {
      if (ms > LONG_MS / 4) looks.push(work);
      return set(work, ms);
    },
  });
  const late = (ms: number): void => {
    aheadMs += ms;
    for (const look of looks) look();
  };
  const { server, client } = await pair(t, { server: { idleMs: LONG_MS } });
  const pinged = inbox<Request>(server);
  const other = await startServer(t, { idleMs: LONG_MS });
  const { socket, link } = await tapped(other);
  const drip = (bytes: Buffer): unknown => TLSSocket.prototype.write.call(socket, bytes as never);
  other.links[0]!.onFrame(() => {});
  let isOpen = true;
  void server.closed.then(() => (isOpen = false));
  drip(Buffer.from('00000100', 'hex'));
  for (let i = 0; i < 3; i++) {
    drip(Buffer.from('x'));
    client.send(ping(1));
    await pinged.next();
    late(LONG_MS * 0.4);
  }
  t.same(await other.links[0]!.closed, { code: 'CONNECTION_LOST' }, 'bytes that make no record are silence');
  link.close();
  client.send(ping(1));
  await pinged.next();
  t.ok(isOpen);
  late(LONG_MS * 1.1);
  t.same(await server.closed, { code: 'CONNECTION_LOST' });
});

t.test('how links end', async (t) => {
  const one = await pair(t);
  const arrived = inbox<Request>(one.server);
  one.client.send(ping(1));
  one.client.close();
  one.client.close('BAD_FRAME');
  one.client.send(ping(2));
  t.same(await one.server.closed, { code: null });
  t.same(await one.client.closed, { code: null }, 'the first close counts');
  t.same(arrived.all, [ping(1), { type: 'bye' }], 'what was sent before leaves, and nothing after');

  const stopping = await pair(t);
  const told = inbox<Reply>(stopping.client);
  stopping.server.close('SHUTTING_DOWN');
  t.same(await told.next(), { type: 'bye', code: 'SHUTTING_DOWN' });
  t.same(await stopping.client.closed, { code: 'SHUTTING_DOWN' });
  t.same(await stopping.server.closed, { code: 'SHUTTING_DOWN' });

  const cut = await pair(t);
  const why = inbox<Reply>(cut.client);
  cut.server.close('BAD_CERT', 'revoked');
  t.same(await why.next(), { type: 'error', code: 'BAD_CERT', sub: 'revoked' });
  t.same(await cut.client.closed, { code: 'BAD_CERT', sub: 'revoked' });

  const server = await startServer(t);
  const raw = await dialTcp(server.port);
  const broken = await tapped(server, { socket: raw });
  server.links[0]!.onFrame(() => {});
  raw.resetAndDestroy();
  t.same(await server.links[0]!.closed, { code: 'CONNECTION_LOST' });
  broken.socket.destroy();

  const defect = await pair(t);
  defect.server.onFrame(() => {
    throw new Error('a defect');
  });
  const report = inbox<Reply>(defect.client);
  defect.client.send(ping(1));
  t.same(await report.next(), { type: 'error', code: 'INTERNAL' }, 'the peer hears of it, but not what');
});

t.test('a proxy gets no further than the binding', async (t) => {
  const rogue = authority('Inspection CA');
  const rows = [
    ['with an authority that the client trusts', credentials(rogue.server()), credentials(ca.client('mallory'))],
    ['with the keys of both ends', credentials(serverCertificate), alice],
  ] as const;
  for (const [name, toClient, toServer] of rows) {
    const server = await startServer(t);
    const proxy = createServer((accepted) => {
      const inner = new TLSSocket(accepted, serverTlsOptions(serverContext(toClient, trusting(ca))));
      const outer = dialTls(server.port, toServer);
      inner
        .on('error', () => {})
        .pipe(outer)
        .pipe(inner);
    }).listen(0, '127.0.0.1');
    t.teardown(() => proxy.close());
    await once(proxy, 'listening');
    const through = dial((proxy.address() as AddressInfo).port, alice, { authorities: trusting(ca, rogue) });
    await t.rejects(through, { code: 'CHANNEL_MISMATCH' }, name);
    t.match(await server.line('handshake.refused'), { code: 'CHANNEL_MISMATCH' }, `${name}: and the server knows`);
  }
});

t.test('a server that is not there, or goes away in the middle', async (t) => {
  const server = await startServer(t);
  await server.listener.close();
  await t.rejects(dial(server.port, alice), { code: 'UNREACHABLE', field: 'tls' });
  const rude = createServer((socket) => socket.on('error', () => {}).destroy()).listen(0, '127.0.0.1');
  await once(rude, 'listening');
  await t.rejects(dial((rude.address() as AddressInfo).port, alice), { code: 'CONNECTION_LOST', field: 'tls' });
  rude.close();
  const mute = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  await t.rejects(dial((mute.address() as AddressInfo).port, alice, { timeoutMs: 100 }), {
    code: 'HANDSHAKE_TIMEOUT',
    field: 'tls',
  });
  mute.close();
});

t.test('a peer that takes no notice of the end is dropped', async (t) => {
  const ms = await lingering;
  t.ok(ms > 1900, `after ${Math.round(ms)} ms: it had its time`);
});

const flipped = (record: Buffer, at: number): Buffer => {
  const copy = Buffer.from(record);
  copy[at]! ^= 1;
  return copy;
};

/** A client link whose writes, one record each, can be seen and changed. */
async function tapped(
  server: TestServer,
  tls: ConnectionOptions = {},
): Promise<{
  link: ClientLink;
  socket: TLSSocket;
  writes: Buffer[];
  intercept(by: (record: Buffer, write: (bytes: Buffer) => void) => void): void;
}> {
  const socket = dialTls(server.port, alice, tls);
  const [link] = await Promise.all([
    openClientLink(socket, { own: alice, admit: admitBy(trusting(ca), 'serverAuth') }),
    server.nextLink(),
  ]);
  const writes: Buffer[] = [];
  let tamper = (record: Buffer, write: (bytes: Buffer) => void) => write(record);
  const write = socket.write.bind(socket) as (bytes: Buffer, done?: () => void) => boolean;
  socket.write = ((record: Buffer, done?: () => void) => {
    writes.push(record);
    tamper(record, (bytes) => void write(bytes, done));
    return true;
  }) as never;
  return { link, socket, writes, intercept: (by) => (tamper = by) };
}
