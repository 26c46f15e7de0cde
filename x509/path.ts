/**
 * Certification path building and validation (RFC 5280 §6, RFC 4158): from a leaf over any of the intermediates to one of the roots.
 * Dead ends are left again, within a fixed amount of work; a path that a careful reader would refuse is refused, whatever OpenSSL says.
 *
 *   const chain = validatePath({ leaf, intermediates, roots, crls, at: now, purpose: 'clientAuth', revocation: 'live' });
 *   const { username } = identityOf(chain[0]), account = certIdentity(chain);
 */
import { equal, hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { algorithmOf } from '../base/signature.ts';
import type { Certificate } from './certificate.ts';
import { permits } from './constraints.ts';
import type { Crl } from './crl.ts';
import { EKU } from './extensions.ts';
import { ATTRIBUTE, attributes, sameName, type GeneralName } from './name.ts';
import { refusal } from './refusal.ts';
import { checkRevocation, type RevocationRule } from './revocation.ts';
import { checkCaKey, isSignedBy } from './scheme.ts';

export type Purpose = 'clientAuth' | 'serverAuth' | 'timeStamping';

export interface PathQuery {
  readonly leaf: Certificate;
  /** From the peer; order and superfluous ones do not matter. */
  readonly intermediates: readonly Certificate[];
  /** Trust anchors, each self-issued; what they say of themselves (validity, constraints, usage) holds for them too. */
  readonly roots: readonly Certificate[];
  readonly crls: readonly Crl[];
  /** Unix ms. */
  readonly at: number;
  readonly purpose: Purpose;
  readonly revocation: RevocationRule;
  /** How long after its nextUpdate a list still counts as current; 0 if left out. Only for `live`. */
  readonly crlGraceMs?: number;
  /** Most intermediates, self-issued ones not counted (RFC 5280 §6.1.2 (k)); MAX_PATH_LENGTH - 2 if left out. */
  readonly maxIntermediates?: number;
  /** A leaf without extKeyUsage passes, as RFC 5280 §4.2.1.12 lets it. For explaining foreign chains; never for letting peers in. */
  readonly allowNoEku?: boolean;
}

/** Elements of a path, leaf and root included. */
export const MAX_PATH_LENGTH = 10;
/**
 * For one call: signatures that are wrong, elements tried, and comparisons of a name with a name constraint. A wrong one is of a certificate that
 * names a CA which did not sign it, and another CA of that name may have: no honest chain has as many.
 */
const MAX_WRONG_SIGNATURES = 8;
const MAX_STEPS = 2000;
const MAX_COMPARISONS = 100_000;

/**
 * The path that was found, leaf first and root last, at least two elements.
 * @throws BAD_CERT with a `Reason` as sub, of the path that came farthest; the message names the element by its subject
 */
export function validatePath(query: PathQuery): [Certificate, Certificate, ...Certificate[]] {
  return new PathSearch(query).find();
}

/**
 * Of a certificate, by key (SHA-256, in hexadecimal): whether it is signed by that one, or why that cannot be said. A CA may have many certificates
 * for one key. Remembered as long as the certificate is: whoever stays connected is asked about with each new revocation list, and the
 * path of somebody who has written much at many times. They are few, for nobody is asked about keys that are not trusted.
 */
const verdicts = new WeakMap<Certificate, Map<string, boolean | ChatError>>();

class PathSearch {
  readonly #query: PathQuery;
  /** Of a whole path that ended at a root: it says more than any failure of a part. */
  #refusedPath: ChatError | undefined;
  #refusedPart: ChatError | undefined;
  #steps = 0;
  #wrongSignatures = 0;
  #comparisons = 0;

  constructor(query: PathQuery) {
    this.#query = query;
  }

  find(): [Certificate, Certificate, ...Certificate[]] {
    const { leaf } = this.#query;
    const path = this.#climb([leaf]);
    if (path) return path as [Certificate, Certificate, ...Certificate[]];
    throw this.#refusedPath ?? this.#refusedPart ?? refusal('untrusted', `${leaf.subject.text}: no path to a root`);
  }

  /** Depth first; the shortest way out, over a root, is tried before any intermediate. */
  #climb(path: readonly Certificate[]): Certificate[] | null {
    const below = path.at(-1)!;
    for (const root of this.#query.roots) {
      if (!this.#mayIssue(root, below, true)) continue;
      const whole = [...path, root];
      if (!this.#isSignedFromAbove(whole)) continue;
      const failure = caught(() => this.#checkPath(whole));
      if (!failure) return whole;
      this.#refusedPath ??= failure;
    }
    if (path.length + 1 >= MAX_PATH_LENGTH) return null;
    for (const ca of this.#query.intermediates) {
      if (path.some((other) => isSameCa(other, ca)) || !this.#mayIssue(ca, below, false)) continue;
      const whole = this.#climb([...path, ca]);
      if (whole) return whole;
    }
    const isKnown = (ca: Certificate) => ca !== below && sameName(ca.subject, below.issuer);
    if (!this.#query.roots.some(isKnown) && !this.#query.intermediates.some(isKnown))
      this.#refusedPart ??= refusal(
        'untrusted',
        `${below.subject.text}: its issuer ${below.issuer.text} is not among the given CAs`,
      );
    return null;
  }

  /** Whether `ca` may be a CA now, and have signed `below`. If its name fits and something else does not, the reason is kept. */
  #mayIssue(ca: Certificate, below: Certificate, isRoot: boolean): boolean {
    if (++this.#steps > MAX_STEPS) throw refusal('untrusted', `no path to a root within ${MAX_STEPS} steps`);
    if (!sameName(ca.subject, below.issuer)) return false;
    const failure = caught(() => {
      if (!isNamedIssuer(ca, below))
        throw refusal('untrusted', `${below.subject.text}: names another key than that of ${ca.subject.text}`);
      checkCa(ca, this.#query.at);
      if (isRoot) checkRoot(ca);
    });
    if (failure) this.#refusePart(failure);
    return failure === undefined;
  }

  /** What says more than that there is no path stays. */
  #refusePart(reason: ChatError): void {
    if (this.#refusedPart === undefined || this.#refusedPart.sub === 'untrusted') this.#refusedPart = reason;
  }

  /** From the root down, so that no key but those of trusted CAs is worked with: with one of his own choice a stranger could make it slow. */
  #isSignedFromAbove(path: readonly Certificate[]): boolean {
    for (let i = path.length - 2; i >= 0; i--) {
      const [below, ca] = [path[i]!, path[i + 1]!];
      if (this.#isSigned(ca, below)) continue;
      this.#refusePart(refusal('untrusted', `${below.subject.text}: not signed by the key of ${ca.subject.text}`));
      return false;
    }
    return true;
  }

  #isSigned(ca: Certificate, below: Certificate): boolean {
    const key = hex(ca.spkiHash);
    const known = verdicts.get(below) ?? new Map<string, boolean | ChatError>();
    verdicts.set(below, known);
    const before = known.get(key);
    const verdict = before ?? signedBy(below, ca);
    known.set(key, verdict);
    if (before === undefined && verdict !== true && ++this.#wrongSignatures > MAX_WRONG_SIGNATURES)
      throw refusal('untrusted', `no path within ${MAX_WRONG_SIGNATURES} wrong signatures`);
    if (verdict instanceof ChatError) this.#refusedPart = about(below, verdict);
    return verdict === true;
  }

  /** RFC 5280 §6.1.3 to §6.1.5, from the root down. The CAs have passed checkCa() already. */
  #checkPath(path: readonly Certificate[]): void {
    const { at, crls, purpose, revocation, crlGraceMs = 0, maxIntermediates = MAX_PATH_LENGTH - 2 } = this.#query;
    const above: Certificate[] = [];
    let intermediatesLeft = maxIntermediates;
    for (const element of path.toReversed()) {
      const [issuer] = above;
      const isLeaf = above.length + 1 === path.length;
      // §6.1.3 (b), (c): a CA may reissue itself under any constraints, but a leaf is never excused.
      if (isLeaf || !element.isSelfIssued) this.#checkNames(element, above);
      if (isLeaf) checkLeaf(element, this.#query);
      else {
        if (issuer && !element.isSelfIssued && --intermediatesLeft < 0)
          throw refusal('wrong_usage', `${element.subject.text}: more CAs than the path may have`);
        intermediatesLeft = Math.min(intermediatesLeft, element.basicConstraints?.pathLength ?? Infinity);
        checkPurposeOfCa(element, purpose);
      }
      if (issuer) checkRevocation(element, issuer, { crls, at, rule: revocation, graceMs: crlGraceMs });
      above.unshift(element);
    }
  }

  #checkNames(element: Certificate, above: readonly Certificate[]): void {
    const constrained = above.filter((ca) => ca.nameConstraints);
    if (constrained.length === 0) return;
    const spend = () => {
      if (++this.#comparisons > MAX_COMPARISONS)
        throw refusal('name_constraints', `${element.subject.text}: more than ${MAX_COMPARISONS} comparisons of names`);
    };
    for (const name of constrainedNames(element))
      for (const { nameConstraints, subject } of constrained)
        if (nameConstraints && !permits(nameConstraints, name, spend))
          throw refusal('name_constraints', `${element.subject.text}: ${subject.text} may not vouch for its names`);
  }
}

/** Every name that constraints apply to: subject, alternative names, and e-mail addresses in the subject (RFC 5280 §4.2.1.10). */
function constrainedNames({ subject, subjectAltName = [] }: Certificate): GeneralName[] {
  const names: GeneralName[] = [...subjectAltName];
  if (subject.rdns.length > 0) names.push({ type: 'directory', value: subject });
  for (const { text } of attributes(subject, ATTRIBUTE.email)) names.push({ type: 'email', value: text ?? '' });
  return names;
}

/** RFC 4158 §2.4.2: the same name and key again would only go round in a circle. */
const isSameCa = (a: Certificate, b: Certificate): boolean =>
  equal(a.spkiHash, b.spkiHash) && sameName(a.subject, b.subject);

function signedBy(below: Certificate, { publicKey }: Certificate): boolean | ChatError {
  let isSigned = false;
  const failure = caught(() => void (isSigned = isSignedBy(below.signed, publicKey)));
  return failure ?? isSigned;
}

/** RFC 5280 §4.2.1.1: the identifiers that are there must agree. */
function isNamedIssuer(ca: Certificate, { authorityKeyId: id }: Certificate): boolean {
  if (id?.keyId && ca.subjectKeyId && !equal(id.keyId, ca.subjectKeyId)) return false;
  if (id?.serial === undefined) return true;
  return (
    id.serial === ca.serial && id.issuer?.some((n) => n.type === 'directory' && sameName(n.value, ca.issuer)) === true
  );
}

/** What holds for every CA, wherever above the leaf. */
function checkCa(ca: Certificate, at: number): void {
  const { basicConstraints, keyUsage, subject, publicKey } = ca;
  checkElement(ca, at);
  if (!basicConstraints?.ca) throw refusal('wrong_usage', `${subject.text}: not a CA, and yet it issued a certificate`);
  if (keyUsage && !keyUsage.has('keyCertSign'))
    throw refusal('wrong_usage', `${subject.text}: may not sign certificates`);
  const failure = caught(() => checkCaKey(publicKey));
  if (failure) throw about(ca, failure);
}

/** A trust anchor ends the path, so it may not point beyond itself. Its own signature proves nothing and is not checked. */
function checkRoot(root: Certificate): void {
  if (!root.isSelfIssued || !isNamedIssuer(root, root))
    throw refusal('untrusted', `${root.subject.text}: given as a root, but issued by another CA`);
}

function checkLeaf(leaf: Certificate, { at, purpose, allowNoEku = false }: PathQuery): void {
  const { basicConstraints, keyUsage, extKeyUsage, subject, subjectAltName } = leaf;
  checkElement(leaf, at);
  const isStamper = purpose === 'timeStamping'; // signs CMS, with whatever curve a CA may have
  const failure = caught(() => (isStamper ? checkCaKey(leaf.publicKey) : void algorithmOf(leaf.publicKey)));
  if (failure) throw about(leaf, failure);
  if (subject.rdns.length === 0 && !subjectAltName) throw refusal('malformed', 'a leaf without any name');
  if (basicConstraints?.ca || keyUsage?.has('keyCertSign') || keyUsage?.has('cRLSign'))
    throw refusal('wrong_usage', `${subject.text}: a CA, where a person or host is wanted`);
  if (keyUsage && !keyUsage.has('digitalSignature') && !(isStamper && keyUsage.has('contentCommitment')))
    throw refusal('wrong_usage', `${subject.text}: may not make digital signatures`);
  if (extKeyUsage ? !extKeyUsage.includes(EKU[purpose]) : !allowNoEku)
    throw refusal('wrong_eku', `${subject.text}: not issued for ${purpose}`);
  // RFC 3161 §2.3: whoever stamps does nothing else.
  if (isStamper && !(leaf.isExtKeyUsageCritical && extKeyUsage?.length === 1))
    throw refusal('wrong_eku', `${subject.text}: extended key usage is not critical, or not for time-stamps alone`);
  // A certificate for everything is one that was issued for nothing in particular.
  if (extKeyUsage?.includes(EKU.any)) throw refusal('wrong_eku', `${subject.text}: issued for any purpose`);
}

/** Beyond RFC 5280, as all its implementations do: what a CA may issue for is limited by its own extKeyUsage. */
function checkPurposeOfCa({ extKeyUsage, subject }: Certificate, purpose: Purpose): void {
  if (extKeyUsage && !extKeyUsage.includes(EKU[purpose]) && !extKeyUsage.includes(EKU.any))
    throw refusal('wrong_eku', `${subject.text}: may not issue for ${purpose}`);
}

function checkElement({ version, notBefore, notAfter, criticalUnknown, subject }: Certificate, at: number): void {
  if (at < notBefore) throw refusal('not_yet_valid', `${subject.text}: not valid before ${iso(notBefore)}`);
  if (at > notAfter) throw refusal('expired', `${subject.text}: expired at ${iso(notAfter)}`);
  if (version !== 3) throw refusal('malformed', `${subject.text}: an X.509 v1 certificate`);
  if (criticalUnknown.length > 0)
    throw refusal('unsupported', `${subject.text}: critical extension ${criticalUnknown[0]} is not understood`);
}

const iso = (at: number): string => new Date(at).toISOString();

/** The named failure of `check`, if any; a defect of this software is not one. */
function caught(check: () => void): ChatError | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof ChatError && error.code === 'BAD_CERT') return error;
    throw error;
  }
}

const about = ({ subject }: Certificate, { sub, message }: ChatError): ChatError =>
  new ChatError('BAD_CERT', `${subject.text}: ${message}`, sub === undefined ? {} : { sub });
