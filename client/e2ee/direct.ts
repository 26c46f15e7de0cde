/**
 * The rules of a conversation of two people: only devices of these two come in, however they come; whoever is inside may take a device
 * out. The rules are in the group's own context, which every member signs for, so no server and no member changes them.
 */
import { equal, u32, utf8 } from '../../base/bytes.ts';
import { decode, encode } from '../../base/cbor.ts';
import { list, literal, record, text, uint } from '../../base/decode.ts';
import { sha256 } from '../../base/hash.ts';
import type { Member } from './sketch.ts';
import type { Policy } from './group.ts';
import { refuse } from './refusal.ts';

const shape = record({ v: uint(1, 1), kind: literal('direct'), users: list(text(64, 1), 2, 2) });
const LABEL = utf8('chat/1 group\0');

/** Deterministic CBOR `{v: 1, kind: "direct", users: [a, b]}`, the users in order. */
export const directSettings = (users: readonly string[]): Buffer =>
  encode({ v: 1, kind: 'direct', users: [...users].sort() });

/** The MLS group id: SHA-256("chat/1 group\0" ‖ conversation id ‖ generation u32). So a group cannot serve for another conversation. */
export const groupIdOf = (conversation: Uint8Array, generation: number): Buffer =>
  sha256(LABEL, conversation, u32(generation));

/** Null, or why the change is not allowed; depends on the group's own settings and the change alone. */
export const directPolicy: Policy = ({ settings, added }) => {
  const users = usersOf(settings);
  if (users === null) return 'the group is not one of two people';
  const stranger = added.find(({ user }) => !users.includes(user));
  return stranger === undefined ? null : `${stranger.user} is not one of the two people of this conversation`;
};

/** What somebody finds who comes in. @throws DECRYPT_FAIL/policy for a group that is not the one of these two people, or has others in it */
export function checkDirect(settings: Uint8Array, members: readonly Member[], users: readonly string[]): void {
  if (!equal(settings, directSettings(users))) refuse('policy', 'the group was made for others, or under other rules');
  const stranger = members.find(({ user }) => !users.includes(user));
  if (stranger !== undefined) refuse('policy', `a device of ${stranger.user} is in a conversation of two others`);
}

function usersOf(settings: Uint8Array): readonly string[] | null {
  try {
    return shape(decode(settings), 'settings').users;
  } catch {
    return null;
  }
}
