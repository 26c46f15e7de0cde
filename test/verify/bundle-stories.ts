/** Bundles of a log that senders have signed otherwise, or that the server has written otherwise. */
import type { Leaf } from '../../transcript/leaf.ts';
import { bundleOf } from '../support/bundle-writer.ts';
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
