/** Which rules a group has: those of two people, or those of a room. Judged by the group's own settings, chosen by what the conversation is. */
import type { Device } from './e2ee/binding.ts';
import { checkDirect, directPolicy, directSettings } from './e2ee/direct.ts';
import type { Policy } from './e2ee/group.ts';
import { checkRoom, roomPolicy, roomRules, roomSettings } from './e2ee/room.ts';
import type { Roster } from './vault.ts';

export const policy: Policy = (change) =>
  roomRules(change.settings) === null ? directPolicy(change) : roomPolicy(change);

/** @param own username of who makes the group */
export const settingsOf = ({ peer, members, room }: Roster, own: string): Buffer =>
  room === undefined
    ? directSettings(usersOf({ members }))
    : roomSettings({ room: peer, isPublic: room.public, owner: own });

/** What somebody finds who comes in. @throws DECRYPT_FAIL/policy for a group that is not the one of this conversation */
export function checkEntry({ peer, members, room }: Roster, settings: Uint8Array, inside: readonly Device[]): void {
  if (room === undefined) checkDirect(settings, inside, usersOf({ members }));
  else checkRoom(settings, { room: peer, isPublic: room.public });
}

export const usersOf = (roster: Pick<Roster, 'members'>): string[] => roster.members.map(({ username }) => username);
