/**
 * Who is told what was read here: by default nobody, else everybody, and exceptions for single people and rooms. That a message came is
 * always told. What was not said yet is not said any more once it is off.
 */
import { ChatError } from '../base/errors.ts';
import { printable } from '../runtime/printable.ts';
import { canonicalUsername } from '../x509/identity.ts';
import { isRoomName } from './room-terms.ts';
import type { Vault } from './vault.ts';

export const READ_CHOICES = ['on', 'off', 'default'] as const;
export type ReadChoice = (typeof READ_CHOICES)[number];

/**
 * @param choice undefined: nothing changes
 * @param peer username, e-mail address or #room; undefined: all that have no choice of their own
 * @throws USAGE, BAD_NAME; NOT_FOUND for a name that this profile has heard of nowhere: it is mistyped, and would be set for nobody
 */
export function setReadReceipts(vault: Vault, choice: string | undefined, peer: string | undefined): void {
  if (choice === undefined) return;
  const known = READ_CHOICES.find((each) => each === choice);
  if (known === undefined) throw new ChatError('USAGE', `receipts: want one of ${READ_CHOICES.join(', ')}`);
  if (peer === undefined && known === 'default') throw new ChatError('USAGE', 'receipts default: want a name');
  const name = peer === undefined || isRoomName(peer) ? peer : usernameOf(vault, canonicalUsername(peer));
  if (name !== undefined && !isKnown(vault, name))
    throw new ChatError(
      'NOT_FOUND',
      `receipts: this profile knows no ${printable(name, 64)}: add a contact, or write first`,
    );
  vault.transaction(() => {
    if (name === undefined) vault.profile.setSendsRead(known === 'on');
    else vault.profile.setReadException(name, known === 'default' ? null : known === 'on');
    vault.keepReadUnsaid();
  });
}

/** Of an address, whose it is, if that is known here; an address may be a username as well. */
const usernameOf = (vault: Vault, name: string): string =>
  name.includes('@') ? (vault.conversationWith(name)?.peer ?? name) : name;

/** Of a conversation, of a room, as a contact, or by an exception that there is. */
const isKnown = (vault: Vault, name: string): boolean =>
  vault.profile.readExceptions().some(({ peer }) => peer === name) ||
  vault.profile.contacts().some(({ username }) => username === name) ||
  vault.conversations().some(({ peer, members }) => peer === name || members.some(({ username }) => username === name));

/** In words, fit for a terminal. */
export function shownReadReceipts({ profile }: Vault): string[] {
  return [
    `read receipts: ${word(profile.sendsRead())}`,
    ...profile.readExceptions().map(({ peer, read }) => `${printable(peer, 64)}: ${word(read)}`),
  ];
}
export const word = (isOn: boolean): 'on' | 'off' => (isOn ? 'on' : 'off');
