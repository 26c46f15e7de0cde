/**
 * Messages of a batch as the frames in which a device gets them. Devices of a room get the same ones but for their cursors: for them all they
 * are encoded once.
 */
import type { Hash } from '../base/bytes.ts';
import { HOLE, type Template } from '../base/cbor.ts';
import { templateOf } from '../protocol/frame-codec.ts';
import type { Delivered, Hidden, Reply } from '../protocol/messages.ts';
import type { GroupState } from '../store/contract/conversations.ts';
import type { Cut } from './invitations.ts';
import type { BatchEvidence } from './submission.ts';

/** Whole messages in one frame, unless the first alone is larger: the evidence of all others of the batch fits beside them. */
const FRAME_BYTES = 512 * 1024;
/** Around the parts of a message, and around each part. */
const MESSAGE_OVERHEAD_BYTES = 352;
const PART_OVERHEAD_BYTES = 5;
/** Of a message that is shown by its hashes alone. */
const HASHES_BYTES = 96;
/** Of parts, in frames that are kept encoded while others are to get them: with more, encoding is not what costs. */
const SHARED_BYTES = 64 * 1024;

/** A message of a batch, as far as one device may see it. */
export interface OutgoingItem {
  readonly cursor: number;
  readonly seq: number;
  /** place of the message in its batch, 0-based */
  readonly position: number;
  readonly statement: Uint8Array;
  readonly parts: readonly Uint8Array[];
  /** missing or null: these are all parts of the message */
  readonly cut?: Cut | null;
  readonly group: GroupState | null;
}

export const byteCount = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.length, 0);

/** Of what else of its batch a frame of these shows. */
export const hashBytes = ({ hashes }: BatchEvidence, items: readonly OutgoingItem[]): number =>
  (hashes.length - items.length) * HASHES_BYTES;

/** Messages of one batch, cut into what one frame may carry. */
export function framesOf(items: readonly OutgoingItem[]): OutgoingItem[][] {
  const frames: OutgoingItem[][] = [];
  let room = 0;
  for (const item of items) {
    const bytes = MESSAGE_OVERHEAD_BYTES + item.parts.length * PART_OVERHEAD_BYTES + byteCount(item.parts);
    const frame = frames.at(-1);
    if (frame !== undefined && bytes <= room) {
      frame.push(item);
      room -= bytes;
    } else {
      frames.push([item]);
      room = FRAME_BYTES - bytes;
    }
  }
  return frames;
}

export const checkpointFrame = ({ checkpoint }: Pick<BatchEvidence, 'checkpoint'>): Reply<'checkpoint'> => ({
  note: checkpoint.note,
  type: 'checkpoint',
});

/** @param items some messages of the batch, in their order */
export function deliveryFrame(evidence: BatchEvidence, items: readonly OutgoingItem[]): Reply<'msg_deliver'> {
  const seen = new Map(items.map((item) => [item.position, item]));
  // Fields in the order of their encoding, here and below: see base/cbor.ts.
  return {
    ack: evidence.ack,
    type: 'msg_deliver',
    batch: evidence.batch,
    items: evidence.hashes.map((hashes, position) => deliveryItem(seen.get(position), hashes)),
    algorithm: evidence.algorithm,
    signature: evidence.signature,
  };
}

/** What devices get alike of one batch. */
export class SharedFrames {
  readonly #templates = new Map<string, Template>();

  /**
   * The frame with holes for the cursors of these items, behind the batch's checkpoint where that is to be shown. Null: it is not for many.
   * @param items some messages of the batch, in their order
   */
  template(evidence: BatchEvidence, items: readonly OutgoingItem[], isShown: boolean): Template | null {
    if (items.some(({ cut }) => cut != null)) return null;
    const which = `${isShown}${items.map(({ position }) => position).join()}`;
    let template = this.#templates.get(which);
    if (template === undefined) {
      if (items.reduce((sum, { parts }) => sum + byteCount(parts), 0) > SHARED_BYTES) return null;
      const frame = deliveryFrame(
        evidence,
        items.map((item) => ({ ...item, cursor: HOLE })),
      );
      template = isShown ? templateOf(frame) : templateOf(checkpointFrame(evidence), frame);
      this.#templates.set(which, template);
    }
    return template;
  }
}

function deliveryItem(
  item: OutgoingItem | undefined,
  hashes: { readonly statementHash: Hash; readonly leafHash: Hash },
): Delivered | Hidden {
  if (item === undefined) return { leaf_hash: hashes.leafHash, statement_hash: hashes.statementHash };
  const { cursor, seq, statement, cut, group } = item;
  const parts = item.parts as Uint8Array[];
  const shown =
    group === null
      ? { seq, parts, cursor, statement }
      : { seq, epoch: group.epoch, parts, cursor, statement, generation: group.generation };
  return cut == null ? shown : { cut: { at: [...cut.at], hashes: [...cut.hashes] }, ...shown };
}
