import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import { encodeFrame } from '../../protocol/frame-codec.ts';
import { checkpointFrame, deliveryFrame, SharedFrames, type OutgoingItem } from '../../server/delivery-frames.ts';
import type { BatchEvidence } from '../../server/submission.ts';
import { framesOf } from '../support/raw-client.ts';

const hash = (byte: number): Hash => Buffer.alloc(32, byte) as Uint8Array as Hash;
const evidence: BatchEvidence = {
  algorithm: 1,
  signature: Buffer.alloc(64, 1),
  batch: Buffer.alloc(172, 2),
  ack: Buffer.alloc(40, 3),
  checkpoint: { size: 9, note: 'note 9' },
  hashes: [0, 1, 2].map((i) => ({ statementHash: hash(i), leafHash: hash(10 + i) })),
};
const item = (position: number, cursor: number, more: Partial<OutgoingItem> = {}): OutgoingItem => ({
  cursor,
  position,
  seq: 100 + position,
  statement: Buffer.alloc(248, position),
  parts: [Buffer.from(`part of ${position}`)],
  group: position === 1 ? { epoch: 5, generation: 2 } : null,
  ...more,
});
const frames = (items: readonly OutgoingItem[], isShown: boolean) => [
  ...(isShown ? [] : [checkpointFrame(evidence)]),
  deliveryFrame(evidence, items),
];

t.test(
  'frames for many are those that one would get, whatever he has seen and whichever messages are his',
  async (t) => {
    const shared = new SharedFrames();
    for (const positions of [[0, 1, 2], [1], [0, 2]])
      for (const isShown of [false, true])
        for (const base of [1, 30, 70_000, 2 ** 40]) {
          const items = positions.map((position) => item(position, base + 7 * position));
          const template = shared.template(evidence, items, isShown);
          t.strictSame(
            framesOf(
              template!,
              items.map(({ cursor }) => cursor),
            ).map(encodeFrame),
            frames(items, isShown).map(encodeFrame),
            `${positions.join()} from ${base}`,
          );
          t.equal(shared.template(evidence, items, isShown), template, 'and made once');
        }
  },
);

t.test('what differs in more than cursors is for one alone, and what is large is not kept', async (t) => {
  const shared = new SharedFrames();
  const cut = { at: [0], hashes: [hash(1)] };
  t.equal(shared.template(evidence, [item(0, 1), item(1, 2, { cut })], true), null);
  t.ok(shared.template(evidence, [item(0, 1), item(1, 2, { cut: null })], true));
  t.equal(shared.template(evidence, [item(2, 1, { parts: [Buffer.alloc(65_537)] })], true), null);
  t.ok(shared.template(evidence, [item(2, 1, { parts: [Buffer.alloc(65_536)] })], true));
});
