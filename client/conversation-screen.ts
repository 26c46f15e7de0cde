/** One conversation on the screen: what is typed there, and what happens meanwhile. */
import { equal, utf8 } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { printable } from '../runtime/printable.ts';
import type { AppEvent } from './app-event.ts';
import type { App } from './app.ts';
import { MESSAGE_HELP, obeyMessageLine } from './message-lines.ts';
import type { Message } from './message-table.ts';
import { obeyPeopleLine, PEOPLE_HELP, standingNote } from './people-lines.ts';
import { obeyPresenceLine, PRESENCE_HELP, TypingNotices } from './presence.ts';
import { shownMessage, shownSaying, shownWords } from './presentation.ts';
import { obeyRoomLine, ROOM_HELP } from './room-lines.ts';
import type { Conversation } from './roster.ts';
import type { Terminal } from './terminal.ts';

/** How long leaving waits for what is still on its way. */
const FAREWELL_MS = 5000;
/** Messages that are looked at and marked together. */
const PAGE = 500;
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

export class ConversationScreen {
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
    const interrupt = this.#terminal.onInterrupt(() => this.#end?.());
    try {
      for (;;) {
        const line = await Promise.race([this.#terminal.talk('You: '), ended]);
        if (this.#failure !== null) throw this.#failure;
        if (line === null || /^\/(quit|exit|q)(\s|$)/.test(line)) break;
        const move = await Promise.race([this.#obey(line), ended]);
        if (this.#failure !== null) throw this.#failure;
        if (move === null) break; // interrupted
        if (move !== undefined) return move;
      }
    } finally {
      this.#terminal.onInterrupt(interrupt); // who leaves waits no longer than he wants
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
    if (!/^[1-9]\d{0,3}$/.test(argument))
      return this.#complain(new ChatError('USAGE', '/history wants a number of 1 to 9999, or nothing'));
    for (const message of this.#app.history(this.#conversation.id, Number(argument)))
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
    for (let fresh = vault.unshown(null, PAGE); fresh.length > 0; fresh = vault.unshown(null, PAGE)) {
      for (const message of fresh) this.#showMessage(message);
      this.#app.markShown(fresh.map(({ row }) => row));
    }
  }

  #showMessage(message: Message): void {
    const { vault } = this.#app;
    const isHere = equal(message.conversation, this.#conversation.id);
    const from = printable(message.sender, 64);
    if (isHere) this.#typists.delete(message.sender);
    const { peer, room } = vault.conversation(message.conversation) ?? { peer: message.sender, room: undefined };
    const where = isHere && room === undefined ? '' : `[${printable(peer, 64)}] `;
    this.#terminal.print(`${where}${shownSaying(vault.annotations.reading(message), from)}`);
  }

  #showState(message: Message, isQueued: boolean): void {
    const at = this.#sent.indexOf(message.row);
    if (at < 0) return;
    const which = this.#sent.length > 1 ? ` ${shownWords(message)}` : '';
    if (message.state === 'accepted' && isQueued)
      this.#terminal.print(`Server accepted: ✔ (queued, ${this.#whoIsAway} is offline)${which}`);
    if (message.state === 'delivered' || message.state === 'read') this.#terminal.print(`Server delivered: ✔${which}`);
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
    let isLate = false;
    const deadline = setTimeout(() => {
      isLate = true;
      this.#settle?.();
    }, FAREWELL_MS);
    while (!isDone() && !isLate) {
      await new Promise<void>((resolve) => (this.#settle = resolve));
      if (vault.pending() === 0 || this.#isLost) break;
    }
    clearTimeout(deadline);
    if (vault.pending() > 0) this.#terminal.print(`${vault.pending()} not sent yet: kept for the next time.`);
  }
}
