/**
 * Who is in a group, by its tree, and what a commit may change of that. The library lets members do what no member may: throw others out by an external
 * commit, appear twice, put another identity into their own leaf. So the roster is compared before and after each commit.
 */
import { base64, equal } from '../../base/bytes.ts';
import {
  encodeLeafNode,
  leafToNodeIndex,
  toLeafIndex,
  type ClientState,
  type LeafNode,
  type ProposalWithSender,
  type RatchetTree,
} from './mls.ts';
import { refuse } from './refusal.ts';
import { checkWidth } from './tree.ts';

export interface Occupant {
  readonly leafIndex: number;
  readonly leaf: LeafNode;
}

/** What a commit does to the roster. */
export interface Change {
  /** Before an external commit nobody, so here it is the newcomer. */
  readonly committer: Occupant;
  readonly isExternal: boolean;
  readonly added: readonly LeafNode[];
  /** For an external commit: the newcomer's own former appearance, if any. */
  readonly removed: readonly Occupant[];
}

/** The same text for two leaves exactly if they are the same device. @throws ChatError for a leaf that is none */
export type DeviceOf = (leaf: LeafNode) => string;

/** What the roster of a group must be at any time. @throws DECRYPT_FAIL with sub `double_key` or `double_device` */
export function checkRoster(tree: RatchetTree, device: DeviceOf): void {
  const keys = new Set<string>();
  const devices = new Set<string>();
  for (const { leaf } of occupants(tree)) {
    if (keys.size === keys.add(base64(leaf.signaturePublicKey)).size)
      refuse('double_key', 'two members with the same signature key');
    if (devices.size === devices.add(device(leaf)).size) refuse('double_device', 'the same device twice in the group');
  }
}

export function* occupants(tree: RatchetTree): Generator<Occupant> {
  for (let i = 0; i < tree.length; i += 2) {
    const node = tree[i];
    if (node?.nodeType === 'leaf') yield { leafIndex: i / 2, leaf: node.leaf };
  }
}

export function occupantAt(tree: RatchetTree, leafIndex: number): Occupant | undefined {
  const node = tree[leafToNodeIndex(toLeafIndex(leafIndex))];
  return node?.nodeType === 'leaf' ? { leafIndex, leaf: node.leaf } : undefined;
}

/** Before a tree of them is made. */
export function checkCount(before: RatchetTree, proposals: readonly ProposalWithSender[], newcomer?: LeafNode): void {
  const { added, removed } = rosterChange(before, proposals);
  checkWidth([...occupants(before)].length - removed.length + added.length + (newcomer ? 1 : 0));
}

/** That the group after the commit is the one before it, with what was proposed and nothing else. */
export function checkChange(
  before: ClientState,
  after: ClientState,
  proposals: readonly ProposalWithSender[],
  sender: Occupant | undefined,
  device: DeviceOf,
): Change {
  checkRoster(after.ratchetTree, device);
  const { added, removed } = rosterChange(before.ratchetTree, proposals);
  const updates = new Map(
    proposals.flatMap(({ proposal: p, senderLeafIndex: i }) =>
      p.proposalType === 'update' && 'update' in p && i !== undefined ? [[i, p.update.leafNode] as const] : [],
    ),
  );
  const old = new Map([...occupants(before.ratchetTree)].map((o) => [o.leafIndex, o.leaf]));
  for (const { leafIndex } of removed) old.delete(leafIndex);
  const fresh: Occupant[] = [];
  for (const occupant of occupants(after.ratchetTree)) {
    const { leafIndex, leaf } = occupant;
    const was = old.get(leafIndex);
    old.delete(leafIndex);
    if (!was) fresh.push(occupant);
    else if (leafIndex === sender?.leafIndex || updates.has(leafIndex)) checkSameIdentity(was, leaf, device);
    else if (was !== leaf && !equal(encodeLeafNode(was), encodeLeafNode(leaf)))
      refuse('roster', `the leaf of member ${leafIndex} changed without his doing`);
  }
  if (old.size > 0) refuse('roster', 'members disappeared without a proposal to remove them');

  if (sender) {
    const committer = occupantAt(after.ratchetTree, sender.leafIndex);
    if (!committer || fresh.length !== added.length) return refuse('roster', 'others came than were proposed');
    return { committer, isExternal: false, added, removed };
  }
  const [newcomer, second] = fresh;
  if (!newcomer || second || added.length > 0) return refuse('roster', 'an external commit adds exactly its author');
  const isOthers = ({ leaf }: Occupant) => !isSameDevice(leaf, newcomer.leaf, device);
  if (removed.length > 1 || removed.some(isOthers))
    refuse('external_removal', 'an external commit that removes somebody else');
  return { committer: newcomer, isExternal: true, added: [newcomer.leaf], removed };
}

/**
 * The next epoch's secrets are not for this device, so it cannot check that the commit is complete: only that its author signed it, that
 * its proposals are possible, and that the rules let them make it.
 */
export function checkOwnRemoval(
  state: ClientState,
  proposals: readonly ProposalWithSender[],
  sender: Occupant | undefined,
  newcomer: LeafNode | undefined,
  device: DeviceOf,
): Change {
  const { added, removed } = rosterChange(state.ratchetTree, proposals);
  if (sender) return { committer: sender, isExternal: false, added, removed };
  const [gone] = removed;
  if (!newcomer || !gone || removed.length > 1) return refuse('proposal', 'an external commit without a leaf');
  if (!isSameDevice(gone.leaf, newcomer, device))
    refuse('external_removal', 'an external commit that removes somebody else');
  return { committer: { leafIndex: gone.leafIndex, leaf: newcomer }, isExternal: true, added: [newcomer], removed };
}

export function removedBy(proposals: readonly ProposalWithSender[]): Set<number> {
  return new Set(
    proposals.flatMap(({ proposal: p }) => (p.proposalType === 'remove' && 'remove' in p ? [p.remove.removed] : [])),
  );
}

function rosterChange(
  before: RatchetTree,
  proposals: readonly ProposalWithSender[],
): Pick<Change, 'added' | 'removed'> {
  const added = proposals.flatMap(({ proposal: p }) =>
    p.proposalType === 'add' && 'add' in p ? [p.add.keyPackage.leafNode] : [],
  );
  const gone = removedBy(proposals);
  return { added, removed: [...occupants(before)].filter(({ leafIndex }) => gone.has(leafIndex)) };
}

/** Its id anybody can copy; its key signs the leaf. */
const isSameDevice = (was: LeafNode, is: LeafNode, device: DeviceOf): boolean =>
  device(was) === device(is) && equal(was.signaturePublicKey, is.signaturePublicKey);

function checkSameIdentity(was: LeafNode, is: LeafNode, device: DeviceOf): void {
  if (!equal(was.signaturePublicKey, is.signaturePublicKey) || device(was) !== device(is) || !sameCredential(was, is))
    refuse('identity_change', 'a member put another identity into his leaf');
}

function sameCredential({ credential: a }: LeafNode, { credential: b }: LeafNode): boolean {
  if (a.credentialType === 'basic' && b.credentialType === 'basic') return equal(a.identity, b.identity);
  if (a.credentialType !== 'x509' || b.credentialType !== 'x509') return false;
  return (
    a.certificates.length === b.certificates.length && a.certificates.every((c, i) => equal(c, b.certificates[i]!))
  );
}
