/**
 * Everything that a front end can do, as one interface: the commands and the interactive mode are both written against it, and
 * neither knows frames, sockets or tables.
 */
import { utf8, type ConversationId } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import type { ClientLink } from '../runtime/link.ts';
import { canonicalEmail, canonicalUsername } from '../x509/identity.ts';
import type { AppEvent } from './app-event.ts';
import { Comparisons } from './comparisons.ts';
import { announcement, Contacts, type Contact, type ContactAction, type Person } from './contacts.ts';
import { Correspondence, type CorrespondenceOptions } from './correspondence.ts';
import { Expiry } from './expiry.ts';
import { daysLeft, type ClientIdentity } from './identity.ts';
import { Line, type LineOptions } from './line.ts';
import { Listeners } from './listeners.ts';
import { LogInquiries } from './log-inquiries.ts';
import type { Milestone } from './milestones.ts';
import { OwnDevices } from './own-devices.ts';
import { patiently } from './patience.ts';
import type { OwnPresence, PresenceState } from './presence.ts';
import type { Notice } from './requester.ts';
import { isRoomName } from './room-terms.ts';
import { Rooms } from './rooms.ts';
import type { Session } from './session.ts';
import { settlement } from './settlement.ts';
import { recordsOf, type Status } from './status.ts';
import { Whereabouts } from './whereabouts.ts';
import type { KnownContact } from './profile-table.ts';
import type { Conversation } from './roster.ts';
import type { Message } from './message-table.ts';
import type { Vault } from './vault.ts';
import { answer, contentOfBody, deletion, edit, expirationAt, reaction } from './writing.ts';

export interface AppOptions extends LineOptions, CorrespondenceOptions {
  readonly now?: () => number;
}

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
  readonly #listeners: Listeners;
  readonly #correspondence: Correspondence;
  readonly #contacts: Contacts;
  readonly #whereabouts: Whereabouts;
  readonly #expiry: Expiry;
  #refreshing: Promise<void> = Promise.resolve();
  #closing: Promise<void> | null = null;

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
        settled: () => this.#correspondence.received,
        wantGroup: (conversation, isNewReason) => this.#correspondence.want(conversation, isNewReason),
      },
      now,
    );
    this.#line = line;
    const correspondence = new Correspondence(options, line, listeners, now);
    this.#correspondence = correspondence;
    this.#whereabouts = new Whereabouts(vault, line, listeners, identity.username);
    this.#contacts = new Contacts(vault, (username, state, before) => {
      const text = announcement(username, state, before);
      if (text !== null) listeners.warn(text);
    });
    this.ownDevices = new OwnDevices(vault, line, correspondence.handover, now);
    this.comparisons = new Comparisons(vault, identity, (peer) => this.open(peer), now);
    this.inquiries = new LogInquiries(line);
    this.#expiry = new Expiry(vault, listeners, now);
    this.rooms = new Rooms(vault, correspondence.groups, correspondence.lobby, identity.username, {
      asked: (ask) => line.asked(ask),
      want: (id) => correspondence.want(id, true),
      settles: (id, isSo) => settlement(listeners, id, isSo),
      warn: (sentence) => listeners.warn(sentence),
    });
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
   * @returns whether the account is new, as Connection.register()
   * @throws USER_EXISTS, BAD_NAME, CERT_ACCOUNT_MISMATCH, REGISTRATION_CLOSED, …
   */
  register(account: { readonly username: string; readonly email: string }, password: Secret): Promise<boolean> {
    return this.#line.connection.register(
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
   * @throws CERT_ACCOUNT_MISMATCH for another username than the certificate's; AUTH_FAIL, LOCKED, NOT_LOGGED_IN when a password is needed; FORK, ROLLBACK when the server's log is not the one it was
   */
  async login(
    password: Secret | null,
    account = this.vault.profile.account()?.username ?? this.identity.username,
  ): Promise<void> {
    const name = canonicalAccount(account);
    // The server would not say more than that name or password is wrong.
    if (!name.includes('@') && name !== this.identity.username)
      throw new ChatError('CERT_ACCOUNT_MISMATCH', `the certificate is that of ${this.identity.username}`);
    await this.#line.connection.login(name, password);
  }

  /** Logs in, and gives the account another password. @throws as login(), and Connection.changePassword() */
  async changePassword(
    before: Secret,
    after: Secret,
    account = this.vault.profile.account()?.username ?? this.identity.username,
  ): Promise<void> {
    await this.#line.connection.changePassword(canonicalAccount(account), before, after);
  }

  /**
   * The direct conversation with somebody, or the room; from this profile's records when the server cannot be asked now.
   * @throws NO_SUCH_PEER, BAD_NAME, BAD_CERT; NO_SUCH_ROOM, and NOT_FOUND for a room that this user is not in
   */
  async open(peer: string): Promise<Conversation> {
    if (isRoomName(peer)) return this.rooms.open(peer);
    const name = peer.includes('@') ? canonicalEmail(peer) : canonicalUsername(peer);
    const session = this.#line.session;
    if (this.#isOwn(name)) throw new ChatError('NO_SUCH_PEER', 'that is you: a conversation is with somebody else');
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
    return this.#correspondence.write(conversation, body, (frame) => {
      const whole = { ...frame, expires };
      return replyTo === undefined ? contentOfBody(whole, body) : answer(whole, body, replyTo);
    });
  }
  /** One of our messages says something else from now on. @throws NOT_ALLOWED/author, NOT_FOUND, TOO_LARGE, USAGE */
  edit(message: Message, body: Uint8Array): number {
    return this.#correspondence.write(message.conversation, body, (frame) => edit(frame, body, message));
  }
  /** @throws USAGE, NOT_FOUND */
  react(message: Message, text: string): number {
    return this.#correspondence.write(message.conversation, utf8(text), (frame) => reaction(frame, text, message));
  }
  /** One of our messages, or reactions, is erased by all who have it. @throws NOT_ALLOWED/author, NOT_FOUND */
  delete(message: Message): number {
    return this.#correspondence.write(message.conversation, new Uint8Array(0), (frame) => deletion(frame, message));
  }

  /** Resolves when the message is accepted, delivered, or read. @throws as Milestones.reached() */
  waitFor(row: number, want: Milestone, timeoutMs: number): Promise<Message> {
    return this.#correspondence.waitFor(row, want, timeoutMs);
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
  async changeContact(action: ContactAction, account: string): Promise<KnownContact> {
    if (this.#isOwn(account)) throw new ChatError('NO_SUCH_PEER', 'that is you: a contact is somebody else');
    return this.#line.asked(({ requester }) => this.#contacts.change(requester, action, account));
  }
  /** @param account canonical */
  #isOwn(account: string): boolean {
    return account === this.identity.username || account === this.vault.profile.account()?.email;
  }
  directory(): Promise<Person[]> {
    return this.#line.asked(({ requester }) => this.#contacts.directory(requester));
  }
  /** Somebody has seen these; their authors are told, if this profile tells them. */
  markShown(rows: readonly number[]): void {
    this.#correspondence.markShown(rows);
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
      withheld: this.#correspondence.withheld,
      skewMs: this.#line.skewMs,
    };
  }

  /** Resolves when all that waited at the server for this device has come in and was dealt with. @throws what keeps the server from being asked */
  caughtUp(): Promise<void> {
    return this.#line.asked((session) => patiently(session, () => session.caughtUp()));
  }
  /**
   * What was delivered is dealt with and receipted, what the log signed is proven, and what others need to write to this device is at the server.
   * @throws what ended the connection for good
   */
  async settled(): Promise<void> {
    await this.#correspondence.settled();
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
    if (await this.#correspondence.endSession()) return;
    throw this.#line.down ?? new ChatError('NOT_REACHED', 'the server has not taken the end of the session');
  }

  /** Says goodbye and gives the profile free. What is not sent stays, and is sent by the next one that logs in. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }
  async #close(): Promise<void> {
    this.#expiry.end();
    await this.#correspondence.end();
    this.#detach();
    await this.#line.close();
    await this.#correspondence.ended();
    await this.#line.proven;
    await this.#correspondence.groups.close();
    this.vault.close();
  }

  #opened(session: Session): void {
    const { requester } = session;
    this.#correspondence.attach(session);
    session.prove();
    this.#whereabouts.resume(session);
    // What changed while nobody was here; if it cannot be asked for long, at the next login.
    this.#refreshing = Promise.allSettled([
      patiently(session, () => this.#contacts.refresh(requester)),
      patiently(session, () => this.rooms.refresh(session)),
    ]).then(() => {});
    this.#listeners.tell({ on: 'connected' });
  }

  #notice(session: Session, frame: Notice): void {
    switch (frame.type) {
      case 'msg_deliver':
      case 'msg_expired':
        return this.#correspondence.receive(session, frame);
      case 'presence':
      case 'typing':
        return this.#whereabouts.heard(frame);
      case 'contact_changed':
        return this.#contacts.changed(frame);
      case 'room_changed':
        return this.rooms.changes.heard(session, frame);
      case 'checkpoint': // kept by the requester, for the acknowledgement that it belongs to
      case 'error':
      case 'bye':
        return;
    }
  }

  #detach(): void {
    this.#correspondence.detach();
    this.rooms.changes.detach();
  }
}

const canonicalAccount = (account: string): string =>
  account.includes('@') ? canonicalEmail(account) : canonicalUsername(account);
