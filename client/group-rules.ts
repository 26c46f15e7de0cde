/**
 * Which rules a group has: those of two people, of a room, or of one user's own devices. Judged by the group's own settings, chosen by what
 * the conversation is.
 */
import type { Member } from './e2ee/sketch.ts';
import { checkDirect, directPolicy, directSettings } from './e2ee/direct.ts';
import type { Policy } from './e2ee/group.ts';
import { checkSelf, ownerOf, selfPolicy, selfSettings } from './e2ee/self.ts';
import { checkRoom, roomPolicy, roomRules, roomSettings } from './e2ee/room.ts';
import type { Roster } from './roster.ts';

export const policy: Policy = (change) => {
  if (roomRules(change.settings) !== null) return roomPolicy(change);
  return ownerOf(change.settings) === null ? directPolicy(change) : selfPolicy(change);
};

/** Whether a conversation is that of its only member's own devices. */
export const isSelf = ({ members, room }: { readonly members: Roster['members']; readonly room?: unknown }): boolean =>
  room === undefined && members.length === 1;

/** @param own username of who makes the group */
export function settingsOf({ peer, members, room }: Roster, own: string): Buffer {
  if (room !== undefined) return roomSettings({ room: peer, isPublic: room.public, owner: own });
  return isSelf({ members, room }) ? selfSettings(own) : directSettings(usersOf({ members }));
}

/** What somebody finds who comes in. @throws DECRYPT_FAIL/policy for a group that is not the one of this conversation */
export function checkEntry({ peer, members, room }: Roster, settings: Uint8Array, inside: readonly Member[]): void {
  if (room !== undefined) checkRoom(settings, { room: peer, isPublic: room.public });
  else if (isSelf({ members, room })) checkSelf(settings, inside, peer);
  else checkDirect(settings, inside, usersOf({ members }));
}

export const usersOf = (roster: Pick<Roster, 'members'>): string[] => roster.members.map(({ username }) => username);
