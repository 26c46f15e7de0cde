/** What of a revocation list has to be in its place: nothing stands behind what is read, and nothing is read that is not there. */
import t from 'tap';
import { parseCertificate } from '../../x509/certificate.ts';
import { MAX_CRL_BYTES, parseCrl } from '../../x509/crl.ts';
import { revokedKeys, serialKey } from '../../x509/revocation.ts';
import { ascii, authority, ec, ext, int, list, NOW, octets, oid, seq, tlv, utc } from './maker.ts';

const root = authority('Root');
const NULL = Buffer.from([5, 0]);
const number = ext('2.5.29.20', int(7));

t.test('octets where none belong', (t) => {
  const entry = (...extensions: readonly Buffer[]) => list(root, { revoked: [5], entryExtensions: extensions });
  for (const [name, message, der] of [
    ['behind the extensions', /after the last/, list(root, { tail: NULL })],
    ['behind the extensions, in their wrapper', /after the last/, list(root, { insideTail: NULL })],
    [
      'behind an entry',
      /after the last/,
      list(root, { entries: [seq(int(5), utc(NOW), seq(ext('1.2.3', octets())), NULL)] }),
    ],
    ['behind a reason', /after the last/, entry(ext('2.5.29.21', Buffer.concat([ascii(10, '\x01'), NULL])))],
    ['behind a date', /after the last/, entry(ext('2.5.29.24', Buffer.concat([ascii(0x18, '20260101000000Z'), NULL])))],
    [
      'behind the number',
      /after the last/,
      list(root, { extensions: [ext('2.5.29.20', Buffer.concat([int(7), NULL]))] }),
    ],
    ['a date that is none', /invalidityDate/, entry(ext('2.5.29.24', ascii(0x18, '20260230000000Z')))],
    ['a key identifier that is none', /./, list(root, { extensions: [number, ext('2.5.29.35', int(1))] })],
    ['two algorithms', /two different algorithms/, list(root, { outerAlgorithm: seq(oid('1.2.840.10045.4.3.3')) })],
  ] as const)
    t.throws(() => parseCrl(der), { code: 'BAD_CERT', sub: 'malformed', message }, name);
  t.end();
});

t.test('what is larger than any list is not read', (t) => {
  const lists = [0, 1].map((more) => tlv(0x30, Buffer.alloc(MAX_CRL_BYTES - 5 + more)));
  const of = (der: Uint8Array) => () => parseCrl(der);
  t.equal(lists[0]!.length, MAX_CRL_BYTES);
  t.throws(of(lists[0]!), { sub: 'malformed', message: /^(?!.*more than)/ }, 'as large as one may be');
  t.throws(of(lists[1]!), { sub: 'malformed', message: /more than 16777216 bytes/ });
  t.end();
});

t.test('the same reason twice is a reason, and the date is the earlier one, whichever comes first', (t) => {
  for (const [first, second] of [
    [NOW, NOW - 1000],
    [NOW - 1000, NOW],
  ] as const)
    t.same(
      parseCrl(
        list(root, {
          revoked: [
            [5, first, 4],
            [5, second, 4],
          ],
        }),
      ).revoked.get('05'),
      { at: NOW - 1000, reason: 'superseded' },
    );
  t.end();
});

t.test('all that the proper lists of an issuer name, and no list of anybody else', (t) => {
  const issuer = parseCertificate(root.der);
  const crls = [
    list(root, { revoked: [5, 6] }),
    list(root, { revoked: [7] }),
    list({ ...root, pair: ec() }, { revoked: [8] }),
    list(authority('Other'), { revoked: [9] }),
  ].map(parseCrl);
  t.same(
    revokedKeys(crls, [issuer]).sort(),
    ['05', '06', '07'].map((serial) => serialKey(issuer.subject, serial)).sort(),
  );
  t.same(revokedKeys(crls, []), []);
  t.end();
});
