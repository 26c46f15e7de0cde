/**
 * Lines in and out, on a terminal or through pipes. On a terminal, what arrives while somebody types is printed above the line that is
 * being typed, which stays as it is; passwords are not shown. Through a pipe, prompts and the lines read are written out, so that the
 * output reads like a session (passwords are left out).
 */
import { createInterface, clearScreenDown, cursorTo, moveCursor, type Interface } from 'node:readline';
import { Writable } from 'node:stream';
import type { ReadStream, WriteStream } from 'node:tty';
import { ChatError } from '../base/errors.ts';
import { printable } from '../runtime/printable.ts';

type Waiting = (line: string | null) => void;
/**
 * What readline has and its types leave out: `prevRows` is how many rows it goes up before it writes the line anew, and forgets those of
 * what was pasted; `isCompletionEnabled` is false while more keys have come with this one.
 */
type Editor = Interface & { prevRows?: number; readonly isCompletionEnabled?: boolean; history?: string[] };

export class Terminal {
  readonly isInteractive: boolean;
  readonly #out: NodeJS.WritableStream;
  readonly #mute: MuteStream;
  readonly #rl: Editor;
  readonly #lines: string[] = [];
  #waiting: Waiting | null = null;
  #isEnded = false;
  #isPrompting = false;
  #interrupt: () => void = () => {};
  #keyed: ((line: string) => void) | null = null;

  constructor(input: NodeJS.ReadableStream, output: NodeJS.WritableStream) {
    this.isInteractive = (input as ReadStream).isTTY === true && (output as WriteStream).isTTY === true;
    this.#out = output;
    this.#mute = new MuteStream(output);
    this.#rl = createInterface({
      input,
      output: this.#mute,
      terminal: this.isInteractive,
      historySize: this.isInteractive ? 100 : 0,
    });
    this.#rl.on('line', (line) => this.#take(line));
    this.#rl.on('close', () => this.#take(null));
    this.#rl.on('SIGINT', () => this.#interrupted());
    if (!this.isInteractive) return;
    input.prependListener('keypress', () => {
      if (this.#rl.isCompletionEnabled) this.#rl.prevRows = this.#rl.getCursorPos().rows;
    });
    input.on('keypress', () => {
      if (this.#isPrompting && !this.#mute.isMuted) this.#keyed?.(this.#rl.line);
    });
    output.on('resize', () => {
      // A terminal breaks its rows anew, and the cursor goes with its character: the line begins as many rows above it as it now takes.
      this.#rl.prevRows = this.#rl.getCursorPos().rows;
      this.#mute.emit('resize');
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
    if (this.isInteractive) {
      this.#isPrompting = true;
      this.#rl.setPrompt(prompt);
      this.#rl.prompt();
    }
    const line = await this.#next();
    this.#isPrompting = false;
    if (!this.isInteractive && line !== null) this.#out.write(`${prompt}${printable(line)}\n`);
    return line;
  }

  /** One line that is not shown; null at the end of input. */
  async secret(prompt: string): Promise<string | null> {
    this.#out.write(prompt);
    if (!this.isInteractive) {
      const line = await this.#next();
      this.#out.write('\n');
      return line;
    }
    this.#rl.setPrompt('');
    this.#mute.isMuted = true;
    try {
      const line = await this.#next();
      // readline remembers lines for the arrow keys: a password is not one of them.
      const { history } = this.#rl;
      if (history !== undefined && history[0] === line) history.shift();
      return line;
    } finally {
      this.#mute.isMuted = false;
      this.#out.write('\n');
    }
  }

  /** A line of output, above what is being typed. The caller has made it printable. */
  print(text: string): void {
    if (!this.#isPrompting) return void this.#out.write(`${text}\n`);
    const { rows } = this.#rl.getCursorPos(); // a long line wraps: go up to where its prompt began
    moveCursor(this.#out as Writable, 0, -rows);
    cursorTo(this.#out as Writable, 0);
    clearScreenDown(this.#out as Writable);
    this.#out.write(`${text}\n`);
    this.#rl.prevRows = 0; // the line begins where the cursor is, and nothing above it is its own
    this.#rl.prompt(true);
  }

  /** Called behind each key with the line as it then is; not while a password is typed, and not through a pipe. */
  onKey(handler: ((line: string) => void) | null): void {
    this.#keyed = handler;
  }

  /** What Ctrl+C does when nothing is typed; otherwise it clears the line. */
  onInterrupt(handler: () => void): void {
    this.#interrupt = handler;
  }

  close(): void {
    this.#rl.close();
  }

  #next(): Promise<string | null> {
    const line = this.#lines.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.#isEnded) return Promise.resolve(null);
    return new Promise((resolve) => (this.#waiting = resolve));
  }

  #take(line: string | null): void {
    if (line === null) this.#isEnded = true;
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) waiting(line);
    else if (line !== null) this.#lines.push(line);
  }

  #interrupted(): void {
    if (this.#rl.line !== '' && !this.#mute.isMuted) {
      this.#rl.write(null, { ctrl: true, name: 'e' });
      this.#rl.write(null, { ctrl: true, name: 'u' });
      return;
    }
    this.#out.write('\n'); // what is said of it has a line of its own
    this.#interrupt();
  }
}

/** Hands readline's output on, or swallows it while a password is typed. */
class MuteStream extends Writable {
  isMuted = false;
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
