/** What the sequencer takes and gives, and what it makes of the one on the way to the other. */
import type { KeyObject } from 'node:crypto';
import type { Fingerprint, Hash } from '../base/bytes.ts';
import type { ChatError } from '../base/errors.ts';
import type { BlobName } from '../store/contract/blobs.ts';
import type { GroupState } from '../store/contract/conversations.ts';
import type { MessageRecord } from '../store/contract/log.ts';
import type { Batch } from '../transcript/lineage.ts';
import { isReceipt, isThreaded, KIND, type MessageStatement } from '../transcript/statement.ts';

export interface SubmittedMessage {
  /** Encoded MS. */
  readonly statement: Uint8Array;
  readonly parts: readonly Uint8Array[];
  /** In which it was made; for a commit, the state that it ends. Null: not encrypted. */
  readonly group: GroupState | null;
  /** Of the state that a commit makes; null for what is no commit. */
  readonly groupInfo: Uint8Array | null;
  /** of a commit: what belongs to its parts and to `groupInfo` and was put as blobs */
  readonly blobs?: { readonly parts?: BlobName; readonly groupInfo?: BlobName };
  /** Ids of the devices that it is queued for. */
  readonly recipients: readonly number[];
  /** Those of them that belong to other users; handed back, not looked at. */
  readonly peers: readonly number[];
  /** Unix ms */
  readonly expiresAt: number;
}

export interface Submission {
  /** Why it may not be written any more; it is here only for the answer that it got before. */
  readonly refusal: ChatError | null;
  readonly device: {
    readonly id: number;
    readonly userId: number;
    readonly fingerprint: Fingerprint;
    readonly publicKey: KeyObject;
    /** DER, the device's own certificate first. */
    readonly chain: readonly Uint8Array[];
    /** When the first of these ends, Unix ms; that moment belongs to it. */
    readonly until: number;
  };
  readonly algorithm: number;
  readonly signature: Uint8Array;
  /** Encoded BS. */
  readonly batch: Uint8Array;
  readonly messages: readonly SubmittedMessage[];
  /** Of each of `messages`, if the caller has decoded them already. */
  readonly statements?: readonly MessageStatement[];
}

/** Proves a batch to anybody, together with the statements that they may see. */
export interface BatchEvidence {
  readonly algorithm: number;
  readonly signature: Uint8Array;
  readonly batch: Uint8Array;
  /** Binary ACK without a checkpoint of its own. */
  readonly ack: Buffer;
  /** The one that the ACK refers to. */
  readonly checkpoint: { readonly size: number; readonly note: string };
  /** Message by message. */
  readonly hashes: readonly { readonly statementHash: Hash; readonly leafHash: Hash }[];
}

export interface AcceptedMessage extends SubmittedMessage {
  readonly index: number;
  /** Place in the conversation. */
  readonly seq: number;
  /** In the order of `recipients`; empty if nothing was queued by this submission. */
  readonly cursors: readonly number[];
  readonly statementHash: Hash;
  readonly leafHash: Hash;
}

export interface Accepted {
  /** Index of the batch's SIGB leaf. */
  readonly firstIndex: number;
  readonly serverTime: number;
  readonly evidence: BatchEvidence;
  readonly messages: readonly AcceptedMessage[];
  /** The batch was accepted before, and nothing was queued now. */
  readonly repeated: boolean;
  /** It was queued then, and its recipients were not told: something behind the commit failed. */
  readonly unoffered: boolean;
}

/** For the store; the messages stand behind the SIGB leaf at `firstIndex`. */
export const messageRecords = ({ device, messages }: Submission, batch: Batch, firstIndex: number): MessageRecord[] =>
  messages.map(({ statement, parts, group, groupInfo, blobs, recipients, expiresAt }, i) => {
    const { ms, leaf } = batch.messages[i]!;
    return {
      index: firstIndex + 1 + i,
      conversation: isThreaded(ms.kind) || isReceipt(ms.kind) ? ms.conversation : null,
      isThreaded: isThreaded(ms.kind),
      statement,
      statementHash: leaf,
      convCtr: ms.convCtr,
      senderUserId: device.userId,
      senderDeviceId: device.id,
      isCommit: ms.kind === KIND.membership,
      isClose: ms.kind === KIND.close,
      content: { parts, recipients, expiresAt, group, groupInfo, ...(blobs && { blobs }) },
    };
  });
