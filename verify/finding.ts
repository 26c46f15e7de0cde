/** What a verifier has to say, and the one verdict that follows from it. docs/TRANSCRIPT.md lists the codes. */
import type { LineageCode } from '../transcript/lineage.ts';

/**
 * E_: proof fails. W_: worth knowing; only --strict minds. The first of a verdict that was found is given as its reason, so what names
 * the culprit stands before what follows from it. Each has a row in docs/TRANSCRIPT.md, and a test compares the two.
 */
export const FINDINGS = {
  E_FORK: 'EQUIVOCATION',
  E_ROLLBACK: 'EQUIVOCATION',
  E_DOUBLE: 'EQUIVOCATION',
  E_INPUT: 'UNREADABLE',
  // files that are not those that were signed
  E_CKPT_SIG: 'TAMPERED',
  E_COSIG: 'TAMPERED',
  E_STAMP: 'TAMPERED',
  E_TRUNCATED: 'TAMPERED',
  E_ENTRIES: 'TAMPERED',
  E_LEAF: 'TAMPERED',
  E_SUMS: 'TAMPERED',
  E_BUNDLE_SIG: 'TAMPERED',
  // what stands in the log
  E_FORMAT: 'TAMPERED',
  E_BATCH_SIG: 'TAMPERED',
  E_AUDIENCE: 'TAMPERED',
  E_ORDER: 'TAMPERED',
  E_BATCH_SHORT: 'TAMPERED',
  E_BATCH_ROOT: 'TAMPERED',
  E_BATCH_PATH: 'TAMPERED',
  E_CTR_REGRESS: 'TAMPERED',
  E_CTR_GAP: 'TAMPERED',
  E_BATCH_CHAIN: 'TAMPERED',
  E_CLOSED: 'TAMPERED',
  E_SESSION_LINK: 'TAMPERED',
  E_CONV_GAP: 'TAMPERED',
  E_CONV_LINK: 'TAMPERED',
  E_TIME_ORDER: 'TAMPERED',
  E_TIME_BOUND: 'TAMPERED',
  E_LINK: 'TAMPERED',
  E_COMMIT: 'TAMPERED',
  E_RECEIPT: 'TAMPERED',
  // hashes
  E_INCLUSION: 'TAMPERED',
  E_TILE: 'TAMPERED',
  E_ROOT: 'TAMPERED',
  E_CONSISTENCY: 'TAMPERED',
  // who vouches for it
  E_KEYBIND: 'UNTRUSTED',
  E_CERT_UNKNOWN: 'UNTRUSTED',
  E_CERT_CHAIN: 'UNTRUSTED',
  E_CERT_EXPIRED: 'UNTRUSTED',
  E_CERT_REVOKED: 'UNTRUSTED',
  E_CERT_USAGE: 'UNTRUSTED',
  E_CERT_WEAK: 'UNTRUSTED',
  E_CRL: 'UNTRUSTED',
  // not against a rule
  W_EMPTY: 'INCOMPLETE',
  W_NO_RECEIPT: 'INCOMPLETE',
  W_NO_QUORUM: 'INCOMPLETE',
  W_NO_STAMP: 'INCOMPLETE',
  W_STAMP: 'VALID',
  W_COSIGNED_AHEAD: 'VALID',
  W_UNWITNESSED: 'VALID',
  W_UNSTAMPED: 'VALID',
  W_NO_CRL: 'VALID',
  W_CRL_OLD: 'VALID',
  W_CRL_LATE: 'VALID',
  W_CRL_MISSING: 'VALID',
  W_KEY_FILES: 'VALID',
  W_LOST: 'VALID',
  W_GAP: 'VALID',
  W_RECEIPT: 'VALID',
  W_UNLINKED: 'VALID',
  W_MISSING: 'VALID',
  W_SKEW: 'VALID',
  W_SESSION_ELSEWHERE: 'VALID',
  W_SESSION_RESTART: 'VALID',
  W_CONV_RESTART: 'VALID',
  W_CONV_ELSEWHERE: 'VALID',
} as const satisfies Record<LineageCode, Verdict> & Record<string, Verdict>;
export type FindingCode = keyof typeof FINDINGS;

export interface Finding {
  readonly code: FindingCode;
  /** The file, entry or batch that it is about. */
  readonly where: string;
  readonly message: string;
}

export type Verdict = 'VALID' | 'TAMPERED' | 'INCOMPLETE' | 'UNTRUSTED' | 'UNREADABLE' | 'EQUIVOCATION';
export const EXIT: Readonly<Record<Verdict, number>> = {
  VALID: 0,
  TAMPERED: 10,
  INCOMPLETE: 11,
  UNTRUSTED: 12,
  UNREADABLE: 13,
  EQUIVOCATION: 14,
};
/** Equivocation ranks highest: it is proof against the server, whatever else is wrong. */
const RANKING = ['EQUIVOCATION', 'UNREADABLE', 'TAMPERED', 'UNTRUSTED', 'INCOMPLETE'] as const;

/** Findings that are kept in full; all are counted. One damaged file can be the reason for thousands. */
const MAX_KEPT = 50;
const MAX_KEPT_OF_A_CODE = 10;

export class Findings {
  readonly kept: Finding[] = [];
  readonly #counts = new Map<FindingCode, number>();
  readonly #once = new Set<string>();
  errors = 0;
  warnings = 0;

  /** The first of each code is always kept, so that none hides behind fifty others. */
  add(code: FindingCode, where: string, message: string): void {
    const before = this.count(code);
    this.#add(code, 1);
    if (before === 0 || (before < MAX_KEPT_OF_A_CODE && this.kept.length < MAX_KEPT))
      this.kept.push({ code, where, message });
  }
  /** Only the first time for this subject: one certificate is behind many messages. */
  addOnce(subject: string, code: FindingCode, where: string, message: string): void {
    const key = `${code} ${subject}`;
    if (this.#once.has(key)) return;
    this.#once.add(key);
    this.add(code, where, message);
  }
  /** What was found elsewhere. @param prefix of each place */
  include(others: Findings, prefix: string): void {
    for (const { code, where, message } of others.kept) this.add(code, `${prefix}${where}`, message);
    for (const [code, count] of others.#counts) {
      const unlisted = count - others.kept.filter((finding) => finding.code === code).length;
      this.#add(code, unlisted);
    }
  }
  count(code: FindingCode): number {
    return this.#counts.get(code) ?? 0;
  }
  #add(code: FindingCode, more: number): void {
    this.#counts.set(code, this.count(code) + more);
    if (code.startsWith('E_')) this.errors += more;
    else this.warnings += more;
  }

  verdict(isStrict: boolean): Verdict {
    const worst = RANKING.find((verdict) => this.#total((code) => FINDINGS[code] === verdict) > 0);
    return worst ?? (isStrict && this.warnings > 0 ? 'INCOMPLETE' : 'VALID');
  }

  /** What made it this verdict; undefined for VALID. */
  reason(verdict: Verdict): Finding | undefined {
    if (verdict === 'VALID') return undefined;
    const code = (Object.keys(FINDINGS) as FindingCode[]).find((c) => FINDINGS[c] === verdict && this.count(c) > 0);
    return this.kept.find((finding) => finding.code === code) ?? this.kept[0];
  }

  #total(test: (code: FindingCode) => boolean): number {
    let sum = 0;
    for (const [code, count] of this.#counts) if (test(code)) sum += count;
    return sum;
  }
}

/** One line, without what a terminal would obey, hide or reorder: names of files and of certificates are other people's text. */
export const shown = (text: string): string =>
  text.replace(
    /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
