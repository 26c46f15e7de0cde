/**
 * Who this client is: certificate, key and the authorities it trusts, from PEM files or one PKCS#12 file, checked before anything is
 * dialled. The only door to node-forge, which opens PKCS#12 (and is loaded for that alone); what it finds is read by node:crypto and x509/, so every key type works.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import type forgeTypes from 'node-forge';
import { equal, fromUtf8, view, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { parseCertificate, parsePem, toPem, type Certificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';
import { validatePath } from '../x509/path.ts';
import { readPasswordFile, readSecretFile } from '../runtime/secret-file.ts';
import { readBounded } from './private-file.ts';
import type { Settings } from './settings.ts';

const MAX_FILE_BYTES = 1_048_576;
const DAY_MS = 86_400_000;
/** Days before the end at which people are told, most urgent last. */
const WARNING_DAYS = [30, 14, 7, 1] as const;

export interface ClientIdentity {
  /** leaf first, then what was beside it in the file */
  readonly chain: readonly [Certificate, ...Certificate[]];
  readonly roots: readonly Certificate[];
  /** authorities in the CA file that are not self-issued: links of a chain, never its end */
  readonly intermediates: readonly Certificate[];
  readonly privateKey: KeyObject;
  readonly fingerprint: Fingerprint;
  /** canonical, from the certificate */
  readonly username: string;
  readonly email: string | undefined;
  readonly notAfter: number;
  /** PEM, for TLS */
  readonly certPem: string;
  readonly caPem: string;
}

/** Asks a person for the passphrase of a file; null when nobody can be asked. */
export type AskPassphrase = (file: string) => Promise<string | null>;

/**
 * @param now Unix ms
 * @throws CONFIG_INVALID when files are missing or not what they should be, UNSAFE_FILE when others can read the key
 * @throws BAD_CERT with a Reason as sub, or key_mismatch, and what to do next in the sentence
 */
export async function loadIdentity(settings: Settings, now: number, ask: AskPassphrase): Promise<ClientIdentity> {
  const { caFile } = settings;
  if (caFile === undefined) throw missing('certificate of the authority', '--ca FILE', 'CHAT_CA_FILE');
  const authorities = certificatesIn(caFile);
  const roots = authorities.filter((certificate) => certificate.isSelfIssued);
  const intermediates = authorities.filter((certificate) => !certificate.isSelfIssued);
  const { chain, privateKey } = await own(settings, ask);
  const [leaf] = chain;
  if (!view(spki(privateKey)).equals(view(spki(leaf.publicKey))))
    throw new ChatError('BAD_CERT', 'the key is not the one of the certificate: give the pair that belongs together', {
      sub: 'key_mismatch',
    });
  check(leaf, [...chain.slice(1), ...intermediates], roots, now);
  const { username, email } = identityOf(leaf);
  return {
    chain,
    roots,
    intermediates,
    privateKey,
    fingerprint: leaf.fingerprint,
    username,
    email,
    notAfter: leaf.notAfter,
    certPem: chain.map(toPem).join(''),
    caPem: authorities.map(toPem).join(''),
  };
}

/** Whole days until the certificate ends; 0 on the last day. */
export const daysLeft = (notAfter: number, now: number): number => Math.floor((notAfter - now) / DAY_MS);

/** What to say when the end is near; null when it is not. */
export function expiryWarning(notAfter: number, now: number): string | null {
  const days = daysLeft(notAfter, now);
  const limit = WARNING_DAYS.findLast((d) => days <= d);
  if (limit === undefined) return null;
  const when = days < 1 ? 'within a day' : days === 1 ? 'in 1 day' : `in ${days} days`;
  const urge = limit <= 7 ? 'renew it now' : 'ask the authority for a new one';
  return `your certificate expires ${when} (${new Date(notAfter).toISOString().slice(0, 16)}Z): ${urge}`;
}

const NEXT_STEP: Readonly<Record<string, string>> = {
  expired: 'ask your authority for a new certificate',
  not_yet_valid: 'check the clock of this machine, or wait',
  untrusted: 'is --ca the authority that issued it',
  wrong_eku: 'ask for one with extended key usage clientAuth',
  wrong_usage: 'ask for a certificate of a person, not of an authority',
  weak_key: 'ask for one with an RSA key of 2048 bits or more, P-256, or Ed25519',
  no_san: 'ask for one with a name, such as URI:chat:alice',
  bad_name: 'ask for one with a single plain name, such as URI:chat:alice',
};

function check(
  leaf: Certificate,
  intermediates: readonly Certificate[],
  roots: readonly Certificate[],
  now: number,
): void {
  try {
    validatePath({
      leaf,
      intermediates,
      roots,
      crls: [], // the server has the lists; a revoked certificate is refused there, by name
      at: now,
      purpose: 'clientAuth',
      revocation: 'live',
    });
    identityOf(leaf);
  } catch (error) {
    if (!(error instanceof ChatError) || error.code !== 'BAD_CERT' || error.sub === undefined) throw error;
    const next = NEXT_STEP[error.sub];
    const message = `your certificate cannot be used: ${error.message}${next === undefined ? '' : `; ${next}`}`;
    throw new ChatError('BAD_CERT', message, { sub: error.sub, cause: error });
  }
}

type Own = { readonly chain: readonly [Certificate, ...Certificate[]]; readonly privateKey: KeyObject };

async function own(settings: Settings, ask: AskPassphrase): Promise<Own> {
  const { certFile, keyFile, p12File, keyPassphraseFile } = settings;
  const passphrase = async (file: string): Promise<string | null> =>
    keyPassphraseFile === undefined
      ? ask(file)
      : readPasswordFile(keyPassphraseFile, 'key_passphrase_file').use((bytes) => bytes.toString('utf8'));
  if (p12File !== undefined) return fromPkcs12(p12File, await passphrase(p12File));
  if (certFile === undefined)
    throw missing('client certificate', '--cert FILE --key FILE (or --p12 FILE)', 'CHAT_CERT_FILE');
  if (keyFile === undefined) throw missing('key of the client certificate', '--key FILE', 'CHAT_KEY_FILE');
  return { chain: certificatesIn(certFile), privateKey: await pemKey(keyFile, passphrase) };
}

async function pemKey(path: string, passphrase: AskPassphrase): Promise<KeyObject> {
  const file = readSecretFile(path, 'key_file');
  const pem = file.use((bytes) => Buffer.from(bytes));
  const isEncrypted = /ENCRYPTED/.test(pem.toString('latin1'));
  const secret = isEncrypted ? await passphrase(path) : null;
  if (isEncrypted && secret === null)
    throw new ChatError('CONFIG_INVALID', `${path} is encrypted: give --key-passphrase-file, or run in a terminal`);
  try {
    return createPrivateKey(secret === null ? { key: pem } : { key: pem, passphrase: secret });
  } catch (cause) {
    const why = isEncrypted ? `the passphrase does not open ${path}` : `${path} holds no private key in PEM form`;
    throw new ChatError('CONFIG_INVALID', why, { cause });
  } finally {
    pem.fill(0);
    file.wipe();
  }
}

/** @param passphrase null: nobody can be asked, and the file may have none */
async function fromPkcs12(path: string, passphrase: string | null): Promise<Own> {
  const { default: forge } = await import('node-forge');
  const file = readSecretFile(path, 'p12_file');
  let bags: forgeTypes.pkcs12.Bag[];
  try {
    const asn1 = forge.asn1.fromDer(file.use((b) => b.toString('binary')));
    const p12 = forge.pkcs12.pkcs12FromAsn1(asn1, passphrase ?? '');
    bags = p12.safeContents.flatMap((contents) => contents.safeBags);
  } catch (cause) {
    const next = passphrase === null ? '; give --key-passphrase-file, or run in a terminal' : '';
    throw new ChatError('CONFIG_INVALID', `${path} cannot be opened: wrong passphrase, or no PKCS#12 file${next}`, {
      cause,
    });
  } finally {
    file.wipe();
  }
  const der = (asn1: forgeTypes.asn1.Asn1): Buffer => Buffer.from(forge.asn1.toDer(asn1).getBytes(), 'binary');
  // forge reads RSA alone and leaves the rest as it was: what it has read is written out again, so that one reader serves for all.
  const certificates = bags
    .filter((bag) => bag.type === forge.pki.oids['certBag'])
    .map((bag) => parseCertificate(der(bag.cert ? forge.pki.certificateToAsn1(bag.cert) : bag.asn1)));
  const keys = bags
    .filter((bag) => bag.type === forge.pki.oids['keyBag'] || bag.type === forge.pki.oids['pkcs8ShroudedKeyBag'])
    .map((bag) => {
      const info = bag.key ? forge.pki.wrapRsaPrivateKey(forge.pki.privateKeyToAsn1(bag.key)) : bag.asn1;
      return createPrivateKey({ key: der(info), format: 'der', type: 'pkcs8' });
    });
  const [privateKey] = keys;
  if (privateKey === undefined || keys.length > 1)
    throw new ChatError('CONFIG_INVALID', `${path} holds ${keys.length} private keys, want one`);
  const leaf = certificates.find((certificate) => equal(spki(certificate.publicKey), spki(privateKey)));
  if (leaf === undefined)
    throw new ChatError('BAD_CERT', `${path} holds no certificate of its key`, { sub: 'key_mismatch' });
  return { chain: [leaf, ...certificates.filter((certificate) => certificate !== leaf)], privateKey };
}

function certificatesIn(path: string): readonly [Certificate, ...Certificate[]] {
  const text = fromUtf8(readBounded(path, MAX_FILE_BYTES));
  try {
    const [first, ...rest] = text === null ? [] : parsePem(text);
    if (first !== undefined) return [first, ...rest];
  } catch (cause) {
    const { code, sub, message } = ChatError.from(cause);
    throw new ChatError(code, `${path}: ${message}`, sub === undefined ? { cause } : { sub, cause });
  }
  throw new ChatError('CONFIG_INVALID', `${path} holds no certificate in PEM form`);
}

/** SubjectPublicKeyInfo of either half of a pair. */
const spki = (key: KeyObject): Uint8Array =>
  (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' });

const missing = (what: string, flag: string, variable: string): ChatError =>
  new ChatError('CONFIG_INVALID', `no ${what}: give ${flag}, or set ${variable}`);
