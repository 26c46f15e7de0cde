/** What of a certificate has to be in its place: nothing stands behind what is read, and no extensions in a version without them. */
import t from 'tap';
import { MAX_CERTIFICATE_BYTES, parseCertificate } from '../../x509/certificate.ts';
import { authority, clientExtensions, make, named, seq, tlv } from './maker.ts';

const root = authority('Root');
const NULL = Buffer.from([5, 0]);

t.test('octets where none belong', (t) => {
  const extensions = tlv(0xa3, seq(...clientExtensions()));
  for (const [name, der] of [
    ['behind the two times', make(root, { validityTail: NULL }).der],
    ['behind the extensions, in their wrapper', make(root, { insideTail: NULL }).der],
    ['behind all of it', make(root, { tail: NULL }).der],
    ['extensions of a version that has none', make(root, { version: 0, tail: extensions }).der],
  ] as const)
    t.throws(() => parseCertificate(der), { code: 'BAD_CERT', sub: 'malformed', message: /after the last/ }, name);
  t.end();
});

t.test('what is larger than any certificate is not read', (t) => {
  const [largest, larger] = [0, 1].map((more) => tlv(0x30, Buffer.alloc(MAX_CERTIFICATE_BYTES - 4 + more)));
  t.equal(largest!.length, MAX_CERTIFICATE_BYTES);
  t.throws(() => parseCertificate(largest!), { sub: 'malformed', message: /^(?!.*more than)/ });
  t.throws(() => parseCertificate(larger!), { sub: 'malformed', message: /more than 65536 bytes/ });
  t.end();
});

t.test('a certificate is self-issued when issuer and subject are the same name, whoever has signed it', (t) => {
  const of = (subject: string) => parseCertificate(make(root, { subject: named(subject) }).der).isSelfIssued;
  t.strictSame([of('Root'), of('root')], [true, false]);
  t.end();
});
