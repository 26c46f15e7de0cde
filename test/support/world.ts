/**
 * A whole chat-server in this process, as the daemon builds it: SQLite and log in a folder of the test, real TLS on a free port. People
 * are certificates of one authority; their password is hashed once in a process, and later logins are by token.
 */
import { EventEmitter } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { Secret } from '../../base/secret.ts';
import { loginBinding } from '../../protocol/key-schedule.ts';
import { authMessage, clientProof, NONCE_BYTES, saltedPassword, verifierOf } from '../../protocol/scram.ts';
import type { Reply } from '../../protocol/messages.ts';
import { loadServerConfig, thisMachine } from '../../runtime/config.ts';
import { Lifecycle, type Signals } from '../../runtime/lifecycle.ts';
import type { Credentials } from '../../runtime/tls.ts';
import { startServer, type RunningServer } from '../../server/daemon.ts';
import { ca, credentials, dial, memoryLog, serverCertificate } from './pair.ts';
import { GROUP, Lineage, RawClient, type Ask, type ConversationFrame } from './raw-client.ts';
import type { CertOptions, Issued } from './pki.ts';

const SALT = Buffer.alloc(16, 7);
/** The least that is accepted. */
const KDF = { name: 'argon2id', memoryKib: 19_456, passes: 2 } as const;
export const KDF_TEXT = 'argon2id$m=19456,t=2,p=1';
export const PASSWORD = Buffer.from('correct horse battery');
let salted: Promise<Secret> | undefined;
/** Of everybody's password. */
export const saltedOnce = (): Promise<Secret> => (salted ??= saltedPassword(PASSWORD, SALT, KDF));

export interface Person {
  readonly name: string;
  readonly issued: Issued;
  readonly own: Credentials;
  readonly lineage: Lineage;
  token: string | null;
}

export type Setting = string | number | readonly string[] | readonly number[];

export interface World {
  readonly dir: string;
  readonly port: number;
  readonly server: RunningServer;
  readonly lines: ReturnType<typeof memoryLog>['lines'];
  readonly line: ReturnType<typeof memoryLog>['line'];
  /** added to the server's clock, ms */
  aheadMs: number;
  /** A conversation that a raw client asks for has a group in the state GROUP, so that opaque bytes can be said to be sealed in it. */
  hasGroups: boolean;
  /** As a SIGHUP. */
  reload(): Promise<void>;
  /** As a SIGTERM; answers the exit status. */
  stop(): Promise<number>;
  /** Stops, and starts again over the same files. */
  restart(): Promise<void>;
  /** A certificate; no account yet. */
  certificate(name: string, options?: CertOptions): Person;
  /** A certificate with an account. */
  person(name: string, options?: CertOptions): Promise<Person>;
  /** Both handshakes, no login. */
  dial(person: Person): Promise<RawClient>;
  register(client: RawClient, name: string, more?: Partial<Extract<Ask, { type: 'register' }>>): Promise<void>;
  /** Logged in: by token where there is one. */
  login(person: Person): Promise<RawClient>;
}

/** @param monotonicMs clock of the rate limits */
export async function world(
  t: Test,
  settings: Record<string, Setting> = {},
  monotonicMs?: () => number,
): Promise<World> {
  // Short, for the admin socket's path is limited; not t.testdir(), which is long.
  const dir = mkdtempSync(join(tmpdir(), 'chat-world-'));
  const open: RawClient[] = [];
  let aheadMs = 0;
  let [running, stop, reload] = await start(dir, settings, () => aheadMs, monotonicMs);
  const made: World = {
    dir,
    get port() {
      return running.server.listener.endpoints[0]!.port;
    },
    get server() {
      return running.server;
    },
    get lines() {
      return running.lines;
    },
    get line() {
      return running.line;
    },
    get aheadMs() {
      return aheadMs;
    },
    set aheadMs(ms: number) {
      aheadMs = ms;
    },
    reload: () => reload(),
    stop: () => stop(),
    hasGroups: true,
    restart: async () => {
      await stop();
      [running, stop, reload] = await start(dir, settings, () => aheadMs, monotonicMs);
    },
    certificate: (name, options) => {
      const issued = ca.client(name, { key: 'ed25519', ...options });
      const own = credentials(issued);
      const lineage = new Lineage(own.chain[0].fingerprint, own.privateKey, running.server.transcript.origin);
      return { name, issued, own, lineage, token: null };
    },
    person: async (name, options) => {
      const person = made.certificate(name, options);
      const client = await made.dial(person);
      await made.register(client, name);
      await prove(client, person);
      await client.close();
      return person;
    },
    dial: async ({ own }) => {
      const client = new RawClient(await dial(made.port, own, {}));
      client.onConversation = (id) => {
        if (made.hasGroups) beginGroup(join(dir, 'state', 'chat.db'), id);
      };
      open.push(client);
      return client;
    },
    register: async (client, name, more = {}) => {
      const { storedKey, serverKey } = verifierOf(await saltedOnce());
      const account = { username: name, email: `${name}@example.org`, salt: SALT, kdf: KDF_TEXT };
      const keys = { stored_key: storedKey, server_key: serverKey };
      await client.request({ type: 'register', ...account, ...keys, ...more }, 'ok');
    },
    login: async (person) => {
      const client = await made.dial(person);
      if (person.token === null) await prove(client, person);
      else person.token = (await client.request({ type: 'resume', token: person.token }, 'login_ok')).token;
      return client;
    },
  };
  t.teardown(async () => {
    for (const client of open) client.link.close();
    await stop();
    await Promise.all(open.map((client) => client.link.closed));
    rmSync(dir, { recursive: true, force: true });
  });
  return made;
}

/** As after a first commit, which would take a place in the log and in the conversation. */
function beginGroup(path: string, conversation: Uint8Array): void {
  const db = new DatabaseSync(path, { timeout: 10_000 }); // the server writes, too
  try {
    const { generation, epoch } = GROUP;
    db.prepare(
      'INSERT OR IGNORE INTO conversation_groups (conversation_id, generation, epoch, entry) ' +
        'SELECT id, ?, ?, 0 FROM conversations WHERE conversation = ?',
    ).run(generation, epoch, conversation);
  } finally {
    db.close();
  }
}

async function start(
  dir: string,
  settings: Record<string, Setting>,
  aheadMs: () => number,
  monotonicMs: (() => number) | undefined,
) {
  const { log, lines, line } = memoryLog();
  const path = (name: string) => join(dir, name);
  if (mkdirSync(path('certs'), { recursive: true }) !== undefined) {
    writeFileSync(path('certs/ca.crt'), ca.pem);
    writeFileSync(path('certs/server.crt'), serverCertificate.pem);
    writeFileSync(path('certs/server.key'), serverCertificate.keyPem, { mode: 0o600 });
  }
  const all: Record<string, Setting> = {
    listen: ['127.0.0.1:0'],
    state_dir: path('state'),
    'admin.socket': path('admin.sock'),
    'tls.cert': path('certs/server.crt'),
    'tls.key': path('certs/server.key'),
    'tls.ca': [path('certs/ca.crt')],
    'auth.kdf': 'argon2id m=19456,t=2,p=1',
    'handshake.suites': [2],
    'limits.handshakes_per_address_per_s': 10_000,
    'transcript.publish_every': '50ms',
    ...settings,
  };
  const toml = Object.entries(all).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  writeFileSync(path('server.toml'), toml.join(''));
  const config = loadServerConfig({
    configFile: path('server.toml'),
    machine: { ...thisMachine({}), isTerminal: false },
  });
  const signals = Object.assign(new EventEmitter(), { exit: () => {} });
  const lifecycle = new Lifecycle(log, config.values.drainTimeoutMs, signals as Signals);
  let server: RunningServer;
  try {
    server = await startServer(config, {
      version: '0.0.0',
      log,
      lifecycle,
      now: () => Date.now() + aheadMs(),
      ...(monotonicMs && { monotonicMs }),
    });
  } catch (error) {
    await lifecycle.stop('failed');
    throw error;
  }
  return [{ server, lines, line }, () => lifecycle.stop('SIGTERM'), () => lifecycle.reload()] as const;
}

/** By password. @throws what the server refuses it with */
export async function prove(
  client: RawClient,
  person: Person,
  { password = null as Secret | null, checkpoint = undefined as string | undefined } = {},
): Promise<Reply<'login_ok'>> {
  const nonce = randomBytes(NONCE_BYTES);
  const challenge = await client.request({ type: 'login', account: person.name, nonce }, 'login_challenge');
  const message = authMessage({
    username: person.name,
    clientNonce: nonce,
    serverNonce: challenge.nonce,
    salt: challenge.salt,
    kdf: challenge.kdf,
    channelBinding: loginBinding(client.link.exporter),
  });
  const proof = clientProof(password ?? (await saltedOnce()), message);
  const ok = await client.request(
    { type: 'login_proof', proof, ...(checkpoint === undefined ? {} : { checkpoint }) },
    'login_ok',
  );
  person.token = ok.token;
  return ok;
}

export const openConversation = (client: RawClient, peer: string): Promise<ConversationFrame> =>
  client.request({ type: 'conversation_open', peer }, 'conversation');
