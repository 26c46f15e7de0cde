/** The handshake as a whole: what opens, what never does, and with which word it ends. */
import fc from 'fast-check';
import t from 'tap';
import { u32 } from '../../base/bytes.ts';
import { generateKeyPairSync } from 'node:crypto';
import { decode, encode, type Value } from '../../base/cbor.ts';
import { ChatError } from '../../base/errors.ts';
import { startServer, step, type Event, type State } from '../../protocol/handshake.ts';
import { encodeError, refusalRecord, REPORTED } from '../../protocol/hello.ts';
import { ephemeral, FFDHE3072_P, respond, type Suite } from '../../protocol/key-exchange.ts';
import { aesGcmOpen, sealRecord } from '../../protocol/channel.ts';
import { encodeRecord } from '../../protocol/record.ts';
import {
  alice,
  BINDING,
  converse,
  DEADLINE_MS,
  mallory,
  p256,
  Peer,
  peers,
  runs,
  said,
  server,
  serverEnd,
  type Setup,
} from './peers.ts';

const payloadOf = (record: Buffer) => record.subarray(4);
const flipped = (bytes: Buffer, bit: number) => {
  const copy = Buffer.from(bytes);
  copy[bit >> 3]! ^= 1 << (bit & 7);
  return copy;
};
/** The record with fields of its map replaced, or removed where undefined. */
const edited = (record: Buffer, fields: Record<string, Value | undefined>) => {
  const map = new Map(decode(payloadOf(record)) as ReadonlyMap<string, Value>);
  for (const [key, value] of Object.entries(fields))
    if (value === undefined) map.delete(key);
    else map.set(key, value);
  return encodeRecord(encode(map));
};
const editing =
  (index: number, fields: Record<string, Value | undefined>): NonNullable<Setup['tamper']> =>
  (record, i) => [i === index ? edited(record, fields) : record];

t.test('every suite and every type of key opens the same session on both sides', async (t) => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  for (const suite of [1, 2, 3] as const)
    for (const [name, key] of [
      ['ed25519', alice],
      ['p256', p256()],
      ['rsa', rsa],
    ] as const) {
      const {
        client,
        server: daemon,
        records,
      } = converse({
        suites: [suite],
        client: { privateKey: key.privateKey, peerPublicKey: key.publicKey },
        server: { privateKey: key.privateKey, peerPublicKey: key.publicKey },
      });
      const [a, b] = [client.session, daemon.session];
      if (!a || !b) return t.fail(`${name} with suite ${suite} did not open`);
      t.equal(records.length, 4, 'four records');
      t.match([a.role, b.role, a.suite, b.suite], ['client', 'server', suite, suite]);
      t.strictSame(a.confirmation, b.confirmation, `${name}, suite ${suite}`);
      t.equal(a.confirmation.length, 8);
      t.ok(a.exporter.use((x) => b.exporter.use((y) => x.equals(y) && x.length === 32)));
      daemon.feed(a.sealer.seal([Buffer.from('u'), Buffer.from('p')], 0));
      client.feed(b.sealer.seal([Buffer.from('down')], 0));
      t.strictSame([daemon.plaintexts, client.plaintexts].map(String), ['up', 'down']);
    }
});

t.test('the server chooses by its own order; two handshakes share nothing', async (t) => {
  for (const [offered, configured, chosen] of [
    [[3, 2, 1], [1, 2, 3], 1],
    [[1, 2, 3], [3, 1], 3],
    [[2], [1, 3, 2], 2],
  ] as const)
    t.equal(converse({ suites: offered, serverSuites: configured }).client.session?.suite, chosen);
  const [one, two] = [converse(), converse()];
  t.notSame(one.client.session?.confirmation, two.client.session?.confirmation);
});

t.test('no suite in common', async (t) => {
  const { client, server: daemon } = converse({ suites: [1, 2], serverSuites: [3] });
  t.match(daemon.close, { code: 'DH_FAIL', sub: 'no_common_suite', by: 'us' });
  t.match(client.close, { code: 'DH_FAIL', sub: 'no_common_suite', by: 'peer' }, 'and the client is told');
});

t.test('unknown suites are ignored, but belong to the transcript', async (t) => {
  const offer = { ...ephemeral([2]), suites: [9, 65_535, 2] };
  t.equal(converse({ offer }).client.session?.suite, 2);
  const { client, server: daemon } = converse({ offer, tamper: editing(0, { suites: [10, 65_535, 2] }) });
  t.equal(client.close?.code, 'DECRYPT_FAIL');
  t.equal(daemon.session, null);
});

t.test('suite downgrade in flight', async (t) => {
  const offer = { ...ephemeral([1, 2, 3]), random: Buffer.alloc(32) };
  for (const [name, fields] of [
    ['strongest removed', { suites: [2, 3], mlkem768: undefined }],
    ['only ffdhe left', { suites: [3], mlkem768: undefined, x25519: undefined }],
    ['only reordered', { suites: [3, 2, 1] }],
  ] as const) {
    const { client, server: daemon } = converse({ offer, tamper: editing(0, fields) });
    t.equal(client.close?.code, 'DECRYPT_FAIL', name);
    t.notOk(client.session ?? daemon.session, 'nobody opens');
  }
  // The suite in server_hello is the attacker's too, as far as shares allow.
  const { client } = converse({ suites: [1, 2], tamper: editing(1, { suite: 2, mlkem768: undefined }) });
  t.equal(client.close?.code, 'DECRYPT_FAIL');
  t.match(
    converse({ suites: [2], tamper: editing(1, { suite: 3, x25519: undefined, ffdhe3072: Buffer.alloc(384, 2) }) })
      .client.close,
    { code: 'BAD_FRAME', field: 'server_hello.suite' },
    'a suite that was not offered',
  );
});

t.test('every bit of every handshake record', async (t) => {
  const { states, records } = stage();
  const [, , serverAuth] = records;
  const codes: Record<string, number> = {};
  for (const [index, record] of records.entries())
    for (let bit = 0; bit < record.length * 8; bit++) {
      const judge = new Peer(
        states[(['awaitClientHello', 'awaitServerHello', 'awaitServerAuth', 'awaitClientAuth'] as const)[index]!],
      );
      judge.feed(flipped(record, bit));
      let last = judge;
      if (index === 0 && judge.sent.length > 0 && !judge.end) {
        last = new Peer(states.awaitServerHello); // the server answered another hello: the client must notice
        for (const sent of judge.sent) last.feed(sent);
      }
      if (index === 1 && !judge.end) judge.feed(serverAuth);
      if (!last.end) last.on({ on: 'eof' }); // a longer length: the rest never comes
      if (judge.session ?? last.session) t.fail(`record ${index} bit ${bit} opened`);
      const key = `${index} ${last.end?.code}`;
      codes[key] = (codes[key] ?? 0) + 1;
    }
  t.comment(JSON.stringify(codes));
  for (const code of [
    '0 DECRYPT_FAIL',
    '1 DECRYPT_FAIL',
    '2 DECRYPT_FAIL',
    '3 DECRYPT_FAIL',
    '2 REPLAY',
    '2 TOO_LARGE',
  ])
    t[code === '2 REPLAY' ? 'equal' : 'not'](codes[code], undefined, code); // a first record has no lower counter
  t.notOk(
    Object.keys(codes).some((key) => /INTERNAL|undefined/.test(key)),
    'each flip has a name',
  );
});

t.test('flipped bits with every share in play', async (t) => {
  const offer = ephemeral([1, 2, 3]);
  const { records } = converse({ offer });
  for (const suites of [[1], [3]] as const)
    for (const [index, record] of records.entries())
      for (let bit = index; bit < record.length * 8; bit += suites[0] === 1 ? 397 : 1_021) {
        const { client, server: daemon } = converse({
          offer,
          serverSuites: suites,
          tamper: (sent, i) => [i === index ? flipped(sent, bit % (sent.length * 8)) : sent],
        });
        t.notOk(daemon.session ?? (index < 3 && client.session), `suite ${suites[0]} record ${index} bit ${bit}`);
        t.not(client.end?.code ?? daemon.end?.code, 'INTERNAL');
      }
});

t.test('records dropped, doubled, swapped, replayed', async (t) => {
  const held: Buffer[] = [];
  const cases: readonly {
    readonly name: string;
    readonly tamper: NonNullable<Setup['tamper']>;
    readonly client: unknown;
    readonly server: unknown;
  }[] = [
    {
      name: 'client_hello twice',
      tamper: (r, i) => (i === 0 ? [r, r] : [r]),
      client: { code: 'BAD_FRAME', field: 'record.counter', cause: REPORTED }, // told after it opened
      server: { code: 'BAD_FRAME', field: 'record.counter', by: 'us' },
    },
    {
      name: 'server_hello twice',
      tamper: (r, i) => (i === 1 ? [r, r] : [r]),
      client: { code: 'BAD_FRAME', field: 'record.counter', by: 'us' },
      server: { code: 'BAD_FRAME', field: 'record.counter', by: 'peer' },
    },
    {
      name: 'server_auth twice',
      tamper: (r, i) => (i === 2 ? [r, r] : [r]),
      client: { code: 'DECRYPT_FAIL' }, // the second falls into the application phase
      server: null,
    },
    {
      name: 'client_auth twice',
      tamper: (r, i) => (i === 3 ? [r, r] : [r]),
      client: null,
      server: { code: 'DECRYPT_FAIL' },
    },
    {
      name: 'server_hello and server_auth swapped',
      tamper: (r, i) => (i === 1 ? (held.push(r), []) : i === 2 ? [r, held.pop()!] : [r]),
      client: { code: 'BAD_FRAME', by: 'us' },
      server: { code: 'CONNECTION_LOST' },
    },
    ...[0, 1, 2, 3].map((dropped) => ({
      name: `record ${dropped} dropped`,
      tamper: (r: Buffer, i: number) => (i === dropped ? [] : [r]),
      client: dropped === 3 ? null : { code: dropped === 1 ? 'BAD_FRAME' : 'CONNECTION_LOST' },
      server: { code: 'CONNECTION_LOST' },
    })),
  ];
  for (const { name, tamper, client: clientEnd, server: serverEnd } of cases) {
    const { client, server: daemon } = converse({ tamper });
    t.match(client.end, clientEnd, `${name}: client`);
    t.match(daemon.end, serverEnd, `${name}: server`);
  }
  const first = converse().records;
  for (const index of [0, 1, 2, 3]) {
    const { client, server: daemon } = converse({ tamper: (r, i) => [i === index ? first[index]! : r] });
    t.notOk(daemon.session, `record ${index} of an earlier handshake`);
    t.equal((index === 3 ? daemon : client).end?.code, 'DECRYPT_FAIL');
  }
});

t.test('reflection: an end that hears itself', async (t) => {
  const { client, opening } = peers();
  client.take(opening);
  client.feed(client.sent[0]!);
  t.match(client.close, { code: 'BAD_FRAME', field: 'frame.type' }, 'its own hello');

  // A server's proof sent back to it as the client's: other key, other label, other context.
  const self = { privateKey: server.privateKey, peerPublicKey: server.publicKey };
  const both = peers({ server: self, client: self });
  both.client.take(both.opening);
  both.server.feed(both.client.sent[0]!);
  both.server.feed(both.server.sent[1]!);
  t.match(both.server.close, { code: 'DECRYPT_FAIL' }, 'its own server_auth');
});

t.test('wrong identities and channels', async (t) => {
  const otherBinding = Buffer.from(BINDING);
  otherBinding[0]! ^= 1; // another exporter value: two TLS sessions joined by a relay
  const otherCertificate = Buffer.from(BINDING);
  otherCertificate[95]! ^= 1;
  for (const binding of [otherBinding, otherCertificate]) {
    const { client, server: daemon } = converse({ client: { binding } });
    t.match(client.close, { code: 'CHANNEL_MISMATCH', by: 'us' });
    t.match(daemon.close, { code: 'CHANNEL_MISMATCH', by: 'peer' }, 'the server is told');
    t.notOk(client.session ?? daemon.session);
  }
  const impostor = converse({ server: { privateKey: mallory.privateKey } });
  t.match(impostor.client.close, { code: 'SIG_FAIL', sub: 'handshake', by: 'us' }, 'a server without its key');
  t.match(impostor.server.close, { code: 'SIG_FAIL', by: 'peer' });
  const thief = converse({ client: { privateKey: mallory.privateKey } });
  t.match(thief.server.close, { code: 'SIG_FAIL', sub: 'handshake', by: 'us' }, "another user's key");
  t.notOk(thief.server.session);
  t.match(thief.client.error, { code: 'SIG_FAIL', sub: 'handshake' }, 'the client learns why from its first record');

  // The same key type, but the algorithm claimed is another.
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  t.match(converse({ server: { privateKey: rsa.privateKey } }).client.close, { code: 'SIG_FAIL' });
});

t.test('the client checks the binding before it proves who it is', async (t) => {
  const { records } = converse({ client: { binding: Buffer.alloc(96) } });
  t.equal(records.length, 4);
  t.ok(records[3]!.length < 150, 'the last record is an error, no client_auth');
});

t.test('a server that only the CA vouches for: signature right, Finished wrong', async (t) => {
  // The handshake secrets of the two ends differ only in the MAC key: reachable with the machine's own parts alone.
  const { client, server: daemon, opening } = peers();
  client.take(opening);
  daemon.feed(client.sent.splice(0)[0]!);
  client.feed(daemon.sent[0]!);
  const state = client.state;
  if (state.at !== 'awaitServerAuth') return t.fail('not waiting for server_auth');
  const auth = new Map(decode(openedBy(state, payloadOf(daemon.sent[1]!))) as ReadonlyMap<string, Value>);
  auth.set('finished', Buffer.alloc(32, 1));
  const [next, effects] = step(state, {
    on: 'record',
    payload: payloadOf(sealRecord(state.server, 0, encode(auth))),
  });
  t.equal(next.at, 'closed');
  t.equal(said(effects), 'send, close DH_FAIL/finished by us');
});

t.test('shares that are none', async (t) => {
  const low = [0, 1].map((byte) => Buffer.concat([Buffer.from([byte]), Buffer.alloc(31)]));
  const p = BigInt(`0x${FFDHE3072_P.toString('hex')}`);
  const number = (n: bigint) => Buffer.from(n.toString(16).padStart(768, '0'), 'hex');
  const bad: readonly (readonly [Suite, string, Value, string])[] = [
    ...low.map((share) => [2, 'x25519', share, 'low order'] as const),
    ...[0n, 1n, p - 1n, p, p + 1n, 2n ** 3072n - 1n].map((n) => [3, 'ffdhe3072', number(n), 'range'] as const),
    [1, 'x25519', Buffer.alloc(32), 'low order beside ML-KEM'],
  ];
  for (const [suite, share, value, why] of bad) {
    const up = converse({ suites: [suite], tamper: editing(0, { [share]: value }) });
    t.match(
      up.server.close,
      { code: 'DH_FAIL', sub: 'share', field: share, by: 'us' },
      `${share}: ${why}, to the server`,
    );
    t.match(up.client.close, { code: 'DH_FAIL', by: 'peer' });
    const down = converse({ suites: [suite], tamper: editing(1, { [share]: value }) });
    t.match(down.client.close, { code: 'DH_FAIL', sub: 'share', field: share, by: 'us' }, 'and to the client');
    t.notOk(up.server.session ?? up.client.session ?? down.client.session ?? down.server.session);
  }
  const notReduced = Buffer.alloc(1184, 0xff);
  t.match(
    converse({ suites: [1], tamper: editing(0, { mlkem768: notReduced }) }).server.close,
    { code: 'DH_FAIL', sub: 'share', field: 'mlkem768' },
    'coefficients that are not reduced (FIPS 203 §7.2)',
  );
  t.match(
    converse({ suites: [1], tamper: editing(1, { mlkem768: Buffer.alloc(1088) }) }).client.close,
    { code: 'DECRYPT_FAIL' },
    'another ciphertext: implicit rejection ends at the first tag',
  );
});

t.test('malformed hellos name their field', async (t) => {
  const good = peers().opening[1][0] as { record: Buffer };
  const cases: readonly (readonly [string, Record<string, Value | undefined>, string, string])[] = [
    ['version 2', { version: 2 }, 'UNSUPPORTED_VERSION', 'client_hello.version'],
    ['version 2 with news', { version: 2, news: true }, 'UNSUPPORTED_VERSION', 'client_hello.version'],
    ['no version', { version: undefined }, 'BAD_FRAME', 'client_hello.version'],
    ['version as text', { version: '1' }, 'BAD_FRAME', 'client_hello.version'],
    ['no suites', { suites: [] }, 'BAD_FRAME', 'client_hello.suites'],
    ['nine suites', { suites: [2, 11, 12, 13, 14, 15, 16, 17, 18] }, 'BAD_FRAME', 'client_hello.suites'],
    ['a suite twice', { suites: [2, 2] }, 'BAD_FRAME', 'client_hello.suites'],
    ['suite above 65535', { suites: [2, 65_536] }, 'BAD_FRAME', 'client_hello.suites[1]'],
    ['short random', { random: Buffer.alloc(31) }, 'BAD_FRAME', 'client_hello.random'],
    ['no share', { x25519: undefined }, 'BAD_FRAME', 'client_hello.x25519'],
    ['short share', { x25519: Buffer.alloc(31) }, 'BAD_FRAME', 'client_hello.x25519'],
    ['share without suite', { ffdhe3072: Buffer.alloc(384) }, 'BAD_FRAME', 'client_hello.ffdhe3072'],
    ['suite without share', { suites: [1, 2] }, 'BAD_FRAME', 'client_hello.mlkem768'],
    ['unknown field', { extra: 1 }, 'BAD_FRAME', 'client_hello.?'],
    ['unknown type', { type: 'hi' }, 'UNKNOWN_TYPE', 'frame.type'],
    ['type of Object.prototype', { type: 'constructor' }, 'UNKNOWN_TYPE', 'frame.type'],
    ['type as number', { type: 1 }, 'BAD_FRAME', 'frame.type'],
    ['no type', { type: undefined }, 'BAD_FRAME', 'frame.type'],
    ['a server_hello', { type: 'server_hello' }, 'BAD_FRAME', 'frame.type'],
  ];
  for (const [name, fields, code, field] of cases) {
    const [state, effects] = step(startServer(serverEnd, [1, 2, 3], respond), {
      on: 'record',
      payload: payloadOf(edited(good.record, fields)),
    });
    t.equal(state.at, 'closed');
    t.equal(said(effects), `send, close ${code} ${field} by us`, name);
  }
  for (const [name, fields, field] of [
    ['unknown suite', { suite: 9 }, 'server_hello.suite'],
    ['share of another suite', { ffdhe3072: Buffer.alloc(384, 2) }, 'server_hello.ffdhe3072'],
    ['no share', { x25519: undefined }, 'server_hello.x25519'],
  ] as const)
    t.match(converse({ tamper: editing(1, fields) }).client.close, { code: 'BAD_FRAME', field }, name);
  t.match(converse({ tamper: editing(1, { version: 3 }) }).client.close, { code: 'UNSUPPORTED_VERSION' });
});

t.test('what the peer reports is shown as its word, and only if it is one of ours', async (t) => {
  const told = (record: Buffer) => converse({ tamper: (sent, i) => [i === 1 ? record : sent] }).client.close;
  t.match(told(refusalRecord(new ChatError('BAD_CERT', 'secret reason', { sub: 'revoked' }))), {
    code: 'BAD_CERT',
    sub: 'revoked',
    by: 'peer',
  });
  t.match(told(refusalRecord(new ChatError('RATE_LIMIT', 'x', { retryAfterMs: 1500 }))), { retryAfterMs: 1500 });
  t.notOk(encodeError(new ChatError('BAD_CERT', 'secret reason', { cause: 'deeper' })).includes('secret'));
  for (const fields of [
    { code: 'HACKED' },
    { code: 'toString' },
    { code: 'BAD_CERT', sub: '\u001b[2J' },
    { code: 'BAD_CERT', sub: 'x'.repeat(65) },
    { code: 'BAD_CERT', message: 'hello' },
    {},
  ])
    t.match(
      told(encodeRecord(encode({ type: 'error', ...fields }))),
      { code: 'BAD_FRAME', by: 'us' },
      JSON.stringify(fields),
    );
});

// Every state meets every event. A new state or event does not compile until it stands here.
type EventName =
  | 'clientHello'
  | 'serverHello'
  | 'serverAuth'
  | 'clientAuth'
  | 'plainError'
  | 'sealedError'
  | 'junk'
  | 'empty'
  | 'fault'
  | 'early'
  | 'late'
  | 'eof';
const MATRIX: { readonly [S in State['at']]: { readonly [E in EventName]: readonly [State['at'], string] } } = {
  awaitClientHello: {
    clientHello: ['awaitClientAuth', 'send, send'],
    serverHello: ['closed', 'send, close BAD_FRAME frame.type by us'],
    serverAuth: ['closed', 'send, close BAD_FRAME frame by us'],
    clientAuth: ['closed', 'send, close BAD_FRAME frame by us'],
    plainError: ['closed', 'close SHUTTING_DOWN by peer'],
    sealedError: ['closed', 'send, close BAD_FRAME frame by us'],
    junk: ['closed', 'send, close BAD_FRAME frame by us'],
    empty: ['closed', 'send, close BAD_FRAME frame.type by us'],
    fault: ['closed', 'send, close TOO_LARGE record.length by us'],
    early: ['awaitClientHello', '-'],
    late: ['closed', 'send, close HANDSHAKE_TIMEOUT by us'],
    eof: ['closed', 'close CONNECTION_LOST by us'],
  },
  awaitServerHello: {
    clientHello: ['closed', 'close BAD_FRAME frame.type by us'],
    serverHello: ['awaitServerAuth', '-'],
    serverAuth: ['closed', 'close BAD_FRAME frame by us'],
    clientAuth: ['closed', 'close BAD_FRAME frame by us'],
    plainError: ['closed', 'close SHUTTING_DOWN by peer'],
    sealedError: ['closed', 'close BAD_FRAME frame by us'],
    junk: ['closed', 'close BAD_FRAME frame by us'],
    empty: ['closed', 'close BAD_FRAME frame.type by us'],
    fault: ['closed', 'close TOO_LARGE record.length by us'],
    early: ['awaitServerHello', '-'],
    late: ['closed', 'close HANDSHAKE_TIMEOUT by us'],
    eof: ['closed', 'close CONNECTION_LOST by us'],
  },
  awaitServerAuth: {
    clientHello: ['closed', 'send, close BAD_FRAME record.counter by us'],
    serverHello: ['closed', 'send, close BAD_FRAME record.counter by us'],
    serverAuth: ['open', 'send, open'],
    clientAuth: ['closed', 'send, close DECRYPT_FAIL by us'],
    plainError: ['closed', 'send, close BAD_FRAME record.counter by us'],
    sealedError: ['closed', 'close SHUTTING_DOWN by peer'],
    junk: ['closed', 'send, close DECRYPT_FAIL by us'],
    empty: ['closed', 'send, close BAD_FRAME record by us'],
    fault: ['closed', 'send, close TOO_LARGE record.length by us'],
    early: ['awaitServerAuth', '-'],
    late: ['closed', 'send, close HANDSHAKE_TIMEOUT by us'],
    eof: ['closed', 'close CONNECTION_LOST by us'],
  },
  awaitClientAuth: {
    clientHello: ['closed', 'send, close BAD_FRAME record.counter by us'],
    serverHello: ['closed', 'send, close BAD_FRAME record.counter by us'],
    serverAuth: ['closed', 'send, close DECRYPT_FAIL by us'],
    clientAuth: ['open', 'open'],
    plainError: ['closed', 'send, close BAD_FRAME record.counter by us'],
    sealedError: ['closed', 'close SHUTTING_DOWN by peer'],
    junk: ['closed', 'send, close DECRYPT_FAIL by us'],
    empty: ['closed', 'send, close BAD_FRAME record by us'],
    fault: ['closed', 'send, close TOO_LARGE record.length by us'],
    early: ['awaitClientAuth', '-'],
    late: ['closed', 'send, close HANDSHAKE_TIMEOUT by us'],
    eof: ['closed', 'close CONNECTION_LOST by us'],
  },
  open: {
    clientHello: ['closed', 'close BAD_FRAME record by us'],
    serverHello: ['closed', 'close BAD_FRAME record by us'],
    serverAuth: ['closed', 'close BAD_FRAME record by us'],
    clientAuth: ['closed', 'close BAD_FRAME record by us'],
    plainError: ['closed', 'close BAD_FRAME record by us'],
    sealedError: ['closed', 'close BAD_FRAME record by us'],
    junk: ['closed', 'close BAD_FRAME record by us'],
    empty: ['closed', 'close BAD_FRAME record by us'],
    fault: ['closed', 'close TOO_LARGE record.length by us'],
    early: ['open', '-'],
    late: ['open', '-'],
    eof: ['closed', 'close CONNECTION_LOST by us'],
  },
  closed: {
    clientHello: ['closed', '-'],
    serverHello: ['closed', '-'],
    serverAuth: ['closed', '-'],
    clientAuth: ['closed', '-'],
    plainError: ['closed', '-'],
    sealedError: ['closed', '-'],
    junk: ['closed', '-'],
    empty: ['closed', '-'],
    fault: ['closed', '-'],
    early: ['closed', '-'],
    late: ['closed', '-'],
    eof: ['closed', '-'],
  },
};

t.test('every state meets every event', async (t) => {
  for (const at of Object.keys(MATRIX) as State['at'][])
    for (const [name, [next, effects]] of Object.entries(MATRIX[at]) as [EventName, readonly [State['at'], string]][]) {
      const { states, events } = stage();
      const state = states[at];
      const keys = JSON.stringify(state);
      const got = step(state, events(state)[name]);
      t.equal(got[0].at, next, `${at} + ${name}`);
      t.equal(said(got[1]), effects, `${at} + ${name} says`);
      t.equal(JSON.stringify(state), keys, 'the state it was given is as it was');
      t.equal(said(step(state, events(state)[name])[1]), effects, 'and gives the same again');
      if (next === 'closed') t.strictSame(step(got[0], events(state).late), [got[0], []], 'it closes once');
    }
});

/** One handshake in all its states, and for each state an event of every name. */
function stage() {
  const error = encodeError(new ChatError('SHUTTING_DOWN', 'x'));
  // Ed25519 on both sides: its signatures have one length.
  const {
    client,
    server: daemon,
    opening,
  } = peers({
    client: { peerPublicKey: mallory.publicKey },
    server: { privateKey: mallory.privateKey },
  });
  const awaitClientHello = daemon.state;
  client.take(opening);
  const awaitServerHello = client.state;
  const clientHello = client.sent[0]!;
  daemon.feed(clientHello);
  const awaitClientAuth = daemon.state;
  const [serverHello, serverAuth] = daemon.sent as [Buffer, Buffer];
  client.feed(serverHello);
  const awaitServerAuth = client.state;
  client.feed(serverAuth);
  const states = {
    awaitClientHello,
    awaitServerHello,
    awaitClientAuth,
    awaitServerAuth,
    open: { at: 'open' },
    closed: { at: 'closed' },
  } as { [S in State['at']]: State };
  const record = (bytes: Buffer): Event => ({ on: 'record', payload: payloadOf(bytes) });
  const events = (state: State): { [E in EventName]: Event } => ({
    clientHello: record(clientHello),
    serverHello: record(serverHello),
    serverAuth: record(serverAuth),
    clientAuth: record(client.sent[1]!),
    plainError: { on: 'record', payload: error },
    sealedError: record(
      state.at === 'awaitServerAuth'
        ? sealRecord(state.server, 0, error)
        : sealRecord((awaitClientAuth as State & { at: 'awaitClientAuth' }).client, 0, error),
    ),
    junk: { on: 'record', payload: Buffer.alloc(64) },
    empty: { on: 'record', payload: encode({}) },
    fault: { on: 'fault', error: new ChatError('TOO_LARGE', 'x', { field: 'record.length' }) },
    early: { on: 'tick', nowMs: DEADLINE_MS - 1 },
    late: { on: 'tick', nowMs: DEADLINE_MS },
    eof: { on: 'eof' },
  });
  return { states, events, records: [clientHello, serverHello, serverAuth, client.sent[1]!] as const };
}

/** Any peer that holds the keys can make this; here the test does. */
function openedBy(state: State & { at: 'awaitServerAuth' }, payload: Buffer): Buffer {
  const { key, iv } = state.server;
  return aesGcmOpen(key, iv, Buffer.concat([u32(payload.length), payload.subarray(0, 8)]), payload.subarray(8));
}

t.test('sealed, but not what was due', async (t) => {
  const { states } = stage();
  for (const [at, keys] of [
    ['awaitServerAuth', 'server'],
    ['awaitClientAuth', 'client'],
  ] as const) {
    const state = states[at] as State & { at: typeof at };
    for (const [map, says] of [
      [{ type: 'msg_send' }, 'UNKNOWN_TYPE frame.type'],
      [{ type: at === 'awaitServerAuth' ? 'client_auth' : 'server_auth' }, 'BAD_FRAME frame.type'],
      [{ type: at === 'awaitServerAuth' ? 'server_auth' : 'client_auth' }, `BAD_FRAME ${keys}_auth.binding`],
    ] as const) {
      const payload = payloadOf(sealRecord(state[keys], 0, encode(map)));
      t.equal(said(step(state, { on: 'record', payload })[1]), `send, close ${says} by us`, `${at}: ${says}`);
    }
    const skipped = payloadOf(sealRecord(state[keys], 1, encode({ type: 'x' })));
    t.equal(said(step(state, { on: 'record', payload: skipped })[1]), 'send, close BAD_FRAME record.counter by us');
  }
});

t.test('any bytes end in a code and never in an exception', async () => {
  const { states } = stage();
  const waiting = [states.awaitClientHello, states.awaitServerHello, states.awaitServerAuth, states.awaitClientAuth];
  fc.assert(
    fc.property(fc.constantFrom(...waiting), fc.uint8Array({ minLength: 1, maxLength: 300 }), (state, payload) => {
      const [next, effects] = step(state, { on: 'record', payload });
      const close = effects.at(-1);
      return next.at === 'closed' && close?.do === 'close' && close.code !== 'INTERNAL';
    }),
    runs(300),
  );
});

t.test('nothing in a state or a session prints key material', async (t) => {
  const { states } = stage();
  const { client } = converse();
  const printed = JSON.stringify([states.awaitServerAuth, client.session]);
  t.match(printed, /«secret»/);
  t.notOk(/"key":\{"type":"Buffer"/.test(printed));
});

t.test('a peer that already failed says nothing more', async (t) => {
  const peer = new Peer(startServer(serverEnd, [2], respond));
  peer.feed(encodeRecord(Buffer.from('junk')));
  const sent = peer.sent.length;
  peer.feed(encodeRecord(Buffer.from('more')));
  t.equal(peer.sent.length, sent);
  t.equal(peer.close?.code, 'BAD_FRAME');
});
