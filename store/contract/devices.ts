/** Devices of users: certificates that were registered, renewed and revoked. A device is active while it is neither revoked nor past its notAfter. */
import type { Fingerprint } from '../../base/bytes.ts';

export interface NewDevice {
  readonly userId: number;
  readonly fingerprint: Fingerprint;
  /** issuer and serial, hashed: the same for every malleated copy of the certificate */
  readonly serialKey: string;
  /** SHA-256 of the SubjectPublicKeyInfo */
  readonly spkiHash: Uint8Array;
  /** DER certificates, leaf first, concatenated as u32 length ‖ DER */
  readonly chain: Uint8Array;
  readonly notAfter: number;
  /** the device that goes on under this certificate, if that was proven */
  readonly continues?: number;
}

export interface Device extends Omit<NewDevice, 'continues'> {
  readonly id: number;
  readonly firstSeen: number;
  readonly revokedAt: number | null;
}

export interface DeviceStore {
  /**
   * Registers a certificate for a user, or finds it (then nothing changes), also one that was revoked and comes in another encoding: with
   * serial key, key and end of a revoked device of the user, it is that device. A new one raises the user's deviceEpoch. One with the key of
   * an unrevoked device of the user, that ends no earlier than that device's certificate, and one for a device that `continues` (an unrevoked
   * one of the user), renews it: the device keeps its id and its queue, counts once, loses its key packages, and its certificate before is kept as a device of its own that is revoked at `now`.
   * @returns besides, the `spkiHash` of all certificates that the device has had, the present one first; and which one this has renewed
   * @throws DEVICE_LIMIT when the user has `limit` active devices at `now`, and it is none of them that is renewed
   * @throws CERT_ACCOUNT_MISMATCH when the certificate belongs to another user
   * @throws NOT_FOUND with field `userId`
   */
  addDevice(
    device: NewDevice,
    now: number,
    limit: number,
  ): Promise<{
    readonly device: Device;
    readonly isNew: boolean;
    readonly keyHashes: readonly Uint8Array[];
    readonly renewed: Fingerprint | null;
  }>;
  /** All that a user ever had, expired ones as well, and behind them those that were revoked; of each the newest first, at most `limit`. */
  devicesOf(userId: number, limit: number): Promise<Device[]>;
  deviceByFingerprint(fingerprint: Fingerprint): Promise<(Device & { readonly username: string }) | null>;
  /** Marks devices revoked that match; raises the epochs; answers the ids of all that match. Repeating changes nothing, and answers the same. */
  revokeDevices(by: { readonly serialKey: string } | { readonly spkiHash: Uint8Array }, at: number): Promise<number[]>;
}
