/** Devices that an authority has revoked, until the store knows it: they are nobody's audience any more, also if they never connect again. */
import type { Store } from '../store/store.ts';
import type { Hub } from './hub.ts';

export class RevokedDevices {
  readonly #store: Pick<Store, 'revokeDevices'>;
  readonly #hub: Pick<Hub, 'forgetDevices'>;
  readonly #now: () => number;
  readonly #serialKeys = new Set<string>();

  constructor(store: Pick<Store, 'revokeDevices'>, hub: Pick<Hub, 'forgetDevices'>, now: () => number) {
    this.#store = store;
    this.#hub = hub;
    this.#now = now;
  }

  add(serialKeys: readonly string[]): void {
    for (const key of serialKeys) this.#serialKeys.add(key);
  }

  /** @throws STORE_FAILED; then it is to be called again */
  async flush(): Promise<void> {
    for (const serialKey of this.#serialKeys) {
      const devices = await this.#store.revokeDevices({ serialKey }, this.#now());
      if (devices.length > 0) this.#hub.forgetDevices(devices);
      this.#serialKeys.delete(serialKey); // not before the store has it: the next round tries again
    }
  }
}
