/** What those need who come in: Welcomes cut up so that the server keeps the common part once, group infos, and large trees beside them. */
import { view } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { refuse } from './refusal.ts';
import type { PrivatePackage } from './key-package.ts';
import {
  decodeEncryptedGroupSecrets,
  decodeNode,
  decodeOptional,
  decodeVarLenData,
  determineLength,
  encode,
  encodeEncryptedGroupSecrets,
  encodeRatchetTree,
  extendRatchetTree,
  varLenDataEncoder,
  type Extension,
  type RatchetTree,
  type Welcome,
} from './mls.ts';
import { checkWidth } from './tree.ts';

export const MAX_INLINE_MEMBERS = 50;
export const MAX_TREE_BYTES = 16 * 1024 * 1024;
export const MAX_WELCOME_BYTES = 1024 * 1024;

export interface WelcomeParts {
  readonly shared: Uint8Array;
  /** `device`: SHA-256 of the key that its certificate is for */
  readonly each: readonly {
    readonly device: Uint8Array;
    readonly reference: Uint8Array;
    readonly secrets: Uint8Array;
  }[];
  /** The ratchet tree, for groups of more than MAX_INLINE_MEMBERS; smaller ones have it in `shared`. */
  readonly tree: Uint8Array | null;
}
export interface GroupDoor {
  /** A signed GroupInfo with the key by which one joins from outside. */
  readonly groupInfo: Uint8Array;
  /** As in WelcomeParts. */
  readonly tree: Uint8Array | null;
}
/** @param deviceOf whose key package has this reference */
export function welcomeParts(
  { secrets, encryptedGroupInfo }: Welcome,
  tree: RatchetTree | null,
  deviceOf: (reference: Uint8Array) => Uint8Array,
): WelcomeParts {
  return {
    shared: encryptedGroupInfo,
    each: secrets.map((entry) => ({
      device: deviceOf(entry.newMember),
      reference: entry.newMember,
      secrets: encodeEncryptedGroupSecrets(entry),
    })),
    tree: tree && encodeRatchetTree(tree),
  };
}

/** @throws TOO_LARGE, DECRYPT_FAIL/welcome */
export function assembleWelcome(
  parts: { readonly shared: Uint8Array; readonly secrets: Uint8Array },
  own: PrivatePackage,
): Welcome {
  if (parts.shared.length > MAX_WELCOME_BYTES || parts.secrets.length > MAX_WELCOME_BYTES)
    throw new ChatError('TOO_LARGE', 'an invitation that is too large', { field: 'welcome' });
  try {
    const entry = decodeEncryptedGroupSecrets(view(parts.secrets), 0);
    if (entry && entry[1] === parts.secrets.length)
      return { cipherSuite: own.keyPackage.cipherSuite, secrets: [entry[0]], encryptedGroupInfo: parts.shared };
  } catch (cause) {
    return refuse('welcome', 'an invitation that cannot be read', { cause });
  }
  return refuse('welcome', 'an invitation that cannot be read');
}

/** @throws TOO_LARGE, DECRYPT_FAIL/tree */
export function parseTree(bytes: Uint8Array): RatchetTree {
  if (bytes.length > MAX_TREE_BYTES)
    throw new ChatError('TOO_LARGE', `a tree of ${bytes.length} bytes`, { field: 'tree' });
  try {
    return extendRatchetTree(decodeNodes(new Uint8Array(bytes)));
  } catch (cause) {
    if (cause instanceof ChatError) throw cause;
    return refuse('tree', 'a tree that cannot be read', { cause });
  }
}

/** As they were sent. Counted one by one: the library makes a full tree of them, however many there are. */
function decodeNodes(bytes: Uint8Array): RatchetTree {
  const { length, lengthFieldSize } = determineLength(bytes);
  if (lengthFieldSize + length !== bytes.length) refuse('tree', 'a tree that is not as long as it says');
  const nodes: RatchetTree = [];
  for (let at = lengthFieldSize; at < bytes.length;) {
    checkWidth(nodes.length / 2 + 1);
    const decoded = node(bytes, at);
    if (decoded === undefined) return refuse('tree', 'a tree that ends within a node');
    nodes.push(decoded[0]);
    at += decoded[1];
  }
  return nodes;
}
const node = decodeOptional(decodeNode);

/** The tree that a group info brings itself. @throws as parseTree() */
export const inlineTree = (info: Extended) => {
  const tree = extension(info, 'ratchet_tree');
  return tree && parseTree(tree);
};

/** RFC 9420 §12.4.3.2: a key is a vector inside the extension too, where the library leaves its length out. */
export const externalPub = (key: Uint8Array): Extension => ({
  extensionType: 'external_pub',
  extensionData: encode(varLenDataEncoder)(key),
});

/** The key for who comes from outside; undefined: there is none. @throws DECRYPT_FAIL/welcome */
export function externalKey(info: Extended): Uint8Array | undefined {
  const data = extension(info, 'external_pub');
  if (data === undefined) return undefined;
  try {
    const decoded = decodeVarLenData(data, 0);
    if (decoded && decoded[1] === data.length) return decoded[0];
  } catch (cause) {
    return refuse('welcome', 'an external key that cannot be read', { cause });
  }
  return refuse('welcome', 'an external key that cannot be read');
}

type Extended = { readonly extensions: readonly Extension[] };
const extension = ({ extensions }: Extended, type: Extension['extensionType']) =>
  extensions.find(({ extensionType }) => extensionType === type)?.extensionData;
