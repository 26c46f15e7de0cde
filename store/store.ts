/**
 * The storage contract: accounts, devices and their keys, conversations of two and of rooms and their groups, the queue of what is not yet
 * delivered, and how far the log has been applied. Two backends (SQLite, MySQL) and one conformance suite, `test/conformance/store.ts`,
 * which is this comment as tests.
 *
 * Durability: a promise that resolves means that the change survives a power cut (but for `acknowledge`). Atomicity: each method is one
 * transaction, all or nothing. Concurrency: every method may race with every other, also from another process on the same database. Text is
 * stored and compared byte for byte; callers canonicalise (on MySQL two names that differ in trailing spaces alone cannot both exist).
 * Buffers handed in may be reused by the caller after the promise resolves. Failures: STORE_FAILED when the database did not answer or the
 * outcome is unknown (then repeat: every write is idempotent or has a unique key that makes the repetition say so), DISK_FULL when there
 * was no room (nothing was changed), STORE_SCHEMA when the schema is missing, older (migrate) or from the future (`sub` says which).
 *
 * A device is active while it is neither revoked nor past its notAfter.
 */
import type { ConversationId, Fingerprint, Hash, SessionId } from '../base/bytes.ts';

export type UserStatus = 'active' | 'suspended';

/** What is kept of a password. */
export interface PasswordRecord {
  /** 16 bytes */
  readonly salt: Uint8Array;
  /** hex of the SCRAM StoredKey, 64 characters */
  readonly pwdHash: string;
  /** SCRAM ServerKey, 32 bytes */
  readonly serverKey: Uint8Array;
  readonly pwdKdf: string;
}

export interface NewUser extends PasswordRecord {
  readonly email: string;
  readonly username: string;
  readonly displayName: string | null;
  /** which certificates may log in, as x509/identity.ts `certIdentity` makes it */
  readonly certIdentity: string;
  /** Unix ms */
  readonly createdAt: number;
}

/** What somebody is to others while he is connected; `invisible`: as if he were not. */
export type PresenceState = 'online' | 'away' | 'dnd' | 'invisible';
export interface PresenceChoice {
  readonly state: PresenceState;
  /** others may be told when he was there last */
  readonly showsLastSeen: boolean;
}

export interface User extends NewUser {
  readonly id: number;
  readonly status: UserStatus;
  /** counts changes of this user's set of devices; the roster epoch of a conversation is the sum over its members */
  readonly deviceEpoch: number;
  readonly lastSeen: number | null;
  readonly presence: PresenceChoice;
}

/** When somebody was there last. */
export interface Seen {
  readonly userId: number;
  /** Unix ms */
  readonly at: number;
}

export interface NewDevice {
  readonly userId: number;
  readonly fingerprint: Fingerprint;
  /** issuer and serial, hashed: the same for every malleated copy of the certificate */
  readonly serialKey: string;
  /** SHA-256 of the SubjectPublicKeyInfo */
  readonly spkiHash: Uint8Array;
  /** DER certificates, leaf first, concatenated as u32 length ‖ DER */
  readonly chain: Uint8Array;
  readonly notAfter: number;
  /** the device that goes on under this certificate, if that was proven */
  readonly continues?: number;
}

export interface Device extends Omit<NewDevice, 'continues'> {
  readonly id: number;
  readonly firstSeen: number;
  readonly revokedAt: number | null;
}

export interface KnownUser {
  readonly user: User;
  /** as addDevice() answers it; null: not registered, or somebody else's */
  readonly known: { readonly device: Device; readonly keyHashes: readonly Uint8Array[] } | null;
}

export interface Conversation {
  readonly id: ConversationId;
  /** sum of the members' deviceEpoch, and of a number of the room's own; it grows with every change of members and devices */
  readonly epoch: number;
  /** two users, or those of a room, by ascending id, each with the devices that are neither revoked nor expired at the time asked about */
  readonly members: readonly {
    readonly userId: number;
    readonly username: string;
    readonly devices: readonly { readonly id: number; readonly fingerprint: Fingerprint }[];
  }[];
  /** of the two; in a room `contacts`: who is in it may write to it; `self`: of one user's own devices */
  readonly standing: ConversationStanding;
}

/** What one user's row says about another. `asked`: waits for an answer of the other; `asking`: has to answer. */
export type ContactState = 'asked' | 'asking' | 'contact' | 'blocked';
export type ContactAction = 'add' | 'accept' | 'decline' | 'remove' | 'block' | 'unblock';
/** Of two users to each other; a block on either side outweighs everything. */
export type Standing = 'strangers' | 'contacts' | 'blocked';
export type ConversationStanding = Standing | 'self';

export interface Person {
  readonly username: string;
  readonly email: string;
  readonly displayName: string | null;
}
export interface Contact {
  readonly userId: number;
  readonly username: string;
  readonly email: string;
  readonly state: ContactState;
  readonly changedAt: number;
}

/** Its content is still with its sender. */
export interface IncompleteMessage {
  readonly conversation: ConversationId;
  readonly index: number;
}

export type RoomRole = 'owner' | 'admin' | 'member';

export interface NewRoom {
  /** canonical */
  readonly name: string;
  /** listed, and open to everybody; otherwise nobody but its members learns of it */
  readonly isPublic: boolean;
  readonly topic: string | null;
  readonly ownerId: number;
}

export interface Room extends Omit<NewRoom, 'ownerId'> {
  readonly id: ConversationId;
  /** by username; none are left of a room that has just ceased to be */
  readonly members: readonly { readonly userId: number; readonly username: string; readonly role: RoomRole }[];
  /** by username */
  readonly banned: readonly string[];
}

export interface RoomSummary extends Omit<NewRoom, 'ownerId'> {
  readonly memberCount: number;
  /** of the user who asks; null: he is no member */
  readonly role: RoomRole | null;
}

export type RoomChange =
  | { readonly do: 'join' | 'leave' }
  | { readonly do: 'invite' | 'kick' | 'ban' | 'unban'; readonly userId: number }
  | { readonly do: 'role'; readonly userId: number; readonly role: RoomRole }
  | { readonly do: 'topic'; readonly topic: string | null };

export interface ChangedRoom {
  readonly room: Room;
  /** false: it was so already */
  readonly isChanged: boolean;
  /** somebody has come or gone */
  readonly isOfMembers: boolean;
}

/** Of one room. */
export interface RoomLimits {
  /** active devices of all members; and members */
  readonly devices: number;
  readonly bans: number;
  /** rooms of one owner, for who is made one by another */
  readonly owned: number;
}

/** A state of a conversation's MLS group: which of its groups one after another, and which epoch of that. Both from 1. */
export interface GroupState {
  readonly generation: number;
  readonly epoch: number;
}

export interface Group extends GroupState {
  /** what a device needs to enter from outside; null: only the log knows the commit that made this state */
  readonly groupInfo: Uint8Array | null;
}

export interface KeyPackages {
  readonly packages: readonly Uint8Array[];
  /** takes the place of the device's last-resort package, which is handed out when no other is left, and stays */
  readonly isLastResort: boolean;
  /** everything that the device had published is void: it has lost the private keys */
  readonly isFresh: boolean;
}

/** Of a blob; all but its last piece have PIECE_BYTES (store/blobs.ts), and `offset` is where this one begins. */
export interface BlobPiece {
  /** SHA-256 of the whole */
  readonly hash: Hash;
  /** of the whole */
  readonly size: number;
  readonly offset: number;
  readonly piece: Uint8Array;
}
/** Of what one device has put and no commit refers to. */
export interface BlobLimits {
  readonly count: number;
  readonly bytes: number;
}
export interface BlobName {
  readonly hash: Hash;
  readonly size: number;
}

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

export interface Store {
  /** `sqlite` or `mysql`, for status and messages */
  readonly kind: 'sqlite' | 'mysql';

  /**
   * With his first device, if there is one, or not at all.
   * @throws USER_EXISTS with field `username` or `email`; when two race, exactly one wins
   * @throws CERT_ACCOUNT_MISMATCH when the certificate belongs to another user
   */
  createUser(user: NewUser, device?: Omit<NewDevice, 'userId' | 'continues'>): Promise<User>;
  /** In place of the address that the user had. @throws USER_EXISTS with field `email` */
  setEmail(userId: number, email: string): Promise<void>;
  /** @returns whether it was another one before @throws NOT_FOUND */
  setStatus(userId: number, status: UserStatus): Promise<boolean>;
  /**
   * In place of the password that the user has.
   * @param before his `pwdHash` as the caller has seen it: where it is another one by now nothing changes; null: whatever it is
   * @returns whether the password is this one now @throws NOT_FOUND
   */
  setPassword(userId: number, password: PasswordRecord, before: string | null): Promise<boolean>;
  /** By canonical username or e-mail. */
  findUser(account: string): Promise<User | null>;
  /** Who comes back with a certificate: himself, and the certificate's device if it is one of his. Null: nobody has this id. */
  userWithDevice(userId: number, fingerprint: Fingerprint): Promise<KnownUser | null>;
  listUsers(): Promise<User[]>;
  /** Of several users, each of them once. */
  setLastSeen(seen: readonly Seen[]): Promise<void>;
  setPresence(userId: number, choice: PresenceChoice): Promise<void>;

  /**
   * Registers a certificate for a user, or finds it (then nothing changes), also one that was revoked and comes in another encoding: with
   * serial key, key and end of a revoked device of the user, it is that device. A new one raises the user's deviceEpoch. One with the key of
   * an unrevoked device of the user, that ends no earlier than that device's certificate, and one for a device that `continues` (an unrevoked
   * one of the user), renews it: the device keeps its id and its queue, counts once, loses its key packages, and its certificate before is kept as a device of its own that is revoked at `now`.
   * @returns besides, the `spkiHash` of all certificates that the device has had, the present one first; and which one this has renewed
   * @throws DEVICE_LIMIT when the user has `limit` active devices at `now`, and it is none of them that is renewed
   * @throws CERT_ACCOUNT_MISMATCH when the certificate belongs to another user
   * @throws NOT_FOUND with field `userId`
   */
  addDevice(
    device: NewDevice,
    now: number,
    limit: number,
  ): Promise<{
    readonly device: Device;
    readonly isNew: boolean;
    readonly keyHashes: readonly Uint8Array[];
    readonly renewed: Fingerprint | null;
  }>;
  /** All that a user ever had, expired ones as well, and behind them those that were revoked; of each the newest first, at most `limit`. */
  devicesOf(userId: number, limit: number): Promise<Device[]>;
  deviceByFingerprint(fingerprint: Fingerprint): Promise<(Device & { readonly username: string }) | null>;
  /** Marks devices revoked that match; raises the epochs; answers the ids of all that match. Repeating changes nothing, and answers the same. */
  revokeDevices(by: { readonly serialKey: string } | { readonly spkiHash: Uint8Array }, at: number): Promise<number[]>;

  /**
   * The direct conversation of two different users; created with `candidate` as its id when there is none. Racing callers get the
   * same one. @throws NO_SUCH_PEER unless both exist and are two
   */
  openDirect(userA: number, userB: number, candidate: ConversationId, now: number): Promise<Conversation>;
  /**
   * The conversation of one user's own devices, with this id; created when there is none. Racing callers get the same one.
   * @throws NO_SUCH_PEER for a user who does not exist
   */
  openSelf(user: number, id: ConversationId, now: number): Promise<Conversation>;
  conversation(id: ConversationId, now: number): Promise<Conversation | null>;

  /**
   * Makes a room with one member, its owner, and `candidate` as the id of its conversation.
   * @throws ROOM_EXISTS, also for the losers of a race; QUOTA when the owner owns `maxOwned` rooms already; NOT_FOUND/ownerId
   */
  createRoom(room: NewRoom, candidate: ConversationId, now: number, maxOwned: number): Promise<Room>;
  room(name: string): Promise<Room | null>;
  /** Public rooms and those of the user, by name, from the first behind `after`. */
  rooms(userId: number, after: string, limit: number): Promise<RoomSummary[]>;
  /**
   * What a user does to a room. Anybody joins a public room, any member invites into it; into a private one admins and the owner invite.
   * Admins and owners kick and ban whoever has a lower role, unban, and set the topic; owners give roles. A room keeps an owner while it
   * has members; when the last one leaves it ceases to be, and its name is free.
   * @throws NO_SUCH_ROOM, also for a private room of others; NOT_ALLOWED with sub `role`, `banned` or `last_owner`; NO_SUCH_PEER for a
   *   user who is no member; QUOTA
   */
  changeRoom(name: string, actorId: number, change: RoomChange, now: number, limits: RoomLimits): Promise<ChangedRoom>;

  /** The newest state of a conversation's group; null: nobody has made one. */
  group(conversation: ConversationId): Promise<Group | null>;
  /** That of an earlier state, if its commit has added somebody and is one of the 16 newest that did; null: it is not kept. */
  groupInfo(conversation: ConversationId, state: GroupState): Promise<Uint8Array | null>;

  /** Keeps a binding under its SHA-256, and the 16 of each device that were put last. @throws NOT_FOUND/device */
  putBinding(deviceId: number, binding: Uint8Array): Promise<void>;
  binding(hash: Hash): Promise<Uint8Array | null>;
  /**
   * Appends a piece to a blob of the device, if it begins where the blob ends so far; in any other place nothing changes. The first
   * piece makes the blob; putting one that is whole again makes it newer. What the device has put before and no commit refers to gives way
   * to it, the oldest first, above the limits.
   * @returns how many bytes are there from the beginning; null: it was the last piece, the whole has another hash, and nothing is left
   * @throws NOT_FOUND/device; BAD_FRAME/size for a blob that was begun with another size
   */
  putBlobPiece(deviceId: number, piece: BlobPiece, now: number, limits: BlobLimits): Promise<number | null>;
  /** The piece that `offset` lies in, of a blob that a commit refers to; null: there is none. */
  blobPiece(hash: Hash, offset: number): Promise<{ readonly size: number; readonly piece: Uint8Array } | null>;
  /** Of whole blobs that the device has put; null: it is not there, or not whole. */
  blobSizes(deviceId: number, hashes: readonly Hash[]): Promise<(number | null)[]>;
  /** Of all blobs that are kept for the GroupInfos of commits that devices of this user have made. */
  keptInfoBytes(userId: number): Promise<number>;
  /**
   * Deletes blobs that nobody needs: put before that time, and never referred to; of a commit whose parts wait for no device any more;
   * of a GroupInfo that is neither the newest nor kept (see groupInfo). Before that, GroupInfos that are kept and whose commits wait for no
   * device any more. At most `limit` of each kind. @returns how many
   */
  forgetBlobs(putBefore: number, limit: number): Promise<number>;
  /**
   * Adds to what others may take.
   * @returns how many ordinary packages the device has now
   * @throws QUOTA when that would be more than `limit`; NOT_FOUND/device
   */
  putKeyPackages(deviceId: number, put: KeyPackages, limit: number): Promise<number>;
  /**
   * The oldest package of each device, gone from then on; the last-resort one where no other is left. Devices without any are missing
   * from the answer. Of callers who race, no two get the same ordinary one. @throws NOT_FOUND/device
   */
  takeKeyPackages(deviceIds: readonly number[]): Promise<{ readonly deviceId: number; readonly package: Uint8Array }[]>;

  /**
   * What one user does about another; both rows change together, and two who act on each other at once do it one after the other. Who
   * asks somebody that asks him has accepted. Repeating changes nothing.
   * @throws NO_SUCH_PEER unless both exist and are two; BLOCKED (sub `by_you` for one's own block); NOT_FOUND for what there is nothing
   *   to do with
   */
  changeContact(
    userId: number,
    otherId: number,
    action: ContactAction,
    at: number,
  ): Promise<{
    readonly before: { readonly mine: ContactState | null; readonly theirs: ContactState | null };
    readonly after: { readonly mine: ContactState | null; readonly theirs: ContactState | null };
  }>;
  /** By username. */
  contactsOf(userId: number): Promise<Contact[]>;
  standing(userA: number, userB: number): Promise<Standing>;
  /** Active accounts by username, those after `after`. */
  directory(after: string, limit: number): Promise<Person[]>;

  /**
   * Counts a failed login. `subjects` are opaque keys (account+certificate, certificate); each is counted by itself.
   * A subject is locked from its `maxFailures`-th failure on: for lockoutMs, doubling with each further one, at most 24 h.
   * Answers the time until which the longest lock lasts, 0 when none does.
   */
  countLoginFailure(subjects: readonly string[], now: number, maxFailures: number, lockoutMs: number): Promise<number>;
  /** Until when any of the subjects is locked; 0 when none is. @param maxFailures as it was counted with */
  lockedUntil(subjects: readonly string[], now: number, maxFailures: number): Promise<number>;
  clearLoginFailures(subjects: readonly string[]): Promise<void>;
  /** Forgets subjects whose last failure, and any lock that it made, is before that time. */
  forgetLoginFailures(before: number): Promise<void>;

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
  sessionLineage(fingerprint: Fingerprint, session: SessionId): Promise<SessionLineage>;
  /** Of every certificate that has a session of this id. */
  sessionEnds(session: SessionId): Promise<SessionEnd[]>;
  conversationLineage(
    fingerprint: Fingerprint,
    session: SessionId,
    conversation: ConversationId,
  ): Promise<ConversationLineage>;
  /** Has this log a CERT leaf for the certificate? */
  isCertificateLogged(origin: string, fingerprint: Fingerprint): Promise<boolean>;

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

  /** Cheap question to the database. @throws STORE_FAILED */
  ping(): Promise<void>;
  /** Null, or more waits for the database than should (ahead.ts): resolves when that is over. Who brings much waits for it. Never rejects. */
  relief(): Promise<void> | null;
  close(): Promise<void>;
}
