import t from 'tap';
import fc from 'fast-check';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { writeFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import forge from 'node-forge';
import { hex } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { MAX_CERTIFICATE_BYTES, parseCertificate, parsePem, toPem } from '../../x509/certificate.ts';
import { parseCrl, parseCrls } from '../../x509/crl.ts';
import {
  ascii,
  authority,
  bits,
  bmp,
  caFlag,
  clientExtensions,
  CN,
  DAY,
  dns,
  ec,
  eku,
  EKU,
  email,
  ext,
  int,
  ip,
  keyUsage,
  list,
  make,
  named,
  NOW,
  octets,
  oid,
  rdn,
  san,
  seq,
  set,
  tlv,
  TRUE,
  uri,
  utf8,
} from './maker.ts';

const FUZZ = process.env['FUZZ'] === '1';
const runs = (numRuns: number) => (FUZZ ? { numRuns: numRuns * 100 } : { seed: 20261121, numRuns });
const root = authority();

t.test('what is in a certificate', (t) => {
  const subject = seq(
    set(seq(oid('2.5.4.6'), ascii(0x13, 'DE'))),
    rdn('2.5.4.10', utf8('Müller, Söhne')),
    rdn(CN, utf8('a\u202elice\u001b[2J\u0000')),
    rdn('1.2.3', bmp('x')),
  );
  const extensions = [
    ext('2.5.29.19', seq()),
    keyUsage(0, 2),
    eku(EKU.client, EKU.server),
    san(uri('chat:alice'), email('alice@example.org,DNS:evil'), dns('*.example.org'), ip(10, 0, 0, 1)),
    ext('2.5.29.14', octets(Buffer.from('abcd'))),
    ext('2.5.29.35', seq(tlv(0x80, Buffer.from('root')))),
    ext('1.2.3.4', octets(), true),
    ext('1.2.3.5', octets()),
  ];
  const read = parseCertificate(make(root, { serial: 300, subject, extensions }).der);
  t.equal(read.serial, '012c');
  t.equal(read.issuer.text, 'CN=Root');
  t.equal(read.subject.text, 'C=DE, O=Müller\\, Söhne, CN=a\\u{202e}lice\\u{1b}[2J\\u{0}, 1.2.3=#1e020078');
  t.equal(read.notBefore, NOW - DAY);
  t.equal(read.notAfter, NOW + DAY);
  t.equal(read.version, 3);
  t.equal(read.isSelfIssued, false);
  t.strictSame(read.basicConstraints, { ca: false });
  t.strictSame([...(read.keyUsage ?? [])], ['digitalSignature', 'keyEncipherment']);
  t.strictSame(read.extKeyUsage, [EKU.client, EKU.server]);
  t.strictSame(
    read.subjectAltName?.map(({ type, ...rest }) => [
      type,
      'value' in rest && typeof rest.value === 'string' ? rest.value : '',
    ]),
    [
      ['uri', 'chat:alice'],
      ['email', 'alice@example.org,DNS:evil'],
      ['dns', '*.example.org'],
      ['ip', ''],
    ],
    'the structure counts, not a text that commas could cut',
  );
  t.strictSame(read.criticalUnknown, ['1.2.3.4']);
  t.equal(Buffer.from(read.subjectKeyId ?? []).toString(), 'abcd');
  t.equal(Buffer.from(read.authorityKeyId?.keyId ?? []).toString(), 'root');
  const reference = new X509Certificate(read.der);
  t.equal(hex(read.fingerprint), reference.fingerprint256.replaceAll(':', '').toLowerCase());
  t.ok(read.publicKey.equals(reference.publicKey));
  const spki = reference.publicKey.export({ type: 'spki', format: 'der' });
  t.equal(hex(read.spkiHash), createHash('sha256').update(spki).digest('hex'));
  t.equal(parseCertificate(make(root, { until: Date.UTC(9999, 11, 31, 23, 59, 59) }).der).notAfter, 253402300799000);
  t.end();
});

t.test('certificates of other tools', (t) => {
  const dir = t.testdir();
  const [key, crt] = [join(dir, 'key'), join(dir, 'crt')];
  for (const [name, args] of [
    ['RSA', ['rsa:2048']],
    ['RSA-PSS', ['rsa:2048', '-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:32']],
    ['Ed25519', ['ed25519']],
  ] as const) {
    const subject = ['-subj', '/O=Example/CN=alice', '-addext', 'subjectAltName=URI:chat:alice,email:a@example.org'];
    execFileSync('openssl', ['req', '-x509', '-nodes', '-newkey', ...args, '-keyout', key, '-out', crt, ...subject], {
      stdio: 'ignore',
    });
    const [certificate] = parsePem(readFileSync(crt, 'latin1'));
    t.equal(certificate?.subject.text, 'O=Example, CN=alice', `openssl, ${name}`);
    t.equal(certificate && toPem(certificate), readFileSync(crt, 'latin1'));
  }
  const { publicKey, privateKey } = forge.pki.rsa.generateKeyPair(2048);
  const made = forge.pki.createCertificate();
  made.publicKey = publicKey;
  made.serialNumber = '0a';
  made.validity.notAfter = new Date(made.validity.notBefore.getTime() + DAY);
  made.setSubject([{ shortName: 'CN', value: 'alice' }]);
  made.setIssuer([{ shortName: 'CN', value: 'alice' }]);
  made.setExtensions([{ name: 'subjectAltName', altNames: [{ type: 6, value: 'chat:alice' }] }]);
  made.sign(privateKey, forge.md.sha256.create());
  const [certificate] = parsePem(forge.pki.certificateToPem(made));
  t.equal(certificate?.serial, '0a', 'node-forge');
  t.strictSame(certificate?.subjectAltName, [{ type: 'uri', value: 'chat:alice' }]);
  t.end();
});

t.test('refused as malformed', (t) => {
  const good = make(root).der;
  const tampered = (find: Uint8Array, replace: Uint8Array): Buffer => {
    const at = good.indexOf(find);
    t.ok(at > 0, 'the place to tamper with is there');
    return Buffer.concat([good.subarray(0, at), replace, good.subarray(at + find.length)]);
  };
  const body = good.subarray(4);
  const withExtensions = (...extensions: Buffer[]) => make(root, { extensions }).der;
  const sanOf = (...names: Buffer[]) => withExtensions(eku(EKU.client), san(...names));
  const key = ec();
  const spki = key.publicKey.export({ type: 'spki', format: 'der' });
  const pointOffCurve = Buffer.from(spki);
  pointOffCurve[spki.length - 1]! ^= 1;
  const cases: readonly (readonly [string, RegExp, Uint8Array])[] = [
    ['nothing', /found the end/, Buffer.alloc(0)],
    ['one octet after the end', /after the last/, Buffer.concat([good, Buffer.from([0])])],
    ['one octet too few', /ends too early/, good.subarray(0, -1)],
    [
      'length in three octets where two do (BER)',
      /shortest/,
      Buffer.concat([Buffer.from([0x30, 0x83, 0]), good.subarray(2, 4), body]),
    ],
    ['indefinite length (BER)', /indefinite/, Buffer.concat([Buffer.from([0x30, 0x80]), body, Buffer.alloc(2)])],
    ['length of five octets', /four octets/, Buffer.concat([Buffer.from([0x30, 0x85, 0, 0, 0]), good.subarray(2)])],
    ['length of 4 GiB', /too early/, Buffer.from([0x30, 0x84, 0xff, 0xff, 0xff, 0xff])],
    ['critical = 01 (BER)', /BOOLEAN/, tampered(TRUE, Buffer.from([1, 1, 1]))],
    ['critical = FALSE written out', /default/, withExtensions(seq(oid('1.2.3'), Buffer.from([1, 1, 0]), octets()))],
    ['serial number with a superfluous octet', /shortest/, seqWithSerial(Buffer.from([0, 1]))],
    ['negative serial number', /negative/, seqWithSerial(Buffer.from([0x80]))],
    ['serial number of 21 octets', /20 octets/, seqWithSerial(Buffer.alloc(21, 1))],
    ['version 2', /version/, make(root, { version: 1 }).der],
    ['version 4', /version/, make(root, { version: 3 }).der],
    ['two algorithms', /two different/, make(root, { outerAlgorithm: seq(oid('1.2.840.10045.4.3.3')) }).der],
    ['no issuer', /issuer: empty/, make(root, { issuer: seq() }).der],
    ['an extension twice', /twice/, withExtensions(eku(EKU.client), eku(EKU.client))],
    [
      'critical key identifier',
      /subjectKeyIdentifier: must not/,
      withExtensions(ext('2.5.29.14', octets(Buffer.from('a')), true)),
    ],
    [
      'critical authority key identifier',
      /authorityKeyIdentifier: must not/,
      withExtensions(ext('2.5.29.35', seq(), true)),
    ],
    ['keyUsage without a bit', /keyUsage/, withExtensions(ext('2.5.29.15', bits(Buffer.alloc(0))))],
    ['keyUsage with trailing zeros', /trailing/, withExtensions(ext('2.5.29.15', bits(Buffer.from([0x80]), 5)))],
    ['keyUsage with padding', /padding/, withExtensions(ext('2.5.29.15', bits(Buffer.from([0x81]), 7)))],
    ['keyUsage of unknown bits', /unknown bit/, withExtensions(ext('2.5.29.15', bits(Buffer.from([0, 0x40]), 6)))],
    ['pathLength of a leaf', /path length/, withExtensions(ext('2.5.29.19', seq(int(0))))],
    ['cA = FALSE written out', /default/, withExtensions(ext('2.5.29.19', seq(Buffer.from([1, 1, 0]))))],
    ['extKeyUsage without a purpose', /extKeyUsage/, withExtensions(ext('2.5.29.37', seq()))],
    ['SAN without a name', /subjectAltName/, sanOf()],
    [
      'SAN with octets after it',
      /after the last/,
      withExtensions(ext('2.5.29.17', Buffer.concat([seq(dns('a.org')), Buffer.from([5, 0])]))),
    ],
    ['NUL in a URI', /characters/, sanOf(uri('chat:alice\0.evil'))],
    ['NUL in a host', /characters/, sanOf(dns('good.org\0.evil.org'))],
    ['NUL in an e-mail address', /characters/, sanOf(email('alice@good.org\0evil'))],
    ['line break in a URI', /characters/, sanOf(uri('chat:alice\nbob'))],
    ['escape sequence in a URI', /characters/, sanOf(uri('chat:\x1b[2Jalice'))],
    ['latin-1 in a URI', /characters/, sanOf(uri('chat:alic\xe9'))],
    ['space in a host', /characters/, sanOf(dns('a b'))],
    ['wildcard inside a host', /not a name/, sanOf(dns('a.*.org'))],
    ['part of a label as wildcard', /not a name/, sanOf(dns('a*.example.org'))],
    ['e-mail address with two hosts', /not a name/, sanOf(email('a@b@c'))],
    ['e-mail address without a host', /not a name/, sanOf(email('alice'))],
    ['IP address of 5 octets', /IP address/, sanOf(ip(1, 2, 3, 4, 5))],
    ['IP address as text', /IP address/, sanOf(ascii(0x87, '10.0.0.1'))],
    ['SAN of an unknown kind', /no such kind/, sanOf(tlv(0x89, Buffer.from('x')))],
    ['constructed dNSName', /no such kind/, sanOf(tlv(0xa2, ascii(0x16, 'a.org')))],
    ['nameConstraints without any', /empty/, withExtensions(ext('2.5.29.30', seq()))],
    [
      'nameConstraints with a minimum',
      /after the last/,
      withExtensions(ext('2.5.29.30', seq(tlv(0xa0, seq(dns('a'), ascii(0x80, '\x01')))))),
    ],
    ...(
      [
        ['two at signs', /on addresses/, email('a@b@example.org')],
        ['no local part', /on addresses/, email('@example.org')],
        ['no host', /on addresses/, email('alice@')],
        ['a mailbox of all hosts below', /on addresses/, email('alice@.example.org')],
        ['no host name', /on hosts/, dns('-example.org')],
        ['an address of six octets', /range/, ip(10, 0, 0, 0, 0, 0, 255, 255, 255, 0, 0, 0)],
      ] as const
    ).map(
      ([name, message, base]) =>
        [`nameConstraints: ${name}`, message, withExtensions(ext('2.5.29.30', seq(tlv(0xa0, seq(base)))))] as const,
    ),
    [
      'IP range with holes',
      /range/,
      withExtensions(ext('2.5.29.30', seq(tlv(0xa0, seq(ip(10, 0, 0, 0, 255, 0, 255, 0)))))),
    ],
    ['unsorted RDN', /order/, make(root, { subject: seq(set(seq(oid(CN), utf8('b')), seq(oid(CN), utf8('a')))) }).der],
    [
      'tag of two octets',
      /tag number/,
      make(root, { subject: seq(set(seq(oid(CN), tlv(0x1f, Buffer.from('x'))))) }).der,
    ],
    ['empty RDN', /too early|the end/, make(root, { subject: seq(set()) }).der],
    ['UTF8String that is not UTF-8', /UTF-8/, make(root, { subject: seq(rdn(CN, ascii(0x0c, '\xff'))) }).der],
    ['PrintableString that is not ASCII', /ASCII/, make(root, { subject: seq(rdn(CN, ascii(0x13, '\xe9'))) }).der],
    ['OID arc with leading zeros', /OID/, withExtensions(seq(tlv(6, Buffer.from([0x2a, 0x80, 1])), octets()))],
    ['OID that ends too early', /OID/, withExtensions(seq(tlv(6, Buffer.from([0x2a, 0x81])), octets()))],
    ['point that is not on the curve', /no such key/, make(root, { spki: pointOffCurve }).der],
    [
      'unique identifiers',
      /elements after/,
      tampered(tlv(0xa3, seq(...clientExtensions())), tlv(0xa1, seq(...clientExtensions()))),
    ],
    ['February 30', /no such date/, withTime(0x17, '270230000000Z')],
    ['24 o’clock', /no such date/, withTime(0x17, '270201240000Z')],
    ['no seconds', /form/, withTime(0x17, '2702010000Z')],
    ['time zone', /form/, withTime(0x17, '270201000000+0100')],
    ['fractional seconds', /form/, withTime(0x18, '20510201000000.5Z')],
    ['GeneralizedTime before 2050', /2050/, withTime(0x18, '20270201000000Z')],
    ['time of another type', /not a time/, withTime(0x13, '270201000000Z')],
    ['too large', /more than/, Buffer.alloc(MAX_CERTIFICATE_BYTES + 1, 0x30)],
    ['90 kB of names', /more than/, sanOf(...Array.from({ length: 6000 }, () => dns('host.example')))],
  ];
  for (const [name, message, der] of cases)
    t.throws(() => parseCertificate(der), { code: 'BAD_CERT', sub: 'malformed', message }, name);
  t.end();
});

/** A good certificate but for the octets of its serial number. */
function seqWithSerial(serial: Buffer): Buffer {
  const algorithm = seq(oid('1.2.840.10045.4.3.2'));
  const rest = [named('Root'), seq(ascii(0x17, '260101000000Z'), ascii(0x17, '270101000000Z')), named('alice')];
  const spki = ec().publicKey.export({ type: 'spki', format: 'der' });
  return seq(seq(tlv(0xa0, int(2)), int(serial), algorithm, ...rest, spki), algorithm, bits(Buffer.from('s')));
}

function withTime(tag: number, text: string): Buffer {
  const algorithm = seq(oid('1.2.840.10045.4.3.2'));
  const spki = ec().publicKey.export({ type: 'spki', format: 'der' });
  const validity = seq(ascii(0x17, '260101000000Z'), ascii(tag, text));
  return seq(
    seq(tlv(0xa0, int(2)), int(1), algorithm, named('Root'), validity, named('alice'), spki),
    algorithm,
    bits(Buffer.from('s')),
  );
}

t.test('keys that are never accepted', (t) => {
  const point = Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 1)]);
  for (const [name, algorithm] of [
    ['secp256k1', seq(oid('1.2.840.10045.2.1'), oid('1.3.132.0.10'))],
    ['curve by its parameters', seq(oid('1.2.840.10045.2.1'), seq(int(1)))],
    ['DSA', seq(oid('1.2.840.10040.4.1'), seq(int(1)))],
    ['Ed448', seq(oid('1.3.101.113'))],
    ['RSA-PSS key', seq(oid('1.2.840.113549.1.1.10'))],
    ['RSA without its NULL', seq(oid('1.2.840.113549.1.1.1'))],
  ] as const)
    t.throws(
      () => parseCertificate(make(root, { spki: seq(algorithm, bits(point)) }).der),
      { code: 'BAD_CERT', sub: 'weak_key' },
      name,
    );
  t.end();
});

t.test('PEM', (t) => {
  const [a, b] = [make(root), make(root, { subject: named('bob') })].map(({ der }) => toPem(parseCertificate(der))) as [
    string,
    string,
  ];
  t.strictSame(
    parsePem(`# comment\n${a}\r\ntext\n${b.replaceAll('\n', '\r\n')}`).map(({ subject }) => subject.text),
    ['CN=alice', 'CN=bob'],
  );
  const cases: readonly (readonly [string, string, RegExp?])[] = [
    ['empty', ''],
    ['text only', 'hello'],
    ['a private key beside', `${a}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n`],
    ['a CRL', a.replaceAll('CERTIFICATE', 'X509 CRL')],
    ['without its end', a.slice(0, -30), /without its end/],
    ['the second without its end', a + b.slice(0, -30), /without its end/],
    ['a block in a block', a.replace('\n', '\n-----BEGIN CERTIFICATE-----\n'), /without its end/],
    ['an end with another label', a.replace('END CERT', 'END CRL'), /without its end/],
    ['base64 of the URL alphabet', a.replace(/\n[^-]/, '\n_')],
    ['space inside', a.replace('\nMI', '\nM I')],
    ['letters that latin1 has not', a.replace(/\n[^-]/, '\n\u0141')],
    ['too many', a.repeat(501)],
  ];
  for (const [name, text, message = /^PEM: /] of cases)
    t.throws(() => parsePem(text), { code: 'BAD_CERT', sub: 'malformed', message }, name);
  t.end();
});

t.test('a file of empty lines takes no more memory than its own', async (t) => {
  const work = `
    import { decodePem, MAX_PEM_CHARS } from ${JSON.stringify(new URL('../../x509/pem.ts', import.meta.url).href)};
    const lines = '\\n'.repeat(MAX_PEM_CHARS - 30);
    for (const text of [lines, '-----BEGIN CERTIFICATE-----\\n' + lines])
      try { decodePem(text, 'CERTIFICATE'); } catch (error) { console.log(error.sub); }`;
  const argv = ['--max-old-space-size=192', '--input-type=module', '-e', work];
  t.match(spawnSync(process.execPath, argv, { encoding: 'utf8' }), { status: 0, stdout: 'malformed\nmalformed\n' });
});

t.test('any bytes give a value or a ChatError', (t) => {
  const samples = [make(root).der, root.der, list(root, { revoked: [1, 2] }), seqWithSerial(Buffer.from([1]))];
  const extensions = [caFlag(), ...clientExtensions(), ext('2.5.29.30', seq(tlv(0xa0, seq(dns('a.org')))))];
  samples.push(make(root, { extensions }).der);
  const parsers: readonly ((bytes: Uint8Array) => unknown)[] = [
    parseCertificate,
    parseCrl,
    parseCrls,
    (bytes) => parsePem(Buffer.from(bytes).toString('latin1')),
    (bytes) =>
      parsePem(`-----BEGIN CERTIFICATE-----\n${Buffer.from(bytes).toString('base64')}\n-----END CERTIFICATE-----`),
  ];
  const isSafe = (bytes: Uint8Array): boolean =>
    parsers.every((parse) => {
      try {
        return parse(bytes) !== undefined;
      } catch (error) {
        return error instanceof ChatError && error.code === 'BAD_CERT' && error.sub !== undefined;
      }
    });
  const edited = fc
    .record({ of: fc.constantFrom(...samples), at: fc.nat(600), put: fc.uint8Array({ maxLength: 6 }), cut: fc.nat(6) })
    .map(({ of, at, put, cut }) => Buffer.concat([of.subarray(0, at), put, of.subarray(at + cut)]));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), isSafe), runs(300));
  fc.assert(fc.property(edited, isSafe), runs(600));
  const nested = Array.from({ length: 2000 }).reduce<Buffer>((inner) => seq(inner), seq());
  t.ok(isSafe(nested), 'two thousand levels');
  t.end();
});

t.test('the octets are read by openssl as they are here', (t) => {
  const dir = t.testdir();
  const file = join(dir, 'a.der');
  writeFileSync(file, make(root).der);
  const text = execFileSync('openssl', ['x509', '-inform', 'DER', '-in', file, '-noout', '-text'], {
    encoding: 'utf8',
  });
  t.match(text, /URI:chat:alice/);
  t.match(text, /TLS Web Client Authentication/);
  t.end();
});
