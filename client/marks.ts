/**
 * What has become of a comparison of safety numbers: a mark that lasts as long as the other one has the keys that were compared, from the
 * authorities that had vouched for them, and no others. A key that comes later ends it, and that is said once, in words. One that
 * goes is not verified any more when it comes back. One's own devices are no reason: what they are, the other one compares.
 */
import { equal, hex, utf8, type Fingerprint } from '../base/bytes.ts';
import { encode } from '../base/cbor.ts';
import { ChatError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { iso } from '../verify/time.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import type { Mark, MarkedKey } from './mark-table.ts';
import type { Vault } from './vault.ts';

/** `told`: another device of this user says so, which this one has not approved. `ended`: it was, until then. */
export type Standing =
  | { readonly is: 'unverified' }
  | { readonly is: 'verified' | 'told'; readonly at: number; readonly on: Uint8Array | null }
  | { readonly is: 'ended'; readonly at: number; readonly ended: number };

export function standingOf({ marks, handovers }: Pick<Vault, 'marks' | 'handovers'>, user: string): Standing {
  return standing(marks.of(user), handovers.approved());
}
/** Everybody who is verified now, and since when. */
export function verifiedPeople({ marks, handovers }: Pick<Vault, 'marks' | 'handovers'>): Map<string, number> {
  const approved = handovers.approved();
  return new Map(
    marks.all().flatMap((mark) => (standing(mark, approved).is === 'verified' ? [[mark.user, mark.at] as const] : [])),
  );
}

/** The number was shown to a person, who can say from now on that it was the same. */
export function showNumber({ marks }: Vault, user: string, number: string, certificates: readonly Certificate[]): void {
  marks.setShown(user, digestOf(number, certificates));
}

/** @throws USAGE when no number was shown; NOT_ALLOWED/number when it was another one */
export function confirmNumber(
  { marks }: Vault,
  user: string,
  number: string,
  certificates: readonly Certificate[],
  now: number,
): void {
  const shown = marks.shown(user);
  if (shown === null) throw new ChatError('USAGE', `compare the number first: contact verify ${user}`);
  if (!equal(shown, digestOf(number, certificates)))
    throw new ChatError('NOT_ALLOWED', `the number is not the one that you were shown: contact verify ${user}`, {
      sub: 'number',
    });
  marks.put({ user, at: now, keys: keysOf(certificates) });
}

/**
 * Somebody's devices are these; inside a transaction. Answers what is to be said of it; null: nothing.
 * @param areAll they are all that there are now
 */
export function seenCertificates(
  { marks }: Pick<Vault, 'marks'>,
  user: string,
  certificates: readonly Certificate[],
  areAll: boolean,
  now: number,
): string | null {
  const mark = marks.of(user);
  if (mark === null || mark.ended !== undefined) return null;
  const stranger = certificates.find((each) => !isAmong(mark.keys, keyOf(each)));
  if (stranger === undefined) {
    const now = keysOf(certificates);
    const left = mark.keys.filter((each) => isAmong(now, each));
    if (areAll && left.length < mark.keys.length) marks.put({ ...mark, keys: left });
    return null;
  }
  marks.put({ ...mark, ended: now });
  const { spkiHash, issuer, fingerprint } = stranger;
  const which = `certificate ${hex(fingerprint).slice(0, 16)}…`;
  const why = mark.keys.some(({ key }) => equal(key, spkiHash))
    ? `another authority has issued a ${which}: ${issuer.text}`
    : `${user} has a key that was not compared (${which})`;
  return `${user} was verified on ${iso(mark.at).slice(0, 10)}, and is not any more: ${why}; compare again: contact verify ${user}`;
}

/** Marks that another device can be told of. */
export const ownMarks = ({ marks }: Pick<Vault, 'marks'>): Mark[] =>
  marks.all().filter(({ on, ended }) => on === undefined && ended === undefined);

/**
 * Another device of this user says that it has compared these; inside a transaction. It counts once that device is approved here. What was
 * compared on this device, and what names other keys than are known here, is left alone. Answers whether that is news.
 */
export function hearMark(
  vault: Vault,
  { user, at, keys }: Pick<Mark, 'user' | 'at' | 'keys'>,
  on: Fingerprint,
): boolean {
  const known = vault.marks.of(user);
  if (known !== null && known.ended === undefined && (known.on === undefined || known.at >= at)) return false;
  const current = certificatesOf(vault, user);
  if (!current.every((each) => isAmong(keys, keyOf(each)))) return false;
  vault.marks.put({ user, at, keys, on });
  return true;
}

function standing(mark: Mark | null, approved: ReadonlySet<string>): Standing {
  if (mark === null) return { is: 'unverified' };
  const { at, on = null, ended } = mark;
  if (ended !== undefined) return { is: 'ended', at, ended };
  return { is: on === null || approved.has(hex(on)) ? 'verified' : 'told', at, on };
}

const keyOf = ({ spkiHash, issuer }: Certificate): MarkedKey => ({ key: spkiHash, issuer: sha256(issuer.der) });
const isSame = (a: MarkedKey, b: MarkedKey): boolean => equal(a.issuer, b.issuer) && equal(a.key, b.key);
const isAmong = (all: readonly MarkedKey[], one: MarkedKey): boolean => all.some((each) => isSame(each, one));
/** Each once, in one order. */
function keysOf(certificates: readonly Certificate[]): MarkedKey[] {
  const all = certificates.map(keyOf);
  const order = (a: MarkedKey, b: MarkedKey): number =>
    Buffer.compare(a.key, b.key) || Buffer.compare(a.issuer, b.issuer);
  return all.filter((each, i) => !isAmong(all.slice(0, i), each)).toSorted(order);
}
const digestOf = (number: string, certificates: readonly Certificate[]): Buffer =>
  sha256(utf8(number), encode(keysOf(certificates)));
/** Of the devices that somebody had when this profile last heard. */
function certificatesOf(vault: Vault, user: string): Certificate[] {
  const member = vault.conversationWith(user)?.members.find(({ username }) => username === user);
  return (member?.devices ?? []).flatMap((device) => {
    const [der] = vault.ledger.certificate(device as Fingerprint) ?? [];
    return der === undefined ? [] : [parseCertificate(der)];
  });
}
