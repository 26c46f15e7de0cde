import { execFile, execFileSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import t from 'tap';
import { parsePem } from '../../x509/certificate.ts';
import { parseCrls } from '../../x509/crl.ts';
import { canonicalUsername, identityOf } from '../../x509/identity.ts';
import { validatePath } from '../../x509/path.ts';

t.jobs = 3;

const SCRIPT = new URL('../../scripts/gen-certs.sh', import.meta.url).pathname;
const BASE = ['ca.crt', 'ca.db', 'ca.key'];
const pair = (name: string) => [`${name}.crt`, `${name}.csr`, `${name}.key`];
const files = (...names: string[]) => [...BASE, ...names.flatMap(pair)].sort();

interface Result {
  status: number | null;
  stdout: string;
  stderr: string;
}
const run = (file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Result> =>
  new Promise((resolve) => {
    const child = execFile(file, args, { env }, (_, stdout, stderr) =>
      resolve({ status: child.exitCode, stdout, stderr }),
    );
  });
const gen = (out: string, ...args: string[]) => run('sh', [SCRIPT, '--out', out, ...args]);
const openssl = (...args: string[]) => run('openssl', args);
const text = async (file: string) => (await openssl('x509', '-in', file, '-noout', '-text')).stdout;
const certificate = (file: string) => new X509Certificate(readFileSync(file));
const snapshot = (dir: string) =>
  Object.fromEntries(readdirSync(dir).map((f) => [f, readFileSync(join(dir, f), 'latin1')]));
/** 0 and "OK", or OpenSSL's reason. */
const verify = async (dir: string, name: string, ...options: string[]) => {
  const { status, stderr } = await openssl(
    'verify',
    '-CAfile',
    join(dir, 'ca.crt'),
    ...options,
    join(dir, `${name}.crt`),
  );
  return status === 0 ? 'OK' : /error \d+ at \d+ depth lookup: (.*)/.exec(stderr)?.[1];
};
const which = (name: string) =>
  (process.env['PATH'] ?? '').split(delimiter).some((dir) => {
    try {
      return statSync(join(dir, name)).isFile();
    } catch {
      return false;
    }
  });

t.test('a new folder: every file, modes, fingerprints, purposes', async (t) => {
  const dir = join(t.testdir(), 'deep', 'pki');
  const { status, stdout, stderr } = await gen(dir);
  t.equal(status, 0);
  t.equal(stderr, '');
  t.strictSame(readdirSync(dir).sort(), files('server', 'client'));
  for (const file of readdirSync(dir))
    t.equal((statSync(join(dir, file)).mode & 0o777).toString(8), /\.(crt|csr)$/.test(file) ? '644' : '600', file);
  for (const name of ['ca', 'server', 'client'])
    t.match(stdout, new RegExp(`^${name}.crt +SHA-256 ${certificate(join(dir, `${name}.crt`)).fingerprint256}$`, 'm'));
  t.equal(await verify(dir, 'server', '-purpose', 'sslserver', '-x509_strict'), 'OK');
  t.equal(await verify(dir, 'client', '-purpose', 'sslclient', '-x509_strict'), 'OK');
  const kind = (name: string) => createPrivateKey(readFileSync(join(dir, `${name}.key`))).asymmetricKeyType;
  t.strictSame(['ca', 'server', 'client'].map(kind), ['ec', 'ec', 'rsa']);
  t.match(await verify(dir, 'client', '-purpose', 'sslserver'), /purpose/, 'a client is no server');
  t.match(await verify(dir, 'server', '-purpose', 'sslclient'), /purpose/, 'a server is no client');
});

t.test('extensions, names, serial numbers, validity', async (t) => {
  const dir = t.testdir();
  t.equal(
    (
      await gen(
        dir,
        ...['--client=alice,b.o-b_1', '--server', 'chat.example.org,192.0.2.7,2001:db8::1', '--key', 'ec256'],
        ...['--org', `Müller $HOME & "Söhne\\"; #1, 'x'`, '--ca-name', 'Test = CA', '--email-domain', 'corp.test'],
        ...['--days', '2000'],
      )
    ).status,
    0,
  );
  const [ca, server, alice, bob] = ['ca', 'server', 'alice', 'b.o-b_1'].map((n) => certificate(join(dir, `${n}.crt`)));
  if (!ca || !server || !alice || !bob) return t.fail('missing');
  t.match(await text(join(dir, 'ca.crt')), /Basic Constraints: critical\s+CA:TRUE, pathlen:0\n/);
  t.match(await text(join(dir, 'ca.crt')), /Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
  for (const name of ['server', 'alice']) {
    const printed = await text(join(dir, `${name}.crt`));
    t.match(printed, /Version: 3 /);
    t.match(printed, /Basic Constraints: critical\s+CA:FALSE\n/);
    t.match(printed, /X509v3 Key Usage: critical\s+Digital Signature\n/);
    const keyId = /Subject Key Identifier: *\n +([0-9A-F:]{59})/;
    t.equal(
      /Authority Key Identifier: *\n +(?:keyid:)?([0-9A-F:]{59})/.exec(printed)?.[1],
      keyId.exec(await text(join(dir, 'ca.crt')))?.[1],
    );
    t.match(printed, keyId);
  }
  t.strictSame([server.keyUsage, alice.keyUsage], [['1.3.6.1.5.5.7.3.1'], ['1.3.6.1.5.5.7.3.2']], 'extended key usage');
  t.equal(server.subjectAltName, 'DNS:chat.example.org, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:1');
  t.equal(alice.subjectAltName, 'email:alice@corp.test, URI:chat:alice');
  t.equal(bob.subjectAltName, 'email:b.o-b_1@corp.test, URI:chat:b.o-b_1');
  t.match(ca.subject, /^OU=CA\nCN=Test = CA$/m);
  t.match(server.subject, /^OU=Server\nCN=chat\.example\.org$/m);
  t.match(alice.subject, /^OU=Client\nCN=alice$/m);
  const { stdout: org } = await openssl(
    'x509',
    '-in',
    join(dir, 'alice.crt'),
    '-noout',
    '-subject',
    '-nameopt',
    'sep_multiline,lname,space_eq,utf8',
  );
  t.match(org, `organizationName = Müller $HOME & "Söhne\\"; #1, 'x'\n`);
  t.match(await openssl('req', '-in', join(dir, 'alice.csr'), '-noout', '-text', '-verify'), {
    status: 0,
    stdout: /URI:chat:alice/,
  });
  const serials = [ca, server, alice, bob].map((c) => c.serialNumber);
  t.equal(new Set(serials).size, 4);
  for (const serial of serials)
    t.match(serial, /^[0-9A-F]{26,32}$/, '128 random bits (the first three bytes may be zero once in a lifetime)');
  const days = (c: X509Certificate) => (Date.parse(c.validTo) - Date.parse(c.validFrom)) / 86_400_000;
  t.equal(days(alice), 2000);
  t.equal(days(ca), 4000, 'the authority outlives what it signs');
});

t.test('every type of key, for both ends', async (t) => {
  const types = {
    rsa2048: ['rsa', 2048],
    rsa3072: ['rsa', 3072],
    ec256: ['ec', 'prime256v1'],
    ed25519: ['ed25519', undefined],
  };
  const root = t.testdir();
  await Promise.all(
    Object.entries(types).map(async ([type, [kind, detail]]) => {
      const dir = join(root, type);
      t.equal((await gen(dir, '--key', type, '--server-key', type, '--crl')).status, 0, type);
      for (const [name, purpose] of [
        ['server', 'sslserver'],
        ['client', 'sslclient'],
      ] as const) {
        t.equal(
          await verify(dir, name, '-purpose', purpose, '-x509_strict', '-crl_check', '-CRLfile', `${dir}/ca.crl`),
          'OK',
          `${type} ${name}`,
        );
        const key = createPrivateKey(readFileSync(`${dir}/${name}.key`));
        t.equal(key.asymmetricKeyType, kind);
        t.equal(key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyDetails?.modulusLength, detail);
        t.ok(certificate(`${dir}/${name}.crt`).checkPrivateKey(key));
      }
    }),
  );
});

t.test('an existing authority', async (t) => {
  const dir = t.testdir();
  t.equal((await gen(dir, '--client', 'alice', '--org', 'Örg', '--key', 'ec256')).status, 0);
  const before = snapshot(dir);
  const unchanged = (...names: string[]) => {
    const now = snapshot(dir);
    for (const name of names) t.equal(now[name], before[name], `${name} is as before`);
  };

  t.test('more people: authority and server stay, the organisation is inherited', async (t) => {
    t.match(await gen(dir, '--client', 'bob', '--client', 'carol,dave', '--key', 'ec256'), { status: 0, stderr: '' });
    t.strictSame(readdirSync(dir).sort(), files('server', 'alice', 'bob', 'carol', 'dave'));
    unchanged('ca.key', 'ca.crt', 'server.key', 'server.crt', ...pair('alice'));
    t.match(certificate(join(dir, 'bob.crt')).subject, /^O=Örg$/m);
    t.equal(await verify(dir, 'dave', '-purpose', 'sslclient'), 'OK');
  });

  t.test('refusals change nothing, say why in one line, and exit 2', async (t) => {
    const long = 'a'.repeat(65);
    const cases: readonly (readonly [says: RegExp, ...args: string[]])[] = [
      [/server\.key exists; --force/],
      [/server\.key exists; --force/, '--server', 'localhost'],
      [/alice\.key exists; --force/, '--client', 'zoe,alice'],
      [/needs a value/, '--client'],
      [/needs a value/, '--client', ''],
      [/needs a value/, '--client='],
      [/takes no value/, '--force=1'],
      [/--keep-key goes with --force/, '--client', 'alice', '--keep-key'],
      [/takes no value/, '--keep-key=1', '--force'],
      [/unknown option/, '--wat'],
      [/unknown option/, 'alice'],
      [/--client: an empty name/, '--client', 'bob2,'],
      [/--client: an empty name/, '--client', ',bob2'],
      [/--client: an empty name/, '--client', 'bob2,,bob3'],
      [/--client: 'bob2' is named twice/, '--client', 'bob2,bob3,bob2'],
      [/--client: 'ca' is/, '--client', 'ca'],
      [/--client: 'server' is a reserved/, '--client', 'server'],
      [/--client: 'admin' is a reserved/, '--client', 'zoe,admin'],
      [/--client: a name has at most 64/, '--client', long],
      ...[
        'Alice',
        '../x',
        '/etc/x',
        '.x',
        'x.',
        '-x',
        'x-',
        'a..b',
        'a*',
        '*',
        'a$b',
        'a;id',
        'a`id`',
        'é',
        'а',
        'a/b',
        'a\\b',
        'a=b',
        'a@b',
        'a:b',
        "a'b",
        'a"b',
        'a&b',
        'a\u202eb',
        'a\u200bb',
      ].map((name) => [/--client: a name has a-z/, '--client', name] as const),
      [/without spaces/, '--client', 'a b'],
      [/control character/, '--client', 'a\nb'],
      [/control character/, '--client', 'a\n'],
      [/control character/, '--client', 'a\u001b[31m'],
      ...['1.2.3', '1.2.3.256', '01.2.3.4', '1.2.3.4.5'].map((name) => [/not an IPv4/, '--server', name] as const),
      ...['::g', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1::2::3', ':1', '1:', ':::', '12345::'].map(
        (name) => [/not an IPv6/, '--server', name] as const,
      ),
      ...['*.x', 'a_b', '-a', 'a-', 'a..b', '.a', 'a.', 'a.-b', `${'a'.repeat(64)}.b`, 'x\\,DNS:y'].map(
        (name) => [/--server: not a/, '--server', name] as const,
      ),
      [/--server: an empty/, '--server', 'a,,b'],
      [/--email-domain/, '--email-domain', 'a b', '--client', 'zoe'],
      ...['0', '00', '08', '-1', '1.5', '1e3', ' 1', 'x', '30000', '99999999999999999999'].map(
        (n) => [/--days: want/, '--days', n, '--client', 'zoe'] as const,
      ),
      [/--days: the authority ends before/, '--days', '9999', '--client', 'zoe'],
      [/--key: want/, '--key', 'rsa1024', '--client', 'zoe'],
      [/--server-key: want/, '--server-key', 'dsa'],
      [/--ca-name: .* never replaced/, '--ca-name', 'Another', '--client', 'zoe', '--force'],
      [/--org: no control/, '--org', 'a\nb', '--client', 'zoe'],
      [/--org: no space/, '--org', ' a', '--client', 'zoe'],
      [/--org: at most 64/, '--org', 'x'.repeat(65), '--client', 'zoe'],
      [/no certificate of 'nobody'/, '--revoke', 'nobody'],
      [/no certificate of 'nobody'/, '--revoke', 'alice,nobody'],
      [/--revoke: a name/, '--revoke', '../alice'],
    ];
    const before = snapshot(dir);
    for (const [says, ...args] of cases) {
      const { status, stdout, stderr } = await gen(dir, ...args);
      t.strictSame({ status, stdout }, { status: 2, stdout: '' }, JSON.stringify(args));
      t.match(stderr, says, JSON.stringify(args));
      t.match(stderr, /^gen-certs: [^\n]+\n$/, 'one line');
      t.notMatch(stderr, /[\u001b\u202e]/);
    }
    t.strictSame(snapshot(dir), before);
  });

  t.test('--keep-key certifies the same key anew, for longer', async (t) => {
    const before = snapshot(dir);
    const old = certificate(join(dir, 'alice.crt'));
    t.equal((await gen(dir, '--client', 'alice', '--force', '--keep-key', '--days', '400')).status, 0);
    const after = snapshot(dir);
    const changed = Object.keys(after).filter((file) => after[file] !== before[file]);
    t.strictSame(changed.filter((file) => file !== 'alice.csr').sort(), ['alice.crt', 'ca.db'], 'not the key');
    t.equal(statSync(join(dir, 'alice.key')).mode & 0o777, 0o600);
    const renewed = certificate(join(dir, 'alice.crt'));
    t.ok(renewed.publicKey.equals(old.publicKey));
    t.not(renewed.serialNumber, old.serialNumber);
    t.ok(renewed.validToDate > old.validToDate);
    t.equal(await verify(dir, 'alice', '-purpose', 'sslclient'), 'OK');
    t.equal((await gen(dir, '--client', 'new', '--force', '--keep-key')).status, 0, 'who has no key gets one');
    for (const file of pair('new')) rmSync(join(dir, file));
  });

  t.test('--force replaces what is named, and never the authority', async (t) => {
    const before = snapshot(dir);
    const { status, stderr } = await gen(dir, '--client', 'alice', '--force', '--key', 'ec256');
    t.equal(status, 0);
    t.match(stderr, /former certificate of alice stays valid/);
    const after = snapshot(dir);
    const changed = Object.keys(after).filter((file) => after[file] !== before[file]);
    t.strictSame(changed.sort(), ['ca.db', ...pair('alice')].sort());
    t.equal((await gen(dir, '--server', 'localhost', '--force')).status, 0);
    t.strictSame(
      Object.keys(after)
        .filter((file) => snapshot(dir)[file] !== after[file])
        .sort(),
      ['ca.db', ...pair('server')].sort(),
    );
  });
});

t.test('revocation', async (t) => {
  const dir = t.testdir();
  const checked = (name: string) => verify(dir, name, '-crl_check', '-CRLfile', join(dir, 'ca.crl'));
  const number = async () => (await openssl('crl', '-in', join(dir, 'ca.crl'), '-noout', '-crlnumber')).stdout.trim();
  await gen(dir, '--client', 'alice,bob,carol', '--key', 'ec256', '--crl', '--days', '10');
  t.equal(await checked('alice'), 'OK');
  t.equal(await number(), 'crlNumber=0x01');
  const span = (await openssl('crl', '-in', join(dir, 'ca.crl'), '-noout', '-lastupdate', '-nextupdate')).stdout;
  const [from, to] = [...span.matchAll(/=(.*)/g)].map((m) => Date.parse(m[1] ?? ''));
  t.equal(((to ?? 0) - (from ?? 0)) / 86_400_000, 10, 'the list is valid for --days');

  // The stolen copy: --force has already put another certificate in its place when the revocation comes.
  const stolen = readFileSync(join(dir, 'alice.crt'));
  await gen(dir, '--client', 'alice', '--force', '--key', 'ec256');
  writeFileSync(join(dir, 'stolen.crt'), stolen);
  t.match(await gen(dir, '--revoke', 'alice,carol'), {
    status: 0,
    stdout: /^alice +revoked\ncarol +revoked\nca\.crl/,
    stderr: '',
  });
  t.equal(await number(), 'crlNumber=0x02');
  for (const name of ['alice', 'stolen', 'carol']) t.equal(await checked(name), 'certificate revoked', name);
  t.equal(await checked('bob'), 'OK');
  t.equal(await checked('server'), 'OK');

  const listed = (await openssl('crl', '-in', join(dir, 'ca.crl'), '-noout', '-text')).stdout;
  t.match(await gen(dir, '--revoke', 'alice'), { status: 0 }, 'again: no harm');
  const again = (await openssl('crl', '-in', join(dir, 'ca.crl'), '-noout', '-text')).stdout;
  t.equal(again.match(/Serial Number/g)?.length, 3);
  t.strictSame(again.match(/Revocation Date.*/g), listed.match(/Revocation Date.*/g), 'and the dates stay');

  t.match(await gen(dir, '--revoke', 'bob', '--client', 'bob', '--force', '--key', 'ec256'), { status: 0, stderr: '' });
  t.equal(await checked('bob'), 'OK', 'revoked and issued anew in one run: the new one is good');

  rmSync(join(dir, 'ca.db'));
  t.equal((await gen(dir, '--revoke', 'bob')).status, 0, 'a certificate that no index knows');
  t.equal(await checked('bob'), 'certificate revoked');
  t.match(await gen(join(dir, 'empty'), '--revoke', 'bob'), { status: 2, stderr: /no authority/ });
});

t.test('our own code accepts what it makes, and reads the same names', async (t) => {
  const dir = t.testdir();
  const names = ['alice', 'b.o-b_1', '0', 'x'.repeat(64)];
  t.equal((await gen(dir, '--client', names.join(','), '--key', 'ed25519', '--crl', '--org', 'Örg')).status, 0);
  t.equal((await gen(dir, '--revoke', '0')).status, 0);
  const read = (name: string) => parsePem(readFileSync(join(dir, `${name}.crt`), 'utf8'));
  const path = (name: string, purpose: 'clientAuth' | 'serverAuth') => {
    const [leaf] = read(name);
    if (!leaf) throw new Error('no certificate');
    const crls = parseCrls(readFileSync(join(dir, 'ca.crl')));
    return validatePath({
      leaf,
      intermediates: [],
      roots: read('ca'),
      crls,
      at: Date.now(),
      purpose,
      revocation: 'live',
    });
  };
  t.equal(path('server', 'serverAuth').length, 2);
  t.throws(() => path('server', 'clientAuth'), { code: 'BAD_CERT', sub: 'wrong_eku' });
  for (const name of names.filter((name) => name !== '0'))
    t.strictSame(identityOf(path(name, 'clientAuth')[0]), { username: name, email: `${name}@example.org` });
  t.throws(() => path('0', 'clientAuth'), { code: 'BAD_CERT', sub: 'revoked' });
});

t.test('reserved names are those that nobody may register', async (t) => {
  const words = /^reserved='([^']+)'$/m.exec(readFileSync(SCRIPT, 'utf8'))?.[1]?.split(/\s/) ?? [];
  t.ok(words.length > 20);
  for (const word of words) t.throws(() => canonicalUsername(word), { code: 'BAD_NAME' }, word);
  t.equal(canonicalUsername('client'), 'client', 'the default name is not one of them');
});

t.test('an authority that is not whole is left alone', async (t) => {
  const dir = t.testdir();
  await gen(dir, '--key', 'ec256');
  const key = readFileSync(join(dir, 'ca.key'));
  rmSync(join(dir, 'ca.key'));
  const before = snapshot(dir);
  t.match(await gen(dir, '--client', 'bob', '--force'), { status: 2, stderr: /only one of ca\.key and ca\.crt/ });
  writeFileSync(join(dir, 'ca.key'), readFileSync(join(dir, 'client.key')));
  t.match(await gen(dir, '--client', 'bob', '--force'), { status: 2, stderr: /is not the key of/ });
  rmSync(join(dir, 'ca.key'));
  t.strictSame(snapshot(dir), before);
  writeFileSync(join(dir, 'ca.key'), key);
  t.equal((await gen(dir, '--client', 'bob', '--key', 'ec256')).status, 0);
});

t.test('the machine', async (t) => {
  const dir = t.testdir({ file: 'x', none: {}, old: { openssl: '#!/bin/sh\necho "LibreSSL 3.9"\n' } });
  chmodSync(join(dir, 'old/openssl'), 0o755);
  t.match(await gen(join(dir, 'file')), { status: 2, stderr: /^gen-certs: cannot make the folder [^\n]+\n$/ });
  t.match(await gen('/proc/self/nowhere'), { status: 2, stderr: /^gen-certs: cannot make the folder [^\n]+\n$/ });
  const sh = ['/bin/sh', '/usr/bin/sh'].find((file) => statSync(file, { throwIfNoEntry: false })) ?? 'sh';
  const with_ = (PATH: string) => run(sh, [SCRIPT, '--out', join(dir, 'out')], { PATH });
  t.match(await with_(join(dir, 'none')), { status: 2, stderr: /^gen-certs: openssl is not installed[^\n]+\n$/ });
  t.match(await with_(join(dir, 'old')), { status: 2, stderr: /^gen-certs: needs OpenSSL 3[^\n]+\n$/ });
  t.throws(() => statSync(join(dir, 'out')), { code: 'ENOENT' }, 'nothing was made');
});

t.test('one run at a time; the lock of a dead run does not count', async (t) => {
  const dir = t.testdir({ '.gen-certs': { pid: `${process.pid}\n` } });
  t.match(await gen(dir), { status: 2, stderr: /another run is at work/ });
  t.strictSame(readdirSync(dir), ['.gen-certs'], 'and its lock is still there');
  const dead = execFileSync('sh', ['-c', 'echo $$'], { encoding: 'utf8' });
  writeFileSync(join(dir, '.gen-certs/pid'), dead);
  t.equal((await gen(dir, '--key', 'ec256')).status, 0);
  t.strictSame(readdirSync(dir).sort(), files('server', 'client'));
});

t.test('OpenSSL fails, or a signal comes, at any call: all or nothing', async (t) => {
  const real = execFileSync('sh', ['-c', 'command -v openssl'], { encoding: 'utf8' }).trim();
  const root = t.testdir({
    bin: {
      // Counts its calls; at call $AT it fails, or ends the script, whose process id is in the lock.
      openssl: `#!/bin/sh
n=$(cat "$COUNT") && echo $((n + 1)) >"$COUNT"
[ "$n" != "$AT" ] || case $MODE in
  fail) echo 'error: injected' >&2; exit 1 ;;
  *) kill -"$MODE" "$(cat "$OUT/.gen-certs/pid" 2>/dev/null || echo $PPID)" ;;
esac
exec ${real} "$@"
`,
    },
  });
  chmodSync(join(root, 'bin/openssl'), 0o755);
  const attempt = async (mode: string, at: number) => {
    const out = join(root, `${mode}-${at}`);
    const env = {
      PATH: `${root}/bin:${process.env['PATH']}`,
      COUNT: `${out}.count`,
      AT: `${at}`,
      MODE: mode,
      OUT: out,
    };
    writeFileSync(env.COUNT, '0');
    const result = await run('sh', [SCRIPT, '--out', out, '--key', 'ec256', '--crl'], env);
    const calls = Number(readFileSync(env.COUNT, 'utf8'));
    return { ...result, calls, left: statSync(out, { throwIfNoEntry: false }) ? readdirSync(out).sort() : [] };
  };
  const { status, calls, left } = await attempt('fail', -1);
  t.equal(status, 0);
  t.strictSame(left, [...files('server', 'client'), 'ca.crl', 'ca.crlnumber'].sort());
  t.ok(calls > 15, `${calls} calls`);
  // Call 0 asks for the version, before there is a lock.
  const attempts: [mode: string, at: number][] = [];
  for (let at = 0; at < calls; at++) {
    attempts.push(['fail', at]);
    if (at % 5 === 1) attempts.push([at % 2 ? 'TERM' : 'INT', at]);
  }
  const worker = async () => {
    for (let next = attempts.pop(); next; next = attempts.pop()) {
      const [mode, at] = next;
      const { status, left, stdout } = await attempt(mode, at);
      t.strictSame({ left, stdout }, { left: [], stdout: '' }, `${mode} at ${at} leaves nothing`);
      t.ok([1, 2, 130, 143].includes(status ?? 0), `${mode} at ${at}: exit ${status}`);
    }
  };
  await Promise.all([worker(), worker(), worker()]);
});

t.test('--help names every option; examples', async (t) => {
  const { status, stdout, stderr } = await run('sh', [SCRIPT, '--help']);
  t.equal(status, 0);
  t.equal(stderr, '');
  const options = new Set(
    readFileSync(SCRIPT, 'utf8')
      .match(/^    --[a-z-]+(?=\))/gm)
      ?.map((o) => o.trim()),
  );
  t.equal(options.size, 13);
  for (const option of options) t.match(stdout, new RegExp(`^  ${option}\\b`, 'm'), option);
  t.match(stdout, /Examples:\n  gen-certs\.sh /);
  t.equal((await run('sh', [SCRIPT, '-h'])).stdout, stdout);
  for (const line of stdout.split('\n')) t.ok(line.length <= 132, line);
});

for (const shell of ['bash', 'busybox'])
  t.test(`under ${shell}`, { skip: !which(shell) && `${shell} is not installed` }, async (t) => {
    const dir = t.testdir();
    const prefix = shell === 'busybox' ? ['sh'] : [];
    const under = (...args: string[]) => run(shell, [...prefix, SCRIPT, '--out', dir, ...args]);
    t.match(await under('--client', 'alice,bob', '--key', 'ec256', '--org', 'Ünï $x \\ "q"', '--crl'), {
      status: 0,
      stderr: '',
    });
    t.match(await under('--revoke', 'bob'), { status: 0, stderr: '' });
    t.match(await under('--client', 'a\nb'), { status: 2 });
    t.match(await under('--client', 'É'), { status: 2 });
    t.strictSame(readdirSync(dir).sort(), [...files('server', 'alice', 'bob'), 'ca.crl', 'ca.crlnumber'].sort());
    t.equal(await verify(dir, 'alice', '-crl_check', '-CRLfile', join(dir, 'ca.crl'), '-purpose', 'sslclient'), 'OK');
    t.equal(await verify(dir, 'bob', '-crl_check', '-CRLfile', join(dir, 'ca.crl')), 'certificate revoked');
  });

t.test('a dangling link under a final name is not followed', async (t) => {
  const dir = t.testdir();
  mkdirSync(join(dir, 'pki'));
  symlinkSync(join(dir, 'elsewhere'), join(dir, 'pki/client.key'));
  t.match(await gen(join(dir, 'pki'), '--key', 'ec256'), { status: 2, stderr: /client\.key exists/ });
  t.equal((await gen(join(dir, 'pki'), '--key', 'ec256', '--force')).status, 0);
  t.throws(() => statSync(join(dir, 'elsewhere')), { code: 'ENOENT' });
});
