/**
 * Registration, login and resumption on one link (docs/PROTOCOL.md §4). Who the peer is was decided by its certificate; here it is
 * joined to an account. What is answered never tells whether a name has an account, except to who knows its password.
 */
import { hex, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import type { Continuity } from '../protocol/device-binding.ts';
import { loginBinding } from '../protocol/key-schedule.ts';
import type { Reply, Request } from '../protocol/messages.ts';
import {
  authMessage,
  checkProof,
  fakeSalt,
  fakeVerifier,
  NONCE_BYTES,
  checkNotBelow,
  DEFAULT_KDF,
  formatKdf,
  parseKdf,
  strongerKdf,
  serverSignature,
} from '../protocol/scram.ts';
import type { ServerLink } from '../runtime/link.ts';
import { errorFields, type Log } from '../runtime/log.ts';
import type { Device, KnownUser, NewUser, Store, User } from '../store/store.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { canonicalEmail, canonicalUsername, certIdentity, identityOf } from '../x509/identity.ts';
import { revocationKeys } from '../x509/revocation.ts';
import { joinChain, splitChain } from './chain-bytes.ts';
import { continuedDevice } from './continuity.ts';
import type { Tokens } from './tokens.ts';
import { Turns } from './turns.ts';

export interface AccountOptions {
  readonly store: Store;
  readonly tokens: Tokens;
  /** 32 bytes that outlive restarts: the salts of names that do not exist come from it */
  readonly fakeSecret: Secret;
  readonly registration: 'open' | 'closed';
  /** the least that a new account may have, as it travels */
  readonly kdf: string;
  readonly maxFailures: number;
  readonly lockoutMs: number;
  readonly devicesPerAccount: number;
  readonly log: Log;
  /** Unix ms */
  readonly now: () => number;
  readonly randomBytes: (count: number) => Buffer;
  /** for login_ok: the statement of the server certificate that the peer was shown */
  readonly logIdentity: (certificate: Fingerprint) => Reply<'login_ok'>['log'];
}

/** What of a link matters here. */
export type Peer = Pick<ServerLink, 'peerChain' | 'ownFingerprint' | 'exporter' | 'address'>;

export interface LoggedIn {
  readonly user: User;
  readonly device: Device;
  readonly isNewDevice: boolean;
  /** the certificate that this login's has taken the place of */
  readonly renewed: Fingerprint | null;
  /** SHA-256 of each key that a certificate of the device is or was for, the present one first */
  readonly keyHashes: readonly Uint8Array[];
  readonly reply: Reply<'login_ok'>;
}

/** Registrations and logins that one link may try. */
const MAX_ATTEMPTS = 32;
/** Behind the username, the address of somebody whose certificate does not name the one that he gave, and another's does (RFC 2606). */
const UNPROVEN = '@unproven.invalid';
/** The newest, which are asked whether they name an address. */
const MAX_DEVICES_ASKED = 200;

export class Accounts {
  readonly options: AccountOptions;
  /** What clients give new accounts here, and so what a name without an account is answered with. */
  readonly usualKdf: string;
  /** Logins of one certificate are checked one after the other: guesses in parallel would all be made before the first is counted. */
  readonly #turns = new Turns<string>();

  /** @throws WEAK_KDF for a configured KDF outside the limits */
  constructor(options: AccountOptions) {
    this.usualKdf = formatKdf(strongerKdf(parseKdf(options.kdf), DEFAULT_KDF));
    this.options = options;
  }

  session(peer: Peer): AccountSession {
    return new AccountSession(this, peer);
  }

  inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.take(key, work);
  }
}

interface Challenge {
  /** canonical, or as it came when it can be no account's name */
  readonly name: string;
  readonly message: Buffer;
}

interface Entrance {
  /** of the server, for who has proven the password */
  readonly signature?: Buffer;
  readonly continues?: Continuity | undefined;
  /** the device of the certificate, where it was read already */
  readonly known?: KnownUser['known'];
}

/** One link's way to an account. Its requests come one at a time. */
export class AccountSession {
  readonly #accounts: Accounts;
  readonly #peer: Peer;
  readonly #binding: Buffer;
  readonly #spki: string;
  #challenge: Challenge | null = null;
  #isLoggedIn = false;
  #attempts = 0;

  constructor(accounts: Accounts, peer: Peer) {
    this.#accounts = accounts;
    this.#peer = peer;
    this.#binding = loginBinding(peer.exporter);
    this.#spki = hex(peer.peerChain[0].spkiHash);
  }

  /**
   * @throws REGISTRATION_CLOSED, BAD_NAME, WEAK_KDF, CERT_ACCOUNT_MISMATCH with field `register.username` or `register.email` (not that
   *   of the certificate) or `certificate` (the certificate is another account's device), USER_EXISTS, RATE_LIMIT
   */
  async register(frame: Request<'register'>): Promise<void> {
    const { store, registration, kdf, devicesPerAccount, log, now } = this.#accounts.options;
    this.#begin('register');
    if (registration === 'closed') throw new ChatError('REGISTRATION_CLOSED', 'this server makes no new accounts');
    const { peerChain } = this.#peer;
    const username = named('register.username', () => canonicalUsername(frame.username));
    const email = named('register.email', () => canonicalEmail(frame.email));
    checkNotBelow(parseKdf(frame.kdf), parseKdf(kdf));
    const certified = identityOf(peerChain[0]);
    if (username !== certified.username) throw mismatch('register.username', 'the name is not that of the certificate');
    if (certified.email !== undefined && email !== certified.email)
      throw mismatch('register.email', 'the e-mail address is not that of the certificate');
    const known = await store.deviceByFingerprint(peerChain[0].fingerprint);
    if (known !== null && known.username !== username)
      throw mismatch('certificate', 'the certificate is a device of another account');
    if (email !== certified.email && email.endsWith(UNPROVEN)) throw taken('register.email');
    // A name may look like an e-mail address: neither may be somebody else's in either column.
    await this.#take(username, certified.email, 'register.username');
    await this.#take(email, certified.email, 'register.email');
    const user = await createUser(store, {
      email,
      username,
      displayName: frame.display_name ?? null,
      salt: frame.salt,
      pwdHash: hex(frame.stored_key),
      serverKey: frame.server_key,
      pwdKdf: frame.kdf,
      certIdentity: certIdentity(peerChain),
      createdAt: now(),
    });
    await this.#addDevice(user, devicesPerAccount);
    log.info('register.done', { user: username, address: this.#peer.address });
  }

  /**
   * Whose certificate names no address has given any: it is his until somebody comes whose certificate names it.
   * @param certified by the certificate @throws USER_EXISTS
   */
  async #take(name: string, certified: string | undefined, field: string): Promise<void> {
    const { store, log } = this.#accounts.options;
    const holder = await store.findUser(name);
    if (holder === null) return;
    if (name !== certified || holder.username === name || (await isProven(store, holder))) throw taken(field);
    await store.setEmail(holder.id, `${holder.username}${UNPROVEN}`);
    log.warn('register.unproven', { user: holder.username });
  }

  /** @throws LOCKED with retryAfterMs, RATE_LIMIT, BAD_FRAME/frame.type when logged in already */
  async login(frame: Request<'login'>): Promise<Reply<'login_challenge'>> {
    const { store, fakeSecret, randomBytes } = this.#accounts.options;
    this.#begin('login');
    const name = canonicalAccount(frame.account);
    await this.#refuseIfLocked(name);
    const user = await store.findUser(name);
    // Both are made in any case: the time this takes must not tell.
    const fake = fakeSalt(fakeSecret, name);
    const salt = user?.salt ?? fake;
    const kdf = user?.pwdKdf ?? this.#accounts.usualKdf;
    const serverNonce = randomBytes(NONCE_BYTES);
    const message = authMessage({
      username: frame.account,
      clientNonce: frame.nonce,
      serverNonce,
      salt,
      kdf,
      channelBinding: this.#binding,
    });
    this.#challenge = { name, message };
    return { type: 'login_challenge', id: frame.id, nonce: serverNonce, salt, kdf };
  }

  /**
   * @throws AUTH_FAIL for a wrong password and an unknown name alike; LOCKED; only after a right proof: SUSPENDED, CERT_ACCOUNT_MISMATCH,
   *   DEVICE_LIMIT, BAD_CERT/revoked, SIG_FAIL/continuity; BAD_FRAME/frame.type without a login before it
   */
  prove(frame: Request<'login_proof'>): Promise<LoggedIn> {
    const challenge = this.#challenge;
    this.#challenge = null; // for one proof
    if (challenge === null || this.#isLoggedIn) throw outOfOrder('login_proof');
    return this.#accounts.inTurn(this.#spki, () => this.#prove(frame, challenge));
  }

  /** @throws AUTH_FAIL for whatever is wrong with the token; SUSPENDED, CERT_ACCOUNT_MISMATCH, DEVICE_LIMIT, BAD_CERT/revoked, RATE_LIMIT */
  async resume(frame: Request<'resume'>): Promise<LoggedIn> {
    const { store, tokens, log } = this.#accounts.options;
    this.#begin('resume');
    try {
      const { fingerprint } = this.#peer.peerChain[0];
      const { userId, generation } = await tokens.verify(frame.token, fingerprint);
      const found = await store.userWithDevice(userId, fingerprint);
      if (found === null || !tokens.isCurrent(generation, found.user.pwdHash))
        throw new ChatError('AUTH_FAIL', 'the token is not good here');
      const { user, known } = found;
      const done = await this.#enter(frame.id, user, { known });
      log.info('login.resumed', { user: user.username, address: this.#peer.address });
      return done;
    } catch (error) {
      log.info('login.refused', { address: this.#peer.address, type: 'resume', ...errorFields(error) });
      throw error;
    }
  }

  async #prove(frame: Request<'login_proof'>, { name, message }: Challenge): Promise<LoggedIn> {
    const { store, fakeSecret, maxFailures, lockoutMs, log, now } = this.#accounts.options;
    await this.#refuseIfLocked(name); // the turn may have come after somebody else's last guess
    const user = await store.findUser(name); // as he is now: a challenge can be kept for as long as the connection
    const fake = fakeVerifier(fakeSecret, name);
    const storedKey = user === null ? fake.storedKey : Buffer.from(user.pwdHash, 'hex');
    const isRight = checkProof(storedKey, message, frame.proof);
    try {
      if (!isRight || user === null) {
        const until = await store.countLoginFailure(this.#subjects(name), now(), maxFailures, lockoutMs);
        if (until > now()) log.warn('login.locked', { address: this.#peer.address, retryAfterMs: until - now() });
        throw new ChatError('AUTH_FAIL', 'name or password is wrong');
      }
      const signature = serverSignature(user.serverKey, message);
      const done = await this.#enter(frame.id, user, { signature, continues: frame.continues });
      await store.clearLoginFailures([this.#accountSubject(name)]);
      log.info('login.done', { user: user.username, address: this.#peer.address });
      return done;
    } catch (error) {
      log.info('login.refused', { address: this.#peer.address, type: 'login_proof', ...errorFields(error) });
      throw error;
    }
  }

  /** The password was proven, or the token: who holds either may know how things stand with the account. */
  async #enter(id: number, user: User, { signature, continues, known = null }: Entrance): Promise<LoggedIn> {
    const { tokens, devicesPerAccount, logIdentity, now } = this.#accounts.options;
    const { peerChain } = this.#peer;
    if (user.status === 'suspended') throw new ChatError('SUSPENDED', 'the account is suspended');
    if (user.certIdentity !== certIdentity(peerChain))
      throw mismatch('certificate', 'the account belongs to another identity');
    const { device, isNew, keyHashes, renewed } = known
      ? { ...known, isNew: false, renewed: null }
      : await this.#addDevice(user, devicesPerAccount, continues);
    if (device.revokedAt !== null) throw new ChatError('BAD_CERT', 'the device was revoked', { sub: 'revoked' });
    const { token, expires } = tokens.issue(user, peerChain[0].fingerprint);
    this.#isLoggedIn = true;
    const reply: Reply<'login_ok'> = {
      type: 'login_ok',
      id,
      username: user.username,
      email: user.email,
      ...(signature === undefined ? {} : { server_signature: signature }),
      token,
      token_expires: expires,
      server_time: now(),
      log: logIdentity(this.#peer.ownFingerprint),
    };
    return { user, device, isNewDevice: isNew, keyHashes, renewed, reply };
  }

  async #addDevice(user: User, limit: number, claim?: Continuity): ReturnType<Store['addDevice']> {
    const { store, now } = this.#accounts.options;
    const { peerChain } = this.#peer;
    const [leaf] = peerChain;
    const continues = claim === undefined ? null : await continuedDevice(store, user, claim, leaf.fingerprint);
    return store.addDevice(
      {
        userId: user.id,
        fingerprint: leaf.fingerprint,
        serialKey: revocationKeys(leaf)[0],
        spkiHash: leaf.spkiHash,
        chain: joinChain(peerChain.map(({ der }) => der)),
        notAfter: leaf.notAfter,
        ...(continues === null ? {} : { continues }),
      },
      now(),
      limit,
    );
  }

  #begin(type: 'register' | 'login' | 'resume'): void {
    if (this.#isLoggedIn) throw outOfOrder(type);
    if (++this.#attempts > MAX_ATTEMPTS)
      throw new ChatError('RATE_LIMIT', 'too many attempts on one connection', { sub: 'attempts' });
    this.#challenge = null;
  }

  async #refuseIfLocked(name: string): Promise<void> {
    const { store, maxFailures, now } = this.#accounts.options;
    const at = now();
    const until = await store.lockedUntil(this.#subjects(name), at, maxFailures);
    if (until > at) throw new ChatError('LOCKED', 'too many wrong passwords', { retryAfterMs: until - at });
  }

  /**
   * What a failure counts against. By name and key: a stranger's certificate cannot lock anybody out. By key alone: who tries the names of
   * others is stopped however many there are, and a login of his own does not wipe that out. Whether a name is one's own is read
   * from the certificate and not from the accounts, so the answer tells nothing.
   */
  #subjects(name: string): string[] {
    const own = this.#accountSubject(name);
    const { username, email } = identityOf(this.#peer.peerChain[0]);
    const isStranger = name !== username && name !== email;
    return isStranger ? [own, `spki:${this.#spki}`] : [own];
  }

  #accountSubject(name: string): string {
    return `login:${name.length}:${name}:${this.#spki}`;
  }
}

/** Whether a certificate of his names his e-mail address. */
async function isProven(store: Store, { id, email }: User): Promise<boolean> {
  const devices = await store.devicesOf(id, MAX_DEVICES_ASKED);
  return devices.some(({ chain }) => identityOf(parseCertificate(splitChain(chain)[0]!)).email === email);
}

/** Names are compared in one spelling; what can be nobody's name stays as it is and is looked for in vain. */
function canonicalAccount(account: string): string {
  try {
    return account.includes('@') ? canonicalEmail(account) : canonicalUsername(account);
  } catch {
    return account;
  }
}

function named(field: string, canonical: () => string): string {
  try {
    return canonical();
  } catch (error) {
    const { code, message } = ChatError.from(error);
    throw new ChatError(code, message, { field });
  }
}

async function createUser(store: Store, user: NewUser): Promise<User> {
  try {
    return await store.createUser(user);
  } catch (error) {
    // Somebody was faster than our own look.
    const { code, field } = ChatError.from(error);
    throw code === 'USER_EXISTS' ? taken(`register.${field}`) : error;
  }
}

const mismatch = (field: string, why: string): ChatError => new ChatError('CERT_ACCOUNT_MISMATCH', why, { field });
const taken = (field: string): ChatError => new ChatError('USER_EXISTS', 'the name is taken', { field });
const outOfOrder = (type: string): ChatError => new ChatError('BAD_FRAME', `${type}: not now`, { field: 'frame.type' });
