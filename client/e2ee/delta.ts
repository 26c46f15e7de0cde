/**
 * How a conversation is kept: a full snapshot whenever its epoch changes, and after each message a delta of some 200 bytes, whatever the
 * size of the group. Pure functions between values and bytes, so that the vault can put them into the transaction that also takes the
 * plaintext and the cursor. Not sealed: that is the vault's.
 *
 * What changed is found by the identity of the parts: states are values, and whatever the library did not touch is the same object.
 */
import { concat, equal, u16, u32, u64 } from '../../base/bytes.ts';
import { sha256 } from '../../base/hash.ts';
import { Cursor } from '../../base/cursor.ts';
import type { Conversation, Pending } from './group.ts';
import {
  decodeGroupState,
  decodeSecretTreeNode,
  encode,
  encodeGroupState,
  secretTreeNodeEncoder,
  type GroupState,
  type SecretTree,
} from './mls.ts';

const SNAPSHOT = 1;
const DELTA = 2;
/** Ties a delta to the snapshot that it belongs to. */
const TAG_BYTES = 8;
const PENDING = { same: 0, none: 1, set: 2 } as const;

/** u8 1 ‖ u32 length ‖ state ‖ pending: u8 2 ‖ u32 length ‖ state ‖ u32 length ‖ commit, or u8 1. */
export function snapshot({ state, pending }: Conversation): Buffer {
  return concat(Buffer.of(SNAPSHOT), long(encodeGroupState(state)), encodePending(pending));
}

/**
 * u8 2 ‖ tag of the epoch[8] ‖ pending, or u8 0 where it did not change ‖ ratchets: u64 epoch ‖ u32 index ‖ u16 length ‖ ratchet.
 * Null where more than that changed: take a snapshot.
 */
export function delta(before: Conversation, after: Conversation): Buffer | null {
  const { state: a } = before;
  const { state: b } = after;
  const isSameEpoch = EPOCH_PARTS.every((part) => a[part] === b[part]);
  if (!isSameEpoch || a.historicalReceiverData.size !== b.historicalReceiverData.size) return null;
  const parts: Buffer[] = [...ratchets(Number(b.groupContext.epoch), a.secretTree, b.secretTree)];
  for (const [epoch, data] of b.historicalReceiverData) {
    const known = a.historicalReceiverData.get(epoch);
    if (!known || known.ratchetTree !== data.ratchetTree || known.senderDataSecret !== data.senderDataSecret)
      return null;
    parts.push(...ratchets(Number(epoch), known.secretTree, data.secretTree));
  }
  const pending = before.pending === after.pending ? Buffer.of(PENDING.same) : encodePending(after.pending);
  return concat(Buffer.of(DELTA), tagOf(b), pending, ...parts);
}

/** @throws BAD_FRAME for bytes that are no snapshot and its deltas, in their order */
export function restore(base: Uint8Array, deltas: readonly Uint8Array[]): Conversation {
  // A copy: what the library decodes are views of these bytes, and the caller may use its buffer again.
  const reader = new Cursor(new Uint8Array(base), 'snapshot');
  if (reader.u8() !== SNAPSHOT) reader.refuse(undefined, 'a snapshot');
  const state = readState(reader);
  const pending = readPending(reader);
  if (pending === undefined) return reader.refuse(undefined, 'a pending commit or none');
  reader.end();
  return deltas.reduce(apply, { state, pending });
}

function apply({ state, pending }: Conversation, bytes: Uint8Array): Conversation {
  const reader = new Cursor(new Uint8Array(bytes), 'delta');
  if (reader.u8() !== DELTA || !equal(reader.take(TAG_BYTES), tagOf(state)))
    reader.refuse(undefined, 'a delta of this epoch');
  const next = readPending(reader);
  const trees = new Map<number, SecretTree>();
  const current = Number(state.groupContext.epoch);
  const treeOf = (epoch: number): SecretTree | undefined =>
    epoch === current ? state.secretTree : state.historicalReceiverData.get(BigInt(epoch))?.secretTree;
  while (!reader.isAtEnd) {
    const epoch = reader.u64();
    const index = reader.u32();
    const encoded = reader.take(reader.u16());
    const decoded = decodeSecretTreeNode(encoded, 0);
    const tree = trees.get(epoch) ?? treeOf(epoch)?.slice();
    if (!tree || index >= tree.length || decoded?.[1] !== encoded.length)
      return reader.refuse(undefined, 'a ratchet of this group');
    tree[index] = decoded[0];
    trees.set(epoch, tree);
  }
  const history = new Map(state.historicalReceiverData);
  for (const [epoch, data] of history) {
    const secretTree = trees.get(Number(epoch));
    if (secretTree) history.set(epoch, { ...data, secretTree });
  }
  const secretTree = trees.get(current) ?? state.secretTree;
  return {
    state: { ...state, secretTree, historicalReceiverData: history },
    pending: next === undefined ? pending : next,
  };
}

/** Everything that stays the same object for as long as the epoch lasts. */
const EPOCH_PARTS = [
  'groupContext',
  'keySchedule',
  'ratchetTree',
  'privatePath',
  'signaturePrivateKey',
  'unappliedProposals',
  'confirmationTag',
  'groupActiveState',
] as const satisfies readonly (keyof GroupState)[];

function* ratchets(epoch: number, before: SecretTree, after: SecretTree): Generator<Buffer> {
  if (before === after) return;
  for (const [index, node] of after.entries()) {
    if (node === before[index]) continue;
    const encoded = encode(secretTreeNodeEncoder)(node);
    yield concat(u64(epoch), u32(index), u16(encoded.length), encoded);
  }
}

const tagOf = ({ groupContext, confirmationTag }: GroupState): Buffer =>
  sha256(groupContext.groupId, confirmationTag).subarray(0, TAG_BYTES);

const long = (bytes: Uint8Array): Buffer => concat(u32(bytes.length), bytes);

function encodePending(pending: Pending | null): Buffer {
  if (!pending) return Buffer.of(PENDING.none);
  return concat(Buffer.of(PENDING.set), long(encodeGroupState(pending.state)), long(pending.commit));
}

/** Undefined: as it was. */
function readPending(reader: Cursor): Pending | null | undefined {
  const kind = reader.u8();
  if (kind === PENDING.same) return undefined;
  if (kind === PENDING.none) return null;
  if (kind !== PENDING.set) return reader.refuse(undefined, 'a pending commit or none');
  return { state: readState(reader), commit: reader.take(reader.u32()) };
}

function readState(reader: Cursor): GroupState {
  const encoded = reader.take(reader.u32());
  const decoded = decodeGroupState(encoded, 0);
  return decoded?.[1] === encoded.length ? decoded[0] : reader.refuse(undefined, 'the state of a group');
}
