/**
 * Keeps one logged-in session alive: dials, logs in again by token (or by the password that this process was given), and after every
 * loss tries again with growing, jittered pauses. What must not be retried (a wrong password, a refused certificate, a server that
 * contradicts itself) ends it for good, with the reason.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { equal, type Fingerprint } from '../base/bytes.ts';
import { ChatError, CODES, type Code } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { continuityOf, type Continuity } from '../protocol/device-binding.ts';
import type { Reply } from '../protocol/messages.ts';
import type { ClientLink } from '../runtime/link.ts';
import { demandedKdf, login, register, resume, setPassword } from './login.ts';
import { closedError, LONGEST_WAIT_MS, Requester, type Notice } from './requester.ts';
import type { Ledger } from './ledger.ts';
import type { Vault } from './vault.ts';

/** TLS and both handshakes. @throws UNREACHABLE, BAD_CERT, CHANNEL_MISMATCH, … */
export type Dial = (signal: AbortSignal) => Promise<ClientLink>;

export interface ConnectionHandlers {
  /** A login succeeded; throwing ends the connection for good. */
  open(requester: Requester, login: Reply<'login_ok'>): void;
  notice(frame: Notice): void;
  /** The link is gone. @param willRetry false: for good, because of the error */
  lost(error: ChatError, willRetry: boolean): void;
  /** The next attempt begins in so many ms. */
  waiting(ms: number): void;
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 30_000;
/**
 * The first pause grows with each session in a row that did not last so long: two programs with one certificate end each other's for ever.
 * Not beyond 12.8 s: a server that was away for ten waits twice as long for who knows more than it does (docs/TRANSCRIPT.md §c).
 */
const LASTING_MS = 10_000;
const MOST_FLEETING = 6;

/** Pauses double from 0.2 s to 30 s; each is drawn from its upper half, so that many clients do not come back together. */
export const pauseMs = (attempt: number, random: number): number =>
  Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempt, 20)) * (0.5 + random / 2);

/** Failures that the next attempt may not meet again. */
const TRANSIENT: ReadonlySet<Code> = new Set<Code>([
  'UNREACHABLE',
  'CONNECTION_LOST',
  'SHUTTING_DOWN',
  'UNAVAILABLE',
  'HANDSHAKE_TIMEOUT',
  'STORE_FAILED',
  'DISK_FULL',
  'LOG_FAILED',
  'RATE_LIMIT',
  'QUOTA', // of a connection: this end did not read for too long
  'REPLAY',
  'DECRYPT_FAIL',
  'BAD_FRAME',
]);

export class Connection {
  readonly #dial: Dial;
  readonly #vault: Vault;
  readonly #handlers: ConnectionHandlers;
  readonly #now: () => number;
  readonly #ending = new AbortController();
  #requester: Requester | null = null;
  #account: string | null = null;
  #password: Secret | null = null;
  #isLoggedIn = false;
  /** on the monotonic clock */
  #loggedInAt = 0;
  /** sessions since one that has lasted */
  #fleeting = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(dial: Dial, vault: Vault, handlers: ConnectionHandlers, now: () => number) {
    this.#dial = dial;
    this.#vault = vault;
    this.#handlers = handlers;
    this.#now = now;
  }

  get requester(): Requester | null {
    return this.#requester;
  }
  get isOpen(): boolean {
    return this.#isLoggedIn && this.#requester !== null;
  }

  /** Dials once. @throws what went wrong: the first attempt is for the person to see */
  async dial(): Promise<ClientLink> {
    if (this.#requester !== null) return this.#requester.link;
    const requester = new Requester(await this.#dial(this.#ending.signal));
    this.#requester = requester;
    void requester.link.closed.then((closed) => {
      if (this.#requester !== requester) return;
      this.#requester = null;
      if (!this.#isLoggedIn) return;
      this.#isLoggedIn = false;
      this.#recover(closedError(closed));
    });
    return requester.link;
  }

  /**
   * @returns whether the account is new; false: this certificate had it, perhaps by a registration whose answer did not come, and whether
   *   the password is that of the account is for login() to find
   * @throws USER_EXISTS, BAD_NAME, REGISTRATION_CLOSED, …
   */
  async register(account: { readonly username: string; readonly email: string }, password: Secret): Promise<boolean> {
    try {
      await answered(register(await this.#dialled(), account, password));
      return true;
    } catch (error) {
      if (error instanceof ChatError && error.code === 'USER_EXISTS' && error.sub === 'this_device') return false;
      throw error;
    }
  }

  /**
   * By password when there is one, else by the token of an earlier login. From now on losses are repaired, by token first.
   * @param account username or e-mail address
   * @param password kept for this process; null: only the token can serve
   * @throws AUTH_FAIL, NOT_LOGGED_IN when a password is needed and there is none; whatever `open` throws
   */
  async login(account: string, password: Secret | null): Promise<void> {
    this.#account = account;
    if (password !== null) this.#password = password;
    await this.#enter(password !== null);
  }

  /**
   * Logs in by the password and sets another one, which counts from then on.
   * @throws as login(); CONNECTION_LOST, or another code of its exit status, when it is not known which of them counts
   */
  async changePassword(account: string, before: Secret, after: Secret): Promise<void> {
    const kdf = await answered(demandedKdf(await this.#dialled()));
    await this.login(account, before);
    const requester = await this.#dialled();
    try {
      const { token, token_expires: expires } = await setPassword(requester, after, kdf);
      this.#password?.wipe();
      this.#password = after;
      this.#vault.profile.setResumeToken({ token, expires, fingerprint: requester.link.ownFingerprint });
    } catch (cause) {
      const error = ChatError.from(cause);
      if (CODES[error.code].exit !== CODES.CONNECTION_LOST.exit) throw error;
      const message = 'the connection ended before the server answered: either password may be the right one now';
      throw new ChatError(error.code, message, { cause });
    }
  }

  /** Ends it; nothing is retried. Resolves when the link is gone. */
  async close(code?: Code): Promise<void> {
    this.#ending.abort();
    const requester = this.#requester;
    this.#requester = null;
    this.#isLoggedIn = false;
    this.#password?.wipe();
    this.#password = null;
    requester?.link.close(code);
    await requester?.link.closed;
    await this.#running;
  }

  async #dialled(): Promise<Requester> {
    await this.dial();
    if (this.#requester === null) throw new ChatError('CONNECTION_LOST', 'the connection to the server ended');
    return this.#requester;
  }

  async #enter(isByPassword = false): Promise<void> {
    const requester = await this.#dialled();
    const reply = await answered(this.#authenticate(requester, isByPassword));
    try {
      this.#handlers.open(requester, reply);
    } catch (error) {
      this.#requester = null;
      requester.link.close();
      throw error;
    }
    this.#isLoggedIn = true;
    this.#loggedInAt = performance.now();
    requester.onNotice((frame) => this.#handlers.notice(frame));
    if (this.#requester !== requester) throw new ChatError('CONNECTION_LOST', 'the connection to the server ended');
  }

  async #authenticate(requester: Requester, isByPassword: boolean): Promise<Reply<'login_ok'>> {
    const checkpoint = newestNote(this.#vault.ledger);
    const known = this.#vault.profile.resumeToken();
    const isUsable =
      !isByPassword &&
      known !== null &&
      known.expires > this.#now() &&
      equal(known.fingerprint, requester.link.ownFingerprint);
    if (isUsable)
      try {
        return await resume(requester, known.token, checkpoint);
      } catch (error) {
        if (!(error instanceof ChatError) || error.code !== 'AUTH_FAIL') throw error;
        this.#vault.profile.setResumeToken(null);
      }
    if (this.#password === null || this.#account === null)
      throw new ChatError('NOT_LOGGED_IN', 'the last login is over: a password is needed');
    return login(requester, this.#account, this.#password, checkpoint, this.#continuity(requester.link.ownFingerprint));
  }

  /** A device whose certificate is another one than before: what waits for it at the server comes to it all the same. */
  #continuity(certificate: Fingerprint): Continuity | null {
    const device = this.#vault.keys.device();
    if (device === null || equal(device.certificate, certificate)) return null;
    return continuityOf(device.binding, device.mls_private_key, device.certificate, certificate);
  }

  #recover(first: ChatError): void {
    if (this.#ending.signal.aborted) return;
    this.#running = this.#retry(first).catch(() => {});
  }

  async #retry(first: ChatError): Promise<void> {
    let error = first;
    if (performance.now() - this.#loggedInAt >= LASTING_MS) this.#fleeting = 0;
    const before = Math.min(this.#fleeting++, MOST_FLEETING);
    for (let attempt = 0; !this.#ending.signal.aborted; attempt++) {
      const willRetry = TRANSIENT.has(error.code) || CODES[error.code].exit === CODES.CONNECTION_LOST.exit;
      this.#handlers.lost(error, willRetry);
      if (!willRetry) return;
      const pause = Math.max(
        pauseMs(attempt === 0 ? before : attempt, Math.random()),
        Math.min(error.retryAfterMs ?? 0, LONGEST_WAIT_MS),
      );
      this.#handlers.waiting(pause);
      try {
        await sleep(pause, undefined, { signal: this.#ending.signal, ref: true });
        await this.#enter();
        return;
      } catch (cause) {
        error = ChatError.from(cause);
        this.#requester?.link.close();
        this.#requester = null;
      }
    }
  }
}

/** Before a login, what the server ends the connection for is its answer. */
const answered = <T>(request: Promise<T>): Promise<T> =>
  request.catch((error: unknown) => {
    const isUnanswered = error instanceof ChatError && error.code === 'CONNECTION_LOST';
    throw isUnanswered && error.cause instanceof ChatError ? error.cause : error;
  });

/** The newest checkpoint of the log that was pinned last: a server that has less must stop. */
function newestNote(ledger: Ledger): string | undefined {
  const origin = ledger.lastOrigin();
  const note = origin === null ? undefined : ledger.newest(origin)?.note;
  return note !== undefined && note.length <= 4096 ? note : undefined;
}
