/**
 * The servers that are measured, each a process of its own, and what the kernel says of them. Everything they keep lies in one temporary
 * folder on a real disk (CHAT_BENCH_DIR, default the system's), which is removed at the end.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askAdmin } from '../server/admin.ts';
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

/** A folder that is gone when this process is. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(process.env['CHAT_BENCH_DIR'] ?? tmpdir(), 'chat-bench-'));
  folders.add(folder);
  return folder;
}

export class ServerProcess {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  /** @param args of Node: options, file, arguments */
  constructor(port: number, args: readonly string[], logFile: string, env: NodeJS.ProcessEnv = {}) {
    const log = openSync(logFile, 'a', 0o600);
    this.port = port;
    this.#child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', log, log] });
    children.add(this.#child);
    this.#ended = new Promise((resolve) => this.#child.once('exit', resolve));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }
  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
  /** User and system time of all its threads, to 10 ms. */
  get cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // proc(5): the third field comes first
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
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

/** Certificate and key of a server for 127.0.0.1, and the authority of its clients, as files in `folder`. */
export function writeCertificates(folder: string, authority: Authority): void {
  const server = authority.server();
  writeFileSync(join(folder, 'ca.crt'), authority.pem);
  writeFileSync(join(folder, 'server.crt'), server.pem);
  writeFileSync(join(folder, 'server.key'), server.keyPem, { mode: 0o600 });
}

/**
 * The real program with its own settings, but for limits that one machine with many clients would meet at once. Certificates must be in `folder`.
 * @param nodeOptions before the program, such as `--cpu-prof`
 */
export async function startChatServer(folder: string, nodeOptions: readonly string[] = []): Promise<ServerProcess> {
  const port = await freePort();
  const state = join(folder, 'state');
  const socket = join(folder, 'admin.sock');
  mkdirSync(state, { mode: 0o700 });
  const settings: Record<string, unknown> = {
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
    'limits.queue_mb_per_user': 1000,
  };
  const config = join(folder, 'chat-server.toml');
  const lines = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  writeFileSync(config, lines.join(''), { mode: 0o600 });
  const log = join(folder, 'server.log');
  const server = new ServerProcess(port, [...nodeOptions, join(root, 'bin/chat-server'), 'run', '-c', config], log);
  await ready(server, log, () => askAdmin(socket, 'status'));
  return server;
}

/** The bare relay of floor.ts. Certificates must be in `folder`. */
export async function startFloor(folder: string): Promise<ServerProcess> {
  const port = await freePort();
  const log = join(folder, 'floor.log');
  const server = new ServerProcess(port, [join(root, 'bench/floor.ts'), String(port), folder], log);
  await ready(server, log, async () => {
    if (!readFileSync(log, 'utf8').includes('listening')) throw new Error('not yet');
  });
  return server;
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

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
