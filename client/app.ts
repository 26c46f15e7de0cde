/**
 * Everything that a front end can do, as one interface: the commands and the interactive mode are both written against it, and
 * neither knows frames, sockets or tables.
 */
import { randomBytes } from 'node:crypto';
import { equal, utf8, type ConversationId } from '../base/bytes.ts';
import { encode } from '../base/cbor.ts';
import { ChatError, CODES } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { REPORTED } from '../protocol/hello.ts';
import type { Reply } from '../protocol/messages.ts';
import type { ClientLink } from '../runtime/link.ts';
import { parseOrigin } from '../transcript/key-statement.ts';
import { canonicalEmail, canonicalUsername } from '../x509/identity.ts';
import { sameName } from '../x509/name.ts';
import { encodeContent, SALT_BYTES, type Content } from '../transcript/content.ts';
import type { Frame } from '../transcript/content-meaning.ts';
import { MAX_TEXT_BYTES } from './body.ts';
import { Acknowledgements } from './acknowledgements.ts';
import type { AppEvent } from './app-event.ts';
import { Comparisons } from './comparisons.ts';
import { announcement, Contacts, type Contact, type ContactAction, type Person } from './contacts.ts';
import { Connection, type Dial } from './connection.ts';
import { daysLeft, type ClientIdentity } from './identity.ts';
import { DeviceKeys } from './device.ts';
import { usersIn } from './e2ee/held.ts';
import { Gossip } from './gossip.ts';
import { Groups } from './groups.ts';
import { Handover } from './handover.ts';
import { Inbox } from './inbox.ts';
import { Listeners } from './listeners.ts';
import { JOIN_WAIT_MS, Lobby } from './lobby.ts';
import { LogInquiries } from './log-inquiries.ts';
import { Milestones, type Milestone } from './milestones.ts';
import { Outbox } from './outbox.ts';
import { OwnDevices } from './own-devices.ts';
import type { OwnPresence, PresenceState } from './presence.ts';
import { followRenewals } from './renewal.ts';
import type { Notice, Requester } from './requester.ts';
import { seenCertificates } from './marks.ts';
import { isRoomName, Rooms } from './rooms.ts';
import { Rosters } from './rosters.ts';
import type { Session } from './session.ts';
import { recordsOf, type Status } from './status.ts';
import { admitLog, isBetrayal, LogView } from './trust.ts';
import { Withheld } from './withheld.ts';
import type { KnownContact } from './profile-table.ts';
import type { Conversation } from './roster.ts';
import type { Message } from './message-table.ts';
import type { Vault } from './vault.ts';
import { answer, contentOfBody, deletion, edit, expirationAt, reaction } from './writing.ts';

export interface AppOptions {
  readonly vault: Vault;
  readonly identity: ClientIdentity;
  /** HOST:PORT, remembered with the account */
  readonly server: string;
  readonly dial: Dial;
  /** WITHHELD_AFTER_MS if left out */
  readonly withheldAfterMs?: number;
  /** JOIN_WAIT_MS if left out */
  readonly joinWaitMs?: number;
  /** how long acknowledgements are gathered; as there if left out */
  readonly gatherMs?: number;
  readonly now?: () => number;
}

/** Beyond this, times in the transcript are worth a warning. */
const MAX_SKEW_MS = 120_000;
/** How long what is to be said about received messages may hold up a command, and the end. */
const RECEIPT_MS = 5000;
const FAREWELL_MS = 1000;
/** How often it is looked whether a message has to disappear: one step in an index. */
const EXPIRY_MS = 1000;
/** How long a session may take to end at a logout. */
const END_MS = 5000;
/** What a timer can wait at most: until something else ends it. */
const MAX_WAIT_MS = 2 ** 31 - 1;
/** How long a change of a room may take to become one of its group. */
const SETTLE_MS = 30_000;

export class App {
  readonly identity: ClientIdentity;
  readonly vault: Vault;
  readonly rooms: Rooms;
  readonly ownDevices: OwnDevices;
  readonly comparisons: Comparisons;
  readonly inquiries: LogInquiries;
  readonly #server: string;
  readonly #now: () => number;
  readonly #connection: Connection;
  readonly #groups: Groups;
  readonly #gossip: Gossip;
  readonly #devices: DeviceKeys;
  readonly #outbox: Outbox;
  readonly #inbox: Inbox;
  readonly #contacts: Contacts;
  readonly #handover: Handover;
  readonly #listeners: Listeners;
  readonly #withheld: Withheld;
  readonly #gatherMs: number | undefined;
  #session: Session | null = null;
  #proving: Promise<void> = Promise.resolve();
  #refreshing: Promise<void> = Promise.resolve();
  #publishing: Promise<void> = Promise.resolve();
  #watched = new Set<string>();
  #skewMs: number | null = null;
  #down: ChatError | null = null;
  #isClosed = false;
  readonly #milestones: Milestones;
  readonly #expiry: NodeJS.Timeout;

  constructor(options: AppOptions) {
    const { vault, identity, dial, now = Date.now } = options;
    this.identity = identity;
    this.vault = vault;
    this.#server = options.server;
    this.#now = now;
    this.#gatherMs = options.gatherMs;
    const listeners = new Listeners(vault);
    this.#listeners = listeners;
    const account = vault.profile.account();
    if (account !== null && account.username !== identity.username)
      throw new ChatError(
        'CERT_ACCOUNT_MISMATCH',
        `this profile belongs to ${account.username}, and the certificate to ${identity.username}: use another profile (-P)`,
      );
    this.#connection = new Connection(
      dial,
      vault,
      {
        open: (requester, login) => this.#enter(requester, login),
        notice: (frame) => this.#notice(frame),
        lost: (error, willRetry) => this.#lost(error, willRetry),
        waiting: (ms) => listeners.tell({ on: 'waiting', ms }),
      },
      now,
    );
    const warn = (text: string) => listeners.warn(text);
    this.#withheld = new Withheld(({ conversation, seq }) => {
      const peer = vault.conversation(conversation)?.peer ?? 'the recipient';
      warn(`${peer} was connected, and has not signed for message #${seq}: the server may keep it back`);
    }, options.withheldAfterMs);
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
        refused: (error, subject, detail) => this.#alarm(error, subject, detail),
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
    this.#milestones = new Milestones(vault, { on: (look) => listeners.on(look), down: () => this.#down });
    this.ownDevices = new OwnDevices(vault, (ask) => this.#asked(ask), this.#handover, now);
    this.comparisons = new Comparisons(vault, identity, (peer) => this.open(peer), now);
    this.inquiries = new LogInquiries({
      session: () => this.#session,
      down: () => this.#down,
      explained: (request) => this.#explained(request),
      proven: () => this.#proving,
    });
    this.#expiry = setInterval(() => this.#expire(), EXPIRY_MS).unref();
    this.rooms = new Rooms(vault, this.#groups, lobby, identity.username, {
      asked: (ask) => this.#asked(ask),
      want: (id) => this.#outbox.want(id, true),
      settles: (id, isSo) => this.#settles(id, isSo),
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
    return this.#connection.dial();
  }

  /**
   * @param username must be the certificate's, where the server wants that
   * @param password from preparePassword()
   * @throws USER_EXISTS, BAD_NAME, CERT_ACCOUNT_MISMATCH, REGISTRATION_CLOSED, …
   */
  async register(account: { readonly username: string; readonly email: string }, password: Secret): Promise<void> {
    await this.#connection.register(
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
    await this.#connection.login(
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
    const session = this.#session;
    if (name === this.identity.username || name === this.vault.profile.account()?.email)
      throw new ChatError('NO_SUCH_PEER', 'that is you: a conversation is with somebody else');
    if (session !== null) return this.#explained(session.rosters.open(name));
    const known = this.vault.conversationWith(name);
    if (known === null) throw this.#down ?? new ChatError('CONNECTION_LOST', 'the server cannot be asked now');
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
  async watch(username: string): Promise<boolean> {
    this.#watched.add(username);
    const session = this.#session;
    if (session === null) return false;
    return (await this.#explained(session.requester.request({ type: 'presence_watch', username }, 'presence'))).online;
  }

  /** What others are told of this user, after the change. @throws what the server refuses */
  presence(change: { readonly state?: PresenceState; readonly last_seen?: boolean }): Promise<OwnPresence> {
    return this.#asked(({ requester }) => requester.request({ type: 'presence_set', ...change }, 'presence_choice'));
  }
  /** Tells the others of the conversation, if this user wants that and there is a connection. */
  typing(conversation: ConversationId, isOn: boolean): void {
    if (this.vault.profile.sendsTyping())
      this.#session?.requester.link.send({ type: 'typing', conversation, on: isOn });
  }

  /** @throws what the server refuses, and what keeps it from being asked */
  contacts(): Promise<Contact[]> {
    return this.#asked(({ requester }) => this.#contacts.refresh(requester));
  }
  /** @param account username or e-mail address, canonical @throws NO_SUCH_PEER, BLOCKED, NOT_FOUND, NOT_CONTACT, QUOTA */
  changeContact(action: ContactAction, account: string): Promise<KnownContact> {
    return this.#asked(({ requester }) => this.#contacts.change(requester, action, account));
  }
  directory(): Promise<Person[]> {
    return this.#asked(({ requester }) => this.#contacts.directory(requester));
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
    const link = this.#connection.requester?.link ?? null;
    return {
      ...recordsOf(this.vault),
      server: this.#server,
      isConnected: this.#session !== null,
      certificateDaysLeft: daysLeft(this.identity.notAfter, this.#now()),
      suite: link?.suite ?? null,
      confirmation: link?.confirmation ?? null,
      withheld: this.#withheld.count,
      skewMs: this.#skewMs,
    };
  }

  /**
   * What was delivered is dealt with and receipted, what the log signed is proven, and what others need to write to this device is at the server.
   * @throws what ended the connection for good
   */
  async settled(): Promise<void> {
    await this.#publishing;
    await this.#inbox.settled;
    this.#session?.acknowledgements.flush();
    await this.#outbox.receipt(RECEIPT_MS);
    await this.#handover.settled;
    await this.#proving;
    await this.#refreshing;
    if (this.#down !== null) throw this.#down;
  }

  /**
   * Ends the session of this device with a signed statement, behind all that can be sent now; the next login begins another one.
   * @throws NOT_REACHED if the server has not taken it; what ended the connection for good
   */
  async endSession(): Promise<void> {
    await this.settled();
    if (await this.#outbox.end(END_MS)) return;
    throw this.#down ?? new ChatError('NOT_REACHED', 'the server has not taken the end of the session');
  }

  /** Says goodbye and gives the profile free. What is not sent stays, and is sent by the next one that logs in. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#expiry);
    this.#handover.stop();
    this.#milestones.close();
    await this.#outbox.receipt(FAREWELL_MS);
    this.#outbox.detach();
    this.rooms.detach();
    this.#withheld.forget();
    this.#session?.acknowledgements.flush();
    this.#session = null;
    await this.#connection.close();
    await this.#publishing;
    await this.#outbox.settled;
    await this.#inbox.settled;
    await this.#handover.closed();
    await this.#proving;
    await this.#groups.close();
    this.vault.close();
  }

  #asked<T>(ask: (session: Session) => Promise<T>): Promise<T> {
    const session = this.#session;
    if (session === null)
      return Promise.reject(this.#down ?? new ChatError('CONNECTION_LOST', 'the server cannot be asked now'));
    return this.#explained(ask(session));
  }

  #settles(id: ConversationId, isSo: () => boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const done = (outcome: () => void): void => {
        clearTimeout(timer);
        stop();
        outcome();
      };
      const late = (): void =>
        done(() =>
          reject(
            new ChatError('NOT_REACHED', 'it is done at the server, and the group of the room has not followed yet'),
          ),
        );
      const timer = setTimeout(late, SETTLE_MS);
      const stop = this.on((event) => {
        if (event.on === 'lost') return done(() => reject(event.error));
        if (event.on !== 'group' || !equal(event.conversation, id)) return;
        if (isSo()) done(() => resolve(true));
        else if (event.isIdle) done(() => resolve(false));
      });
    });
  }

  /** A request that was cut off by us has failed for our reason. */
  async #explained<T>(request: Promise<T>): Promise<T> {
    try {
      return await request;
    } catch (error) {
      throw ChatError.from(error).code === 'CONNECTION_LOST' ? (this.#down ?? error) : error;
    }
  }

  #enter(requester: Requester, login: Reply<'login_ok'>): void {
    const { vault, identity } = this;
    if (login.username !== identity.username)
      throw new ChatError('CERT_ACCOUNT_MISMATCH', 'the server logged this device in as somebody else');
    const server = requester.link.peerChain[0]!;
    const now = this.#now();
    const warn = (text: string) => this.#listeners.warn(text);
    let log: LogView;
    try {
      log = new LogView(vault.ledger, admitLog(vault.ledger, login.log, server, now, warn));
    } catch (cause) {
      const error = ChatError.from(cause);
      const detail = encode({ statement: login.log.statement, certificate: server.der });
      if (vault.ledger.addAlarm(now, error.code, `log key ${login.log.statement}`, error.message, detail))
        this.#listeners.tell({ on: 'alarm', error });
      this.#down = error;
      throw error;
    }
    vault.transaction(() => {
      const account = { username: login.username, email: login.email, server: this.#server };
      vault.profile.setAccount(account);
      vault.profile.setResumeToken({
        token: login.token,
        expires: login.token_expires,
        fingerprint: identity.fingerprint,
      });
      // What this device and this server have signed is to be provable also when both have other certificates.
      for (const [own, ...above] of [identity.chain, requester.link.peerChain]) {
        if (own === undefined || vault.ledger.certificate(own.fingerprint) !== null) continue;
        const intermediates = above.filter(({ subject, issuer }) => !sameName(subject, issuer));
        vault.ledger.addCertificate(
          own.fingerprint,
          [own, ...intermediates].map(({ der }) => der),
        );
      }
    });
    this.#skewMs = login.server_time - now;
    if (Math.abs(this.#skewMs) > MAX_SKEW_MS)
      warn(`the clock of this machine and that of the server are ${Math.round(Math.abs(this.#skewMs) / 1000)} s apart`);
    const { link } = requester;
    const acknowledgements = new Acknowledgements(
      (cursors) => link.send({ type: 'msg_received', cursors }),
      this.#gatherMs,
    );
    const session: Session = {
      requester,
      log,
      acknowledgements,
      rosters: new Rosters(vault, requester, identity, parseOrigin(log.origin).host, (username, certificates) => {
        vault.transaction(() => {
          const now = this.#now();
          if (username === identity.username) followRenewals(vault, certificates, now);
          const over = seenCertificates(vault, username, certificates, true, now);
          if (over !== null) vault.notices.add(now, over);
        });
        this.#listeners.tellNotices();
      }),
      serverNow: () => this.#now() + (this.#skewMs ?? 0),
      caughtUp: async () => {
        await requester.request({ type: 'sync' }, 'synced');
        await this.#inbox.settled;
        acknowledgements.flush();
      },
      wantGroup: (conversation, isNewReason) => this.#outbox.want(conversation, isNewReason),
      prove: () => this.#prove(session),
      alarm: (error, subject, detail) => this.#alarm(error, subject, detail),
      fault: (error, subject, detail) => this.#fault(session, error, subject, detail),
    };
    this.#session = session;
    this.#publish();
    this.#outbox.attach(session);
    this.#handover.resume(session);
    this.#prove(session);
    for (const username of this.#watched)
      requester.request({ type: 'presence_watch', username }, 'presence').then(
        ({ online, state = null }) => this.#listeners.tell({ on: 'presence', username, isOnline: online, state }),
        () => {}, // asked again at the next login
      );
    // What changed while nobody was here; if it cannot be asked now, at the next login.
    this.#refreshing = Promise.allSettled([this.#contacts.refresh(requester), this.rooms.refresh(session)]).then(
      () => {},
    );
    this.#listeners.tell({ on: 'connected' });
  }

  #notice(frame: Notice): void {
    const session = this.#session;
    if (session === null) return;
    switch (frame.type) {
      case 'msg_deliver':
        return this.#inbox.deliver(session, frame);
      case 'msg_expired':
        return this.#inbox.expired(session, frame);
      case 'presence':
        return this.#listeners.tell({
          on: 'presence',
          username: frame.username,
          isOnline: frame.online,
          state: frame.state ?? null,
        });
      case 'typing': {
        const conversation = frame.conversation as ConversationId;
        const { username, on: isTyping } = frame;
        const members = this.vault.conversation(conversation)?.members ?? [];
        if (username === this.identity.username || !members.some((member) => member.username === username)) return;
        return this.#listeners.tell({ on: 'typing', conversation, username, isTyping });
      }
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

  /** One after the other: a proof may settle several checkpoints. */
  #prove(session: Session): void {
    this.#proving = this.#proving.then(async () => {
      if (this.#session !== session) return;
      try {
        await session.log.prove(session.requester);
      } catch (cause) {
        const error = ChatError.from(cause);
        if (isBetrayal(error)) this.#fault(session, error, `log ${session.log.origin}`, Buffer.alloc(0));
        // Anything else (the connection went, the server is busy): asked again with the next checkpoint or login.
      }
    });
  }

  /** One after the other. What fails for the connection's sake is done after the next login. */
  #publish(): void {
    const session = this.#session;
    this.#publishing = this.#publishing.then(async () => {
      if (session === null || this.#session !== session) return;
      try {
        await this.#devices.publish(session);
      } catch (cause) {
        const error = ChatError.from(cause);
        if (this.#session !== session || error.cause === REPORTED || isLost(error)) return;
        this.#fault(session, error, 'device', Buffer.alloc(0));
      }
    });
  }

  #alarm(error: ChatError, subject: string, detail: Uint8Array): void {
    const where = `${subject}/${error.sub ?? error.field ?? ''}`;
    if (this.vault.ledger.addAlarm(this.#now(), error.code, where, error.message, detail))
      this.#listeners.tell({ on: 'alarm', error });
  }

  #fault(session: Session, error: ChatError, subject: string, detail: Uint8Array): void {
    if (this.#session !== session) return;
    session.acknowledgements.flush(); // what is kept is kept, whatever becomes of the connection
    const { blame } = CODES[error.code];
    // It says that it cannot now: the next connection takes everything up again where it is.
    if (error.cause === REPORTED && blame !== 'peer') return session.requester.link.close();
    if (blame === 'peer' || error.code === 'BAD_CERT') {
      const kept = isBetrayal(error) ? session.log.evidence(detail) : detail;
      this.vault.ledger.addAlarm(
        this.#now(),
        error.code,
        `${subject}/${error.sub ?? error.field ?? ''}`,
        error.message,
        kept,
      );
      this.#listeners.tell({ on: 'alarm', error });
    }
    this.#lost(error, false);
    void this.#connection.close();
  }

  #lost(error: ChatError, willRetry: boolean): void {
    this.#session = null;
    this.#outbox.detach();
    this.rooms.detach();
    this.#withheld.forget();
    if (!willRetry) this.#down ??= error;
    this.#listeners.tell({ on: 'lost', error, willRetry });
  }
}

const isLost = ({ code }: ChatError): boolean => CODES[code].exit === CODES.CONNECTION_LOST.exit;
