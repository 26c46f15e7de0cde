/**
 * The rules of a room: into a public one comes whoever has a good binding; into a private one whom a member lets in, and from outside
 * only another device of a member. Whoever is inside may take a device out. The rules are in the group's own context, which every member
 * signs for, so no server and no member changes them.
 */
import { decode, encode } from '../../base/cbor.ts';
import { bool, literal, record, text, uint, type Decoded } from '../../base/decode.ts';
import type { Policy } from './group.ts';
import { refuse } from './refusal.ts';

const shape = record({ v: uint(1, 1), kind: literal('room'), room: text(64, 2), public: bool, owner: text(64, 1) });
export interface RoomRules {
  /** its name when the group was made */
  readonly room: string;
  readonly isPublic: boolean;
  /** who made the group */
  readonly owner: string;
}

/** Deterministic CBOR `{v: 1, kind: "room", room, public, owner}`. */
export const roomSettings = ({ room, isPublic, owner }: RoomRules): Buffer =>
  encode({ v: 1, kind: 'room', room, public: isPublic, owner });

/** Null for a group that is not one of a room. */
export function roomRules(settings: Uint8Array): RoomRules | null {
  let found: Decoded<typeof shape>;
  try {
    found = shape(decode(settings), 'settings');
  } catch {
    return null;
  }
  return { room: found.room, isPublic: found.public, owner: found.owner };
}

/** Null, or why the change is not allowed; depends on the group's own settings and members, and the change alone. */
export const roomPolicy: Policy = ({ settings, isExternal, added, members }) => {
  const rules = roomRules(settings);
  if (rules === null) return 'the group is not one of a room';
  if (rules.isPublic || !isExternal) return null;
  const stranger = added.find(({ user }) => !members.some((member) => member.user === user));
  return stranger === undefined ? null : `${stranger.user} came into a private room, and nobody has let him in`;
};

/** What somebody finds who comes in. @throws DECRYPT_FAIL/policy for another group than the one of this room, with these rules */
export function checkRoom(settings: Uint8Array, { room, isPublic }: Omit<RoomRules, 'owner'>): void {
  const rules = roomRules(settings);
  if (rules?.room !== room) refuse('policy', 'the group was not made for this room');
  if (rules.isPublic !== isPublic)
    refuse('policy', `the room is ${rules.isPublic ? 'public' : 'private'}, and the server says something else`);
}
