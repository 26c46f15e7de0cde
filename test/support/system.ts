/**
 * The whole system as an operator and its users have it: real `chat-server`, `chat-client` and `chat-verify` processes with files of
 * their own, on a port of the loopback, certificates from scripts/gen-certs.sh. Everything is awaited by what the programs say (log
 * lines, output, exits); whatever still runs when the test ends is killed.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { askAdmin } from '../../server/admin.ts';
import { testFolder } from './folder.ts';
import { atEnd } from './at-end.ts';
import { freePort } from './free-port.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
/** Longest wait for anything at all, above a client's longest pause between two attempts: only a test that has failed already meets it. */
export const PATIENCE_MS = 75_000;
export const PEOPLE = ['alice', 'bob', 'carol'] as const;
export type Name = (typeof PEOPLE)[number];

export interface LogLine {
  readonly event: string;
  readonly level: string;
  readonly [field: string]: unknown;
}
export interface SystemOptions {
  /** folder of the system; default: the test's own */
  readonly dir?: string;
  /** folder of all profiles; default: one in `dir` */
  readonly clients?: string;
  /** more settings of the server, or others */
  readonly settings?: Readonly<Record<string, unknown>>;
}
export interface RunOptions {
  /** module that the process loads before the program */
  readonly preload?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** the limit of `ulimit -f` and the like, as words of sh before the program */
  readonly shell?: string;
}
export interface Verdict {
  readonly exit: number;
  readonly verdict: string;
  readonly checked: { readonly messages: number; readonly size: number } | null;
  readonly text: string;
}

/** One folder for this process, outside of what a test looks at. */
const shared = once(() => {
  const folder = mkdtempSync(join(tmpdir(), 'chat-system-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
});
/** Made once in this process: ca.crt, server.crt, NAME.crt and their keys. */
export const certificates = once(() => {
  const folder = join(shared(), 'certificates');
  const args = ['--out', folder, '--client', PEOPLE.join(','), '--key', 'ec256', '--crl'];
  execFileSync('sh', [join(root, 'scripts/gen-certs.sh'), ...args], { stdio: 'ignore' });
  return folder;
});
/** The programs start twice as fast when they find themselves compiled; who is killed leaves nothing, so that all have one place. */
const compiled = process.env['NODE_COMPILE_CACHE'] ?? join(root, 'node_modules/.cache/compile');

const children = new Set<ChildProcess>();
atEnd(() => children.forEach((child) => child.kill('SIGKILL')));

/** One process, and what it has said. */
export class Program {
  readonly child: ChildProcess;
  /** resolves with status or signal */
  readonly ended: Promise<number | NodeJS.Signals>;
  out = '';
  err = '';
  readonly #watchers = new Set<() => void>();
  #end: number | NodeJS.Signals | null = null;

  /** @param args of Node, or of the other interpreter: options, file, arguments */
  constructor(
    t: Test,
    args: readonly string[],
    env: Readonly<Record<string, string | undefined>>,
    shell?: string,
    interpreter = process.execPath,
  ) {
    const [file, words] =
      shell === undefined ? [interpreter, args] : ['sh', ['-c', `${shell}; exec "$@"`, 'sh', interpreter, ...args]];
    const all = { ...process.env, NODE_COMPILE_CACHE: compiled, ...env };
    this.child = spawn(file, words, { env: all, stdio: ['pipe', 'pipe', 'pipe'] });
    children.add(this.child);
    t.teardown(() => this.kill());
    this.child.stdin?.on('error', () => {}); // it may be killed while it is written to
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#hear('out', text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#hear('err', text));
    this.ended = new Promise((resolve) => {
      this.child.once('error', () => this.#ended(1, resolve));
      this.child.once('close', (code, signal) => this.#ended(code ?? signal ?? 1, resolve));
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }
  get hasEnded(): boolean {
    return this.#end !== null;
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }
  async terminate(): Promise<number | NodeJS.Signals> {
    this.child.kill('SIGTERM');
    return this.ended;
  }
  /** Standard input, to its end. */
  type(text: string): void {
    this.child.stdin?.end(text);
  }

  /** Resolves with what `find` answers, as soon as that is not null; rejects when the process ends before or says nothing like it. */
  async until<T>(what: string, find: () => T | null): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const look = (): void => {
      const found = find();
      if (found !== null) resolve(found);
      else if (this.#end !== null) reject(new Error(`ended with ${this.#end} before ${what}: ${this.tail}`));
    };
    const timer = setTimeout(() => reject(new Error(`never came to ${what}: ${this.tail}`)), PATIENCE_MS);
    this.#watchers.add(look);
    try {
      look();
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#watchers.delete(look);
    }
  }

  get tail(): string {
    return (this.out.slice(-1000) + this.err.slice(-2000)).trim();
  }

  #hear(stream: 'out' | 'err', text: string): void {
    this[stream] += text;
    for (const look of this.#watchers) look();
  }
  #ended(end: number | NodeJS.Signals, resolve: (end: number | NodeJS.Signals) => void): void {
    this.#end = end;
    children.delete(this.child);
    resolve(end);
    for (const look of this.#watchers) look();
  }
}

/** A server with its state, and the files of the people who use it. */
export class System {
  readonly dir: string;
  readonly state: string;
  readonly clients: string;
  readonly transcript: string;
  readonly port: number;
  readonly #t: Test;
  readonly #config: string;
  readonly #socket: string;
  readonly #lines: LogLine[] = [];
  #server: Program | null = null;
  #parsedChars = 0;

  private constructor(t: Test, dir: string, port: number, { settings = {}, clients }: SystemOptions) {
    this.#t = t;
    this.dir = dir;
    this.port = port;
    this.state = join(dir, 'server');
    this.clients = clients ?? join(dir, 'clients');
    this.transcript = String(settings['transcript.dir'] ?? join(this.state, 'transcript'));
    this.#socket = join(shared(), `${port}.sock`); // its path must be short
    this.#config = join(dir, 'chat-server.toml');
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
    mkdirSync(this.clients, { recursive: true, mode: 0o700 });
    const certs = certificates();
    const all: Record<string, unknown> = {
      listen: [`127.0.0.1:${port}`],
      state_dir: this.state,
      'admin.socket': this.#socket,
      'tls.cert': join(certs, 'server.crt'),
      'tls.key': join(certs, 'server.key'),
      'tls.ca': [join(certs, 'ca.crt')],
      'tls.crl': [join(certs, 'ca.crl')],
      'limits.messages_per_min': 100_000_000,
      'transcript.publish_every': '50ms',
      'log.level': 'debug',
      'log.format': 'json',
      ...settings,
    };
    const text = Object.entries(all).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
    writeFileSync(this.#config, text.join(''), { mode: 0o600 });
  }

  /** Nothing is started yet. */
  static async create(t: Test, options: SystemOptions = {}): Promise<System> {
    return new System(t, options.dir ?? testFolder(t), await freePort(), options);
  }

  get server(): Program {
    if (this.#server === null) throw new Error('the server was not started');
    return this.#server;
  }
  /** Of all servers that were started. */
  get lines(): readonly LogLine[] {
    this.#parse();
    return this.#lines;
  }

  /** Resolves when it serves. */
  async start(options: RunOptions = {}): Promise<void> {
    const server = this.launch(options);
    await server.until('admin.listening', () => (this.#saysSince(0, 'admin.listening') ? true : null));
  }
  /** Without waiting for anything. */
  launch({ preload, env = {}, shell }: RunOptions = {}): Program {
    this.#parse();
    this.#parsedChars = 0;
    const args = [join(root, 'bin/chat-server'), 'run', '-c', this.#config];
    this.#server = new Program(this.#t, [...preloading(preload), ...args], env, shell);
    return this.#server;
  }
  /** Another command of `chat-server`; answers its output. @throws when it fails */
  async command(...words: readonly string[]): Promise<string> {
    const program = this.commanded(...words);
    if ((await program.ended) !== 0) throw new Error(`chat-server ${words.join(' ')}: ${program.tail}`);
    return program.out;
  }
  /** The same as a process, which may be typed to. */
  commanded(...words: readonly string[]): Program {
    return new Program(this.#t, [join(root, 'bin/chat-server'), ...words, '-c', this.#config], {});
  }
  /** Waits for a line of the running server, now or earlier. @param from first index in `lines` that counts */
  line(event: string, from: number, fits: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    return this.server.until(event, () => this.lines.slice(from).find((l) => l.event === event && fits(l)) ?? null);
  }
  async kill(): Promise<void> {
    await this.server.kill();
  }
  /** As an operator stops it: everything is published. */
  stop(): Promise<number | NodeJS.Signals> {
    return this.server.terminate();
  }
  async status(): Promise<{
    readonly log_size: number;
    readonly published_size: number;
    readonly connections: number;
  }> {
    return (await askAdmin(this.#socket, 'status')) as Awaited<ReturnType<System['status']>>;
  }

  clientFolder(name: Name): string {
    return join(this.clients, name);
  }
  clientEnv(name: Name, port = this.port): Record<string, string> {
    const certs = certificates();
    return {
      CHAT_CLIENT_HOME: this.clients,
      CHAT_PROFILE: name,
      CHAT_SERVER: `127.0.0.1:${port}`,
      CHAT_CA_FILE: join(certs, 'ca.crt'),
      CHAT_CERT_FILE: join(certs, `${name}.crt`),
      CHAT_KEY_FILE: join(certs, `${name}.key`),
    };
  }
  /** A script of ours, with somebody's profile. */
  script(name: Name, path: string, { preload, env = {} }: RunOptions = {}): Program {
    return new Program(this.#t, [...preloading(preload), path], { ...this.clientEnv(name), ...env });
  }
  /** A real `chat-client` of somebody. */
  client(name: Name, args: readonly string[], { preload, env = {}, shell }: RunOptions = {}): Program {
    const words = [...preloading(preload), join(root, 'bin/chat-client'), ...args];
    return new Program(this.#t, words, { ...this.clientEnv(name), ...env }, shell);
  }

  /** chat-verify over the published transcript. @param known notes of checkpoints that clients hold */
  async verify(known: readonly string[]): Promise<Verdict> {
    const certs = certificates();
    const args = [join(root, 'bin/chat-verify'), this.transcript, '--json'];
    args.push('--ca', join(certs, 'ca.crt'), '--crl', join(certs, 'ca.crl'));
    for (const [i, note] of known.entries()) {
      const file = join(this.dir, `known-${i}`);
      writeFileSync(file, note);
      args.push('--known', file);
    }
    const program = new Program(this.#t, args, {});
    const exit = Number(await program.ended);
    const { verdict, checked } = JSON.parse(program.out || '{}') as Omit<Verdict, 'exit'>;
    return { exit, verdict, checked, text: program.tail };
  }

  #saysSince(from: number, event: string): boolean {
    return this.server.err.slice(from).includes(`"event":"${event}"`);
  }
  #parse(): void {
    const text = this.#server?.err ?? '';
    const end = text.lastIndexOf('\n') + 1;
    for (const line of text.slice(this.#parsedChars, end).split('\n')) {
      if (line.startsWith('{')) this.#lines.push(JSON.parse(line) as LogLine);
      else if (line !== '') this.#lines.push({ event: 'text', level: 'error', text: line });
    }
    this.#parsedChars = Math.max(this.#parsedChars, end);
  }
}

function once<T>(make: () => T): () => T {
  let made: T | null = null;
  return () => (made ??= make());
}
const preloading = (preload: string | undefined): string[] => (preload === undefined ? [] : ['--import', preload]);

/** Numbers in [0, 1) that are the same in every run, unless FUZZ is set; the seed is in the report. */
export function random(t: Test, seed: number): () => number {
  let state = process.env['FUZZ'] ? Math.floor(Math.random() * 2 ** 32) : seed;
  t.comment(`seed ${state}`);
  return () => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * An empty file system of its own, of that size. Null where this process may not mount: then the report says so, or the test has failed,
 * where CHAT_REQUIRE lists `mount`.
 */
export function smallDisk(t: Test, megabytes: number): string | null {
  const path = mkdtempSync(join(tmpdir(), 'chat-small-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=700`, 'tmpfs', path], { stdio: 'ignore' });
  } catch {
    rmSync(path, { recursive: true });
    if ((process.env['CHAT_REQUIRE'] ?? '').split(',').includes('mount')) t.fail('a small file system is required');
    else t.pass('cannot mount here', { skip: 'no permission to mount a small file system' });
    return null;
  }
  const unmount = (): void => {
    forget();
    execFileSync('umount', ['-l', path], { stdio: 'ignore' });
    rmSync(path, { recursive: true });
  };
  const forget = atEnd(unmount);
  t.teardown(unmount);
  return path;
}
