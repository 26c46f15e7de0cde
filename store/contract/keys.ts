/** What devices publish so that others can add them to groups: bindings, and key packages, of which each is given away once. */
import type { Hash } from '../../base/bytes.ts';

export interface KeyPackages {
  readonly packages: readonly Uint8Array[];
  /** takes the place of the device's last-resort package, which is handed out when no other is left, and stays */
  readonly isLastResort: boolean;
  /** everything that the device had published is void: it has lost the private keys */
  readonly isFresh: boolean;
}

export interface KeyStore {
  /** Keeps a binding under its SHA-256, and the 16 of each device that were put last. @throws NOT_FOUND/device */
  putBinding(deviceId: number, binding: Uint8Array): Promise<void>;
  binding(hash: Hash): Promise<Uint8Array | null>;

  /**
   * Adds to what others may take.
   * @returns how many ordinary packages the device has now
   * @throws QUOTA when that would be more than `limit`; NOT_FOUND/device
   */
  putKeyPackages(deviceId: number, put: KeyPackages, limit: number): Promise<number>;
  /**
   * The oldest package of each device, gone from then on; the last-resort one where no other is left. Devices without any are missing
   * from the answer. Of callers who race, no two get the same ordinary one. @throws NOT_FOUND/device
   */
  takeKeyPackages(deviceIds: readonly number[]): Promise<{ readonly deviceId: number; readonly package: Uint8Array }[]>;
}
