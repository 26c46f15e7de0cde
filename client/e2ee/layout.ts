/**
 * What travels around MLS: the parts of a commit's message, and the state that lets others in. Pure.
 *
 * A commit is one part, or commit ‖ shared part of the Welcome ‖ ratchet tree ‖ one part for each newcomer: `u8 length ‖ key package
 * reference ‖ EncryptedGroupSecrets`. The tree's part is empty where the tree is inside, and the byte 01 where it is that of the GroupInfo
 * which the server keeps for this state: everybody gets the commit, and newcomers alone need the tree.
 */
import { concat, equal, u32 } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { ByteReader } from './byte-reader.ts';
import type { GroupDoor, WelcomeParts } from './invitation.ts';

export const TREE_AT_SERVER: Uint8Array = Buffer.of(1);

export interface CommitParts {
  readonly commit: Uint8Array;
  /** null: nobody was added */
  readonly welcome: WelcomeParts | null;
}

export function commitParts(commit: Uint8Array, welcome: WelcomeParts | null): Uint8Array[] {
  if (welcome === null) return [commit];
  const each = welcome.each.map(({ reference, secrets }) => concat(Buffer.of(reference.length), reference, secrets));
  return [commit, welcome.shared, welcome.tree === null ? new Uint8Array() : TREE_AT_SERVER, ...each];
}

/** @throws BAD_FRAME for parts that commitParts() does not make */
export function readCommitParts(parts: readonly Uint8Array[]): CommitParts {
  const [commit, shared, tree, ...each] = parts;
  if (commit === undefined) return bad('a commit');
  if (shared === undefined) return { commit, welcome: null };
  if (tree === undefined || each.length === 0) return bad('a commit alone, or with an invitation for somebody');
  const secrets = each.map((part) => {
    const reader = new ByteReader(part, 'parts');
    const reference = reader.bytes(reader.u8());
    if (reference.length === 0) bad('a reference');
    return { reference, secrets: part.subarray(1 + reference.length) };
  });
  if (secrets.some(({ reference }, i) => secrets.findIndex((other) => equal(other.reference, reference)) !== i))
    bad('one invitation for each newcomer');
  return { commit, welcome: { shared, tree: tree.length === 0 ? null : tree, each: secrets } };
}

/** `u32 length ‖ GroupInfo ‖ ratchet tree`, the tree empty where the GroupInfo has it: the `group_info` that the server keeps. */
export const doorBytes = ({ groupInfo, tree }: GroupDoor): Buffer =>
  concat(u32(groupInfo.length), groupInfo, tree ?? new Uint8Array());

/** @throws BAD_FRAME */
export function readDoor(bytes: Uint8Array): GroupDoor {
  const reader = new ByteReader(bytes, 'group_info');
  const groupInfo = reader.bytes(reader.u32());
  const tree = bytes.subarray(4 + groupInfo.length);
  return { groupInfo, tree: tree.length === 0 ? null : tree };
}

function bad(want: string): never {
  throw new ChatError('BAD_FRAME', `parts of a commit: want ${want}`, { field: 'parts' });
}
