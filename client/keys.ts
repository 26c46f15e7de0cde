/** What is typed, on its way to whoever reads it now: nothing waits in between, so that each key goes where it belonged when it came. */
import { EventEmitter } from 'node:events';
import { emitKeypressEvents, type Key } from 'node:readline';

export class Keys extends EventEmitter {
  readonly #setRawMode: (isRaw: boolean) => void;

  constructor(setRawMode: (isRaw: boolean) => void = () => {}) {
    super();
    this.#setRawMode = setRawMode;
  }
  /** As an input of readline, which asks for no more than there is here. */
  get stream(): NodeJS.ReadableStream {
    return this as unknown as NodeJS.ReadableStream;
  }
  take(chunk: Uint8Array): void {
    this.emit('data', chunk);
  }
  end(): void {
    this.emit('end');
  }
  onKey(handler: (text: string | undefined, key: Key) => void): void {
    emitKeypressEvents(this.stream);
    this.on('keypress', handler);
  }

  setRawMode(isRaw: boolean): void {
    this.#setRawMode(isRaw);
  }
  /** Whoever does not read now has it read by somebody else. */
  pause(): this {
    return this;
  }
  resume(): this {
    return this;
  }
}
