/** Wrong passwords: what each counts against, and who has to wait for them. */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Store } from '../store/store.ts';
import type { Certificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';

export interface GuessLimits {
  readonly store: Pick<Store, 'lockedUntil' | 'countLoginFailure' | 'clearLoginFailures'>;
  readonly maxFailures: number;
  /** of the first lockout; each failure beyond the limit doubles it */
  readonly lockoutMs: number;
  /** Unix ms */
  readonly now: () => number;
}

/** Certificate key → counts its guess that the database has not taken. */
export type Uncounted = Map<string, () => Promise<number>>;

/** Those of one certificate. */
export class Guesses {
  readonly #o: GuessLimits;
  readonly #certificate: Certificate;
  readonly #spki: string;
  readonly #uncounted: Uncounted;

  /** @param uncounted of all links */
  constructor(limits: GuessLimits, certificate: Certificate, uncounted: Uncounted) {
    this.#o = limits;
    this.#certificate = certificate;
    this.#spki = hex(certificate.spkiHash);
    this.#uncounted = uncounted;
  }

  /**
   * To be called before a guess is judged, in the turn of the key: a database that is read and not written, as with a full disk, would
   * else let him guess for as long as that lasts.
   * @throws what the database fails with
   */
  async countEarlier(): Promise<void> {
    await this.#uncounted.get(this.#spki)?.();
    this.#uncounted.delete(this.#spki);
  }

  /** @throws LOCKED with retryAfterMs */
  async refuseIfLocked(name: string, pwdHash: string): Promise<void> {
    const { store, maxFailures, now } = this.#o;
    const at = now();
    const until = await store.lockedUntil(this.#subjects(name, pwdHash), at, maxFailures);
    if (until > at) throw new ChatError('LOCKED', 'too many wrong passwords', { retryAfterMs: until - at });
  }

  /** @returns for how long nobody may try again, ms; 0: at once */
  async failed(name: string, pwdHash: string): Promise<number> {
    const { store, maxFailures, lockoutMs, now } = this.#o;
    const subjects = this.#subjects(name, pwdHash);
    const count = (): Promise<number> => store.countLoginFailure(subjects, now(), maxFailures, lockoutMs);
    this.#uncounted.set(this.#spki, count);
    const until = await count();
    this.#uncounted.delete(this.#spki);
    return Math.max(0, until - now());
  }

  /** What he has tried before on this account is forgotten. */
  succeeded(name: string, pwdHash: string): Promise<void> {
    return this.#o.store.clearLoginFailures([this.#accountSubject(name, pwdHash)]);
  }

  /**
   * By name, password and key: a stranger's certificate cannot lock anybody out, and guesses at a password that was changed since lock
   * nobody. By key alone: who tries the names of others is stopped however many there are, and a login of his own does not wipe that
   * out. Whether a name is one's own is read from the certificate and not from the accounts, so the answer tells nothing: the only account
   * that is known here is that of the certificate's username, and comes by it.
   */
  #subjects(name: string, pwdHash: string): string[] {
    const own = this.#accountSubject(name, pwdHash);
    const { username, email } = identityOf(this.#certificate);
    const isStranger = name !== username && name !== email;
    return isStranger ? [own, `spki:${this.#spki}`] : [own];
  }

  #accountSubject(name: string, pwdHash: string): string {
    return `login:${name.length}:${name}:${this.#spki}:${pwdHash}`;
  }
}
