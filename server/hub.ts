/**
 * Who comes and goes, and where committed messages go. Decides which connections there are (members.ts); owns no message: those are in the
 * log and in the store before the hub hears of them.
 */
import { equal, type ConversationId } from '../base/bytes.ts';
import { ChatError, type Code } from '../base/errors.ts';
import type { Reply, Request } from '../protocol/messages.ts';
import type { ServerLink } from '../runtime/link.ts';
import type { Log } from '../runtime/log.ts';
import type { PresenceChoice } from '../store/contract/accounts.ts';
import type { QueuedExpiry } from '../store/contract/queue.ts';
import type { Store } from '../store/store.ts';
import type { LoggedIn } from './accounts.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { Admission } from './admission.ts';
import type { Charge } from './charges.ts';
import type { ContactPolicy } from './contacts.ts';
import { isPartOf, type Conversations } from './conversations.ts';
import { Deliveries } from './deliveries.ts';
import { Endings, REVOKED, type Ending } from './endings.ts';
import { FairQueue } from './fair-queue.ts';
import { LastSeen } from './last-seen.ts';
import { Members, type Member } from './members.ts';
import { Outlet, PAGE_ITEMS } from './outlet.ts';
import { Presence } from './presence.ts';
import { Quota } from './quota.ts';
import type { Sequencer } from './sequencer.ts';
import type { Accepted, Submission } from './submission.ts';
import { Typing } from './typing.ts';

/** Of queues: what the database reads one after the other anyway. */
const PAGES_AT_ONCE = 2;

export interface HubOptions {
  readonly store: Store;
  readonly conversations: Conversations;
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

export class Hub {
  readonly #o: HubOptions;
  readonly #acknowledgements: Acknowledgements;
  readonly #members = new Members();
  readonly #endings = new Endings();
  readonly #lastSeen: LastSeen;
  readonly #presence: Presence;
  readonly #typing: Typing;
  readonly #admission: Admission;
  /** items of queues that are read */
  readonly #pages = new FairQueue(PAGES_AT_ONCE * PAGE_ITEMS);
  readonly #deliveries = new Deliveries((deviceId) => this.#members.ofDevice(deviceId)?.outlet);

  constructor(options: HubOptions) {
    this.#o = options;
    this.#lastSeen = new LastSeen(options);
    this.#presence = new Presence({ ...options, lastSeen: this.#lastSeen });
    this.#typing = new Typing(options.store, options.contactPolicy);
    const { store, log, now, settleAgainMs: againMs } = options;
    this.#admission = new Admission({
      ...options,
      quota: new Quota(store, options.queueBytes, now),
      keepsUp: (id) => this.#keepsUp(id),
      toldOf: (ids) => this.#acknowledgements.told(ids.flatMap((id) => this.#members.ofDevice(id) ?? [])),
    });
    this.#acknowledgements = new Acknowledgements({ store, log, ...(againMs === undefined ? {} : { againMs }) });
  }

  get memberCount(): number {
    return this.#members.deviceCount;
  }
  get userCount(): number {
    return this.#members.userCount;
  }
  /** Of now, for join(). */
  get endings(): number {
    return this.#endings.count;
  }

  /**
   * Takes a logged-in connection; an older one of the same device is ended.
   * @param judgedAt `endings` before the login was judged
   * @throws BAD_CERT/revoked for a device that was revoked, or renewed, while its login was judged, and what the user's connections
   *   were ended for meanwhile; the link is then closed
   */
  join(
    { user, device, keyHashes }: Pick<LoggedIn, 'user' | 'device' | 'keyHashes'>,
    link: ServerLink,
    judgedAt = this.endings,
  ): Member {
    const ending = this.#endings.of(user, device, judgedAt);
    if (ending !== null) {
      const { code, sub } = ending;
      link.close(code, sub);
      throw new ChatError(code, 'this was ended while it logged in', sub === undefined ? {} : { sub });
    }
    const outlet = new Outlet(
      (frame) => link.send(frame),
      {
        keyHashes,
        origin: this.#o.origin,
        untakenBytes: () => link.queuedBytes,
        sendShared: (frames, cursors) => link.sendShared(frames, cursors),
        backlog: (after, maxItems, maxBytes) => this.#o.store.backlog(device.id, after, maxItems, maxBytes),
        inTurn: (items, work) => this.#pageTurn(user.id, items, work),
        evidence: (firstIndex) => this.#o.sequencer.evidence(firstIndex),
      },
      (error) => {
        this.#o.log.warn('store.failed', { user: user.username, code: ChatError.from(error).code });
        link.close('UNAVAILABLE');
      },
    );
    const member: Member = { user, device, link, outlet, watching: new Set(), unsettled: new Set(), isEnded: false };
    const { isFirst, older } = this.#members.add(member);
    if (isFirst) this.#presence.came(user);
    // After that, for who comes back before the old connection is noticed was never gone.
    if (older) this.#detach(older, 'CONNECTION_LOST');
    void outlet.pump();
    return member;
  }

  /**
   * What a login has changed in the store, to be told before it joins, and also if it never does. A connection under a certificate that
   * this one has taken the place of is ended: nobody else would do that.
   */
  changed({ user, device, isNewDevice, renewed }: Omit<LoggedIn, 'keyHashes' | 'reply'>): void {
    if (!isNewDevice) return;
    this.forgetConversations(user.id);
    if (renewed === null) return;
    this.#endings.renew(device.id, renewed);
    const older = this.#members.ofDevice(device.id);
    if (older && equal(older.device.fingerprint, renewed)) older.link.close('CONNECTION_LOST');
  }

  leave(member: Member): void {
    this.#detach(member, null);
  }

  async #pageTurn(userId: number, items: number, work: () => Promise<void>): Promise<void> {
    const place = this.#pages.place(userId, items);
    await place.enter();
    try {
      await work();
    } finally {
      place.leave();
    }
  }

  /** What is to be kept of those who have left is in the store, or has failed. */
  async settled(): Promise<void> {
    await Promise.all([this.#lastSeen.settled(), this.#acknowledgements.settled()]);
  }

  /** Drops what is remembered of a user's conversations: the set of devices has changed. */
  forgetConversations(userId: number): void {
    this.#o.conversations.forgetUser(userId);
  }

  /** The same for devices that were revoked. */
  forgetDevices(deviceIds: readonly number[]): void {
    this.#o.conversations.forgetDevices(deviceIds);
  }

  /** Drops what is remembered of one of them: its members have changed. */
  forgetConversation(id: ConversationId): void {
    this.#o.conversations.forget(id);
  }

  isOnline(deviceId: number): boolean {
    return this.#members.ofDevice(deviceId) !== undefined;
  }

  /** Cuts devices that were revoked, those that are logging in as well, and drops what is remembered of their conversations. */
  revoked(deviceIds: readonly number[]): void {
    this.forgetDevices(deviceIds);
    for (const id of deviceIds) {
      this.#endings.revoke(id);
      const member = this.#members.ofDevice(id);
      if (member !== undefined) this.#end(member, REVOKED);
    }
  }

  /**
   * Ends what a user has begun here: his connections, and logins that are being judged. What waits for him waits.
   * @param except a connection of his that stays
   * @returns how many were ended
   */
  endAll(userId: number, ending: Ending, except?: Member): number {
    this.#endings.endUser(userId, ending);
    const members = [...this.#members.ofUser(userId)].filter((member) => member !== except);
    for (const member of members) {
      this.#end(member, ending);
      this.leave(member); // others are told at once, whenever he takes note of it
    }
    return members.length;
  }

  #end(member: Member, { code, sub }: Ending): void {
    member.isEnded = true;
    member.link.close(code, sub);
  }

  /** What the sequencer is to be asked. To be called batch by batch. @throws as Admission.admit() */
  admit(member: Member, frame: Request<'msg_send'>, charge: Charge): Promise<Submission> {
    return this.#admission.admit(member, frame, charge);
  }

  /** Has a batch logged and stored, answers the sender and delivers. @throws as Sequencer.submit() */
  async send(member: Member, id: number, submission: Submission): Promise<void> {
    await this.#o.sequencer.submit(submission, (accepted) => this.#answer(member, id, accepted));
  }

  /** The kernel has taken everything that was sent to it. */
  drained({ outlet }: Member): void {
    void outlet.pump();
  }

  #answer(member: Member, id: number, accepted: Accepted): Promise<void> | void {
    const { evidence, messages } = accepted;
    member.outlet.checkpoint(evidence);
    member.link.send({
      id,
      ack: evidence.ack,
      type: 'msg_ack',
      messages: messages.map(({ seq, peers }) => ({ seq, queued: !peers.some((device) => this.#isSeen(device)) })),
    });
    if (!accepted.repeated) return this.#deliveries.deliver(accepted);
    if (!accepted.unoffered) return;
    for (const device of new Set(messages.flatMap(({ recipients }) => recipients)))
      this.#members.ofDevice(device)?.outlet.look();
  }

  /** The device keeps these. @returns whether that says anything */
  received(member: Member, cursors: readonly number[]): boolean {
    return this.#acknowledgements.received(member, cursors);
  }

  offerExpiries(expiries: readonly QueuedExpiry[]): void {
    for (const expiry of expiries) this.#members.ofDevice(expiry.deviceId)?.outlet.offerExpiry(expiry);
  }

  /** Answers the presence of a user now and on every change. @throws as Presence.watch() */
  watch(member: Member, username: string): Promise<Omit<Reply<'presence'>, 'type' | 'id'>> {
    return this.#presence.watch(member, username);
  }

  /** What others are told of this user, who may change it. Only a field that is there is changed. */
  choosePresence({ user }: Member, change: Partial<PresenceChoice>): Promise<PresenceChoice> {
    return this.#presence.choose(user, change);
  }

  /** Tells it on, or drops it without a word: that a conversation is not his is not said either. */
  async typing(member: Member, id: Uint8Array, isOn: boolean): Promise<void> {
    if (!this.#typing.admits(member) || !this.#presence.isVisible(member.user.id)) return;
    const conversation = await this.#o.conversations.find(id as ConversationId);
    if (conversation === null || !isPartOf(conversation, member.user)) return;
    await this.#typing.tell(member, conversation, isOn, (userId) => this.#members.ofUser(userId));
  }

  /** Connected, and others may know it. */
  #isSeen(deviceId: number): boolean {
    const member = this.#members.ofDevice(deviceId);
    return member !== undefined && this.#presence.isVisible(member.user.id);
  }

  /** What waits for it is on its way. */
  #keepsUp(deviceId: number): boolean {
    const outlet = this.#members.ofDevice(deviceId)?.outlet;
    return outlet !== undefined && !outlet.isBehind && !outlet.hasSkipped;
  }

  #detach(member: Member, code: Code | null): void {
    const isLast = this.#members.remove(member);
    member.outlet.close();
    this.#acknowledgements.leave(member);
    if (code !== null) member.link.close(code);
    this.#presence.unwatchAll(member);
    if (isLast) this.#presence.left(member.user);
  }

  /** What two users may see of each other has changed: conversations are looked up anew, and neither watches the other any more. */
  part(userA: number, userB: number): void {
    this.forgetConversations(userA);
    this.#presence.part(userA, this.#members.ofUser(userB));
    this.#presence.part(userB, this.#members.ofUser(userA));
  }

  /** Connections of these users that keep up, and may be known to be there. */
  atHand(userIds: readonly number[]): Member[] {
    return userIds
      .filter((userId) => this.#presence.isVisible(userId))
      .flatMap((userId) => [...this.#members.ofUser(userId)].filter(({ outlet }) => !outlet.isBehind));
  }

  /**
   * To every connection of a user, but not to the one that has its answer.
   * @param turns what is said to some of them besides
   */
  tell(
    userId: number,
    notice: Reply<'contact_changed' | 'room_changed'>,
    except?: Member,
    turns?: ReadonlyMap<Member, number>,
  ): void {
    for (const member of this.#members.ofUser(userId)) {
      if (member === except) continue;
      const turn = turns?.get(member);
      member.link.send(turn === undefined ? notice : ({ ...notice, turn } as typeof notice));
    }
  }
}
