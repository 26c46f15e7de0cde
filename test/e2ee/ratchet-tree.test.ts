/**
 * The working group's vectors for the ratchet tree: its arithmetic, what proposals make of it, and TreeKEM, also with paths of our own;
 * and the header of a vector. What our own code checks of a tree, and its vectors, is in tree.test.ts. TreeKEM in full with our
 * provider and suites 1 to 3; of the others two trees of each suite.
 */
import { determineLength } from 'ts-mls/codec/variableLength.js';
import { applyUpdatePathSecret } from 'ts-mls/createCommit.js';
import { deriveSecret } from 'ts-mls/crypto/kdf.js';
import type { GroupContext } from 'ts-mls/groupContext.js';
import { verifyLeafNodeSignature } from 'ts-mls/leafNode.js';
import { getCommitSecret } from 'ts-mls/pathSecrets.js';
import { mergePrivateKeyPaths, toPrivateKeyPath, type PrivateKeyPath } from 'ts-mls/privateKeyPath.js';
import { decodeProposal, type Proposal } from 'ts-mls/proposal.js';
import {
  addLeafNode,
  decodeRatchetTree,
  encodeRatchetTree,
  getHpkePublicKey,
  removeLeafNode,
  updateLeafNode,
  type RatchetTree,
} from 'ts-mls/ratchetTree.js';
import { treeHashRoot } from 'ts-mls/treeHash.js';
import {
  left,
  leafToNodeIndex,
  nodeWidth,
  parent,
  right,
  root,
  sibling,
  toLeafIndex,
  toNodeIndex,
  type NodeIndex,
} from 'ts-mls/treemath.js';
import { applyUpdatePath, createUpdatePath, decodeUpdatePath, type UpdatePath } from 'ts-mls/updatePath.js';
import { nodeHashes } from '../../client/e2ee/tree.ts';
import { inThread } from './thread.ts';
import { bytes, hexOf, loadVectors, withSuites } from './vectors.ts';

const here = import.meta.filename;

interface Header {
  readonly vlbytes_header: string;
  readonly length: number;
}
await inThread(here, 'deserialization.json', async (report) => {
  const vectors = loadVectors<Header>('deserialization.json');
  if (!vectors) return report.skip('no vectors: set CHAT_VECTORS');
  report.ok(vectors.length === 14, `${vectors.length} vectors`);
  for (const { vlbytes_header: header, length } of vectors) {
    const found = determineLength(bytes(header));
    report.ok(found.length === length && found.lengthFieldSize === header.length / 2, `${header}: ${found.length}`);
  }
});

interface Arithmetic {
  readonly n_leaves: number;
  readonly n_nodes: number;
  readonly root: number;
  readonly left: readonly (number | null)[];
  readonly right: readonly (number | null)[];
  readonly parent: readonly (number | null)[];
  readonly sibling: readonly (number | null)[];
}
await inThread(here, 'tree-math.json', async (report) => {
  const vectors = loadVectors<Arithmetic>('tree-math.json');
  if (!vectors) return report.skip('no vectors: set CHAT_VECTORS');
  report.ok(vectors.length === 10, `${vectors.length} vectors`);
  /** What there is not, the library refuses. */
  const orNull = (work: () => NodeIndex): number | null => {
    try {
      return work();
    } catch {
      return null;
    }
  };
  for (const vector of vectors) {
    const leaves = vector.n_leaves;
    const nodes = Array.from({ length: vector.n_nodes }, (_, i) => toNodeIndex(i));
    const same = (found: readonly (number | null)[], expected: readonly (number | null)[], what: string): void =>
      report.ok(JSON.stringify(found) === JSON.stringify(expected), `${leaves} leaves: ${what}`);
    same([nodeWidth(leaves), root(leaves)], [vector.n_nodes, vector.root], 'width and root');
    same(
      nodes.map((node) => orNull(() => left(node))),
      vector.left,
      'left',
    );
    same(
      nodes.map((node) => orNull(() => right(node))),
      vector.right,
      'right',
    );
    same(
      nodes.map((node) => orNull(() => parent(node, leaves))),
      vector.parent,
      'parent',
    );
    same(
      nodes.map((node) => orNull(() => sibling(node, leaves))),
      vector.sibling,
      'sibling',
    );
  }
});

interface Operation {
  readonly cipher_suite: number;
  readonly proposal: string;
  readonly proposal_sender: number;
  readonly tree_before: string;
  readonly tree_hash_before: string;
  readonly tree_after: string;
  readonly tree_hash_after: string;
}
function apply(tree: RatchetTree, proposal: Proposal, sender: number): RatchetTree {
  switch (proposal.proposalType) {
    case 'add':
      return addLeafNode(tree, proposal.add.keyPackage.leafNode)[0];
    case 'update':
      return updateLeafNode(tree, proposal.update.leafNode, toLeafIndex(sender));
    case 'remove':
      return removeLeafNode(tree, toLeafIndex(proposal.remove.removed));
    default:
      throw new Error('vector');
  }
}
const operations = { each: 5, suites: [1] };
await withSuites<Operation>(here, 'tree-operations.json', operations, async (vector, { hash }, check) => {
  const before = decodeRatchetTree(bytes(vector.tree_before), 0)![0];
  const proposal = decodeProposal(bytes(vector.proposal), 0)![0];
  const after = apply(before, proposal, vector.proposal_sender);
  check(hexOf(encodeRatchetTree(after)) === vector.tree_after, 'tree_after');
  for (const [tree, expected, what] of [
    [before, vector.tree_hash_before, 'tree_hash_before'],
    [after, vector.tree_hash_after, 'tree_hash_after'],
  ] as const) {
    check(hexOf(await treeHashRoot(tree, hash)) === expected, what);
    check(hexOf((await nodeHashes(tree, hash))[root((tree.length + 1) / 2)]!) === expected, `${what}, by our own code`);
  }
});

interface TreeKem {
  readonly cipher_suite: number;
  readonly group_id: string;
  readonly epoch: number;
  readonly confirmed_transcript_hash: string;
  readonly ratchet_tree: string;
  readonly leaves_private: readonly {
    readonly index: number;
    readonly encryption_priv: string;
    readonly signature_priv: string;
    readonly path_secrets: readonly { readonly node: number; readonly path_secret: string }[];
  }[];
  readonly update_paths: readonly {
    readonly sender: number;
    readonly update_path: string;
    readonly path_secrets: readonly (string | null)[];
    readonly commit_secret: string;
    readonly tree_hash_after: string;
  }[];
}
await withSuites<TreeKem>(here, 'treekem.json', { each: 11, every: 5 }, async (vector, suite, check) => {
  const tree = decodeRatchetTree(bytes(vector.ratchet_tree), 0)![0];
  const context = (treeHash: Uint8Array, epoch = vector.epoch): GroupContext => ({
    version: 'mls10',
    cipherSuite: suite.name,
    groupId: bytes(vector.group_id),
    epoch: BigInt(epoch),
    treeHash,
    confirmedTranscriptHash: bytes(vector.confirmed_transcript_hash),
    extensions: [],
  });
  const members: PrivateKeyPath[] = [];
  for (const { index, encryption_priv, path_secrets } of vector.leaves_private) {
    for (const { node, path_secret } of path_secrets) {
      const { publicKey } = await suite.hpke.deriveKeyPair(await deriveSecret(bytes(path_secret), 'node', suite.kdf));
      const known = hexOf(getHpkePublicKey(tree[node]!));
      check(hexOf(await suite.hpke.exportPublicKey(publicKey)) === known, `leaf ${index}: the key of node ${node}`);
    }
    const secrets = Object.fromEntries(path_secrets.map(({ node, path_secret }) => [node, bytes(path_secret)]));
    const own = { leafIndex: index, privateKeys: { [2 * index]: bytes(encryption_priv) } };
    members.push(mergePrivateKeyPaths(await toPrivateKeyPath(secrets, index, suite), own));
  }
  /** What each member other than the sender gets out of a path, and the secret of the commit. */
  async function read(path: UpdatePath, sender: number, after: RatchetTree, epoch?: number) {
    const to = context(await treeHashRoot(after, suite.hash), epoch);
    const from = leafToNodeIndex(toLeafIndex(sender));
    const found: { member: number; pathSecret: string; commitSecret: string }[] = [];
    for (const member of members.filter(({ leafIndex }) => leafIndex !== sender)) {
      const { nodeIndex, pathSecret } = await applyUpdatePathSecret(
        tree,
        member,
        toLeafIndex(sender),
        to,
        path,
        [],
        suite,
      );
      const commitSecret = await getCommitSecret(after, toNodeIndex(nodeIndex), pathSecret, suite.kdf);
      found.push({ member: member.leafIndex, pathSecret: hexOf(pathSecret), commitSecret: hexOf(commitSecret) });
    }
    const leaf = after[from];
    const isSigned =
      leaf?.nodeType === 'leaf' &&
      (await verifyLeafNodeSignature(leaf.leaf, bytes(vector.group_id), sender, suite.signature));
    check(isSigned, `sender ${sender}: the signature of the new leaf`);
    return found;
  }
  for (const { sender, update_path, path_secrets, commit_secret, tree_hash_after } of vector.update_paths) {
    const path = decodeUpdatePath(bytes(update_path), 0)![0];
    const after = await applyUpdatePath(tree, toLeafIndex(sender), path, suite.hash);
    check(hexOf(await treeHashRoot(after, suite.hash)) === tree_hash_after, `sender ${sender}: tree_hash_after`);
    for (const { member, pathSecret, commitSecret } of await read(path, sender, after)) {
      check(pathSecret === path_secrets[member], `sender ${sender}: the path secret of ${member}`);
      check(commitSecret === commit_secret, `sender ${sender}: the commit secret of ${member}`);
    }
    const { signature_priv } = vector.leaves_private.find(({ index }) => index === sender)!;
    const key = bytes(signature_priv);
    const [made, own] = await createUpdatePath(tree, toLeafIndex(sender), context(new Uint8Array()), key, suite);
    const applied = await applyUpdatePath(tree, toLeafIndex(sender), own, suite.hash);
    check(hexOf(encodeRatchetTree(applied)) === hexOf(encodeRatchetTree(made)), `sender ${sender}: a path of our own`);
    const secrets = new Set((await read(own, sender, applied, vector.epoch + 1)).map((each) => each.commitSecret));
    check(secrets.size === 1, `sender ${sender}: one commit secret of a path of our own`);
  }
});
