/** docs/TRANSCRIPT.md says what the code does: its tables of codes, its key statement, and its example, computed anew from the page. */
import { createHash, createHmac, createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { EXIT, FINDINGS } from '../../verify/finding.ts';
import { openCheckpoint } from '../../transcript/checkpoint.ts';
import { formatKeyStatement, parseKeyStatement } from '../../transcript/key-statement.ts';
import { decodeLeaf, encodeLeaf } from '../../transcript/leaf.ts';
import { decodeBs, decodeMs, encodeBs, encodeMs } from '../../transcript/statement.ts';

const page = readFileSync(new URL('../../docs/TRANSCRIPT.md', import.meta.url), 'utf8');
const block = (start: string): string => {
  const found = page.split('```').find((part) => part.startsWith(start));
  if (found === undefined) throw new Error(`no block ${start}`);
  return found;
};
const statement = parseKeyStatement(Buffer.from(block('\nchatlog/v1 log key').slice(1)));

t.test('tables', async (t) => {
  const rows = [...page.matchAll(/^\| `([EW]_[A-Z_]+)` \| ([A-Z]+) \| (.+) \|$/gm)].map(([, code, verdict]) => [
    code,
    verdict,
  ]);
  t.same(rows, Object.entries(FINDINGS), 'every finding once, in the order of their rank, with its verdict');
  const exits = [...page.matchAll(/^\| ([A-Z]+) \| (\d+) \|/gm)].map(([, verdict, exit]) => [verdict, Number(exit)]);
  t.same(Object.fromEntries(exits), EXIT, 'every verdict with its exit status');
});

t.test('key statement', async (t) => {
  t.equal(formatKeyStatement(statement).toString(), block('\nchatlog/v1 log key').slice(1));
});

/** The named values of a block. */
const valuesOf = (start: string): ReadonlyMap<string, Buffer> =>
  new Map(
    [...block(start).matchAll(/^(\S.*)\n((?: {2}[0-9a-f]+\n)+)/gm)].map(([, name, lines]) => [
      name!,
      Buffer.from(lines!.replace(/\s/g, ''), 'hex'),
    ]),
  );
const sha = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
const leaf = (x: Uint8Array) => sha(Buffer.of(0), x);
const u = (bytes: number, value: number) => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out.subarray(8 - bytes);
};

/** Only what the page says, and node:crypto. */
t.test('example', async (t) => {
  const values = valuesOf('hex\nsender public key');
  const value = (name: string) => values.get(name) ?? Buffer.from(`no ${name}`);
  const [kf, plaintext, members, ms, bs] = ['kf', 'plaintext', 'members', 'MS', 'BS'].map(value) as [
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
  ];
  const [entry0, entry1, signature] = ['entry 0', 'entry 1', 'signature'].map(value) as [Buffer, Buffer, Buffer];
  const conversation = ms.subarray(80, 112);
  t.equal(plaintext.toString(), 'hello bob');
  t.same(
    value('roster_hash'),
    sha(Buffer.from('chatlog/v1, roster\0'), conversation, u(8, 3), members),
    'epoch 3, in order',
  );
  t.same(value('part'), Buffer.concat([kf, plaintext]), 'opening');
  t.same(value('ct_hash'), leaf(value('part')));
  const committed = Buffer.concat([Buffer.from('chatlog/v1, plaintext commitment\0'), ms.subarray(0, 184), plaintext]);
  t.same(value('commitment'), createHmac('sha256', kf).update(committed).digest());

  const session = ms.subarray(48, 64);
  const sender = members.subarray(0, 32);
  const zeros = Buffer.alloc(32);
  const madeMs = [
    Buffer.from('clog-ms1'),
    u(1, 1),
    u(1, 0),
    u(2, 1),
    u(4, 41),
    sender,
    session,
    u(8, 1),
    u(8, 1750000000001),
    conversation,
    u(8, 1),
    zeros,
    value('roster_hash'),
    value('commitment'),
    value('ct_hash'),
  ];
  t.same(ms, Buffer.concat(madeMs), 'MS field by field');
  t.same(value('leaf(MS)'), leaf(ms));
  const audience = sha(Buffer.from(statement.log.name));
  const madeBs = [
    Buffer.from('clog-bs1'),
    sender,
    session,
    u(8, 1),
    u(4, 1),
    u(8, 1750000000009),
    zeros,
    leaf(ms),
    audience,
  ];
  t.same(bs, Buffer.concat(madeBs), 'BS field by field');
  const tbs = Buffer.concat([Buffer.alloc(64, 0x20), Buffer.from('chatlog/v1, sender batch\0'), bs]);
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), value('sender public key')]);
  t.ok(verify(null, tbs, createPublicKey({ key: spki, format: 'der', type: 'spki' }), signature), 'signature');
  const header = (type: number) => Buffer.concat([u(1, type), u(1, 0), u(2, 1), u(8, 1750000000100)]);
  t.same(entry0, Buffer.concat([header(2), u(1, 1), u(2, 64), signature, bs]), 'SIGB');
  t.same(entry1, Buffer.concat([header(1), ms]), 'MSG');
  t.same(value('leaf(entry 0)'), leaf(entry0));
  t.same(value('leaf(entry 1)'), leaf(entry1));
  const root = sha(Buffer.of(1), leaf(entry0), leaf(entry1));
  t.same(value('root'), root);
  const note = Buffer.from(block('note\n').slice('note\n'.length));
  t.same(
    openCheckpoint(note, statement.log),
    { origin: statement.log.name, size: 2, root },
    'checkpoint, by the key of §c',
  );

  t.same(encodeMs(decodeMs(ms)), ms, 'our decoder reads them');
  t.same(encodeBs(decodeBs(bs)), bs);
  for (const entry of [entry0, entry1]) t.same(encodeLeaf(decodeLeaf(entry)), entry);
});

t.test('what is said beside the conversation', async (t) => {
  const [first, beside] = [valuesOf('hex\nsender public key'), valuesOf('hex\nreceipt part')];
  const [ms, bs, members] = ['MS', 'BS', 'members'].map((name) => first.get(name)!) as [Buffer, Buffer, Buffer];
  const conversation = ms.subarray(80, 112);
  const zeros = Buffer.alloc(32);
  const part = beside.get('receipt part')!;
  t.same(part, leaf(ms), 'the message that it is about');
  const session = beside.get('delivered')!.subarray(48, 64);
  const made = (kind: number, ctr: number, time: number, of: Buffer, to: Buffer, sender: Buffer, id: Buffer) =>
    Buffer.concat([
      Buffer.from('clog-ms1'),
      u(1, kind),
      u(1, 0),
      u(2, 1),
      u(4, of.length),
      sender,
      id,
      u(8, ctr),
      u(8, time),
      to,
      u(8, 0),
      zeros,
      zeros,
      zeros,
      leaf(of),
    ]);
  const [alice, bob] = [members.subarray(0, 32), members.subarray(32)];
  const rows = [
    ['first opening', made(6, 1, 1750000000150, Buffer.alloc(56), zeros, bob, session)],
    ['delivered', made(3, 2, 1750000000200, part, conversation, bob, session)],
    ['read', made(4, 3, 1750000000300, part, conversation, bob, session)],
  ] as const;
  for (const [name, bytes] of rows) t.same(beside.get(name), bytes, name);
  for (const name of ['delivered', 'read']) t.same(beside.get(`leaf(${name})`), leaf(beside.get(name)!));
  const end = Buffer.concat([ms.subarray(48, 64), u(8, 1), leaf(bs)]);
  t.same(beside.get('opening part'), end, 'how the session of the example ended');
  const next = beside.get('next opening')!;
  t.same(next, made(6, 1, 1750000000400, end, zeros, alice, next.subarray(48, 64)));
  for (const name of ['first opening', 'delivered', 'read', 'next opening']) {
    const bytes = beside.get(name)!;
    t.same(encodeMs(decodeMs(bytes)), bytes, 'our decoder reads them');
    for (const [at, field] of [
      [112, 'conv_ctr'],
      [120, 'prev_conv'],
      [152, 'roster_hash'],
      [184, 'commitment'],
    ] as const) {
      const altered = Buffer.from(bytes);
      altered[at + 7]! ^= 1;
      t.throws(() => decodeMs(altered), { code: 'BAD_FRAME', field: `ms.${field}` }, `${name}: ${field}`);
    }
  }
});
