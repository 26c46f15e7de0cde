/** Command-line flags over the settings of runtime/config.ts, and `config check`: the settings, and the files that they name. */
import { ChatError } from '../base/errors.ts';
import { databaseOf, loadServerConfig, type LoadedServerConfig } from '../runtime/config.ts';
import { checkStateDirectory, readTrustFile } from '../runtime/files.ts';
import { readPasswordFile } from '../runtime/secret-file.ts';
import { loadAuthorities, loadCredentials, type Authorities, type Credentials } from '../runtime/tls.ts';
import type { Secret } from '../base/secret.ts';
import { MAX_CRL_BYTES, parseCrls } from '../x509/crl.ts';
import { validatePath } from '../x509/path.ts';
import { readOutside } from './outside.ts';

export interface GlobalFlags {
  readonly config?: string | undefined;
  readonly verbose?: number | undefined;
  readonly quiet?: boolean | undefined;
  readonly logFormat?: string | undefined;
  readonly listen?: readonly string[] | undefined;
}

/** @throws CONFIG_INVALID, UNSAFE_FILE */
export function configOf({ config, verbose = 0, quiet, logFormat, listen }: GlobalFlags): LoadedServerConfig {
  const level = verbose > 0 ? 'debug' : quiet === true ? 'warn' : undefined;
  return loadServerConfig({ configFile: config, flags: { listen, 'log.level': level, 'log.format': logFormat } });
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
  const faults: string[] = [];
  const attempt = (work: () => unknown): void => {
    try {
      work();
    } catch (error) {
      faults.push(ChatError.from(error).message);
    }
  };
  attempt(() => readTls(config, now));
  for (const path of config.values.tls.crl) attempt(() => parseCrls(readTrustFile(path, 'tls.crl', MAX_CRL_BYTES)));
  attempt(() => readOutside(config));
  attempt(() => storeOf(config));
  attempt(() => checkStateDirectory(config.values.stateDir, 'state_dir'));
  if (faults.length > 0) throw new ChatError('CONFIG_INVALID', faults.join('\n  '));
  out('configuration is valid');
  return 0;
}

/** One line a setting: key, value, source. */
export const effectiveConfig = (flags: GlobalFlags, isRedacted: boolean): string[] =>
  configOf(flags).effective(isRedacted).split('\n');
