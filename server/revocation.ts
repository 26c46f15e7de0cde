/**
 * Who is admitted, and for how long: path validation with the configured authorities and revocation lists, a deny list of our own, and
 * the live links, which are asked again whenever lists change and cut when a certificate in their chain ends.
 *
 * It fails closed: while a configured list is missing, unreadable or stale, nobody new is admitted (`revocation_unknown`). Links that
 * were admitted while the lists were good stay: a file that is replaced at this moment must not throw everybody out. What a good
 * list names as revoked is cut in any case.
 */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { FileWatch, readTrustFile } from '../runtime/files.ts';
import type { ServerLink } from '../runtime/link.ts';
import { errorFields, type Log } from '../runtime/log.ts';
import type { Authorities, Chain } from '../runtime/tls.ts';
import type { Certificate } from '../x509/certificate.ts';
import { MAX_CRL_BYTES, parseCrls, type Crl } from '../x509/crl.ts';
import { identityOf } from '../x509/identity.ts';
import { validatePath } from '../x509/path.ts';
import { revocationKeys, revokedKeys } from '../x509/revocation.ts';
import { Admitted } from './admitted.ts';

export interface RevocationOptions {
  readonly authorities: Authorities;
  /** paths of revocation lists, PEM or DER; none: revocation is not checked */
  readonly crlFiles: readonly string[];
  /** how long after its nextUpdate a list is still believed */
  readonly crlGraceMs: number;
  /** Unix ms */
  readonly now: () => number;
  readonly log: Log;
  /** Serial keys (x509/revocation.ts) that the lists name and that were not told before; also from the constructor. */
  readonly onRevoked?: (serialKeys: readonly string[]) => void;
  /** Lists that are in force from now on, and the authorities; also from the constructor. */
  readonly onLoaded?: (crls: readonly Crl[], authorities: readonly Certificate[]) => void;
  /** of the files and of what ends with time; 1 s if left out */
  readonly pollMs?: number;
}

export interface RevocationStatus {
  /** `off`: no lists are configured; `failed`: one is missing, unreadable or stale, and who depends on it is refused */
  readonly state: 'off' | 'current' | 'failed';
  readonly lists: readonly { readonly issuer: string; readonly nextUpdate: number; readonly revoked: number }[];
}

const DAY_MS = 86_400_000;
/** Days before the end of a certificate at which a line is logged. */
const WARNING_DAYS = [1, 7, 14, 30] as const;
/** A list that is not replaced in time refuses everybody: said this long before. */
const CRL_WARNING_MS = DAY_MS;
const MAX_WARNED = 100_000;
/** More than an organisation has; each of them was signed by an authority of ours. */
const MAX_SHOWN = 1000;

export class Revocation {
  readonly #o: RevocationOptions;
  readonly #links = new Set<ServerLink>();
  readonly #cutLinks = new WeakSet<ServerLink>();
  readonly #denied = new Set<string>();
  readonly #told = new Set<string>();
  /** fingerprint → an intermediate of a path that was found, which may be in no file of ours; it has lists as well */
  readonly #shown = new Map<string, Certificate>();
  /** fingerprint → the least number of days that was warned about */
  readonly #warned = new Map<string, number>();
  readonly #admitted = new Admitted();
  readonly #watch: FileWatch;
  readonly #timer: NodeJS.Timeout;
  #authorities: Authorities;
  #crls: readonly Crl[] = [];
  #isUnreadable = false;
  #wasStale = false;
  readonly #announced = new Set<Crl>();
  #own: Certificate | null = null;

  /** Reads the lists; one that cannot be read is logged and refuses everybody, but is no reason not to start. */
  constructor(options: RevocationOptions) {
    this.#o = options;
    this.#authorities = options.authorities;
    this.#watch = new FileWatch(options.crlFiles, () => this.reload(), options.pollMs ?? 1000);
    this.reload();
    this.#timer = setInterval(() => this.tick(), options.pollMs ?? 1000);
    this.#timer.unref();
  }

  /**
   * The path from a client's certificate to an authority, now. For LinkOptions.admit.
   * @throws BAD_CERT with a Reason as sub
   */
  readonly admit = (presented: readonly [Certificate, ...Certificate[]]): Chain => {
    if (this.#isUnreadable)
      throw new ChatError('BAD_CERT', 'a configured revocation list cannot be read', { sub: 'revocation_unknown' });
    const at = this.#o.now();
    const known = this.#admitted.find(presented, at);
    if (known !== null) return known;
    const [leaf, ...others] = presented;
    const chain = this.#validate(leaf, others, at);
    identityOf(leaf); // a certificate without a name that is a name is for nobody
    this.#admitted.add(presented, chain, at, this.#crls, this.#o.crlGraceMs);
    this.#checked.set(chain, this.#basis);
    return chain;
  };

  /** For LinkOptions.parse. */
  readonly parse = this.#admitted.parse;

  /** Looks after a link until it closes: cuts it on revocation, denial, or the end of a certificate in its chain. */
  watch(link: ServerLink): void {
    this.#links.add(link);
    void link.closed.then(() => this.#links.delete(link));
    this.#warnOfExpiry(link.peerChain[0]);
    this.#recheck(link); // between the handshake and now a list may have changed
  }

  /** Whether it was closed for what its certificate is now: nothing that is asked over it is carried out any more. */
  isCut(link: ServerLink): boolean {
    return this.#cutLinks.has(link);
  }

  /** Reads the lists again, and asks all live links again. Never throws. */
  reload(): void {
    const { crlFiles, log } = this.#o;
    const crls: Crl[] = [];
    this.#isUnreadable = false;
    for (const file of crlFiles) {
      try {
        crls.push(...parseCrls(readTrustFile(file, 'tls.crl', MAX_CRL_BYTES)));
      } catch (error) {
        this.#isUnreadable = true;
        log.warn('crl.failed', { file, ...errorFields(error) });
      }
    }
    this.#crls = crls; // what can be read counts, also while another list is away
    this.#newBasis();
    if (!this.#isUnreadable)
      for (const { issuer, revoked } of crls) log.info('crl.loaded', { issuer: issuer.text, count: revoked.size });
    this.tick();
    const { roots, intermediates } = this.#authorities;
    this.#o.onLoaded?.(crls, [...roots, ...intermediates]);
    this.#tellRevoked();
  }

  #tellRevoked(): void {
    const { roots, intermediates } = this.#authorities;
    const issuers = [...roots, ...intermediates, ...this.#shown.values()];
    const fresh = revokedKeys(this.#crls, issuers).filter((key) => !this.#told.has(key));
    for (const key of fresh) this.#told.add(key);
    if (fresh.length > 0) this.#o.onRevoked?.(fresh);
  }

  /** Authorities from now on; live links of an authority that is gone are cut. */
  renew(authorities: Authorities): void {
    this.#authorities = authorities;
    this.#shown.clear();
    this.reload();
  }

  /** Refuses and cuts every certificate with one of these keys (`revocationKeys`), for the life of this process. */
  deny(keys: readonly string[]): void {
    for (const key of keys) this.#denied.add(key);
    this.#newBasis();
    for (const link of this.#links) this.#recheck(link);
  }

  /** The server's own certificate, to warn of its end. */
  watchOwn(certificate: Certificate): void {
    this.#own = certificate;
    this.#warnOfExpiry(certificate);
  }

  get status(): RevocationStatus {
    const lists = this.#crls.map(({ issuer, nextUpdate, revoked }) => ({
      issuer: issuer.text,
      nextUpdate,
      revoked: revoked.size,
    }));
    if (this.#o.crlFiles.length === 0) return { state: 'off', lists };
    return { state: this.#isUnreadable || this.#isStale() ? 'failed' : 'current', lists };
  }

  /** What the timer does: what ends with time, ends. One comparison a link, so no timer is ever set for weeks (2^31 ms is 24 days). */
  tick(): void {
    for (const link of this.#links) this.#recheck(link);
    if (this.#own) this.#warnOfExpiry(this.#own);
    const isStale = this.#isStale();
    const { now, log } = this.#o;
    if (isStale && !this.#wasStale) log.warn('crl.stale', { code: 'BAD_CERT', sub: 'revocation_unknown' });
    this.#wasStale = isStale;
    for (const crl of this.#crls) {
      if (isStale || this.#announced.has(crl) || crl.nextUpdate - now() > CRL_WARNING_MS) continue;
      this.#announced.add(crl);
      log.warn('crl.stale', { issuer: crl.issuer.text, reason: 'due', ms: Math.max(0, crl.nextUpdate - now()) });
    }
  }

  close(): void {
    this.#watch.close();
    clearInterval(this.#timer);
  }

  /** A newer list of the same issuer takes the place of a stale one. */
  #isStale(): boolean {
    const newest = new Map<string, number>();
    for (const { issuer, nextUpdate } of this.#crls) {
      const key = hex(issuer.der);
      newest.set(key, Math.max(nextUpdate, newest.get(key) ?? 0));
    }
    const end = this.#o.now() - this.#o.crlGraceMs;
    return [...newest.values()].some((nextUpdate) => nextUpdate < end);
  }

  #validate(leaf: Certificate, others: readonly Certificate[], at: number): Chain {
    const { roots, intermediates } = this.#authorities;
    const chain = validatePath({
      leaf,
      intermediates: [...others, ...intermediates],
      roots,
      crls: this.#crls,
      at,
      purpose: 'clientAuth',
      revocation: 'live',
      crlGraceMs: this.#o.crlGraceMs,
    });
    if (chain.some((certificate) => revocationKeys(certificate).some((key) => this.#denied.has(key))))
      throw new ChatError('BAD_CERT', `${leaf.subject.text}: on the deny list`, { sub: 'revoked' });
    this.#learn(chain.slice(1, -1));
    return chain;
  }

  #learn(intermediates: readonly Certificate[]): void {
    const before = this.#shown.size;
    for (const ca of intermediates) if (this.#shown.size < MAX_SHOWN) this.#shown.set(hex(ca.fingerprint), ca);
    if (this.#shown.size > before) this.#tellRevoked();
  }

  /** Stands for lists, authorities and deny list as they are now. */
  #basis: object = {};
  /** What each live path was last found with. */
  readonly #checked = new WeakMap<Chain, object>();

  #newBasis(): void {
    this.#basis = {};
    this.#admitted.forget();
  }

  /** The whole path again when something has changed, else only its dates. */
  #recheck(link: ServerLink): void {
    const { peerChain } = link;
    const [leaf, ...others] = peerChain;
    const at = this.#o.now();
    const isSame = this.#checked.get(peerChain) === this.#basis;
    try {
      if (!isSame || peerChain.some(({ notAfter }) => at > notAfter)) this.#validate(leaf, others, at);
    } catch (error) {
      const refused = ChatError.from(error);
      if (refused.sub !== 'revocation_unknown') return this.#cut(link, refused);
    }
    this.#checked.set(peerChain, this.#basis);
    this.#warnOfExpiry(leaf);
  }

  #cut(link: ServerLink, refused: ChatError): void {
    this.#links.delete(link);
    this.#cutLinks.add(link);
    const event = refused.sub === 'expired' ? 'certificate.expired' : 'certificate.revoked';
    const subject = link.peerChain[0].subject.text;
    this.#o.log.info(event, { address: link.address, subject, ...errorFields(refused) });
    link.close(refused.code, refused.sub);
  }

  #warnOfExpiry(certificate: Certificate): void {
    const left = certificate.notAfter - this.#o.now();
    if (left < 0 || left > 30 * DAY_MS) return;
    const days = WARNING_DAYS.find((limit) => left <= limit * DAY_MS) ?? 30;
    const fingerprint = hex(certificate.fingerprint);
    if ((this.#warned.get(fingerprint) ?? Infinity) <= days) return;
    if (this.#warned.size >= MAX_WARNED) this.#warned.clear();
    this.#warned.set(fingerprint, days);
    const { text: subject } = certificate.subject;
    this.#o.log.warn('certificate.expiring', { subject, fingerprint, days: Math.floor(left / DAY_MS) });
  }
}
