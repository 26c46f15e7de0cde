/** The devices of this user's account: which there are, which of them are his own by his word, and the end of one. */
import { equal, type ConversationId, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Reply } from '../protocol/messages.ts';
import type { Handover } from './handover.ts';
import type { Line } from './line.ts';
import type { Session } from './session.ts';
import type { Vault } from './vault.ts';

export class OwnDevices {
  readonly #vault: Vault;
  readonly #line: Line;
  readonly #give: (session: Session, self: ConversationId, to: Fingerprint, since: number) => Promise<void>;
  readonly #now: () => number;

  constructor(vault: Vault, line: Line, handover: Handover, now: () => number) {
    this.#vault = vault;
    this.#line = line;
    this.#give = (...given) => handover.give(...given);
    this.#now = now;
  }

  /** Of this account; those that are not revoked come first, of each the newest. */
  list(): Promise<Reply<'devices'>['devices']> {
    return this.#line.asked(async ({ requester, rosters }) => {
      await rosters.openSelf(); // which of them is one that was approved under an earlier certificate
      return (await requester.request({ type: 'device_list' }, 'devices')).devices;
    });
  }
  /** @throws NOT_FOUND; NOT_ALLOWED/this_device */
  async revoke(fingerprint: Uint8Array): Promise<void> {
    await this.#line.asked(({ requester }) => requester.request({ type: 'device_revoke', fingerprint }, 'ok'));
    this.#vault.handovers.withdraw(fingerprint);
  }
  /** Devices that this profile has approved, as fingerprints in hexadecimal. */
  approved(): Set<string> {
    return this.#vault.handovers.approved();
  }
  /**
   * This user says that a device is his own. @param since Unix ms: it gets what was said from then on; null: it gets no history
   * @throws NOT_FOUND; BAD_CERT for one whose certificate is not this user's; NOT_REACHED when not all of it is at the server yet
   */
  async approve(fingerprint: Fingerprint, since: number | null): Promise<void> {
    await this.#line.asked(async (session) => {
      const self = await session.rosters.openSelf();
      const trusted = await session.rosters.trusted(self.id); // checks each certificate
      if (!trusted.members[0]!.devices.some((each) => equal(each, fingerprint)))
        throw new ChatError('NOT_FOUND', 'you have no such device that is valid now');
      this.#vault.handovers.approve(fingerprint, this.#now());
      if (since !== null) await this.#give(session, self.id, fingerprint, since);
    });
  }
}
