/** The texts and names of a bundle: one spelling each, and a named refusal for every other. */
import t from 'tap';
import { concat, fromHex, hex, type ConversationId, type Fingerprint, type Hash } from '../../base/bytes.ts';
import { CONTEXT, tbs } from '../../base/signature.ts';
import {
  batchTbs,
  formatConsistency,
  formatHead,
  formatPath,
  nameOf,
  openBatchTbs,
  parseConsistency,
  parseHead,
  parseName,
  parsePath,
  sumLine,
  type BundleName,
} from '../../transcript/bundle.ts';
import { BS_BYTES } from '../../transcript/statement.ts';

const CONVERSATION = Buffer.alloc(32, 0xc0) as Uint8Array as ConversationId;
const EXPORTER = Buffer.alloc(32, 0xe0) as Uint8Array as Fingerprint;
const HASH = Buffer.alloc(32, 1) as Uint8Array as Hash;
const head = {
  profile: 'complete',
  created: 1_700_000_000_000,
  conversation: CONVERSATION,
  messages: 3,
  exporter: EXPORTER,
} as const;
const HEAD = formatHead(head).toString();
const refuses = (test: Pick<typeof t, 'throws'>, parse: () => unknown, field: string, what: string) =>
  test.throws(parse, { code: 'BAD_FRAME', field }, what);

t.test('BUNDLE', async (t) => {
  t.equal(
    HEAD,
    `chatlog/v1 bundle\nprofile complete\ncreated 1700000000000\nconversation ${'c0'.repeat(32)}\nmessages 3\nexporter ${'e0'.repeat(32)}\n`,
  );
  t.same(parseHead(Buffer.from(HEAD)), head);
  for (const [from, to, field] of [
    ['chatlog/v1', 'chatlog/v2', 'bundle.title'],
    ['complete', 'whole', 'bundle.profile'],
    ['profile', 'Profile', 'bundle.profile'],
    ['created 1', 'created 01', 'bundle.created'],
    ['messages 3', 'messages +3', 'bundle.messages'],
    ['messages 3', 'messages 100001', 'bundle.messages'],
    ['c0c0', 'C0c0', 'bundle.conversation'],
    ['conversation', 'Conversation', 'bundle.conversation'],
    ['e0e0', 'e0', 'bundle.exporter'],
    ['\nexporter', '\nnote\nexporter', 'bundle.lines'],
    ['\nmessages', '\r\nmessages', 'bundle.conversation'],
  ] as const)
    refuses(t, () => parseHead(Buffer.from(HEAD.replace(from, to))), field, `${from} → ${to}`);
  refuses(t, () => parseHead(Buffer.from(HEAD.slice(0, -1))), 'bundle.lines', 'no end of line');
  refuses(t, () => parseHead(Buffer.of(0xff)), 'bundle', 'not UTF-8');
});

t.test('batch.path', async (t) => {
  const path = { index: 2, size: 3, path: [HASH] };
  const text = formatPath(path).toString();
  t.equal(text, `index 2\nsize 3\n${Buffer.from(HASH).toString('base64')}\n`);
  t.same(parsePath(Buffer.from(text)), path);
  t.same(parsePath(Buffer.from('index 0\nsize 1\n')), { index: 0, size: 1, path: [] });
  for (const [bad, field] of [
    ['index 3\nsize 3\n', 'path.size'],
    ['index 0\nsize 1025\n', 'path.size'],
    ['index 00\nsize 1\n', 'path.index'],
    ['size 1\nindex 0\n', 'path.index'],
    ['index 0\n', 'path.lines'],
    ['index 0\nsize 1', 'path.lines'],
    ['\n', 'path.lines'],
    [`index 0\nsize 1\n${`${Buffer.from(HASH).toString('base64')}\n`.repeat(11)}`, 'path.lines'],
    ['index 0\nsize 2\nAA==\n', 'path.path'],
    [`${text}\n`, 'path.path'],
  ] as const)
    refuses(t, () => parsePath(Buffer.from(bad)), field, JSON.stringify(bad.slice(0, 30)));
  refuses(t, () => parsePath(Buffer.of(0xff)), 'path.lines', 'no text');
});

t.test('batch.tbs', async (t) => {
  const bs = Buffer.alloc(BS_BYTES, 5);
  t.same(batchTbs(bs), tbs(CONTEXT.senderBatch, bs));
  t.same(openBatchTbs(batchTbs(bs)), bs);
  t.same(openBatchTbs(concat(Buffer.of(1), batchTbs(bs)).subarray(1)), bs, 'also as a part of something');
  for (const [what, bytes] of [
    ['another context', tbs(CONTEXT.logKey, bs)],
    ['no context', bs],
    ['a byte more', concat(batchTbs(bs), Buffer.alloc(1))],
    ['a byte less', batchTbs(bs).subarray(0, -1)],
  ] as const)
    refuses(t, () => openBatchTbs(bytes), 'tbs', what);
});

t.test('consistency', async (t) => {
  const note = Buffer.from('a note\n\nwith an empty line\n');
  const text = formatConsistency(7, [HASH, HASH], note).toString();
  const line = Buffer.from(HASH).toString('base64');
  t.equal(text, `old 7\n${line}\n${line}\n\n${note.toString()}`);
  t.same(parseConsistency(Buffer.from(text)), { from: 7, proof: [HASH, HASH], checkpoint: note });
  for (const [bad, field] of [
    ['old 7\n', 'consistency.lines'],
    ['old 07\n\n', 'consistency.old'],
    ['new 7\n\n', 'consistency.old'],
    ['old 7\nAA==\n\n', 'consistency.proof'],
    [`old 7\n${`${line}\n`.repeat(64)}\n`, 'consistency.proof'],
  ] as const)
    refuses(t, () => parseConsistency(Buffer.from(bad)), field, JSON.stringify(bad.slice(0, 20)));
  refuses(t, () => parseConsistency(Buffer.of(0xff)), 'consistency.lines', 'no text');
});

t.test('names', async (t) => {
  const names: readonly (readonly [string, BundleName])[] = [
    ['BUNDLE', { is: 'head' }],
    ['SHA256SUMS', { is: 'sums' }],
    ['SHA256SUMS.sig', { is: 'seal' }],
    [`cert/${'0a'.repeat(32)}.pem`, { is: 'certificate', fingerprint: '0a'.repeat(32) }],
    ['cert/chain.pem', { is: 'chain' }],
    ['crl/01.pem', { is: 'crl', number: 1 }],
    ['log/01/checkpoint', { is: 'checkpoint', number: 1 }],
    ['log/01/consistency/17', { is: 'consistency', number: 1, size: 17 }],
    ['log/01/key-01.sig', { is: 'statement_sig', number: 1, key: 1 }],
    ['log/01/key-01.stmt', { is: 'statement', number: 1, key: 1 }],
    ['log/01/takeovers', { is: 'takeovers', number: 1 }],
    ['log/99/key-12.sig', { is: 'statement_sig', number: 99, key: 12 }],
    ['msg/000001/batch.path', { is: 'message', number: 1, file: 'batch.path' }],
    ['msg/123456/opening', { is: 'message', number: 123_456, file: 'opening' }],
  ];
  for (const [name, file] of names) {
    t.same(parseName(name), file, name);
    t.equal(nameOf(file), name);
  }
  const sorted = names.map(([name]) => name).toSorted((a, b) => (a < b ? -1 : 1));
  t.same(
    sorted,
    names.map(([name]) => name),
    'in the order in which they are needed',
  );
  for (const name of [
    'bundle',
    'cert/0A.pem',
    `cert/${'0A'.repeat(32)}.pem`,
    'crl/00.pem',
    'crl/1.pem',
    'log/00/checkpoint',
    'log/1/checkpoint',
    'log/01/vkey',
    'log/01/key.stmt',
    'log/01/key-00.stmt',
    'log/01/consistency/017',
    'log/000001/checkpoint',
    'msg/000000/entry',
    'msg/01/entry',
    'msg/000001/entry/x',
    'msg/000001/plaintext',
    'toString',
  ])
    t.equal(parseName(name), null, name);
  t.equal(sumLine('BUNDLE', fromHex('ab'.repeat(32))!), `${'ab'.repeat(32)}  BUNDLE\n`);
  t.equal(hex(HASH).length, 64);
});
