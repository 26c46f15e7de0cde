/** A bundle in which each message has a batch, a signature and a checkpoint of its own: the most that so many messages can cost a verifier. */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { concat, type Hash } from '../base/bytes.ts';
import { writeBundle, type BundleContent, type BundleMessage } from '../transcript/bundle-writer.ts';
import { signCheckpoint } from '../transcript/checkpoint.ts';
import { encodeLeaf } from '../transcript/leaf.ts';
import { leafHash, nodesOver, Tree } from '../transcript/merkle.ts';
import { contentOf, conversationOf, credentialOf, openingOf } from '../test/support/bundle-writer.ts';
import { compose, genCerts, pemOf } from '../test/support/log-writer.ts';

/** Of people with Ed25519 and P-256 keys, in turn. */
const PEOPLE = ['carol', 'bob'] as const;

/** Writes `lone.tar` and `lone-ca.crt` into a folder; answers their paths. */
export function loneBundle(folder: string, count: number): { bundle: string; ca: string } {
  const { ca, world } = genCerts();
  const story = Array.from({ length: count }, (_, i) => ({
    sender: PEOPLE[i % PEOPLE.length]!,
    conversations: ['lone'],
    at: 10 * i,
  }));
  const leaves = compose(world, story);
  const entries = leaves.map(encodeLeaf);
  const node = nodesOver(entries.map(leafHash));
  const noteOf = (size: number): Buffer =>
    signCheckpoint({ origin: world.origin, size, root: new Tree(size, node).root() }, world.logKey);
  const consistency = new Map<number, readonly Hash[]>();
  const messages: BundleMessage[] = [];
  for (const [index, leaf] of leaves.entries()) {
    const sigb = leaves[index - 1];
    if (leaf.type !== 'msg' || sigb?.type !== 'sigb') continue;
    const size = index + 1;
    if (size < leaves.length) consistency.set(size, new Tree(leaves.length, node).consistency(size));
    messages.push({
      entry: entries[index]!,
      proof: { index, path: new Tree(size, node).inclusion(index), checkpoint: noteOf(size) },
      bs: sigb.bs,
      signature: sigb.signature,
      path: { index: 0, size: 1, path: [] },
      opening: openingOf(world, leaf.ms),
    });
  }
  const plain = contentOf(world, leaves.slice(0, 2), 'lone');
  const keys = leaves.flatMap((leaf) =>
    leaf.type === 'key'
      ? [{ statement: leaf.statement, signature: concat(Buffer.of(leaf.algorithm), leaf.signature) }]
      : [],
  );
  const created = world.begin + 10 * count;
  const content: BundleContent = {
    ...plain,
    head: { ...plain.head, created, conversation: conversationOf('lone'), messages: messages.length },
    logs: [{ keys, checkpoint: noteOf(leaves.length), consistency }],
    messages: () => messages,
  };
  const paths = { bundle: join(folder, 'lone.tar'), ca: join(folder, 'lone-ca.crt') };
  const file = openSync(paths.bundle, 'w');
  for (const piece of writeBundle(content, credentialOf(world, 'alice').key)) writeSync(file, piece);
  closeSync(file);
  writeFileSync(paths.ca, pemOf(ca.der));
  return paths;
}
