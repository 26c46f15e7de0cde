/**
 * The only door to ts-mls (RFC 9420), pinned to exactly 1.6.4: the names that this room uses, from its public entry and from its deep
 * imports. This file decides nothing.
 */
export {
  createApplicationMessage,
  createCommit,
  createGroup,
  decodeGroupState,
  decodeMlsMessage,
  emptyPskIndex,
  encodeGroupState,
  encodeMlsMessage,
  generateKeyPackageWithKey,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  processPrivateMessage,
  processPublicMessage,
} from 'ts-mls';
export type {
  AuthenticationService,
  Capabilities,
  Ciphersuite,
  CiphersuiteImpl,
  CiphersuiteName,
  ClientConfig,
  ClientState,
  Credential,
  CryptoProvider,
  Extension,
  GroupContext,
  GroupInfo,
  GroupState,
  Hash,
  Hpke,
  IncomingMessageCallback,
  Kdf,
  KeyPackage,
  KeySchedule,
  LeafNode,
  Lifetime,
  MLSMessage,
  PrivateKey,
  PrivateKeyPackage,
  PrivateMessage,
  ProcessMessageResult,
  Proposal,
  ProposalWithSender,
  PskIndex,
  PublicKey,
  PublicMessage,
  RatchetTree,
  SecretTree,
  SecretTreeNode,
  Signature,
  Welcome,
} from 'ts-mls';
export { exportSecret, nextEpochContext } from 'ts-mls/clientState.js';
export { encode } from 'ts-mls/codec/tlsEncoder.js';
export { decodeOptional } from 'ts-mls/codec/optional.js';
export type { Decoder } from 'ts-mls/codec/tlsDecoder.js';
export { decodeVarLenData, determineLength, varLenDataEncoder } from 'ts-mls/codec/variableLength.js';
export { createGroupInfo } from 'ts-mls/createCommit.js';
export { deriveSecret } from 'ts-mls/crypto/kdf.js';
export { extensionsSupportedByCapabilities } from 'ts-mls/extension.js';
export { createConfirmationTag, createContentCommitSignature } from 'ts-mls/framedContent.js';
export { verifyGroupInfoSignature } from 'ts-mls/groupInfo.js';
export { decodeKeyPackage, encodeKeyPackage, makeKeyPackageRef, verifyKeyPackage } from 'ts-mls/keyPackage.js';
export { deriveKeySchedule, initializeEpoch } from 'ts-mls/keySchedule.js';
export { encodeLeafNode, verifyLeafNodeSignature, verifyLeafNodeSignatureKeyPackage } from 'ts-mls/leafNode.js';
export { protectPublicMessage } from 'ts-mls/messageProtectionPublic.js';
export { getCommitSecret, pathToPathSecrets } from 'ts-mls/pathSecrets.js';
export { mergePrivateKeyPaths, toPrivateKeyPath, updateLeafKey } from 'ts-mls/privateKeyPath.js';
export type { PrivateKeyPath } from 'ts-mls/privateKeyPath.js';
export { decryptSenderData } from 'ts-mls/privateMessage.js';
export { accumulatePskSecret } from 'ts-mls/pskIndex.js';
export { addLeafNode, decodeNode, encodeRatchetTree, extendRatchetTree, removeLeafNode } from 'ts-mls/ratchetTree.js';
export { decodeRequiredCapabilities } from 'ts-mls/requiredCapabilities.js';
export { consumeRatchet, createSecretTree, decodeSecretTreeNode, secretTreeNodeEncoder } from 'ts-mls/secretTree.js';
export { leafNodeHashInputEncoder, parentNodeHashInputEncoder, treeHashRoot } from 'ts-mls/treeHash.js';
export {
  directPath,
  leafToNodeIndex,
  leafWidth,
  left,
  nodeToLeafIndex,
  right,
  toLeafIndex,
  toNodeIndex,
} from 'ts-mls/treemath.js';
export type { LeafIndex, NodeIndex } from 'ts-mls/treemath.js';
export { encodeParentHashInput } from 'ts-mls/parentHash.js';
export { createUpdatePath } from 'ts-mls/updatePath.js';
export {
  decodeEncryptedGroupSecrets,
  decryptGroupInfo,
  decryptGroupSecrets,
  encodeEncryptedGroupSecrets,
} from 'ts-mls/welcome.js';
