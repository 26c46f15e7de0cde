/**
 * Who a certificate stands for. Names are compared only in canonical form, and a certificate gives exactly one: from the SAN
 * `URI:chat:<username>`, else from its only e-mail SAN, else from its only CN.
 */
import { hex } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import type { Certificate } from './certificate.ts';
import { TAG } from './der.ts';
import { ATTRIBUTE, attributes } from './name.ts';
import { refusal } from './refusal.ts';

export interface Identity {
  /** Canonical. With an '@' in it exactly if it came from an e-mail SAN. */
  readonly username: string;
  /** Canonical; the only e-mail SAN, if there is one. */
  readonly email?: string;
}

export const MAX_USERNAME_CHARS = 64;
export const MAX_EMAIL_CHARS = 254;
const USERNAME = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/;
const LOCAL_PART = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/;
const DOMAIN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
/** Names that would pass for the service or its staff. */
const RESERVED: ReadonlySet<string> = new Set(
  (
    'admin administrator all anonymous chat chat-client chat-server chat-verify constructor daemon everyone guest help here host ' +
    'localhost log me moderator nobody null operator owner postmaster root security server service staff support sysadmin system ' +
    'undefined webmaster'
  ).split(' '),
);

/**
 * The one spelling of a username: NFKC, lower case, then only ASCII letters, digits and inner `.`, `_`, `-`; 1..64 characters. A name with
 * an '@' is that of somebody whose certificate has an e-mail address and no username, and is canonical as canonicalEmail() has it.
 * @throws BAD_NAME
 */
export function canonicalUsername(text: string): string {
  const name = folded(text);
  if (name.includes('@')) {
    if (name.length > MAX_USERNAME_CHARS) throw badName(`username of more than ${MAX_USERNAME_CHARS} characters`);
    return canonicalEmail(name);
  }
  if (!USERNAME.test(name))
    throw badName('username must be 1 to 64 of a-z, 0-9, ".", "_", "-", and begin and end with a letter or digit');
  if (RESERVED.has(name)) throw badName(`username ${name} is reserved`);
  return name;
}

/** The one spelling of an e-mail address: NFKC, lower case (also before the '@'), dot-atom form of RFC 5322 §3.4.1, ASCII host. @throws BAD_NAME */
export function canonicalEmail(text: string): string {
  const address = folded(text);
  const [local = '', host = '', ...more] = address.split('@');
  const isFine = more.length === 0 && local.length <= 64 && LOCAL_PART.test(local) && DOMAIN.test(host);
  if (!isFine || address.length > MAX_EMAIL_CHARS)
    throw badName('not an e-mail address of the form name@host in ASCII');
  return address;
}

/**
 * NFKC turns wide and styled letters into plain ones; whatever is not ASCII afterwards could pass for something else, and is refused by the
 * patterns.
 */
const folded = (text: string): string => (text.length <= MAX_EMAIL_CHARS ? text.normalize('NFKC').toLowerCase() : '');

const badName = (message: string): ChatError => new ChatError('BAD_NAME', message, { field: 'username' });

/**
 * The name in a certificate that validatePath() accepted. In a certificate nothing is folded but case: a CA that writes a name in letters
 * other than ASCII, in two places differently, or twice, is not understood but refused.
 * @throws BAD_CERT/bad_name; BAD_CERT/no_san if there is no name at all
 */
export function identityOf(cert: Certificate): Identity {
  let identity = identities.get(cert);
  if (identity === undefined) identities.set(cert, (identity = readIdentity(cert)));
  return identity;
}

/** A connection asks several times. */
const identities = new WeakMap<Certificate, Identity>();

function readIdentity(cert: Certificate): Identity {
  const { subjectAltName = [], subject } = cert;
  const uris = subjectAltName.flatMap((n) => (n.type === 'uri' && /^chat:/i.test(n.value) ? [n.value.slice(5)] : []));
  const emails = subjectAltName.flatMap((n) => (n.type === 'email' ? [n.value] : []));
  const commonName = commonNameOf(cert);
  if (uris.length > 1) throw badCert(cert, 'two chat: names');
  const email = emails.length === 1 ? named(cert, () => canonicalEmail(emails[0] ?? '')) : undefined;
  if (uris[0] !== undefined) {
    const username = plainUsername(cert, uris[0]);
    checkCommonName(cert, commonName, [username, email]);
    return email === undefined ? { username } : { username, email };
  }
  if (emails.length > 1) throw badCert(cert, 'several e-mail addresses and no chat: name');
  if (email !== undefined) {
    const username = named(cert, () => canonicalUsername(email));
    checkCommonName(cert, commonName, [email, email.slice(0, email.indexOf('@'))]);
    return { username, email };
  }
  if (commonName === undefined) throw refusal('no_san', `${subject.text}: no chat: name, e-mail address or CN in it`);
  return { username: plainUsername(cert, commonName) };
}

/**
 * What an account is bound to: the key of the issuing CA and the username. Stable when the certificate is renewed, with a new key or
 * another SAN of the same username, as long as the CA keeps its key. At most 129 characters of printable ASCII.
 * @param chain as validatePath() returns it
 * @throws BAD_CERT as identityOf()
 */
export function certIdentity(chain: readonly [Certificate, Certificate, ...Certificate[]]): string {
  const [leaf, issuer] = chain;
  return `${hex(issuer.spkiHash)}:${identityOf(leaf).username}`;
}

/** Undefined if there is none. Two of them, or one of a type that is not plain text, are tricks. */
function commonNameOf(cert: Certificate): string | undefined {
  const [first, second] = attributes(cert.subject, ATTRIBUTE.commonName);
  if (second) throw badCert(cert, 'two common names');
  if (!first) return undefined;
  if ((first.tag !== TAG.utf8String && first.tag !== TAG.printableString) || first.text === null)
    throw badCert(cert, 'common name that is neither UTF8String nor PrintableString');
  if (/[\p{C}\p{Zl}\p{Zp}]/u.test(first.text)) throw badCert(cert, 'invisible characters in the common name');
  return first.text;
}

/** A name with spaces is a person's, for display. Without, it reads like a username, and must be the one that the SAN gives. */
function checkCommonName(
  cert: Certificate,
  commonName: string | undefined,
  names: readonly (string | undefined)[],
): void {
  if (commonName === undefined || /\S\s\S/.test(commonName)) return;
  if (!names.includes(commonName.toLowerCase()))
    throw badCert(cert, 'common name and subjectAltName contradict each other');
}

function plainUsername(cert: Certificate, text: string): string {
  if (!/^[\x21-\x7e]+$/.test(text) || text.includes('@')) throw badCert(cert, 'no username');
  return named(cert, () => canonicalUsername(text));
}

function named(cert: Certificate, canonical: () => string): string {
  try {
    return canonical();
  } catch (cause) {
    throw cause instanceof ChatError ? badCert(cert, cause.message) : cause;
  }
}

const badCert = ({ subject }: Certificate, why: string): ChatError => refusal('bad_name', `${subject.text}: ${why}`);
