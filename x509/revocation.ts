/** Whether a certificate of a path was revoked (RFC 5280 §6.3), for a connection now and for a signature made long ago. */
import { ChatError } from '../base/errors.ts';
import { hex } from '../base/bytes.ts';
import { sha256 } from '../base/hash.ts';
import type { Certificate } from './certificate.ts';
import { crlsOf, type Crl, type CrlReason, type Revocation } from './crl.ts';
import type { Name } from './name.ts';
import { refusal } from './refusal.ts';

/**
 * `live`: as soon as any list is given, each element needs a current list of its issuer, else it fails closed.
 * `at-signing`: only a list that dates the revocation at or before `at` counts, however old or young the list is. That there is no list
 * is no error: callers find out with `crlsOf(crls, issuer)` for each issuer of the path, and say so.
 * `at-stamping`: the same of a key that says itself when it signed. Whoever has stolen it can say another time, so that only a revocation
 * for a harmless reason leaves what is dated before.
 */
export type RevocationRule = 'live' | 'at-signing' | 'at-stamping';

/** RFC 3161 §4: the key is in no other hands. No reason at all is none of them. */
const HARMLESS: ReadonlySet<CrlReason | null> = new Set<CrlReason>([
  'unspecified',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
]);

export interface RevocationQuery {
  readonly crls: readonly Crl[];
  /** Unix ms. */
  readonly at: number;
  readonly rule: RevocationRule;
  /** Added to nextUpdate. */
  readonly graceMs: number;
}

/** @throws BAD_CERT/revoked, BAD_CERT/revocation_unknown */
export function checkRevocation(element: Certificate, issuer: Certificate, query: RevocationQuery): void {
  const { crls, at, rule, graceMs } = query;
  if (crls.length === 0) return;
  const lists = crlsOf(crls, issuer);
  if (rule !== 'live') {
    for (const list of lists) {
      const entry = list.revoked.get(element.serial);
      const isForAllTimes = rule === 'at-stamping' && !HARMLESS.has(entry?.reason ?? null);
      if (entry && (isForAllTimes || entry.at <= at)) throw revoked(element, entry);
    }
    return;
  }
  const newest = lists.find((list) => list.thisUpdate <= at);
  // Listed is revoked, even in a list that went stale and even if its date is still to come.
  const entry = newest?.revoked.get(element.serial);
  if (entry) throw revoked(element, entry);
  if (!newest || at > newest.nextUpdate + graceMs) {
    const why = newest ? `expired at ${iso(newest.nextUpdate)}` : 'is missing, not yet valid or not properly signed';
    throw refusal('revocation_unknown', `${element.subject.text}: the CRL of ${issuer.subject.text} ${why}`);
  }
}

/**
 * What a ban or pin of this certificate is keyed on: issuer with serial number, and the public key. Not the fingerprint: anybody can turn
 * an ECDSA signature (r, s) into (r, n-s), which gives the same certificate another fingerprint. Two lines of printable ASCII.
 */
export const revocationKeys = ({ issuer, serial, spkiHash }: Certificate): readonly [string, string] => [
  serialKey(issuer, serial),
  `spki:${hex(spkiHash)}`,
];

/** The first of revocationKeys(), of a certificate that only a list names. */
export const serialKey = (issuer: Name, serial: string): string => `serial:${hex(sha256(issuer.der))}:${serial}`;

/** Serial keys of all that these issuers' properly signed lists name. */
export const revokedKeys = (crls: readonly Crl[], issuers: readonly Certificate[]): string[] =>
  issuers.flatMap((issuer) =>
    crlsOf(crls, issuer).flatMap((list) => [...list.revoked.keys()].map((serial) => serialKey(list.issuer, serial))),
  );

const revoked = ({ subject }: Certificate, { at, reason }: Revocation): ChatError =>
  refusal('revoked', `${subject.text}: revoked at ${iso(at)} (${reason ?? 'no reason given'})`);
const iso = (at: number): string => new Date(at).toISOString();
