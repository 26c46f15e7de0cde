/** Disclosed messages in words: what they are about, who may change what, and plaintexts that are no content. */
import t from 'tap';
import { hex, type Fingerprint, type Hash } from '../../base/bytes.ts';
import { encodeContent, type Content } from '../../transcript/content.ts';
import {
  bytesContent,
  deleteContent,
  editContent,
  reactionContent,
  textContent,
} from '../../transcript/content-meaning.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { encodeMs } from '../../transcript/statement.ts';
import type { JudgedMessage } from '../../verify/bundle-messages.ts';
import { fieldsOf, Sayings, wordsOf } from '../../verify/saying.ts';
import { filled, ms } from '../transcript/sample.ts';

const frame = { salt: filled(7, 16) };
const sayings = new Sayings();
const names: Record<string, string> = { [hex(filled(0xa1))]: 'CN=alice', [hex(filled(0xb2))]: 'CN=bob' };
let number = 0;

function judged(who: number, plaintext: Uint8Array | undefined): { message: JudgedMessage; id: Hash } {
  number++;
  const statement = ms({ sender: filled(who) as Uint8Array as Fingerprint, sessionCtr: number });
  const encoded = encodeMs(statement);
  const leaf = { type: 'msg' as const, serverTime: 1_800_000_000_000 + number, position: 1, ms: encoded };
  const id = leafHash(encoded);
  const own = { leaf, ms: statement, msLeaf: id, plaintext: plaintext && Buffer.from(plaintext) };
  return { message: { number, ...own, isGood: true } as unknown as JudgedMessage, id };
}
function said(who: number, what: Content | Uint8Array | undefined) {
  const plaintext = what === undefined || what instanceof Uint8Array ? what : encodeContent(what);
  const { message, id } = judged(who, plaintext);
  const saying = sayings.of(message);
  const userBehind = (name: string): string => names[name]!;
  return { id, words: saying && wordsOf(saying, userBehind), fields: saying && fieldsOf(saying, userBehind) };
}

t.test('each kind says what it is about', async (t) => {
  const hidden = said(0xa1, undefined);
  t.equal(hidden.words, null, 'one that is not disclosed says nothing, and can be meant');
  const first = said(0xa1, textContent(frame, 'stand by'));
  t.equal(first.words, 'stand by');
  t.match(first.fields, { message: 2, at: '2027-01-15T08:00:00.002Z', kind: 'message', text: 'stand by' });
  t.equal(said(0xb2, textContent(frame, 'ok', first.id)).words, '[in reply to message 2] ok');
  t.equal(said(0xb2, textContent(frame, 'ok', hidden.id)).words, '[in reply to message 1] ok');
  t.match(said(0xb2, reactionContent(frame, '👍', first.id)), {
    words: '[reaction to message 2] 👍',
    fields: { kind: 'reaction', target: hex(first.id), target_message: 2 },
  });
  t.equal(said(0xa1, editContent(frame, 'stand down', first.id, null)).words, '[message 2 is changed to] stand down');
  t.equal(said(0xa1, deleteContent(frame, first.id, null, false)).words, '[message 2 is deleted]');
  t.match(said(0xb2, deleteContent(frame, first.id, null, false)), {
    words: '[message 2 is deleted] [which another has sent: without effect]',
    fields: { kind: 'delete', target_message: 2, without_effect: true },
  });
  t.notMatch(said(0xa1, deleteContent(frame, first.id, null, false)).fields, { without_effect: true });
  t.equal(
    said(0xb2, editContent(frame, 'run', filled(9) as Uint8Array as Hash, null)).words,
    '[a message that is not in this bundle is changed to] run',
  );
});

t.test('more than can be printed is named by its size, and what fits behind it is shown', async (t) => {
  const few = new Sayings(10);
  const of = (text: Uint8Array) => {
    const saying = few.of(judged(0xa1, text).message)!;
    return [saying.kind, saying.text, saying.others];
  };
  t.same(of(Buffer.from('six of')), ['message', 'six of', []]);
  t.same(of(Buffer.from('five ')), ['message', null, ['5 characters, not shown: there is too much before them']]);
  t.same(of(encodeContent(textContent(frame, 'ten'))), ['message', 'ten', []]);
  t.match(of(encodeContent(bytesContent(frame, Buffer.of(1)))), ['message', null, [/^\d+ characters, not shown: /]]);
  t.match(of(encodeContent(textContent(frame, 'x', filled(9) as Uint8Array as Hash))), ['message', 'x', []]);
});

t.test('nobody writes in the name of the verifier', async (t) => {
  const first = said(0xa1, textContent(frame, 'I owe you 100'));
  const deleted = said(0xa1, deleteContent(frame, first.id, null, false)).words;
  for (const text of [
    deleted!,
    ` ${deleted}`,
    `\u2800${deleted}`,
    '(not disclosed)',
    '【message 2 is deleted】',
    'well\n(disclosed text is not what was signed)',
    `“${deleted}`,
  ])
    t.equal(said(0xb2, textContent(frame, text)).words, `“${text}”`);
  for (const text of ['of [2], and of (1)', '1) first', 'that’s it', ''])
    t.equal(said(0xb2, textContent(frame, text)).words, text, 'other texts are as they are');
  const until = { isRelative: false, seconds: 1_800_000_000 };
  t.equal(
    said(0xb2, textContent({ ...frame, expires: until }, 'no [until 2030]', first.id)).words?.replace(/\d+/, 'N'),
    '[in reply to message N] [until 2027-01-15T08:00:00.000Z] no [until 2030]',
    'what is said about it stands in front',
  );
  const file = bytesContent(frame, Buffer.of(1));
  const named = { ...file.part, contentType: 'a/b) [message 1 is deleted] (c' } as Content['part'];
  t.equal(said(0xb2, { ...file, part: named }).words, '(a/b? ?message 1 is deleted? ?c, 1 bytes)');
  const long = sayings.of(judged(0xa1, Buffer.from('[x] and more')).message)!;
  t.equal(wordsOf(long, String, 5), '[the first 5 of 12 characters] “[x] a”');
});

t.test('what is to disappear, what is no text, and what is no content', async (t) => {
  const until = { isRelative: false, seconds: 1_800_000_000 };
  t.match(said(0xa1, textContent({ ...frame, expires: until }, 'soon')), {
    words: '[until 2027-01-15T08:00:00.000Z] soon',
    fields: { expires: { at: '2027-01-15T08:00:00.000Z' } },
  });
  t.match(said(0xa1, textContent({ ...frame, expires: { isRelative: true, seconds: 60 } }, 'soon')), {
    words: '[disappears 60 s after it is read] soon',
    fields: { expires: { after_s: 60 } },
  });
  t.match(said(0xa1, bytesContent(frame, Buffer.of(1, 2))), {
    words: '(application/octet-stream, 2 bytes)',
    fields: { text: null, others: ['application/octet-stream, 2 bytes'] },
  });
  t.equal(said(0xa1, Buffer.from('a text of before')).words, 'a text of before');
  t.match(said(0xa1, Buffer.of(0xff, 0xfe)), { words: '(2 bytes that are not text)', fields: { kind: 'bytes' } });
});
