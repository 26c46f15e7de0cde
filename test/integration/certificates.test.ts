/**
 * Certificates that are not good enough, presented to the real chat-server over real TLS: what the server logs, what the other end is
 * told, and what a person at the real chat-client reads.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t, { type Test } from 'tap';
import { clientTlsOptions, type Credentials } from '../../runtime/tls.ts';
import { parsePem } from '../../x509/certificate.ts';
import { ca, credentials, dial, dialTcp, dialTls, serverCertificate, trusting } from '../support/pair.ts';
import { authority, clientOptions, DAY_MS, EKU, selfSigned, type Issued } from '../support/pki.ts';
import { DEFAULT_KDF, formatKdf } from '../../protocol/scram.ts';
import { RawClient } from '../support/raw-client.ts';
import { Program, root } from '../support/system.ts';

t.setTimeout(240_000); // a busy machine is no failure

interface Daemon {
  readonly program: Program;
  readonly dir: string;
  readonly port: number;
  /** the list of revoked certificates, replaced as an operator does it */
  revoke(...revoked: readonly Issued[]): void;
  /** resolves with the first line that has all of these fields, from `since` on */
  line(fields: Readonly<Record<string, unknown>>, since?: number): Promise<Readonly<Record<string, unknown>>>;
}

async function daemon(t: Test): Promise<Daemon> {
  const dir = mkdtempSync(join(tmpdir(), 'chat-certs-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, `${name}.new`), text, { mode: 0o600 });
    renameSync(join(dir, `${name}.new`), join(dir, name));
    return join(dir, name);
  };
  const revoke = (...revoked: readonly Issued[]): void => void file('ca.crl', ca.crl(revoked));
  revoke();
  const settings = {
    listen: ['127.0.0.1:0'],
    state_dir: join(dir, 'state'),
    'admin.socket': join(dir, 'admin.sock'),
    'tls.cert': file('server.crt', serverCertificate.pem),
    'tls.key': file('server.key', serverCertificate.keyPem),
    'tls.ca': [file('ca.crt', ca.pem)],
    'tls.crl': [join(dir, 'ca.crl')],
    'limits.handshakes_per_address_per_s': 10_000,
    'log.format': 'json',
  };
  const toml = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  const config = file('server.toml', toml.join(''));
  const program = new Program(t, [join(root, 'bin/chat-server'), 'run', '-c', config], {});
  const line: Daemon['line'] = (fields, since = 0) =>
    program.until(JSON.stringify(fields), () => {
      const lines = program.err.slice(since).split('\n').slice(0, -1);
      const all = lines.map((text) => JSON.parse(text) as Record<string, unknown>);
      return all.find((each) => Object.entries(fields).every(([key, value]) => each[key] === value)) ?? null;
    });
  const { port } = await line({ event: 'server.listening' });
  await line({ event: 'admin.listening' });
  return { program, dir, port: Number(port), revoke, line };
}

t.test('every certificate that is not good enough is refused by name, on both sides', async (t) => {
  const revoked = ca.client('alice');
  const server = await daemon(t);
  server.revoke(revoked);
  await server.line({ event: 'crl.loaded', count: 1 });
  const impostor = authority('Test CA');
  const now = Date.now();
  const below = ca.intermediate('Below');
  const cases: readonly (readonly [name: string, own: Credentials, sub: string])[] = [
    ['self-signed', credentials(selfSigned(clientOptions('alice'))), 'untrusted'],
    ['another authority with the same name', credentials(impostor.client('alice')), 'untrusted'],
    ['the same with its authority', credentials(impostor.client('alice'), impostor), 'untrusted'],
    ['expired', credentials(ca.client('alice', { notBefore: now - 2 * DAY_MS, notAfter: now - 1000 })), 'expired'],
    ['not yet valid', credentials(ca.client('alice', { notBefore: now + DAY_MS })), 'not_yet_valid'],
    ['of a server', credentials(ca.client('alice', { eku: [EKU.server] })), 'wrong_eku'],
    ['for e-mail', credentials(ca.client('alice', { eku: [EKU.email] })), 'wrong_eku'],
    ['an authority', credentials(ca.client('alice', { ca: true, keyUsage: [1, 0, 0, 0, 0, 1, 1] })), 'wrong_usage'],
    [
      'a leaf that issues',
      credentials(asIssuer(ca.client('mallory')).client('alice'), ca.client('mallory')),
      'untrusted',
    ],
    ['revoked', credentials(revoked), 'revoked'],
    ['of an authority without a list', credentials(below.client('alice'), below), 'revocation_unknown'],
    [
      'no username',
      credentials(ca.client('alice', { cn: 'Alice Example', san: ['DNS:alice.example.org'] })),
      'bad_name',
    ],
    [
      'a CN that looks like a name',
      credentials(ca.client('alice', { cn: '\u0430lice', san: ['DNS:a.org'] })),
      'bad_name',
    ],
    ['a CN that contradicts', credentials(ca.client('alice', { cn: 'bob' })), 'bad_name'],
    ['a NUL', unreadable(ca.client('alice', { san: ['URI:chat:alice\0.evil'] })), 'malformed'],
    ['a NUL in the e-mail', unreadable(ca.client('alice', { san: ['email:alice\0@example.org'] })), 'malformed'],
    ['a letter that looks like another', unreadable(ca.client('alice', { san: ['URI:chat:\u0430lice'] })), 'malformed'],
    ['two names', credentials(ca.client('alice', { san: ['URI:chat:alice', 'URI:chat:bob'] })), 'bad_name'],
  ];
  for (const [name, own, sub] of cases) {
    const since = server.program.err.length;
    await t.rejects(dial(server.port, own), { code: 'BAD_CERT', sub }, name);
    t.match(
      await server.line({ event: 'certificate.refused', sub }, since),
      { code: 'BAD_CERT', level: 'info' },
      `${name}: logged`,
    );
  }
  t.match(server.program.err, /"subject":"CN=alice"/);

  let since = server.program.err.length;
  const bare = {
    ...clientTlsOptions(cases[0]![1], trusting(ca), '127.0.0.1', server.port),
    cert: undefined,
    key: undefined,
  };
  const nobody = connect(bare as never);
  nobody.on('error', () => {});
  await once(nobody.resume(), 'close');
  t.match(await server.line({ sub: 'no_certificate' }, since), { code: 'BAD_CERT' }, 'no certificate');
  since = server.program.err.length;
  const old = dialTls(server.port, credentials(ca.client('alice')), {
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.2',
    ciphers: 'DEFAULT',
  });
  await new Promise((resolve) => old.once('close', resolve));
  t.match(await server.line({ event: 'tls.refused' }, since), { code: 'UNSUPPORTED_VERSION' }, 'TLS 1.2');
  since = server.program.err.length;
  const plain = await dialTcp(server.port);
  plain.write('{"type":"login","username":"alice"}\n');
  await once(plain.resume(), 'close');
  t.match(await server.line({ event: 'tls.refused' }, since), { code: 'BAD_FRAME', level: 'info' }, 'no TLS at all');

  // A good certificate for another name.
  const mallory = new RawClient(await dial(server.port, credentials(ca.client('mallory'))));
  const keys = {
    salt: randomBytes(16),
    kdf: formatKdf(DEFAULT_KDF),
    stored_key: randomBytes(32),
    server_key: randomBytes(32),
  };
  await t.rejects(
    mallory.request({ type: 'register', username: 'alice', email: 'mallory@example.org', ...keys }, 'ok'),
    { code: 'CERT_ACCOUNT_MISMATCH', field: 'register.username' },
    'who is mallory does not register as alice',
  );
  await mallory.close();
  t.notMatch(server.program.err, /"level":"error"/);
});

/** Presents a certificate that we would not even read ourselves. */
const unreadable = ({ pem, key }: Issued): Credentials => ({
  ...credentials(ca.client('alice')),
  certPem: pem,
  privateKey: key,
});

/** A certificate that signs although it is none that may. */
function asIssuer(leaf: Issued): ReturnType<typeof authority> {
  const keyPair = { publicKey: parsePem(leaf.pem)[0]!.publicKey, privateKey: leaf.key };
  return authority(leaf.cn, { keyPair });
}

t.test('what a person reads at chat-client, and the exit status', async (t) => {
  const good = ca.client('alice');
  const revoked = ca.client('bob');
  const server = await daemon(t);
  server.revoke(revoked);
  await server.line({ event: 'crl.loaded', count: 1 });
  const now = Date.now();
  const people: readonly (readonly [name: string, own: Issued, says: RegExp])[] = [
    [
      'revoked',
      revoked,
      /^chat: the server refused your certificate: it was revoked; ask your authority.* \[BAD_CERT(\/[a-z_]+)?\]\n$/,
    ],
    [
      'expired',
      ca.client('alice', { notBefore: now - 2 * DAY_MS, notAfter: now - 1000 }),
      /^chat: your certificate .*expired.*\[BAD_CERT(\/[a-z_]+)?\]\n$/,
    ],
    [
      'two names',
      ca.client('alice', { san: ['URI:chat:alice', 'URI:chat:bob'] }),
      /^chat: your certificate .*\[BAD_CERT(\/[a-z_]+)?\]\n$/,
    ],
  ];
  const run = async (name: string, own: Issued, authorityPem = ca.pem): Promise<Program> => {
    const home = join(server.dir, name.replaceAll(' ', '-'));
    const put = (file: string, text: string): string => {
      writeFileSync(`${home}.${file}`, text, { mode: 0o600 });
      return `${home}.${file}`;
    };
    const env = {
      CHAT_CLIENT_HOME: home,
      CHAT_SERVER: `127.0.0.1:${server.port}`,
      CHAT_CA_FILE: put('ca.crt', authorityPem),
      CHAT_CERT_FILE: put('crt', own.pem),
      CHAT_KEY_FILE: put('key', own.keyPem),
      CHAT_PASSWORD_FILE: put('password', 'correct horse battery'),
    };
    const program = new Program(t, [join(root, 'bin/chat-client'), 'send', 'carol', 'hello'], env);
    program.type('');
    await program.ended;
    return program;
  };
  await Promise.all(
    people.map(async ([name, own, says]) => {
      const program = await run(name, own);
      t.equal(await program.ended, 6, name);
      t.match(program.err, says, name);
      t.equal(program.out, '', name);
    }),
  );
  // Of an authority that is not the server's: then neither trusts the other.
  const other = authority('Other CA');
  const stranger = await run('stranger', other.client('alice'), other.pem);
  t.equal(await stranger.ended, 6);
  t.match(stranger.err, /^chat: the certificate of the server is refused: .*\[BAD_CERT(\/[a-z_]+)?\]\n$/);
  // The good one is let in, and then has no account.
  const alice = await run('good', good);
  t.equal(await alice.ended, 4);
  t.match(alice.err, /^chat: .*\[(AUTH_FAIL|NOT_LOGGED_IN)\]\n$/);
});

t.test(
  'revocation cuts who is connected, as soon as the list says so; a list that is gone keeps out who is new',
  async (t) => {
    const [alice, bob] = [ca.client('alice'), ca.client('bob')];
    const server = await daemon(t);
    const a = new RawClient(await dial(server.port, credentials(alice)));
    const b = new RawClient(await dial(server.port, credentials(bob)));
    await Promise.all([a.settled(), b.settled()]);
    server.revoke(alice);
    t.strictSame(await a.link.closed, { code: 'BAD_CERT', sub: 'revoked' });
    t.match(await server.line({ event: 'certificate.revoked' }), { sub: 'revoked', subject: 'CN=alice' });
    await t.rejects(dial(server.port, credentials(alice)), { code: 'BAD_CERT', sub: 'revoked' });
    await b.settled();

    const since = server.program.err.length;
    rmSync(join(server.dir, 'ca.crl'));
    await server.line({ event: 'crl.failed' }, since);
    await b.settled();
    await t.rejects(dial(server.port, credentials(bob)), { code: 'BAD_CERT', sub: 'revocation_unknown' });
    server.revoke(alice);
    await server.line({ event: 'crl.loaded' }, since);
    await (await new RawClient(await dial(server.port, credentials(bob)))).settled();
    await b.close();
  },
);
