/**
 * What was ended while a login was judged. The judging reads the store, and what has changed since it did is known here alone: so a login
 * that began before does not come in after it.
 */
import { hex } from '../base/bytes.ts';
import type { Code } from '../base/errors.ts';
import type { User } from '../store/contract/accounts.ts';
import type { Device } from '../store/contract/devices.ts';

/** What somebody's connections are ended for. */
export interface Ending {
  readonly code: Code;
  readonly sub?: string;
}

/** A person who is connected learns this when he is given another password. */
export const PASSWORD_CHANGED: Ending = { code: 'NOT_LOGGED_IN', sub: 'password' };
/** Of a device, or of the certificate that another one of it has taken the place of. */
export const REVOKED: Ending = { code: 'BAD_CERT', sub: 'revoked' };

export class Endings {
  #count = 0;
  /** user id → what all that he had begun was ended for, and which ending it was */
  readonly #users = new Map<number, { readonly at: number; readonly ending: Ending }>();
  /**
   * Devices that their users have revoked. It is for good; each is a number, and has a certificate of its own. What an authority revokes
   * needs no such memory: revocation.ts cuts links that have not logged in as well.
   */
  readonly #revoked = new Set<number>();
  /** device id → fingerprints of the certificates that others have taken the place of, while the device goes on */
  readonly #renewed = new Map<number, Set<string>>();

  /** How often somebody was ended: to be read before a login is judged. */
  get count(): number {
    return this.#count;
  }

  endUser(userId: number, ending: Ending): void {
    this.#users.set(userId, { at: ++this.#count, ending });
  }
  revoke(deviceId: number): void {
    this.#revoked.add(deviceId);
  }
  renew(deviceId: number, before: Uint8Array): void {
    const earlier = this.#renewed.get(deviceId);
    if (earlier) earlier.add(hex(before));
    else this.#renewed.set(deviceId, new Set([hex(before)]));
  }

  /** Why a login may not come in. @param judgedAt `count` before it was judged. Null: it may */
  of(user: Pick<User, 'id'>, device: Pick<Device, 'id' | 'fingerprint'>, judgedAt: number): Ending | null {
    const ended = this.#users.get(user.id);
    if (ended !== undefined && ended.at > judgedAt) return ended.ending;
    const isPast = this.#revoked.has(device.id) || this.#renewed.get(device.id)?.has(hex(device.fingerprint)) === true;
    return isPast ? REVOKED : null;
  }
}
