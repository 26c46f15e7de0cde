/**
 * Becoming a member: by a Welcome (RFC 9420 §12.4.3.1) or by one's own commit (§12.4.3.2). In place of the library's two functions, which
 * refuse valid groups, take quadratic time, and never return when the leaf to replace is not there.
 */
import { equal } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { externalKey, inlineTree } from './invitation.ts';
import {
  accumulatePskSecret,
  addLeafNode,
  createConfirmationTag,
  createContentCommitSignature,
  createSecretTree,
  createUpdatePath,
  decryptGroupInfo,
  decryptGroupSecrets,
  deriveKeySchedule,
  deriveSecret,
  directPath,
  emptyPskIndex,
  encodeLeafNode,
  encodeMlsMessage,
  exportSecret,
  extensionsSupportedByCapabilities,
  getCommitSecret,
  initializeEpoch,
  leafToNodeIndex,
  leafWidth,
  makeKeyPackageRef,
  mergePrivateKeyPaths,
  nextEpochContext,
  nodeToLeafIndex,
  pathToPathSecrets,
  protectPublicMessage,
  removeLeafNode,
  toLeafIndex,
  toNodeIndex,
  toPrivateKeyPath,
  treeHashRoot,
  updateLeafKey,
  verifyGroupInfoSignature,
  type CiphersuiteImpl,
  type ClientConfig,
  type ClientState,
  type GroupInfo,
  type KeyPackage,
  type PrivateKeyPackage,
  type PrivateKeyPath,
  type Proposal,
  type PskIndex,
  type RatchetTree,
  type Welcome,
} from './mls.ts';
import { checkWidth, validateTree } from './tree.ts';

/** What both ways of joining need. */
export interface Joining {
  readonly suite: CiphersuiteImpl;
  /** Its authService judges every leaf of the tree. */
  readonly config: ClientConfig;
  readonly keyPackage: KeyPackage;
  readonly privateKeys: PrivateKeyPackage;
  /** Where the group info does not bring it. */
  readonly tree?: RatchetTree;
}

/**
 * RFC 9420 §12.4.3.1. Groups that continue others (resumption PSKs) are refused. `signer` is the leaf index of who let us in.
 * @throws DECRYPT_FAIL with sub `welcome` or `tree`
 */
export async function joinGroup(
  welcome: Welcome,
  joining: Joining,
  psks: PskIndex = emptyPskIndex,
): Promise<{ readonly state: ClientState; readonly signer: number }> {
  const { suite, config, keyPackage, privateKeys } = joining;
  const reference = await makeKeyPackageRef(keyPackage, suite.hash);
  if (welcome.cipherSuite !== keyPackage.cipherSuite) refuse('it is for another cipher suite than the key package');
  const secrets = await secretsFor(reference, welcome, privateKeys, suite);
  if (secrets.psks.some((psk) => psk.psktype === 'resumption')) refuse('it continues another group');
  const zeroes = new Uint8Array(suite.kdf.size);
  const [pskSecret] = await orRefuse('a pre-shared key', accumulatePskSecret(secrets.psks, psks, suite, zeroes));
  const info = await orRefuse('its group info', decryptGroupInfo(welcome, secrets.joinerSecret, pskSecret, suite));
  const tree = await acceptInfo(info, joining);
  const context = info.groupContext;

  const leafIndex = ownLeaf(tree, keyPackage);
  const privatePath = await privatePathOf(tree, leafIndex, info.signer, secrets.pathSecret, joining);
  const [keySchedule, encryptionSecret] = await deriveKeySchedule(secrets.joinerSecret, pskSecret, context, suite.kdf);
  const { confirmationTag } = info;
  if (!(await suite.hash.verifyMac(keySchedule.confirmationKey, confirmationTag, context.confirmedTranscriptHash)))
    refuse('its confirmation tag is wrong');
  const state: ClientState = {
    groupContext: context,
    ratchetTree: tree,
    privatePath,
    signaturePrivateKey: privateKeys.signaturePrivateKey,
    confirmationTag,
    unappliedProposals: {},
    keySchedule,
    secretTree: await createSecretTree(leafWidth(tree.length), encryptionSecret, suite.kdf),
    historicalReceiverData: new Map(),
    groupActiveState: { kind: 'active' },
    clientConfig: config,
  };
  return { state, signer: info.signer };
}

export interface ExternalJoin {
  /** Counts only when the commit is accepted. */
  readonly state: ClientState;
  /** An MLSMessage with a PublicMessage in it: nobody outside has keys to hide it with. */
  readonly commit: Uint8Array;
}

/**
 * RFC 9420 §12.4.3.2: a commit by which one adds oneself.
 * @param former leaf index of this same device's previous appearance, which the commit removes; undefined: none
 * @throws DECRYPT_FAIL with sub `welcome` or `tree`
 */
export async function joinExternal(
  info: GroupInfo,
  joining: Joining,
  former: number | undefined,
  authenticatedData: Uint8Array,
): Promise<ExternalJoin> {
  const { suite, config, keyPackage, privateKeys } = joining;
  const external = externalKey(info) ?? refuse('the group does not let anybody join by himself');
  const current = await acceptInfo(info, joining);
  const { groupContext } = info;
  const { enc: kemOutput, secret: initSecret } = await orRefuse('its external key', exportSecret(external, suite));

  const vacated = former === undefined ? current : removeLeafNode(current, toLeafIndex(former));
  const [withLeaf, nodeIndex] = addLeafNode(vacated, keyPackage.leafNode);
  const leafIndex = nodeToLeafIndex(nodeIndex);
  checkWidth(leafWidth(withLeaf.length));
  const [tree, path, pathSecrets, leafKey] = await createUpdatePath(
    withLeaf,
    leafIndex,
    groupContext,
    privateKeys.signaturePrivateKey,
    suite,
  );
  const top = pathSecrets.at(-1);
  const commitSecret = top
    ? await getCommitSecret(tree, toNodeIndex(top.nodeIndex), top.secret, suite.kdf)
    : new Uint8Array(suite.kdf.size);
  const proposals: Proposal[] = [
    ...(former === undefined ? [] : [{ proposalType: 'remove' as const, remove: { removed: former } }]),
    { proposalType: 'external_init', externalInit: { kemOutput } },
  ];
  const { signature, framedContent: content } = await createContentCommitSignature(
    groupContext,
    'mls_public_message',
    { proposals: proposals.map((proposal) => ({ proposalOrRefType: 'proposal', proposal })), path },
    { senderType: 'new_member_commit' },
    authenticatedData,
    privateKeys.signaturePrivateKey,
    suite.signature,
  );
  const context = await nextEpochContext(
    groupContext,
    'mls_public_message',
    content,
    signature,
    await treeHashRoot(tree, suite.hash),
    info.confirmationTag,
    suite.hash,
  );
  const noPsk = new Uint8Array(suite.kdf.size);
  const { keySchedule, encryptionSecret } = await initializeEpoch(initSecret, commitSecret, context, noPsk, suite.kdf);
  const { confirmationKey, membershipKey } = keySchedule;
  const confirmationTag = await createConfirmationTag(confirmationKey, context.confirmedTranscriptHash, suite.hash);
  const auth = { signature, confirmationTag, contentType: 'commit' as const };
  const authenticated = { content, auth, wireformat: 'mls_public_message' as const };
  const publicMessage = await protectPublicMessage(membershipKey, context, authenticated, suite);
  const privatePath = updateLeafKey(
    await toPrivateKeyPath(pathToPathSecrets(pathSecrets), leafIndex, suite),
    await suite.hpke.exportPrivateKey(leafKey),
  );
  return {
    state: {
      groupContext: context,
      ratchetTree: tree,
      privatePath,
      signaturePrivateKey: privateKeys.signaturePrivateKey,
      confirmationTag,
      unappliedProposals: {},
      keySchedule,
      secretTree: await createSecretTree(leafWidth(tree.length), encryptionSecret, suite.kdf),
      historicalReceiverData: new Map(),
      groupActiveState: { kind: 'active' },
      clientConfig: config,
    },
    commit: encodeMlsMessage({ version: 'mls10', wireformat: 'mls_public_message', publicMessage }),
  };
}

function refuse(why: string, cause?: unknown): never {
  throw new ChatError('DECRYPT_FAIL', `invitation: ${why}`, {
    sub: 'welcome',
    ...(cause === undefined ? {} : { cause }),
  });
}

async function orRefuse<T>(what: string, work: Promise<T | undefined>): Promise<T> {
  try {
    const value = await work;
    if (value !== undefined) return value;
  } catch (cause) {
    refuse(`${what} cannot be opened`, cause);
  }
  return refuse(`${what} cannot be read`);
}

async function secretsFor(reference: Uint8Array, welcome: Welcome, keys: PrivateKeyPackage, suite: CiphersuiteImpl) {
  if (!welcome.secrets.some((entry) => equal(entry.newMember, reference))) refuse('it is not for this key package');
  const initKey = await suite.hpke.importPrivateKey(keys.initPrivateKey);
  return orRefuse('its secrets', decryptGroupSecrets(initKey, reference, welcome, suite.hpke));
}

/** What RFC 9420 §12.4.3.1 and §12.4.3.2 check of a GroupInfo. The tree, which is then good. */
async function acceptInfo(info: GroupInfo, { suite, config, keyPackage, tree: given }: Joining): Promise<RatchetTree> {
  const { groupContext, signer } = info;
  if (groupContext.version !== 'mls10' || groupContext.cipherSuite !== keyPackage.cipherSuite)
    refuse('the group has another version or cipher suite than the key package');
  if (!extensionsSupportedByCapabilities(groupContext.extensions, keyPackage.leafNode.capabilities))
    refuse('the group has an extension that this device does not know');
  const tree = inlineTree(info) ?? given ?? refuse('its tree is missing');
  const signerNode = tree[leafToNodeIndex(toLeafIndex(signer))];
  if (signerNode?.nodeType !== 'leaf') return refuse('it is signed by nobody in the group');
  if (!(await verifyGroupInfoSignature(info, signerNode.leaf.signaturePublicKey, suite.signature)))
    refuse('its signature is wrong');
  await validateTree(tree, groupContext, config.authService, suite);
  return tree;
}

function ownLeaf(tree: RatchetTree, { leafNode }: KeyPackage): number {
  const at = tree.findIndex(
    (node) =>
      node?.nodeType === 'leaf' &&
      equal(node.leaf.hpkePublicKey, leafNode.hpkePublicKey) &&
      equal(encodeLeafNode(node.leaf), encodeLeafNode(leafNode)),
  );
  return at < 0 ? refuse('this device is not in the group') : nodeToLeafIndex(toNodeIndex(at));
}

/**
 * The private keys of the nodes that the committer told us: from the lowest node above us both, up along those that are not blank.
 * Each must fit the public key in the tree, else one member could give another a key of a different group.
 */
async function privatePathOf(
  tree: RatchetTree,
  leafIndex: number,
  signer: number,
  pathSecret: Uint8Array | undefined,
  { suite, privateKeys }: Joining,
): Promise<PrivateKeyPath> {
  const width = leafWidth(tree.length);
  const leafNode = leafToNodeIndex(toLeafIndex(leafIndex));
  const own: PrivateKeyPath = { leafIndex, privateKeys: { [leafNode]: privateKeys.hpkePrivateKey } };
  if (pathSecret === undefined) return own;
  const above = new Set(directPath(leafToNodeIndex(toLeafIndex(signer)), width));
  const shared = directPath(leafNode, width).filter((n) => above.has(n) && tree[n]);
  const secrets: Record<number, Uint8Array> = {};
  let secret = pathSecret;
  for (const n of shared) {
    secrets[n] = secret;
    const { publicKey } = await suite.hpke.deriveKeyPair(await deriveSecret(secret, 'node', suite.kdf));
    const node = tree[n];
    if (node?.nodeType !== 'parent' || !equal(await suite.hpke.exportPublicKey(publicKey), node.parent.hpkePublicKey))
      refuse('its path secret does not fit the tree');
    secret = await deriveSecret(secret, 'path', suite.kdf);
  }
  return mergePrivateKeyPaths(await toPrivateKeyPath(secrets, leafIndex, suite), own);
}
