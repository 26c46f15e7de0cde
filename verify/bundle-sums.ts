/** SHA256SUMS against the files of a bundle, side by side: both are in the same order, so neither is looked up in the other. */
import { fromUtf8 } from '../base/bytes.ts';
import type { Findings } from './finding.ts';

export class SumList {
  readonly #lines: readonly string[];
  readonly #findings: Findings;
  #at = 0;

  constructor(bytes: Uint8Array, findings: Findings) {
    this.#findings = findings;
    const lines = fromUtf8(bytes)?.split('\n') ?? [];
    const isWhole = lines.at(-1) === '';
    this.#lines = isWhole ? lines.slice(0, -1) : [];
    const odd = isWhole ? this.#lines.findIndex((line) => !LINE.test(line)) : 0;
    if (odd >= 0) findings.add('E_FORMAT', 'SHA256SUMS', `line ${odd + 1} is not a hash, two spaces and a name`);
  }

  /** Called for each file in order. @param digest in hexadecimal */
  check(name: string, digest: string): void {
    for (; this.#at < this.#lines.length && nameIn(this.#lines[this.#at]!) < name; this.#at++) this.#missing();
    const line = this.#lines[this.#at] ?? '';
    if (nameIn(line) !== name) return this.#findings.add('E_SUMS', name, 'is not listed in SHA256SUMS');
    if (!line.startsWith(`${digest}  `)) this.#findings.add('E_SUMS', name, 'is not the file that SHA256SUMS lists');
    this.#at++;
  }

  end(): void {
    for (; this.#at < this.#lines.length; this.#at++) this.#missing();
  }

  #missing(): void {
    this.#findings.add('E_SUMS', nameIn(this.#lines[this.#at]!), 'is missing');
  }
}

const LINE = /^[0-9a-f]{64} {2}[\x21-\x7e]{1,100}$/;
const nameIn = (line: string): string => line.slice(66, 166);
