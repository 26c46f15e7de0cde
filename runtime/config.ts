/**
 * The configuration of chat-server: defaults < /etc/chat-server/config.toml < -c FILE < environment < flags, checked once, one frozen
 * object. Nothing else reads the environment.
 */
import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isIP } from 'node:net';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import { unsafeOwnership, type Ownership } from './secret-file.ts';
import { SERVER_SETTINGS, type ServerConfig } from './server-settings.ts';
import { describeSettings, schemaOf } from './settings-reference.ts';
import {
  environmentLayer,
  fileLayer,
  flagLayer,
  invalid,
  resolveSettings,
  settingsOf,
  type Flags,
  type Layer,
  type Place,
  type Resolved,
} from './settings.ts';

export const SYSTEM_FILE = '/etc/chat-server/config.toml';
export const PREFIX = 'CHAT_SERVER';

/** What the loader needs of the machine. */
export interface Machine extends Place {
  readonly uid: number;
  /** Null where there is no such file. @throws the system's error otherwise */
  readText(path: string): string | null;
  ownership(path: string): Ownership | null;
}

export type LoadedServerConfig = Resolved<typeof SERVER_SETTINGS>;

/**
 * @param configFile of -c; else `CHAT_SERVER_CONFIG`
 * @param flags by key, such as `log.level`
 * @param usesSecrets false: what reads one looks at it then, and an operator may ask for other things without them
 * @throws CONFIG_INVALID with every fault; UNSAFE_FILE with every secret file that others can use
 */
export function loadServerConfig({
  configFile,
  flags = {},
  usesSecrets = true,
  machine = thisMachine(),
}: {
  readonly configFile?: string | undefined;
  readonly flags?: Flags;
  readonly usesSecrets?: boolean;
  readonly machine?: Machine;
}): LoadedServerConfig {
  const named = configFile ?? (machine.env['CHAT_SERVER_CONFIG'] || undefined);
  const layers = [
    file(SYSTEM_FILE, false, machine),
    ...(named === undefined ? [] : [file(resolve(machine.cwd, named), true, machine)]),
    environmentLayer(SERVER_SETTINGS, PREFIX, machine),
    flagLayer(SERVER_SETTINGS, flags, machine),
  ];
  const loaded = resolveSettings(SERVER_SETTINGS, layers, machine, crossFaults);
  if (usesSecrets) refuseUnsafeFiles(loaded, machine);
  return loaded;
}

function file(path: string, required: boolean, machine: Machine): Layer {
  const failed = (why: string): Layer => ({ source: path, base: '/', entries: [], faults: [`${path}: ${why}`] });
  try {
    const text = machine.readText(path);
    if (text !== null) return fileLayer(SERVER_SETTINGS, path, dirname(path), text);
    return required ? failed('no such file') : { ...failed(''), faults: [] };
  } catch (error) {
    return failed(`cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

/** What no setting can see alone. */
function crossFaults({ db, admin, limits, transcript }: ServerConfig, sources: ReadonlyMap<string, string>): string[] {
  const faults: string[] = [];
  const parts = ['db.host', 'db.port', 'db.user', 'db.name'].filter((key) => sources.has(key));
  if (sources.get('db.url') !== 'default' && parts[0] !== undefined)
    faults.push(
      `${parts[0]} (${sources.get(parts[0])}): does not go with db.url, which says it already; set one of them`,
    );
  if (db.password && db.passwordFile !== undefined)
    faults.push('db.password_file: does not go with DB_PASS; set one of them');
  // sun_path of Linux less its end (unix(7)); macOS has 104.
  if (Buffer.byteLength(admin.socket) > 103) faults.push('admin.socket: want a path of at most 103 bytes');
  if (limits.connectionsPerAddress > limits.connections && sources.get('limits.connections_per_address') !== 'default')
    faults.push('limits.connections_per_address: want no more than limits.connections');
  if ((transcript.tsaUrl === undefined) !== (transcript.tsaCa === undefined))
    faults.push('transcript.tsa_ca: want it together with transcript.tsa_url, or neither');
  return faults;
}

/** Secret files that are there must be safe, and those that somebody named must be there. */
function refuseUnsafeFiles({ values, sources }: LoadedServerConfig, machine: Machine): void {
  const paths = {
    'tls.key': values.tls.key,
    'tls.key_passphrase_file': values.tls.keyPassphraseFile,
    'db.password_file': values.db.passwordFile,
  };
  const missing: string[] = [];
  const unsafe: [key: string, fault: string][] = [];
  for (const { key } of settingsOf(SERVER_SETTINGS).filter((setting) => setting.secretFile)) {
    const path = paths[key as keyof typeof paths];
    if (path === undefined) continue;
    const ownership = machine.ownership(path);
    if (ownership === null) {
      if (sources.get(key) !== 'default') missing.push(`${key} (${sources.get(key)}): no such file`);
      continue;
    }
    const fault = unsafeOwnership(ownership, machine.uid);
    if (fault !== null) unsafe.push([key, `${key}: ${path} ${fault}`]);
  }
  if (missing.length > 0) throw invalid(missing);
  if (unsafe[0])
    throw new ChatError('UNSAFE_FILE', unsafe.map(([, fault]) => fault).join('\n  '), { field: unsafe[0][0] });
}

export type Database =
  | { readonly backend: 'sqlite'; readonly path: string }
  | {
      readonly backend: 'mysql';
      readonly host: string;
      readonly port: number;
      readonly user: string;
      readonly name: string;
      readonly password: Secret | undefined;
      readonly passwordFile: string | undefined;
      readonly tls: 'off' | 'required';
      readonly tlsCa: string | undefined;
    };

/** The database that `db` means; `cwd` is where a relative SQLite path starts. MySQL with the customary names where only part of it is said. */
export function databaseOf({ values: { db }, sources }: LoadedServerConfig, cwd = process.cwd()): Database {
  const url = /^mysql:\/\/([^@]+)@(?:\[(.+)\]|([^/:]+))(?::(\d+))?\/(.+)$/.exec(db.url);
  const parts = [db.host, db.port, db.user, db.name, db.password, db.passwordFile];
  if (!url && (sources.get('db.url') !== 'default' || parts.every((part) => part === undefined)))
    return { backend: 'sqlite', path: resolve(cwd, db.url.slice('sqlite:'.length)) };
  const host = url?.[2] ?? url?.[3] ?? db.host ?? '127.0.0.1';
  return {
    backend: 'mysql',
    host,
    port: url?.[4] === undefined ? (db.port ?? 3306) : Number(url[4]),
    user: url?.[1] ?? db.user ?? 'chatuser',
    name: url?.[5] ?? db.name ?? 'securechat',
    password: db.password,
    passwordFile: db.passwordFile,
    tls: db.tls ?? (isThisMachine(host) ? 'off' : 'required'),
    tlsCa: db.tlsCa,
  };
}
const isThisMachine = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** The annotated example of /etc/chat-server/config.toml. */
export const describeServerConfig = (): string =>
  describeSettings(SERVER_SETTINGS, PREFIX, `Settings of chat-server: ${SYSTEM_FILE}, or a file named with -c.`);

/** JSON Schema of the same file. */
export const serverConfigSchema = (): object => schemaOf(SERVER_SETTINGS, 'chat-server configuration');

/** This machine. */
export function thisMachine(env: NodeJS.ProcessEnv = process.env): Machine {
  const orNull = <T>(read: () => T): T | null => {
    try {
      return read();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  };
  const uid = process.geteuid?.() ?? 0;
  return {
    env,
    uid,
    cwd: process.cwd(),
    isRoot: uid === 0,
    isTerminal: process.stderr.isTTY === true,
    readText: (path) => orNull(() => readFileSync(path, 'utf8')),
    ownership: (path) =>
      orNull(() => {
        const stat = statSync(path);
        return { isFile: stat.isFile(), mode: stat.mode, uid: stat.uid };
      }),
  };
}
