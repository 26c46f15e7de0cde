/**
 * No arguments: connect, register or log in, choose whom to talk to, talk. The wording of each step is fixed; programs of the same
 * kind print the same lines.
 */
import { ChatError, type Code } from '../base/errors.ts';
import { equal, utf8 } from '../base/bytes.ts';
import { printable } from '../runtime/printable.ts';
import type { AppEvent } from './app-event.ts';
import type { App } from './app.ts';
import { askPassword, type Context } from './context.ts';
import { MESSAGE_HELP, obeyMessageLine } from './message-lines.ts';
import { obeyPeopleLine, PEOPLE_HELP, standingNote } from './people-lines.ts';
import { shownMessage, shownQuote, shownSaying, statusReply } from './presentation.ts';
import { obeyPresenceLine, PRESENCE_HELP, TypingNotices } from './presence.ts';
import { obeyRoomLine, ROOM_HELP } from './room-lines.ts';
import { needed, type Terminal } from './terminal.ts';
import type { Conversation } from './roster.ts';
import type { Message } from './message-table.ts';

const TRIES = 3;
/** How long leaving waits for what is still on its way. */
const FAREWELL_MS = 5000;
const HELP = [
  '/quit (/exit, /q)   leave',
  '/history [N]        the last messages of this conversation',
  '/status             connection, queue, certificate',
  ...PEOPLE_HELP,
  ...MESSAGE_HELP,
  ...ROOM_HELP,
  ...PRESENCE_HELP,
  '//text              a message that begins with a slash',
];

export async function interactive(context: Context): Promise<void> {
  const { terminal } = context;
  await context.withApp(async (app) => {
    const link = await app.connect();
    terminal.print('Connected to server');
    terminal.print('✔ Server certificate validated');
    terminal.print('DH complete — encrypted channel established.');
    if (context.args.verbose) terminal.print(`Channel ${link.confirmation}, suite ${link.suite}`);
    await enter(context, app, terminal);
    await app.settled(); // from now on others can write to this device, whatever becomes of it
    const conversation = await choosePeer(app, terminal);
    if (conversation !== null) await chat(app, terminal, conversation);
  });
}

async function enter(context: Context, app: App, terminal: Terminal): Promise<void> {
  if (app.vault.profile.account() === null && (await wantsRegistration(terminal)))
    return registerAndLogin(context, app, terminal);
  if (app.canResume) {
    try {
      await app.login(null);
      terminal.print(`Login response: ${statusReply(null)}`);
      return context.remember();
    } catch (error) {
      if (!(error instanceof ChatError) || error.code !== 'NOT_LOGGED_IN') throw error;
    }
  }
  for (let attempt = 1; ; attempt++) {
    // A profile that has an account has it for good: there is nothing to ask.
    const name =
      app.vault.profile.account()?.username ?? (await withDefault(terminal, 'Username', app.identity.username));
    const password = await passwordOf(context, terminal, false);
    try {
      await app.login(password, name);
      terminal.print(`Login response: ${statusReply(null)}`);
      return context.remember();
    } catch (cause) {
      const error = ChatError.from(cause);
      terminal.print(`Login response: ${statusReply(error.code)}`);
      if (error.code !== 'AUTH_FAIL' || attempt === TRIES || !terminal.isInteractive) throw error;
    }
  }
}

async function wantsRegistration(terminal: Terminal): Promise<boolean> {
  const answer = (await terminal.line('Register or login? [register]: ')) ?? '';
  if (/^\s*(r|register)?\s*$/i.test(answer)) return true;
  if (/^\s*(l|login)\s*$/i.test(answer)) return false;
  terminal.print('Invalid Choice');
  throw new ChatError('USAGE', 'want register or login');
}

async function registerAndLogin(context: Context, app: App, terminal: Terminal): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const { identity } = app;
    const email = await withDefault(terminal, 'E-mail', identity.email);
    const username = await withDefault(terminal, 'Username', identity.username);
    const password = await passwordOf(context, terminal, true);
    try {
      await app.register({ username, email }, password);
      terminal.print('✔ Registration request sent (encrypted)');
      terminal.print(`Server response: ${statusReply(null)}`);
      await app.login(password, username);
      terminal.print(`Login response: ${statusReply(null)}`);
      return context.remember();
    } catch (cause) {
      const error = ChatError.from(cause);
      terminal.print(`Server response: ${statusReply(error.code)}`);
      const isInput = error.code === 'USER_EXISTS' || error.code === 'BAD_NAME';
      if (!isInput || attempt === TRIES || !terminal.isInteractive) throw error;
      terminal.print(`${printable(error.message)}: once more.`);
    }
  }
}

/** A password file serves here as well; standard input does not, for the answers come from there. */
const passwordOf = (context: Context, terminal: Terminal, isNew: boolean) =>
  context.settings.passwordFile === undefined ? askPassword(terminal, isNew) : context.password(isNew);

async function withDefault(terminal: Terminal, what: string, fallback: string | undefined): Promise<string> {
  for (;;) {
    const hint = fallback === undefined ? '' : ` [${printable(fallback)}]`;
    const answer = needed(await terminal.line(`${what}${hint}: `)).trim();
    if (answer !== '') return answer;
    if (fallback !== undefined) return fallback;
  }
}

async function choosePeer(app: App, terminal: Terminal): Promise<Conversation | null> {
  for (let attempt = 1; ; attempt++) {
    const last = app.vault.profile.lastPeer();
    const answer = await terminal.line(`Chat with${last === null ? '' : ` [${printable(last)}]`}: `);
    if (answer === null || /^\/(quit|exit|q)$/.test(answer.trim())) return null;
    const name = answer.trim() === '' ? last : answer.trim();
    if (name === null) continue;
    try {
      const conversation = await chosen(app, terminal, name);
      app.vault.profile.setLastPeer(conversation.peer);
      return conversation;
    } catch (cause) {
      const error = ChatError.from(cause);
      const isInput = INPUT.has(error.code) || error.field === 'room';
      if (!isInput || attempt === TRIES || !terminal.isInteractive) throw error;
      terminal.print(`${printable(error.message)} [${error.code}]`);
    }
  }
}

/** A name, or a line such as `/join #room`. */
async function chosen(app: App, terminal: Terminal, answer: string): Promise<Conversation> {
  if (!answer.startsWith('/')) return app.open(answer);
  const move = await obeyRoomLine(app, null, answer, (text) => terminal.print(text));
  if (typeof move === 'object') return move;
  throw new ChatError('BAD_NAME', 'want a name, a #room, or /join or /create with a #room');
}

/** What somebody may have typed wrong. */
const INPUT: ReadonlySet<Code> = new Set<Code>(['NO_SUCH_PEER', 'NO_SUCH_ROOM', 'ROOM_EXISTS', 'BAD_NAME', 'USAGE']);

async function chat(app: App, terminal: Terminal, first: Conversation): Promise<void> {
  terminal.print('Secure channel ready — type your messages.');
  terminal.print('Type /quit to exit.');
  terminal.print(
    '(Every message is signed and recorded. Bodies are end-to-end encrypted: the server cannot read them.)',
  );
  for (let next: Conversation | null = first; next !== null;) {
    const room: Room = new Room(app, terminal, next);
    if (next !== first) terminal.print(`Now with ${printable(next.peer, 64)}.`);
    let move: Conversation | 'elsewhere' | null;
    try {
      move = await room.run();
    } finally {
      room.leave();
    }
    next = move === 'elsewhere' ? await choosePeer(app, terminal) : move;
    if (next !== null) app.vault.profile.setLastPeer(next.peer);
  }
}

/** One conversation on the screen. */
class Room {
  readonly #app: App;
  readonly #terminal: Terminal;
  readonly #conversation: Conversation;
  readonly #peer: string;
  /** own messages of this sitting that are on their way, oldest first */
  readonly #sent: number[] = [];
  readonly #stop: () => void;
  #isPeerOnline: boolean | null = null;
  #peerState: 'away' | 'dnd' | null = null;
  readonly #typists = new Set<string>();
  readonly #typing: TypingNotices;
  #isLost = false;
  #end: (() => void) | null = null;
  #failure: ChatError | null = null;
  #settle: (() => void) | null = null;

  constructor(app: App, terminal: Terminal, conversation: Conversation) {
    this.#app = app;
    this.#terminal = terminal;
    this.#conversation = conversation;
    this.#peer = printable(conversation.peer, 64);
    this.#stop = app.on((event) => this.#take(event));
    this.#typing = new TypingNotices((isOn) => app.typing(conversation.id, isOn));
    terminal.onKey((line) => this.#typing.key(line, Date.now()));
  }

  /** Answers where the talk goes on; null: nowhere. */
  async run(): Promise<Conversation | 'elsewhere' | null> {
    const app = this.#app;
    const note = standingNote(app, this.#conversation.peer);
    if (note !== null) this.#terminal.print(note);
    this.#showNew();
    if (this.#conversation.room === undefined)
      app.watch(this.#conversation.peer).then(
        (isOnline) => (this.#isPeerOnline = isOnline),
        () => {}, // told at the next login
      );
    const ended = new Promise<null>((resolve) => (this.#end = () => resolve(null)));
    this.#terminal.onInterrupt(() => this.#end?.());
    for (;;) {
      const line = await Promise.race([this.#terminal.talk('You: '), ended]);
      if (this.#failure !== null) throw this.#failure;
      if (line === null || /^\/(quit|exit|q)\s*$/.test(line)) break;
      const move = await Promise.race([this.#obey(line), ended]);
      if (this.#failure !== null) throw this.#failure;
      if (move === null) break; // interrupted
      if (move !== undefined) return move;
    }
    await this.#farewell();
    if (this.#failure !== null) throw this.#failure;
    return null;
  }

  leave(): void {
    this.#stop();
    this.#typing.stop();
    this.#terminal.onKey(null);
  }

  async #obey(line: string): Promise<Conversation | 'elsewhere' | undefined> {
    const text = line.trim();
    if (text === '') return undefined;
    if (/^\s+\//.test(line))
      this.#terminal.print('Not sent: a command has no space before the slash; //text sends one.');
    else if (!text.startsWith('/')) this.#say(text);
    else if (text.startsWith('//')) this.#say(text.slice(1));
    else return this.#command(text);
    return undefined;
  }

  async #command(text: string): Promise<Conversation | 'elsewhere' | undefined> {
    const [command, argument] = text.split(/\s+/, 2);
    if (command === '/help') for (const help of HELP) this.#terminal.print(help);
    else if (command === '/history') this.#history(argument);
    else if (command === '/status') this.#status();
    else
      try {
        const row = obeyMessageLine(this.#app, this.#conversation, text, (line) => this.#terminal.print(line));
        if (typeof row === 'number') this.#sent.push(row);
        if (row !== 'unknown') return undefined;
        if (await obeyPeopleLine(this.#app, this.#conversation, text, (line) => this.#terminal.print(line)))
          return undefined;
        if (await obeyPresenceLine(this.#app, text, (line) => this.#terminal.print(line))) return undefined;
        const move = await obeyRoomLine(this.#app, this.#conversation, text, (line) => this.#terminal.print(line));
        if (move === 'unknown') this.#terminal.print(`Unknown command ${printable(command ?? '')}; /help lists them.`);
        else if (move !== 'here') return move;
      } catch (error) {
        this.#complain(error);
      }
    return undefined;
  }

  #say(text: string): void {
    this.#typing.stop();
    try {
      this.#sent.push(this.#app.send(this.#conversation.id, utf8(text)));
      if (this.#isLost) this.#terminal.print('(kept: sent as soon as the connection is back)');
    } catch (cause) {
      const error = ChatError.from(cause);
      this.#terminal.print(`! not sent: ${printable(error.message)} [${error.code}]`);
    }
  }

  #complain(cause: unknown): void {
    const error = ChatError.from(cause);
    this.#terminal.print(`! ${printable(error.message)} [${error.code}]`);
  }

  #history(argument = '20'): void {
    const last = /^[1-9]\d{0,3}$/.test(argument) ? Number(argument) : 20;
    for (const message of this.#app.history(this.#conversation.id, last))
      this.#terminal.print(shownMessage(this.#app.vault.annotations.reading(message), this.#conversation.peer, true));
  }

  #status(): void {
    const { isConnected, pending, undelivered, withheld, certificateDaysLeft, log } = this.#app.status();
    this.#terminal.print(
      `${isConnected ? 'connected' : 'not connected'} | cert ${certificateDaysLeft}d | queue ${pending}, ${undelivered} not delivered${withheld > 0 ? ` (${withheld} perhaps kept back)` : ''} | ` +
        `record ${log?.size ?? 0} entries, proven to ${log?.provenSize ?? 0}`,
    );
  }

  #take(event: AppEvent): void {
    const { print } = { print: (text: string) => this.#terminal.print(text) };
    switch (event.on) {
      case 'message':
        return this.#showNew();
      case 'state':
        return this.#showState(event.message, event.isQueued);
      case 'presence':
        return this.#showPresence(event.username, event.isOnline, event.state);
      case 'typing':
        if (equal(event.conversation, this.#conversation.id)) this.#showTyping(event.username, event.isTyping);
        return;
      case 'lost':
        if (event.willRetry) {
          if (!this.#isLost) print('Connection lost: connecting again …');
          this.#isLost = true;
          return;
        }
        this.#failure = event.error;
        this.#settle?.();
        return this.#end?.();
      case 'connected':
        if (this.#isLost) print('Connected again.');
        this.#isLost = false;
        return;
      case 'waiting':
      case 'group':
      case 'warning': // main prints warnings and alarms, for every command
      case 'alarm':
        return;
    }
  }

  #showNew(): void {
    const { vault } = this.#app;
    const fresh = vault.unshown(null, 1000);
    for (const message of fresh) {
      const isHere = equal(message.conversation, this.#conversation.id);
      const from = printable(message.sender, 64);
      if (isHere) this.#typists.delete(message.sender);
      const { peer, room } = vault.conversation(message.conversation) ?? { peer: message.sender, room: undefined };
      const where = isHere && room === undefined ? '' : `[${printable(peer, 64)}] `;
      this.#terminal.print(`${where}${shownSaying(vault.annotations.reading(message), from)}`);
    }
    if (fresh.length > 0) this.#app.markShown(fresh.map(({ row }) => row));
  }

  #showState(message: Message, isQueued: boolean): void {
    const at = this.#sent.indexOf(message.row);
    if (at < 0) return;
    const which = this.#sent.length > 1 ? ` ${shortened(message)}` : '';
    if (message.state === 'accepted' && isQueued)
      this.#terminal.print(`Server accepted: ✔ (queued, ${this.#whoIsAway} is offline)${which}`);
    if (message.state === 'delivered' || message.state === 'read') this.#terminal.print(`Server delivered: ✔${which}`);
    if (message.state === 'failed')
      this.#terminal.print(
        `! not sent [${printable(message.reason ?? 'failed')}]:${which || ` ${shortened(message)}`}`,
      );
    if (message.state !== 'accepted' || isQueued) this.#sent.splice(at, 1);
    if (this.#sent.length === 0 || this.#app.vault.pending() === 0) this.#settle?.();
  }

  get #whoIsAway(): string {
    return this.#conversation.room === undefined ? this.#peer : 'everybody else';
  }

  #showPresence(username: string, isOnline: boolean, state: 'away' | 'dnd' | null): void {
    if (username !== this.#conversation.peer) return;
    if (isOnline && state !== this.#peerState && (state !== null || this.#isPeerOnline === true))
      this.#terminal.print(
        `${this.#peer} ${state === null ? 'is back' : state === 'away' ? 'is away' : 'does not want to be disturbed'}`,
      );
    this.#peerState = isOnline ? state : null;
    if (this.#isPeerOnline !== isOnline) {
      if (!isOnline) this.#terminal.print('Partner has disconnected');
      else if (this.#isPeerOnline !== null) this.#terminal.print('Partner has connected');
    }
    this.#isPeerOnline = isOnline;
  }

  /** Once, until he has stopped or written. */
  #showTyping(username: string, isTyping: boolean): void {
    if (!isTyping) return void this.#typists.delete(username);
    if (this.#typists.size !== this.#typists.add(username).size)
      this.#terminal.print(`${printable(username, 64)} is typing…`);
  }

  /** Leaving waits a moment for what is on its way; what stays is sent next time. */
  async #farewell(): Promise<void> {
    const { vault } = this.#app;
    const isDone = () => this.#failure !== null || (vault.pending() === 0 && this.#sent.length === 0);
    if (!isDone()) {
      const deadline = setTimeout(() => this.#settle?.(), FAREWELL_MS);
      while (!isDone()) {
        const more = new Promise<boolean>((resolve) => (this.#settle = () => resolve(true)));
        await more;
        if (vault.pending() === 0 || this.#isLost) break;
      }
      clearTimeout(deadline);
    }
    if (vault.pending() > 0) this.#terminal.print(`${vault.pending()} not sent yet: kept for the next time.`);
  }
}

const shortened = (message: Message): string => shownQuote({ ...message, seq: null });
