/** What waits for devices until they say that they keep it, or until it expires. */
import type { ConversationId, Hash } from '../../base/bytes.ts';
import type { GroupState } from './conversations.ts';

export type QueueItem =
  | {
      readonly kind: 'message';
      readonly cursor: number;
      readonly origin: string;
      readonly batchFirstIndex: number;
      readonly index: number;
      readonly conversation: ConversationId;
      readonly seq: number;
      readonly statement: Uint8Array;
      readonly parts: readonly Uint8Array[];
      readonly group: GroupState | null;
    }
  | ({ readonly kind: 'expired'; readonly cursor: number } & ExpiryRecord);

/** @property isWhole nothing more waited when it was read */
export interface QueuePage {
  readonly items: readonly QueueItem[];
  readonly isWhole: boolean;
}

/** A message waited too long. */
export interface ExpiryRecord {
  readonly conversation: ConversationId;
  readonly message: Hash;
  /** whom it was for */
  readonly by: string;
  readonly at: number;
}

/** Was just queued for a device of the sender. */
export interface QueuedExpiry extends ExpiryRecord {
  readonly deviceId: number;
  readonly cursor: number;
}

export interface QueueStore {
  /**
   * What waits for a device, in order, from the first cursor above `after` (a reader that has seen n never misses a row below n); at most
   * `maxItems`, and no more than `maxBytes` of parts unless the first alone is larger.
   */
  backlog(deviceId: number, after: number, maxItems: number, maxBytes: number): Promise<QueuePage>;
  /** Bytes of message parts queued for each of these devices, and rows. */
  queueUsages(deviceIds: readonly number[]): Promise<{ readonly bytes: number; readonly rows: number }[]>;
  /** The same, by who sent the messages. Reads the whole queue of the device. */
  queueShares(
    deviceId: number,
  ): Promise<{ readonly senderUserId: number; readonly bytes: number; readonly rows: number }[]>;
  /**
   * A device says that it keeps these. Its rows are deleted; a message that no row refers to any more loses its
   * content. Unknown cursors are ignored (the acknowledgement was repeated). Content that reached only devices of its sender goes
   * too, and the sender is still told when it expires. This alone may be taken back by a power cut: then the rows wait again.
   * @param userId whose device it is
   */
  acknowledge(deviceId: number, cursors: readonly number[], userId: number): Promise<void>;
  /**
   * Deletes the `maxMessages` messages that have been expired for longest, and tells each active device of the sender, in the name of the
   * recipient, of those that reached no device of the recipient's, unless they are commits or not threaded. In a room: in the sender's own
   * name, for those that reached nobody.
   */
  expire(now: number, maxMessages: number): Promise<QueuedExpiry[]>;
  /** Unix ms: when the next message expires; null: there is none that could. */
  nextExpiry(): Promise<number | null>;
}
