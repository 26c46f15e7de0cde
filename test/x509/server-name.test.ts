import t from 'tap';
import { parseCertificate } from '../../x509/certificate.ts';
import { checkServerName, matchesServerName } from '../../x509/server-name.ts';
import { authority, dns, email, eku, EKU, ip, make, named, san, uri } from './maker.ts';

const root = authority();
const v6 = ip(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const cert = (...names: Buffer[]) =>
  parseCertificate(
    make(root, {
      subject: named('chat.example.org'),
      extensions: [eku(EKU.server), ...(names.length > 0 ? [san(...names)] : [])],
    }).der,
  );

const cases: readonly (readonly [boolean, string, ...Buffer[]])[] = [
  [true, 'chat.example.org', dns('chat.example.org')],
  [true, 'CHAT.example.org.', dns('Chat.Example.org')],
  [true, 'b.org', dns('a.org'), dns('b.org')],
  [true, 'localhost', dns('localhost')],
  [false, 'example.org', dns('chat.example.org')],
  [false, 'a.chat.example.org', dns('chat.example.org')],
  [false, 'chat.example.org'],
  [false, 'chat.example.org', uri('https://chat.example.org'), email('x@chat.example.org')],
  [true, 'chat.example.org', dns('*.example.org')],
  [false, 'example.org', dns('*.example.org')],
  [false, 'a.b.example.org', dns('*.example.org')],
  [false, '.example.org', dns('*.example.org')],
  [false, '*.example.org', dns('*.example.org')],
  [false, 'example.org', dns('*.org')],
  [true, '10.0.0.1', ip(10, 0, 0, 1)],
  [false, '10.0.0.2', ip(10, 0, 0, 1)],
  [false, '10.0.0.1', dns('10.0.0.1')],
  [false, '10.0.0.1', dns('*.0.0.1')],
  [false, '010.0.0.1', ip(10, 0, 0, 1)],
  [false, '10.1', ip(10, 0, 0, 1), dns('10.1')],
  [false, '0x0a000001', ip(10, 0, 0, 1)],
  [false, '167772161', ip(10, 0, 0, 1), dns('167772161')],
  [true, '2001:db8::1', v6],
  [true, '[2001:DB8:0:0::0.0.0.1]', v6],
  [false, '2001:db8::2', v6],
  [false, 'fe80::1%eth0', ip(0xfe, 0x80, ...Array<number>(13).fill(0), 1)],
  [true, '::ffff:10.0.0.1', ip(...Array<number>(10).fill(0), 255, 255, 10, 0, 0, 1)],
  [false, '::ffff:10.0.0.1', ip(10, 0, 0, 1)],
  [false, '', dns('a.org')],
  [false, 'a.org\0.evil.org', dns('a.org')],
  [false, 'a.org/', dns('a.org')],
  [false, 'bücher.example', dns('xn--bcher-kva.example')],
  [true, 'xn--bcher-kva.example', dns('xn--bcher-kva.example')],
];
for (const [isMatch, host, ...names] of cases) {
  const certificate = cert(...names);
  const title = `${JSON.stringify(host)} ${isMatch ? 'is' : 'is not'} ${certificate.subjectAltName?.map(({ type }) => type).join() ?? 'the common name'}`;
  t.equal(matchesServerName(certificate, host), isMatch, title);
  if (isMatch) t.doesNotThrow(() => checkServerName(certificate, host));
  else t.throws(() => checkServerName(certificate, host), { code: 'BAD_CERT', sub: 'wrong_host' });
}
