/**
 * Who is connected, who talks with whom, and where committed messages go. Owns the membership of connections and the cache of
 * conversations; owns no message: those are in the log and in the store before the hub hears of them.
 */
import { randomBytes } from 'node:crypto';
import { equal, hex, type ConversationId, type Hash } from '../base/bytes.ts';
import { ChatError, type Code } from '../base/errors.ts';
import { encodeFrame, MAX_BODY_BYTES, MAX_SEND_BYTES, type Reply, type Request } from '../protocol/messages.ts';
import { selfConversation } from '../protocol/self-conversation.ts';
import type { ServerLink } from '../runtime/link.ts';
import type { Log } from '../runtime/log.ts';
import type {
  Conversation,
  Device,
  Group,
  GroupState,
  PresenceChoice,
  QueuedExpiry,
  Standing,
  Store,
  User,
} from '../store/store.ts';
import { NO_HASH } from '../transcript/merkle.ts';
import { parseOrigin } from '../transcript/key-statement.ts';
import { decodeMs, isOfSession, isReceipt, KIND, rosterHash } from '../transcript/statement.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { contactRefusal, type ContactPolicy } from './contacts.ts';
import { checkKind, companions } from './groups.ts';
import { Outlet, type OutgoingItem } from './outlet.ts';
import { Presence } from './presence.ts';
import { Quota } from './quota.ts';
import type { Accepted, Sequencer, Submission } from './sequencer.ts';
import { Typing } from './typing.ts';

/** When a sender tries again whose recipient has no valid certificate. */
const NO_DEVICE_RETRY_MS = 60_000;
/** How long a conversation may be answered from memory; changes made through this process are seen at once. */
const CONVERSATION_CACHE_MS = 60_000;
const CONVERSATION_CACHE_ITEMS = 10_000;
/** Devices that one message is queued for: what the store keeps about it has room for 6553 (`messages.targets`, a BLOB of MySQL). */
const MAX_RECIPIENTS = 4096;

export interface HubOptions {
  readonly store: Store;
  readonly sequencer: Sequencer;
  /** of the log that the sequencer writes */
  readonly origin: string;
  readonly log: Log;
  readonly now: () => number;
  /** how long a message waits for a device, ms */
  readonly ttlMs: number;
  /** what may wait for one device, rows included */
  readonly queueBytes: number;
  /** SETTLE_AGAIN_MS if left out */
  readonly settleAgainMs?: number;
  readonly contactPolicy: ContactPolicy;
}

/** One logged-in connection. */
export interface Member {
  readonly user: User;
  readonly device: Device;
  readonly link: ServerLink;
  readonly outlet: Outlet;
  readonly watching: Set<number>;
  /** acknowledged by the device, and the store does not know it yet */
  readonly unsettled: Set<number>;
}

export class Hub {
  readonly #o: HubOptions;
  readonly #quota: Quota;
  readonly #acknowledgements: Acknowledgements;
  /** device id → its newest connection */
  readonly #devices = new Map<number, Member>();
  readonly #users = new Map<number, Set<Member>>();
  /** Being written: when somebody was seen last. */
  readonly #leaving = new Set<Promise<void>>();
  readonly #presence: Presence;
  readonly #typing: Typing;
  readonly #conversations = new Map<string, { readonly at: number; readonly conversation: Conversation }>();
  /** Counts what was forgotten: an answer of the store that was asked for before must not be remembered after. */
  #forgotten = 0;

  constructor(options: HubOptions) {
    this.#o = options;
    this.#presence = new Presence(options.store, options.now);
    this.#typing = new Typing(options.store, options.contactPolicy);
    this.#quota = new Quota(options.store, options.queueBytes, options.now);
    const { store, log, settleAgainMs: againMs } = options;
    this.#acknowledgements = new Acknowledgements({ store, log, ...(againMs === undefined ? {} : { againMs }) });
  }

  get memberCount(): number {
    return this.#devices.size;
  }
  get userCount(): number {
    return this.#users.size;
  }

  /** Takes a logged-in connection; an older one of the same device is ended. */
  join(user: User, device: Device, isNewDevice: boolean, link: ServerLink): Member {
    const outlet = new Outlet(
      (frame) => link.send(frame),
      {
        origin: this.#o.origin,
        backlog: (after, maxItems, maxBytes) => this.#o.store.backlog(device.id, after, maxItems, maxBytes),
        evidence: (firstIndex) => this.#o.sequencer.evidence(firstIndex),
      },
      (error) => {
        this.#o.log.warn('store.failed', { user: user.username, code: ChatError.from(error).code });
        link.close('UNAVAILABLE');
      },
    );
    const member: Member = { user, device, link, outlet, watching: new Set(), unsettled: new Set() };
    const siblings = this.#users.get(user.id);
    if (siblings) siblings.add(member);
    else {
      this.#users.set(user.id, new Set([member]));
      this.#presence.came(user);
    }
    // After that, for who comes back before the old connection is noticed was never gone.
    const older = this.#devices.get(device.id);
    this.#devices.set(device.id, member);
    if (older) this.#detach(older, 'CONNECTION_LOST');
    if (isNewDevice) this.forgetConversations(user.id);
    void outlet.pump();
    return member;
  }

  leave(member: Member): void {
    if (this.#devices.get(member.device.id) === member) this.#devices.delete(member.device.id);
    this.#detach(member, null);
  }

  /** What is to be kept of those who have left is in the store, or has failed. */
  async settled(): Promise<void> {
    await Promise.all([...this.#leaving, this.#acknowledgements.settled()]);
  }

  /** Drops what is remembered of a user's conversations: the set of devices has changed. */
  forgetConversations(userId: number): void {
    this.#forgotten++;
    for (const [key, { conversation }] of this.#conversations)
      if (conversation.members.some((m) => m.userId === userId)) this.#conversations.delete(key);
  }

  /** Drops what is remembered of one of them: its members have changed. */
  forgetConversation(id: ConversationId): void {
    this.#forgotten++;
    this.#conversations.delete(hex(id));
  }

  isOnline(deviceId: number): boolean {
    return this.#devices.has(deviceId);
  }

  /** Cuts devices that were revoked, and drops what is remembered of their conversations. */
  revoked(deviceIds: readonly number[]): void {
    this.forgetDevices(deviceIds);
    for (const id of deviceIds) this.#devices.get(id)?.link.close('BAD_CERT', 'revoked');
  }

  /** The same for devices that were revoked. */
  forgetDevices(deviceIds: readonly number[]): void {
    this.#forgotten++;
    for (const [key, { conversation }] of this.#conversations)
      if (conversation.members.some((m) => m.devices.some((device) => deviceIds.includes(device.id))))
        this.#conversations.delete(key);
  }

  /** With oneself: that of one's own devices. @throws NO_SUCH_PEER for a name that nobody has; BLOCKED, NOT_CONTACT */
  async openConversation(member: Member, peer: string): Promise<Conversation> {
    const other = await this.#o.store.findUser(peer);
    if (other === null)
      throw new ChatError('NO_SUCH_PEER', 'nobody has this name', { field: 'conversation_open.peer' });
    if (other.id === member.user.id) {
      const id = selfConversation(parseOrigin(this.#o.origin).host, other.username);
      return this.#remembered(() => this.#o.store.openSelf(other.id, id, this.#o.now()));
    }
    this.#checkContact(await this.#o.store.standing(member.user.id, other.id), 'conversation_open.peer');
    const candidate = randomBytes(32) as unknown as ConversationId;
    const { store, now } = this.#o;
    return this.#remembered(() => store.openDirect(member.user.id, other.id, candidate, now()));
  }

  /** @throws NOT_FOUND for a conversation that does not exist or that the member has no part in: the answers are the same */
  async conversation(member: Member, id: Uint8Array, fresh = false): Promise<Conversation> {
    const conversation = await this.#find(id as ConversationId, fresh);
    if (conversation === null || !isPartOf(conversation, member)) throw noConversation();
    return conversation;
  }

  /**
   * What the sequencer is to be asked: membership, roster, sizes and quota are judged here. To be called batch by batch.
   * @throws TOO_LARGE, BAD_FRAME, NOT_FOUND, STALE, QUOTA, with the field
   */
  async admit(member: Member, frame: Request<'msg_send'>): Promise<Submission> {
    if (isLongerThan(frame, MAX_SEND_BYTES))
      throw new ChatError('TOO_LARGE', `a msg_send of more than ${MAX_SEND_BYTES} bytes`, { field: 'msg_send' });
    const longest = this.#o.now() + this.#o.ttlMs;
    const audiences = new Map<string, Audience>();
    const messages: Submission['messages'][number][] = [];
    let refusal: ChatError | null = null;
    for (const [i, message] of frame.messages.entries()) {
      const { statement, parts, group = null, group_info: groupInfo = null, expires_at: wanted = longest } = message;
      const expiresAt = Math.min(wanted, longest);
      const field = `msg_send.messages[${i}].statement`;
      const ms = decodeMs(statement);
      checkKind(ms, message, companions(frame.messages), `msg_send.messages[${i}]`);
      if (byteCount(parts) > MAX_BODY_BYTES)
        throw new ChatError('TOO_LARGE', `parts of more than ${MAX_BODY_BYTES} bytes`, {
          field: `msg_send.messages[${i}].parts`,
        });
      if (isOfSession(ms.kind)) {
        messages.push({ statement, parts, group, groupInfo, recipients: [], peers: [], expiresAt });
        continue;
      }
      if (isReceipt(ms.kind)) {
        const witnesses = await this.#witnesses(member, ms.conversation, message.to!);
        refusal ??= witnesses.refusal;
        messages.push({ statement, parts, group, groupInfo, ...witnesses, expiresAt });
        continue;
      }
      const key = hex(ms.conversation);
      const audience = audiences.get(key) ?? (await this.#audience(member, ms.conversation));
      audiences.set(key, audience);
      const { recipients, peers } = audience;
      refusal ??= refusalBy(audience, ms.rosterHash, ms.kind === KIND.membership, field);
      const { blobs, missing } = await this.#blobsOf(member, message, `msg_send.messages[${i}]`);
      refusal ??= missing ?? null;
      messages.push({ statement, parts, group, groupInfo, recipients, peers, expiresAt, ...(blobs && { blobs }) });
    }
    const { id, userId, fingerprint } = member.device;
    // What is in the log already gets its answer again, whatever has become of roster and queue since: the sender would sign anew what
    // was delivered long ago.
    if (refusal !== null && !(await this.#o.sequencer.isKnown({ userId, fingerprint }, frame.batch))) throw refusal;
    const { peerChain } = member.link;
    return {
      refusal,
      device: { id, userId, fingerprint, publicKey: peerChain[0].publicKey, chain: peerChain.map((c) => c.der) },
      algorithm: frame.algorithm,
      signature: frame.signature,
      batch: frame.batch,
      messages,
    };
  }

  /**
   * The state of a conversation's group, once everything that led there has been sent to the device: who enters by it would lose what
   * was sent in between. Null: there is no group.
   * @param state an earlier one, for who was let in by the commit that made it; answered at once
   * @throws NOT_FOUND, RATE_LIMIT
   */
  async group(member: Member, id: Uint8Array, state?: GroupState): Promise<Group | null> {
    const conversation = await this.conversation(member, id);
    if (state !== undefined) {
      const groupInfo = await this.#o.store.groupInfo(conversation.id, state);
      if (groupInfo === null)
        throw new ChatError('NOT_FOUND', 'this state of the group is not kept', { field: 'group_get.group' });
      return { ...state, groupInfo };
    }
    const group = await this.#o.store.group(conversation.id);
    await member.outlet.sync();
    return group;
  }

  /** Has a batch logged and stored, answers the sender and delivers. @throws as Sequencer.submit() */
  async send(member: Member, id: number, submission: Submission): Promise<void> {
    const accepted = await this.#o.sequencer.submit(submission);
    const { evidence, messages } = accepted;
    member.outlet.checkpoint(evidence.checkpoint);
    member.link.send({
      type: 'msg_ack',
      id,
      ack: evidence.ack,
      messages: messages.map(({ seq, peers }) => ({ seq, queued: !peers.some((device) => this.#isSeen(device)) })),
    });
    if (!accepted.repeated) return this.#deliver(accepted);
    // The first time it may have failed behind the commit: then it is queued, and nobody was offered it.
    for (const device of new Set(messages.flatMap(({ recipients }) => recipients)))
      this.#devices.get(device)?.outlet.look();
  }

  /** The device keeps these. */
  received(member: Member, cursors: readonly number[]): void {
    this.#acknowledgements.received(member, cursors);
  }

  offerExpiries(expiries: readonly QueuedExpiry[]): void {
    for (const expiry of expiries) this.#devices.get(expiry.deviceId)?.outlet.offerExpiry(expiry);
  }

  /** Answers the presence of a user now and on every change. @throws NO_SUCH_PEER, QUOTA */
  async watch(member: Member, username: string): Promise<Omit<Reply<'presence'>, 'type' | 'id'>> {
    const user = await this.#o.store.findUser(username);
    if (user === null)
      throw new ChatError('NO_SUCH_PEER', 'nobody has this name', { field: 'presence_watch.username' });
    if (user.id !== member.user.id)
      this.#checkContact(await this.#o.store.standing(member.user.id, user.id), 'presence_watch.username');
    return this.#presence.watch(member, user);
  }

  /** What others are told of this user, who may change it. Only a field that is there is changed. */
  choosePresence({ user }: Member, change: Partial<PresenceChoice>): Promise<PresenceChoice> {
    return this.#presence.choose(user, change);
  }

  /** Tells it on, or drops it without a word: that a conversation is not his is not said either. */
  async typing(member: Member, id: Uint8Array, isOn: boolean): Promise<void> {
    if (!this.#typing.admits(member) || !this.#presence.isVisible(member.user.id)) return;
    const conversation = await this.#find(id as ConversationId, false);
    if (conversation === null || !isPartOf(conversation, member)) return;
    await this.#typing.tell(member, conversation, isOn, (userId) => this.#users.get(userId) ?? []);
  }

  /** Connected, and others may know it. */
  #isSeen(deviceId: number): boolean {
    const member = this.#devices.get(deviceId);
    return member !== undefined && this.#presence.isVisible(member.user.id);
  }

  /** What a commit refers to, if this device has put all of it. */
  async #blobsOf(
    { device }: Member,
    message: Request<'msg_send'>['messages'][number],
    at: string,
  ): Promise<{ blobs?: Submission['messages'][number]['blobs']; missing?: ChatError }> {
    const { parts_blob: parts, info_blob: groupInfo } = message;
    const named = Object.entries({ parts, groupInfo }).flatMap(([use, hash]) =>
      hash ? [{ use, hash: hash as Hash }] : [],
    );
    if (named.length === 0) return {};
    const sizes = await this.#o.store.blobSizes(
      device.id,
      named.map(({ hash }) => hash),
    );
    if (sizes.includes(null)) {
      const field = named[sizes.indexOf(null)]!.use === 'parts' ? 'parts_blob' : 'info_blob';
      return {
        missing: new ChatError('NOT_FOUND', 'this blob was not put, or not all of it', {
          field: `${at}.${field}`,
        }),
      };
    }
    return { blobs: Object.fromEntries(named.map(({ use, hash }, i) => [use, { hash, size: sizes[i]! }])) };
  }

  async #audience(member: Member, id: ConversationId): Promise<Audience> {
    const conversation = await this.#find(id, false);
    // Who was a member when the log took his batch still gets its answer (admit), and what is to be said to it goes to those of now.
    const { members, standing } = conversation ?? NOBODY;
    const isPart = conversation !== null && isPartOf(conversation, member);
    const isSelf = standing === 'self';
    const all = members.flatMap(({ userId, devices }) =>
      devices.map(({ id }) => ({ id, isPeer: isSelf || userId !== member.user.id })),
    );
    const audience = all.filter(({ id }) => id !== member.device.id);
    const { recipients, peers } = await this.#withRoom(member, audience);
    const others = isSelf
      ? audience
      : members.flatMap(({ userId, devices }) => (userId === member.user.id ? [] : devices));
    return {
      rosterHash: isPart ? rosterOf(conversation) : NO_HASH,
      recipients,
      peers,
      hasDevices: others.length > 0,
      refusal: isPart ? contactRefusal(this.#o.contactPolicy, standing, 'msg_send') : noConversation(),
    };
  }

  /**
   * Whom a receipt is queued for: the devices of the author, and the others of the sender. An author who has left, or whom the sender may
   * not write to, gets none, and that is no refusal: what the device has kept, it has kept.
   */
  async #witnesses(
    member: Member,
    id: ConversationId,
    author: string,
  ): Promise<Pick<Audience, 'recipients' | 'peers' | 'refusal'>> {
    const conversation = await this.#find(id, false);
    if (conversation === null || !isPartOf(conversation, member))
      return { recipients: [], peers: [], refusal: noConversation() };
    const { members, standing } = conversation;
    const isHeard = contactRefusal(this.#o.contactPolicy, standing, 'msg_send') === null;
    const devices = members.flatMap(({ userId, username, devices }) => {
      const isPeer = userId !== member.user.id;
      if (isPeer && (username !== author || !isHeard)) return [];
      return devices.flatMap((device) => (device.id === member.device.id ? [] : [{ id: device.id, isPeer }]));
    });
    return { ...(await this.#withRoom(member, devices)), refusal: null };
  }

  /** Who never comes back, or never acknowledges, keeps nobody from the other devices. */
  async #withRoom({ user }: Member, devices: readonly { readonly id: number; readonly isPeer: boolean }[]) {
    const waiting = devices.flatMap(({ id }) => (this.#keepsUp(id) ? [] : [id]));
    const full = await this.#quota.full(waiting, user.id);
    const reached = devices.filter(({ id }) => !full.has(id));
    return {
      recipients: reached.map(({ id }) => id),
      peers: reached.flatMap(({ id, isPeer }) => (isPeer ? [id] : [])),
    };
  }

  /** What waits for it is on its way. */
  #keepsUp(deviceId: number): boolean {
    const outlet = this.#devices.get(deviceId)?.outlet;
    return outlet !== undefined && !outlet.isBehind && !outlet.hasSkipped;
  }

  #deliver({ evidence, messages }: Accepted): void {
    const byDevice = new Map<number, OutgoingItem[]>();
    for (const [position, message] of messages.entries())
      for (const [i, deviceId] of message.recipients.entries()) {
        const cursor = message.cursors[i];
        if (cursor === undefined || !this.#devices.has(deviceId)) continue;
        const { seq, statement, parts, group } = message;
        const item = { cursor, seq, position, statement, parts, group };
        const items = byDevice.get(deviceId);
        if (items) items.push(item);
        else byDevice.set(deviceId, [item]);
      }
    for (const [deviceId, items] of byDevice) this.#devices.get(deviceId)?.outlet.offer(evidence, items);
  }

  async #find(id: ConversationId, fresh: boolean): Promise<Conversation | null> {
    const { store, now } = this.#o;
    const known = this.#conversations.get(hex(id));
    if (known && !fresh && now() - known.at < CONVERSATION_CACHE_MS) return known.conversation;
    return this.#remembered(() => store.conversation(id, now()));
  }

  async #remembered<T extends Conversation | null>(ask: () => Promise<T>): Promise<T> {
    const before = this.#forgotten;
    const conversation = await ask();
    if (conversation !== null && before === this.#forgotten) this.#remember(conversation);
    return conversation;
  }

  #remember(conversation: Conversation): void {
    const key = hex(conversation.id);
    this.#conversations.delete(key);
    this.#conversations.set(key, { at: this.#o.now(), conversation });
    if (this.#conversations.size <= CONVERSATION_CACHE_ITEMS) return;
    for (const oldest of this.#conversations.keys()) {
      this.#conversations.delete(oldest);
      break;
    }
  }

  #detach(member: Member, code: Code | null): void {
    member.outlet.close();
    this.#acknowledgements.leave(member);
    if (code !== null) member.link.close(code);
    this.#presence.unwatchAll(member);
    const siblings = this.#users.get(member.user.id);
    siblings?.delete(member);
    if (siblings?.size !== 0) return;
    this.#users.delete(member.user.id);
    const at = this.#o.now();
    if (!this.#presence.left(member.user, at)) return; // nobody is to know when that was
    const written = this.#o.store
      .setLastSeen(member.user.id, at)
      .catch((error: unknown) => this.#o.log.warn('store.failed', { code: ChatError.from(error).code }))
      .finally(() => this.#leaving.delete(written));
    this.#leaving.add(written);
  }

  /** @throws BLOCKED, NOT_CONTACT */
  #checkContact(standing: Standing, field: string): void {
    const refusal = contactRefusal(this.#o.contactPolicy, standing, field);
    if (refusal !== null) throw refusal;
  }

  /** What two users may see of each other has changed: conversations are looked up anew, and neither watches the other any more. */
  part(userA: number, userB: number): void {
    this.forgetConversations(userA);
    for (const [watched, watching] of [
      [userA, userB],
      [userB, userA],
    ] as const)
      for (const member of this.#users.get(watching) ?? []) this.#presence.unwatch(member, watched);
  }

  /** To every connection of a user, but not to the one that has its answer. */
  tell(userId: number, notice: Reply<'contact_changed' | 'room_changed'>, except?: Member): void {
    for (const member of this.#users.get(userId) ?? []) if (member !== except) member.link.send(notice);
  }
}

/** Of conversations in memory: in a room of 250 devices it takes longer than everything else that a message is asked. */
const rosters = new WeakMap<Conversation, Hash>();
function rosterOf(conversation: Conversation): Hash {
  const known = rosters.get(conversation);
  if (known !== undefined) return known;
  const { id, epoch, members } = conversation;
  const fingerprints = members.flatMap(({ devices }) => devices.map(({ fingerprint }) => fingerprint));
  const roster = rosterHash(id, epoch, fingerprints);
  rosters.set(conversation, roster);
  return roster;
}

const NOBODY: Pick<Conversation, 'members' | 'standing'> = { members: [], standing: 'strangers' };
const isPartOf = ({ members }: Conversation, { user }: Member): boolean => members.some((m) => m.userId === user.id);
const noConversation = (): ChatError => new ChatError('NOT_FOUND', 'no such conversation', { field: 'conversation' });

/** For whom a message in one conversation is. */
interface Audience {
  readonly rosterHash: Hash;
  /** devices that it is queued for */
  readonly recipients: readonly number[];
  /** those of them that are not the sender's own */
  readonly peers: readonly number[];
  /** whether the other member has any device that is neither revoked nor expired */
  readonly hasDevices: boolean;
  /** Null, or why the sender may not write there: it is not his, or the two may not write to each other. */
  readonly refusal: ChatError | null;
}

/** Null: a message that was signed for this roster may go to this audience. */
function refusalBy(
  { refusal, rosterHash, recipients, peers, hasDevices }: Audience,
  signed: Hash,
  isCommit: boolean,
  field: string,
): ChatError | null {
  if (refusal !== null) return refusal;
  if (!equal(signed, rosterHash))
    return new ChatError('STALE', 'the devices of the conversation have changed', { sub: 'roster', field });
  if (recipients.length > MAX_RECIPIENTS)
    return new ChatError('QUOTA', `more than ${MAX_RECIPIENTS} devices in one conversation`, { field });
  // A commit is for whoever there is: removing the last device of the other member is one.
  if (isCommit) return null;
  // Acknowledged, it would be nobody's: between a revocation and a new certificate the sender's device keeps it.
  if (!hasDevices)
    return new ChatError('UNAVAILABLE', 'the recipient has no valid device now', {
      field,
      retryAfterMs: NO_DEVICE_RETRY_MS,
    });
  if (peers.length === 0) return new ChatError('QUOTA', 'too much waits for the recipient already', { field });
  return null;
}

const byteCount = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.length, 0);

/** Encoded only when an estimate from above does not settle it. */
function isLongerThan(frame: Request<'msg_send'>, limit: number): boolean {
  const estimate = frame.messages.reduce(
    (sum, { parts, group_info: info }) => sum + 352 + parts.length * 5 + byteCount(parts) + (info?.length ?? 0),
    2048,
  );
  return estimate > limit && encodeFrame(frame).length > limit;
}
