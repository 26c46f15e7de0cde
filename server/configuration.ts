/** Command-line flags over the settings of runtime/config.ts, and `config check`: the settings, and the files that they name. */
import { dirname } from 'node:path';
import { ChatError } from '../base/errors.ts';
import { databaseOf, loadServerConfig, type LoadedServerConfig } from '../runtime/config.ts';
import { checkPrivateDirectory, checkWritable, readTrustFile } from '../runtime/files.ts';
import { DEFAULT_KDF, formatKdf, strongerKdf } from '../protocol/scram.ts';
import { readPasswordFile } from '../runtime/secret-file.ts';
import { loadAuthorities, loadCredentials, type Authorities, type Credentials } from '../runtime/tls.ts';
import type { Secret } from '../base/secret.ts';
import { MAX_CRL_BYTES, parseCrls } from '../x509/crl.ts';
import { validatePath } from '../x509/path.ts';
import { checkServerName } from '../x509/server-name.ts';
import { checkStoreUrl } from '../store/open.ts';
import { readOutside } from './outside.ts';

export interface GlobalFlags {
  readonly config?: string | undefined;
  readonly verbose?: number | undefined;
  readonly quiet?: boolean | undefined;
  readonly logFormat?: string | undefined;
  readonly listen?: readonly string[] | undefined;
}

/**
 * @param usesSecrets whether keys and password files have to be there, and safe: root may look at the server of another user
 * @throws CONFIG_INVALID, UNSAFE_FILE
 */
export function configOf(
  { config, verbose = 0, quiet, logFormat, listen }: GlobalFlags,
  usesSecrets = false,
): LoadedServerConfig {
  const level = verbose > 0 ? 'debug' : quiet === true ? 'warn' : undefined;
  const flags = { listen, 'log.level': level, 'log.format': logFormat };
  return loadServerConfig({ configFile: config, flags, usesSecrets });
}

/**
 * The server's certificate with its key, and the authorities whose clients it believes.
 * @throws CONFIG_INVALID, UNSAFE_FILE; BAD_CERT when clients would refuse the certificate
 */
export function readTls(
  { values: { tls } }: LoadedServerConfig,
  now: number,
): { own: Credentials; authorities: Authorities } {
  const own = loadCredentials(tls.cert, tls.key, tls.keyPassphraseFile);
  const authorities = loadAuthorities(tls.ca);
  const [leaf, ...rest] = own.chain;
  const intermediates = [...rest, ...authorities.intermediates];
  const { roots } = authorities;
  validatePath({ leaf, intermediates, roots, crls: [], at: now, purpose: 'serverAuth', revocation: 'at-signing' });
  return { own, authorities };
}

/** The host in the name of the log: a DNS name, which the certificate has to have. @throws CONFIG_INVALID when there is none */
export function logHostOf({ values: { serverName } }: LoadedServerConfig, own: Credentials): string {
  if (serverName !== undefined) return serverName;
  const entry = own.chain[0].subjectAltName?.find((name) => name.type === 'dns');
  if (entry?.type !== 'dns')
    throw new ChatError('CONFIG_INVALID', 'server_name: the certificate has no DNS name, and the log needs one', {
      field: 'server_name',
    });
  return entry.value.toLowerCase();
}

/** What a new password gets here: what clients give it, or more where this server demands that. */
export const kdfOf = ({ values: { auth } }: LoadedServerConfig): string =>
  formatKdf(strongerKdf({ name: 'argon2id', memoryKib: auth.kdf.memoryKiB, passes: auth.kdf.passes }, DEFAULT_KDF));

/** URL and password of the database, as store/open.ts takes them. @throws CONFIG_INVALID, UNSAFE_FILE */
export function storeOf(config: LoadedServerConfig): { readonly url: string; readonly password: Secret | null } {
  const db = databaseOf(config);
  if (db.backend === 'sqlite') return { url: `sqlite:${db.path}`, password: null };
  const password = db.passwordFile === undefined ? db.password : readPasswordFile(db.passwordFile, 'db.password_file');
  if (password === undefined)
    throw new ChatError('CONFIG_INVALID', 'db.password_file: a MySQL database needs it (or DB_PASS)', {
      field: 'db.password_file',
    });
  const host = db.host.includes(':') ? `[${db.host}]` : db.host;
  const url = new URL(`mysql://${host}:${db.port}/${encodeURIComponent(db.name)}`);
  url.username = db.user;
  url.searchParams.set('tls', db.tls === 'off' ? 'off' : 'on');
  if (db.tls !== 'off' && db.tlsCa !== undefined) url.searchParams.set('ca', db.tlsCa);
  return { url: url.href, password };
}

/** Every fault of the settings and of the files that they name; exit status. */
export function checkConfig(flags: GlobalFlags, out: (line: string) => void, now: number): number {
  const config = configOf(flags);
  const faults: ChatError[] = [];
  const attempt = (work: () => unknown): void => {
    try {
      work();
    } catch (error) {
      faults.push(ChatError.from(error));
    }
  };
  const { tls, stateDir, transcript, admin } = config.values;
  attempt(() => loadCredentials(tls.cert, tls.key, tls.keyPassphraseFile));
  attempt(() => loadAuthorities(tls.ca));
  if (faults.length === 0)
    attempt(() => {
      const { own } = readTls(config, now);
      checkServerName(own.chain[0], logHostOf(config, own));
    });
  for (const path of tls.crl) attempt(() => parseCrls(readTrustFile(path, 'tls.crl', MAX_CRL_BYTES)));
  attempt(() => readOutside(config));
  attempt(() => checkStoreUrl(storeOf(config).url));
  attempt(() => checkPrivateDirectory(stateDir, 'state_dir'));
  attempt(() => checkPrivateDirectory(dirname(admin.socket), 'admin.socket'));
  attempt(() => checkWritable(transcript.dir, 'transcript.dir'));
  if (faults.length > 0) {
    const code = faults.every((fault) => fault.code === 'UNSAFE_FILE') ? 'UNSAFE_FILE' : 'CONFIG_INVALID';
    throw new ChatError(code, faults.map(({ message }) => message).join('\n  '));
  }
  out('configuration is valid');
  return 0;
}

/** One line a setting: key, value, source. */
export function effectiveConfig(flags: GlobalFlags, isRedacted: boolean): string[] {
  const config = configOf(flags);
  const lines = config.effective(isRedacted).split('\n');
  const isInForce = config.sources.get('db.url') !== 'default' || databaseOf(config).backend === 'sqlite';
  return isInForce ? lines : lines.map((line) => (line.startsWith('db.url = ') ? BY_PARTS : line));
}
const BY_PARTS = '# db.url is not set: it is MySQL, by the settings below';
