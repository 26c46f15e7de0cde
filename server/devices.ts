/** The devices of one person, as he sees them: which there are, and the end of one that is lost or was never his. */
import { ChatError } from '../base/errors.ts';
import type { Fingerprint } from '../base/bytes.ts';
import type { Reply } from '../protocol/messages.ts';
import type { Store } from '../store/store.ts';
import type { Hub } from './hub.ts';
import type { Member } from './members.ts';

/** More than anybody can use at once; those that are revoked come last. */
const MAX_LISTED = 200;

export class Devices {
  readonly #store: Store;
  readonly #hub: Hub;
  readonly #now: () => number;

  constructor(store: Store, hub: Hub, now: () => number) {
    this.#store = store;
    this.#hub = hub;
    this.#now = now;
  }

  async list({ user }: Member): Promise<Reply<'devices'>['devices']> {
    const devices = await this.#store.devicesOf(user.id, MAX_LISTED);
    return devices.map(({ id, fingerprint, firstSeen, notAfter, revokedAt }) => ({
      fingerprint,
      first_seen: firstSeen,
      not_after: notAfter,
      ...(revokedAt === null ? {} : { revoked_at: revokedAt }),
      online: this.#hub.isOnline(id),
    }));
  }

  /**
   * Ends a device for good: its connection is cut, no roster lists it any more, and its certificate is refused from now on.
   * @throws NOT_FOUND for a device of somebody else as for one that does not exist; NOT_ALLOWED/this_device for the one that asks
   */
  async revoke({ user, device }: Member, fingerprint: Uint8Array): Promise<void> {
    const found = await this.#store.deviceByFingerprint(fingerprint as Fingerprint);
    if (found === null || found.userId !== user.id)
      throw new ChatError('NOT_FOUND', 'you have no such device', { field: 'device_revoke.fingerprint' });
    if (found.id === device.id)
      throw new ChatError('NOT_ALLOWED', 'a device does not revoke itself', { sub: 'this_device' });
    this.#hub.revoked(await this.#store.revokeDevices({ serialKey: found.serialKey }, this.#now()));
  }
}
