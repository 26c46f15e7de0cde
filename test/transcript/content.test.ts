import t from 'tap';
import { readFileSync } from 'node:fs';
import { concat, type Hash } from '../../base/bytes.ts';
import { writeBytes, writeInteger, writeList, writeMap, writeNull, writeText } from '../../transcript/content-cbor.ts';
import { decodeContent, encodeContent, type Content, type Part } from '../../transcript/content.ts';
import {
  deleteContent,
  editContent,
  meaningOf,
  reactionContent,
  textContent,
} from '../../transcript/content-meaning.ts';
import { damaged, decodesStrictly, filled, refuses, unhex } from './sample.ts';

const { examples } = JSON.parse(readFileSync(new URL('../vectors/mimi/content.json', import.meta.url), 'utf8')) as {
  examples: Record<string, string>;
};

const salt = Buffer.alloc(16, 1);
const id = (byte: number): Hash => Buffer.alloc(32, byte) as Uint8Array as Hash;

t.test(
  'every example of the draft is read, means what its section says, and is written again byte for byte',
  async (t) => {
    const meanings: Record<string, object> = {
      original: { kind: 'message', target: null, text: 'Hi everyone, we just shipped release 2.0. __Good  work__!' },
      reply: { kind: 'message', text: "Right on! _Congratulations_ 'all!" },
      reaction: { kind: 'reaction', text: '❤', isReaction: true },
      edit: { kind: 'edit', text: "Right on! _Congratulations_ y'all!" },
      delete: { kind: 'delete', isReaction: false, text: null },
      unlike: { kind: 'delete', isReaction: true, text: null },
      expiring: { kind: 'message' },
      mention: { kind: 'message' },
      'mention-html': { kind: 'message', text: null, others: ['text/html;charset=utf-8, 106 bytes'] },
      attachment: { kind: 'message', text: null, others: ['video/mp4, 708234961 bytes elsewhere'] },
      conferencing: { kind: 'message', text: null },
      'multipart-1': { kind: 'message', text: '# Welcome!', others: [] },
      'multipart-2': { kind: 'message', text: '❤ 🥳 🤞', others: [] },
      'multipart-3': { kind: 'message', text: null },
    };
    t.strictSame(Object.keys(examples).sort(), Object.keys(meanings).sort());
    for (const [name, bytes] of Object.entries(examples)) {
      const content = decodeContent(unhex(bytes));
      t.equal(encodeContent(content).toString('hex'), bytes, name);
      t.match(meaningOf(content), meanings[name]!, name);
    }
    const expiring = decodeContent(unhex(examples['expiring']!));
    t.strictSame(expiring.expires, { isRelative: false, seconds: 1644390004 });
    t.equal(Buffer.from(decodeContent(unhex(examples['conferencing']!)).topicId).toString(), 'Foo 118');
    t.ok(meaningOf(decodeContent(unhex(examples['reply']!))).target, 'a reply says what it answers');
  },
);

t.test('what this program writes: text, answer, reaction, edit, delete', async (t) => {
  const frame = { salt, expires: { isRelative: false, seconds: 1_800_000_000 } };
  const cases: [Content, object][] = [
    [textContent(frame, 'hi'), { kind: 'message', text: 'hi', target: null }],
    [textContent(frame, 'yes', id(1)), { kind: 'message', text: 'yes', target: id(1) }],
    [reactionContent(frame, '👍', id(2)), { kind: 'reaction', text: '👍', target: id(2) }],
    [editContent(frame, 'ho', id(3), id(1)), { kind: 'edit', text: 'ho', target: id(3) }],
    [deleteContent(frame, id(4), null, false), { kind: 'delete', text: null, target: id(4) }],
    [deleteContent(frame, id(4), id(2), true), { kind: 'delete', isReaction: true, target: id(4) }],
  ];
  for (const [content, meaning] of cases) {
    const read = decodeContent(encodeContent(content));
    t.match(meaningOf(read), meaning);
    t.strictSame(read.expires, frame.expires);
  }
  const relative = textContent({ salt, expires: { isRelative: true, seconds: 60 } }, 'short');
  t.strictSame(decodeContent(encodeContent(relative)).expires, { isRelative: true, seconds: 60 });
});

t.test('the example of docs/TRANSCRIPT.md', async (t) => {
  const page = readFileSync(new URL('../../docs/TRANSCRIPT.md', import.meta.url), 'utf8');
  const [, digits] = /```hex\ncontent\n([0-9a-f\s]+)```/.exec(page)!;
  const frame = { salt: Buffer.from([...Array(16).keys()]) };
  t.equal(encodeContent(textContent(frame, 'hello bob')).toString('hex'), digits!.replaceAll(/\s/g, ''));
});

const part = (overrides: Partial<Record<'disposition' | 'language' | 'type', Uint8Array>> = {}, content = 'x') =>
  writeList([
    overrides.disposition ?? writeInteger(1),
    overrides.language ?? writeText(''),
    writeInteger(1),
    overrides.type ?? writeText('text/plain;charset=utf-8'),
    writeBytes(Buffer.from(content)),
  ]);
const written = (replace: Record<number, Uint8Array> = {}) =>
  writeList(
    [writeBytes(salt), writeNull(), writeBytes(new Uint8Array()), writeNull(), writeNull(), writeMap([]), part()].map(
      (item, i) => replace[i] ?? item,
    ),
  );
const raw = (hexText: string) => Buffer.from(hexText, 'hex');
const nested = (levels: number): Uint8Array =>
  levels === 1
    ? part()
    : writeList([
        writeInteger(1),
        writeText(''),
        writeInteger(3),
        writeInteger(2),
        writeList([nested(levels - 1), part()]),
      ]);

t.test('what is not a content is refused by the field that is wrong', async (t) => {
  t.ok(decodeContent(written()));
  const bad: [string, Uint8Array, string][] = [
    ['nothing', Buffer.alloc(0), 'content'],
    ['a map', raw('a0'), 'content'],
    ['six items', writeList([writeNull()]), 'content'],
    ['bytes behind it', concat(written(), raw('00')), 'content'],
    ['cut off', written().subarray(0, -1), 'content.part.content'],
    ['an indefinite list', concat(raw('9f'), written().subarray(1), raw('ff')), 'content'],
    ['a long form of the count', concat(raw('9807'), written().subarray(1)), 'content'],
    ['too large', Buffer.alloc(1024 * 1024 + 1), 'content'],
    ['salt of 15', written({ 0: writeBytes(Buffer.alloc(15)) }), 'content.salt'],
    ['salt as text', written({ 0: writeText('0123456789abcdef') }), 'content.salt'],
    ['replaces of 31', written({ 1: writeBytes(Buffer.alloc(31)) }), 'content.replaces'],
    ['replaces undefined', written({ 1: raw('f7') }), 'content.replaces'],
    ['long topic', written({ 2: writeBytes(Buffer.alloc(1025)) }), 'content.topic_id'],
    ['expires of one', written({ 3: writeList([raw('f4')]) }), 'content.expires'],
    ['expires without a word', written({ 3: writeList([writeInteger(1), writeInteger(1)]) }), 'content.expires'],
    ['expires after 2106', written({ 3: writeList([raw('f4'), writeInteger(2 ** 32)]) }), 'content.expires'],
    ['expires before 1970', written({ 3: writeList([raw('f5'), writeInteger(-1)]) }), 'content.expires'],
    ['in reply to text', written({ 4: writeText('x') }), 'content.in_reply_to'],
    ['extensions as a list', written({ 5: writeList([]) }), 'content.extensions'],
    ['a key twice', written({ 5: raw('a201000100') }), 'content.extensions'],
    ['keys out of order', written({ 5: raw('a202600160') }), 'content.extensions'],
    ['an empty key', written({ 5: raw('a16000') }), 'content.extensions'],
    ['a long key', written({ 5: writeMap([['k'.repeat(256), raw('00')]]) }), 'content.extensions'],
    ['a key of bytes', written({ 5: raw('a1410000') }), 'content.extensions'],
    [
      'many extensions',
      written({ 5: writeMap(Array.from({ length: 33 }, (_, i) => [i, raw('00')] as const)) }),
      'content.extensions',
    ],
    ['a large one', written({ 5: writeMap([[1, writeBytes(Buffer.alloc(65_537))]]) }), 'content.extensions'],
    ['a deep one', written({ 5: raw('a10181818100') }), ''],
    ['a deeper one', written({ 5: raw('a1018181818100') }), 'content.extensions'],
    [
      'one of endless items',
      written({ 5: concat(raw('a101'), writeList(Array(4097).fill(raw('00')))) }),
      'content.extensions',
    ],
    ['one of endless length', written({ 5: raw('a1015f') }), 'content.extensions'],
    ['one that claims more than there is', written({ 5: raw('a1019bffffffffffffffff') }), 'content.extensions'],
    ['one that is no text', written({ 5: raw('a10161ff') }), 'content.extensions'],
    ['one with a list as a key', written({ 5: raw('a101a18000') }), 'content.extensions'],
    ['an undefined simple value', written({ 5: raw('a101f8ff') }), 'content.extensions'],
    ['part as text', written({ 6: writeText('x') }), 'content.part'],
    ['part of four', written({ 6: writeList([1, 1, 1, 1].map(writeInteger)) }), 'content.part.language'],
    ['disposition 256', written({ 6: part({ disposition: writeInteger(256) }) }), 'content.part.disposition'],
    ['long language', written({ 6: part({ language: writeText('x'.repeat(65)) }) }), 'content.part.language'],
    ['long type', written({ 6: part({ type: writeText('x'.repeat(256)) }) }), 'content.part.content_type'],
    ['type that is no UTF-8', written({ 6: part({ type: raw('61ff') }) }), 'content.part.content_type'],
    [
      'cardinality 4',
      written({ 6: writeList([writeInteger(1), writeText(''), writeInteger(4)]) }),
      'content.part.cardinality',
    ],
    [
      'null part with content',
      written({ 6: writeList([writeInteger(1), writeText(''), writeInteger(0), writeText('x')]) }),
      'content.part',
    ],
    [
      'a multipart of one',
      written({
        6: writeList([writeInteger(1), writeText(''), writeInteger(3), writeInteger(0), writeList([part()])]),
      }),
      'content.part.parts',
    ],
    [
      'semantics 3',
      written({
        6: writeList([writeInteger(1), writeText(''), writeInteger(3), writeInteger(3), writeList([part(), part()])]),
      }),
      'content.part.semantics',
    ],
    ['four levels', written({ 6: nested(4) }), ''],
    ['five levels', written({ 6: nested(5) }), 'content.part.parts[0].parts[0].parts[0].parts[0]'],
    [
      'too many parts',
      written({
        6: writeList([
          writeInteger(1),
          writeText(''),
          writeInteger(3),
          writeInteger(2),
          writeList(Array.from({ length: 64 }, () => part())),
        ]),
      }),
      'content.part.parts[63]',
    ],
  ];
  for (const [name, bytes, field] of bad)
    if (field === '') t.ok(decodeContent(bytes), name);
    else refuses(t, () => decodeContent(bytes), 'BAD_FRAME', field, name);
});

t.test('what others add is kept as it came', async (t) => {
  const extensions = new Map<number | string, Uint8Array>([
    [1, writeText('mimi://example.com/u/alice-smith')],
    [256, raw('82421234d82066687474702f2f')],
    [-70_000, raw('fb3ff199999999999a')],
    ['example', raw('a2016161416200')],
  ]);
  const content = { ...textContent({ salt }, 'hi'), extensions };
  const read = decodeContent(encodeContent(content));
  t.equal(read.extensions.size, 4);
  for (const [key, value] of extensions)
    t.strictSame(Buffer.from(read.extensions.get(key)!), Buffer.from(value), String(key));
});

t.test('text that is not UTF-8, types that are unknown, and units that are not understood whole', async (t) => {
  const of = (body: Part) => meaningOf({ ...textContent({ salt }, ''), part: body });
  const one = (contentType: string, content: Uint8Array): Part => ({
    disposition: 1,
    language: '',
    cardinality: 'single',
    contentType,
    content,
  });
  t.match(of(one('text/plain', Buffer.of(0xff))), { text: null, others: ['text/plain, 1 bytes'] });
  t.match(of(one('TEXT/Plain; charset="UTF-8"', Buffer.from('a'))), { text: 'a' });
  t.match(of(one('text/plain;charset=utf-16', Buffer.from('a'))), { text: null });
  t.match(of(one('text/plainer', Buffer.from('a'))), { text: null });
  const multi = (semantics: 'chooseOne' | 'singleUnit' | 'processAll', ...parts: Part[]): Part => ({
    disposition: 1,
    language: '',
    cardinality: 'multi',
    semantics,
    parts,
  });
  const [words, picture] = [one('text/markdown', Buffer.from('*a*')), one('image/png', Buffer.alloc(9))];
  t.match(of(multi('chooseOne', picture, words)), { text: '*a*', others: [] });
  t.match(of(multi('chooseOne', picture, picture)), { text: null, others: ['image/png, 9 bytes'] });
  t.match(of(multi('singleUnit', words, picture)), { text: null, others: ['image/png, 9 bytes'] });
  t.match(of(multi('processAll', words, picture)), { text: '*a*', others: ['image/png, 9 bytes'] });
  t.match(of({ disposition: 1, language: '', cardinality: 'null' }), { kind: 'nothing', target: null });
});

t.test(
  'whatever the bytes: a content with exactly this encoding that means something, or a named refusal',
  async (t) => {
    decodesStrictly(damaged(...Object.values(examples).map(unhex), written()), decodeContent, (content) => {
      meaningOf(content);
      return encodeContent(content);
    });
    refuses(
      t,
      () => encodeContent(textContent({ salt: filled(1, 15) }, 'x')),
      'BAD_FRAME',
      'content.salt',
      'short salt',
    );
  },
);
