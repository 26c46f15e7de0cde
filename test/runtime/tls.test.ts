import { spawn } from 'node:child_process';
import { createPublicKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createTcpServer, Socket, type AddressInfo } from 'node:net';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, createSecureContext, createServer, TLSSocket } from 'node:tls';
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { parseCrls } from '../../x509/crl.ts';
import {
  authoritiesOf,
  clientTlsOptions,
  loadAuthorities,
  loadCredentials,
  presentedBy,
  serverContext,
  serverTlsOptions,
  tlsExporter,
  type Credentials,
} from '../../runtime/tls.ts';
import { Revocation } from '../../server/revocation.ts';
import { parsePem } from '../../x509/certificate.ts';
import {
  admitBy,
  ca,
  credentials,
  dial,
  dialTls,
  memoryLog,
  serverCertificate,
  startServer,
  trusting,
} from '../support/pair.ts';
import { authority, clientOptions, DAY_MS, EKU, selfSigned, type Issued } from '../support/pki.ts';

const now = Date.now();
const alice = ca.client('alice');

t.test('a bad client certificate is refused by name, on both ends', async (t) => {
  const impostor = authority('Test CA');
  const revoked = ca.client('alice');
  const crls = parseCrls(Buffer.from(ca.crl([revoked])));
  const sub = ca.intermediate('Sub CA');
  const notCa = ca.client('mallory');
  const rows: readonly [string, Issued, sub: string][] = [
    ['self-signed', selfSigned(clientOptions('alice')), 'untrusted'],
    ['another authority of the same name', impostor.client('alice'), 'untrusted'],
    ['expired', ca.client('alice', { notBefore: now - 2 * DAY_MS, notAfter: now - 1000 }), 'expired'],
    ['not yet valid', ca.client('alice', { notBefore: now + DAY_MS, notAfter: now + 2 * DAY_MS }), 'not_yet_valid'],
    ['for servers only', ca.client('alice', { eku: [EKU.server] }), 'wrong_eku'],
    ['for nothing in particular', ca.client('alice', { eku: [] }), 'wrong_eku'],
    ['an authority as a person', ca.client('alice', { ca: true, keyUsage: [1, 0, 0, 0, 0, 1] }), 'wrong_usage'],
    ['revoked', revoked, 'revoked'],
    ['NUL in the name', ca.client('alice', { san: ['URI:chat:alice\0.evil'] }), 'malformed'],
    ['two names', ca.client('alice', { san: ['URI:chat:alice', 'URI:chat:bob'] }), 'bad_name'],
    [
      'letters that look alike',
      ca.client('alice', { cn: 'al\u0456ce', san: ['URI:chat:al\u0456ce'] }),
      'malformed|bad_name',
    ],
    ['no name at all', ca.client('alice', { cn: '', san: [] }), ''],
    ['an intermediate that was not sent', sub.client('alice'), 'untrusted'],
  ];
  const { log } = memoryLog();
  const revocation = new Revocation({ authorities: trusting(ca), crlFiles: [], crlGraceMs: 0, now: Date.now, log });
  t.teardown(() => revocation.close());
  const checked = admitBy(trusting(ca), 'clientAuth', crls);
  const server = await startServer(t, { admit: (presented) => (checked(presented), revocation.admit(presented)) });
  for (const [name, issued, want] of rows) {
    server.lines.length = 0;
    const refused = server.line('certificate.refused');
    const error = (await dial(server.port, { ...credentials(alice), certPem: issued.pem, privateKey: issued.key }).then(
      () => ({ code: 'opened', sub: '' }),
      (e: unknown) => e,
    )) as { code: string; sub: string };
    t.equal(error.code, 'BAD_CERT', `${name}: code at the client`);
    if (want !== '') t.match(error.sub, new RegExp(`^(${want})$`), `${name}: sub at the client`);
    t.match(await refused, { code: 'BAD_CERT', sub: error.sub }, `${name}: sub in the log`);
  }
  const chainOfNoCa = credentials(issueBelow(notCa), notCa);
  await t.rejects(dial(server.port, chainOfNoCa), { code: 'BAD_CERT', sub: 'wrong_usage' }, 'issued by a person');
  server.lines.length = 0;
  const none = dial(server.port, credentials(alice), { tls: { cert: undefined, key: undefined } });
  await t.rejects(none, { code: 'BAD_CERT', sub: 'no_certificate' });
  t.match(await server.line('certificate.refused'), { sub: 'no_certificate' });
  t.equal(server.links.length, 0, 'nobody came in');
});

/** A certificate signed with the key of somebody who is no authority. */
function issueBelow(person: Issued): Issued {
  const fake = authority(person.cn, {
    keyPair: { publicKey: parsePem(person.pem)[0]!.publicKey, privateKey: person.key },
  });
  return fake.client('alice');
}

t.test('a chain over intermediates is accepted, and every key type', async (t) => {
  const server = await startServer(t);
  const sub = ca.intermediate('Sub CA');
  const subSub = sub.intermediate('Sub sub CA');
  const own = credentials(subSub.client('alice'), subSub, sub);
  const [link, client] = await Promise.all([server.nextLink(), dial(server.port, own)]);
  t.same(
    link.peerChain.map((c) => c.subject.text.replace(/^.*=/, '')),
    ['alice', 'Sub sub CA', 'Sub CA', 'Test CA'],
  );
  client.close();
  for (const key of ['ed25519', 'rsa2048'] as const)
    (await dial(server.port, credentials(ca.client('alice', { key })))).close();
});

t.test(
  'several intermediates of one name and key: whichever leads to a root, in whatever order they came',
  async (t) => {
    const server = await startServer(t);
    const sub = ca.intermediate('Cross CA');
    const keyPair = { privateKey: sub.key, publicKey: createPublicKey(sub.key) };
    const elsewhere = authority('Another root').intermediate('Cross CA', { keyPair });
    const expired = ca.intermediate('Cross CA', { keyPair, notBefore: now - 2 * DAY_MS, notAfter: now - 1000 });
    const issued = sub.client('alice');
    for (const issuers of [
      [sub, elsewhere, expired],
      [elsewhere, sub, expired],
      [expired, elsewhere, sub],
    ]) {
      const [link, client] = await Promise.all([server.nextLink(), dial(server.port, credentials(issued, ...issuers))]);
      t.same(link.peerChain[1]!.der, sub.der);
      client.close();
    }
    await t.rejects(dial(server.port, credentials(issued, elsewhere, expired)), { code: 'BAD_CERT' });
  },
);

t.test('a bad server certificate is refused by the client', async (t) => {
  const impostor = authority('Test CA');
  const rows: readonly [string, Issued, sub: string][] = [
    ['another authority', impostor.server(), 'untrusted'],
    ['expired', ca.server({ notBefore: now - 2 * DAY_MS, notAfter: now - 1000 }), 'expired'],
    ['not yet valid', ca.server({ notBefore: now + DAY_MS }), 'not_yet_valid'],
    ['another host', ca.server({ san: ['DNS:other.example', 'IP:127.0.0.2'] }), 'wrong_host'],
    ['the host as a common name', ca.server({ cn: '127.0.0.1', san: ['DNS:other.example'] }), 'wrong_host'],
    ['for clients only', ca.server({ eku: [EKU.client] }), 'wrong_eku'],
    ['without a purpose', ca.server({ eku: [] }), 'wrong_eku'],
  ];
  for (const [name, issued, sub] of rows) {
    const server = await startServer(t, { own: credentials(issued) });
    await t.rejects(dial(server.port, credentials(alice)), { code: 'BAD_CERT', sub }, name);
  }
});

t.test('a server shows its certificate and what leads from there to a root, which clients have', async (t) => {
  const sub = ca.intermediate('Sub CA');
  const subSub = sub.intermediate('Sub sub CA');
  const below = subSub.server();
  const authorities = trusting(ca, subSub, sub);
  const rows: readonly [string, Credentials, want: readonly string[]][] = [
    ['of the root', credentials(serverCertificate), ['CN=localhost']],
    ['a file with the leaf alone', credentials(below), ['CN=localhost', 'CN=Sub sub CA', 'CN=Sub CA']],
    ['a file with some of it', credentials(below, subSub), ['CN=localhost', 'CN=Sub sub CA', 'CN=Sub CA']],
    ['a file with all of it', credentials(below, subSub, sub), ['CN=localhost', 'CN=Sub sub CA', 'CN=Sub CA']],
  ];
  for (const [name, own, want] of rows) {
    const server = await startServer(t, { own, authorities });
    const socket = dialTls(server.port, credentials(alice));
    await once(socket, 'secureConnect');
    const shown: string[] = [];
    for (let each = socket.getPeerX509Certificate(); each !== undefined; each = each.issuerCertificate)
      shown.push(each.subject);
    t.same(shown, want, name);
    socket.destroy();
  }
});

t.test('TLS 1.3, our groups and ALPN, nothing else', async (t) => {
  const server = await startServer(t);
  const old = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers: 'DEFAULT' } as const;
  await t.rejects(dial(server.port, credentials(alice), { tls: old }), { code: 'UNSUPPORTED_VERSION', field: 'tls' });
  t.match(await server.line('tls.refused'), { code: 'UNSUPPORTED_VERSION', errno: 'ERR_SSL_UNSUPPORTED_PROTOCOL' });
  const { ALPNProtocols: _, ...withoutAlpn } = clientTlsOptions(
    credentials(alice),
    trusting(ca),
    '127.0.0.1',
    server.port,
  );
  const silent = connect(withoutAlpn);
  silent.on('error', () => {});
  t.match(await server.line('handshake.refused'), { code: 'UNSUPPORTED_VERSION', field: 'alpn' }, 'no ALPN at all');
  silent.destroy();
  await t.rejects(dial(server.port, credentials(alice), { tls: { ALPNProtocols: ['h2'] } }), {
    code: 'UNSUPPORTED_VERSION',
    field: 'tls',
  });
  await t.rejects(dial(server.port, credentials(alice), { tls: { ecdhCurve: 'P-256' } }), {
    code: 'BAD_FRAME',
    field: 'tls',
  });
  const socket = dialTls(server.port, credentials(alice));
  await once(socket, 'secureConnect');
  t.equal(socket.getProtocol(), 'TLSv1.3');
  t.match(socket.getEphemeralKeyInfo(), { name: 'X25519MLKEM768' });
  socket.destroy();
});

t.test('the exporter is the same on both ends and different on every connection', async (t) => {
  const values: string[] = [];
  const server = createTcpServer((accepted) => {
    const socket = new TLSSocket(
      accepted,
      serverTlsOptions(serverContext(credentials(serverCertificate), trusting(ca))),
    );
    socket.on('error', () => {});
    socket.once('secure', () => {
      values.push(hex(tlsExporter(socket)));
      socket.end();
    });
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  for (let i = 0; i < 2; i++) {
    const socket = dialTls((server.address() as AddressInfo).port, credentials(alice));
    await once(socket, 'secureConnect');
    values.push(hex(tlsExporter(socket)));
    await once(socket.resume(), 'close');
  }
  t.equal(new Set(values).size, 2);
  t.equal(values.length, 4);
  t.equal(values[0]?.length, 64);
});

t.test('no session is resumed, so a certificate that was revoked meanwhile does not come back', async (t) => {
  const server = await startServer(t);
  const own = credentials(alice);
  const first = dialTls(server.port, own);
  let session: Buffer | undefined;
  first.on('session', (s: Buffer) => (session = s));
  await once(first, 'session');
  first.destroy();
  const again = dialTls(server.port, own, { session: session! });
  await once(again, 'secureConnect');
  t.equal(again.isSessionReused(), false, 'a full handshake');
  again.destroy();
});

t.test('a session that was resumed after all is refused by the gate', async (t) => {
  const context = createSecureContext({
    cert: serverCertificate.pem,
    key: serverCertificate.keyPem,
    ca: ca.pem,
    minVersion: 'TLSv1.3',
    ticketKeys: randomBytes(48),
    sessionIdContext: 'shared ticket keys',
  });
  const verdicts: unknown[] = [];
  const server = createTcpServer((accepted) => {
    const socket = new TLSSocket(accepted, { ...serverTlsOptions(context) });
    socket.on('error', () => {});
    socket.once('secure', () => {
      try {
        verdicts.push(presentedBy(socket)[0].subject.text);
      } catch (error) {
        verdicts.push((error as { sub: string }).sub);
      }
      socket.end('x');
    });
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const first = dialTls(port, credentials(alice));
  const [session] = (await once(first, 'session')) as [Buffer];
  first.destroy();
  const again = dialTls(port, credentials(alice), { session, cert: undefined, key: undefined });
  await once(again.resume(), 'close');
  t.same(verdicts, ['CN=alice', 'resumed'], 'and it needed neither certificate nor key');
});

t.test('Node: a server that rejects does not say so, and tls.Server hides the intermediates', async (t) => {
  const sub = ca.intermediate('Sub CA');
  const expired = ca.client('alice', { notBefore: now - 2 * DAY_MS, notAfter: now - 1000 });
  const chains: unknown[] = [];
  const server = createServer(
    {
      cert: serverCertificate.pem,
      key: serverCertificate.keyPem,
      ca: ca.pem,
      requestCert: true,
      rejectUnauthorized: true,
    },
    (socket) => {
      chains.push(socket.getPeerCertificate(true).issuerCertificate?.subject.CN);
      socket.on('error', () => {}).end();
    },
  );
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const errors: unknown[] = [];
  const refused = dialTls(port, credentials(expired), { ALPNProtocols: undefined as never });
  refused.on('error', (error) => errors.push(error));
  await once(refused.resume(), 'close');
  t.same(errors, [], 'the client is told nothing: that is why the gate is ours');
  const accepted = dialTls(port, credentials(sub.client('alice'), sub), { ALPNProtocols: undefined as never });
  await once(accepted.resume(), 'close');
  if (chains[0] !== undefined) t.comment('nodejs/node#65579 is mended in this version');
});

t.test('the environment adds no authority and switches nothing off', async (t) => {
  const other = authority('Other CA');
  const otherServer = other.server();
  const server = await startServer(t, { own: credentials(otherServer) });
  const dir = t.testdir({
    'other.pem': other.pem,
    'ca.pem': ca.pem,
    'alice.pem': alice.pem,
    'alice.key': alice.keyPem,
  });
  const script = `
    import { readFileSync } from 'node:fs';
    import { connect } from 'node:tls';
    import { authoritiesOf, clientTlsOptions } from ${JSON.stringify(new URL('../../runtime/tls.ts', import.meta.url).href)};
    import { parsePem } from ${JSON.stringify(new URL('../../x509/certificate.ts', import.meta.url).href)};
    import { createPrivateKey } from 'node:crypto';
    const read = (name) => readFileSync(${JSON.stringify(dir)} + '/' + name, 'utf8');
    const own = { chain: parsePem(read('alice.pem')), certPem: read('alice.pem'), privateKey: createPrivateKey(read('alice.key')) };
    const socket = connect(clientTlsOptions(own, authoritiesOf(parsePem(read('ca.pem'))), '127.0.0.1', ${server.port}));
    socket.on('secureConnect', () => { console.log('let in'); process.exit(1); });
    socket.on('error', (error) => { console.log(error.code); process.exit(0); });
  `;
  const extra = {
    NODE_EXTRA_CA_CERTS: join(dir, 'other.pem'),
    NODE_TLS_REJECT_UNAUTHORIZED: '0',
    NODE_NO_WARNINGS: '1',
  };
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { env: { ...process.env, ...extra } });
  let out = '';
  child.stdout.on('data', (chunk) => (out += chunk));
  const [status] = await once(child, 'close');
  t.match(out.trim(), /^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/);
  t.equal(status, 0);
});

t.test('credentials and authorities from files', async (t) => {
  const dir = t.testdir({
    'a.pem': alice.pem,
    'a.key': alice.keyPem,
    'other.key': ca.client('x').keyPem,
    'ca.pem': ca.pem,
    empty: '',
  });
  const at = (name: string) => join(dir, name);
  for (const name of ['a.key', 'other.key']) chmodSync(at(name), 0o600);
  t.equal(loadCredentials(at('a.pem'), at('a.key')).chain[0].subject.text, 'CN=alice');
  t.equal(loadAuthorities([at('ca.pem')]).roots.length, 1);
  t.throws(
    () => loadCredentials(at('a.pem'), at('other.key')),
    { code: 'CONFIG_INVALID', field: 'tls.key' },
    'not its key',
  );
  t.throws(() => loadCredentials(at('empty'), at('a.key')), { code: 'CONFIG_INVALID', field: 'tls.cert' });
  t.throws(() => loadCredentials(at('a.pem'), at('empty')), { code: 'UNSAFE_FILE', field: 'tls.key' });
  t.throws(() => loadAuthorities([at('a.pem')]), { code: 'CONFIG_INVALID', field: 'tls.ca' }, 'a person is no root');
  t.throws(() => authoritiesOf([]), { code: 'CONFIG_INVALID', field: 'tls.ca' });
  chmodSync(at('a.key'), 0o640);
  t.throws(() => loadCredentials(at('a.pem'), at('a.key')), { code: 'UNSAFE_FILE', field: 'tls.key' });
  const sealed = alice.key.export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'canary-4711' });
  writeFileSync(at('sealed.key'), sealed, { mode: 0o600 });
  writeFileSync(at('right'), 'canary-4711\n', { mode: 0o600 });
  writeFileSync(at('wrong'), 'canary-4712\n', { mode: 0o600 });
  t.ok(loadCredentials(at('a.pem'), at('sealed.key'), at('right')));
  t.throws(() => loadCredentials(at('a.pem'), at('sealed.key'), at('wrong')), {
    code: 'CONFIG_INVALID',
    field: 'tls.key',
  });
  t.throws(() => loadCredentials(at('a.pem'), at('sealed.key')), { code: 'CONFIG_INVALID', field: 'tls.key' });
});

t.test('nothing that lives as long as a connection is a piece of the pool for short-lived Buffers', (t) => {
  const options = serverTlsOptions(serverContext(credentials(serverCertificate), trusting(ca)));
  const socket = new TLSSocket(new Socket(), options);
  const { ALPNProtocols } = (socket as unknown as { _tlsOptions: { ALPNProtocols: Uint8Array } })._tlsOptions;
  socket.destroy();
  const [alices] = parsePem(alice.pem);
  const lasting = { ALPNProtocols, fingerprint: alices!.fingerprint, spkiHash: alices!.spkiHash };
  for (const [name, bytes] of Object.entries(lasting)) t.equal(bytes.buffer.byteLength, bytes.length, name);
  t.end();
});
