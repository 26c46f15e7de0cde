/**
 * Lines in and out, on a terminal or through pipes. On a terminal, what arrives while somebody types is printed above the line that is
 * being typed, which stays as it is; what is typed while nobody asks is shown with the next question; passwords are not shown. Through a
 * pipe, prompts and the lines read are written out, so that the output reads like a session (passwords are left out). A terminal that
 * cannot move its cursor (TERM=dumb), or shows the input and not the output, edits and shows by itself what is typed.
 */
import { createInterface, clearScreenDown, cursorTo, moveCursor, type Interface } from 'node:readline';
import { Writable } from 'node:stream';
import type { ReadStream, WriteStream } from 'node:tty';
import { ChatError } from '../base/errors.ts';
import { printable } from '../runtime/printable.ts';
import { HiddenLine } from './hidden-line.ts';
import { Keys } from './keys.ts';
import { rowsAbove, wrapped } from './wrapping.ts';

type Waiting = (line: string | null) => void;
/**
 * What readline has and its types leave out: `prevRows` is how many rows it goes up before it writes the line anew, and forgets those of
 * what was pasted; `isCompletionEnabled` is false while more keys have come with this one.
 */
type Editor = Omit<Interface, 'line' | 'cursor'> & {
  line: string;
  cursor: number;
  prevRows?: number;
  readonly isCompletionEnabled?: boolean;
  history?: string[];
};
/** Where no job control is, nothing stops: then it goes on without a signal. */
const STOP_MS = 100;

export interface TerminalOptions {
  /** where questions for passwords go when the output is no terminal */
  readonly errors?: NodeJS.WritableStream;
  /** It can only write on: nothing is taken back there. */
  readonly isDumb?: boolean;
}

export class Terminal {
  /** Somebody is there who can be asked again. */
  readonly isInteractive: boolean;
  /** The line is edited here, and not by the terminal. */
  readonly #isEditing: boolean;
  /** null: the input is none */
  readonly #keyboard: ReadStream | null;
  readonly #input: NodeJS.ReadableStream;
  readonly #out: NodeJS.WritableStream;
  /** where whoever types sees what is asked */
  readonly #shown: NodeJS.WritableStream;
  readonly #mute: MuteStream;
  readonly #rl: Editor;
  readonly #lines: string[] = [];
  readonly #continued = (): void => this.#resume(true);
  #waiting: Waiting | null = null;
  #isEnded = false;
  #isClosed = false;
  /** of the line that is being typed; null: nobody asks */
  #prompt: string | null = null;
  #hidden: { readonly prompt: string; readonly line: HiddenLine } | null = null;
  #isSuspended = false;
  #interrupt: () => void = () => {};
  #keyed: ((line: string) => void) | null = null;

  constructor(
    input: NodeJS.ReadableStream,
    output: NodeJS.WritableStream,
    { errors = output, isDumb = false }: TerminalOptions = {},
  ) {
    this.#input = input;
    this.#keyboard = (input as ReadStream).isTTY === true ? (input as ReadStream) : null;
    const isShown = (output as WriteStream).isTTY === true;
    this.isInteractive = this.#keyboard !== null && isShown;
    this.#isEditing = this.isInteractive && !isDumb;
    this.#out = output;
    this.#shown = this.#keyboard !== null && !isShown && (errors as WriteStream).isTTY === true ? errors : output;
    this.#mute = new MuteStream(output);
    // Keys that belong to a password do not come to readline, which remembers what was typed.
    const keys = new Keys((isRaw) => void this.#keyboard?.setRawMode(isRaw));
    input.on('data', (chunk: Uint8Array) => {
      if (this.#hidden === null) keys.take(chunk);
      else this.#hidden.line.take(chunk);
    });
    const ended = (): void => {
      this.#hidden?.line.end();
      keys.end();
    };
    input.on('end', ended);
    input.on('error', ended); // a terminal that is gone
    this.#rl = createInterface({
      input: keys.stream,
      output: this.#mute,
      terminal: this.#isEditing,
      historySize: this.#isEditing ? 100 : 0,
    }) as Editor;
    this.#rl.on('line', (line) => this.#take(line));
    this.#rl.on('close', () => this.#take(null));
    if (this.#keyboard !== null) process.on('SIGCONT', this.#continued);
    if (this.#isEditing) this.#edit(keys);
  }

  #edit(keys: Keys): void {
    const rl = this.#rl;
    rl.on('SIGINT', () => this.#interrupted());
    rl.on('SIGTSTP', () => this.#suspend());
    keys.prependListener('keypress', () => {
      if (rl.isCompletionEnabled) rl.prevRows = this.#rowsAbove();
    });
    keys.on('keypress', () => {
      if (this.#prompt !== null) this.#keyed?.(rl.line);
    });
    this.#out.on('resize', () => {
      if (this.#prompt === null) return;
      // A terminal breaks its rows anew, and the cursor goes with its character: the line begins as many rows above it as it now takes.
      rl.prevRows = this.#rowsAbove();
      rl.prompt(true);
    });
  }

  /** The answer to a question; null at the end of input. */
  async line(prompt: string): Promise<string | null> {
    if (this.isInteractive) return this.talk(prompt);
    this.#out.write(prompt);
    const line = await this.#next();
    this.#out.write(`${printable(line ?? '')}\n`);
    return line;
  }

  /**
   * The next line of somebody who talks while others do; null at the end of input. Through a pipe the prompt is written with the line,
   * so that what arrives meanwhile has lines of its own.
   */
  async talk(prompt: string): Promise<string | null> {
    if (this.isInteractive) this.#ask(prompt);
    const line = await this.#next();
    if (!this.isInteractive && line !== null) this.#out.write(`${prompt}${printable(line)}\n`);
    return line;
  }

  /** What was typed ahead of the question is shown with it, and the cursor is behind it. */
  #ask(prompt: string): void {
    const [ahead] = this.#lines;
    if (ahead !== undefined) return void this.#out.write(`${prompt}${printable(ahead)}\n`);
    if (this.#isEnded) return;
    this.#prompt = prompt;
    if (!this.#isEditing) return void this.#out.write(prompt);
    this.#mute.isMuted = false;
    this.#rl.setPrompt(prompt);
    this.#rl.prevRows = 0;
    this.#rl.prompt(true);
  }

  /** One line that is not shown; null at the end of input. */
  async secret(prompt: string): Promise<string | null> {
    const isHidden = this.#keyboard !== null && this.#lines.length === 0 && !this.#isEnded;
    const answer = isHidden ? this.#unseen(prompt, this.#keyboard!) : this.#next();
    this.#shown.write(prompt); // now that the terminal shows nothing any more: the answer may come at once
    const line = await answer;
    // readline remembers lines for the arrow keys: a password that was typed ahead is not one of them.
    if (this.#rl.history !== undefined) this.#rl.history = this.#rl.history.filter((each) => each !== line);
    this.#shown.write('\n');
    return line;
  }

  #unseen(prompt: string, keyboard: ReadStream): Promise<string | null> {
    const ahead = this.#isEditing ? this.#rl.line : '';
    if (this.#isEditing) [this.#rl.line, this.#rl.cursor] = ['', 0];
    else keyboard.setRawMode(true);
    return new Promise((resolve) => {
      const typed = (line: string | null): void => {
        this.#unhide();
        if (line === null) this.#isEnded = true;
        resolve(line);
      };
      const line = new HiddenLine(ahead, {
        typed,
        interrupted: () => this.#interrupted(),
        suspended: () => this.#suspend(),
        surplus: (text, key) => this.#rl.write((this.#isEditing ? text : (key.sequence ?? ''))!, key),
      });
      this.#hidden = { prompt, line };
    });
  }

  #unhide(): void {
    if (this.#hidden !== null && !this.#isEditing) this.#keyboard?.setRawMode(false);
    this.#hidden = null;
  }

  /** A line of output, above what is being typed. The caller has made it printable. */
  print(line: string): void {
    const text = wrapped(line, (this.#out as WriteStream).columns);
    const asked = this.#prompt ?? (this.#shown === this.#out ? this.#hidden?.prompt : undefined);
    if (asked === undefined) return void this.#out.write(`${text}\n`);
    if (!this.#isEditing) return void this.#out.write(`\n${text}\n${asked}`);
    const rows = this.#prompt === null ? 0 : this.#rowsAbove(); // a long line wraps: go up to where its prompt began
    moveCursor(this.#out as Writable, 0, -rows);
    cursorTo(this.#out as Writable, 0);
    clearScreenDown(this.#out as Writable);
    this.#out.write(`${text}\n`);
    this.#askAgain();
  }

  /** Those of the question and of what is typed that the cursor has above it. */
  #rowsAbove(): number {
    const { line, cursor } = this.#rl;
    return rowsAbove((this.#prompt ?? '') + line.slice(0, cursor), this.#mute.columns, this.#rl.getCursorPos().rows);
  }

  /** The question and what is typed, from where the cursor is: nothing above it is theirs. */
  #askAgain(): void {
    if (this.#hidden !== null) this.#shown.write(this.#hidden.prompt);
    if (this.#prompt === null) return;
    if (!this.#isEditing) return void this.#out.write(this.#prompt);
    this.#rl.prevRows = 0;
    this.#rl.prompt(true);
  }

  /** Called behind each key with the line as it then is; not while a password is typed, and not through a pipe. */
  onKey(handler: ((line: string) => void) | null): void {
    this.#keyed = handler;
  }

  /** What Ctrl+C does when nothing is typed; otherwise it clears the line. Answers what it did before. */
  onInterrupt(handler: () => void): () => void {
    const before = this.#interrupt;
    this.#interrupt = handler;
    return before;
  }

  /** What is said from now on has a row of its own. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    process.off('SIGCONT', this.#continued);
    if (this.#prompt !== null && this.#isEditing) this.#rl.write(null, { ctrl: true, name: 'e' }); // the last row of what is typed
    if (this.#hidden !== null) this.#shown.write('\n');
    this.#unhide();
    this.#rl.close();
    this.#input.pause();
  }

  #next(): Promise<string | null> {
    const line = this.#lines.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.#isEnded) return Promise.resolve(null);
    return new Promise((resolve) => (this.#waiting = resolve));
  }

  /** Until somebody asks again, what is typed is not shown. */
  #take(line: string | null): void {
    if (line === null) this.#isEnded = true;
    if (line === null && this.#prompt !== null) this.#out.write('\n');
    this.#prompt = null;
    this.#mute.isMuted = true;
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) waiting(line);
    else if (line !== null) this.#lines.push(line);
  }

  #interrupted(): void {
    if (this.#rl.line !== '' && this.#hidden === null) {
      this.#rl.write(null, { ctrl: true, name: 'e' });
      this.#rl.write(null, { ctrl: true, name: 'u' });
      return;
    }
    if (this.#prompt !== null || this.#hidden !== null) this.#shown.write('\n'); // what is said of it has a line of its own
    this.#prompt = null;
    this.#mute.isMuted = true;
    this.#unhide();
    this.#interrupt();
  }

  /** Ctrl+Z stops all that was started with this program as well, which is what the shell waits for. */
  #suspend(): void {
    if (process.platform === 'win32') return;
    this.#keyboard?.setRawMode(false);
    this.#isSuspended = true;
    setTimeout(() => {
      if (this.#isSuspended) this.#resume(false);
    }, STOP_MS);
    process.kill(0, 'SIGTSTP');
  }

  /** @param isElsewhere the cursor is no more where it was */
  #resume(isElsewhere: boolean): void {
    this.#isSuspended = false;
    if (this.#isClosed) return;
    if (this.#isEditing || this.#hidden !== null) {
      this.#keyboard?.setRawMode(false); // whoever had the terminal meanwhile may have left it otherwise than it is known here
      this.#keyboard?.setRawMode(true);
    }
    if (isElsewhere) this.#askAgain();
  }
}

/** Hands readline's output on, or swallows it while nobody asks for a line that is shown. */
class MuteStream extends Writable {
  isMuted = true;
  readonly #out: NodeJS.WritableStream;

  constructor(out: NodeJS.WritableStream) {
    super({ decodeStrings: false });
    this.#out = out;
  }
  get columns(): number {
    return (this.#out as WriteStream).columns ?? 80;
  }
  override _write(chunk: string | Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (!this.isMuted) this.#out.write(chunk);
    done();
  }
}

/** @throws INTERRUPTED at the end of input */
export function needed(line: string | null): string {
  if (line === null) throw new ChatError('INTERRUPTED', 'the input ended');
  return line;
}
