/**
 * The line to the server: the session that there is on it now, and what ended it for good. A login counts only when the log that comes with it
 * is the one that it was; what must not go on ends here, once, with its evidence kept. What is done in a session is the host's to say.
 */
import { encode } from '../base/cbor.ts';
import { ChatError, CODES } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import type { Reply } from '../protocol/messages.ts';
import { parseOrigin } from '../transcript/key-statement.ts';
import { sameName } from '../x509/name.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { Connection, type Dial } from './connection.ts';
import type { ClientIdentity } from './identity.ts';
import type { Listeners } from './listeners.ts';
import { seenCertificates } from './marks.ts';
import { followRenewals } from './renewal.ts';
import type { Notice, Requester } from './requester.ts';
import { Rosters } from './rosters.ts';
import type { Session } from './session.ts';
import { admitLog, isBetrayal, LogView } from './trust.ts';
import type { Vault } from './vault.ts';

export interface LineOptions {
  readonly vault: Vault;
  readonly identity: ClientIdentity;
  /** HOST:PORT, remembered with the account */
  readonly server: string;
  readonly dial: Dial;
  /** how long acknowledgements are gathered; as there if left out */
  readonly gatherMs?: number;
}

export interface LineHost extends Pick<Session, 'wantGroup'> {
  opened(session: Session): void;
  notice(session: Session, frame: Notice): void;
  /** There is no session any more. */
  lost(): void;
  /** Resolves when all that was delivered so far is dealt with. */
  settled(): Promise<void>;
}

/** Beyond this, times in the transcript are worth a warning. */
const MAX_SKEW_MS = 120_000;

export class Line {
  /** Whoever logs in on it hears of what comes of that here. */
  readonly connection: Connection;
  readonly #options: LineOptions;
  readonly #listeners: Listeners;
  readonly #host: LineHost;
  readonly #now: () => number;
  #session: Session | null = null;
  #down: ChatError | null = null;
  #skewMs: number | null = null;
  #proving: Promise<void> = Promise.resolve();

  constructor(options: LineOptions, listeners: Listeners, host: LineHost, now: () => number) {
    this.#options = options;
    this.#listeners = listeners;
    this.#host = host;
    this.#now = now;
    this.connection = new Connection(
      options.dial,
      options.vault,
      {
        open: (requester, login) => this.#enter(requester, login),
        notice: (frame) => {
          if (this.#session !== null) host.notice(this.#session, frame);
        },
        lost: (error, willRetry) => this.#lost(error, willRetry),
        waiting: (ms) => listeners.tell({ on: 'waiting', ms }),
      },
      now,
    );
  }

  /** null: there is none now */
  get session(): Session | null {
    return this.#session;
  }
  /** What ended it for good. */
  get down(): ChatError | null {
    return this.#down;
  }
  /** Clock of the server minus ours at the last login, ms. */
  get skewMs(): number | null {
    return this.#skewMs;
  }
  /** Resolves when all that was to be proven so far is, as far as that goes. */
  get proven(): Promise<void> {
    return this.#proving;
  }

  /** @throws what keeps the server from being asked; as explained() */
  asked<T>(ask: (session: Session) => Promise<T>): Promise<T> {
    const session = this.#session;
    if (session === null)
      return Promise.reject(this.#down ?? new ChatError('CONNECTION_LOST', 'the server cannot be asked now'));
    return this.explained(ask(session));
  }
  /** A request that was cut off by us has failed for our reason. */
  async explained<T>(request: Promise<T>): Promise<T> {
    try {
      return await request;
    } catch (error) {
      throw ChatError.from(error).code === 'CONNECTION_LOST' ? (this.#down ?? error) : error;
    }
  }

  /** Something false that is not to be used, and not a reason to go; shown once for each subject. */
  alarm(error: ChatError, subject: string, detail: Uint8Array): void {
    if (this.#keepAlarm(error, subject, detail)) this.#listeners.tell({ on: 'alarm', error });
  }

  /** Nothing is retried. Resolves when the link is gone. */
  async close(): Promise<void> {
    this.#session?.acknowledgements.flush();
    this.#session = null;
    await this.connection.close();
  }

  #enter(requester: Requester, login: Reply<'login_ok'>): void {
    if (login.username !== this.#options.identity.username)
      throw new ChatError('CERT_ACCOUNT_MISMATCH', 'the server logged this device in as somebody else');
    const now = this.#now();
    const log = this.#admit(requester, login, now);
    this.#remember(requester, login);
    this.#skewMs = login.server_time - now;
    if (Math.abs(this.#skewMs) > MAX_SKEW_MS)
      this.#listeners.warn(
        `the clock of this machine and that of the server are ${Math.round(Math.abs(this.#skewMs) / 1000)} s apart`,
      );
    this.#session = this.#begun(requester, log);
    this.#host.opened(this.#session);
  }

  /** @throws as admitLog(), and then it is over for good */
  #admit({ link }: Requester, { log }: Reply<'login_ok'>, now: number): LogView {
    const { ledger } = this.#options.vault;
    const server = link.peerChain[0]!;
    try {
      return new LogView(
        ledger,
        admitLog(ledger, log, server, now, (text) => this.#listeners.warn(text)),
      );
    } catch (cause) {
      const error = ChatError.from(cause);
      const detail = encode({ statement: log.statement, certificate: server.der });
      if (ledger.addAlarm(now, error.code, `log key ${log.statement}`, error.message, detail))
        this.#listeners.tell({ on: 'alarm', error });
      this.#down = error;
      throw error;
    }
  }

  #remember({ link }: Requester, login: Reply<'login_ok'>): void {
    const { vault, identity, server } = this.#options;
    vault.transaction(() => {
      vault.profile.setAccount({ username: login.username, email: login.email, server });
      vault.profile.setResumeToken({
        token: login.token,
        expires: login.token_expires,
        fingerprint: identity.fingerprint,
      });
      // What this device and this server have signed is to be provable also when both have other certificates.
      for (const [own, ...above] of [identity.chain, link.peerChain]) {
        if (own === undefined || vault.ledger.certificate(own.fingerprint) !== null) continue;
        const intermediates = above.filter(({ subject, issuer }) => !sameName(subject, issuer));
        vault.ledger.addCertificate(
          own.fingerprint,
          [own, ...intermediates].map(({ der }) => der),
        );
      }
    });
  }

  #begun(requester: Requester, log: LogView): Session {
    const { vault, identity, gatherMs } = this.#options;
    const acknowledgements = new Acknowledgements(
      (cursors) => requester.link.send({ type: 'msg_received', cursors }),
      gatherMs,
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
        await this.#host.settled();
        acknowledgements.flush();
      },
      wantGroup: (conversation, isNewReason) => this.#host.wantGroup(conversation, isNewReason),
      prove: () => this.#prove(session),
      alarm: (error, subject, detail) => this.alarm(error, subject, detail),
      fault: (error, subject, detail) => this.#fault(session, error, subject, detail),
    };
    return session;
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

  #fault(session: Session, error: ChatError, subject: string, detail: Uint8Array): void {
    if (this.#session !== session) return;
    session.acknowledgements.flush(); // what is kept is kept, whatever becomes of the connection
    const { blame } = CODES[error.code];
    // It says that it cannot now: the next connection takes everything up again where it is.
    if (error.cause === REPORTED && blame !== 'peer') return session.requester.link.close();
    if (blame === 'peer' || error.code === 'BAD_CERT') {
      this.#keepAlarm(error, subject, isBetrayal(error) ? session.log.evidence(detail) : detail);
      this.#listeners.tell({ on: 'alarm', error });
    }
    this.#lost(error, false);
    void this.connection.close();
  }

  /** Answers whether it is news. */
  #keepAlarm(error: ChatError, subject: string, detail: Uint8Array): boolean {
    const where = `${subject}/${error.sub ?? error.field ?? ''}`;
    return this.#options.vault.ledger.addAlarm(this.#now(), error.code, where, error.message, detail);
  }

  #lost(error: ChatError, willRetry: boolean): void {
    this.#session = null;
    this.#host.lost();
    if (!willRetry) this.#down ??= error;
    this.#listeners.tell({ on: 'lost', error, willRetry });
  }
}
