/**
 * TLS for both ends: version 1.3 alone, client certificates required, our own ALPN name, no resumption. And the gate behind it: who
 * the peer is, decided by x509/ on the certificates that TLS proved, before one byte of the application is read.
 *
 * Measured on Node 24.21 (each has a test):
 * - With `rejectUnauthorized: true` a server drops a bad client certificate by closing the connection, without an alert: the client
 *   sees an end of stream and can not say why. So the server lets TLS pass, and the gate says it in a record (docs/PROTOCOL.md §1).
 * - `tls.Server` calls getPeerX509Certificate() before it emits 'secureConnection', which removes the intermediates from the peer's
 *   chain (nodejs/node#65579). A TLSSocket with `isServer` over a plain net.Server does not. The handshake timeout of `tls.Server`,
 *   which only reports and leaves the socket open, is also not needed that way: link.ts has the timer.
 * - With SSL_OP_NO_TICKET a TLS 1.3 server still sends session identifiers, for a cache that Node does not keep: nothing resumes.
 *   A resumed session has no certificate that was proven now, so the gate refuses it as well.
 * - A client without ALPN passes a server that has ALPNProtocols. The gate asks for it.
 */
import { constants, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import {
  createSecureContext,
  type ConnectionOptions,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
  type TLSSocketOptions,
} from 'node:tls';
import { equal, fromUtf8 } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { algorithmOf } from '../base/signature.ts';
import { parseCertificate, parsePem, toPem, type Certificate } from '../x509/certificate.ts';
import { validatePath } from '../x509/path.ts';
import { matchesServerName } from '../x509/server-name.ts';
import { readTrustFile } from './files.ts';
import { readPasswordFile, readSecretFile } from './secret-file.ts';

export const ALPN = 'chat/1';
/**
 * The same as RFC 7301 §3.1 has it. Node copies it for each socket: of a list or a Uint8Array into a piece of its 64 KiB pool, which then stays
 * as long as the connection; of a DataView into memory of its own.
 */
const ALPN_PROTOCOLS = new DataView(Uint8Array.of(ALPN.length, ...Buffer.from(ALPN)).buffer);

/** What one end shows of itself. */
export interface Credentials {
  /** leaf first, then the intermediates that lead towards the root */
  readonly chain: readonly [Certificate, ...Certificate[]];
  readonly certPem: string;
  readonly privateKey: KeyObject;
}

/** Whom one end believes. */
export interface Authorities {
  readonly roots: readonly Certificate[];
  /** authorities of the same files that are not self-issued: links of a chain, never its end */
  readonly intermediates: readonly Certificate[];
  readonly caPem: string;
}

/** A path that validatePath() found, leaf first and root last. */
export type Chain = readonly [Certificate, Certificate, ...Certificate[]];

const COMMON: SecureContextOptions = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
  ecdhCurve: 'X25519MLKEM768:X25519',
  sigalgs:
    'ed25519:ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:' +
    'rsa_pss_rsae_sha512:rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512',
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
};

/**
 * Without authorities: who a client is, is decided behind TLS, and OpenSSL would only build every path a second time, the server's own
 * among them, for verdicts that nobody reads.
 * @throws CONFIG_INVALID when OpenSSL does not take the certificate or key
 */
export function serverContext(own: Credentials, authorities: Authorities): SecureContext {
  try {
    return createSecureContext({ ...COMMON, cert: shownBy(own, authorities), key: keyPem(own), ca: [] });
  } catch (cause) {
    throw new ChatError('CONFIG_INVALID', 'tls.cert and tls.key cannot be used', { field: 'tls.cert', cause });
  }
}

/** PEM: what the file of the certificate holds, and what of `authorities` leads from there towards a root. */
function shownBy({ chain, certPem }: Credentials, { roots, intermediates }: Authorities): string {
  const [leaf, ...others] = chain;
  const query = { leaf, intermediates: [...others, ...intermediates], roots, crls: [], at: Date.now() } as const;
  try {
    const path = validatePath({ ...query, purpose: 'serverAuth', revocation: 'at-signing' });
    const isMissing = ({ fingerprint }: Certificate) => !chain.some((each) => equal(each.fingerprint, fingerprint));
    return certPem + path.slice(0, -1).filter(isMissing).map(toPem).join('');
  } catch {
    return certPem; // clients say what is wrong with it
  }
}

/** For a TLSSocket around an accepted socket. TLS asks for a certificate and proves its key; the gate decides on it. */
export const serverTlsOptions = (context: SecureContext): TLSSocketOptions => ({
  isServer: true,
  secureContext: context,
  requestCert: true,
  rejectUnauthorized: false,
  ALPNProtocols: ALPN_PROTOCOLS,
});

/** For tls.connect(). @param host as the person named it: DNS name or IP address, which the certificate must be for */
export function clientTlsOptions(
  own: Credentials,
  { caPem }: Authorities,
  host: string,
  port: number,
): ConnectionOptions {
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  return {
    ...COMMON,
    host: bare,
    port,
    servername: isIP(bare) ? '' : bare, // RFC 6066 §3: no addresses
    cert: own.certPem,
    key: keyPem(own),
    ca: caPem, // takes the place of the built-in authorities and of NODE_EXTRA_CA_CERTS
    rejectUnauthorized: true, // said here, it is stronger than NODE_TLS_REJECT_UNAUTHORIZED
    checkServerIdentity: (_, { raw }) => hostFault(raw, bare),
    ALPNProtocols: ALPN_PROTOCOLS,
  };
}

/**
 * The certificates that the peer presented, leaf first; superfluous ones may be missing.
 * @param parse as parseCertificate()
 * @throws BAD_CERT/no_certificate, BAD_CERT/resumed, BAD_CERT/malformed; UNSUPPORTED_VERSION/alpn
 */
export function presentedBy(
  socket: TLSSocket,
  parse: (der: Uint8Array) => Certificate = parseCertificate,
): readonly [Certificate, ...Certificate[]] {
  if (socket.isSessionReused())
    throw new ChatError('BAD_CERT', 'a resumed TLS session proves no certificate', { sub: 'resumed' });
  if (socket.alpnProtocol !== ALPN)
    throw new ChatError('UNSUPPORTED_VERSION', `the peer does not offer ${ALPN}`, { field: 'alpn' });
  const ders = rawChain(socket);
  if (ders[0] === undefined) throw new ChatError('BAD_CERT', 'no certificate was sent', { sub: 'no_certificate' });
  const leaf = parse(ders[0]);
  const others: Certificate[] = [];
  for (const der of ders.slice(1)) {
    try {
      others.push(parse(der));
    } catch {
      // what cannot be read cannot be part of a path
    }
  }
  return [leaf, ...others];
}

/** The tls-exporter channel binding, 32 bytes, equal on both ends and nowhere else (RFC 9266 §4.1). */
export const tlsExporter = (socket: TLSSocket): Buffer =>
  socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));

/** What a failed TLS handshake means. `field` is `tls`, the error of OpenSSL or the system is the cause. */
export function tlsFailure(error: unknown): ChatError {
  const code = String((error as NodeJS.ErrnoException).code);
  const sub = CERTIFICATE_ERRORS[code];
  const detail = { field: 'tls', cause: error };
  if (code === WRONG_HOST) return new ChatError('BAD_CERT', (error as Error).message, { ...detail, sub: 'wrong_host' });
  if (sub !== undefined) return new ChatError('BAD_CERT', `TLS refused the certificate (${code})`, { ...detail, sub });
  if (/^ERR_SSL_.*(UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|VERSION_TOO_LOW)/.test(code))
    return new ChatError('UNSUPPORTED_VERSION', 'the peer does not speak TLS 1.3', detail);
  if (/^ERR_SSL_.*APPLICATION_PROTOCOL/.test(code))
    return new ChatError('UNSUPPORTED_VERSION', `the peer does not speak ${ALPN}`, detail);
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_'))
    return new ChatError('BAD_FRAME', `TLS failed (${code})`, detail);
  if (UNREACHABLE.has(code)) return new ChatError('UNREACHABLE', `cannot connect (${code})`, detail);
  return new ChatError('CONNECTION_LOST', `the connection ended before TLS was complete (${code})`, detail);
}

/** @throws CONFIG_INVALID, UNSAFE_FILE; BAD_CERT with a Reason as sub for what no peer would accept */
export function loadCredentials(certFile: string, keyFile: string, passphraseFile?: string): Credentials {
  const chain = certificatesOf(certFile, 'tls.cert');
  const privateKey = loadKey(keyFile, passphraseFile);
  if (!equal(spkiOf(createPublicKey(privateKey)), spkiOf(chain[0].publicKey)))
    throw new ChatError('CONFIG_INVALID', `tls.key: ${keyFile} is not the key of ${certFile}`, { field: 'tls.key' });
  algorithmOf(privateKey);
  return { chain, certPem: chain.map(toPem).join(''), privateKey };
}

/** @throws CONFIG_INVALID, UNSAFE_FILE, BAD_CERT */
export function loadAuthorities(files: readonly string[]): Authorities {
  return authoritiesOf(files.flatMap((file) => [...certificatesOf(file, 'tls.ca')]));
}

/** @throws CONFIG_INVALID when there is no root among them */
export function authoritiesOf(certificates: readonly Certificate[]): Authorities {
  const roots = certificates.filter((certificate) => certificate.isSelfIssued);
  if (roots.length === 0)
    throw new ChatError('CONFIG_INVALID', 'tls.ca: no root authority among the certificates', { field: 'tls.ca' });
  const intermediates = certificates.filter((certificate) => !certificate.isSelfIssued);
  return { roots, intermediates, caPem: certificates.map(toPem).join('') };
}

const MAX_PEM_BYTES = 1024 * 1024;
/** OpenSSL takes at most 100 kB of certificates; a path uses at most 10 of them. */
const MAX_PRESENTED = 64;

function certificatesOf(file: string, field: string): [Certificate, ...Certificate[]] {
  const text = fromUtf8(readTrustFile(file, field, MAX_PEM_BYTES));
  try {
    const [first, ...rest] = parsePem(text ?? '');
    if (first !== undefined) return [first, ...rest];
  } catch (cause) {
    const { message } = ChatError.from(cause);
    throw new ChatError('CONFIG_INVALID', `${field}: ${file}: ${message}`, { field, cause });
  }
  throw new ChatError('CONFIG_INVALID', `${field}: ${file} holds no certificate in PEM form`, { field });
}

function loadKey(keyFile: string, passphraseFile: string | undefined): KeyObject {
  const file = readSecretFile(keyFile, 'tls.key');
  const passphrase = passphraseFile === undefined ? null : readPasswordFile(passphraseFile, 'tls.key_passphrase_file');
  try {
    return file.use((key) =>
      passphrase === null
        ? createPrivateKey({ key })
        : passphrase.use((secret) => createPrivateKey({ key, passphrase: secret })),
    );
  } catch (cause) {
    const why =
      passphrase === null ? 'no private key in PEM form without a passphrase' : 'no key that the passphrase opens';
    throw new ChatError('CONFIG_INVALID', `tls.key: ${keyFile} holds ${why}`, { field: 'tls.key', cause });
  } finally {
    file.wipe();
    passphrase?.wipe();
  }
}

/**
 * The leaf, and every other certificate that the peer sent, each once, in the order in which they came; they are taken from the socket.
 * getPeerCertificate() would link by names and show one of several of one name, and reads them all into objects that nobody needs here.
 */
function rawChain(socket: TLSSocket): Buffer[] {
  const ders: Buffer[] = [];
  const add = (der: Buffer): void => {
    if (ders.length < MAX_PRESENTED && !ders.some((other) => other.equals(der))) ders.push(der);
  };
  let sent = socket.getPeerX509Certificate();
  for (let i = 0; sent !== undefined && i < MAX_PRESENTED; i++) {
    add(sent.raw);
    sent = sent.issuerCertificate;
  }
  return ders;
}

/** Enough to see what to dial instead. */
const MAX_SHOWN_NAMES = 5;

function hostFault(der: Uint8Array, host: string): Error | undefined {
  let names: string[] = [];
  try {
    const certificate = parseCertificate(der);
    if (matchesServerName(certificate, host)) return undefined;
    names = (certificate.subjectAltName ?? []).flatMap((name) => (name.type === 'dns' ? [name.value] : []));
  } catch {
    // what cannot be read is for nobody
  }
  const others = names.length === 0 ? '' : `, but for ${names.slice(0, MAX_SHOWN_NAMES).join(', ')}`;
  return Object.assign(new Error(`it is not for ${host}${others}`), { code: WRONG_HOST });
}

const keyPem = ({ privateKey }: Credentials): string => privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
const spkiOf = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' });

const UNREACHABLE: ReadonlySet<string> = new Set(
  'ECONNREFUSED EHOSTUNREACH ENETUNREACH ENOTFOUND EAI_AGAIN ETIMEDOUT EADDRNOTAVAIL'.split(' '),
);
/** Of hostFault(). */
const WRONG_HOST = 'ERR_TLS_CERT_ALTNAME_INVALID';
/** Node's names for X509_V_ERR_*, as the same Reason that x509/ would give. */
const CERTIFICATE_ERRORS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'not_yet_valid',
  CERT_REVOKED: 'revoked',
  UNABLE_TO_GET_ISSUER_CERT: 'untrusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'untrusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'untrusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'untrusted',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'untrusted',
  CERT_UNTRUSTED: 'untrusted',
  CERT_SIGNATURE_FAILURE: 'untrusted',
  CERT_CHAIN_TOO_LONG: 'wrong_usage',
  INVALID_CA: 'wrong_usage',
  PATH_LENGTH_EXCEEDED: 'wrong_usage',
  INVALID_PURPOSE: 'wrong_eku',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'no_certificate',
  ERR_SSL_EE_KEY_TOO_SMALL: 'weak_key',
};
