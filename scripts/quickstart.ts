/**
 * Five minutes in one command: a demo CA, a server on the embedded database, alice and bob, messages both ways through the real
 * programs, the transcript verified. Everything is kept in data/quickstart and used again by the next run.
 *   --exit   stop the server at the end; exit status 0 only if every step held
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askAdmin } from '../server/admin.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'data/quickstart');
const certs = join(folder, 'certs');
const state = join(folder, 'server');
const clients = join(folder, 'clients');
const people = ['alice', 'bob'] as const;
type Person = (typeof people)[number];
const STEP_MS = 30_000;
const SUITABLE_PORT = 6000;

interface Status {
  readonly pid: number;
  readonly listen: readonly string[];
  readonly log_size: number;
  readonly published_size: number;
}

const isExit = process.argv.includes('--exit');
if (process.argv.includes('--help') || process.argv.includes('-h')) {
  console.log(
    'usage: npm run quickstart [-- --exit]\n  --exit  stop the server at the end; exit status 0 only if every step held',
  );
  process.exit(0);
}
const unknown = process.argv.slice(2).filter((arg) => arg !== '--exit');
if (unknown.length > 0) {
  console.error(`quickstart: unknown argument ${unknown[0]}; --exit is the only one`);
  process.exit(2);
}

function step(text: string): void {
  console.log(`\n== ${text}`);
}

function makeCertificates(): void {
  step('certificates of a demo authority');
  const missing = ['ca.crt', 'ca.crl', 'server.crt', ...people.map((name) => `${name}.crt`)].filter(
    (name) => !existsSync(join(certs, name)),
  );
  if (missing.length === 0) return console.log(`kept those in ${shown(certs)}`);
  const made = spawnSync(
    'sh',
    [join(root, 'scripts/gen-certs.sh'), '--out', certs, '--client', people.join(','), '--crl', '--force'],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  if (made.status !== 0) throw new Error('the certificates could not be made');
}

async function startServer(): Promise<Status> {
  step('chat-server');
  const socket = join(state, 'admin.sock');
  const running = await askServer(socket);
  if (running) {
    console.log(`Server running on ${running.listen.join(', ')} (since an earlier run, process ${running.pid})`);
    return running;
  }
  const port = await freePort(SUITABLE_PORT);
  const config = join(folder, 'chat-server.toml');
  const settings: [key: string, value: unknown][] = [
    ['listen', [`127.0.0.1:${port}`]],
    ['state_dir', state],
    ['admin.socket', socket],
    ['tls.cert', join(certs, 'server.crt')],
    ['tls.key', join(certs, 'server.key')],
    ['tls.ca', [join(certs, 'ca.crt')]],
    ['tls.crl', [join(certs, 'ca.crl')]],
    ['transcript.settle', '1s'], // who could know more than this folder are its own two people
  ];
  writeFileSync(config, settings.map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join(''), {
    mode: 0o600,
  });
  const log = openSync(join(folder, 'server.log'), 'a', 0o600);
  const child = spawn(join(root, 'bin/chat-server'), ['run', '-c', config, '--log-format', 'text'], {
    detached: true,
    stdio: ['ignore', 'ignore', log],
  });
  child.unref();
  const failed = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('exit', (code) =>
      reject(new Error(`the server ended with status ${code}: ${lastLine(join(folder, 'server.log'))}`)),
    );
  });
  const status = await Promise.race([failed, answerOf(socket)]);
  child.removeAllListeners();
  console.log(`Server running on ${status.listen.join(', ')}`);
  if (port !== SUITABLE_PORT) console.log(`(port ${SUITABLE_PORT} is taken on this machine)`);
  return status;
}

async function answerOf(socket: string): Promise<Status> {
  for (const until = Date.now() + STEP_MS; Date.now() < until; await sleep(50)) {
    const status = await askServer(socket);
    if (status) return status;
  }
  throw new Error('the server does not answer');
}

async function askServer(socket: string): Promise<Status | null> {
  try {
    return (await askAdmin(socket, 'status')) as Status;
  } catch {
    return null;
  }
}

function configureClients(address: string): void {
  const lines = [`server = ${JSON.stringify(address)}`, `ca_file = ${JSON.stringify(join(certs, 'ca.crt'))}`];
  for (const person of people) {
    const password = join(folder, `${person}.password`);
    if (!existsSync(password)) writeFileSync(password, `${randomBytes(12).toString('base64url')}\n`, { mode: 0o600 });
    lines.push(
      `[profiles.${person}]`,
      `cert_file = ${JSON.stringify(join(certs, `${person}.crt`))}`,
      `key_file = ${JSON.stringify(join(certs, `${person}.key`))}`,
      `password_file = ${JSON.stringify(password)}`,
    );
  }
  writeFileSync(join(clients, 'config.toml'), `${lines.join('\n')}\n`, { mode: 0o600 });
}

/** Registers a person the first time; later a login makes a fresh token, for that of an earlier run may have expired. */
async function enrol(person: Person): Promise<void> {
  const client = (...args: string[]) =>
    spawnSync(join(root, 'bin/chat-client'), ['-P', person, ...args], { env: environment(), encoding: 'utf8' });
  const { account } = JSON.parse(client('whoami', '--json').stdout || '{}') as { account?: unknown };
  step(`${person} ${account ? 'logs in' : 'registers and logs in'}`);
  if (account) {
    const { status, stdout, stderr } = client('login', '--no-input');
    process.stdout.write(stdout + stderr);
    if (status !== 0) throw new Error(`${person} cannot log in`);
    return;
  }
  const session = new Session(person);
  session.type('register', '', '');
  await session.sees(/Login response: \{'status': 'ok'\}/);
  await session.leave();
}

async function talk(): Promise<void> {
  step('alice and bob talk');
  const [alice, bob] = people.map((person) => new Session(person)) as [Session, Session];
  alice.type('bob');
  bob.type('alice');
  await Promise.all([alice, bob].map((session) => session.sees(/Type \/quit to exit\./)));
  const stamp = randomBytes(4).toString('hex');
  await exchange(alice, bob, `Hello Bob, can you read this? (${stamp}-1)`);
  await exchange(bob, alice, `Loud and clear, Alice. (${stamp}-2)`);
  await exchange(alice, bob, `Then we have a record. (${stamp}-3)`);
  await Promise.all([alice.leave(), bob.leave()]);
}

async function exchange(from: Session, to: Session, text: string): Promise<void> {
  from.type(text);
  await Promise.all([from.sees(/Server delivered: ✔/), to.sees(new RegExp(text.replaceAll(/[.?()]/g, '\\$&')))]);
}

async function verify(): Promise<void> {
  step('the transcript, checked by chat-verify with nothing but the CA certificate');
  const socket = join(state, 'admin.sock');
  const want = (await askServer(socket))?.log_size ?? 0;
  for (const until = Date.now() + STEP_MS; ((await askServer(socket))?.published_size ?? 0) < want; await sleep(50))
    if (Date.now() > until) throw new Error('the server does not publish its transcript');
  const args = [join(state, 'transcript'), '--ca', join(certs, 'ca.crt'), '--crl', join(certs, 'ca.crl')];
  const checked = spawnSync(join(root, 'bin/chat-verify'), args, { encoding: 'utf8' });
  process.stdout.write(checked.stdout + checked.stderr);
  if (checked.status !== 0) throw new Error(`chat-verify ended with status ${checked.status}`);
}

function explain(address: string, pid: number): void {
  const command = (person: Person): string => `CHAT_CLIENT_HOME=${shown(clients)} bin/chat-client -P ${person}`;
  console.log(`
The server goes on running on ${address}. Open a chat in two terminals, from ${root}:

  ${command('alice')}
  ${command('bob')}

Check the transcript again at any time:

  bin/chat-verify ${shown(join(state, 'transcript'))} --ca ${shown(join(certs, 'ca.crt'))} --crl ${shown(join(certs, 'ca.crl'))}

Stop the server: kill ${pid}`);
}

async function stopServer(pid: number): Promise<void> {
  process.kill(pid, 'SIGTERM');
  for (const until = Date.now() + STEP_MS; Date.now() < until; await sleep(50)) {
    try {
      process.kill(pid, 0);
    } catch {
      return console.log('server stopped');
    }
  }
  console.error('quickstart: the server does not stop');
  process.exitCode = 1;
}

/** One person at the real client, driven through its standard input. */
class Session {
  readonly #child: ChildProcess;
  readonly #person: Person;
  #heard = '';
  #wake: () => void = () => {};
  #ended: number | null = null;

  constructor(person: Person) {
    this.#person = person;
    this.#child = spawn(join(root, 'bin/chat-client'), ['-P', person], {
      env: environment(),
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let line = '';
    const hear = (chunk: string): void => {
      this.#heard += chunk;
      line += chunk;
      const lines = line.split('\n');
      line = lines.pop() ?? '';
      for (const each of lines) console.log(`${person.padEnd(6)}│ ${each}`);
      this.#wake();
    };
    this.#child.stdout?.setEncoding('utf8').on('data', hear);
    this.#child.stderr?.setEncoding('utf8').on('data', hear);
    this.#child.on('exit', (code) => {
      this.#ended = code ?? 1;
      this.#wake();
    });
  }

  type(...lines: string[]): void {
    for (const line of lines) this.#child.stdin?.write(`${line}\n`);
  }

  /** Waits until the program has printed this since the last call. */
  async sees(what: RegExp): Promise<void> {
    const timeout = AbortSignal.timeout(STEP_MS);
    for (;;) {
      const found = what.exec(this.#heard);
      if (found) {
        this.#heard = this.#heard.slice(found.index + found[0].length);
        return;
      }
      if (this.#ended !== null) throw new Error(`${this.#person}'s client ended with status ${this.#ended}`);
      if (timeout.aborted) {
        this.#child.kill();
        throw new Error(`${this.#person}'s client did not print ${what.source}`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 200).unref();
      });
    }
  }

  async leave(): Promise<void> {
    this.type('/quit');
    this.#child.stdin?.end();
    for (const until = Date.now() + STEP_MS; this.#ended === null && Date.now() < until;) await sleep(20);
    if (this.#ended !== 0) throw new Error(`${this.#person}'s client ended with status ${this.#ended}`);
  }
}

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, CHAT_CLIENT_HOME: clients };
}

function shown(path: string): string {
  return relative(root, path);
}

function lastLine(path: string): string {
  return readFileSync(path, 'utf8').trimEnd().split('\n').at(-1) ?? '';
}

/** The wanted port, or one that is free when somebody else has it. */
function freePort(wanted: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', () => (wanted === 0 ? reject(new Error('no free port')) : resolve(freePort(0))));
    probe.listen(wanted, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

let server: Status | null = null;
try {
  process.umask(0o077);
  for (const dir of [folder, certs, state, clients]) mkdirSync(dir, { recursive: true, mode: 0o700 });
  makeCertificates();
  server = await startServer();
  const address = server.listen[0] ?? '';
  configureClients(address);
  for (const person of people) await enrol(person);
  await talk();
  await verify();
  console.log('\n✔ Everything held.');
  if (!isExit) explain(address, server.pid);
} catch (error) {
  console.error(`\nquickstart: ${(error as Error).message}`);
  console.error(`the server's log is ${shown(join(folder, 'server.log'))}`);
  process.exitCode = 1;
} finally {
  if (isExit && server) await stopServer(server.pid);
}
