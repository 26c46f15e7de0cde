/**
 * Whether a ratchet tree that somebody gave us is one that MLS could have made: RFC 9420 §7.3 (leaves), §7.8 (tree hash), §7.9.2 (parent
 * hashes), §12.4.3.1 (unmerged leaves). In place of the library's own check, which refuses valid trees and takes quadratic time.
 */
import { base64, equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import {
  decodeRequiredCapabilities,
  encode,
  encodeLeafNode,
  encodeParentHashInput,
  leafNodeHashInputEncoder,
  leafToNodeIndex,
  leafWidth,
  left,
  nodeToLeafIndex,
  parentNodeHashInputEncoder,
  right,
  toLeafIndex,
  toNodeIndex,
  verifyLeafNodeSignature,
  verifyLeafNodeSignatureKeyPackage,
  type AuthenticationService,
  type CiphersuiteImpl,
  type GroupContext,
  type Hash,
  type Hpke,
  type LeafNode,
  type PrivateKeyPath,
  type RatchetTree,
} from './mls.ts';

/**
 * Leaves of a tree, blank ones included: for each node, also a blank one, there is a hash and a key to derive, and a blank one costs its
 * sender a byte. No conversation has more devices (PROTOCOL.md §5.8), and whoever comes takes the first place that is free.
 */
export const MAX_LEAVES = 4096;

/** Of one leaf. Those of our devices have 1,530 at most; a blob has room for 2,500 of these, with the nodes above them. */
const MAX_LEAF_BYTES = 2048;

/** @throws DECRYPT_FAIL/tree, with the defect in the message */
export function refuse(why: string): never {
  throw new ChatError('DECRYPT_FAIL', `ratchet tree: ${why}`, { sub: 'tree' });
}

/** @throws DECRYPT_FAIL/tree */
export function checkWidth(leaves: number): void {
  if (leaves > MAX_LEAVES) refuse(`more than ${MAX_LEAVES} leaves`);
}

/**
 * Everything of RFC 9420 §12.4.3.1 that concerns the tree.
 * @param service says whose credentials are good
 * @throws DECRYPT_FAIL/tree
 */
export async function validateTree(
  tree: RatchetTree,
  context: Pick<GroupContext, 'groupId' | 'treeHash' | 'extensions'>,
  service: AuthenticationService,
  suite: CiphersuiteImpl,
): Promise<void> {
  checkShape(tree);
  await checkNodes(tree, suite.hpke);
  checkUnmergedLeaves(tree);
  const hashes = await nodeHashes(tree, suite.hash);
  if (!equal(hashes[rootOf(tree)]!, context.treeHash)) refuse('its hash is not the one in the group context');
  await checkParentHashes(tree, hashes, suite.hash);
  await checkLeaves(tree, context, service, suite);
}

/** Leaves at even places and parents at odd ones, in a full binary tree; no signature key in two places. */
function checkShape(tree: RatchetTree): void {
  if (((tree.length + 1) & tree.length) !== 0 || tree.length === 0) refuse('not a full binary tree');
  const signatureKeys = new Set<string>();
  for (const [i, node] of tree.entries()) {
    if (!node) continue;
    if ((node.nodeType === 'leaf') !== (i % 2 === 0)) refuse('a leaf in place of a parent, or the reverse');
    if (node.nodeType === 'parent') continue;
    if (signatureKeys.size === signatureKeys.add(base64(node.leaf.signaturePublicKey)).size)
      refuse('the same signature key twice');
  }
}

/**
 * What a single node has to be: no encryption key in two places, each one that others can encrypt to, and leaves that leave room for others.
 * One that is not would close the group: nobody could come in, or change it, and who tried would be taken for the liar.
 * @param known the tree before, of which all this was true
 * @throws DECRYPT_FAIL/tree
 */
export async function checkNodes(tree: RatchetTree, hpke: Hpke, known: RatchetTree = []): Promise<void> {
  const keys = new Set<string>();
  for (const [i, node] of tree.entries()) {
    if (!node) continue;
    const key = keyIn(node);
    if (keys.size === keys.add(base64(key)).size) refuse('the same encryption key twice');
    const before = known[i];
    if (before && keyIn(before) === key) continue;
    await checkKey(key, hpke);
    if (node.nodeType === 'leaf') checkLeaf(node.leaf);
  }
}

/** @throws DECRYPT_FAIL/tree */
export async function checkKey(key: Uint8Array, hpke: Hpke): Promise<void> {
  await hpke.importPublicKey(key).catch(() => refuse('a key that nobody can encrypt to'));
}

/** @throws DECRYPT_FAIL/tree */
export function checkLeaf(leaf: LeafNode): void {
  const { capabilities, credential } = leaf;
  if (!capabilities.credentials.includes(credential.credentialType))
    refuse('a leaf that does not know its own credential');
  if (encodeLeafNode(leaf).length > MAX_LEAF_BYTES) refuse(`a leaf of more than ${MAX_LEAF_BYTES} bytes`);
}

/**
 * RFC 9420 §7.5: the private keys that this device has derived from a commit are those of the public ones in the tree. Else it could open nothing
 * that is sent to them, and would take the next one who writes for the liar.
 * @throws DECRYPT_FAIL/tree
 */
export async function checkOwnPath(
  tree: RatchetTree,
  { privateKeys }: PrivateKeyPath,
  hpke: Hpke,
  known: RatchetTree,
): Promise<void> {
  for (const [at, bytes] of Object.entries(privateKeys)) {
    const [node, before] = [tree[Number(at)], known[Number(at)]];
    if (!node || (before && keyIn(before) === keyIn(node))) continue;
    const { enc, ct } = await hpke.seal(await hpke.importPublicKey(keyIn(node)), PROBE, PROBE);
    await hpke
      .open(await hpke.importPrivateKey(bytes), enc, ct, PROBE)
      .catch(() => refuse(`the key of node ${at} is not the one that its secret makes`));
  }
}
const PROBE = new Uint8Array();

const keyIn = (node: NonNullable<RatchetTree[number]>): Uint8Array =>
  node.nodeType === 'leaf' ? node.leaf.hpkePublicKey : node.parent.hpkePublicKey;

/** Each is a leaf below its node, and all parents between the two list it as well. Sorted, as RFC 9420 §7.1 has it. */
function checkUnmergedLeaves(tree: RatchetTree): void {
  for (const [i, node] of tree.entries()) {
    if (node?.nodeType !== 'parent') continue;
    let previous = -1;
    for (const index of node.parent.unmergedLeaves) {
      const leaf = leafToNodeIndex(toLeafIndex(index));
      if (index <= previous) refuse('unmerged leaves that are not sorted');
      if (!tree[leaf] || !isBelow(leaf, i)) refuse('an unmerged leaf that is not below its node');
      previous = index;
      for (let at = toNodeIndex(i); at % 2 === 1; at = leaf < at ? left(at) : right(at)) {
        const between = tree[at];
        if (between?.nodeType === 'parent' && !between.parent.unmergedLeaves.includes(index))
          refuse('a node between an unmerged leaf and the one that lists it does not list it');
      }
    }
  }
}

/** RFC 9420 §7.9.2: every parent is vouched for by exactly one node below it, and so in the end by the signature of a leaf. */
async function checkParentHashes(tree: RatchetTree, hashes: readonly Uint8Array[], hash: Hash): Promise<void> {
  const resolutions = resolutionsOf(tree);
  for (const [i, node] of tree.entries()) {
    if (node?.nodeType !== 'parent') continue;
    const { hpkePublicKey: encryptionKey, parentHash, unmergedLeaves } = node.parent;
    const at = toNodeIndex(i);
    const unmerged = new Set<number>(unmergedLeaves.map((index) => leafToNodeIndex(toLeafIndex(index))));
    let vouchers = 0;
    for (const [child, sibling] of [
      [left(at), right(at)],
      [right(at), left(at)],
    ] as const) {
      // The child's resolution must be one node, and beside it just the unmerged leaves on this side (that these are in it, checkUnmergedLeaves
      // has seen to).
      const [voucher, another] = resolutions[child]!.filter((n) => !unmerged.has(n));
      if (voucher === undefined || another !== undefined) continue;
      const claimed = parentHashIn(tree, voucher);
      if (!claimed) continue;
      const originalSiblingTreeHash = await hashWithout(tree, sibling, unmerged, hashes, hash);
      const input = encodeParentHashInput({ encryptionKey, parentHash, originalSiblingTreeHash });
      if (equal(await hash.digest(input), claimed)) vouchers++;
    }
    if (vouchers !== 1) refuse(`node ${i} has no valid parent hash below it`);
  }
}

function parentHashIn(tree: RatchetTree, at: number): Uint8Array | undefined {
  const node = tree[at];
  if (node?.nodeType === 'parent') return node.parent.parentHash;
  return node?.leaf.leafNodeSource === 'commit' ? node.leaf.parentHash : undefined;
}

/** RFC 9420 §7.3. The lifetime of a member that is in the tree already is not looked at: it counted when the member was added. */
async function checkLeaves(
  tree: RatchetTree,
  context: Pick<GroupContext, 'groupId' | 'extensions'>,
  service: AuthenticationService,
  suite: CiphersuiteImpl,
): Promise<void> {
  const leaves = tree.flatMap((node, i) =>
    node?.nodeType === 'leaf' ? [{ leaf: node.leaf, index: nodeToLeafIndex(toNodeIndex(i)) }] : [],
  );
  const types = new Set(leaves.map(({ leaf }) => leaf.credential.credentialType));
  const required = requiredCapabilities(context);
  for (const { leaf, index } of leaves) {
    const { capabilities, credential, signaturePublicKey } = leaf;
    const signed =
      leaf.leafNodeSource === 'key_package'
        ? verifyLeafNodeSignatureKeyPackage(leaf, suite.signature)
        : verifyLeafNodeSignature(leaf, context.groupId, index, suite.signature);
    if (!(await signed)) refuse(`leaf ${index} is not signed by its key`);
    if (!(await service.validateCredential(credential, signaturePublicKey)))
      refuse(`leaf ${index} has a credential that is not accepted`);
    for (const type of types)
      if (!capabilities.credentials.includes(type)) refuse(`leaf ${index} does not know credentials of type ${type}`);
    if (!supports(leaf, required)) refuse(`leaf ${index} lacks what the group requires`);
  }
}

interface Required {
  readonly extensionTypes: readonly number[];
  readonly proposalTypes: readonly number[];
  readonly credentialTypes: readonly string[];
}

function requiredCapabilities({ extensions }: Pick<GroupContext, 'extensions'>): Required | undefined {
  const extension = extensions.find((e) => e.extensionType === 'required_capabilities');
  if (!extension) return undefined;
  return (
    decodeRequiredCapabilities(extension.extensionData, 0)?.[0] ?? refuse('required capabilities that cannot be read')
  );
}

function supports({ capabilities, extensions }: LeafNode, required: Required | undefined): boolean {
  const has = (type: number | string) => typeof type !== 'number' || capabilities.extensions.includes(type);
  if (!extensions.every((e) => has(e.extensionType))) return false;
  return (
    !required ||
    (required.extensionTypes.every((type) => capabilities.extensions.includes(type)) &&
      required.proposalTypes.every((type) => capabilities.proposals.includes(type)) &&
      required.credentialTypes.every((type) => capabilities.credentials.some((known) => known === type)))
  );
}

const levelOf = (at: number): number => 31 - Math.clz32(~at & (at + 1));
const isBelow = (at: number, ancestor: number): boolean => Math.abs(at - ancestor) < 1 << levelOf(ancestor);
export const rootOf = (tree: RatchetTree): number => leafWidth(tree.length) - 1;

/** Bottom up: leaves, then parents level by level. */
function* upwards(tree: RatchetTree): Generator<number> {
  for (let step = 1; step <= tree.length + 1; step *= 2) for (let i = step - 1; i < tree.length; i += 2 * step) yield i;
}

/** RFC 9420 §7.8, for every node at once. */
export async function nodeHashes(tree: RatchetTree, hash: Hash): Promise<Uint8Array[]> {
  const hashes: Uint8Array[] = Array.from({ length: tree.length });
  for (const i of upwards(tree)) {
    const at = toNodeIndex(i);
    hashes[i] = await hash.digest(
      i % 2 === 0 ? leafInput(tree, i) : parentInput(tree, i, hashes[left(at)]!, hashes[right(at)]!),
    );
  }
  return hashes;
}

/** The hash of a subtree as it was before these leaves came: blank, and listed nowhere. Only what holds one of them is hashed again. */
async function hashWithout(
  tree: RatchetTree,
  i: number,
  gone: ReadonlySet<number>,
  hashes: readonly Uint8Array[],
  hash: Hash,
): Promise<Uint8Array> {
  if (![...gone].some((leaf) => isBelow(leaf, i))) return hashes[i]!;
  if (i % 2 === 0) return hash.digest(leafInput([], i));
  const at = toNodeIndex(i);
  const below = [
    await hashWithout(tree, left(at), gone, hashes, hash),
    await hashWithout(tree, right(at), gone, hashes, hash),
  ] as const;
  return hash.digest(parentInput(tree, i, ...below, gone));
}

function leafInput(tree: RatchetTree, i: number): Uint8Array {
  const node = tree[i];
  const leafNode = node?.nodeType === 'leaf' ? node.leaf : undefined;
  return encode(leafNodeHashInputEncoder)({ nodeType: 'leaf', leafIndex: nodeToLeafIndex(toNodeIndex(i)), leafNode });
}

function parentInput(
  tree: RatchetTree,
  i: number,
  leftHash: Uint8Array,
  rightHash: Uint8Array,
  gone?: ReadonlySet<number>,
) {
  const node = tree[i];
  let parentNode = node?.nodeType === 'parent' ? node.parent : undefined;
  if (parentNode && gone) {
    const unmergedLeaves = parentNode.unmergedLeaves.filter((index) => !gone.has(leafToNodeIndex(toLeafIndex(index))));
    parentNode = { ...parentNode, unmergedLeaves };
  }
  return encode(parentNodeHashInputEncoder)({ nodeType: 'parent', parentNode, leftHash, rightHash });
}

/** RFC 9420 §4.1.1, for every node at once: indices of nodes. */
export function resolutionsOf(tree: RatchetTree): (readonly number[])[] {
  const resolutions: (readonly number[])[] = Array.from({ length: tree.length });
  for (const i of upwards(tree)) {
    const node = tree[i];
    const at = toNodeIndex(i);
    if (node?.nodeType === 'parent')
      resolutions[i] = [i, ...node.parent.unmergedLeaves.map((index) => leafToNodeIndex(toLeafIndex(index)))];
    else if (i % 2 === 0) resolutions[i] = node ? [i] : [];
    else resolutions[i] = [...resolutions[left(at)]!, ...resolutions[right(at)]!];
  }
  return resolutions;
}
