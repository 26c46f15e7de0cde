import t from 'tap';
import fc from 'fast-check';
import { ChatError } from '../../base/errors.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { canonicalEmail, canonicalUsername, certIdentity, identityOf } from '../../x509/identity.ts';
import type { Reason } from '../../x509/refusal.ts';
import {
  ascii,
  authority,
  bmp,
  clientExtensions,
  CN,
  dns,
  ec,
  eku,
  EKU,
  email,
  make,
  makeCa,
  named,
  rdn,
  san,
  seq,
  set,
  oid,
  uri,
  utf8,
  type Made,
} from './maker.ts';

t.test('usernames', (t) => {
  for (const [text, canonical] of [
    ['alice', 'alice'],
    ['Alice', 'alice'],
    ['ＡＬＩＣＥ', 'alice'],
    ['𝐚𝐥𝐢𝐜𝐞', 'alice'],
    ['\u212Aim', 'kim'],
    ['a', 'a'],
    ['0', '0'],
    ['a.b_c-d', 'a.b_c-d'],
    ['a'.repeat(64), 'a'.repeat(64)],
    ['𝐀lice', 'alice'],
    ['Alice@Example.ORG', 'alice@example.org'],
    [`${'a'.repeat(52)}@example.org`, `${'a'.repeat(52)}@example.org`],
  ] as const)
    t.equal(canonicalUsername(text), canonical, text);
  for (const text of [
    '',
    ' ',
    'a b',
    ' alice',
    'alice ',
    '.alice',
    'alice.',
    '-a',
    'a-',
    '_a',
    'a'.repeat(65),
    'a'.repeat(100_000),
    'alice\0',
    'alice\n',
    'alice\r\nbob',
    'аlice',
    'al\u0131ce',
    'alicе',
    'ali\u200bce',
    '\u202ealice',
    'alice\u2066',
    '\ufeffalice',
    'a\u0301lice',
    'ﬃ\u0301',
    'straße',
    '\ud800',
    '\u{e0061}lice',
    'a/b',
    '../a',
    'a\\b',
    'a:b',
    'a%20',
    "a'--",
    'a;b',
    '#a',
    '@a',
    'a@',
    'a@b@c',
    '<a>',
    'admin',
    'ADMIN',
    'Ａdmin',
    'system',
    'server',
    'root',
    '__proto__',
    'constructor',
    `${'a'.repeat(53)}@example.org`,
  ])
    t.throws(() => canonicalUsername(text), { code: 'BAD_NAME', field: 'username' }, JSON.stringify(text.slice(0, 70)));
  t.end();
});

t.test('e-mail addresses', (t) => {
  t.equal(canonicalEmail('Alice.B+x@Mail.Example.ORG'), 'alice.b+x@mail.example.org');
  t.equal(canonicalEmail('a@corp'), 'a@corp');
  t.equal(canonicalEmail(`${'a'.repeat(64)}@b`), `${'a'.repeat(64)}@b`);
  const longest = `a@${`${'b'.repeat(62)}.`.repeat(4)}`.slice(0, -1).concat('b');
  t.equal(longest.length, 254);
  t.equal(canonicalEmail(longest), longest);
  // Bold letters are two units of UTF-16 each, and one letter afterwards.
  const bold = `a@${'𝐛'.repeat(63)}.${'𝐛'.repeat(62)}`;
  t.equal(canonicalEmail(`${bold}b`), `a@${'b'.repeat(63)}.${'b'.repeat(63)}`, 'so much is looked at');
  for (const text of [
    '',
    'alice',
    '@b',
    'a@',
    'a@b@c',
    'a b@c',
    '"a"@b',
    'a@-b',
    'a@b-',
    'a@b..c',
    'a..b@c',
    '.a@b',
    'a.@b',
    'a@b.',
    'a@[1.2.3.4]',
    'а@b',
    'a@ь.org',
    'a@b\0',
    'a@b\n',
    `${'a'.repeat(65)}@b`,
    `a@${'b'.repeat(64)}`,
    `a@${'b.'.repeat(127)}c`,
    `a${longest}`,
    `${bold}𝐛`, // short enough afterwards
    `a@${`${'ﬃ'.repeat(20)}.`.repeat(5)}c`, // three letters each, afterwards
  ])
    t.throws(() => canonicalEmail(text), { code: 'BAD_NAME' }, JSON.stringify(text.slice(0, 70)));
  t.end();
});

t.test('canonical names are their own canonical form, and anything else is BAD_NAME', (t) => {
  const names = fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[A-Za-z0-9._@-]{1,20}$/));
  const holds = (text: string): boolean => {
    try {
      const name = canonicalUsername(text);
      return canonicalUsername(name) === name && /^[\x21-\x7e]{1,64}$/.test(name);
    } catch (error) {
      return error instanceof ChatError && error.code === 'BAD_NAME';
    }
  };
  fc.assert(
    fc.property(names, holds),
    process.env['FUZZ'] === '1' ? { numRuns: 100_000 } : { seed: 20261121, numRuns: 1000 },
  );
  t.end();
});

const root = authority();
const cert = (subject: Buffer, ...names: Buffer[]) =>
  parseCertificate(
    make(root, { subject, extensions: [eku(EKU.client), ...(names.length > 0 ? [san(...names)] : [])] }).der,
  );
const cn = (value: Buffer) => seq(rdn(CN, value));
const nameless = seq(rdn('2.5.4.10', utf8('Example')));

t.test('whom a certificate names', (t) => {
  const cases: readonly (readonly [string, string, string | undefined, Buffer, ...Buffer[]])[] = [
    ['URI', 'alice', undefined, named('alice'), uri('chat:alice')],
    ['URI in capitals', 'alice', undefined, named('ALICE'), uri('CHAT:Alice')],
    ['URI in capitals alone', 'alice', undefined, nameless, uri('CHAT:Alice')],
    ['URI without a common name', 'alice', undefined, nameless, uri('chat:alice')],
    ['URI and the name of a person', 'alice', undefined, named('Alice Müller'), uri('chat:alice')],
    ['URI and e-mail', 'alice', 'a.m@example.org', named('alice'), email('A.M@example.org'), uri('chat:alice')],
    [
      'URI and e-mail as the common name',
      'alice',
      'a.m@example.org',
      named('A.M@Example.org'),
      email('a.m@example.org'),
      uri('chat:alice'),
    ],
    ['URI and two e-mail addresses', 'alice', undefined, named('alice'), email('a@b'), email('c@d'), uri('chat:alice')],
    [
      'URI among others',
      'alice',
      undefined,
      nameless,
      uri('https://example.org/alice'),
      uri('xmpp:chat:bob'),
      dns('alice.example.org'),
      uri('chat:alice'),
    ],
    [
      'e-mail alone is the username, host and all',
      'alice@example.org',
      'alice@example.org',
      nameless,
      email('Alice@example.org'),
    ],
    [
      'e-mail, common name is its local part',
      'alice@example.org',
      'alice@example.org',
      named('alice'),
      email('alice@example.org'),
    ],
    [
      'e-mail, common name is all of it',
      'alice@example.org',
      'alice@example.org',
      named('Alice@Example.org'),
      email('alice@example.org'),
    ],
    ['common name', 'alice', undefined, named('Alice')],
    ['common name, PrintableString', 'alice', undefined, cn(ascii(0x13, 'alice'))],
    ['common name beside a host', 'alice', undefined, named('alice'), dns('alice.example.org')],
  ];
  for (const [name, username, address, subject, ...names] of cases)
    t.strictSame(
      identityOf(cert(subject, ...names)),
      address === undefined ? { username } : { username, email: address },
      name,
    );
  t.end();
});

t.test('certificates that name nobody', (t) => {
  const other = (text: string) => uri(`chat:${text}`);
  const cases: readonly (readonly [string, Reason, RegExp, Buffer, ...Buffer[]])[] = [
    ['no name', 'no_san', /no chat: name/, nameless],
    ['only a host', 'no_san', /./, nameless, dns('alice.example.org')],
    ['two usernames', 'bad_name', /two chat: names/, named('alice'), other('alice'), other('bob')],
    ['the same username twice', 'bad_name', /two chat: names/, named('alice'), other('alice'), other('alice')],
    ['username of another than the common name', 'bad_name', /contradict/, named('alice'), other('bob')],
    [
      'common name of another than the e-mail address',
      'bad_name',
      /contradict/,
      named('bob'),
      email('alice@example.org'),
    ],
    ['space after the common name of another', 'bad_name', /contradict/, named('bob '), other('alice')],
    ['space before the common name of another', 'bad_name', /contradict/, named(' bob'), other('alice')],
    ['common name that only looks like it', 'bad_name', /contradict/, named('аlice'), other('alice')],
    ['two e-mail addresses', 'bad_name', /several/, nameless, email('alice@example.org'), email('bob@example.org')],
    ['e-mail address that is none', 'bad_name', /e-mail/, nameless, email('"alice"@example.org')],
    ['e-mail address of 65 characters', 'bad_name', /64/, nameless, email(`${'a'.repeat(53)}@example.org`)],
    ['empty username, by slashes', 'bad_name', /username must/, nameless, other('//')],
    ['percent-encoded', 'bad_name', /username must/, nameless, other('alice%00')],
    ['path', 'bad_name', /username must/, nameless, other('../alice')],
    ['e-mail address as username', 'bad_name', /no username/, nameless, other('alice@example.org')],
    ['reserved', 'bad_name', /reserved/, nameless, other('admin')],
    ['reserved, as common name', 'bad_name', /reserved/, named('root')],
    ['two common names', 'bad_name', /two common names/, seq(rdn(CN, utf8('alice')), rdn(CN, utf8('bob')))],
    [
      'two common names in one RDN',
      'bad_name',
      /two common names/,
      seq(set(seq(oid(CN), utf8('bob')), seq(oid(CN), utf8('alice')))),
    ],
    [
      'two common names beside a SAN',
      'bad_name',
      /two common names/,
      seq(rdn(CN, utf8('alice')), rdn(CN, utf8('alice'))),
      other('alice'),
    ],
    ['BMPString', 'bad_name', /neither UTF8String/, cn(bmp('alice'))],
    ['BMPString whose octets are a name in ASCII', 'bad_name', /neither UTF8String/, cn(ascii(0x1e, 'alice!'))],
    ['T61String', 'bad_name', /neither UTF8String/, cn(ascii(0x14, 'alice'))],
    ['UniversalString beside a SAN', 'bad_name', /neither UTF8String/, cn(ascii(0x1c, '\0\0\0a')), other('alice')],
    ['IA5String', 'bad_name', /neither UTF8String/, cn(ascii(0x16, 'alice'))],
    ['NUL', 'bad_name', /invisible/, named('alice\0.evil')],
    ['NUL beside a SAN', 'bad_name', /invisible/, named('alice \0 x'), other('alice')],
    ['line break', 'bad_name', /invisible/, named('alice\n')],
    ['line separator', 'bad_name', /invisible/, named('Alice Smith\u2028'), other('alice')],
    ['paragraph separator', 'bad_name', /invisible/, named('Alice\u2029Smith'), other('alice')],
    ['escape sequence', 'bad_name', /invisible/, named('\x1b[2Jalice')],
    ['right-to-left override', 'bad_name', /invisible/, named('\u202eecila')],
    ['zero-width space', 'bad_name', /invisible/, named('ali\u200bce')],
    ['Cyrillic letter', 'bad_name', /no username/, named('аlice')],
    ['wide letters: NFKC is for people who type, not for CAs', 'bad_name', /no username/, named('ａlice')],
    ['Kelvin sign', 'bad_name', /no username/, named('\u212Aim')],
    ['name of a person', 'bad_name', /no username/, named('Alice Smith')],
    ['empty common name', 'bad_name', /no username/, named('')],
    ['e-mail address as common name only', 'bad_name', /no username/, named('alice@example.org')],
  ];
  for (const [name, sub, message, subject, ...names] of cases)
    t.throws(() => identityOf(cert(subject, ...names)), { code: 'BAD_CERT', sub, message }, name);
  t.end();
});

t.test('what an account is bound to', (t) => {
  const chain = (issuer: Made, made: Made) => [parseCertificate(made.der), parseCertificate(issuer.der)] as const;
  const first = certIdentity([...chain(root, make(root))]);
  t.match(first, /^[0-9a-f]{64}:alice$/);
  t.equal(certIdentity([...chain(root, make(root, { pair: ec() }))]), first, 'renewed, with another key');
  t.equal(
    certIdentity([...chain(root, make(root, { extensions: [eku(EKU.client)] }))]),
    first,
    'renewed, with the name in another place',
  );
  t.equal(
    certIdentity([...chain(authority('Root', { pair: root.pair }), make(root))]),
    first,
    'the CA renewed its own, with the same key',
  );
  const twin = authority('Root');
  t.not(certIdentity([...chain(twin, make(twin))]), first, 'another CA of the same name');
  const ica = makeCa(root, 'Issuing');
  t.not(certIdentity([...chain(ica, make(ica))]), first, 'a CA below');
  t.not(
    certIdentity([...chain(root, make(root, { subject: named('bob'), extensions: clientExtensions('bob') }))]),
    first,
    'another person',
  );
  const mail = (host: string) =>
    certIdentity([...chain(root, make(root, { extensions: [eku(EKU.client), san(email(`alice@${host}`))] }))]);
  t.equal(
    new Set([first, mail('a.org'), mail('b.org')]).size,
    3,
    'alice of two hosts is two people, and neither is alice',
  );
  t.end();
});
