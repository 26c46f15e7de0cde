import t from 'tap';
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChatError } from '../../base/errors.ts';
import { chainCommand, type ChainOutcome } from '../../verify/chain.ts';
import { parseCertificate, toPem } from '../../x509/certificate.ts';
import { chainCases } from '../x509/chain-cases.ts';
import {
  authority,
  clientExtensions,
  DAY,
  dns,
  ec,
  eku,
  EKU,
  list,
  make,
  makeCa,
  named,
  NOW,
  rsa,
  san,
  type Made,
} from '../x509/maker.ts';

const AT = new Date(NOW).toISOString();
const pem = (...made: readonly Made[]): string => made.map(({ der }) => toPem(parseCertificate(der))).join('');
/** As the program would, with files that are here. */
function run(files: Readonly<Record<string, string | Uint8Array>>, ...argv: readonly string[]): ChainOutcome {
  return chainCommand(argv, {
    now: () => NOW,
    read: (path) => {
      const content = files[path];
      if (content === undefined) throw new ChatError('USAGE', "can't be read (ENOENT)");
      return Buffer.from(content);
    },
  });
}

chainCases('chains of x509-limbo and BetterTLS, through the command', (c, at, { maxIntermediates, allowNoEku }) => {
  const files = {
    ca: c.ca.join(''),
    chain: c.chain.join(''),
    ...Object.fromEntries(c.crls.map((crl, i) => [`crl${i}`, crl])),
  };
  const { exit, lines } = run(
    files,
    ...['--ca', 'ca', '--chain', 'chain', '--at', at],
    ...c.crls.flatMap((_, i) => ['--crl', `crl${i}`]),
    ...(maxIntermediates === undefined ? [] : ['--max-intermediates', `${maxIntermediates}`]),
    ...(allowNoEku ? ['--allow-no-eku'] : []),
  );
  if (exit === 2) throw new Error(lines.join('\n'));
  return { isAccepted: exit === 0, said: lines.at(-1) ?? '' };
});

const root = authority();
const ica = makeCa(root, 'Issuing');
const leaf = make(ica);
const files = {
  ca: pem(root),
  'ca.der': root.der,
  other: pem(authority('Other')),
  chain: pem(leaf, ica),
  'leaf.der': leaf.der,
  short: pem(leaf),
  server: pem(make(root, { extensions: [eku(EKU.server), san(dns('localhost'))] })),
  nobody: pem(make(root, { subject: named('alice'), extensions: clientExtensions('bob') })),
  junk: 'junk',
  key: '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n',
  weak: pem(make(root, { pair: rsa(1024) })),
  k1: Buffer.from(make(root, { pair: ec('secp256k1') }).der),
  'crl.root': list(root),
  'crl.ica': list(ica),
  'crl.revoked': list(ica, { revoked: [leaf.serial] }),
  'crl.stale': list(ica, { until: NOW - 1000 }),
};

t.test('verdicts', (t) => {
  const cases: readonly (readonly [string, number, RegExp])[] = [
    ['--ca ca --chain chain', 0, /^VALID clientAuth, 3 certificates, at 2026-06-15T00:00:00\.000Z$/],
    ['--ca other --ca ca --chain chain', 0, /^VALID/],
    ['--ca ca.der --chain chain', 0, /^VALID/],
    ['--ca ca --chain server --purpose serverAuth', 0, /^VALID serverAuth, 2/],
    ['--ca ca --chain chain --crl crl.root --crl crl.ica', 0, /^VALID/],
    ['--ca ca --chain chain --max-intermediates 1', 0, /^VALID/],
    ['--ca ca --chain nobody', 0, /^VALID/],
    ['--ca other --chain chain', 12, /^UNTRUSTED untrusted: CN=Issuing: its issuer CN=Root is not among/],
    ['--ca ca --chain short', 12, /^UNTRUSTED untrusted: CN=alice: its issuer CN=Issuing is not among/],
    ['--ca ca --chain leaf.der', 12, /^UNTRUSTED untrusted: CN=alice: its issuer CN=Issuing is not among/],
    ['--ca ca --chain chain --at 2026-06-17T00:00:00Z', 12, /^UNTRUSTED expired: CN=alice: expired at 2026-06-16/],
    ['--ca ca --chain chain --at 2026-06-13T23:00:00+00:00', 12, /^UNTRUSTED not_yet_valid: /],
    ['--ca ca --chain chain --purpose serverAuth', 12, /^UNTRUSTED wrong_eku: CN=alice: /],
    ['--ca ca --chain chain --max-intermediates 0', 12, /^UNTRUSTED wrong_usage: CN=Issuing: /],
    ['--ca ca --chain chain --crl crl.root --crl crl.revoked', 12, /^UNTRUSTED revoked: CN=alice: /],
    ['--ca ca --chain chain --crl crl.root --crl crl.stale', 12, /^UNTRUSTED revocation_unknown: CN=alice: /],
    ['--ca ca --chain chain --crl crl.root', 12, /^UNTRUSTED revocation_unknown: CN=alice: /],
    ['--ca ca --chain weak', 12, /^UNTRUSTED weak_key: CN=alice: /],
    ['--ca ca --chain k1', 12, /^UNTRUSTED weak_key: "k1": /],
    ['--ca ca --chain junk', 13, /^UNREADABLE malformed: "junk": PEM: /],
    ['--ca key --chain chain', 13, /^UNREADABLE malformed: "key": /],
    ['--ca ca --chain chain --crl chain', 13, /^UNREADABLE malformed: "chain": /],
  ];
  for (const [argv, exit, last] of cases) {
    const outcome = run(files, ...argv.split(' '));
    t.equal(outcome.exit, exit, argv);
    t.match(outcome.lines.at(-1), last);
  }
  t.match(
    run(files, '--ca', 'ca', '--chain', 'chain').lines.join('\n'),
    /^ {2}0 CN=alice, .*\n {2}1 CN=Issuing, .*\n {2}2 CN=Root, .*\n {2}username alice\nVALID/,
  );
  t.match(
    run(files, '--ca', 'ca', '--chain', 'nobody').lines.join('\n'),
    /no username \(bad_name\): CN=alice: .*contradict/,
  );
  t.notMatch(run(files, '--ca', 'ca', '--chain', 'server', '--purpose', 'serverAuth').lines.join('\n'), /username/);
  t.end();
});

t.test('as JSON', (t) => {
  const parse = ({ lines }: ChainOutcome) =>
    JSON.parse(lines.length === 1 ? lines[0]! : 'more than one line') as unknown;
  t.match(parse(run(files, '--ca', 'ca', '--chain', 'chain', '--json')), {
    verdict: 'VALID',
    purpose: 'clientAuth',
    at: AT,
    username: 'alice',
    chain: [
      { subject: 'CN=alice', issuer: 'CN=Issuing', notAfter: new Date(NOW + DAY).toISOString() },
      { subject: 'CN=Issuing' },
      { subject: 'CN=Root' },
    ],
  });
  t.match(parse(run(files, '--ca', 'other', '--chain', 'chain', '--json')), {
    verdict: 'UNTRUSTED',
    sub: 'untrusted',
    message: /^CN=Issuing: its issuer CN=Root is not among/,
  });
  t.match(parse(run(files, '--ca', 'ca', '--chain', 'junk', '--json')), { verdict: 'UNREADABLE', sub: 'malformed' });
  t.end();
});

t.test('a file that cannot be read, which is named', (t) => {
  for (const argv of ['--ca none --chain chain', '--ca ca --chain none', '--ca ca --chain chain --crl none']) {
    const { exit, lines } = run(files, ...argv.split(' '));
    t.strictSame([exit, lines], [13, [`UNREADABLE "none": can't be read (ENOENT)`]], argv);
  }
  const { lines } = run(files, '--ca', 'none', '--chain', 'chain', '--json');
  t.match(JSON.parse(lines[0]!), { verdict: 'UNREADABLE', message: /^"none": / });
  t.end();
});

t.test('usage', (t) => {
  for (const [argv, message] of [
    ['', /want --ca/],
    ['--chain chain', /want --ca/],
    ['--ca ca', /want --chain/],
    ['--ca ca --chain chain --unknown', /^chat-verify: unknown option '--unknown'$/],
    ['--ca ca --chain chain more', /^chat-verify: unexpected argument 'more'$/],
    ['--ca ca --chain chain --at yesterday', /--at/],
    ['--ca ca --chain chain --at 2026-06-15', /--at/],
    ['--ca ca --chain chain --at 2026-06-15T00:00:00', /--at/],
    ['--ca ca --chain chain --at 2026-13-15T00:00:00Z', /--at/],
    ['--ca ca --chain chain --at 2026-02-31T00:00:00Z', /--at/],
    ['--ca ca --chain chain --at 2026-06-15T24:00:00Z', /--at/],
    ['--ca ca --chain chain --at 2026-06-15T00:00:00+24:00', /--at/],
    ['--ca ca --chain chain --purpose any', /--purpose/],
    ['--ca ca --chain chain --max-intermediates 9', /--max-intermediates/],
    ['--ca ca --chain chain --max-intermediates -1', /max-intermediates/],
  ] as const) {
    const { exit, lines } = run(files, ...argv.split(' ').filter(Boolean));
    t.equal(exit, 2, argv);
    t.match(lines[0], message);
  }
  const { exit, lines } = run(files, '--help');
  t.equal(exit, 0);
  t.match(lines[0], /exit +0 VALID +12 UNTRUSTED/);
  t.end();
});

t.test('the program, with files of openssl', (t) => {
  const dir = t.testdir();
  const path = (name: string) => join(dir, name);
  const openssl = (...argv: string[]) => execFileSync('openssl', argv, { cwd: dir, stdio: 'ignore' });
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-subj',
    '/CN=Root',
    '-days',
    '3',
  );
  openssl('req', '-newkey', 'ed25519', '-nodes', '-keyout', 'a.key', '-out', 'a.csr', '-subj', '/CN=alice');
  writeFileSync(
    path('ext'),
    'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\nsubjectAltName=URI:chat:alice\n',
  );
  openssl(
    'x509',
    '-req',
    '-in',
    'a.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-out',
    'a.crt',
    '-days',
    '1',
    '-extfile',
    'ext',
  );
  const main = join(import.meta.dirname, '../../verify/main.ts');
  const verify = (...argv: string[]) =>
    spawnSync(process.execPath, [main, 'chain', ...argv], { cwd: dir, encoding: 'utf8' });
  const good = verify('--ca', 'ca.crt', '--chain', 'a.crt');
  t.equal(good.status, 0, good.stderr);
  t.match(good.stdout, /username alice\nVALID clientAuth, 2 certificates/);
  const future = verify('--ca', 'ca.crt', '--chain', 'a.crt', '--at', '2099-01-01T00:00:00Z');
  t.equal(future.status, 12);
  t.match(future.stdout, /^UNTRUSTED expired: /);
  const missing = verify('--ca', 'ca.crt', '--chain', 'none');
  t.match(missing, { status: 13, stdout: `UNREADABLE "none": can't be read (ENOENT)\n`, stderr: '' });
  t.end();
});
