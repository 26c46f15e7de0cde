/**
 * Everything that a front end can do, as one interface: the commands and the interactive mode are both written against it, and
 * neither knows frames, sockets or tables.
 */
import { randomBytes } from 'node:crypto';
import { utf8, type ConversationId } from '../base/bytes.ts';
import { ChatError, CODES } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { REPORTED } from '../protocol/hello.ts';
import type { ClientLink } from '../runtime/link.ts';
import { canonicalEmail, canonicalUsername } from '../x509/identity.ts';
import { encodeContent, SALT_BYTES, type Content } from '../transcript/content.ts';
import type { Frame } from '../transcript/content-meaning.ts';
import { MAX_TEXT_BYTES } from './body.ts';
import type { AppEvent } from './app-event.ts';
import { Comparisons } from './comparisons.ts';
import { announcement, Contacts, type Contact, type ContactAction, type Person } from './contacts.ts';
import { daysLeft, type ClientIdentity } from './identity.ts';
import { DeviceKeys } from './device.ts';
import { usersIn } from './e2ee/held.ts';
import { Gossip } from './gossip.ts';
import { Groups } from './groups.ts';
import { Handover } from './handover.ts';
import { Inbox } from './inbox.ts';
import { Line, type LineOptions } from './line.ts';
import { Listeners } from './listeners.ts';
import { JOIN_WAIT_MS, Lobby } from './lobby.ts';
import { LogInquiries } from './log-inquiries.ts';
import { Milestones, type Milestone } from './milestones.ts';
import { Outbox } from './outbox.ts';
import { OwnDevices } from './own-devices.ts';
import type { OwnPresence, PresenceState } from './presence.ts';
import type { Notice } from './requester.ts';
import { isRoomName, Rooms } from './rooms.ts';
import type { Session } from './session.ts';
import { settlement } from './settlement.ts';
import { recordsOf, type Status } from './status.ts';
import { Whereabouts } from './whereabouts.ts';
import { Withheld } from './withheld.ts';
import type { KnownContact } from './profile-table.ts';
import type { Conversation } from './roster.ts';
import type { Message } from './message-table.ts';
import type { Vault } from './vault.ts';
import { answer, contentOfBody, deletion, edit, expirationAt, reaction } from './writing.ts';

export interface AppOptions extends LineOptions {
  /** WITHHELD_AFTER_MS if left out */
  readonly withheldAfterMs?: number;
  /** JOIN_WAIT_MS if left out */
  readonly joinWaitMs?: number;
  readonly now?: () => number;
}

/** How long what is to be said about received messages may hold up a command, and the end. */
const RECEIPT_MS = 5000;
const FAREWELL_MS = 1000;
/** How often it is looked whether a message has to disappear: one step in an index. */
const EXPIRY_MS = 1000;
/** How long a session may take to end at a logout. */
const END_MS = 5000;
/** What a timer can wait at most: until something else ends it. */
const MAX_WAIT_MS = 2 ** 31 - 1;

export class App {
  readonly identity: ClientIdentity;
  readonly vault: Vault;
  readonly rooms: Rooms;
  readonly ownDevices: OwnDevices;
  readonly comparisons: Comparisons;
  readonly inquiries: LogInquiries;
  readonly #server: string;
  readonly #now: () => number;
  readonly #line: Line;
  readonly #groups: Groups;
  readonly #gossip: Gossip;
  readonly #devices: DeviceKeys;
  readonly #outbox: Outbox;
  readonly #inbox: Inbox;
  readonly #contacts: Contacts;
  readonly #handover: Handover;
  readonly #listeners: Listeners;
  readonly #whereabouts: Whereabouts;
  readonly #withheld: Withheld;
  #refreshing: Promise<void> = Promise.resolve();
  #publishing: Promise<void> = Promise.resolve();
  #isClosed = false;
  readonly #milestones: Milestones;
  readonly #expiry: NodeJS.Timeout;

  constructor(options: AppOptions) {
    const { vault, identity, now = Date.now } = options;
    this.identity = identity;
    this.vault = vault;
    this.#server = options.server;
    this.#now = now;
    const listeners = new Listeners(vault);
    this.#listeners = listeners;
    const account = vault.profile.account();
    if (account !== null && account.username !== identity.username)
      throw new ChatError(
        'CERT_ACCOUNT_MISMATCH',
        `this profile belongs to ${account.username}, and the certificate to ${identity.username}: use another profile (-P)`,
      );
    const line = new Line(
      options,
      listeners,
      {
        opened: (session) => this.#opened(session),
        notice: (session, frame) => this.#notice(session, frame),
        lost: () => this.#detach(),
        settled: () => this.#inbox.settled,
        wantGroup: (conversation, isNewReason) => this.#outbox.want(conversation, isNewReason),
      },
      now,
    );
    this.#line = line;
    const warn = (text: string) => listeners.warn(text);
    this.#withheld = new Withheld(({ conversation, seq }) => {
      const peer = vault.conversation(conversation)?.peer ?? 'the recipient';
      warn(`${peer} was connected, and has not signed for message #${seq}: the server may keep it back`);
    }, options.withheldAfterMs);
    this.#whereabouts = new Whereabouts(vault, line, listeners, identity.username);
    this.#groups = new Groups(vault, identity, now);
    this.#gossip = new Gossip(vault, now);
    this.#devices = new DeviceKeys(vault, this.#groups, identity);
    const lobby = new Lobby(
      {
        inside: (id) => {
          const { conversation } = this.#groups.stored(id);
          return conversation === null ? [] : usersIn(conversation);
        },
        want: (id) => this.#outbox.want(id, true),
      },
      options.joinWaitMs ?? JOIN_WAIT_MS,
      now,
    );
    this.#outbox = new Outbox(
      vault,
      this.#groups,
      this.#devices,
      lobby,
      identity,
      {
        accepted: (message, isQueued) => {
          this.#withheld.changed(message, isQueued);
          listeners.tell({ on: 'state', message, isQueued });
        },
        failed: (message) => listeners.tell({ on: 'state', message, isQueued: false }),
        warn,
        noticed: () => listeners.tellNotices(),
        grouped: (conversation, isIdle) => listeners.tell({ on: 'group', conversation, isIdle }),
      },
      now,
    );
    this.#contacts = new Contacts(vault, (username, state, before) => {
      const text = announcement(username, state, before);
      if (text !== null) warn(text);
    });
    this.#handover = new Handover(
      vault,
      identity,
      {
        accepted: (row) => this.waitFor(row, 'accepted', MAX_WAIT_MS),
        renew: (id) => this.#groups.markBroken(id),
        pump: () => this.#outbox.pump(),
        warn,
        refused: (error, subject, detail) => line.alarm(error, subject, detail),
      },
      now,
    );
    this.#inbox = new Inbox(
      vault,
      this.#groups,
      this.#devices,
      this.#handover,
      this.#gossip,
      identity.username,
      {
        message: (message) => listeners.tell({ on: 'message', message }),
        changed: (message) => {
          this.#withheld.changed(message, true);
          listeners.tell({ on: 'state', message, isQueued: false });
        },
        owes: () => this.#outbox.owe(),
        warn,
        noticed: () => listeners.tellNotices(),
        alarm: (error) => listeners.tell({ on: 'alarm', error }),
        joined: () => this.#publish(),
        grouped: (conversation) => {
          listeners.tell({ on: 'group', conversation, isIdle: false });
          const isIn = this.#groups.stored(conversation).conversation !== null && !this.#groups.isBroken(conversation);
          const isExpected = isIn && lobby.entered(conversation);
          if (isExpected || this.vault.isWaiting(conversation)) this.#outbox.want(conversation, true);
          else this.#outbox.pump(); // keys in it may have to be replaced
        },
      },
      now,
    );
    this.#milestones = new Milestones(vault, { on: (look) => listeners.on(look), down: () => line.down });
    this.ownDevices = new OwnDevices(vault, line, this.#handover, now);
    this.comparisons = new Comparisons(vault, identity, (peer) => this.open(peer), now);
    this.inquiries = new LogInquiries(line);
    this.#expiry = setInterval(() => this.#expire(), EXPIRY_MS).unref();
    this.rooms = new Rooms(vault, this.#groups, lobby, identity.username, {
      asked: (ask) => line.asked(ask),
      want: (id) => this.#outbox.want(id, true),
      settles: (id, isSo) => settlement(listeners, id, isSo),
      warn,
    });
  }

  #expire(): void {
    try {
      this.vault.annotations.purge(this.#now());
    } catch (cause) {
      const error = ChatError.from(cause);
      this.#listeners.warn(`what was to disappear is still here: ${error.message} [${error.code}]`);
    }
  }

  /** Answers a function that ends it. */
  on(handler: (event: AppEvent) => void): () => void {
    return this.#listeners.on(handler);
  }

  /** TLS and the inner handshake, no login. @throws UNREACHABLE, BAD_CERT, CHANNEL_MISMATCH, … */
  connect(): Promise<ClientLink> {
    return this.#line.connection.dial();
  }

  /**
   * @param username must be the certificate's, where the server wants that
   * @param password from preparePassword()
   * @throws USER_EXISTS, BAD_NAME, CERT_ACCOUNT_MISMATCH, REGISTRATION_CLOSED, …
   */
  async register(account: { readonly username: string; readonly email: string }, password: Secret): Promise<void> {
    await this.#line.connection.register(
      { username: canonicalUsername(account.username), email: canonicalEmail(account.email) },
      password,
    );
  }

  /** Whether login(null) may do: an earlier login is still good. */
  get canResume(): boolean {
    const token = this.vault.profile.resumeToken();
    return token !== null && token.expires > this.#now();
  }

  /**
   * @param account username or e-mail address; left out: the one of this profile, or of the certificate
   * @throws AUTH_FAIL, LOCKED, NOT_LOGGED_IN when a password is needed; FORK, ROLLBACK when the server's log is not the one it was
   */
  async login(
    password: Secret | null,
    account = this.vault.profile.account()?.username ?? this.identity.username,
  ): Promise<void> {
    await this.#line.connection.login(
      account.includes('@') ? canonicalEmail(account) : canonicalUsername(account),
      password,
    );
  }

  /**
   * The direct conversation with somebody, or the room; from this profile's records when the server cannot be asked now.
   * @throws NO_SUCH_PEER, BAD_NAME, BAD_CERT; NO_SUCH_ROOM, and NOT_FOUND for a room that this user is not in
   */
  async open(peer: string): Promise<Conversation> {
    if (isRoomName(peer)) return this.rooms.open(peer);
    const name = peer.includes('@') ? canonicalEmail(peer) : canonicalUsername(peer);
    const session = this.#line.session;
    if (name === this.identity.username || name === this.vault.profile.account()?.email)
      throw new ChatError('NO_SUCH_PEER', 'that is you: a conversation is with somebody else');
    if (session !== null) return this.#line.explained(session.rosters.open(name));
    const known = this.vault.conversationWith(name);
    if (known === null) throw this.#line.down ?? new ChatError('CONNECTION_LOST', 'the server cannot be asked now');
    return known;
  }

  /**
   * Keeps the message on disk and sends it as soon as that is possible. Answers its row.
   * @param expireMs after which it disappears everywhere; null: never; left out: what is set for the conversation
   * @throws TOO_LARGE; NOT_FOUND for an answer to what is gone
   */
  send(
    conversation: ConversationId,
    body: Uint8Array,
    {
      replyTo,
      expireMs,
    }: { readonly replyTo?: Message | undefined; readonly expireMs?: number | null | undefined } = {},
  ): number {
    const lasts = expireMs === undefined ? this.vault.profile.expiry(conversation) : expireMs;
    const expires = lasts === null ? null : expirationAt(this.#now() + lasts);
    return this.#write(conversation, body, (frame) => {
      const whole = { ...frame, expires };
      return replyTo === undefined ? contentOfBody(whole, body) : answer(whole, body, replyTo);
    });
  }
  /** One of our messages says something else from now on. @throws NOT_ALLOWED/author, NOT_FOUND, TOO_LARGE, USAGE */
  edit(message: Message, body: Uint8Array): number {
    return this.#write(message.conversation, body, (frame) => edit(frame, body, message));
  }
  /** @throws USAGE, NOT_FOUND */
  react(message: Message, text: string): number {
    return this.#write(message.conversation, utf8(text), (frame) => reaction(frame, text, message));
  }
  /** One of our messages, or reactions, is erased by all who have it. @throws NOT_ALLOWED/author, NOT_FOUND */
  delete(message: Message): number {
    return this.#write(message.conversation, new Uint8Array(0), (frame) => deletion(frame, message));
  }
  #write(conversation: ConversationId, body: Uint8Array, make: (frame: Frame) => Content): number {
    if (body.length > MAX_TEXT_BYTES)
      throw new ChatError('TOO_LARGE', `a message has at most ${MAX_TEXT_BYTES} bytes`, { field: 'body' });
    const row = this.vault.transaction(() => {
      const content = make({ salt: randomBytes(SALT_BYTES), extensions: this.#gossip.take(conversation) });
      return this.vault.enqueue(conversation, this.identity.username, encodeContent(content), this.#now());
    });
    this.#outbox.pump();
    return row;
  }

  /** Resolves when the message is accepted, delivered, or read. @throws as Milestones.reached() */
  waitFor(row: number, want: Milestone, timeoutMs: number): Promise<Message> {
    return this.#milestones.reached(row, want, timeoutMs);
  }

  /** Answers whether somebody is connected now, and reports every change from then on. @throws NO_SUCH_PEER */
  watch(username: string): Promise<boolean> {
    return this.#whereabouts.watch(username);
  }
  /** What others are told of this user, after the change. @throws what the server refuses */
  presence(change: { readonly state?: PresenceState; readonly last_seen?: boolean }): Promise<OwnPresence> {
    return this.#whereabouts.choose(change);
  }
  /** Tells the others of the conversation, if this user wants that and there is a connection. */
  typing(conversation: ConversationId, isOn: boolean): void {
    this.#whereabouts.typing(conversation, isOn);
  }

  /** @throws what the server refuses, and what keeps it from being asked */
  contacts(): Promise<Contact[]> {
    return this.#line.asked(({ requester }) => this.#contacts.refresh(requester));
  }
  /** @param account username or e-mail address, canonical @throws NO_SUCH_PEER, BLOCKED, NOT_FOUND, NOT_CONTACT, QUOTA */
  changeContact(action: ContactAction, account: string): Promise<KnownContact> {
    return this.#line.asked(({ requester }) => this.#contacts.change(requester, action, account));
  }
  directory(): Promise<Person[]> {
    return this.#line.asked(({ requester }) => this.#contacts.directory(requester));
  }
  /** Somebody has seen these; their authors are told, if this profile tells them. */
  markShown(rows: readonly number[]): void {
    this.vault.markShown(rows);
    this.#outbox.owe();
  }

  history(conversation: ConversationId, last: number): Message[] {
    return this.vault.history(conversation, last);
  }

  status(): Status {
    const link = this.#line.connection.requester?.link ?? null;
    return {
      ...recordsOf(this.vault),
      server: this.#server,
      isConnected: this.#line.session !== null,
      certificateDaysLeft: daysLeft(this.identity.notAfter, this.#now()),
      suite: link?.suite ?? null,
      confirmation: link?.confirmation ?? null,
      withheld: this.#withheld.count,
      skewMs: this.#line.skewMs,
    };
  }

  /**
   * What was delivered is dealt with and receipted, what the log signed is proven, and what others need to write to this device is at the server.
   * @throws what ended the connection for good
   */
  async settled(): Promise<void> {
    await this.#publishing;
    await this.#inbox.settled;
    this.#line.session?.acknowledgements.flush();
    await this.#outbox.receipt(RECEIPT_MS);
    await this.#handover.settled;
    await this.#line.proven;
    await this.#refreshing;
    if (this.#line.down !== null) throw this.#line.down;
  }

  /**
   * Ends the session of this device with a signed statement, behind all that can be sent now; the next login begins another one.
   * @throws NOT_REACHED if the server has not taken it; what ended the connection for good
   */
  async endSession(): Promise<void> {
    await this.settled();
    if (await this.#outbox.end(END_MS)) return;
    throw this.#line.down ?? new ChatError('NOT_REACHED', 'the server has not taken the end of the session');
  }

  /** Says goodbye and gives the profile free. What is not sent stays, and is sent by the next one that logs in. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#expiry);
    this.#handover.stop();
    this.#milestones.close();
    await this.#outbox.receipt(FAREWELL_MS);
    this.#detach();
    await this.#line.close();
    await this.#publishing;
    await this.#outbox.settled;
    await this.#inbox.settled;
    await this.#handover.closed();
    await this.#line.proven;
    await this.#groups.close();
    this.vault.close();
  }

  #opened(session: Session): void {
    const { requester } = session;
    this.#publish();
    this.#outbox.attach(session);
    this.#handover.resume(session);
    session.prove();
    this.#whereabouts.resume(session);
    // What changed while nobody was here; if it cannot be asked now, at the next login.
    this.#refreshing = Promise.allSettled([this.#contacts.refresh(requester), this.rooms.refresh(session)]).then(
      () => {},
    );
    this.#listeners.tell({ on: 'connected' });
  }

  #notice(session: Session, frame: Notice): void {
    switch (frame.type) {
      case 'msg_deliver':
        return this.#inbox.deliver(session, frame);
      case 'msg_expired':
        return this.#inbox.expired(session, frame);
      case 'presence':
      case 'typing':
        return this.#whereabouts.heard(frame);
      case 'contact_changed':
        return this.#contacts.changed(frame);
      case 'room_changed':
        return this.rooms.changed(session, frame);
      case 'checkpoint': // kept by the requester, for the acknowledgement that it belongs to
      case 'error':
      case 'bye':
        return;
    }
  }

  /** One after the other. What fails for the connection's sake is done after the next login. */
  #publish(): void {
    const session = this.#line.session;
    this.#publishing = this.#publishing.then(async () => {
      if (session === null || this.#line.session !== session) return;
      try {
        await this.#devices.publish(session);
      } catch (cause) {
        const error = ChatError.from(cause);
        if (this.#line.session !== session || error.cause === REPORTED || isLost(error)) return;
        session.fault(error, 'device', Buffer.alloc(0));
      }
    });
  }

  #detach(): void {
    this.#outbox.detach();
    this.rooms.detach();
    this.#withheld.forget();
  }
}

const isLost = ({ code }: ChatError): boolean => CODES[code].exit === CODES.CONNECTION_LOST.exit;
