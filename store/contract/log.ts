/** What the log has committed, window by window, and the state of lineages that follows from it. */
import type { ConversationId, Fingerprint, Hash, SessionId } from '../../base/bytes.ts';
import type { BlobName } from './blobs.ts';
import type { GroupState } from './conversations.ts';

/** One signed batch as it stands in the log: SIGB at `firstIndex`, its messages right behind it. */
export interface BatchRecord {
  readonly firstIndex: number;
  readonly fingerprint: Fingerprint;
  readonly session: SessionId;
  readonly firstCtr: number;
  readonly count: number;
  /** body of the SIGB leaf: algorithm, signature, batch statement */
  readonly sigb: Uint8Array;
  /** leaf(BS): equal for a repetition of the same batch, different for other bytes under the same counters */
  readonly batchHash: Hash;
  readonly serverTime: number;
}

export interface MessageRecord {
  readonly index: number;
  /** null: of no conversation; then it is not threaded */
  readonly conversation: ConversationId | null;
  /** false: it has no place among the messages of its conversation: `seq` 0, no counters and links, and nobody is told when it expires */
  readonly isThreaded: boolean;
  /** MS, 248 bytes */
  readonly statement: Uint8Array;
  /** leaf(MS), unique */
  readonly statementHash: Hash;
  readonly convCtr: number;
  readonly senderUserId: number;
  readonly senderDeviceId: number;
  /** changes the conversation's group; nobody is told when it expires */
  readonly isCommit: boolean;
  /** the last of its session */
  readonly isClose: boolean;
  /** null: the message is known from the log alone (recovery); its content comes with the sender's repetition */
  readonly content: {
    readonly parts: readonly Uint8Array[];
    /** devices that it is queued for, each once */
    readonly recipients: readonly number[];
    readonly expiresAt: number;
    /** in which it was made; for a commit, the state that it ends. Null: not encrypted */
    readonly group: GroupState | null;
    /** of the state that a commit makes; null for everything else */
    readonly groupInfo: Uint8Array | null;
    /** what of a commit's parts and GroupInfo its sender has put as blobs: kept as long as they are; `parts` counts in queues as parts do */
    readonly blobs?: { readonly parts?: BlobName | null; readonly groupInfo?: BlobName | null };
    /** recipients that have acknowledged it before it came here: as if they had right after; none if left out */
    readonly keptBy?: readonly number[];
    /** one of them is not its sender's own */
    readonly isReached?: boolean;
  } | null;
}

/** What one commit window adds. Its conversations and recipients exist. */
export interface WindowRecord {
  readonly origin: string;
  /** size of the log after this window */
  readonly logSize: number;
  readonly batches: readonly { readonly batch: BatchRecord; readonly messages: readonly MessageRecord[] }[];
  /** CERT leaves of this window */
  readonly certificates: readonly Fingerprint[];
}

/** Answer of commitWindow, message by message in order. */
export interface StoredMessage {
  /** gap-free from 1 in each conversation; 0: it is not threaded */
  readonly seq: number;
  /** one queue cursor for each recipient, in the order of `recipients` */
  readonly cursors: readonly number[];
  /** of a commit: a blob that it refers to was there when it was admitted, and is not any more; not repeated */
  readonly lacksBlob?: true;
}

export interface Places {
  readonly seqs: readonly (number | null)[];
  readonly cursors: readonly (number | null)[];
}

export interface StoredBatch extends BatchRecord {
  readonly origin: string;
  readonly messages: readonly {
    readonly index: number;
    readonly seq: number;
    readonly statementHash: Hash;
    /** false: only the log has it so far (see MessageRecord.content) */
    readonly hasContent: boolean;
  }[];
}

/** Its content is still with its sender. */
export interface IncompleteMessage {
  readonly conversation: ConversationId;
  readonly index: number;
}

/** The state that lineage rules need (transcript/lineage.ts). Zero hashes and counters for what was never seen. */
export interface SessionLineage {
  readonly lastCtr: number;
  readonly lastBatchHash: Hash;
  /** its last message was its close */
  readonly isClosed: boolean;
}

/** How one of the sessions of an id ends; there may be one for each certificate. */
export interface SessionEnd {
  readonly fingerprint: Fingerprint;
  readonly session: SessionId;
  readonly lastCtr: number;
  readonly lastBatch: Hash;
}

export interface ConversationLineage {
  readonly convCtr: number;
  /** leaf(MS) of this device's newest message in the conversation, over all its sessions */
  readonly lastStatementHash: Hash;
}

export interface LogStore {
  /** How many log entries have been applied; 0 for a log never seen. */
  logSize(origin: string): Promise<number>;
  /** How many different server times the batches at `index` and above have: more than one are more than one window. */
  timesAfter(origin: string, index: number): Promise<number>;
  /**
   * Applies one window: batches, messages (with seq), queue rows, groups, lineage, certificates, log size. Messages without content
   * get their seq and lineage and wait for `complete`; a commit without content raises the epoch by one. Windows of one origin come in
   * order, one at a time. Applying a window again changes nothing and answers the same, also when its messages have been delivered since.
   * @returns for each batch, for each message
   * @throws LOG_CORRUPT when the database holds another message at an index of a window that it has already
   * @throws COUNTER_REUSED when another batch has the session and first counter of one of these; where the database is told later
   *   (ahead.ts), that ends the process then
   * @throws NOT_FOUND with field `conversation` or `device`
   */
  commitWindow(window: WindowRecord): Promise<StoredMessage[][]>;
  /**
   * Applies windows of one log that follow one another as one, as commitWindow does: as the journal has them (journal-record.ts), at least one,
   * with what was said of their messages before the database was told (told.ts).
   * @throws STORE_FAILED/places when the database gives other places than these, and then nothing is changed; else as commitWindow()
   */
  commitRecords(records: readonly Uint8Array[], said: Uint8Array): Promise<void>;
  /**
   * Removes everything at `size` and above: the log lost it in a power cut, so nobody was told of it. `size` is the end of a window.
   * Numbers (seq, counters, generation, epoch) go back to what they were; cursors are not given out again, and the GroupInfo of a
   * commit that was followed by a lost one stays lost.
   */
  rewind(origin: string, size: number): Promise<void>;
  /**
   * Gives contents to messages known from the log alone. Repeating changes nothing. A commit sets its group's state unless another was
   * committed since.
   * @returns for each message, as commitWindow; null: nothing was queued now, for it has its content already, or does not get it here
   * @throws LOG_CORRUPT when the database has no such message at that index
   * @throws NOT_FOUND with field `device`
   */
  complete(origin: string, messages: readonly MessageRecord[]): Promise<(StoredMessage | null)[]>;
  /** Messages and commits with a place in their conversation that are known from the log alone, from this index on. */
  incomplete(origin: string, from: number): Promise<IncompleteMessage[]>;
  /** The newest seq of each conversation and the newest cursor of each device; null for what there is not. */
  places(conversations: readonly ConversationId[], deviceIds: readonly number[]): Promise<Places>;
  findBatch(fingerprint: Fingerprint, session: SessionId, firstCtr: number): Promise<StoredBatch | null>;
  batchAt(origin: string, firstIndex: number): Promise<StoredBatch | null>;
  /** Has this log a CERT leaf for the certificate? */
  isCertificateLogged(origin: string, fingerprint: Fingerprint): Promise<boolean>;

  sessionLineage(fingerprint: Fingerprint, session: SessionId): Promise<SessionLineage>;
  /** Of every certificate that has a session of this id. */
  sessionEnds(session: SessionId): Promise<SessionEnd[]>;
  conversationLineage(
    fingerprint: Fingerprint,
    session: SessionId,
    conversation: ConversationId,
  ): Promise<ConversationLineage>;
}
