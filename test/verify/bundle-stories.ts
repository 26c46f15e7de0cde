/** Bundles of a log that senders have signed otherwise, or that the server has written otherwise. */
import type { BundleMessage } from '../../transcript/bundle-writer.ts';
import type { Leaf } from '../../transcript/leaf.ts';
import { NO_HASH } from '../../transcript/merkle.ts';
import { ciphertextHash, KIND, type MessageStatement } from '../../transcript/statement.ts';
import { bundleOf, type BundleAlterations } from '../support/bundle-writer.ts';
import { compose, STORY, type Alterations, type Step } from '../support/log-writer.ts';
import { leaves, world } from './tamper.ts';

/** A log of senders who sign something else, or of a server that logs something else. */
export const made =
  (alter: Alterations, story: readonly Step[] = STORY) =>
  () =>
    bundleOf(world, compose(world, story, alter), 'ab');
export const relogged = (change: (copy: Leaf[]) => void) => () => {
  const copy = leaves.slice();
  change(copy);
  return bundleOf(world, copy, 'ab');
};
export const inBatch = (batch: number, position: number, change: NonNullable<Alterations['ms']>): Alterations => ({
  ms: (ms, b, p) => (b === batch && p === position ? change(ms, b, p) : ms),
});
export const batchOf = (batch: number, change: NonNullable<Alterations['bs']>): Alterations => ({
  bs: (bs, b) => (b === batch ? change(bs, b) : bs),
});
export const zeros = (bytes: number) => Buffer.alloc(bytes) as Uint8Array;

/** What is signed in the place of a message: that these messages came. */
export const receiptOf = (
  ms: MessageStatement,
  part: Uint8Array,
  kind: MessageStatement['kind'] = KIND.delivered,
): MessageStatement => ({
  ...ms,
  kind,
  ciphertextBytes: part.length,
  convCtr: 0,
  prevConv: NO_HASH,
  rosterHash: NO_HASH,
  commitment: NO_HASH,
  ciphertextHash: ciphertextHash([part]),
});

/** Behind all messages bob has signed that these came. @param messages what the exporter makes of them */
export const received =
  (
    part: Uint8Array,
    messages: (messages: BundleMessage[]) => BundleMessage[],
    head: NonNullable<BundleAlterations['head']> = (plain) => plain,
  ) =>
  () => {
    const batches = STORY.filter((step) => 'sender' in step).length;
    const story = compose(world, [...STORY, { sender: 'bob', conversations: ['ab'], at: 95_000 }], {
      ms: (ms, batch) => (batch === batches ? receiptOf(ms, part) : ms),
    });
    return bundleOf(world, story, 'ab', {
      messages: (all) => messages([...all.slice(0, -1), { ...all.at(-1)!, ciphertext: part, opening: null }]),
      head,
    });
  };
