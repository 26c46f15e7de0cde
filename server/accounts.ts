/**
 * Registration, login, resumption and another password on one link (docs/PROTOCOL.md §4). Who the peer is was decided by its certificate; here it is
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
import { errorFields } from '../runtime/log.ts';
import type { KnownUser, User } from '../store/contract/accounts.ts';
import type { Device, NewDevice } from '../store/contract/devices.ts';
import type { Store } from '../store/store.ts';
import { canonicalEmail, canonicalUsername, certIdentity, identityOf } from '../x509/identity.ts';
import { revocationKeys } from '../x509/revocation.ts';
import { joinChain } from './chain-bytes.ts';
import { continuedDevice } from './continuity.ts';
import { Guesses, type GuessLimits, type Uncounted } from './guesses.ts';
import { createAccount, type RegistrationRules } from './registration.ts';
import type { Tokens } from './tokens.ts';
import { Turns } from './turns.ts';

export interface AccountOptions extends GuessLimits, RegistrationRules {
  readonly store: Store;
  readonly tokens: Tokens;
  /** 32 bytes that outlive restarts: the salts of names that do not exist come from it */
  readonly fakeSecret: Secret;
  readonly devicesPerAccount: number;
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

/** For so long after a password was proven on a link it may be changed there: who finds it open later may not. */
export const PROOF_LASTS_MS = 5 * 60_000;
/** Registrations and logins that one link may try. */
const MAX_ATTEMPTS = 32;

export class Accounts {
  readonly options: AccountOptions;
  /** What clients give new accounts here, and so what a name without an account is answered with. */
  readonly usualKdf: string;
  /** Logins of one certificate are checked one after the other: guesses in parallel would all be made before the first is counted. */
  readonly #turns = new Turns<string>();
  readonly #uncounted: Uncounted = new Map();

  /** @throws WEAK_KDF for a configured KDF outside the limits */
  constructor(options: AccountOptions) {
    this.usualKdf = formatKdf(strongerKdf(parseKdf(options.kdf), DEFAULT_KDF));
    this.options = options;
  }

  session(peer: Peer): AccountSession {
    return new AccountSession(this, peer, this.#uncounted);
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
  readonly #guesses: Guesses;
  #challenge: Challenge | null = null;
  #isLoggedIn = false;
  /** whose password was proven here, as it is, and when */
  #proven: { readonly user: User; readonly at: number } | null = null;
  #attempts = 0;

  constructor(accounts: Accounts, peer: Peer, uncounted: Uncounted) {
    this.#accounts = accounts;
    this.#peer = peer;
    this.#binding = loginBinding(peer.exporter);
    this.#guesses = new Guesses(accounts.options, peer.peerChain[0], uncounted);
  }

  /** @throws as createAccount(), RATE_LIMIT */
  async register(frame: Request<'register'>): Promise<void> {
    const { options } = this.#accounts;
    this.#begin('register');
    const user = await createAccount(options, this.#peer.peerChain, this.#device(), frame);
    options.log.info('register.done', { user: user.username, address: this.#peer.address });
  }

  /** @throws LOCKED with retryAfterMs, RATE_LIMIT, BAD_FRAME/frame.type when logged in already */
  async login(frame: Request<'login'>): Promise<Reply<'login_challenge'>> {
    const { fakeSecret, randomBytes } = this.#accounts.options;
    this.#begin('login');
    const name = canonicalAccount(frame.account);
    const user = await this.#find(name);
    await this.#guesses.refuseIfLocked(calledBy(user, name), this.#pwdHashOf(user, name));
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
    if (challenge === null) throw outOfOrder('login_proof');
    return this.#accounts.inTurn(hex(this.#peer.peerChain[0].spkiHash), () => this.#prove(frame, challenge));
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

  /**
   * The user's other connections are not ended by it.
   * @throws NOT_LOGGED_IN/proof unless the password was proven on this link a moment ago; WEAK_KDF; AUTH_FAIL when it is another one by now
   */
  async setPassword(frame: Request<'password_set'>): Promise<Reply<'password_ok'>> {
    const { store, tokens, kdf, log, now } = this.#accounts.options;
    const proven = this.#proven;
    if (proven === null || Math.abs(now() - proven.at) > PROOF_LASTS_MS)
      throw new ChatError('NOT_LOGGED_IN', 'log in with the password first', { sub: 'proof' });
    checkNotBelow(parseKdf(frame.kdf), parseKdf(kdf));
    const user: User = {
      ...proven.user,
      salt: frame.salt,
      pwdHash: hex(frame.stored_key),
      serverKey: frame.server_key,
      pwdKdf: frame.kdf,
    };
    if (!(await store.setPassword(user.id, user, proven.user.pwdHash)))
      throw new ChatError('AUTH_FAIL', 'the password was changed meanwhile');
    this.#proven = { user, at: proven.at };
    const { token, expires } = tokens.issue(user, this.#peer.peerChain[0].fingerprint);
    log.info('password.set', { user: user.username, address: this.#peer.address });
    return { type: 'password_ok', id: frame.id, token, token_expires: expires };
  }

  async #prove(frame: Request<'login_proof'>, { name, message }: Challenge): Promise<LoggedIn> {
    const { log, now } = this.#accounts.options;
    await this.#guesses.countEarlier();
    const user = await this.#find(name); // as he is now: a challenge can be kept for as long as the connection
    const pwdHash = this.#pwdHashOf(user, name);
    const guess = [calledBy(user, name), pwdHash] as const;
    await this.#guesses.refuseIfLocked(...guess); // the turn may have come after somebody else's last guess
    const isRight = checkProof(Buffer.from(pwdHash, 'hex'), message, frame.proof);
    try {
      if (!isRight || user === null) {
        const retryAfterMs = await this.#guesses.failed(...guess);
        if (retryAfterMs > 0) log.warn('login.locked', { address: this.#peer.address, retryAfterMs });
        throw new ChatError('AUTH_FAIL', 'name or password is wrong');
      }
      await this.#guesses.succeeded(...guess); // nothing that may fail comes behind a login: it would be half done
      const signature = serverSignature(user.serverKey, message);
      const done = await this.#enter(frame.id, user, { signature, continues: frame.continues });
      this.#proven = { user, at: now() };
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
      throw new ChatError('CERT_ACCOUNT_MISMATCH', 'the account belongs to another identity', { field: 'certificate' });
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
    const device = this.#device();
    const continues = claim === undefined ? null : await continuedDevice(store, user, claim, device.fingerprint);
    const added = { ...device, userId: user.id, ...(continues === null ? {} : { continues }) };
    return store.addDevice(added, now(), limit);
  }

  /** What the certificate makes of whoever has it. */
  #device(): Omit<NewDevice, 'userId' | 'continues'> {
    const { peerChain } = this.#peer;
    const [leaf] = peerChain;
    return {
      fingerprint: leaf.fingerprint,
      serialKey: revocationKeys(leaf)[0],
      spkiHash: leaf.spkiHash,
      chain: joinChain(peerChain.map(({ der }) => der)),
      notAfter: leaf.notAfter,
    };
  }

  #begin(type: 'register' | 'login' | 'resume'): void {
    if (this.#isLoggedIn) throw outOfOrder(type);
    if (++this.#attempts > MAX_ATTEMPTS)
      throw new ChatError('RATE_LIMIT', 'too many attempts on one connection', { sub: 'attempts' });
    this.#challenge = null;
  }

  /**
   * Null as well where the certificate is in another name: nobody logs in with it there, and the salt, which is the same for username and
   * address, would tell him whose they are.
   */
  async #find(name: string): Promise<User | null> {
    const user = await this.#accounts.options.store.findUser(name);
    return user?.username === identityOf(this.#peer.peerChain[0]).username ? user : null;
  }

  /** Made up in any case, for the time that takes. */
  #pwdHashOf(user: User | null, name: string): string {
    const fake = hex(fakeVerifier(this.#accounts.options.fakeSecret, name).storedKey);
    return user?.pwdHash ?? fake;
  }
}

/** Names are compared in one spelling; what can be nobody's name stays as it is and is looked for in vain. */
export function canonicalAccount(account: string): string {
  try {
    return account.includes('@') ? canonicalEmail(account) : canonicalUsername(account);
  } catch {
    return account;
  }
}

/** What wrong passwords count against: by his address nobody may try as often again as by his name. */
const calledBy = (user: User | null, name: string): string => user?.username ?? name;

const outOfOrder = (type: string): ChatError => new ChatError('BAD_FRAME', `${type}: not now`, { field: 'frame.type' });
