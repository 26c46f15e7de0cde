/**
 * What travels around MLS: the parts of a commit's message, and the state that lets others in. Pure.
 *
 * A commit is one part, or commit ‖ shared part of the Welcome ‖ ratchet tree ‖ one part for each newcomer: `hash of the key in the device's
 * certificate[32] ‖ u8 length ‖ key package reference ‖ EncryptedGroupSecrets`. By that hash the server finds the part for each device, and gives it
 * those that it needs alone. The tree's part is empty where the tree is inside, and the byte 01 where it is that of the GroupInfo
 * which the server keeps for this state: everybody gets the commit, and newcomers alone need the tree. In the place of a large commit, and of
 * every tree, stands a reference to a blob: `02 ‖ u32 size ‖ SHA-256`.
 */
import { concat, equal, u32 } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { sha256 } from '../../base/hash.ts';
import { Cursor } from '../../base/cursor.ts';
import type { GroupDoor, WelcomeParts } from './invitation.ts';

export const TREE_AT_SERVER: Uint8Array = Buffer.of(1);

/** Above this a commit travels as a blob: it goes to everybody, and each waits for it in a queue of frames. */
export const MAX_COMMIT_BYTES = 65_536;
const REFERENCE = 2;
const HASH_BYTES = 32;
const REFERENCE_BYTES = 1 + 4 + HASH_BYTES;

/** To bytes that travel beside what refers to them. */
export interface BlobReference {
  readonly hash: Uint8Array;
  readonly size: number;
}
/** What travels, and what it refers to; null: it refers to nothing. */
export interface Laid<T> {
  readonly bytes: T;
  readonly blob: Uint8Array | null;
}

export interface CommitParts {
  readonly commit: Uint8Array | BlobReference;
  /** null: nobody was added */
  readonly welcome: WelcomeParts | null;
}

export function commitParts(commit: Uint8Array, welcome: WelcomeParts | null): Laid<Uint8Array[]> {
  const isLarge = commit.length > MAX_COMMIT_BYTES;
  const first = isLarge ? referenceTo(commit) : commit;
  const blob = isLarge ? commit : null;
  if (welcome === null) return { bytes: [first], blob };
  const each = welcome.each.map(({ device, reference, secrets }) =>
    concat(device, Buffer.of(reference.length), reference, secrets),
  );
  return { bytes: [first, welcome.shared, welcome.tree === null ? new Uint8Array() : TREE_AT_SERVER, ...each], blob };
}

/** Whether these are the places of a commit alone, or of all that one newcomer needs. */
export const isOfCommit = (at: readonly number[]): boolean =>
  at[0] === 0 && (at.length === 1 || (at.length === 4 && at[1] === 1 && at[2] === 2 && at[3]! > 2));

/** @throws BAD_FRAME for parts that commitParts() does not make */
export function readCommitParts(parts: readonly Uint8Array[]): CommitParts {
  const [first, shared, tree, ...each] = parts;
  if (first === undefined) return bad('a commit');
  const commit = readReference(first) ?? first;
  if (shared === undefined) return { commit, welcome: null };
  if (tree === undefined || each.length === 0) return bad('a commit alone, or with an invitation for somebody');
  const secrets = each.map((part) => {
    const reader = new Cursor(part, 'parts');
    const device = reader.take(HASH_BYTES);
    const reference = reader.take(reader.u8());
    if (reference.length === 0) bad('a reference');
    return { device, reference, secrets: part.subarray(HASH_BYTES + 1 + reference.length) };
  });
  if (secrets.some(({ reference }, i) => secrets.findIndex((other) => equal(other.reference, reference)) !== i))
    bad('one invitation for each newcomer');
  return { commit, welcome: { shared, tree: tree.length === 0 ? null : tree, each: secrets } };
}

/** `u32 length ‖ GroupInfo ‖ reference to the ratchet tree`, nothing where the GroupInfo has it: the `group_info` that the server keeps. */
export const doorBytes = ({ groupInfo, tree }: GroupDoor): Laid<Buffer> => ({
  bytes: concat(u32(groupInfo.length), groupInfo, tree === null ? new Uint8Array() : referenceTo(tree)),
  blob: tree,
});

/** @throws BAD_FRAME */
export function readDoor(bytes: Uint8Array): Pick<GroupDoor, 'groupInfo'> & { readonly tree: BlobReference | null } {
  const reader = new Cursor(bytes, 'group_info');
  const groupInfo = reader.take(reader.u32());
  const rest = bytes.subarray(4 + groupInfo.length);
  const tree = readReference(rest);
  if (tree === null && rest.length > 0) reader.refuse(undefined, 'a reference to a tree, or nothing');
  return { groupInfo, tree };
}

const referenceTo = (blob: Uint8Array): Buffer => concat(Buffer.of(REFERENCE), u32(blob.length), sha256(blob));

/** Null for what is none: no MLSMessage begins like one. */
function readReference(bytes: Uint8Array): BlobReference | null {
  if (bytes[0] !== REFERENCE || bytes.length !== REFERENCE_BYTES) return null;
  const reader = new Cursor(bytes.subarray(1), 'reference');
  return { size: reader.u32(), hash: reader.take(HASH_BYTES) };
}

function bad(want: string): never {
  throw new ChatError('BAD_FRAME', `parts of a commit: want ${want}`, { field: 'parts' });
}
