/** The settings of chat-server, in the order in which they are described. A computed default may look at the settings above it. */
import { join } from 'node:path';
import { Secret } from '../base/secret.ts';
import { OUTSIDE_SETTINGS } from './outside-settings.ts';
import { optionalSetting, setting, type ComputedDefault, type ValuesOf } from './settings.ts';
import {
  duration,
  endpoint,
  integer,
  listOf,
  oneOf,
  path,
  string,
  Unwanted,
  isHost,
  type SettingType,
} from './setting-types.ts';

export interface Argon2Parameters {
  readonly memoryKiB: number;
  readonly passes: number;
}
/** Floors: OWASP's smallest recommendation, 19 MiB and two passes. Ceilings: what a client can be asked to compute at a login. */
const KDF_WANTS = 'argon2id m=KIB,t=PASSES,p=1 with m of 19456..1048576 and t of 2..16';
const kdf: SettingType<Argon2Parameters> = {
  wants: KDF_WANTS,
  schema: { type: 'string', pattern: '^argon2id m=[1-9][0-9]*,t=[1-9][0-9]*,p=1$' },
  parse: (raw) => {
    const found = typeof raw === 'string' && /^argon2id m=([1-9]\d{0,6}),t=([1-9]\d?),p=1$/.exec(raw);
    const [memoryKiB = 0, passes = 0] = found ? found.slice(1).map(Number) : [];
    if (memoryKiB < 19_456 || memoryKiB > 1_048_576 || passes < 2 || passes > 16)
      throw new Unwanted(`want ${KDF_WANTS}`);
    return { memoryKiB, passes };
  },
  fromText: (text) => text,
};

const host: SettingType<string> = {
  ...string(/^[A-Za-z0-9.:-]{1,253}$/, 'a host name or IP address'),
  parse: (raw) => {
    if (typeof raw !== 'string' || !isHost(raw)) throw new Unwanted('want a host name or IP address');
    return raw;
  },
};
const dnsName = string(
  /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/,
  'a DNS name',
);
const word = string(/^[a-z0-9][a-z0-9-]{0,31}$/, '1..32 characters of a-z, 0-9 and -, a letter or digit first');
const sqlName = string(/^[A-Za-z0-9_$-]{1,64}$/, '1..64 characters of A-Z, a-z, 0-9, _, $ and -');
const databaseUrl = string(
  /^(sqlite:[^\0]+|mysql:\/\/[A-Za-z0-9_.-]{1,32}@(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?\/[A-Za-z0-9_$-]{1,64})$/,
  'sqlite:PATH or mysql://USER@HOST[:PORT]/NAME, without a password (that is for db.password_file)',
);
const secret: SettingType<Secret> = {
  wants: 'a password',
  schema: {},
  parse: (raw) => new Secret(Buffer.from(String(raw), 'utf8')),
  fromText: (text) => text,
};

/** systemd may name several folders; ours is the first. */
const firstOf = (list: string | undefined): string | undefined => list?.split(':')[0] || undefined;
const stateDirectory: ComputedDefault = (_, { env, isRoot }) => {
  if (env['STATE_DIRECTORY']) return firstOf(env['STATE_DIRECTORY']);
  if (isRoot) return '/var/lib/chat-server';
  const home = env['XDG_STATE_HOME'] || (env['HOME'] ? join(env['HOME'], '.local/state') : undefined);
  return home === undefined ? undefined : join(home, 'chat-server');
};
const inState =
  (name: string, prefix = ''): ComputedDefault =>
  (get) =>
    get('state_dir') === undefined ? undefined : prefix + join(String(get('state_dir')), name);

export const SERVER_SETTINGS = {
  listen: setting('listen', listOf(endpoint(0), 1, 16), 'Where connections are accepted.', {
    default: ['127.0.0.1:6000'],
    example: ['0.0.0.0:6000', '[::]:6000'],
  }),
  stateDir: setting('state_dir', path, 'Folder for everything that this server keeps.', {
    default: stateDirectory,
    defaultDoc:
      '$STATE_DIRECTORY, or /var/lib/chat-server for root, or $XDG_STATE_HOME/chat-server, or ~/.local/state/chat-server',
    example: '/var/lib/chat-server',
  }),
  serverName: optionalSetting(
    'server_name',
    dnsName,
    'Name of this server. It is a permanent part of the name of its log.',
    {
      defaultDoc: 'the first DNS name of the certificate',
      example: 'chat.example.org',
    },
  ),
  node: setting('node', word, 'Name of this process among those of the same server. Each keeps its own log.', {
    default: 'n1',
  }),
  drainTimeoutMs: setting('drain_timeout', duration('0s', '1h'), 'How long a shutdown may take after SIGTERM.', {
    default: '10s',
  }),
  tls: {
    cert: setting('tls.cert', path, 'Certificate of the server, followed by intermediate ones (PEM).', {
      default: 'certs/server.crt',
      example: '/etc/chat-server/server.crt',
    }),
    key: setting('tls.key', path, 'Its private key (PEM). Other users must not be able to read the file.', {
      default: 'certs/server.key',
      example: '/etc/chat-server/server.key',
      secretFile: true,
      redact: true,
    }),
    keyPassphraseFile: optionalSetting(
      'tls.key_passphrase_file',
      path,
      'File with the passphrase of an encrypted key.',
      {
        example: '/run/credentials/chat-server.service/passphrase',
        secretFile: true,
        redact: true,
      },
    ),
    ca: setting(
      'tls.ca',
      listOf(path, 1, 64),
      'Authorities whose client certificates are accepted (PEM). No others are accepted.',
      {
        default: ['certs/ca.crt'],
        example: ['/etc/chat-server/ca.crt'],
      },
    ),
    crl: setting(
      'tls.crl',
      listOf(path, 0, 64),
      'Revocation lists (PEM or DER), one for each authority. They are read again on SIGHUP and when a file changes. If a list is missing or stale, everybody is refused.',
      {
        default: [],
        example: ['/etc/chat-server/ca.crl'],
      },
    ),
    crlGraceMs: setting(
      'tls.crl_grace',
      duration('0s', '30d'),
      'How long a revocation list is still accepted after its next update was due.',
      { default: '0s', example: '6h' },
    ),
    handshakeTimeoutMs: setting(
      'tls.handshake_timeout',
      duration('1s', '60s'),
      'Time limit for TLS and the handshake inside it.',
      { default: '10s' },
    ),
  },
  handshake: {
    suites: setting(
      'handshake.suites',
      listOf(integer(1, 3), 1, 3),
      'Key agreements, best first: 1 X25519MLKEM768, 2 X25519, 3 ffdhe3072.',
      { default: [1, 2] },
    ),
  },
  db: {
    url: setting(
      'db.url',
      databaseUrl,
      'Where accounts and queues are kept. A relative SQLite path is relative to the working directory.',
      {
        default: inState('chat.db', 'sqlite:'),
        defaultDoc: 'sqlite:STATE_DIR/chat.db; MySQL as soon as one of the settings below is set',
        example: 'mysql://chatuser@db.example.org:3306/securechat',
        redact: true,
      },
    ),
    host: optionalSetting('db.host', host, 'MySQL server, as an alternative to db.url.', {
      defaultDoc: '127.0.0.1',
      example: '127.0.0.1',
      aliases: ['DB_HOST'],
      redact: true,
    }),
    port: optionalSetting('db.port', integer(1, 65_535), 'Its port.', {
      defaultDoc: '3306',
      example: 3306,
      aliases: ['DB_PORT'],
    }),
    user: optionalSetting('db.user', sqlName, 'MySQL account.', {
      defaultDoc: 'chatuser',
      example: 'chatuser',
      aliases: ['DB_USER'],
      redact: true,
    }),
    name: optionalSetting('db.name', sqlName, 'MySQL database.', {
      defaultDoc: 'securechat',
      example: 'securechat',
      aliases: ['DB_NAME'],
      redact: true,
    }),
    passwordFile: optionalSetting('db.password_file', path, 'File with the password of the MySQL account.', {
      example: '/etc/chat-server/db-password',
      aliases: ['DB_PASS_FILE'],
      secretFile: true,
      redact: true,
    }),
    password: optionalSetting(
      'db.password',
      secret,
      'Password of the MySQL account. Prefer db.password_file: other processes can often read environment variables.',
      {
        aliases: ['DB_PASS'],
        environmentOnly: true,
        redact: true,
      },
    ),
    tls: optionalSetting('db.tls', oneOf('off', 'required'), 'Whether connections to MySQL use TLS.', {
      defaultDoc: 'required, except to this machine itself',
      example: 'required',
    }),
    tlsCa: optionalSetting('db.tls_ca', path, 'Authority of the MySQL server (PEM).', {
      defaultDoc: "the system's authorities",
      example: '/etc/chat-server/db-ca.crt',
    }),
  },
  auth: {
    registration: setting(
      'auth.registration',
      oneOf('open', 'closed'),
      'Who may create an account: anybody with a valid certificate, or nobody.',
      { default: 'open' },
    ),
    kdf: setting(
      'auth.kdf',
      kdf,
      'Minimum cost of trying a password, for accounts that are created from now on. chat-client accepts no less than the default.',
      {
        default: 'argon2id m=65536,t=3,p=1',
      },
    ),
    maxFailures: setting(
      'auth.max_failures',
      integer(1, 1000),
      'Wrong passwords, for one account and certificate key, before a lockout.',
      { default: 10 },
    ),
    lockoutMs: setting(
      'auth.lockout',
      duration('1s', '24h'),
      'How long the first lockout lasts. Each further failure doubles it, up to 24h.',
      { default: '15m' },
    ),
    tokenTtlMs: setting(
      'auth.token_ttl',
      duration('1s', '24h'),
      'How long a connection can be resumed without the password.',
      { default: '10m' },
    ),
  },
  contacts: {
    policy: setting(
      'contacts.policy',
      oneOf('open', 'request', 'closed'),
      'Who may write to whom: everybody to everybody; only to people who have accepted; only to people whom the operator has made contacts.',
      { default: 'open', example: 'request' },
    ),
  },
  directory: {
    visibility: setting(
      'directory.visibility',
      oneOf('everybody', 'contacts', 'nobody'),
      'Which accounts a person may list. A known address can be looked up in any case.',
      { default: 'everybody' },
    ),
  },
  limits: {
    frameBytes: setting('limits.frame_bytes', integer(65_536, 1_048_576), 'Largest frame, in bytes.', {
      default: 1_048_576,
    }),
    devicesPerAccount: setting('limits.devices_per_account', integer(1, 64), 'Certificates per account.', {
      default: 8,
    }),
    connections: setting('limits.connections', integer(1, 1_000_000), 'Connections in total.', { default: 10_000 }),
    connectionsPerAddress: setting(
      'limits.connections_per_address',
      integer(1, 1_000_000),
      'Connections per IPv4 address, or per /64 of IPv6.',
      { default: 256 },
    ),
    handshakesPerAddressPerSecond: setting(
      'limits.handshakes_per_address_per_s',
      integer(1, 1_000_000),
      'New connections per second from one IPv4 address, or from one /64 of IPv6.',
      { default: 50 },
    ),
    messagesPerMinute: setting(
      'limits.messages_per_min',
      integer(1, 100_000_000),
      'Messages per minute from one account.',
      { default: 6000 },
    ),
    roomDeliveriesPerMinute: setting(
      'limits.room_deliveries_per_min',
      integer(1, 100_000_000),
      'Messages per minute in one room, from all its members, each counted as many times as the room has other devices.',
      { default: 600_000 },
    ),
    queueMbPerUser: setting(
      'limits.queue_mb_per_user',
      integer(1, 1_000_000),
      'What may wait for one device that is away, in MB (10^6 bytes). One sender fills no more than half of what is free.',
      { default: 64 },
    ),
  },
  retention: {
    ttlMs: setting('retention.ttl', duration('1m', '3650d'), 'How long a message waits for its recipient.', {
      default: '30d',
    }),
  },
  transcript: {
    dir: setting('transcript.dir', path, 'Folder of the signed log.', {
      default: inState('transcript'),
      defaultDoc: 'STATE_DIR/transcript',
      example: '/var/lib/chat-server/transcript',
    }),
    publishEveryMs: setting(
      'transcript.publish_every',
      duration('10ms', '1h'),
      'How often tiles and the public checkpoint are written: a dozen synced files each time, in addition to those of messages.',
      { default: '5s' },
    ),
    settleMs: setting(
      'transcript.settle',
      duration('0s', '1h'),
      'How long at most the server signs nothing after an absence, so that clients can show a newer checkpoint. With 0s, it does not wait.',
      { default: '30s' },
    ),
    ...OUTSIDE_SETTINGS,
  },
  admin: {
    socket: setting('admin.socket', path, 'Unix socket for chat-server status.', {
      default: ((get, { env, isRoot }) => {
        const run = firstOf(env['RUNTIME_DIRECTORY']) ?? (isRoot ? '/run/chat-server' : get('state_dir'));
        return run === undefined ? undefined : join(String(run), 'admin.sock');
      }) satisfies ComputedDefault,
      defaultDoc: '$RUNTIME_DIRECTORY/admin.sock, or /run/chat-server/admin.sock for root, or STATE_DIR/admin.sock',
      example: '/run/chat-server/admin.sock',
    }),
  },
  log: {
    level: setting('log.level', oneOf('debug', 'info', 'warn', 'error', 'silent'), 'The lowest level that is logged.', {
      default: 'info',
    }),
    format: setting('log.format', oneOf('json', 'text'), 'Format of the log on standard error.', {
      default: ((_, { isTerminal }) => (isTerminal ? 'text' : 'json')) satisfies ComputedDefault,
      defaultDoc: 'text on a terminal, else json',
      example: 'json',
    }),
  },
} as const;

export type ServerConfig = ValuesOf<typeof SERVER_SETTINGS>;
