/** What a command gets from main: settings, streams, and an app that is opened for it and closed behind it. */
import type { Readable } from 'node:stream';
import type { Secret } from '../base/secret.ts';
import { ChatError } from '../base/errors.ts';
import { printable, printableJson } from '../runtime/printable.ts';
import { App } from './app.ts';
import type { Dial } from './connection.ts';
import { parseDuration } from './durations.ts';
import { expiryWarning, loadIdentity, type ClientIdentity } from './identity.ts';
import { formatAddress, remember, resolveSettings, type Settings } from './settings.ts';
import type { Notice } from './notice-table.ts';
import { written } from './output.ts';
import { Passwords } from './passwords.ts';
import { Terminal } from './terminal.ts';
import { isWrapped, keyPath, unwrappedKey } from './vault-key.ts';
import { Vault } from './vault.ts';

export interface Streams {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream;
}

/** Flags that every command has, as yargs names them. */
export interface GlobalArgs {
  readonly profile?: string | undefined;
  readonly config?: string | undefined;
  readonly server?: string | undefined;
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly p12?: string | undefined;
  readonly 'key-passphrase-file'?: string | undefined;
  readonly 'password-file'?: string | undefined;
  readonly 'password-stdin'?: boolean | undefined;
  readonly 'passphrase-file'?: string | undefined;
  readonly json?: boolean | undefined;
  readonly 'no-input'?: boolean | undefined;
  readonly timeout?: string | undefined;
  readonly quiet?: boolean | undefined;
  readonly verbose?: number | undefined;
}

export const DEFAULT_TIMEOUT_MS = 30_000;
/** A body from standard input is refused before it fills the memory. */
const MAX_STDIN_BYTES = 8 * 1024 * 1024;

export class Context {
  readonly settings: Settings;
  readonly args: GlobalArgs;
  readonly timeoutMs: number;
  readonly streams: Streams;
  readonly passwords: Passwords;
  readonly #dial: (settings: Settings, identity: ClientIdentity) => Dial;
  readonly #isDumb: boolean;
  #terminal: Terminal | null = null;
  #app: App | null = null;

  /** @throws CONFIG_INVALID, USAGE */
  constructor(
    args: GlobalArgs,
    env: NodeJS.ProcessEnv,
    streams: Streams,
    dial: (settings: Settings, identity: ClientIdentity) => Dial,
  ) {
    this.args = args;
    this.timeoutMs = args.timeout === undefined ? DEFAULT_TIMEOUT_MS : parseDuration(args.timeout, '--timeout');
    this.streams = streams;
    this.#dial = dial;
    this.#isDumb = env['TERM'] === 'dumb';
    const flags = {
      profile: args.profile,
      config: args.config,
      server: args.server,
      ca_file: args.ca,
      cert_file: args.cert,
      key_file: args.key,
      p12_file: args.p12,
      key_passphrase_file: args['key-passphrase-file'],
      password_file: args['password-file'],
      vault_passphrase_file: args['passphrase-file'],
    };
    const given = Object.entries(flags).filter(([, value]) => value !== undefined);
    this.settings = resolveSettings(Object.fromEntries(given), env);
    this.passwords = new Passwords({
      files: this.settings,
      stdin: streams.stdin,
      isInput: args['password-stdin'] === true,
      terminal: () => (this.mayAsk ? this.terminal : null),
    });
  }

  /** A line of the result. The caller has made it printable. */
  out(line: string): void {
    if (!this.args.quiet) this.streams.stdout.write(`${line}\n`);
  }
  /** One object of NDJSON, which may be read on a terminal. */
  json(type: string, fields: Readonly<Record<string, unknown>>): void {
    this.streams.stdout.write(`${printableJson(JSON.stringify({ v: 1, type, ...fields }))}\n`);
  }
  /** Something to know that is not the result. */
  note(line: string): void {
    if (this.args.quiet) return;
    const text = `chat: ${printable(line)}`;
    if (this.#terminal?.isInteractive)
      this.#terminal.print(text); // not into the line that is being typed
    else this.streams.stderr.write(`${text}\n`);
  }

  /** For questions and conversation. A terminal that is read key by key sends no signals: Ctrl+C is handed to main from here. */
  get terminal(): Terminal {
    if (this.#terminal === null) {
      const { stdin, stdout, stderr } = this.streams;
      this.#terminal = new Terminal(stdin, stdout, { errors: stderr, isDumb: this.#isDumb });
      this.#terminal.onInterrupt(() => void process.emit('SIGINT'));
    }
    return this.#terminal;
  }
  /** Whatever is said from now on has a row of its own. */
  leaveTerminal(): void {
    this.#terminal?.close();
  }
  get mayAsk(): boolean {
    const { stdin } = this.streams;
    if (this.args['no-input'] || this.args['password-stdin'] || stdin.isTTY !== true) return false;
    // Nobody answers behind the end of what he typed; the terminal may hold answers that came before it.
    return this.#terminal !== null || (stdin as Partial<Readable>).readableEnded !== true;
  }

  /** The records of the profile, without a connection. @param passphrase that is known already; it stays the caller's */
  async withVault<T>(work: (vault: Vault) => T | Promise<T>, passphrase?: Secret): Promise<T> {
    const vault = await this.#openVault(passphrase);
    try {
      await this.#tellAll(vault);
      return await work(vault);
    } finally {
      vault.close();
    }
  }

  /** The same, of a profile that there is: a name that was mistyped makes no other one. @throws NOT_FOUND */
  async withRecords<T>(work: (vault: Vault) => T | Promise<T>): Promise<T> {
    const { folder, profile } = this.settings;
    if (!Vault.isIn(folder))
      throw new ChatError('NOT_FOUND', `there is no profile ${profile} here: register or login makes it`);
    return this.withVault(work);
  }

  /** Certificate checked, profile locked, nothing dialled yet. */
  async withApp<T>(work: (app: App) => Promise<T>): Promise<T> {
    const identity = await loadIdentity(this.settings, Date.now(), (file) => this.passwords.keyPassphrase(file));
    const warning = expiryWarning(identity.notAfter, Date.now());
    if (warning !== null) this.note(warning);
    const vault = await this.#openVault();
    try {
      await this.#tellAll(vault);
      const server = formatAddress(this.settings.host, this.settings.port);
      this.#app = new App({ vault, identity, server, dial: this.#dial(this.settings, identity) });
      this.#report(this.#app);
      return await work(this.#app);
    } finally {
      await this.#app?.close();
      vault.close();
    }
  }

  /** The same, connected and logged in. */
  withLogin<T>(work: (app: App) => Promise<T>): Promise<T> {
    return this.withApp(async (app) => {
      const link = await app.connect();
      if (this.args.verbose) this.note(`connected, suite ${link.suite}, channel ${link.confirmation}`);
      await this.login(app);
      const result = await work(app);
      await app.settled();
      return result;
    });
  }

  /** By token, else by a password that is asked for. What worked is remembered for the next command. */
  async login(app: App, account?: string): Promise<void> {
    const hasPassword = this.args['password-stdin'] === true || this.settings.passwordFile !== undefined;
    if (app.canResume && account === undefined && !hasPassword) {
      try {
        await app.login(null);
        return this.remember();
      } catch (error) {
        if (!(error instanceof ChatError) || error.code !== 'NOT_LOGGED_IN') throw error;
      }
    }
    await app.login(await this.passwords.password(false), account);
    this.remember();
  }
  remember(): void {
    remember(this.settings);
  }

  async stdin(maxBytes = MAX_STDIN_BYTES): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of this.streams.stdin) {
      chunks.push(Buffer.from(chunk));
      bytes += chunk.length;
      if (bytes > maxBytes) throw new ChatError('TOO_LARGE', `standard input has more than ${maxBytes} bytes`);
    }
    return Buffer.concat(chunks);
  }

  /** Ends what runs, in order. */
  async close(): Promise<void> {
    this.leaveTerminal();
    await this.#app?.close();
  }

  /** What is kept until it is told; a program that is to be quiet leaves it to the next one, and so does one whose output nobody takes. */
  async #tell({ notices }: Vault, { row, at, text }: Notice): Promise<void> {
    if (this.args.quiet) return;
    if (this.args.json) this.json('notice', { at: new Date(at).toISOString(), text });
    else this.note(text);
    const { stdout, stderr } = this.streams;
    try {
      await written(this.args.json || this.#terminal?.isInteractive ? stdout : stderr);
      notices.told(row);
    } catch {
      // told once more
    }
  }
  async #tellAll(vault: Vault): Promise<void> {
    for (const notice of vault.notices.untold()) await this.#tell(vault, notice);
  }

  #report(app: App): void {
    app.on((event) => {
      if (event.on === 'warning' && event.notice !== undefined) void this.#tell(app.vault, event.notice);
      else if (event.on === 'warning') this.note(event.text);
      else if (event.on === 'alarm')
        this.note(`ALARM: ${event.error.message} [${event.error.code}]; the evidence is kept`);
      else if (this.args.verbose && event.on === 'lost') this.note(`${event.error.message} [${event.error.code}]`);
      else if (this.args.verbose && event.on === 'waiting')
        this.note(`connecting again in ${(event.ms / 1000).toFixed(1)} s`);
    });
  }

  async #openVault(known?: Secret): Promise<Vault> {
    const { folder } = this.settings;
    const path = keyPath(folder);
    if (!isWrapped(path)) return Vault.open(folder);
    const passphrase = known ?? (await this.passwords.passphrase());
    try {
      return Vault.open(folder, await unwrappedKey(path, passphrase));
    } finally {
      if (known === undefined) passphrase.wipe();
    }
  }
}
