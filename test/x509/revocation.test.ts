import t from 'tap';
import { createHash, X509Certificate } from 'node:crypto';
import { parseCertificate, type Certificate } from '../../x509/certificate.ts';
import { crlsOf, parseCrl, parseCrls, type Crl } from '../../x509/crl.ts';
import type { Reason } from '../../x509/refusal.ts';
import { revocationKeys, type RevocationRule } from '../../x509/revocation.ts';
import { validatePath } from '../../x509/path.ts';
import { malleated } from '../support/malleated.ts';
import {
  ascii,
  authority,
  bits,
  caFlag,
  DAY,
  ec,
  ext,
  int,
  keyUsage,
  list,
  make,
  makeCa,
  named,
  NOW,
  octets,
  oid,
  rsa,
  seq,
  tlv,
} from './maker.ts';

const root = authority('Root', { until: NOW + 1000 * DAY });
const ica = makeCa(root, 'Issuing');
const leaf = make(ica);
const parsed = (der: Uint8Array): Certificate => parseCertificate(der);
const check = (lists: readonly Uint8Array[], revocation: RevocationRule, at = NOW, crlGraceMs = 0, of = leaf) =>
  validatePath({
    leaf: parsed(of.der),
    intermediates: [parsed(ica.der)],
    roots: [parsed(root.der)],
    crls: lists.map(parseCrl),
    at,
    purpose: 'clientAuth',
    revocation,
    crlGraceMs,
  });
const fine = [list(root), list(ica)];

t.test('live: every issuer needs a current list, as soon as there is any', (t) => {
  const cases: readonly (readonly [string, Reason | null, RegExp, readonly Buffer[], number?])[] = [
    ['no lists at all', null, /./, []],
    ['a list for each issuer', null, /./, fine],
    ['another serial number', null, /./, [list(root), list(ica, { revoked: [leaf.serial + 1] })]],
    ['the same serial number of another issuer', null, /./, [list(root, { revoked: [leaf.serial] }), list(ica)]],
    [
      'leaf',
      'revoked',
      /^CN=alice: revoked at 2026-06-14T00:00:00\.000Z \(no reason given\)/,
      [list(root), list(ica, { revoked: [leaf.serial] })],
    ],
    ['intermediate', 'revoked', /^CN=Issuing: revoked/, [list(root, { revoked: [ica.serial] }), list(ica)]],
    ['from tomorrow on', 'revoked', /^CN=alice: /, [list(root), list(ica, { revoked: [[leaf.serial, NOW + DAY]] })]],
    [
      'held',
      'revoked',
      /certificateHold/,
      [list(root), list(ica, { revoked: [leaf.serial], entryExtensions: [ext('2.5.29.21', ascii(10, '\x06'))] })],
    ],
    ['no list of the intermediate', 'revocation_unknown', /^CN=alice: the CRL of CN=Issuing is missing/, [list(root)]],
    ['no list of the root', 'revocation_unknown', /^CN=Issuing: the CRL of CN=Root is missing/, [list(ica)]],
    [
      'stale',
      'revocation_unknown',
      /^CN=alice: .* expired at 2026-06-14T23:59:59/,
      [list(root), list(ica, { until: NOW - 1000 })],
    ],
    ['stale for less than the grace', null, /./, [list(root), list(ica, { until: NOW - 1000 })], 1000],
    [
      'stale for more than the grace',
      'revocation_unknown',
      /expired/,
      [list(root), list(ica, { until: NOW - 1000 })],
      999,
    ],
    ['stale, and listed', 'revoked', /./, [list(root), list(ica, { until: NOW - 1000, revoked: [leaf.serial] })]],
    ['from this very millisecond on', null, /./, [list(root), list(ica, { from: NOW })]],
    ['until this very millisecond', null, /./, [list(root), list(ica, { until: NOW })]],
    ['from the future', 'revocation_unknown', /not yet valid/, [list(root), list(ica, { from: NOW + 1000 })]],
    ['signed by another key', 'revocation_unknown', /./, [list(root), list({ ...ica, pair: ec() })]],
    ['signed by the parent', 'revocation_unknown', /./, [list(root), list(root, { issuer: ica.subject })]],
    [
      'the newest list counts',
      null,
      /./,
      [list(root), list(ica, { from: NOW - 2 * DAY, revoked: [leaf.serial] }), list(ica)],
    ],
    [
      'whatever their order',
      'revoked',
      /./,
      [list(ica, { revoked: [leaf.serial] }), list(ica, { from: NOW - 2 * DAY }), list(root)],
    ],
  ];
  for (const [name, sub, message, lists, grace] of cases)
    if (sub === null) t.equal(check(lists, 'live', NOW, grace).length, 3, name);
    else t.throws(() => check(lists, 'live', NOW, grace), { code: 'BAD_CERT', sub, message }, name);
  t.end();
});

t.test('a CA that may not sign lists', (t) => {
  const shape = { pair: ec(), extensions: [caFlag(), keyUsage(5)] };
  const mute = authority('Mute', shape);
  const crls = [parseCrl(list(mute))];
  const query = {
    intermediates: [],
    roots: [parsed(mute.der)],
    crls,
    at: NOW,
    purpose: 'clientAuth',
    revocation: 'live',
  } as const;
  t.throws(() => validatePath({ ...query, leaf: parsed(make(mute).der) }), {
    code: 'BAD_CERT',
    sub: 'revocation_unknown',
  });
  t.strictSame(crlsOf(crls, parsed(mute.der)), []);
  t.strictSame(
    crlsOf(crls, parsed(authority('Mute', { ...shape, extensions: [caFlag()] }).der)),
    crls,
    'without keyUsage it may',
  );
  t.strictSame(crlsOf(crls, parsed(make(null, { ...shape, subject: named('Mute'), extensions: [] }).der)), [], 'no CA');
  const weak = authority('Weak', { pair: rsa(1024) });
  t.strictSame(crlsOf([parseCrl(list(weak))], parsed(weak.der)), [], 'weak key');
  t.end();
});

t.test('at-signing: only what was revoked by then counts', (t) => {
  const revoked = (at: number) => [
    list(ica, { from: NOW + 50 * DAY, until: NOW + 51 * DAY, revoked: [[leaf.serial, at]] }),
  ];
  t.equal(check([], 'at-signing').length, 3, 'no list is no error');
  t.equal(check([list(ica, { until: NOW - 1000 })], 'at-signing').length, 3, 'nor a stale one');
  t.equal(check(revoked(NOW + 1000), 'at-signing').length, 3, 'revoked later');
  t.throws(() => check(revoked(NOW), 'at-signing'), { code: 'BAD_CERT', sub: 'revoked' }, 'revoked at that second');
  t.throws(() => check(revoked(NOW - 1000), 'at-signing'), { code: 'BAD_CERT', sub: 'revoked' }, 'revoked before');
  t.throws(
    () => check([...revoked(NOW - 1000), list(ica, { from: NOW + 60 * DAY })], 'at-signing'),
    { code: 'BAD_CERT', sub: 'revoked' },
    'a younger list may have dropped it',
  );
  const forged = list({ ...ica, pair: ec() }, { revoked: [leaf.serial] });
  t.equal(check([forged], 'at-signing').length, 3, 'a list that the issuer did not sign');
  const namesake = makeCa(root, 'Namesake', { pair: ica.pair });
  t.equal(
    check([list(namesake, { revoked: [leaf.serial] })], 'at-signing').length,
    3,
    'a list of another CA with the same key',
  );
  const issuer = parsed(ica.der);
  const [old, young] = [parseCrl(list(ica)), parseCrl(list(ica, { from: NOW }))] as [Crl, Crl];
  t.strictSame(
    crlsOf([old, parseCrl(forged), young], issuer),
    [young, old],
    'callers see which lists there are, newest first',
  );
  t.end();
});

t.test('at-stamping: only what was revoked for a harmless reason leaves what is dated before', (t) => {
  const revoked = (at: number, code?: number) => list(ica, { revoked: [[leaf.serial, at, code]] });
  for (let code = 0; code <= 10; code++) {
    if (code === 7 || code === 8) continue; // not of a complete list
    const [later, before] = [revoked(NOW + 1000, code), revoked(NOW, code)];
    if ([0, 3, 4, 5].includes(code)) t.equal(check([later], 'at-stamping').length, 3, `reason ${code}`);
    else t.throws(() => check([later], 'at-stamping'), { code: 'BAD_CERT', sub: 'revoked' }, `reason ${code}`);
    t.throws(() => check([before], 'at-stamping'), { code: 'BAD_CERT', sub: 'revoked' }, `reason ${code}, by then`);
    t.equal(check([later], 'at-signing').length, 3, `reason ${code}: of no concern for other signatures`);
  }
  t.throws(() => check([revoked(NOW + 1000)], 'at-stamping'), { sub: 'revoked', message: /no reason given/ });
  t.throws(
    () => check([revoked(NOW + 1000, 4), revoked(NOW + 1000, 1)], 'at-stamping'),
    { code: 'BAD_CERT', sub: 'revoked' },
    'two lists',
  );
  const ofCa = list(root, { revoked: [[ica.serial, NOW + 1000, 2]] });
  t.throws(
    () => check([ofCa], 'at-stamping'),
    { sub: 'revoked', message: /^CN=Issuing/ },
    'who has it can make others',
  );
  t.equal(check([], 'at-stamping').length, 3, 'no list is no error');
  t.end();
});

t.test('what is in a list', (t) => {
  const der = list(root, {
    revoked: [5, [300, NOW - 5000]],
    entryExtensions: [ext('2.5.29.21', ascii(10, '\x01')), ext('2.5.29.24', ascii(0x18, '20260101000000Z'))],
  });
  const crl = parseCrl(der);
  t.equal(crl.issuer.text, 'CN=Root');
  t.equal(crl.thisUpdate, NOW - DAY);
  t.equal(crl.nextUpdate, NOW + DAY);
  t.equal(crl.number, '07');
  t.strictSame(
    [...crl.revoked],
    [
      ['05', { at: NOW - DAY, reason: 'keyCompromise' }],
      ['012c', { at: NOW - 5000, reason: 'keyCompromise' }],
    ],
  );
  t.equal(
    parseCrl(
      list(root, {
        revoked: [
          [5, NOW],
          [5, NOW - DAY],
          [5, NOW],
        ],
      }),
    ).revoked.get('05')?.at,
    NOW - DAY,
    'the earliest of several dates',
  );
  const [bare, unspecified] = [undefined, 0].map((reason) =>
    parseCrl(list(root, { revoked: [[5, NOW, reason]] })).revoked.get('05'),
  );
  t.same([bare?.reason, unspecified?.reason], [null, 'unspecified'], 'none is not the one that says nothing');
  const twice = parseCrl(
    list(root, {
      revoked: [
        [5, NOW, 4],
        [5, NOW - DAY, 1],
      ],
    }),
  ).revoked.get('05');
  t.same(twice, { at: NOW - DAY, reason: null }, 'two reasons are none');
  const pem = `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`;
  t.strictSame(
    [parseCrls(der), parseCrls(Buffer.from(pem.repeat(2)))].map((crls) => crls.length),
    [1, 2],
    'DER or PEM',
  );
  t.end();
});

t.test('lists that are refused', (t) => {
  const number = ext('2.5.29.20', int(7));
  const entry = (...entryExtensions: Buffer[]) => list(root, { revoked: [5], entryExtensions });
  const good = list(root);
  const cases: readonly (readonly [string, Reason, RegExp, Uint8Array])[] = [
    ['delta', 'unsupported', /2\.5\.29\.27/, list(root, { extensions: [number, ext('2.5.29.27', int(1), true)] })],
    [
      'partitioned or indirect',
      'unsupported',
      /2\.5\.29\.28/,
      list(root, { extensions: [number, ext('2.5.29.28', seq(), true)] }),
    ],
    [
      'unknown critical extension',
      'unsupported',
      /1\.2\.3/,
      list(root, { extensions: [number, ext('1.2.3', octets(), true)] }),
    ],
    ['entry of another issuer', 'unsupported', /2\.5\.29\.29/, entry(ext('2.5.29.29', seq(), true))],
    ['no number', 'malformed', /cRLNumber: missing/, list(root, { extensions: [ext('1.2.3', octets())] })],
    [
      'critical number',
      'malformed',
      /cRLNumber: must not/,
      list(root, { extensions: [ext('2.5.29.20', int(7), true)] }),
    ],
    ['reason of delta lists', 'malformed', /reasonCode/, entry(ext('2.5.29.21', ascii(10, '\x08')))],
    ['unknown reason', 'malformed', /reasonCode/, entry(ext('2.5.29.21', ascii(10, '\x0b')))],
    ['no issuer', 'malformed', /CRL issuer/, list(root, { issuer: seq() })],
    ['octets after it', 'malformed', /after the last/, Buffer.concat([good, Buffer.from([0])])],
    ['version 1 written out', 'malformed', /version/, list(root, { version: 0 })],
    ['a certificate', 'malformed', /./, root.der],
    [
      'v1',
      'malformed',
      /./,
      seq(seq(seq(oid('1.2.840.10045.4.3.2')), named('Root')), seq(oid('1.2.840.10045.4.3.2')), bits(Buffer.from('s'))),
    ],
  ];
  for (const [name, sub, message, der] of cases)
    t.throws(() => parseCrl(der), { code: 'BAD_CERT', sub, message }, name);
  t.ok(
    parseCrl(list(root, { extensions: [number, ext('2.5.29.35', seq(tlv(0x80, Buffer.from('k'))))] })),
    'key identifier',
  );
  t.end();
});

t.test('a malleated copy: another fingerprint, the same keys for bans and pins', (t) => {
  const read = parsed(leaf.der);
  const copy = parsed(malleated(read));
  t.ok(new X509Certificate(copy.der).verify(parsed(ica.der).publicKey), 'OpenSSL takes the copy');
  t.equal(
    check(fine, 'live', NOW, 0, { ...leaf, der: Buffer.from(copy.der) }).length,
    3,
    'and so do we: the CA did vouch for all of it',
  );
  t.notSame(copy.fingerprint, read.fingerprint);
  t.strictSame(revocationKeys(copy), revocationKeys(read));
  const lists = [list(root), list(ica, { revoked: [leaf.serial] })];
  t.throws(() => check(lists, 'live', NOW, 0, { ...leaf, der: Buffer.from(copy.der) }), {
    code: 'BAD_CERT',
    sub: 'revoked',
  });
  const [bySerial, byKey] = revocationKeys(read);
  const [otherSerial, sameKey] = revocationKeys(parsed(make(ica).der));
  t.not(otherSerial, bySerial, 'another certificate of the same key');
  t.equal(sameKey, byKey);
  const spki = read.publicKey.export({ type: 'spki', format: 'der' });
  t.equal(byKey, `spki:${createHash('sha256').update(spki).digest('hex')}`);
  t.not(
    revocationKeys(parsed(make(root, { serial: leaf.serial }).der))[0],
    bySerial,
    'the same number of another issuer',
  );
  t.end();
});
