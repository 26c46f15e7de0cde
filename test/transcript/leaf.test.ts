import t from 'tap';
import { batchEntries, decodeLeaf, encodeLeaf, MAX_CHAIN, type Leaf } from '../../transcript/leaf.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { damaged, decodesStrictly, filled, refuses, sentBatch, unhex, vectors } from './sample.ts';

const entries: Buffer[] = vectors.leaves.map((leaf: { bytes: string }) => unhex(leaf.bytes));

t.test('vectors of every type', async (t) => {
  for (const [i, v] of vectors.leaves.entries()) {
    const leaf = decodeLeaf(entries[i]!);
    t.equal(leaf.type, v.type);
    t.equal(encodeLeaf(leaf).toString('hex'), v.bytes, `${v.type} encodes`);
    t.equal(Buffer.from(leafHash(entries[i]!)).toString('hex'), v.hash, `${v.type} hashes`);
  }
  t.match(decodeLeaf(entries[0]!), { statement: Buffer.from(vectors.statement.text), algorithm: 1 });
  t.match(decodeLeaf(entries[2]!), { thisUpdate: 1749999999000, nextUpdate: 1750600000000 });
  t.match(decodeLeaf(entries[3]!), { chain: [Buffer.from('leaf certificate'), Buffer.from('issuing ca')] });
  t.match(decodeLeaf(entries[5]!), {
    algorithm: 1,
    signature: unhex(vectors.bs.signature),
    bs: unhex(vectors.bs.bytes),
  });
  t.match(decodeLeaf(entries[7]!), { position: 2, serverTime: 1750000000150, ms: unhex(vectors.ms[1].bytes) });
});

t.test('a batch becomes SIGB, MSG 1, MSG 2…', async (t) => {
  const messages = vectors.ms.map((m: { bytes: string }) => unhex(m.bytes));
  const made = batchEntries(1750000000150, 1, unhex(vectors.bs.signature), unhex(vectors.bs.bytes), messages);
  t.strictSame(made, entries.slice(5, 9));
  const { signature, bs } = sentBatch(2);
  refuses(
    t,
    () => batchEntries(1, 1, signature, bs, messages),
    'BAD_FRAME',
    'batch.count',
    'more messages than signed',
  );
  const two = sentBatch(2);
  for (const odd of [two.messages[1]!.subarray(1), Buffer.concat([two.messages[1]!, Buffer.of(0)])])
    refuses(
      t,
      () => batchEntries(1, 1, two.signature, two.bs, [two.messages[0]!, odd]),
      'BAD_FRAME',
      'leaf.ms',
      `a statement of ${odd.length} bytes`,
    );
});

t.test('every byte that has a rule', async (t) => {
  const [key, time, crl, cert, link, sigb, msg] = entries as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];
  const rows: [name: string, of: Buffer, offset: number, bytes: number[], field: string][] = [
    ['type 0', time, 0, [0], 'leaf.type'],
    ['type 7', time, 0, [7], 'leaf.type'],
    ['type 9', time, 0, [9], 'leaf.type'],
    ['reserved', msg, 1, [1], 'leaf.reserved'],
    ['aux of TIME', time, 3, [1], 'leaf.aux'],
    ['aux of CERT', cert, 2, [1], 'leaf.aux'],
    ['position 0', msg, 2, [0, 0], 'leaf.aux'],
    ['position 1025', msg, 2, [4, 1], 'leaf.aux'],
    ['time 2^53', msg, 4, [0, 0x20], 'leaf.server_time'],
    ['aux is not the count', sigb, 3, [2], 'leaf.aux'],
    ['no signature', sigb, 13, [0, 0], 'leaf.signature'],
    ['signature of 1025 bytes', sigb, 13, [4, 1], 'leaf.signature'],
    ['signature too long for the leaf', sigb, 13, [1, 0], 'leaf.signature'],
    ['signature that takes from the statement', sigb, 14, [65], 'leaf.bs'],
    ['statement longer than the leaf', key, 12, [255, 255], 'leaf.statement'],
    ['previous signature is missing', key, key.length - 1, [1], 'leaf.previous_signature'],
    ['no certificate', cert, 12, [0, 0], 'leaf.count'],
    ['17 certificates', cert, 12, [0, MAX_CHAIN + 1], 'leaf.count'],
    ['certificate of 4 GB', cert, 14, [255, 255, 255, 255], 'leaf.chain[0]'],
    ['this update 2^63', crl, 44, [0x80], 'leaf.this_update'],
  ];
  for (const [name, of, offset, bytes, field] of rows) {
    const broken = Buffer.from(of);
    broken.set(bytes, offset);
    refuses(t, () => decodeLeaf(broken), 'BAD_FRAME', field, name);
  }
  for (const [i, good] of entries.entries()) {
    const type = vectors.leaves[i].type;
    if (type !== 'time' && type !== 'link')
      refuses(
        t,
        () => decodeLeaf(Buffer.concat([good, filled(0, 1)])),
        'BAD_FRAME',
        'leaf.length',
        `${type}: a byte more`,
      );
  }
  refuses(t, () => decodeLeaf(link.subarray(0, 12)), 'BAD_FRAME', 'leaf.checkpoint', 'empty LINK');
  refuses(t, () => decodeLeaf(msg.subarray(0, 259)), 'BAD_FRAME', 'leaf.ms', 'cut MSG');
  refuses(t, () => decodeLeaf(Buffer.alloc(0)), 'BAD_FRAME', 'leaf.type', 'nothing');
});

t.test('limits of an entry', async (t) => {
  const token = (length: number): Leaf => ({ type: 'time', serverTime: 0, stamp: filled(1, length) });
  t.equal(encodeLeaf(token(65535 - 12)).length, 65535);
  refuses(t, () => encodeLeaf(token(65535 - 11)), 'BAD_FRAME', 'leaf.length', '65536 bytes');
  const chain = [filled(1, 40000), filled(2, 30000)];
  refuses(t, () => encodeLeaf({ type: 'cert', serverTime: 0, chain }), 'BAD_FRAME', 'leaf.length', 'a chain of 70 kB');
  refuses(
    t,
    () => encodeLeaf({ type: 'cert', serverTime: 0, chain: [filled(1, 0)] }),
    'BAD_FRAME',
    'leaf.chain',
    'empty',
  );
  const sigb: Leaf = { type: 'sigb', serverTime: 0, algorithm: 1, signature: filled(1, 64), bs: filled(1, 20) };
  refuses(t, () => encodeLeaf(sigb), 'BAD_FRAME', 'leaf.bs', 'a batch statement of 20 bytes');
  const statement = filled(1, 70000);
  const key: Leaf = {
    type: 'key',
    serverTime: 0,
    statement,
    algorithm: 1,
    signature: filled(1, 64),
    previousSignature: filled(1, 0),
  };
  refuses(t, () => encodeLeaf(key), 'BAD_FRAME', 'leaf.length', 'a statement of 70 kB');
  const endorsed = { ...key, statement: filled(1, 9), previousSignature: filled(1, 1025) };
  refuses(t, () => encodeLeaf(endorsed), 'BAD_FRAME', 'leaf.previous_signature', 'a signature of 1025 bytes');
  refuses(
    t,
    () => encodeLeaf({ type: 'msg', serverTime: 0, position: 1, ms: filled(1, 247) }),
    'BAD_FRAME',
    'leaf.ms',
    'MS',
  );
  refuses(
    t,
    () => encodeLeaf({ type: 'sigb', serverTime: 0, algorithm: 1, signature: filled(1, 64), bs: filled(0, 172) }),
    'BAD_FRAME',
    'leaf.bs.count',
    'a BS of zeros',
  );
});

t.test('property: one encoding, and nothing but BAD_FRAME', async () => {
  decodesStrictly(damaged(...entries), decodeLeaf, encodeLeaf);
});
