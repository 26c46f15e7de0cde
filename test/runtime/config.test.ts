import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Secret } from '../../base/secret.ts';
import {
  databaseOf,
  describeServerConfig,
  loadServerConfig,
  serverConfigSchema,
  SYSTEM_FILE,
  thisMachine,
  type LoadedServerConfig,
  type Machine,
} from '../../runtime/config.ts';
import { SERVER_SETTINGS } from '../../runtime/server-settings.ts';
import { settingsOf, type Flags } from '../../runtime/settings.ts';

type Env = Record<string, string>;
interface Given {
  readonly system?: string;
  readonly file?: string;
  readonly env?: Env;
  readonly flags?: Flags;
  readonly machine?: Partial<Machine>;
}
/** On a machine with these two files and nothing else, as user 1000. */
function load({ system, file, env = {}, flags = {}, machine = {} }: Given = {}): LoadedServerConfig {
  const files = new Map([
    [SYSTEM_FILE, system],
    ['/srv/chat/my.toml', file],
  ]);
  return loadServerConfig({
    flags,
    configFile: file === undefined ? undefined : 'my.toml',
    machine: {
      env: { HOME: '/home/chat', ...env },
      cwd: '/srv/chat',
      uid: 1000,
      isRoot: false,
      isTerminal: false,
      readText: (path) => files.get(path) ?? null,
      ownership: () => ({ isFile: true, mode: 0o100600, uid: 1000 }),
      ...machine,
    },
  });
}
/** The error's faults, one a line. */
function faultsOf(given: Given): { code: string; field: string; faults: string[] } {
  try {
    load(given);
  } catch (error) {
    const { code, field, message } = error as { code: string; field: string; message: string };
    return { code, field, faults: message.replace(/^\d+ faults:\n {2}/, '').split('\n  ') };
  }
  return { code: 'none', field: '', faults: [] };
}

t.test('defaults', async (t) => {
  const { values, sources } = load();
  t.strictSame(values.listen, [{ host: '127.0.0.1', port: 6000 }]);
  t.equal(values.stateDir, '/home/chat/.local/state/chat-server');
  t.equal(values.db.url, 'sqlite:/home/chat/.local/state/chat-server/chat.db');
  t.equal(values.transcript.dir, '/home/chat/.local/state/chat-server/transcript');
  t.equal(values.admin.socket, '/home/chat/.local/state/chat-server/admin.sock');
  t.strictSame(values.tls.ca, ['/srv/chat/certs/ca.crt'], 'relative to the working directory');
  t.strictSame(values.handshake.suites, [1, 2]);
  t.strictSame(values.auth.kdf, { memoryKiB: 65_536, passes: 3 });
  t.equal(values.limits.frameBytes, 1_048_576);
  t.equal(values.transcript.publishEveryMs, 5000);
  t.equal(values.retention.ttlMs, 30 * 86_400_000);
  t.equal(values.serverName, undefined);
  t.equal(values.node, 'n1');
  t.equal(values.log.format, 'json');
  t.equal(load({ machine: { isTerminal: true } }).values.log.format, 'text');
  for (const source of sources.values()) t.equal(source, 'default');
});

t.test('where state is kept', async (t) => {
  const cases: readonly (readonly [name: string, env: Env, isRoot: boolean, stateDir: string, socket: string])[] = [
    [
      'systemd',
      { STATE_DIRECTORY: '/var/lib/private/x', RUNTIME_DIRECTORY: '/run/x' },
      true,
      '/var/lib/private/x',
      '/run/x/admin.sock',
    ],
    ['systemd, several', { STATE_DIRECTORY: '/a:/b', RUNTIME_DIRECTORY: '/c:/d' }, false, '/a', '/c/admin.sock'],
    ['root', {}, true, '/var/lib/chat-server', '/run/chat-server/admin.sock'],
    ['XDG', { XDG_STATE_HOME: '/x' }, false, '/x/chat-server', '/x/chat-server/admin.sock'],
    [
      'empty XDG',
      { XDG_STATE_HOME: '' },
      false,
      '/home/chat/.local/state/chat-server',
      '/home/chat/.local/state/chat-server/admin.sock',
    ],
    ['said', { CHAT_SERVER__STATE_DIR: 'here' }, true, '/srv/chat/here', '/run/chat-server/admin.sock'],
  ];
  for (const [name, env, isRoot, stateDir, socket] of cases) {
    const { values } = load({ env, machine: { isRoot } });
    t.equal(values.stateDir, stateDir, name);
    t.equal(values.admin.socket, socket, name);
    t.equal(values.db.url, `sqlite:${stateDir}/chat.db`, name);
  }
  t.strictSame(faultsOf({ env: { HOME: '' } }).faults.slice(0, 1), ['state_dir: has to be set']);
});

t.test('precedence: defaults < system file < file < environment < flags', async (t) => {
  const given: Required<Omit<Given, 'machine'>> = {
    system: 'node = "system"',
    file: 'node = "file"',
    env: { CHAT_SERVER__NODE: 'environment' },
    flags: { node: 'flags' },
  };
  const steps = [
    [{ system: given.system }, 'system', SYSTEM_FILE],
    [{ system: given.system, file: given.file }, 'file', '/srv/chat/my.toml'],
    [{ system: given.system, file: given.file, env: given.env }, 'environment', 'environment'],
    [given, 'flags', 'flags'],
  ] as const;
  for (const [some, value, source] of steps) {
    const { values, sources } = load(some);
    t.equal(values.node, value);
    t.equal(sources.get('node'), source);
  }
  const mixed = load({
    system: '[log]\nlevel = "debug"\n[tls]\ncert = "a.crt"',
    file: '[tls]\nkey = "b.key"',
    flags: { 'log.level': undefined },
  });
  t.equal(mixed.values.log.level, 'debug');
  t.equal(mixed.values.tls.cert, '/etc/chat-server/a.crt', 'relative to the file that says it');
  t.equal(mixed.values.tls.key, '/srv/chat/b.key');
  const named = loadServerConfig({
    machine: {
      ...{ env: { HOME: '/h', CHAT_SERVER_CONFIG: '/x.toml' }, cwd: '/', uid: 1, isRoot: false, isTerminal: false },
      readText: (path) => (path === '/x.toml' ? 'node = "x"' : null),
      ownership: () => null,
    },
  });
  t.equal(named.values.node, 'x', 'CHAT_SERVER_CONFIG');
});

t.test('frozen to the leaves', async (t) => {
  const { values } = load();
  t.throws(() => ((values.tls as { cert: string }).cert = 'x'), TypeError);
  t.throws(() => (values.tls.ca as string[]).push('x'), TypeError);
  t.throws(() => ((values.listen[0] as { port: number }).port = 1), TypeError);
  t.throws(() => ((values.auth.kdf as { passes: number }).passes = 1), TypeError);
});

t.test('values that are accepted, from a file and as text', async (t) => {
  const cases: readonly (readonly [key: string, toml: string, text: string, value: unknown])[] = [
    [
      'listen',
      '["0.0.0.0:1", "[::1]:6000"]',
      '0.0.0.0:1,[::1]:6000',
      [
        { host: '0.0.0.0', port: 1 },
        { host: '::1', port: 6000 },
      ],
    ],
    ['listen', '["[::1]:0"]', '[::1]:0', [{ host: '::1', port: 0 }]],
    [
      'listen',
      '["chat.example.org:65535"]',
      '["chat.example.org:65535"]',
      [{ host: 'chat.example.org', port: 65_535 }],
    ],
    ['handshake.suites', '[3, 1]', '3,1', [3, 1]],
    ['handshake.suites', '[1]', '[1]', [1]],
    ['tls.crl', '[]', '[]', []],
    ['tls.crl', '["/a", "b"]', '/a, /srv/chat/b', ['/a', '/srv/chat/b']],
    ['tls.crl_grace', '"0s"', '0s', 0],
    ['auth.lockout', '"90s"', '90s', 90_000],
    ['auth.lockout', '"24h"', '24h', 86_400_000],
    ['transcript.publish_every', '"10ms"', '10ms', 10],
    ['auth.kdf', '"argon2id m=19456,t=2,p=1"', 'argon2id m=19456,t=2,p=1', { memoryKiB: 19_456, passes: 2 }],
    ['limits.frame_bytes', '65536', '65536', 65_536],
    ['limits.frame_bytes', '1_048_576', '1048576', 1_048_576],
    ['db.url', '"sqlite:x y.db"', 'sqlite:x y.db', 'sqlite:x y.db'],
    ['db.url', '"mysql://a@[::1]:3306/b"', 'mysql://a@[::1]:3306/b', 'mysql://a@[::1]:3306/b'],
    ['server_name', '"chat.example.org"', 'chat.example.org', 'chat.example.org'],
  ];
  const leaf = (loaded: LoadedServerConfig, key: string) => {
    const find = (node: object): unknown => {
      for (const [name, child] of Object.entries(node) as [string, { key?: string }][]) {
        if (child.key === key) return [name];
        if (typeof child.key !== 'string') {
          const rest = find(child);
          if (rest) return [name, ...(rest as string[])];
        }
      }
      return undefined;
    };
    return (find(SERVER_SETTINGS) as string[]).reduce<unknown>(
      (node, name) => (node as Record<string, unknown>)[name],
      loaded.values,
    );
  };
  for (const [key, toml, text, value] of cases) {
    t.strictSame(leaf(load({ file: `${key} = ${toml}` }), key), value, `${key} = ${toml}`);
    const variable = `CHAT_SERVER__${key.replaceAll('.', '__').toUpperCase()}`;
    t.strictSame(leaf(load({ env: { [variable]: text } }), key), value, `${variable}=${text}`);
    t.strictSame(leaf(load({ flags: { [key]: text } }), key), value, `--${key} ${text}`);
  }
  t.strictSame(
    load({ flags: { listen: ['127.0.0.1:1', '[::1]:2'] } }).values.listen.map((e) => e.port),
    [1, 2],
  );
});

t.test('values that are refused, with the setting as field and the value unsaid', async (t) => {
  const cases: readonly (readonly [key: string, ...texts: string[]])[] = [
    [
      'listen',
      '6000',
      ':6000',
      'x:',
      'x:65536',
      'x:06',
      '::1:6000',
      '[::1]',
      '[x]:1',
      'a b:1',
      'a:1,a:1',
      '[1.2.3.4]:5',
      '-a:1',
      'x:1e3',
      'a:1,',
      '[]',
    ],
    ['handshake.suites', '0', '4', '1,1', '1.5', '', '[]', '[1', '1,2,3,1', '"1"', '01', '0x1', ' '].filter(
      (v) => v !== '',
    ) as [string],
    [
      'tls.handshake_timeout',
      '10',
      '0s',
      '61s',
      '1.5s',
      '-1s',
      '10 s',
      '10S',
      '1e1s',
      '01s',
      '99999999999s',
      's',
      'NaN',
      '1m1s',
    ],
    [
      'limits.frame_bytes',
      '65535',
      '1048577',
      '-1',
      '1e6',
      '0x10000',
      '65536.0',
      ' 65536',
      '65536 ',
      '9007199254740993',
      'x',
      'null',
      'true',
    ],
    [
      'auth.kdf',
      'argon2id m=19455,t=2,p=1',
      'argon2id m=19456,t=1,p=1',
      'argon2id m=65536,t=3,p=2',
      'argon2i m=65536,t=3,p=1',
      'argon2id m=65536,t=3',
      'argon2id m=99999999,t=3,p=1',
      'argon2id m=65536,t=17,p=1',
      'argon2id m=065536,t=3,p=1',
      'argon2id m=65536,t=3,p=1 ',
    ],
    [
      'db.url',
      'mysql://a:hunter2@h/n',
      'mysql://h/n',
      'postgres://a@h/n',
      'sqlite:',
      'mysql://a@h',
      'mysql://a@h/n?x=1',
      'chat.db',
    ],
    ['db.host', 'a b', '-x', 'h/x', 'x'.repeat(300)],
    ['db.port', '0', '65536'],
    ['db.user', "a'b", 'x'.repeat(65)],
    ['node', 'N1', '', '-', 'a/b', 'x'.repeat(33)].filter((v) => v !== '') as [string],
    ['server_name', 'a_b', '*.x', 'a..b', 'x'.repeat(300), 'a b'],
    ['auth.registration', 'Open', 'invite'],
    ['log.level', 'trace', 'INFO'],
    ['tls.cert', 'a\0b', `/${'x'.repeat(5000)}`],
  ];
  for (const [key, ...texts] of cases)
    for (const text of texts) {
      const { code, field, faults } = faultsOf({ flags: { [key]: text } });
      t.strictSame(
        { code, count: faults.length },
        { code: 'CONFIG_INVALID', count: 1 },
        `${key} ${JSON.stringify(text.slice(0, 40))}`,
      );
      t.match(faults[0], `--${key} (flags): want `);
      if (text.length > 7) t.notMatch(faults[0], text, 'the value is not repeated');
      if (text !== '') t.equal(faultsOf({ file: `${key} = ${JSON.stringify(text)}` }).field, key, `${key} in a file`);
      t.type(field, 'string');
    }
  const values: readonly (readonly [key: string, ...toml: string[]])[] = [
    ['limits.frame_bytes', '"65536"', '65536.5', 'true', '[65536]', '2026-01-01', 'nan', 'inf', '{ x = 1 }'],
    ['listen', '"127.0.0.1:6000"', '[1]', '[]', '[["a:1"]]'],
    ['node', '1', '[]', '2026-01-01T00:00:00Z', '{}'],
    ['tls.handshake_timeout', '10', '10.0'],
    ['tls', '1', '"x"', '[]', '[{ cert = "a" }]', '2026-01-01'],
  ];
  for (const [key, ...tomls] of values)
    for (const toml of tomls) {
      const { code, field, faults } = faultsOf({ file: `${key} = ${toml}` });
      t.strictSame(
        { code, field, count: faults.length },
        { code: 'CONFIG_INVALID', field: key, count: 1 },
        `${key} = ${toml}`,
      );
    }
});

t.test('unknown settings are faults, wherever they are', async (t) => {
  for (const [given, says] of [
    [{ file: 'nod = "x"' }, 'nod (/srv/chat/my.toml): no such setting'],
    [{ file: '[tls]\ncerts = "x"' }, 'tls.certs (/srv/chat/my.toml): no such setting'],
    [{ file: '[metrics]\nlisten = "x"' }, 'metrics (/srv/chat/my.toml): no such setting'],
    [{ system: 'x = 1' }, `x (${SYSTEM_FILE}): no such setting`],
    [{ file: '"tls.cert" = "x"' }, 'tls.cert (/srv/chat/my.toml): no such setting'],
    [{ file: '__proto__ = 1' }, '__proto__ (/srv/chat/my.toml): no such setting'],
    [{ file: '[__proto__]\ncert = "x"' }, '__proto__ (/srv/chat/my.toml): no such setting'],
    [{ file: 'constructor = 1' }, 'constructor (/srv/chat/my.toml): no such setting'],
    [{ file: '"\\u001b[31m" = 1' }, '\\u{1b}[31m (/srv/chat/my.toml): no such setting'],
    [{ file: '[db]\npassword = "hunter2"' }, 'db.password (/srv/chat/my.toml): is a secret and has no place in a file'],
    [{ env: { CHAT_SERVER__NOD: 'x' } }, 'CHAT_SERVER__NOD (environment): no such setting'],
    [{ env: { CHAT_SERVER__DB__PASSWORD: 'hunter2' } }, 'CHAT_SERVER__DB__PASSWORD (environment): no such setting'],
    [{ env: { CHAT_SERVER__node: 'x' } }, 'CHAT_SERVER__node (environment): no such setting'],
    [{ flags: { nod: 'x' } }, '--nod: no such setting'],
    [{ flags: { 'db.password': 'hunter2' } }, '--db.password: no such setting'],
  ] as const)
    t.strictSame(faultsOf(given), { code: 'CONFIG_INVALID', field: faultsOf(given).field, faults: [says] });
});

t.test('a file that is no TOML, or not there', async (t) => {
  t.strictSame(faultsOf({ file: 'node = "a"\npassword = hunter2\n' }).faults, [
    '/srv/chat/my.toml: not TOML at line 2, column 12',
  ]);
  t.strictSame(faultsOf({ file: 'node = "a"\nnode = "b"\n' }).faults.length, 1, 'a key twice');
  t.throws(() => load({ machine: { env: { HOME: '/h', CHAT_SERVER_CONFIG: '/none' } } }), {
    code: 'CONFIG_INVALID',
    message: '/none: no such file',
  });
  const denied = () => {
    throw Object.assign(new Error('secret path'), { code: 'EACCES' });
  };
  t.throws(() => load({ machine: { readText: denied } }), { message: `${SYSTEM_FILE}: cannot be read (EACCES)` });
});

t.test('every fault at once, also those that a higher layer hides', async (t) => {
  const { field, faults } = faultsOf({
    system: 'node = "UPPER"\nodd = 1',
    file: 'node = "fine"\n[log]\nlevel = "loud"',
    env: { CHAT_SERVER__LIMITS__CONNECTIONS: '0', DB_HOST: 'a b' },
    flags: { listen: 'nowhere' },
  });
  t.equal(faults.length, 6, faults.join('\n'));
  for (const [says, source] of [
    ['odd', SYSTEM_FILE],
    ['node', SYSTEM_FILE],
    ['log.level', '/srv/chat/my.toml'],
    ['CHAT_SERVER__LIMITS__CONNECTIONS', 'environment'],
    ['DB_HOST', 'environment'],
    ['--listen', 'flags'],
  ] as const)
    t.ok(
      faults.some((fault) => fault.startsWith(`${says} (${source}): `)),
      `${says} of ${source}`,
    );
  t.equal(field, 'odd');
});

t.test('what settings may not say together', async (t) => {
  const cases: readonly (readonly [given: Given, field: string])[] = [
    [{ file: '[db]\nurl = "sqlite:x"\nhost = "h"' }, 'db.host'],
    [{ file: '[db]\nurl = "mysql://a@h/n"', env: { DB_NAME: 'other' } }, 'db.name'],
    [{ file: '[db]\npassword_file = "x"', env: { DB_PASS: 'hunter2' } }, 'db.password_file'],
    [{ file: '[admin]\nsocket = "/' + 'x'.repeat(103) + '"' }, 'admin.socket'],
    [{ file: '[limits]\nconnections = 10\nconnections_per_address = 11' }, 'limits.connections_per_address'],
  ];
  for (const [given, field] of cases) {
    const found = faultsOf(given);
    t.strictSame(
      { code: found.code, field: found.field, count: found.faults.length },
      { code: 'CONFIG_INVALID', field, count: 1 },
    );
    t.notMatch(found.faults[0], 'hunter2');
  }
  t.match(faultsOf({ env: { DB_HOST: 'a', CHAT_SERVER__DB__HOST: 'a' } }).faults, [
    /says the same as .*; set one of them/,
  ]);
  t.equal(load({ file: '[admin]\nsocket = "/' + 'x'.repeat(102) + '"' }).values.admin.socket.length, 103);
});

t.test('the database: SQLite, a URL, or the four customary variables', async (t) => {
  const local = {
    backend: 'mysql',
    host: '127.0.0.1',
    port: 3306,
    user: 'chatuser',
    name: 'securechat',
    passwordFile: undefined,
    tls: 'off',
    tlsCa: undefined,
  };
  const cases: readonly (readonly [name: string, given: Given, database: object])[] = [
    ['default', {}, { backend: 'sqlite', path: '/home/chat/.local/state/chat-server/chat.db' }],
    ['relative', { file: '[db]\nurl = "sqlite:x.db"' }, { backend: 'sqlite', path: '/srv/chat/x.db' }],
    [
      'all four',
      { env: { DB_HOST: '10.0.0.5', DB_USER: 'u', DB_PASS: 'hunter2', DB_NAME: 'n' } },
      { ...local, host: '10.0.0.5', user: 'u', name: 'n', tls: 'required' },
    ],
    ['password alone', { env: { DB_PASS: 'hunter2' } }, local],
    ['name alone', { env: { DB_NAME: 'n' } }, { ...local, name: 'n' }],
    [
      'empty variables are unset',
      { env: { DB_HOST: '', DB_PASS: '' } },
      { backend: 'sqlite', path: '/home/chat/.local/state/chat-server/chat.db' },
    ],
    ['password file', { env: { DB_PASS_FILE: 'p' } }, { ...local, passwordFile: '/srv/chat/p' }],
    [
      'URL',
      { flags: { 'db.url': 'mysql://a@db.example.org/b' } },
      { ...local, host: 'db.example.org', user: 'a', name: 'b', tls: 'required' },
    ],
    [
      'URL with a port',
      { flags: { 'db.url': 'mysql://a@[::1]:3307/b' } },
      { ...local, host: '::1', port: 3307, user: 'a', name: 'b' },
    ],
    ['TLS off is honoured', { env: { DB_HOST: 'db' }, file: '[db]\ntls = "off"' }, { ...local, host: 'db' }],
    [
      'TLS required here',
      { env: { DB_HOST: 'localhost' }, file: '[db]\ntls = "required"\ntls_ca = "ca.crt"' },
      { ...local, host: 'localhost', tls: 'required', tlsCa: '/srv/chat/ca.crt' },
    ],
    [
      'a name that begins with 127.',
      { env: { DB_HOST: '127.evil.example' } },
      { ...local, host: '127.evil.example', tls: 'required' },
    ],
  ];
  for (const [name, given, want] of cases) {
    const { password, ...database } = { password: undefined, ...databaseOf(load(given), '/srv/chat') } as {
      password: Secret | undefined;
    };
    t.strictSame(database, want, name);
    t.equal(
      password?.use((bytes) => bytes.toString()),
      given.env?.['DB_PASS'] || undefined,
      name,
    );
  }
});

t.test('effective values with their sources; no secret in them', async (t) => {
  const loaded = load({
    file: '[tls]\nkey = "k.key"',
    env: { DB_HOST: 'db.internal', DB_PASS: 'hunter2' },
    flags: { 'auth.lockout': '5m' },
  });
  const plain = loaded.effective(false).split('\n');
  for (const line of [
    'listen = ["127.0.0.1:6000"]  # default',
    'auth.lockout = "5m"  # flags',
    'tls.key = "/srv/chat/k.key"  # /srv/chat/my.toml',
    'tls.ca = ["/srv/chat/certs/ca.crt"]  # default',
    'db.host = "db.internal"  # environment',
    'db.password = "«secret»"  # environment',
    '# server_name is not set',
  ])
    t.ok(plain.includes(line), line);
  t.notMatch(plain.join('\n'), 'hunter2');
  t.notMatch(JSON.stringify(loaded.values), 'hunter2');
  const redacted = loaded.effective(true);
  t.notMatch(redacted, /hunter2|db\.internal|k\.key/);
  t.match(redacted, 'db.host = "«redacted»"  # environment');
  t.equal(plain.length, settingsOf(SERVER_SETTINGS).length + 1);
});

t.test('the annotated example: complete, harmless as it is, and valid line by line', async (t) => {
  const text = describeServerConfig();
  t.strictSame(load({ file: text }).values, load().values, 'says nothing as it stands');
  const enabled = text.replaceAll(/^#(?=[a-z_]+ = )/gm, '');
  // db.url and its parts exclude each other.
  for (const dropped of [/^(host|port|user|name) = .*$/gm, /^url = .*$/m]) {
    const { sources } = load({ file: enabled.replace(dropped, '') });
    t.ok([...sources.values()].filter((source) => source === '/srv/chat/my.toml').length > 32);
  }
  for (const setting of settingsOf(SERVER_SETTINGS)) {
    t.match(text, setting.environmentOnly ? 'DB_PASS' : `\n#${setting.key.split('.').at(-1)} = `, setting.key);
    t.match(setting.doc, /^[A-Za-z].*\.$/, setting.key);
    if (typeof setting.default === 'function')
      t.ok(setting.defaultDoc, `${setting.key} says how its default comes about`);
    for (const alias of setting.aliases ?? []) t.match(text, alias);
  }
  for (const line of text.split('\n')) t.ok(line.length <= 100 || line.startsWith('#password_file'), line);
  t.notMatch(text, /^\[\]$/m);
});

t.test('the JSON Schema mirrors the file', async (t) => {
  const schema = serverConfigSchema() as {
    properties: Record<string, { properties: Record<string, unknown>; additionalProperties: boolean }>;
  };
  t.match(schema, {
    type: 'object',
    additionalProperties: false,
    properties: { listen: { type: 'array' }, tls: { additionalProperties: false } },
  });
  t.match(schema.properties['limits']?.properties['frame_bytes'], {
    type: 'integer',
    minimum: 65_536,
    maximum: 1_048_576,
    default: 1_048_576,
  });
  t.notOk(Object.hasOwn(schema.properties['db']?.properties ?? {}, 'password'));
  const patterns: [string, string][] = [];
  const collect = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    const { pattern, examples } = node as { pattern?: string; examples?: unknown[] };
    for (const example of examples ?? []) if (pattern && typeof example === 'string') patterns.push([pattern, example]);
    Object.values(node).forEach(collect);
  };
  collect(schema);
  t.ok(patterns.length > 10);
  for (const [pattern, example] of patterns) t.match(example, new RegExp(pattern, 'u'));
});

t.test(
  'secret files: unsafe ones are refused, all at once; missing ones are faults if somebody named them',
  async (t) => {
    const own = (mode: number, uid = 1000, isFile = true) => ({ isFile, mode: 0o100000 | mode, uid });
    const toml = '[tls]\nkey = "/k"\nkey_passphrase_file = "/p"\n[db]\npassword_file = "/d"';
    t.throws(() => load({ file: toml, machine: { ownership: (path) => own(path === '/p' ? 0o600 : 0o644) } }), {
      code: 'UNSAFE_FILE',
      field: 'tls.key',
      message: /^tls\.key: \/k has mode 0644.*chmod 600 it\n  db\.password_file: \/d has mode 0644/,
    });
    t.strictSame(faultsOf({ file: toml, machine: { ownership: (path) => (path === '/d' ? null : own(0o600)) } }), {
      code: 'CONFIG_INVALID',
      field: 'db.password_file',
      faults: ['db.password_file (/srv/chat/my.toml): no such file'],
    });
    t.equal(
      load({ machine: { ownership: () => null } }).values.tls.key,
      '/srv/chat/certs/server.key',
      'a default may be missing',
    );
  },
);

t.test('this machine: real files, real modes', async (t) => {
  // That of somebody who is not root would be in his home, and its path is limited.
  const dir = t.testdir({ 'chat.toml': '[tls]\nkey = "keys/server.key"\n[admin]\nsocket = "/run/admin.sock"\n' });
  mkdirSync(join(dir, 'keys'));
  const key = join(dir, 'keys/server.key');
  writeFileSync(key, 'key', { mode: 0o600 });
  const open = (env: Env = {}) =>
    loadServerConfig({
      configFile: join(dir, 'chat.toml'),
      machine: {
        ...thisMachine({ HOME: dir, ...env }),
        readText: (path) => (path === SYSTEM_FILE ? null : thisMachine().readText(path)),
      },
    });
  t.equal(open().values.tls.key, key);
  for (const mode of [0o640, 0o604, 0o620, 0o602, 0o601]) {
    chmodSync(key, mode);
    t.throws(() => open(), { code: 'UNSAFE_FILE', field: 'tls.key' }, mode.toString(8));
  }
  t.throws(() => open({ CHAT_SERVER__TLS__KEY: join(dir, 'keys') }), {
    code: 'UNSAFE_FILE',
    message: /is not a regular file/,
  });
  t.throws(() => loadServerConfig({ configFile: dir }), {
    code: 'CONFIG_INVALID',
    message: /cannot be read \(EISDIR\)/,
  });
});
