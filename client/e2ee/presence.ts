/** Whose devices are in a group, as its tree says: what credentials name, without asking for the bindings behind them. */
import { hex } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { parseCredential } from './binding.ts';
import type { Conversation, DeviceName } from './group.ts';
import { parseMessage } from './guard.ts';
import { occupants } from './occupants.ts';
import { refuse } from './refusal.ts';
import { inlineTree, parseTree, type GroupDoor } from './invitation.ts';
import { nameOf } from './judge.ts';
import { leafKeys } from './key-package.ts';
import type { RatchetTree } from './mls.ts';

/** Of a group that this device is in: the bindings were checked when it came in, and when they did. Each once, in order. */
export const usersIn = ({ state }: Conversation): string[] => usersOf(state.ratchetTree);

/** Devices in a group. */
export const countIn = ({ state }: Conversation): number => [...occupants(state.ratchetTree)].length;
/** Leaves of its tree, blank ones included. */
export const widthOf = ({ state }: Conversation): number => (state.ratchetTree.length + 1) / 2;

/** Hashes of the keys in its tree. @param leaving devices whose leaves do not count */
export function keysIn({ state }: Conversation, leaving: readonly DeviceName[]): string[] {
  const gone = new Set(leaving.map(nameOf));
  return state.ratchetTree.flatMap((node) => {
    if (!node) return [];
    if (node.nodeType === 'parent') return hex(sha256(node.parent.hpkePublicKey));
    return gone.has(nameOf(parseCredential(node.leaf.credential))) ? [] : leafKeys(node.leaf);
  });
}

/** Before coming in, when nothing of it is proven. @throws BAD_FRAME; DECRYPT_FAIL/welcome */
export function usersBehind({ groupInfo, tree }: GroupDoor): string[] {
  const message = parseMessage(groupInfo);
  if (message.wireformat !== 'mls_group_info') return refuse('welcome', 'no group info');
  const shown = tree === null ? inlineTree(message.groupInfo) : parseTree(tree);
  return shown === undefined ? [] : usersOf(shown);
}

const usersOf = (tree: RatchetTree): string[] =>
  [...new Set([...occupants(tree)].map(({ leaf }) => parseCredential(leaf.credential).user))].sort();
