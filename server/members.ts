/** Logged-in connections: of each device the newest, of each user all. */
import type { User } from '../store/contract/accounts.ts';
import type { Device } from '../store/contract/devices.ts';
import type { ServerLink } from '../runtime/link.ts';
import type { Outlet } from './outlet.ts';

/** One logged-in connection. */
export interface Member {
  readonly user: User;
  readonly device: Device;
  readonly link: ServerLink;
  readonly outlet: Outlet;
  readonly watching: Set<number>;
  /** acknowledged by the device, and the store does not know it yet */
  readonly unsettled: Set<number>;
  /** for good, by Hub.endAll() or Hub.revoked(): what it has asked for and was not begun is not carried out */
  isEnded: boolean;
}

const NONE: readonly Member[] = [];

export class Members {
  /** device id → its newest connection */
  readonly #devices = new Map<number, Member>();
  readonly #users = new Map<number, Set<Member>>();

  get deviceCount(): number {
    return this.#devices.size;
  }
  get userCount(): number {
    return this.#users.size;
  }

  ofDevice(deviceId: number): Member | undefined {
    return this.#devices.get(deviceId);
  }
  ofUser(userId: number): Iterable<Member> {
    return this.#users.get(userId) ?? NONE;
  }

  /** @returns whether it is its user's first; and the connection of the same device that it takes the place of */
  add(member: Member): { readonly isFirst: boolean; readonly older: Member | undefined } {
    const { user, device } = member;
    const siblings = this.#users.get(user.id);
    if (siblings) siblings.add(member);
    else this.#users.set(user.id, new Set([member]));
    const older = this.#devices.get(device.id);
    this.#devices.set(device.id, member);
    return { isFirst: siblings === undefined, older };
  }

  /** @returns whether it was its user's last; of one that has gone already: false */
  remove(member: Member): boolean {
    const { user, device } = member;
    if (this.#devices.get(device.id) === member) this.#devices.delete(device.id);
    const siblings = this.#users.get(user.id);
    siblings?.delete(member);
    if (siblings?.size !== 0) return false;
    return this.#users.delete(user.id);
  }
}
