/**
 * The rules of a group of one user's own devices: nobody else's come in, and none from outside, only whom a device inside lets in. The
 * rules are in the group's own context, which every member signs for.
 */
import { equal } from '../../base/bytes.ts';
import { decode, encode } from '../../base/cbor.ts';
import { literal, record, text, uint } from '../../base/decode.ts';
import type { Member } from './sketch.ts';
import type { Policy } from './group.ts';
import { refuse } from './refusal.ts';

const shape = record({ v: uint(1, 1), kind: literal('self'), user: text(64, 1) });

/** Deterministic CBOR `{v: 1, kind: "self", user}`. */
export const selfSettings = (user: string): Buffer => encode({ v: 1, kind: 'self', user });

/** Whose devices it is for; null for a group of another kind. */
export function ownerOf(settings: Uint8Array): string | null {
  try {
    return shape(decode(settings), 'settings').user;
  } catch {
    return null;
  }
}

/** Null, or why the change is not allowed; depends on the group's own settings and the change alone. */
export const selfPolicy: Policy = ({ settings, isExternal, added }) => {
  const owner = ownerOf(settings);
  if (owner === null) return 'the group is not one of a user’s own devices';
  if (isExternal) return 'a device let itself in among the devices of its user';
  const stranger = added.find(({ user }) => user !== owner);
  return stranger === undefined ? null : `a device of ${stranger.user} among those of ${owner}`;
};

/** What a device finds that was let in. @throws DECRYPT_FAIL/policy for a group that is not one of this user's devices alone */
export function checkSelf(settings: Uint8Array, members: readonly Member[], user: string): void {
  if (!equal(settings, selfSettings(user))) refuse('policy', 'the group was made for others, or under other rules');
  const stranger = members.find((member) => member.user !== user);
  if (stranger !== undefined) refuse('policy', `a device of ${stranger.user} is among those of ${user}`);
}
