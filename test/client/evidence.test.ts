/** Which place of a message a client proves, when two logs have it. */
import t from 'tap';
import { provenMessages } from '../../client/evidence.ts';
import type { Evidence, Ledger } from '../../client/ledger.ts';
import { encodeAck } from '../../transcript/ack.ts';
import { encodeLeaf, type Leaf } from '../../transcript/leaf.ts';
import { leafHash, nodesOver, Tree } from '../../transcript/merkle.ts';
import { conversationOf } from '../support/bundle-writer.ts';
import { after, before, first, second } from '../support/signed-again.ts';

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
