/** Key packages (RFC 9420 §10): what lets others add this device to a group while it is away. Each is good for one group and some time. */
import { concat, equal, hex, u16, u32 } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import { Cursor } from '../../base/cursor.ts';
import { credentialOf, type Device } from './binding.ts';
import { refuse } from './refusal.ts';
import {
  decodeKeyPackage,
  decodeMlsMessage,
  encodeKeyPackage,
  encodeMlsMessage,
  extensionsSupportedByCapabilities,
  generateKeyPackageWithKey,
  makeKeyPackageRef,
  verifyKeyPackage,
  verifyLeafNodeSignatureKeyPackage,
  type Capabilities,
  type CiphersuiteImpl,
  type KeyPackage,
  type LeafNode,
  type PrivateKeyPackage,
} from './mls.ts';
import { SUITE } from './provider.ts';
import { checkKey, checkLeaf } from './tree.ts';

/** This device: its binding, and the private key that goes with `mlsKey`. */
export interface OwnDevice extends Pick<Device, 'user' | 'deviceId' | 'bindingHash' | 'mlsKey'> {
  readonly mlsPrivateKey: Uint8Array;
}

/** Unix ms; both ends belong to it. */
export interface Validity {
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface OwnKeyPackage {
  /** RFC 9420 §5.2: how a Welcome says whom it is for. */
  readonly reference: Uint8Array;
  /** For the server's pool: an MLSMessage of some 2.7 kB. */
  readonly published: Uint8Array;
  /** For the vault, until the state of the group that used it is durable. */
  readonly secret: Uint8Array;
}

/** A third of a year: the longest a last-resort package may lie in a pool. The library enforces nothing here. */
export const MAX_LIFETIME_MS = 120 * 86_400_000;
export const MAX_KEY_PACKAGE_BYTES = 16 * 1024;
/** RFC 9420 §17.3 leaves 0xf000..0xffff to private use: the group's own settings, fixed when it was created. */
export const SETTINGS_EXTENSION = 0xf0c1;

const CAPABILITIES: Capabilities = {
  versions: ['mls10'],
  ciphersuites: [SUITE],
  extensions: [SETTINGS_EXTENSION],
  proposals: [],
  credentials: ['basic'],
};

export interface PrivatePackage {
  readonly keyPackage: KeyPackage;
  readonly privateKeys: PrivateKeyPackage;
}

/** @throws RangeError for a validity longer than MAX_LIFETIME_MS */
export async function generate(device: OwnDevice, validity: Validity, suite: CiphersuiteImpl): Promise<PrivatePackage> {
  const { notBefore, notAfter } = validity;
  if (notAfter <= notBefore || notAfter - notBefore > MAX_LIFETIME_MS)
    throw new RangeError('validity of a key package');
  const lifetime = { notBefore: seconds(notBefore), notAfter: seconds(notAfter) };
  const keys = { signKey: device.mlsPrivateKey, publicKey: device.mlsKey };
  const { publicPackage: keyPackage, privatePackage: privateKeys } = await generateKeyPackageWithKey(
    credentialOf(device),
    CAPABILITIES,
    lifetime,
    [],
    keys,
    suite,
  );
  return { keyPackage, privateKeys };
}

export async function toOwn(
  { keyPackage, privateKeys }: PrivatePackage,
  suite: CiphersuiteImpl,
): Promise<OwnKeyPackage> {
  const encoded = encodeKeyPackage(keyPackage);
  const { initPrivateKey: init, hpkePrivateKey: leaf } = privateKeys;
  return {
    reference: await makeKeyPackageRef(keyPackage, suite.hash),
    published: encodeMlsMessage({ version: 'mls10', wireformat: 'mls_key_package', keyPackage }),
    secret: concat(Buffer.of(1), u32(encoded.length), encoded, u16(init.length), init, u16(leaf.length), leaf),
  };
}

/** @throws BAD_FRAME */
export function openSecret(secret: Uint8Array, device: OwnDevice): PrivatePackage {
  const reader = new Cursor(new Uint8Array(secret), 'keyPackage');
  if (reader.u8() !== 1) reader.refuse(undefined, 'version 1');
  const encoded = reader.take(reader.u32());
  const initPrivateKey = reader.take(reader.u16());
  const hpkePrivateKey = reader.take(reader.u16());
  reader.end();
  const keyPackage = decodeKeyPackage(encoded, 0)?.[0] ?? reader.refuse(undefined, 'a key package');
  const privateKeys = { initPrivateKey, hpkePrivateKey, signaturePrivateKey: device.mlsPrivateKey };
  return { keyPackage, privateKeys };
}

/** One that the server handed out. Its signatures are checked where it is used. @throws TOO_LARGE, BAD_FRAME */
export function parseKeyPackage(published: Uint8Array): KeyPackage {
  if (published.length > MAX_KEY_PACKAGE_BYTES)
    throw new ChatError('TOO_LARGE', `a key package of ${published.length} bytes`, { field: 'keyPackage' });
  try {
    const message = decodeMlsMessage(new Uint8Array(published), 0)?.[0];
    if (message?.wireformat === 'mls_key_package' && equal(encodeMlsMessage(message), published))
      return message.keyPackage;
  } catch (cause) {
    throw new ChatError('BAD_FRAME', 'not a key package', { field: 'keyPackage', cause });
  }
  throw new ChatError('BAD_FRAME', 'not a key package', { field: 'keyPackage' });
}

/**
 * That every group takes it, but for who is in that: one that is not good would spoil the commit that lets others in as well.
 * @throws DECRYPT_FAIL with sub `key_package` or `tree`
 */
export async function checkPackage(keyPackage: KeyPackage, { signature, hpke }: CiphersuiteImpl): Promise<void> {
  const { version, cipherSuite, initKey, leafNode } = keyPackage;
  if (version !== 'mls10' || cipherSuite !== SUITE) unfit('it is for another cipher suite');
  const needed = [...leafNode.extensions, { extensionType: SETTINGS_EXTENSION, extensionData: new Uint8Array() }];
  if (!extensionsSupportedByCapabilities(needed, leafNode.capabilities)) unfit('its device does not know our groups');
  checkLeaf(leafNode);
  if (equal(initKey, leafNode.hpkePublicKey)) unfit('it has one key for two purposes');
  for (const key of [initKey, leafNode.hpkePublicKey]) await checkKey(key, hpke);
  const isSigned = await verifyLeafNodeSignatureKeyPackage(leafNode, signature);
  if (!isSigned || !(await verifyKeyPackage(keyPackage, signature))) unfit('it is not signed by its device');
}
function unfit(why: string): never {
  refuse('key_package', `a key package that cannot be used: ${why}`);
}

/** Hashes of the keys of a leaf, which no other place in its group may have. */
export const leafKeys = ({ hpkePublicKey, signaturePublicKey }: LeafNode): string[] =>
  [hpkePublicKey, signaturePublicKey].map((key) => hex(sha256(key)));

/** Whether this leaf, newly added, comes from a key package that may be used at that time. */
export function isTimely(leaf: LeafNode, at: number): boolean {
  if (leaf.leafNodeSource !== 'key_package') return true;
  const { notBefore, notAfter } = leaf.lifetime;
  const now = seconds(at);
  return notBefore <= now && now <= notAfter && notAfter - notBefore <= seconds(MAX_LIFETIME_MS);
}

const seconds = (ms: number): bigint => BigInt(Math.floor(ms / 1000));
