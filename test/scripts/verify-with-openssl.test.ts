/** A message of a bundle is proven with stock tools alone, for each kind of key; and what is altered is not. */
import { spawnSync } from 'node:child_process';
import { constants, sign as signRaw } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { concat, hex } from '../../base/bytes.ts';
import { CONTEXT, sign, tbs } from '../../base/signature.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { archived, ARCHIVE_END, UstarReader } from '../../transcript/ustar.ts';
import { bundleOf, credentialOf, type BundleAlterations } from '../support/bundle-writer.ts';
import { compose, pemOf, type Credential } from '../support/log-writer.ts';
import { received } from '../verify/bundle-stories.ts';
import { root as own } from '../verify/bundle-edits.ts';
import { authority, clientExtensions, DAY, dns, ec, EKU, eku, keyUsage, make, named, rsa, san } from '../x509/maker.ts';
import { ca, flipped, leaves, world } from '../verify/tamper.ts';

t.setTimeout(900_000); // a busy machine is no failure

const script = fileURLToPath(new URL('../../scripts/verify-with-openssl.sh', import.meta.url));
const root = t.testdir({ ca: pemOf(ca.der), other: pemOf(authority('Other').der) });
const path = (name: string) => join(root, name);

function prove(bundle: Buffer, number: number | string, authorities = 'ca', more: NodeJS.ProcessEnv = {}) {
  writeFileSync(path('bundle.tar'), bundle);
  const argv = [script, path('bundle.tar'), String(number), '--ca', path(authorities)];
  const env = { ...process.env, ...more };
  const { status, stdout, stderr } = spawnSync('sh', argv, { encoding: 'utf8', cwd: root, env });
  return { status, stdout, stderr };
}
const ab = (alter: BundleAlterations = {}) => bundleOf(world, leaves, 'ab', alter);
const file = (name: string, change: (bytes: Buffer) => Buffer) =>
  ab({ files: (files) => files.set(name, change(files.get(name)!)) });

t.test('each kind of key', async (t) => {
  const bc = bundleOf(world, leaves, 'bc', {}, 'carol');
  for (const [bundle, number, name, kind, text] of [
    [ab(), 1, 'alice', 'rsa', 'message 1 of alice'],
    [ab(), '000002', 'bob', 'ec', 'message 1 of bob'],
    [bc, 2, 'carol', 'ed25519', 'message 1 of carol'],
  ] as const) {
    t.equal(credentialOf(world, name).key.asymmetricKeyType, kind);
    const { status, stdout, stderr } = prove(bundle, number);
    t.same([status, stderr], [0, ''], kind);
    t.match(stdout, new RegExp(`\nok {5}signed by CN=${name},`));
    t.match(stdout, `\n       ${text}\n`);
    t.match(stdout, /\nPROVEN message 00000\d, /);
  }
  t.match(prove(bundleOf(world, leaves, 'abc'), 300), { status: 0, stdout: /entry \d+ of \d+, / }, 'in a large batch');
  const silent = prove(ab({ messages: (m) => m.map((one) => ({ ...one, opening: null })) }), 3);
  t.match(silent, { status: 0, stdout: /its text is not disclosed/ });
});

t.test('what is altered', async (t) => {
  const first = (name: string) => `msg/000001/${name}`;
  for (const [what, bundle, says] of [
    ['a file', flipped(ab(), ab().length - ARCHIVE_END.length - 500), /SHA256SUMS: a file is not the one/],
    ['the seal', ab({ key: credentialOf(world, 'bob').key }), /SHA256SUMS\.sig/],
    [
      'a sum that is none, which sha256sum passes over',
      ab({ sums: (sums) => sums.replace(/^[0-9a-f]+(?=  msg\/000001\/opening$)/m, 'abc') }),
      /SHA256SUMS: a line that is no sum/,
    ],
    ['another file', concat(ab().subarray(0, -1024), archived('x', Buffer.alloc(1)), ARCHIVE_END), /lists other files/],
    ['the text', file(first('opening'), (b) => flipped(b, 40)), /opening: is not what/],
    ['the time', file(first('entry'), (b) => flipped(b, 11)), /not in the log at this index/],
    [
      'the place',
      file(first('log.tlog-proof'), (b) => Buffer.from(b.toString().replace('index 4', 'index 3'))),
      /not in the log/,
    ],
    [
      'the checkpoint',
      file(first('log.tlog-proof'), (b) => Buffer.from(b.toString().replace('\n5\n', '\n6\n'))),
      /the log did not sign/,
    ],
    ['the batch', file(first('batch.tbs'), (b) => flipped(b, 200)), /did not sign this batch/],
    ['the signature', file(first('batch.sig'), (b) => flipped(b, 9)), /did not sign this batch/],
    [
      'the path',
      file('msg/000002/batch.path', (b) => Buffer.from(b.toString().replace('index 0', 'index 1'))),
      /another place/,
    ],
    ["the server's signature", file('log/01/key-01.sig', (b) => flipped(b, 20)), /did not sign this key/],
    ['the key of the log', file('log/01/key-01.stmt', (b) => flipped(b, 80)), /./],
    [
      'the conversation',
      ab({
        head: (head) => ({
          ...head,
          conversation: credentialOf(world, 'bob').chain[0]!.subarray(0, 32) as Uint8Array as typeof head.conversation,
        }),
      }),
      /another conversation/,
    ],
    [
      'for another log',
      bundleOf(world, compose(world, undefined, { bs: (bs) => ({ ...bs, audience: bs.batchRoot }) }), 'ab'),
      /another log/,
    ],
  ] as const) {
    const number = what === 'the path' ? 2 : 1;
    t.match(prove(bundle, number), { status: 1, stderr: says }, what);
  }
  t.match(prove(ab(), 1, 'other'), { status: 1, stderr: /this CA/ }, 'another authority');
  const { stdout: name } = spawnSync('openssl', ['x509', '-in', path('ca'), '-noout', '-hash'], { encoding: 'utf8' });
  const store = t.testdir({ [`${name.trim()}.0`]: pemOf(ca.der) });
  const believed = prove(ab(), 1, 'other', { SSL_CERT_DIR: store });
  t.match(believed, { status: 1, stderr: /this CA/ }, 'one that this machine believes, and nobody has named');
  t.match(prove(ab(), 99), { status: 1, stderr: /no message 000099/ });
});

const longer = (bytes: Uint8Array): Buffer => concat(bytes, Buffer.alloc(1));
const shorter = (bytes: Uint8Array): Buffer => Buffer.from(bytes.subarray(1));
const text = (from: string, to: string) => (bytes: Buffer) => Buffer.from(bytes.toString().replace(from, to));

t.test('a signature of another length, of which openssl may read a part', async (t) => {
  /** Of this person, one that looks so. */
  const like = (name: string, isSo: (signature: Uint8Array) => boolean) => {
    const { key } = credentialOf(world, name);
    return (tbs: Buffer): Uint8Array => {
      for (;;) {
        const { signature } = sign(key, CONTEXT.senderBatch, tbs.subarray(-172));
        if (isSo(signature)) return signature;
      }
    };
  };
  const signed = (number: number, by: (tbs: Buffer) => Uint8Array, change: (bytes: Uint8Array) => Buffer) =>
    ab({
      files: (files) =>
        files.set(`msg/00000${number}/batch.sig`, change(by(files.get(`msg/00000${number}/batch.tbs`)!))),
    });
  const withZero = like('alice', ([first]) => first === 0);
  const longest = like('bob', ({ length }) => length === 72);
  t.match(prove(signed(1, withZero, Buffer.from), 1), { status: 0 });
  t.match(prove(signed(2, longest, Buffer.from), 2), { status: 0 });
  const seal = [...new UstarReader(() => Infinity).push(ab())].map(({ name, bytes }) =>
    archived(name, name === 'SHA256SUMS.sig' ? longer(bytes) : bytes),
  );
  const bc = bundleOf(world, leaves, 'bc', {
    files: (files) => files.set('msg/000002/batch.sig', longer(files.get('msg/000002/batch.sig')!)),
  });
  for (const [what, bundle, number, says] of [
    ['RSA, longer', signed(1, withZero, longer), 1, /did not sign this batch/],
    ['RSA, without its first zero', signed(1, withZero, shorter), 1, /did not sign this batch/],
    ['P-256, longer', signed(2, longest, longer), 2, /did not sign this batch/],
    ['Ed25519, longer', bc, 2, /did not sign this batch/],
    ['the seal', concat(...seal, ARCHIVE_END), 1, /SHA256SUMS\.sig: the exporter did not/],
  ] as const)
    t.match(prove(bundle, number), { status: 1, stderr: says }, what);
});

t.test('who seals', async (t) => {
  const validity = { from: world.begin - DAY, until: world.begin + DAY };
  const by = (exporter: Credential, alter: BundleAlterations = {}) =>
    bundleOf({ ...world, people: { ...world.people, exporter } }, leaves, 'ab', alter, 'exporter');
  const made = (issuer: typeof own | null, ...extensions: readonly Buffer[]): Credential => {
    const one = make(issuer, { ...validity, pair: ec(), subject: named('alice'), extensions });
    return { chain: [one.der], key: one.pair.privateKey };
  };
  const server = (host: string) => made(own, keyUsage(0), eku(EKU.server), san(dns(host)));
  t.match(prove(by(made(own, ...clientExtensions())), 1), { status: 0 }, 'a member');
  t.match(prove(by(world.server), 1), { status: 0 }, 'the server of the log');
  const late: BundleAlterations = { head: (head) => ({ ...head, created: world.begin + 2 * DAY }) };
  for (const [what, bundle] of [
    ['a certificate that he made himself', by(made(null, ...clientExtensions()))],
    ['one that had ended', by(made(own, ...clientExtensions()), late)],
    ['a server of another host', by(server('chat.example.com'))],
    ['a certificate for e-mail', by(made(own, keyUsage(0), eku('1.3.6.1.5.5.7.3.4')))],
    ['one for everything', by(made(own, keyUsage(0), eku(EKU.client, EKU.any)))],
    ['one that does not say for what', by(made(own, keyUsage(0)))],
  ] as const)
    t.match(prove(bundle, 1), { status: 1, stderr: /this CA did not vouch for the exporter/ }, what);
  const sealedWith = (exponent: number): Buffer => {
    const pair = rsa(2048, exponent);
    const one = make(own, { ...validity, pair, subject: named('alice'), extensions: clientExtensions() });
    let listed = '';
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    return by(
      { chain: [one.der], key: credentialOf(world, 'alice').key },
      {
        sums: (sums) => (listed = sums),
        archive: (bytes) => {
          const signed = signRaw('sha256', tbs(CONTEXT.bundle, Buffer.from(listed)), {
            key: pair.privateKey,
            padding,
            saltLength: 32,
          });
          signed.copy(bytes, bytes.indexOf('SHA256SUMS.sig\0') + 512);
          return bytes;
        },
      },
    );
  };
  t.match(prove(sealedWith(65537), 1), { status: 0 }, 'a key of RSA');
  t.match(prove(sealedWith(3), 1), { status: 1, stderr: /did not sign/ }, 'one whose exponent is no good');
});

t.test('receipts', async (t) => {
  const [said] = leaves.flatMap((leaf) => (leaf.type === 'msg' ? [leafHash(leaf.ms)] : []));
  const withPart = (change: (part: Uint8Array) => Uint8Array | null) =>
    received(said!, (all) => all.map((m) => (m.ciphertext ? { ...m, ciphertext: change(m.ciphertext) } : m)))();
  const { status, stdout } = prove(
    withPart((part) => part),
    18,
  );
  t.equal(status, 0);
  t.match(stdout, `messages were delivered, those whose statements have these hashes:\n       ${hex(said!)}\n`);
  for (const [what, bundle, number, says] of [
    ['another part', withPart((part) => flipped(part, 3)), 18, /is not what the sender signed/],
    ['a longer one', withPart((part) => concat(part, part)), 18, /is not what the sender signed/],
    ['half of one', withPart((part) => part.subarray(1)), 18, /not that of a receipt/],
    ['none', withPart(() => null), 18, /not that of a receipt/],
    [
      'of no receipt',
      ab({ files: (files) => files.set('msg/000001/ciphertext', Buffer.from(said!)) }),
      1,
      /only a receipt/,
    ],
  ] as const)
    t.match(prove(bundle, number), { status: 1, stderr: says }, what);
});

t.test('files of another form', async (t) => {
  const [path, proof] = ['msg/000002/batch.path', 'msg/000002/log.tlog-proof'];
  t.match(prove(file(proof, text('\nindex', '\nextra eHg=\nindex')), 2), { status: 0 }, 'what the format allows');
  for (const [what, bundle, says] of [
    ['bytes behind the path', file(path, longer), /batch\.path/],
    ['a line behind it', file(path, (b) => concat(b, Buffer.from('x\n'))), /batch\.path/],
    ['another spelling', file(path, text('=\n', '=x\n')), /batch\.path/],
    ['another format', file(proof, text('@v1', '@v2')), /log\.tlog-proof: of another form/],
    ['bytes behind the signatures', file(proof, (b) => concat(b, Buffer.from('x'))), /log\.tlog-proof/],
  ] as const)
    t.match(prove(bundle, 2), { status: 1, stderr: says }, what);
});

t.test('what is hostile', async (t) => {
  const owned = path('owned');
  const evil = archived('x', Buffer.from('owned'));
  evil.write(`${owned}\0`, 0, 'latin1');
  t.match(prove(concat(evil, ARCHIVE_END), 1), { status: 1, stderr: /a name in the archive|cannot be read/ });
  const injected = `x||w ${owned}\n#`;
  const note = (b: Buffer) => Buffer.from(b.toString().replaceAll(world.origin, injected.split('\n')[0]!));
  t.match(prove(file('msg/000001/log.tlog-proof', note), 1), { status: 1, stderr: /no name of a log/ });
  const link = archived('x', Buffer.alloc(0));
  link.write('2', 156, 'latin1').toString();
  t.match(prove(concat(link, ARCHIVE_END), 1), { status: 1, stderr: /cannot be read|plain file/ });
  t.match(prove(Buffer.from('hello'), 1), { status: 1, stderr: /cannot be read/ });
  t.equal(existsSync(owned), false, 'nothing is written');
  for (const argv of [
    [],
    ['x'],
    ['x', '1'],
    ['x', 'one', '--ca', path('ca')],
    ['x', '1', '2', '--ca', path('ca')],
    ['-x'],
  ])
    t.match(
      spawnSync('sh', [script, ...argv], { encoding: 'utf8' }),
      { status: 2, stderr: /^usage: / },
      argv.join(' '),
    );
});
