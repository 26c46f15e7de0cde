/**
 * What can be known of a large group without its state, which another thread has: whose devices are in it, its epoch, its rules. It is
 * kept beside the state, so that nobody has to read that in order to look.
 */
import { decode, encode } from '../../base/cbor.ts';
import { bool, bytes, list, optional, record, text, uint, type Decoded } from '../../base/decode.ts';
import type { Device } from './binding.ts';
import { ownKey, settings, type Conversation } from './group.ts';

/** What others have to know of a device in a group. */
export type Member = Pick<Device, 'user' | 'deviceId' | 'bindingHash' | 'certificate'>;

const hash = bytes(32);
const shape = record({
  group: hash,
  epoch: uint(),
  settings: bytes(0, 4096),
  key: bytes(1, 4096),
  committed: bool,
  pending: optional(uint()),
  members: list(record({ user: text(255, 1), device: bytes(16), binding: hash, certificate: hash }), 100_000, 1),
});

export interface Sketch {
  readonly groupId: Uint8Array;
  readonly epoch: number;
  readonly settings: Uint8Array;
  /** as ownKey() says */
  readonly key: Uint8Array;
  readonly isCommitted: boolean;
  /** the epoch that a pending commit makes; null: none is pending */
  readonly pending: number | null;
  readonly members: readonly Member[];
}

/** @param members every device in the group, resolved */
export function sketchOf(conversation: Conversation, members: readonly Device[]): Sketch {
  const { state, pending } = conversation;
  const { key, isCommitted } = ownKey(conversation);
  return {
    groupId: state.groupContext.groupId,
    epoch: Number(state.groupContext.epoch),
    settings: settings(conversation),
    key,
    isCommitted,
    pending: pending && Number(pending.state.groupContext.epoch),
    members: members.map(({ user, deviceId, bindingHash, certificate }) => ({
      user,
      deviceId,
      bindingHash,
      certificate,
    })),
  };
}

/** Deterministic CBOR. */
export function encodeSketch({ groupId, pending, isCommitted, members, ...rest }: Sketch): Buffer {
  return encode({
    ...rest,
    group: groupId,
    committed: isCommitted,
    ...(pending === null ? {} : { pending }),
    members: members.map(({ user, deviceId, bindingHash, certificate }) => ({
      user,
      device: deviceId,
      binding: bindingHash,
      certificate,
    })),
  });
}

/** @throws BAD_FRAME */
export function decodeSketch(encoded: Uint8Array): Sketch {
  const { group, epoch, settings, key, committed, pending, members }: Decoded<typeof shape> = shape(
    decode(encoded),
    'sketch',
  );
  return {
    groupId: group,
    epoch,
    settings,
    key,
    isCommitted: committed,
    pending: pending ?? null,
    members: members.map(({ user, device, binding, certificate }) => ({
      user,
      deviceId: device,
      bindingHash: binding,
      certificate: certificate as Device['certificate'],
    })),
  };
}
