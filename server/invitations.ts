/**
 * A commit goes to everybody in a conversation, and behind it stand the invitations of those whom it lets in: the part for all of them, the tree, and
 * one part for each, which begins with the hash of the key in his certificate. Each device gets of these what is for it, and the hashes of
 * the rest, so that what the author signed can be checked: a newcomer does not fetch what is for the hundred others, nor does who is
 * inside.
 */
import { equal, type Hash } from '../base/bytes.ts';
import { leafHash } from '../transcript/merkle.ts';
import { othersOf } from '../transcript/some-leaves.ts';
import { KIND } from '../transcript/statement.ts';

/** Of the commit itself, of what all newcomers need, and of the first newcomer. */
const COMMIT = 0;
const SHARED = [1, 2];
const FIRST_NEWCOMER = 3;

export interface Cut {
  /** which parts these are */
  readonly at: readonly number[];
  readonly hashes: readonly Hash[];
}
export interface Shown {
  readonly parts: readonly Uint8Array[];
  /** null: these are all */
  readonly cut: Cut | null;
}

/** Of a commit in memory, for all whom it goes to in a moment. */
const known = new WeakMap<readonly Uint8Array[], { readonly leaves: Hash[]; readonly cuts: Map<string, Hash[]> }>();

/** @param keyHashes SHA-256 of each key that a certificate of the device is or was for: an invitation may be older than its certificate */
export function shownTo(keyHashes: readonly Uint8Array[], statement: Uint8Array, parts: readonly Uint8Array[]): Shown {
  if (statement[8] !== KIND.membership || parts.length <= FIRST_NEWCOMER) return { parts, cut: null };
  const isOwn = (part: Uint8Array): boolean => keyHashes.some((key) => equal(part.subarray(0, key.length), key));
  const own = parts.findIndex((part, i) => i >= FIRST_NEWCOMER && isOwn(part));
  const at = own < 0 ? [COMMIT] : [COMMIT, ...SHARED, own];
  if (at.length === parts.length) return { parts, cut: null };
  const tree = known.get(parts) ?? { leaves: parts.map(leafHash), cuts: new Map<string, Hash[]>() };
  known.set(parts, tree);
  const hashes = tree.cuts.get(at.join()) ?? othersOf(tree.leaves, at);
  tree.cuts.set(at.join(), hashes);
  return { parts: at.map((i) => parts[i]!), cut: { at, hashes } };
}
