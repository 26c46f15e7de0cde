import t from 'tap';
import fc from 'fast-check';
import { createPublicKey } from 'node:crypto';
import { ChatError } from '../../base/errors.ts';
import { parseCertificate, type Certificate } from '../../x509/certificate.ts';
import { parseCrl } from '../../x509/crl.ts';
import type { Reason } from '../../x509/refusal.ts';
import { validatePath, type PathQuery } from '../../x509/path.ts';
import {
  ascii,
  authority,
  bmp,
  caFlag,
  clientExtensions,
  DAY,
  dns,
  ec,
  ed25519,
  eku,
  EKU,
  email,
  ext,
  int,
  ip,
  keyUsage,
  list,
  make,
  makeCa,
  named,
  NOW,
  octets,
  oid,
  pss,
  rdn,
  rsa,
  san,
  seq,
  tlv,
  uri,
  type Made,
} from './maker.ts';

interface Setting extends Partial<Omit<PathQuery, 'leaf' | 'intermediates' | 'roots' | 'crls'>> {
  readonly roots?: readonly Made[];
  readonly via?: readonly Made[];
  readonly lists?: readonly Buffer[];
}

const root = authority('Root', { from: NOW - 100 * DAY });
const check = (leaf: Made, { roots = [root], via = [], lists = [], ...rest }: Setting = {}) =>
  validatePath({
    leaf: parseCertificate(leaf.der),
    intermediates: via.map(({ der }) => parseCertificate(der)),
    roots: roots.map(({ der }) => parseCertificate(der)),
    crls: lists.map(parseCrl),
    at: NOW,
    purpose: 'clientAuth',
    revocation: 'live',
    ...rest,
  });

const ica = makeCa(root, 'Issuing');
const good = make(root);
const nested = make(ica);

/** authorityKeyIdentifier with issuer and serial number of the issuer's certificate. */
const issuerAndSerial = (name: Buffer, serial: number): Buffer =>
  ext('2.5.29.35', seq(tlv(0xa1, tlv(0xa4, name)), tlv(0x82, int(serial).subarray(2))));

t.test(
  'of what is wrong with several, what says more than that there is no path is told, whichever comes first',
  (t) => {
    const stranger = authority('Root');
    const expired = authority('Root', { pair: root.pair, from: NOW - 2 * DAY, until: NOW - 1 });
    for (const roots of [
      [stranger, expired],
      [expired, stranger],
    ])
      t.throws(() => check(good, { roots }), { code: 'BAD_CERT', sub: 'expired' });
    t.end();
  },
);

t.test('whoever stamps has a key as a CA may have, and no weaker one', (t) => {
  const stamping = [keyUsage(0), ext('2.5.29.37', seq(oid('1.3.6.1.5.5.7.3.8')), true)];
  const of = (pair: Made['pair']) => check(make(root, { pair, extensions: stamping }), { purpose: 'timeStamping' });
  t.equal(of(ec('P-521')).length, 2);
  t.throws(() => of(rsa(1024)), { code: 'BAD_CERT', sub: 'weak_key', message: /^CN=alice/ });
  t.end();
});

t.test('accepted', (t) => {
  const rsaCa = authority('RSA', { pair: rsa() });
  const edCa = authority('Ed', { pair: ed25519() });
  const p384 = authority('P-384', { pair: ec('P-384') });
  const p521 = authority('P-521', { pair: ec('P-521') });
  const renamed = makeCa(ica, 'Issuing', { pair: ec() });
  const otherIca = makeCa(authority('Elsewhere'), 'Issuing', { pair: ica.pair });
  const cases: readonly (readonly [string, Made, Setting?, number?])[] = [
    ['directly below a root', good],
    ['over an intermediate', nested, { via: [ica] }, 3],
    ['the first millisecond', good, { at: NOW - DAY }],
    ['the last millisecond', good, { at: NOW + DAY }],
    ['RSA', make(rsaCa, { pair: rsa(3072) }), { roots: [rsaCa] }],
    ['RSA-PSS', make(rsaCa, { algorithm: pss('sha256'), isPss: true }), { roots: [rsaCa] }],
    ['Ed25519', make(edCa, { pair: ed25519() }), { roots: [edCa] }],
    ['a CA with P-384', make(p384), { roots: [p384] }],
    ['a CA with P-521', make(p521), { roots: [p521] }],
    [
      'a CA without keyUsage',
      make(authority('Bare', { extensions: [caFlag()], pair: root.pair })),
      { roots: [authority('Bare', { extensions: [caFlag()], pair: root.pair })] },
    ],
    ['a leaf without keyUsage', make(root, { extensions: [eku(EKU.client)] })],
    ['EKUs beside the one that is wanted', make(root, { extensions: [eku(EKU.server, EKU.client)] })],
    [
      'a CA limited to the purpose',
      nested,
      { via: [makeCa(root, 'Issuing', { pair: ica.pair, extensions: [caFlag(), keyUsage(5), eku(EKU.client)] })] },
      3,
    ],
    ['a dead end first: same CA from another root', nested, { via: [otherIca, ica] }, 3],
    [
      'a dead end first: same CA, expired',
      nested,
      { via: [makeCa(root, 'Issuing', { pair: ica.pair, until: NOW - 1 }), ica] },
      3,
    ],
    ['a self-issued CA is not counted', make(renamed), { via: [renamed, ica], maxIntermediates: 1 }, 4],
    [
      'issuer by name and serial number',
      make(root, { extensions: [...clientExtensions(), issuerAndSerial(named('Root'), root.serial)] }),
    ],
    [
      'pathLength 0 above a leaf',
      make(root, {}),
      { roots: [authority('Root', { pair: root.pair, extensions: [caFlag(0), keyUsage(5)] })] },
    ],
  ];
  const anyPurpose = makeCa(root, 'Issuing', { pair: ica.pair, extensions: [caFlag(), keyUsage(5), eku(EKU.any)] });
  const bySerial = make(ica, { extensions: [...clientExtensions(), issuerAndSerial(named('Root'), ica.serial)] });
  const more: typeof cases = [
    ['a CA for any purpose', nested, { via: [anyPurpose] }, 3],
    ['the name of who issued the issuer, and the serial number of that', bySerial, { via: [ica] }, 3],
  ];
  for (const [name, leaf, setting, length = 2] of [...cases, ...more])
    t.equal(check(leaf, setting).length, length, name);
  const third = makeCa(ica, 'Third');
  const path = check(make(third), { via: [makeCa(root, 'Stranger'), third, ica] });
  t.strictSame(
    path.map(({ subject }) => subject.text),
    ['CN=alice', 'CN=Third', 'CN=Issuing', 'CN=Root'],
    'from the leaf to the root, whatever the order of the intermediates',
  );
  t.end();
});

t.test('refused', (t) => {
  const otherRoot = authority('Root');
  const weakCa = authority('Weak', { pair: rsa(1024) });
  const strong = authority('Strong', { pair: rsa() });
  const lowE = authority('Low', { pair: rsa(2048, 3) });
  const sha1 = seq(oid('1.2.840.10045.4.1'));
  const notCa = make(root, { subject: named('Issuing'), pair: ica.pair });
  const chain = (length: number): Made[] => {
    const cas = [root];
    while (cas.length <= length) cas.push(makeCa(cas.at(-1)!, `CA ${cas.length}`));
    return cas.slice(1);
  };
  const nine = chain(9);
  const one = authority('One', { extensions: [caFlag(1), keyUsage(5)] });
  const widened = makeCa(one, 'Widened', { extensions: [caFlag(5), keyUsage(5)] });
  const belowWidened = makeCa(widened, 'Below');
  const limited = makeCa(root, 'Limited', { extensions: [caFlag(0), keyUsage(5)] });
  const belowLimited = makeCa(limited, 'Below');
  const own = authority('Own');
  const cross = makeCa(authority('Other'), 'Cross');
  const keyId = (id: number) => ext('2.5.29.14', octets(Buffer.alloc(20, id)));
  const authorityKeyId = (id: number) => ext('2.5.29.35', seq(tlv(0x80, Buffer.alloc(20, id))));
  const identified = authority('Identified', { extensions: [caFlag(), keyUsage(5), keyId(1)] });
  const elsewhere = authority('Elsewhere', { extensions: [caFlag(), keyUsage(5), keyId(1), authorityKeyId(2)] });
  const p384 = ec('P-384');
  const cases: readonly (readonly [string, Reason, RegExp, Made, Setting?])[] = [
    ['another CA with the same name', 'untrusted', /not signed by the key of CN=Root/, make(otherRoot)],
    ['self-signed', 'untrusted', /issuer CN=alice is not among/, make(null)],
    ['self-signed with the name of the root', 'untrusted', /not signed/, make(null, { subject: named('Root') })],
    [
      'itself among the intermediates only',
      'untrusted',
      /^CN=Own: its issuer CN=Own is not among/,
      make(own),
      { via: [own] },
    ],
    ['intermediate missing', 'untrusted', /issuer CN=Issuing is not among/, nested],
    ['a root that another CA issued', 'untrusted', /given as a root/, make(cross), { roots: [cross] }],
    [
      'key identifier of another key',
      'untrusted',
      /names another key/,
      make(identified, { extensions: [...clientExtensions(), authorityKeyId(2)] }),
      { roots: [identified] },
    ],
    [
      'issuer by name and serial number, another number',
      'untrusted',
      /names another key/,
      make(root, { extensions: [...clientExtensions(), issuerAndSerial(named('Root'), root.serial + 1)] }),
    ],
    [
      'issuer by name and serial number, another name',
      'untrusted',
      /names another key/,
      make(root, { extensions: [...clientExtensions(), issuerAndSerial(named('Toor'), root.serial)] }),
    ],
    [
      'ECDSA under the name of RSA',
      'untrusted',
      /not signed/,
      make(root, { algorithm: seq(oid('1.2.840.113549.1.1.11'), Buffer.from([5, 0])) }),
    ],
    [
      'RSA-PSS with SHA-1',
      'weak_key',
      /1\.3\.14\.3\.2\.26/,
      make(strong, { algorithm: pss('sha1') }),
      { roots: [strong] },
    ],
    [
      'RSA-PSS with another hash in the mask',
      'weak_key',
      /mask/,
      make(strong, { algorithm: pss('sha256', 'sha384'), isPss: true }),
      { roots: [strong] },
    ],
    [
      'RSA-PSS with another mask',
      'weak_key',
      /mask/,
      make(strong, { algorithm: pss('sha256', 'sha256', '1.2.3'), isPss: true }),
      { roots: [strong] },
    ],
    ['expired leaf', 'expired', /^CN=alice: /, good, { at: NOW + DAY + 1 }],
    ['leaf not yet valid', 'not_yet_valid', /^CN=alice: /, good, { at: NOW - DAY - 1 }],
    [
      'expired intermediate',
      'expired',
      /^CN=Issuing: /,
      nested,
      { via: [makeCa(root, 'Issuing', { pair: ica.pair, until: NOW - 1 })] },
    ],
    [
      'expired root',
      'expired',
      /^CN=Root: /,
      good,
      { roots: [authority('Root', { pair: root.pair, until: NOW - 1 })] },
    ],
    ['no EKU', 'wrong_eku', /^CN=alice: not issued for clientAuth/, make(root, { extensions: [keyUsage(0)] })],
    ['server-only EKU', 'wrong_eku', /not issued for clientAuth/, make(root, { extensions: [eku(EKU.server)] })],
    ['client-only EKU for a server', 'wrong_eku', /not issued for serverAuth/, good, { purpose: 'serverAuth' }],
    ['only any EKU', 'wrong_eku', /not issued for clientAuth/, make(root, { extensions: [eku(EKU.any)] })],
    ['any EKU beside', 'wrong_eku', /any purpose/, make(root, { extensions: [eku(EKU.client, EKU.any)] })],
    [
      'CA limited to another purpose',
      'wrong_eku',
      /^CN=Issuing: may not issue for clientAuth/,
      nested,
      { via: [makeCa(root, 'Issuing', { pair: ica.pair, extensions: [caFlag(), keyUsage(5), eku(EKU.server)] })] },
    ],
    ['CA as leaf', 'wrong_usage', /a CA, where/, make(root, { extensions: [caFlag(), eku(EKU.client)] })],
    [
      'leaf that may sign certificates',
      'wrong_usage',
      /a CA, where/,
      make(root, { extensions: [keyUsage(0, 5), eku(EKU.client)] }),
    ],
    [
      'leaf that may sign CRLs',
      'wrong_usage',
      /a CA, where/,
      make(root, { extensions: [keyUsage(0, 6), eku(EKU.client)] }),
    ],
    [
      'leaf that may not sign',
      'wrong_usage',
      /digital signatures/,
      make(root, { extensions: [keyUsage(2), eku(EKU.client)] }),
    ],
    ['leaf as CA', 'wrong_usage', /^CN=Issuing: not a CA/, nested, { via: [notCa] }],
    [
      'CA that may not sign certificates',
      'wrong_usage',
      /^CN=Issuing: may not sign/,
      nested,
      { via: [makeCa(root, 'Issuing', { pair: ica.pair, extensions: [caFlag(), keyUsage(6)] })] },
    ],
    ['pathLength exceeded', 'wrong_usage', /^CN=Below: more CAs/, make(belowLimited), { via: [belowLimited, limited] }],
    [
      'pathLength that a CA below widens',
      'wrong_usage',
      /^CN=Below: more CAs/,
      make(belowWidened),
      { roots: [one], via: [belowWidened, widened] },
    ],
    [
      'a root that names another key than its own',
      'untrusted',
      /given as a root/,
      make(elsewhere),
      { roots: [elsewhere] },
    ],
    [
      'leaf that may only commit to contents',
      'wrong_usage',
      /digital signatures/,
      make(root, { extensions: [keyUsage(1), eku(EKU.client)] }),
    ],
    [
      'more intermediates than wanted',
      'wrong_usage',
      /^CN=Issuing: more CAs/,
      nested,
      { via: [ica], maxIntermediates: 0 },
    ],
    ['eleven elements', 'untrusted', /./, make(nine.at(-1)!), { via: nine }],
    ['X.509 v1 leaf', 'malformed', /v1/, make(root, { version: 0 })],
    [
      'X.509 v1 root',
      'malformed',
      /^CN=Root: .*v1/,
      good,
      { roots: [authority('Root', { pair: root.pair, version: 0 })] },
    ],
    [
      'leaf without any name',
      'malformed',
      /without any name/,
      make(root, { subject: seq(), extensions: [eku(EKU.client)] }),
    ],
    [
      'critical unknown extension',
      'unsupported',
      /^CN=alice: critical extension 1\.2\.3\.4/,
      make(root, { extensions: [...clientExtensions(), ext('1.2.3.4', octets(), true)] }),
    ],
    [
      'critical unknown extension of the root',
      'unsupported',
      /^CN=Root/,
      good,
      {
        roots: [
          authority('Root', { pair: root.pair, extensions: [caFlag(), keyUsage(5), ext('1.2.3.4', octets(), true)] }),
        ],
      },
    ],
    ['RSA-1024 leaf', 'weak_key', /^CN=alice: /, make(root, { pair: rsa(1024) })],
    ['RSA with e=3', 'weak_key', /^CN=alice: /, make(root, { pair: rsa(2048, 3) })],
    ['P-384 leaf', 'weak_key', /^CN=alice: /, make(root, { pair: p384 })],
    ['RSA-1024 CA', 'weak_key', /^CN=Weak: /, make(weakCa), { roots: [weakCa] }],
    ['RSA CA with e=3', 'weak_key', /^CN=Low: /, make(lowE), { roots: [lowE] }],
    [
      'SHA-1',
      'weak_key',
      /^CN=alice: signature algorithm 1\.2\.840\.10045\.4\.1/,
      make(root, { algorithm: sha1, hash: 'sha1' }),
    ],
    [
      'MD5',
      'weak_key',
      /signature algorithm 1\.2\.840\.113549\.1\.1\.4/,
      make(lowE, { algorithm: seq(oid('1.2.840.113549.1.1.4'), Buffer.from([5, 0])), hash: 'md5' }),
      { roots: [authority('Low', { pair: rsa() })] },
    ],
  ];
  for (const [name, sub, message, leaf, setting] of cases)
    t.throws(() => check(leaf, setting), { code: 'BAD_CERT', sub, message }, name);
  t.equal(check(make(root, { extensions: [keyUsage(0)] }), { allowNoEku: true }).length, 2, 'no EKU, when told so');
  t.throws(() => check(make(root, { extensions: [eku(EKU.server)] }), { allowNoEku: true }), {
    code: 'BAD_CERT',
    sub: 'wrong_eku',
  });
  t.equal(check(make(nine[7]!), { via: nine }).length, 10, 'ten elements');
  t.end();
});

const notToBeRead = (): never => {
  throw new Error('read all the same');
};

t.test('the work for a hostile chain is bounded', (t) => {
  const pair = ec();
  const twins = Array.from({ length: 60 }, () => makeCa(null, 'Twin', { pair: ec() }));
  const leaf = make(makeCa(null, 'Twin', { pair }));
  t.throws(() => check(leaf, { via: twins }), { sub: 'untrusted', message: /within 2000 steps/ });
  const forgers = Array.from({ length: 60 }, () => makeCa({ ...root, pair: ec() }, 'Twin', { pair: ec() }));
  t.throws(() => check(leaf, { via: forgers }), { sub: 'untrusted', message: /within 8 wrong signatures/ });
  // What the strangers' own keys have signed is not even looked at: with keys of their choice that can take long.
  const unread = Object.defineProperty(parseCertificate(leaf.der), 'signed', { get: notToBeRead });
  for (const via of [twins, forgers]) {
    const intermediates = via.map(({ der }) => parseCertificate(der));
    const query = { leaf: unread, intermediates, roots: [parseCertificate(root.der)], crls: [], at: NOW };
    t.throws(() => validatePath({ ...query, purpose: 'clientAuth', revocation: 'live' }), {
      code: 'BAD_CERT',
      sub: 'untrusted',
    });
  }
  const ring = Array.from({ length: 40 }, (_, i) =>
    makeCa({ ...root, pair, subject: named(`Ring ${(i + 1) % 40}`) }, `Ring ${i}`, { pair }),
  );
  t.throws(() => check(make(ring[0]!), { via: [...ring, ...ring, ...ring] }), { code: 'BAD_CERT', sub: 'untrusted' });
  // Nine CAs that all certified each other: few signatures, and 8! ways through them.
  const friends = Array.from({ length: 9 }, (_, i) => makeCa(null, `Friend ${i}`));
  const crossed = friends.flatMap((issuer) =>
    friends
      .filter((other) => other !== issuer)
      .map(({ subject, pair: own }) => makeCa(issuer, '', { subject, pair: own })),
  );
  t.throws(() => check(make(friends[0]!), { via: crossed }), {
    code: 'BAD_CERT',
    sub: 'untrusted',
    message: /within 2000 steps/,
  });
  const wide = Array.from({ length: 2000 }, (_, i) => dns(`h${i}.example`));
  const subtrees = Array.from({ length: 100 }, (_, i) => seq(dns(`x${i}.example`)));
  const constrained = makeCa(root, 'Wide', {
    extensions: [caFlag(), ext('2.5.29.30', seq(tlv(0xa1, ...subtrees)), true)],
  });
  t.throws(() => check(make(constrained, { extensions: [eku(EKU.client), san(...wide)] }), { via: [constrained] }), {
    sub: 'name_constraints',
    message: /comparisons/,
  });
  t.end();
});

t.test('who is asked about again and again has his signatures checked once', (t) => {
  const checks = { of: 0 };
  /** Reading what is signed is the beginning of each check. */
  const counted = ({ der }: Made): Certificate => {
    const { signed, ...rest } = parseCertificate(der);
    return Object.defineProperty(rest, 'signed', { get: () => (checks.of++, signed) }) as Certificate;
  };
  const again = (leaf: Certificate, via: readonly Certificate[]): void =>
    void validatePath({
      leaf,
      intermediates: via,
      roots: [parseCertificate(root.der)],
      crls: [],
      at: NOW,
      purpose: 'clientAuth',
      revocation: 'live',
    });
  const [leaf, via] = [counted(nested), [counted(ica)]];
  for (let i = 0; i < 3; i++) again(leaf, via);
  t.equal(checks.of, 2, 'the leaf, and what is above it');
  const forged = counted(make({ ...ica, pair: ec() }));
  const refusal = { code: 'BAD_CERT', sub: 'untrusted', message: /not signed by the key of/ };
  for (let i = 0; i < 3; i++) t.throws(() => again(forged, via), refusal, 'wrong ones as well, and said each time');
  t.equal(checks.of, 2 + 1);
  t.end();
});

t.test('a signature by one CA says nothing of another of the same name', (t) => {
  const stranger = authority('Root');
  const leaf = parseCertificate(good.der);
  const below = (top: Made) =>
    validatePath({
      leaf,
      intermediates: [],
      roots: [parseCertificate(top.der)],
      crls: [],
      at: NOW,
      purpose: 'clientAuth',
      revocation: 'live',
    });
  for (let i = 0; i < 2; i++) {
    t.equal(below(root).length, 2);
    t.throws(() => below(stranger), {
      code: 'BAD_CERT',
      sub: 'untrusted',
      message: /not signed by the key of CN=Root/,
    });
  }
  t.end();
});

t.test('many certificates of one key that did not sign count once', (t) => {
  const pair = ec();
  const many = Array.from({ length: 20 }, () => authority('Root', { pair }));
  t.equal(check(good, { roots: [...many, root] }).length, 2);
  t.end();
});

t.test('name constraints', (t) => {
  const permitted = (...names: readonly Uint8Array[]) => tlv(0xa0, ...names.map((n) => seq(n)));
  const excluded = (...names: readonly Uint8Array[]) => tlv(0xa1, ...names.map((n) => seq(n)));
  const directory = (name: Uint8Array) => tlv(0xa4, name);
  const org = (name: string, tag = 0x0c) => rdn('2.5.4.10', ascii(tag, name));
  const other = tlv(0xa0, oid('1.2.3'), tlv(0xa0, ascii(0x0c, 'x')));
  const cases: readonly (readonly [string, boolean, Uint8Array, readonly Uint8Array[], Uint8Array?])[] = [
    ['host', true, permitted(dns('example.org')), [dns('EXAMPLE.org')]],
    ['host below', true, permitted(dns('example.org')), [dns('a.b.example.org')]],
    ['host that only ends alike', false, permitted(dns('example.org')), [dns('badexample.org')]],
    ['each name counts', false, permitted(dns('example.org')), [dns('example.org'), dns('example.com')]],
    ['one of two is enough', true, permitted(dns('a.org'), dns('b.org')), [dns('b.org')]],
    ['leading dot: below only', false, permitted(dns('.example.org')), [dns('example.org')]],
    ['leading dot: below', true, permitted(dns('.example.org')), [dns('a.example.org')]],
    ['leading dot excludes the host too', false, excluded(dns('.example.org')), [dns('example.org')]],
    ['all hosts excluded', false, excluded(dns('')), [dns('a.org')]],
    ['wildcard over an excluded host', false, excluded(dns('a.example.org')), [dns('*.example.org')]],
    ['wildcard beside an excluded host', true, excluded(dns('a.example.com')), [dns('*.example.org')]],
    ['wildcard above what is permitted', false, permitted(dns('a.example.org')), [dns('*.example.org')]],
    ['mailbox', true, permitted(email('alice@example.org')), [email('alice@EXAMPLE.org')]],
    ['mailbox in another case', false, permitted(email('alice@example.org')), [email('Alice@example.org')]],
    ['mailbox in another case, excluded', false, excluded(email('alice@example.org')), [email('Alice@example.org')]],
    ['mailbox beside an excluded one', true, excluded(email('alice@example.org')), [email('bob@example.org')]],
    [
      'mail in the subject that cannot be read, excluded',
      false,
      excluded(email('example.org')),
      [],
      seq(rdn('1.2.840.113549.1.9.1', bmp('a@example.org'))),
    ],
    ['mail host', true, permitted(email('example.org')), [email('alice@example.org')]],
    ['mail host in another case', true, permitted(email('EXAMPLE.org')), [email('alice@example.org')]],
    ['mail host below', false, permitted(email('example.org')), [email('alice@a.example.org')]],
    ['mail domain', true, permitted(email('.example.org')), [email('alice@a.example.org')]],
    ['mail domain itself', false, permitted(email('.example.org')), [email('alice@example.org')]],
    [
      'mail in the subject',
      false,
      excluded(email('example.org')),
      [],
      seq(rdn('1.2.840.113549.1.9.1', ascii(0x16, 'a@example.org'))),
    ],
    ['address', true, permitted(ip(10, 0, 0, 0, 255, 0, 0, 0)), [ip(10, 9, 8, 7)]],
    ['address outside', false, permitted(ip(10, 0, 0, 0, 255, 0, 0, 0)), [ip(11, 0, 0, 1)]],
    [
      'IPv6 under a constraint on IPv4',
      false,
      permitted(ip(0, 0, 0, 0, 0, 0, 0, 0)),
      [ip(...Array<number>(16).fill(0))],
    ],
    ['URI host', true, permitted(uri('example.org')), [uri('https://u@EXAMPLE.org:1/x')]],
    ['URI host below', false, permitted(uri('example.org')), [uri('https://a.example.org/')]],
    ['URI without a host, permitted', false, permitted(uri('example.org')), [uri('chat:alice')]],
    ['URI without a host, excluded', false, excluded(uri('example.org')), [uri('chat:alice')]],
    ['URI with host in its user part', false, permitted(uri('example.org')), [uri('https://example.org@evil.com/')]],
    ['URI with an address', false, excluded(uri('example.org')), [uri('https://10.0.0.1/')]],
    [
      'subject',
      true,
      permitted(directory(seq(org('Example')))),
      [],
      seq(org('Example'), rdn('2.5.4.3', ascii(12, 'alice'))),
    ],
    ['subject, other case and type', true, permitted(directory(seq(org('Example')))), [], seq(org(' EXAMPLE ', 0x13))],
    ['subject, other spaces', true, permitted(directory(seq(org('Ex  ample')))), [], seq(org('ex ample'))],
    ['subject elsewhere', false, permitted(directory(seq(org('Example')))), [], seq(org('Other'))],
    ['subject excluded', false, excluded(directory(seq(org('Example')))), [], seq(org('eXAMPLE'))],
    ['subject shorter than the base', false, permitted(directory(seq(org('A'), org('B')))), [], seq(org('A'))],
    ['name of a kind that is not understood, excluded', false, excluded(other), [other]],
    ['name of a kind that is not understood, permitted', false, permitted(other), [other]],
    ['kinds that are not constrained', true, excluded(other), [dns('a.org'), uri('chat:a')]],
    ['another kind that is not understood', true, excluded(other), [tlv(0x88, Buffer.from([42]))]],
    [
      'a leaf with the name of its CA is not excused',
      false,
      excluded(dns('a.org')),
      [dns('a.org')],
      named('Constrained'),
    ],
    ['excluded wins', false, Buffer.concat([permitted(dns('a.org')), excluded(dns('x.a.org'))]), [dns('x.a.org')]],
  ];
  for (const [name, isFine, subtrees, names, subject] of cases) {
    const ca = makeCa(root, 'Constrained', { extensions: [caFlag(), ext('2.5.29.30', seq(subtrees), true)] });
    const leaf = make(ca, {
      subject: subject ?? seq(),
      extensions: [eku(EKU.client), san(...(names.length > 0 ? names : [tlv(0x88, Buffer.from([42]))]))],
    });
    if (isFine) t.equal(check(leaf, { via: [ca] }).length, 3, name);
    else t.throws(() => check(leaf, { via: [ca] }), { code: 'BAD_CERT', sub: 'name_constraints' }, name);
  }

  const host = ext('2.5.29.30', seq(permitted(dns('example.org'))), true);
  const far = authority('Root', { extensions: [caFlag(), host] });
  const between = makeCa(far, 'Between', { extensions: [caFlag(), keyUsage(5)] });
  const below = (name: string) => make(between, { extensions: [eku(EKU.client), san(dns(name))] });
  t.equal(check(below('a.example.org'), { roots: [far], via: [between] }).length, 3);
  const outside = { code: 'BAD_CERT', sub: 'name_constraints', message: /CN=Root may not vouch/ };
  t.throws(() => check(below('example.com'), { roots: [far], via: [between] }), outside, 'of a CA further up');

  const subject = (name: string): Buffer => seq(org(name));
  const people = ext('2.5.29.30', seq(permitted(directory(subject('People')))), true);
  const old = authority('Old', { extensions: [caFlag(), people] });
  const person = (issuer: Made) => make(issuer, { subject: subject('People') });
  const rolledOver = makeCa(old, 'Old');
  const renamed = makeCa(old, 'New');
  t.equal(check(person(rolledOver), { roots: [old], via: [rolledOver] }).length, 3, 'a CA may name itself');
  t.throws(
    () => check(person(renamed), { roots: [old], via: [renamed] }),
    { code: 'BAD_CERT', sub: 'name_constraints', message: /^CN=New: CN=Old/ },
    'and not another CA',
  );
  t.end();
});

t.test('a changed certificate never validates', (t) => {
  const isFuzz = process.env['FUZZ'] === '1';
  const der = good.der;
  // The last octets of a P-256 signature and everything before it: each single bit.
  let accepted = 0;
  const step = isFuzz ? 1 : 3;
  for (let bit = 0; bit < der.length * 8; bit += step) {
    const changed = Buffer.from(der);
    changed[bit >> 3]! ^= 0x80 >> (bit & 7);
    try {
      check({ ...good, der: changed });
      accepted++;
      t.fail(`bit ${bit} changed and still valid`);
    } catch (error) {
      if (!(error instanceof ChatError) || error.code !== 'BAD_CERT') t.fail(`bit ${bit}: ${String(error)}`);
    }
  }
  t.equal(accepted, 0);
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.uint8Array({ minLength: 0, maxLength: 4 }), fc.nat(4), (at, put, cut) => {
      const changed = Buffer.concat([der.subarray(0, at), put, der.subarray(at + cut)]);
      if (changed.equals(der)) return;
      t.throws(() => check({ ...good, der: changed }), { code: 'BAD_CERT' });
    }),
    isFuzz ? { numRuns: 20_000 } : { seed: 20261121, numRuns: 200 },
  );
  t.end();
});

t.test('a public key in a second spelling is not a second key', (t) => {
  const { publicKey } = ec();
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const point = spki.subarray(-65);
  const compressed = Buffer.concat([Buffer.from([2 + (point[64]! & 1)]), point.subarray(1, 33)]);
  const algorithm = seq(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7'));
  const second = seq(algorithm, tlv(3, Buffer.from([0]), compressed));
  t.ok(createPublicKey({ key: second, format: 'der', type: 'spki' }).equals(publicKey), 'OpenSSL reads it');
  t.throws(() => check(make(root, { spki: second })), { code: 'BAD_CERT', sub: 'weak_key' });
  t.end();
});

t.test('a CRL that somebody else signed, by name of the issuer', (t) => {
  const forged = list({ ...root, pair: ec() }, { revoked: [good.serial] });
  t.throws(() => check(good, { lists: [forged] }), { code: 'BAD_CERT', sub: 'revocation_unknown' });
  t.equal(check(good, { lists: [forged, list(root)] }).length, 2);
  t.end();
});
