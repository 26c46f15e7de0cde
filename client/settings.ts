/**
 * Where the client learns what to do: flags, then environment, then the configuration file, then what the profile used when it
 * last logged in. Unknown settings are errors, and all faults are reported at once. Secrets come as paths of files, never as values.
 */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { ChatError } from '../base/errors.ts';
import { fromUtf8 } from '../base/bytes.ts';
import { parseToml } from './config-file.ts';
import { readSecretFile } from '../runtime/secret-file.ts';
import { writeFailure } from '../runtime/whole-file.ts';
import { readBounded } from './private-file.ts';

/** Settings of one profile: name here → environment variable. Those that end in _file are paths, relative to the file that names them. */
const SETTINGS = {
  server: 'CHAT_SERVER',
  ca_file: 'CHAT_CA_FILE',
  cert_file: 'CHAT_CERT_FILE',
  key_file: 'CHAT_KEY_FILE',
  p12_file: 'CHAT_P12_FILE',
  key_passphrase_file: 'CHAT_KEY_PASSPHRASE_FILE',
  password_file: 'CHAT_PASSWORD_FILE',
  vault_passphrase_file: 'CHAT_VAULT_PASSPHRASE_FILE',
} as const;
export type SettingName = keyof typeof SETTINGS;
type Values = { readonly [K in SettingName]?: string };
const NAMES = Object.keys(SETTINGS) as SettingName[];

export const DEFAULT_SERVER = '127.0.0.1:6000';
const DEFAULT_PORT = 6000;
const MAX_CONFIG_BYTES = 1_048_576;

export interface Flags extends Values {
  readonly profile?: string;
  readonly config?: string;
}

export interface Settings {
  readonly profile: string;
  /** folder of the profile: vault, key, remembered settings */
  readonly folder: string;
  readonly host: string;
  readonly port: number;
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly p12File: string | undefined;
  readonly keyPassphraseFile: string | undefined;
  readonly passwordFile: string | undefined;
  readonly vaultPassphraseFile: string | undefined;
}

/**
 * @param flags paths in them are relative to the working folder
 * @throws CONFIG_INVALID naming every fault, UNSAFE_FILE for a file of remembered settings that others can write
 */
export function resolveSettings(flags: Flags, env: NodeJS.ProcessEnv, cwd = process.cwd()): Settings {
  const faults: string[] = [];
  const places = folders(env);
  const configPath = flags.config ?? (env['CHAT_CLIENT_CONFIG'] || undefined);
  const path = configPath === undefined ? join(places.config, 'config.toml') : resolve(cwd, configPath);
  if (configPath !== undefined && !existsSync(path)) throw new ChatError('CONFIG_INVALID', `there is no file ${path}`);
  const file = existsSync(path) ? readConfig(path, faults) : { profile: undefined, common: {}, profiles: new Map() };

  const profile = flags.profile ?? (env['CHAT_PROFILE'] || undefined) ?? file.profile ?? 'default';
  if (!/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/.test(profile))
    throw new ChatError('CONFIG_INVALID', 'a profile name has 1 to 64 of A-Z, a-z, 0-9, ".", "_", "@", "-"');
  const folder = join(places.data, profile);

  const fromEnv: Record<string, string> = {};
  for (const name of NAMES) {
    const value = env[SETTINGS[name]];
    if (value) fromEnv[name] = rooted(name, value, cwd);
  }
  const fromFlags: Record<string, string> = {};
  for (const name of NAMES) {
    const value = flags[name];
    if (value !== undefined) fromFlags[name] = rooted(name, value, cwd);
  }
  const layers: Values[] = [remembered(folder), file.common, file.profiles.get(profile) ?? {}, fromEnv, fromFlags];
  const merged: { [K in SettingName]?: string } = {};
  for (const layer of layers) {
    // One identity replaces the other as a whole: a certificate of this layer must not meet the PKCS#12 file of another.
    if (layer.p12_file !== undefined) {
      delete merged.cert_file;
      delete merged.key_file;
    }
    if (layer.cert_file !== undefined || layer.key_file !== undefined) delete merged.p12_file;
    Object.assign(merged, layer);
  }
  if (merged.p12_file !== undefined && merged.cert_file !== undefined)
    faults.push('a PKCS#12 file and a certificate file were given: want one of them');
  const address = parseAddress(merged.server ?? DEFAULT_SERVER);
  if (address === null) faults.push('server: want HOST or HOST:PORT');
  if (faults.length > 0 || address === null) throw new ChatError('CONFIG_INVALID', faults.join('; '));
  return {
    profile,
    folder,
    ...address,
    caFile: merged.ca_file,
    certFile: merged.cert_file,
    keyFile: merged.key_file,
    p12File: merged.p12_file,
    keyPassphraseFile: merged.key_passphrase_file,
    passwordFile: merged.password_file,
    vaultPassphraseFile: merged.vault_passphrase_file,
  };
}

/**
 * Writes down what worked, so that the next command needs no more than the profile's name. Never a secret, only paths. @throws DISK_FULL,
 * STORE_FAILED
 */
export function remember(settings: Settings): void {
  const values: { [K in SettingName]?: string | undefined } = {
    server: formatAddress(settings.host, settings.port),
    ca_file: settings.caFile,
    cert_file: settings.certFile,
    key_file: settings.keyFile,
    p12_file: settings.p12File,
    key_passphrase_file: settings.keyPassphraseFile,
  };
  const path = join(settings.folder, REMEMBERED);
  try {
    writeFileSync(`${path}.new`, `${JSON.stringify(values, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  } catch (cause) {
    throw writeFailure(path, cause);
  }
}

/** HOST, HOST:PORT, [IPV6] or [IPV6]:PORT. Null: none of these. */
export function parseAddress(text: string): { readonly host: string; readonly port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::([1-9]\d{0,4}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? DEFAULT_PORT);
  return host === undefined || port > 65_535 ? null : { host, port };
}
export const formatAddress = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

/** XDG Base Directory Specification: relative paths in the variables are ignored. */
function folders(env: NodeJS.ProcessEnv): { readonly config: string; readonly data: string } {
  const home = env['CHAT_CLIENT_HOME'];
  if (home) return { config: resolve(home), data: resolve(home) };
  const of = (name: string, fallback: string): string => {
    const value = env[name];
    return join(value && isAbsolute(value) ? value : join(env['HOME'] || homedir(), fallback), 'chat-client');
  };
  return { config: of('XDG_CONFIG_HOME', '.config'), data: of('XDG_DATA_HOME', '.local/share') };
}

interface ConfigFile {
  readonly profile: string | undefined;
  readonly common: Values;
  readonly profiles: ReadonlyMap<string, Values>;
}

function readConfig(path: string, faults: string[]): ConfigFile {
  const text = fromUtf8(readBounded(path, MAX_CONFIG_BYTES));
  if (text === null) throw new ChatError('CONFIG_INVALID', `${path} is not UTF-8 text`);
  const { profile, profiles = {}, ...rest } = parseToml(text, path);
  if (profile !== undefined && typeof profile !== 'string') faults.push(`${path}: profile: want text`);
  const common = valuesOf(rest, '', path, faults);
  const map = new Map<string, Values>();
  if (!isTable(profiles)) faults.push(`${path}: profiles: want tables such as [profiles.alice]`);
  else
    for (const [name, table] of Object.entries(profiles)) {
      if (isTable(table)) map.set(name, valuesOf(table, `profiles.${name}.`, path, faults));
      else faults.push(`${path}: profiles.${name}: want a table`);
    }
  return { profile: typeof profile === 'string' ? profile : undefined, common, profiles: map };
}

function valuesOf(table: Record<string, unknown>, prefix: string, path: string, faults: string[]): Values {
  const values: Record<string, string> = {};
  for (const [name, value] of Object.entries(table)) {
    if (!Object.hasOwn(SETTINGS, name)) faults.push(`${path}: ${prefix}${name}: unknown setting`);
    else if (typeof value !== 'string' || value === '') faults.push(`${path}: ${prefix}${name}: want text`);
    else values[name] = rooted(name, value, dirname(path));
  }
  return values;
}

const REMEMBERED = 'profile.json';

function remembered(folder: string): Values {
  const path = join(folder, REMEMBERED);
  if (!existsSync(path)) return {};
  try {
    // Whoever can write this file chooses the CA that is trusted.
    const table: unknown = JSON.parse(readSecretFile(path, 'profile').use((bytes) => bytes.toString('utf8')));
    const faults: string[] = [];
    if (isTable(table)) {
      const values = valuesOf(table, '', path, faults);
      if (faults.length === 0) return values;
    }
  } catch (error) {
    if (error instanceof ChatError) throw error;
  }
  throw new ChatError('CONFIG_INVALID', `${path} is damaged: remove it, and give server and certificate once more`);
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

const rooted = (name: string, value: string, base: string): string =>
  name.endsWith('_file') ? resolve(base, value.replace(/^~(?=\/)/, homedir())) : value;
