/** One line that is typed and shown nowhere: read key by key from a terminal that does not echo, and kept by no line editor. */
import type { Key } from 'node:readline';
import { Keys } from './keys.ts';

export interface HiddenLineHost {
  /** The line; null: the input ended instead. */
  typed(line: string | null): void;
  interrupted(): void;
  suspended(): void;
  /** A key behind the end of the line, which came with it. */
  surplus(text: string | undefined, key: Key): void;
}

export class HiddenLine {
  readonly #host: HiddenLineHost;
  readonly #keys = new Keys();
  #text: string;
  #isOver = false;

  /** @param ahead what was typed before anybody asked */
  constructor(ahead: string, host: HiddenLineHost) {
    this.#text = ahead;
    this.#host = host;
    this.#keys.onKey((text, key) => this.#key(text, key));
  }

  take(chunk: Uint8Array): void {
    this.#keys.take(chunk);
  }
  end(): void {
    this.#close(null);
  }

  #key(text: string | undefined, key: Key): void {
    if (this.#isOver) return this.#host.surplus(text, key);
    const { name, ctrl, meta } = key;
    if (name === 'return' || name === 'enter') return this.#close(this.#text);
    if (name === 'backspace' || (ctrl && name === 'h')) this.#text = [...this.#text].slice(0, -1).join('');
    else if (ctrl && (name === 'u' || name === 'w')) this.#text = '';
    else if (ctrl && name === 'c') this.#host.interrupted();
    else if (ctrl && name === 'z') this.#host.suspended();
    else if (ctrl && name === 'd' && this.#text === '') this.#close(null);
    else if (!ctrl && !meta && text !== undefined && !/\p{Cc}/u.test(text)) this.#text += text;
  }

  #close(line: string | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#text = '';
    this.#host.typed(line);
  }
}
