/** Names by themselves, byte by byte: what is read, and what is no name. */
import t from 'tap';
import { openDer } from '../../x509/der.ts';
import { generalNamesOf, parseName, sameName, type Name } from '../../x509/name.ts';
import { ascii, bmp, CN, named, oid, rdn, seq, set, tlv, utf8 } from './maker.ts';

const O = '2.5.4.10';
const REFUSED = { code: 'BAD_CERT', sub: 'malformed' };
const nameOf = (der: Buffer): Name => parseName(openDer(seq(der), 'test').any(), 'test');
const pair = (type: string, value: Buffer, ...more: readonly Buffer[]): Buffer => seq(oid(type), value, ...more);

t.test('a name, and its text', async (t) => {
  for (const [der, text] of [
    [named('alice'), 'CN=alice'],
    [seq(rdn(O, utf8('Acme')), rdn(CN, ascii(0x13, 'bob'))), 'O=Acme, CN=bob'],
    [seq(set(pair(CN, utf8('a')), pair(O, utf8('b')))), 'CN=a+O=b'],
    [seq(rdn(CN, utf8('a,b=c+d\\'))), 'CN=a\\,b\\=c\\+d\\\\'],
    [seq(rdn(CN, utf8('\u202eevil'))), 'CN=\\u{202e}evil'],
    [seq(), '(no name)'],
  ] as const)
    t.equal(nameOf(der).text, text);
  t.equal(nameOf(seq(rdn(CN, bmp('alice')))).rdns[0]![0]!.text, null, 'of this type nothing is read');
  t.notOk(sameName(nameOf(named('alice')), nameOf(seq(rdn(CN, ascii(0x13, 'alice'))))), 'bytes are compared');
});

t.test('what is no name', async (t) => {
  const rows: Readonly<Record<string, Buffer>> = {
    'an empty set': seq(set()),
    'something behind a value': seq(set(pair(CN, utf8('a'), utf8('b')))),
    'a type without a value': seq(set(seq(oid(CN)))),
    'a set in another order': seq(set(pair(O, utf8('b')), pair(CN, utf8('a')))),
    'the same twice in a set': seq(set(pair(CN, utf8('a')), pair(CN, utf8('a')))),
    'UTF-8 that is none': seq(rdn(CN, tlv(0x0c, Buffer.of(0xc3)))),
    'a PrintableString that is not ASCII': seq(rdn(CN, ascii(0x13, 'a\u00e9'))),
  };
  for (const [name, der] of Object.entries(rows)) t.throws(() => nameOf(der), REFUSED, name);
});

t.test('alternative names', async (t) => {
  const read = (...names: readonly Buffer[]) => generalNamesOf(seq(...names), 'test').map(({ type }) => type);
  t.strictSame(
    read(
      ascii(0x81, 'alice@example.org'),
      ascii(0x82, '*.example.org'),
      ascii(0x86, 'chat:alice'),
      tlv(0x87, Buffer.alloc(4)),
      tlv(0x87, Buffer.alloc(16)),
      tlv(0xa4, named('alice')),
      tlv(0x88, Buffer.of(42)),
    ),
    ['email', 'dns', 'uri', 'ip', 'ip', 'directory', 'other'],
  );
  const rows: Readonly<Record<string, Buffer>> = {
    'an address without a host': ascii(0x81, 'alice'),
    'an address with two': ascii(0x81, 'alice@example.org@example.com'),
    'an address with a space': ascii(0x81, 'alice bob@example.org'),
    'an address with a DEL': ascii(0x81, 'alice\x7f@example.org'),
    'an address that is not ASCII': ascii(0x81, 'al\u00efce@example.org'),
    'an address with a line break': ascii(0x81, 'alice@example.org\n'),
    'a host with a NUL': ascii(0x82, 'good.example\0.evil.example'),
    'a host with a space': ascii(0x82, 'good.example evil.example'),
    'a host that is not ASCII': ascii(0x82, 'ex\u00e4mple.org'),
    'a host with a DEL': ascii(0x82, 'example.org\x7f'),
    'a host longer than any': ascii(0x82, `${'a'.repeat(2048)}.org`),
    'a URI without a scheme': ascii(0x86, '//example.org'),
    'five octets of an IP address': tlv(0x87, Buffer.alloc(5)),
    'no octets of an IP address': tlv(0x87),
    'two directory names in one': tlv(0xa4, named('alice'), named('bob')),
    'a kind that there is not': tlv(0x89, Buffer.of(1)),
  };
  for (const [name, der] of Object.entries(rows)) t.throws(() => read(der), REFUSED, name);
  t.throws(() => read(), REFUSED, 'none at all');
});
