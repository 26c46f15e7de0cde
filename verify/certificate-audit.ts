/**
 * The certificates of one log, judged as of the time of what they signed: what expired or was revoked later does not spoil earlier
 * messages. Trust comes from the caller's CA certificates alone; a CERT leaf only says what else there is to build a path from.
 */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Certificate } from '../x509/certificate.ts';
import { crlsOf, type Crl } from '../x509/crl.ts';
import { sameName } from '../x509/name.ts';
import { validatePath, type Purpose } from '../x509/path.ts';
import type { FindingCode, Findings } from './finding.ts';
import type { Outside } from './outside.ts';
import { Stretches, type Stretch } from './stretches.ts';
import { iso } from './time.ts';

export interface Trust {
  readonly roots: readonly Certificate[];
  readonly crls: readonly Crl[];
  /** Of lists that were not given as such, the file that each is in. */
  readonly names?: ReadonlyMap<Crl, string>;
  /** Judge everything as of this time (Unix ms), and not of the time of what was signed. */
  readonly at?: number | undefined;
  /** Witnesses and time-stamping authorities; none if left out. */
  readonly outside?: Outside;
}

/** The same answer holds for all times of the stretch. */
export interface Judgement extends Stretch {
  readonly fault: { readonly code: FindingCode; readonly message: string } | null;
}

/** For one leaf certificate, over all its CERT entries. */
export const MAX_INTERMEDIATES = 32;

export class CertificateAudit {
  readonly #trust: Trust;
  readonly #findings: Findings;
  /** Leaf certificate first. */
  readonly #chains = new Map<string, readonly [Certificate, ...Certificate[]]>();
  readonly #judged = new Map<string, Stretches<Judgement>>();
  /** CAs on accepted paths, by fingerprint. */
  readonly #issuers = new Map<string, Certificate>();

  constructor(trust: Trust, findings: Findings) {
    this.#trust = trust;
    this.#findings = findings;
  }

  /**
   * What a CERT leaf holds. A second chain of the same certificate adds intermediates. None of them can take trust away, and none can
   * mend what was found before, so judgements that were made without them stand.
   */
  add(own: Certificate, intermediates: readonly Certificate[]): void {
    const name = hex(own.fingerprint);
    const known = this.#chains.get(name) ?? [own];
    const more = intermediates.filter((c) => !known.some((k) => hex(k.fingerprint) === hex(c.fingerprint)));
    if (more.length === 0 && this.#chains.has(name)) return;
    this.#chains.set(name, [own, ...known.slice(1), ...more.slice(0, 1 + MAX_INTERMEDIATES - known.length)]);
  }

  /** @param name fingerprint in hexadecimal */
  certificate(name: string): Certificate | undefined {
    return this.#chains.get(name)?.[0];
  }

  /** Finds each fault of a certificate once. The certificate must be known. */
  check(where: string, name: string, at: number, purpose: Purpose): Judgement {
    const judgement = this.judge(where, name, at, purpose);
    const { fault } = judgement;
    if (fault) this.#findings.addOnce(`${purpose} ${name}`, fault.code, where, fault.message);
    return judgement;
  }

  /** A revocation list under the name of a CA of this log that this CA did not make would be taken for protection. */
  end(): void {
    const cas = [...this.#issuers.values(), ...this.#trust.roots];
    for (const [i, crl] of this.#trust.crls.entries()) {
      const namesakes = cas.filter((ca) => sameName(ca.subject, crl.issuer));
      if (namesakes.length > 0 && namesakes.every((ca) => crlsOf([crl], ca).length === 0))
        this.#findings.add(
          'E_CRL',
          this.#trust.names?.get(crl) ?? `revocation list ${i + 1}`,
          `not made by the CA that it names, ${crl.issuer.text}`,
        );
    }
  }

  /** The answer alone. Finds nothing but lists that are missing. The certificate must be known. */
  judge(where: string, name: string, signedAt: number, purpose: Purpose): Judgement {
    const at = this.#trust.at ?? signedAt;
    const key = `${purpose} ${name}`;
    let judged = this.#judged.get(key);
    if (judged === undefined) this.#judged.set(key, (judged = new Stretches()));
    const chain = this.#chains.get(name)!;
    return judged.at(at) ?? judged.add(at, this.#judgement(where, chain, at, purpose));
  }

  /** Whether it was good at any time from `from` to `until`: if so, then when all of its path had begun. The certificate must be known. */
  isEverGood(where: string, name: string, purpose: Purpose, from: number, until: number): boolean {
    const begun = [...this.#chains.get(name)!, ...this.#trust.roots].map(({ notBefore }) => Math.max(from, notBefore));
    return [...new Set(begun)].some((at) => at <= until && this.judge(where, name, at, purpose).fault === null);
  }

  #judgement(where: string, chain: readonly [Certificate, ...Certificate[]], at: number, purpose: Purpose): Judgement {
    const { roots, crls } = this.#trust;
    const [leaf, ...intermediates] = chain;
    try {
      const path = validatePath({
        leaf,
        intermediates,
        roots,
        crls,
        at,
        purpose,
        revocation: 'at-signing',
      });
      for (const ca of path.slice(1)) this.#issuers.set(hex(ca.fingerprint), ca);
      checkLists(where, path, crls, at, this.#findings);
      return { ...this.#stretch(chain, path, at), fault: null };
    } catch (error) {
      const { code, sub, message } = ChatError.from(error);
      if (code === 'INTERNAL') throw error;
      return { ...this.#stretch(chain, [], at), fault: { code: CODES[sub ?? ''] ?? 'E_CERT_CHAIN', message } };
    }
  }

  /**
   * Until the next instant, and from the last one, at which a judgement can become another: an end of a validity or list, a revocation. That a
   * list has ended is no fault, and so leads to no other path.
   * @param path that was accepted, leaf first; empty: none was
   */
  #stretch(chain: readonly Certificate[], path: readonly Certificate[], at: number): Stretch {
    let [from, until] = [-Infinity, Infinity];
    const edge = (time: number): void => {
      if (time <= at) from = Math.max(from, time);
      else until = Math.min(until, time);
    };
    for (const { notBefore, notAfter } of [...chain, ...this.#trust.roots]) {
      edge(notBefore);
      edge(notAfter + 1);
    }
    for (const [i, ca] of path.slice(1).entries()) {
      const lists = crlsOf(this.#trust.crls, ca); // another CA of this name may have made others
      edge(endOf(lists, path[i]!) + 1);
      edge(lastEnd(lists) + 1);
    }
    for (const { serial } of chain)
      for (const { revoked } of this.#trust.crls) edge(revoked.get(serial)?.at ?? Infinity);
    return { from, until };
  }
}

/**
 * CAs of an accepted path without a list that was in force: each is found once. A list that was made when a certificate had expired need not name
 * it any more (RFC 5280 §3.3), and so says nothing of it.
 * @param path leaf first
 */
export function checkLists(
  where: string,
  path: readonly Certificate[],
  crls: readonly Crl[],
  at: number,
  findings: Findings,
): void {
  for (const [i, ca] of path.slice(1).entries()) {
    const below = path[i]!;
    const lists = crlsOf(crls, ca);
    if (at <= endOf(lists, below)) continue;
    const end = lastEnd(lists);
    const isLate = at <= end;
    const [code, message] =
      end === -Infinity
        ? (['W_NO_CRL', `no revocation list of ${ca.subject.text} was given`] as const)
        : isLate
          ? ([
              'W_CRL_LATE',
              `the lists of ${ca.subject.text} are of a time when ${below.subject.text} had expired`,
            ] as const)
          : (['W_CRL_OLD', `the newest list of ${ca.subject.text} was in force until ${iso(end)}`] as const);
    findings.addOnce(hex((isLate ? below : ca).fingerprint), code, where, message);
  }
}

const lastEnd = (lists: readonly Crl[]): number => Math.max(-Infinity, ...lists.map(({ nextUpdate }) => nextUpdate));

/** When the newest list that speaks of this certificate has ended. */
const endOf = (lists: readonly Crl[], { notAfter }: Certificate): number =>
  lastEnd(lists.filter(({ thisUpdate }) => thisUpdate <= notAfter));

const CODES: Readonly<Record<string, FindingCode>> = {
  expired: 'E_CERT_EXPIRED',
  not_yet_valid: 'E_CERT_EXPIRED',
  revoked: 'E_CERT_REVOKED',
  wrong_eku: 'E_CERT_USAGE',
  wrong_usage: 'E_CERT_USAGE',
  weak_key: 'E_CERT_WEAK',
};
