/**
 * How members judge each other while the library works: whose leaf is whose device, and whether all that is needed to say so is there.
 * The rules for adding and the form in which a policy sees a change are here as well.
 */
import { equal, hex } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { isCurrent, parseCredential, type Authority, type Device } from './binding.ts';
import type { DeviceName, RosterChange } from './group.ts';
import type { Change, Occupant } from './occupants.ts';
import { refuse } from './refusal.ts';
import { RETENTION } from './sender-data.ts';
import { isTimely } from './key-package.ts';
import type { ClientConfig, LeafNode } from './mls.ts';

/** Bindings that are needed and not there. Fetch them into the authority's map, then do the same again. */
export class MissingBindings extends ChatError {
  /** As `bindingName` gives them. */
  readonly names: readonly string[];
  constructor(names: readonly string[]) {
    super('NOT_FOUND', `${names.length} device bindings have to be fetched`, { sub: 'binding' });
    this.names = names;
  }
}

/**
 * Runs `work` with judges that note which bindings are missing instead of stopping at the first; if any was, nothing of the result
 * counts, for states are values. @throws MissingBindings, and what Authority.resolve() throws
 */
export async function judging<T>(
  authority: Authority,
  work: (config: ClientConfig, device: (leaf: LeafNode) => Device) => Promise<T>,
): Promise<T> {
  const missing = new Set<string>();
  const resolve = (leaf: Pick<LeafNode, 'credential' | 'signaturePublicKey'>): Device | null => {
    const device = authority.resolve(leaf.credential, leaf.signaturePublicKey);
    if (!device) missing.add(hex(parseCredential(leaf.credential).bindingHash));
    return device;
  };
  const config = configOf(async (credential, signaturePublicKey) => {
    resolve({ credential, signaturePublicKey });
    return true; // a good one, or a missing one: a bad one has thrown
  });
  const device = (leaf: LeafNode): Device => {
    const resolved = resolve(leaf);
    if (!resolved) throw new MissingBindings([...missing]);
    return resolved;
  };
  const result = await work(config, device).catch((error: unknown) => {
    throw missing.size > 0 ? new MissingBindings([...missing]) : error;
  });
  if (missing.size > 0) throw new MissingBindings([...missing]);
  return result;
}

/** For calls in which nobody is judged there is nobody to ask. */
export const configOf = (
  validateCredential: ClientConfig['authService']['validateCredential'] = async () => false,
): ClientConfig => ({ ...FIXED_CONFIG, authService: { validateCredential } });

/** The same for two leaves of one device. */
export const nameOf = ({ user, deviceId }: DeviceName): string => `${user}/${hex(deviceId)}`;
/** @throws DECRYPT_FAIL/freshness */
export function checkAdmission(device: Device, leaf: LeafNode, at: number): void {
  if (!isTimely(leaf, at))
    refuse('freshness', `the key package of a device of ${device.user} is not valid at this time`);
  if (!isCurrent(device, at))
    refuse('freshness', `the binding of a device of ${device.user} is not valid at this time`);
}

export function toRosterChange(
  { committer, isExternal, added, removed }: Change,
  members: readonly Device[],
  settings: Uint8Array,
  device: (leaf: LeafNode) => Device,
): RosterChange {
  const deviceOf = ({ leaf }: Occupant) => device(leaf);
  return {
    by: deviceOf(committer),
    isExternal,
    added: added.map(device),
    removed: removed.map(deviceOf),
    members,
    settings,
  };
}

const FIXED_CONFIG: Omit<ClientConfig, 'authService'> = {
  keyRetentionConfig: RETENTION,
  lifetimeConfig: { maximumTotalLifetime: 0n, validateLifetimeOnReceive: false }, // isTimely() does it, with the time of the log
  keyPackageEqualityConfig: {
    compareKeyPackages: (a, b) => equal(a.leafNode.signaturePublicKey, b.leafNode.signaturePublicKey),
    compareKeyPackageToLeafNode: (a, b) => equal(a.leafNode.signaturePublicKey, b.signaturePublicKey),
  },
  paddingConfig: { kind: 'alwaysPad', paddingLength: 0 }, // pad() does it, in classes
};
