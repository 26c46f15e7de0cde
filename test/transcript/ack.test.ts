import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import { checkAck, decodeAck, encodeAck, inclusionOf, type Ack } from '../../transcript/ack.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { batchEntries } from '../../transcript/leaf.ts';
import { leafHash, nodesOver, rootOf, Tree } from '../../transcript/merkle.ts';
import { isIncluded } from '../../transcript/proof.ts';
import { encodeTlogProof } from '../../transcript/tlog-proof.ts';
import {
  damaged,
  decodesStrictly,
  filled,
  hash,
  impostor,
  log,
  logKey,
  origin,
  refuses,
  sentBatch,
  strangerKey,
  unhex,
  vectors,
} from './sample.ts';

const bytes = unhex(vectors.ack.bytes);
const good = decodeAck(bytes);
const batch = {
  algorithm: 1,
  signature: unhex(vectors.bs.signature),
  bs: unhex(vectors.bs.bytes),
  messages: vectors.ms.map((m: { bytes: string }) => unhex(m.bytes)) as Buffer[],
};

t.test('our vector, made by another program', async (t) => {
  t.match(good, { first: 5, count: 3, serverTime: 1750000000150, treeSize: 10, proof: vectors.ack.proof.map(hash) });
  t.equal(encodeAck(good).toString('hex'), vectors.ack.bytes);
  const hashes = good.proof;
  for (const [odd, field] of [
    [{ count: 0 }, 'ack.count'],
    [{ treeSize: good.first + good.count }, 'ack.tree_size'],
    [{ proof: hashes.slice(1) }, 'ack.nh'],
    [{ proof: hashes.with(0, hashes[0]!.subarray(1) as Hash) }, 'ack.proof'],
  ] as const)
    t.throws(() => encodeAck({ ...good, ...odd }), { code: 'BAD_FRAME', field }, `encoded neither: ${field}`);
  const receipt = checkAck(good, batch, log);
  t.match(receipt, { first: 5, checkpoint: { origin, size: 10, root: hash(vectors.checkpoints[1].root) } });
  t.equal(Buffer.from(receipt.note).toString(), vectors.checkpoints[1].note);
  for (const [i, entry] of receipt.entries.entries()) {
    t.equal(entry.toString('hex'), vectors.leaves[5 + i].bytes);
    const path = inclusionOf(receipt, i);
    t.strictSame(
      path.map((h) => Buffer.from(h).toString('hex')),
      vectors.ack.paths[i],
      `path of entry ${5 + i}`,
    );
    t.ok(isIncluded(5 + i, 10, leafHash(entry), path, receipt.checkpoint.root));
  }
  const proof = encodeTlogProof({ index: 7, path: inclusionOf(receipt, 2), checkpoint: receipt.note });
  t.equal(proof.toString(), vectors.tlogProof.text, 'a C2SP tlog-proof out of an ACK');
  t.throws(() => inclusionOf(receipt, 4), RangeError);
});

t.test('an ACK without a checkpoint of its own', async (t) => {
  const bare = decodeAck(encodeAck({ ...good, checkpoint: Buffer.alloc(0) }));
  t.match(checkAck(bare, batch, log, good.checkpoint).checkpoint, { size: 10 });
  refuses(t, () => checkAck(bare, batch, log), 'BAD_FRAME', 'ack.checkpoint', 'none came before');
  const older = Buffer.from(vectors.checkpoints[0].note);
  refuses(t, () => checkAck(bare, batch, log, older), 'BAD_FRAME', 'ack.tree_size', 'another came before');
});

t.test('what an ACK must not get away with', async (t) => {
  const sign = (root: string, size: number, key = logKey) => signCheckpoint({ origin, size, root: hash(root) }, key);
  const flipped = (proof: Ack['proof']) =>
    proof.map((h, i) => (i === 0 ? hash(`00${Buffer.from(h).toString('hex').slice(2)}`) : h));
  const rows: [name: string, ack: Ack, code: string, detail: string][] = [
    ['another index', { ...good, first: 4 }, 'SIG_FAIL', 'range'],
    ['another time', { ...good, serverTime: good.serverTime + 1 }, 'SIG_FAIL', 'range'],
    ['another hash', { ...good, proof: flipped(good.proof) }, 'SIG_FAIL', 'range'],
    ['a hash more', { ...good, proof: [...good.proof, hash(vectors.checkpoints[0].root)] }, 'SIG_FAIL', 'range'],
    ['a hash less', { ...good, proof: good.proof.slice(1) }, 'SIG_FAIL', 'range'],
    ['another size', { ...good, treeSize: 11 }, 'BAD_FRAME', 'ack.tree_size'],
    ['another count', { ...good, count: 2 }, 'BAD_FRAME', 'ack.count'],
    ['another root', { ...good, checkpoint: sign(vectors.checkpoints[0].root, 10) }, 'SIG_FAIL', 'range'],
    [
      'older checkpoint',
      { ...good, checkpoint: Buffer.from(vectors.checkpoints[0].note) },
      'BAD_FRAME',
      'ack.tree_size',
    ],
    ['another key', { ...good, checkpoint: sign(vectors.checkpoints[1].root, 10, strangerKey) }, 'SIG_FAIL', 'note'],
    ['no note', { ...good, checkpoint: filled(0x61, 10) }, 'BAD_FRAME', 'note'],
  ];
  for (const [name, ack, code, detail] of rows) refuses(t, () => checkAck(ack, batch, log), code, detail, name);
  refuses(t, () => checkAck(good, batch, impostor), 'SIG_FAIL', 'note', 'another pinned key');
  const otherText = [batch.messages[0]!, batch.messages[2]!, batch.messages[1]!];
  refuses(t, () => checkAck(good, { ...batch, messages: otherText }, log), 'SIG_FAIL', 'range', 'messages reordered');
  refuses(
    t,
    () => checkAck(good, { ...batch, signature: filled(1, 64) }, log),
    'SIG_FAIL',
    'range',
    'another signature logged',
  );
  refuses(t, () => checkAck(good, { ...batch, algorithm: 2 }, log), 'SIG_FAIL', 'range', 'another algorithm logged');
  refuses(
    t,
    () => checkAck(good, { ...sentBatch(2), messages: batch.messages }, log),
    'BAD_FRAME',
    'batch.count',
    'not the BS',
  );
});

t.test('every byte that has a rule', async (t) => {
  const rows: [name: string, offset: number, bytes: number[], field: string][] = [
    ['magic', 7, [0x32], 'ack.magic'],
    ['first 2^53', 8, [0, 0x20], 'ack.first'],
    ['count 0', 16, [0, 0], 'ack.count'],
    ['count 1025', 16, [4, 1], 'ack.count'],
    ['time 2^63', 18, [0x80], 'ack.server_time'],
    ['tree too small', 33, [8], 'ack.tree_size'],
    ['tree of more than 2^52', 26, [0, 0x10, 0, 0, 0, 0, 0, 1], 'ack.tree_size'],
    ['a hash less', 34, [vectors.ack.proof.length - 1], 'ack.nh'],
    ['255 hashes', 34, [255], 'ack.nh'],
    ['checkpoint beyond the end', 35 + 32 * vectors.ack.proof.length, [255, 255], 'ack.checkpoint'],
    ['checkpoint before the end', 35 + 32 * vectors.ack.proof.length, [0, 0], 'ack.length'],
  ];
  for (const [name, offset, changed, field] of rows) {
    const broken = Buffer.from(bytes);
    broken.set(changed, offset);
    refuses(t, () => decodeAck(broken), 'BAD_FRAME', field, name);
  }
  refuses(t, () => decodeAck(bytes.subarray(0, 70)), 'BAD_FRAME', 'ack.proof[1]', 'cut');
  refuses(t, () => encodeAck({ ...good, proof: [] }), 'BAD_FRAME', 'ack.nh', 'encode without proof');
  decodesStrictly(damaged(bytes), decodeAck, encodeAck);
});

t.test('batches of every size at every place of a window', async (t) => {
  const pending = [1, 2, 5, 31].map(sentBatch);
  const filler = Array.from({ length: 300 }, (_, i) => leafHash(Buffer.from([i >> 8, i])));
  for (const before of [0, 1, 6, 255, 256]) {
    const entries = pending.map((b) => batchEntries(9, b.algorithm, b.signature, b.bs, b.messages));
    const hashes = [...filler.slice(0, before), ...entries.flat().map(leafHash)];
    const checkpoint = signCheckpoint({ origin, size: hashes.length, root: rootOf(hashes) }, logKey);
    const tree = new Tree(hashes.length, nodesOver(hashes)); // one for all ACKs of the window
    let first = before;
    for (const b of pending) {
      const count = b.messages.length;
      const proof = tree.range(first, first + count + 1);
      const ack = decodeAck(encodeAck({ first, count, serverTime: 9, treeSize: hashes.length, proof, checkpoint }));
      const receipt = checkAck(ack, b, log);
      t.ok(
        isIncluded(
          first + count,
          hashes.length,
          hashes[first + count]!,
          inclusionOf(receipt, count),
          receipt.checkpoint.root,
        ),
      );
      first += count + 1;
    }
  }
});
