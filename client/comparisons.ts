/** What two people compare, and what this one says of it: shown, confirmed, taken back. */
import { ChatError } from '../base/errors.ts';
import { canonicalUsername } from '../x509/identity.ts';
import type { ClientIdentity } from './identity.ts';
import { confirmNumber, showNumber } from './marks.ts';
import { isRoomName } from './room-terms.ts';
import type { Conversation } from './roster.ts';
import type { Vault } from './vault.ts';
import { verificationOf, type Verification } from './verification.ts';

export class Comparisons {
  readonly #vault: Vault;
  readonly #own: ClientIdentity;
  readonly #open: (peer: string) => Promise<Conversation>;
  readonly #now: () => number;

  constructor(vault: Vault, own: ClientIdentity, open: (peer: string) => Promise<Conversation>, now: () => number) {
    this.#vault = vault;
    this.#own = own;
    this.#open = open;
    this.#now = now;
  }

  /**
   * What to compare with somebody, by voice or face to face; a person gets to see it. @throws as App.open(); NOT_FOUND for somebody without
   * a device
   */
  async show(peer: string): Promise<Verification> {
    const found = await this.#of(peer);
    showNumber(this.#vault, found.peer, found.number, found.devices);
    return found;
  }
  /** A person has compared the number that was shown last. @throws as show(); USAGE, NOT_ALLOWED/number */
  async confirm(peer: string): Promise<Verification> {
    const found = await this.#of(peer);
    confirmNumber(this.#vault, found.peer, found.number, found.devices, this.#now());
    return this.#of(peer);
  }
  async #of(peer: string): Promise<Verification> {
    if (isRoomName(peer)) throw new ChatError('BAD_NAME', 'numbers are compared between two people, not with a room');
    return verificationOf(this.#vault, this.#own, await this.#open(peer));
  }
  /** Nothing that was compared with somebody counts any more. @throws NOT_FOUND */
  clear(peer: string): void {
    const name = canonicalUsername(peer);
    if (this.#vault.marks.of(name) === null) throw new ChatError('NOT_FOUND', `${name} is not verified`);
    this.#vault.marks.remove(name);
  }
}
