/** Which place of a message a client proves, when two logs have it, and with which receipts. */
import t from 'tap';
import { provenMessages, receiptsAbout } from '../../client/evidence.ts';
import { equal, hex, type Hash } from '../../base/bytes.ts';
import type { Evidence, Ledger } from '../../client/ledger.ts';
import { encodeAck } from '../../transcript/ack.ts';
import { encodeLeaf, type Leaf } from '../../transcript/leaf.ts';
import { leafHash, NO_HASH, nodesOver, Tree } from '../../transcript/merkle.ts';
import { decodeMs } from '../../transcript/statement.ts';
import { conversationOf } from '../support/bundle-writer.ts';
import { compose, fingerprintOf, type Step } from '../support/log-writer.ts';
import { after, before, first, second } from '../support/signed-again.ts';
import { receiptOf } from '../verify/bundle-stories.ts';
import { world } from '../verify/tamper.ts';

/** What somebody keeps who was shown every batch. */
const evidenceOf = (leaves: readonly Leaf[]): Evidence[] =>
  leaves.flatMap((leaf, at) => {
    if (leaf.type !== 'sigb') return [];
    const { algorithm, signature, bs: batch, serverTime } = leaf;
    const count = Buffer.from(batch).readUInt32BE(64);
    const items = leaves.slice(at + 1).flatMap((each) => (each.type === 'msg' ? [{ statement: each.ms }] : []));
    const node = nodesOver(leaves.map((each) => leafHash(encodeLeaf(each))));
    const proof = new Tree(leaves.length, node).range(at, at + count + 1);
    const place = { first: at, count, serverTime, treeSize: leaves.length, proof, checkpoint: Buffer.alloc(0) };
    return { algorithm, signature, batch, ack: encodeAck(place), note: '', items: items.slice(0, count) };
  });

t.test('a batch that was signed again for the next epoch', async (t) => {
  for (const evidence of [
    [...evidenceOf(before), ...evidenceOf(after)],
    [...evidenceOf(after), ...evidenceOf(before)],
  ]) {
    const ledger = { origins: () => [first.origin, second.origin], allEvidence: () => evidence };
    const found = provenMessages(ledger as unknown as Ledger, conversationOf('ab'));
    const places = found.map(({ ms, batch }) => `${batch.origin === second.origin ? 'e2' : 'e1'} ${ms.sessionCtr}`);
    t.same(places, ['e1 1', 'e1 1', 'e2 2', 'e2 3', 'e2 4'], 'its last place, which its successor links to');
  }
});

t.test(
  'a receipt that speaks too soon of what another wrote is left out, and one of what its signer wrote is not',
  async (t) => {
    const story: Step[] = ['alice', 'bob', 'carol', 'alice', 'bob'].map((sender, i) => ({
      sender,
      conversations: ['ab'],
      at: 1000 * i,
    }));
    const written = (leaves: readonly Leaf[], name: string): Hash =>
      leaves.flatMap((leaf) =>
        leaf.type === 'msg' && equal(decodeMs(leaf.ms).sender, fingerprintOf(world.people[name]!))
          ? [leafHash(leaf.ms)]
          : [],
      )[1]!;
    const plainly = { commitment: Buffer.alloc(32, 7) as never, prevConv: NO_HASH, convCtr: 1 };
    const storyWith = (part: (by: number) => Uint8Array) =>
      compose(world, story, {
        ms: (ms, batch) => (batch === 1 || batch === 2 ? receiptOf(ms, part(batch)) : { ...ms, ...plainly }),
      });
    const draft = storyWith(() => Buffer.alloc(32));
    const parts = [written(draft, 'alice'), written(draft, 'bob')];
    for (const [what, by, named, isIn] of [
      ['of another’s later message', 1, parts[0]!, false],
      ['of his own later message', 1, parts[1]!, true],
      ['of another’s later message, whoever it is', 2, parts[1]!, false],
    ] as const) {
      const leaves = storyWith((batch) => (batch === by ? named : Buffer.alloc(32)));
      const evidence = evidenceOf(leaves);
      const ledger = {
        origins: () => [world.origin],
        allEvidence: () => evidence,
        certificate: (name: Uint8Array) =>
          Object.values(world.people).find((one) => equal(fingerprintOf(one), name))!.chain,
      } as unknown as Ledger;
      const receipt = leaves.flatMap((leaf) => (leaf.type === 'msg' ? [leafHash(leaf.ms)] : []))[by]!;
      const messages = provenMessages(ledger, conversationOf('ab'));
      const found = receiptsAbout(ledger, conversationOf('ab'), messages, new Map([[hex(receipt), named]]));
      t.equal(found.length, isIn ? 1 : 0, what);
    }
  },
);
