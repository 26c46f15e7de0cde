/**
 * The servers that are measured, each a process of its own, and what the kernel says of them. Everything they keep lies in one temporary
 * folder on a real disk (CHAT_BENCH_DIR, default the system's), which is removed at the end.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askAdmin } from '../server/admin.ts';
import type { Sample } from './report.ts';
import type { Authority } from '../test/support/pki.ts';

export const root = fileURLToPath(new URL('..', import.meta.url));
/** Of /proc: USER_HZ is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const START_MS = 30_000;

const children = new Set<ChildProcess>();
const folders = new Set<string>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));

/** A folder that is gone when this process is. @param below where; default: CHAT_BENCH_DIR, or the system's place for such */
export function temporaryFolder(below = process.env['CHAT_BENCH_DIR'] ?? tmpdir()): string {
  const folder = mkdtempSync(join(below, 'chat-bench-'));
  folders.add(folder);
  return folder;
}

export class ServerProcess {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  /** @param command file and arguments */
  constructor(port: number, command: readonly [string, ...string[]], logFile: string, env: NodeJS.ProcessEnv = {}) {
    const log = openSync(logFile, 'a', 0o600);
    const [file, ...args] = command;
    this.port = port;
    const cwd = dirname(logFile); // what a process leaves when it crashes goes with its folder
    this.#child = spawn(file, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', log, log] });
    children.add(this.#child);
    this.#ended = new Promise((resolve) => this.#child.once('exit', resolve));
  }

  /** Starts one, and resolves when something listens on its port. */
  static async serving(
    port: number,
    command: readonly [string, ...string[]],
    logFile: string,
    env: NodeJS.ProcessEnv = {},
  ): Promise<ServerProcess> {
    const server = new ServerProcess(port, command, logFile, env);
    await ready(server, logFile, () => reached(port));
    return server;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }
  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
  get cpuSeconds(): number {
    return cpuSecondsOf(this.pid);
  }
  get rssBytes(): number {
    return 1024 * Number(/^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'latin1'))?.[1]);
  }
  /** As an operator stops it; resolves when it has ended. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#ended;
    children.delete(this.#child);
  }
}

/** User and system time of all threads of a process, to 10 ms. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // proc(5): the third field comes first
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Certificate and key of a server for 127.0.0.1, and the authority of its clients, as files in `folder`. */
export function writeCertificates(folder: string, authority: Authority): void {
  const server = authority.server();
  writeFileSync(join(folder, 'ca.crt'), authority.pem);
  writeFileSync(join(folder, 'server.crt'), server.pem);
  writeFileSync(join(folder, 'server.key'), server.keyPem, { mode: 0o600 });
}

export interface ServerOptions {
  /** before the program, such as `--cpu-prof` */
  readonly nodeOptions?: readonly string[];
  /** more settings, or others */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** folder of everything that is kept; default: one in `folder` */
  readonly state?: string;
}

/** The real program with its own settings, but for limits that one machine with many clients would meet at once. Certificates must be in `folder`. */
export async function startChatServer(
  folder: string,
  { nodeOptions = [], settings = {}, state = join(folder, 'state') }: ServerOptions = {},
): Promise<ServerProcess> {
  const port = await freePort();
  const socket = join(folder, 'admin.sock');
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const all: Record<string, unknown> = {
    listen: [`127.0.0.1:${port}`],
    state_dir: state,
    'admin.socket': socket,
    'tls.cert': join(folder, 'server.crt'),
    'tls.key': join(folder, 'server.key'),
    'tls.ca': [join(folder, 'ca.crt')],
    'auth.token_ttl': '24h',
    'limits.connections': 1_000_000,
    'limits.connections_per_address': 1_000_000,
    'limits.handshakes_per_address_per_s': 1_000_000,
    'limits.messages_per_min': 100_000_000,
    'limits.room_deliveries_per_min': 100_000_000,
    'limits.queue_mb_per_user': 1000,
    ...settings,
  };
  const config = join(folder, 'chat-server.toml');
  const lines = Object.entries(all).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  writeFileSync(config, lines.join(''), { mode: 0o600 });
  const log = join(folder, 'server.log');
  const program = join(root, 'bin/chat-server');
  if ('db.url' in settings) execFileSync(process.execPath, [program, 'db', 'init', '-c', config], { stdio: 'ignore' });
  const server = new ServerProcess(port, [process.execPath, ...nodeOptions, program, 'run', '-c', config], log);
  await ready(server, log, () => askAdmin(socket, 'status'));
  return server;
}

/** The bare relay of floor.ts. Certificates must be in `folder`. */
export async function startFloor(folder: string): Promise<ServerProcess> {
  const port = await freePort();
  const log = join(folder, 'floor.log');
  const server = new ServerProcess(port, [process.execPath, join(root, 'bench/floor.ts'), String(port), folder], log);
  await ready(server, log, async () => {
    if (!readFileSync(log, 'utf8').includes('listening')) throw new Error('not yet');
  });
  return server;
}

/** A script of ours that prints a sample as JSON, in a process of its own. */
export function runScript(file: string, ...args: readonly (string | number)[]): Sample {
  const words = ['--expose-gc', join(root, file), ...args.map(String)];
  return JSON.parse(
    execFileSync(process.execPath, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
  ) as Sample;
}

async function ready(server: ServerProcess, log: string, ask: () => Promise<unknown>): Promise<void> {
  for (const until = Date.now() + START_MS; Date.now() < until && !server.hasEnded; await sleep(20))
    try {
      await ask();
      return;
    } catch {
      // it is still starting
    }
  throw new Error(`a server did not start:\n${readFileSync(log, 'utf8').slice(-2000)}`);
}

function reached(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
  });
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
