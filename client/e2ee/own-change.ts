/** A commit of this device as the others will see it, before it is made: what they would refuse is not made. */
import { ChatError } from '../../base/errors.ts';
import type { Device } from './binding.ts';
import { parseCredential } from './binding.ts';
import { settings, type DeviceName, type RosterChange } from './group.ts';
import { occupants, type Change } from './occupants.ts';
import { nameOf, toRosterChange } from './judge.ts';
import type { ClientState, KeyPackage, LeafNode, RatchetTree } from './mls.ts';

/** @throws NOT_FOUND/member */
export function leafIndexOf(tree: RatchetTree, name: DeviceName): number {
  for (const { leafIndex, leaf } of occupants(tree))
    if (nameOf(parseCredential(leaf.credential)) === nameOf(name)) return leafIndex;
  throw new ChatError('NOT_FOUND', `${name.user} has no such device in the conversation`, { sub: 'member' });
}

export function ownChange(
  state: ClientState,
  keyPackages: readonly KeyPackage[],
  remove: readonly DeviceName[],
  device: (leaf: LeafNode) => Device,
): RosterChange {
  const all = [...occupants(state.ratchetTree)];
  const gone = new Set(remove.map((name) => leafIndexOf(state.ratchetTree, name)));
  const committer = all.find(({ leafIndex }) => leafIndex === state.privatePath.leafIndex)!;
  const removed = all.filter(({ leafIndex }) => gone.has(leafIndex));
  const change: Change = { committer, isExternal: false, added: keyPackages.map((p) => p.leafNode), removed };
  const members = all.map(({ leaf }) => device(leaf));
  return toRosterChange(change, members, settings({ state }), device);
}
