/** SHA256SUMS against the files of a bundle, side by side: both are in the same order, so neither is looked up in the other. */
import { view } from '../base/bytes.ts';
import type { Findings } from './finding.ts';

export class SumList {
  readonly #bytes: Buffer;
  readonly #findings: Findings;
  /** Where the line begins that is due, and the next one; both at the end: none is. */
  #at = 0;
  #next = 0;
  #line = '';

  constructor(bytes: Uint8Array, findings: Findings) {
    this.#findings = findings;
    const isWhole = bytes.at(-1) === LINE_FEED;
    this.#bytes = isWhole ? view(bytes) : Buffer.alloc(0);
    const odd = isWhole ? this.#firstOdd() : 1;
    if (odd > 0) findings.add('E_FORMAT', 'SHA256SUMS', `line ${odd} is not a hash, two spaces and a name`);
    this.#go(0);
  }

  /** Called for each file in order. @param digest in hexadecimal */
  check(name: string, digest: string): void {
    for (; this.#at < this.#bytes.length && this.#name < name; this.#go(this.#next)) this.#missing();
    if (this.#name !== name) return this.#findings.add('E_SUMS', name, 'is not listed in SHA256SUMS');
    if (!this.#line.startsWith(`${digest}  `))
      this.#findings.add('E_SUMS', name, 'is not the file that SHA256SUMS lists');
    this.#go(this.#next);
  }

  end(): void {
    for (; this.#at < this.#bytes.length; this.#go(this.#next)) this.#missing();
  }

  #missing(): void {
    this.#findings.add('E_SUMS', this.#name, 'is missing');
  }

  get #name(): string {
    return this.#line.slice(HASH_CHARS, HASH_CHARS + MAX_NAME_CHARS);
  }

  /** To the line that begins there. */
  #go(at: number): void {
    let end = at; // a line is short: looking is quicker than asking
    while (end < this.#bytes.length && this.#bytes[end] !== LINE_FEED) end++;
    this.#at = at;
    this.#next = end + 1;
    this.#line = this.#bytes.toString('latin1', at, end);
  }

  /** Counted from 1; 0: all are a hash, two spaces and a name. */
  #firstOdd(): number {
    let count = 0;
    for (this.#go(0); this.#at < this.#bytes.length; this.#go(this.#next)) {
      count++;
      if (!LINE.test(this.#line)) return count;
    }
    return 0;
  }
}

const LINE_FEED = 0x0a;
/** With the spaces behind it. */
const HASH_CHARS = 66;
const MAX_NAME_CHARS = 100;
const LINE = /^[0-9a-f]{64} {2}[\x21-\x7e]{1,100}$/;
