/** A program on a pseudo-terminal that python3 makes, and what a person sees there. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

export const launcher = fileURLToPath(new URL('../../bin/chat-client', import.meta.url));
const python = spawnSync('python3', ['-c', 'import pty']).status === 0;
export const skip = python ? false : 'python3 makes the pseudo-terminal, and is not here';
const COLUMNS = 40;
/** A line is written anew in one go. */
const QUIET_MS = 500;
/** Copies between our pipes and a pseudo-terminal, whose width comes through file 3; ends with the status of the program. */
const PTY = `
import fcntl, os, pty, select, struct, sys, termios
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
def size(columns): fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
size(${COLUMNS})
inputs = [0, 3, fd]
while fd in inputs:
    for ready in select.select(inputs, [], [])[0]:
        try: data = os.read(ready, 65536)
        except OSError: data = b''
        if not data: inputs.remove(ready)
        elif ready == 0: os.write(fd, data)
        elif ready == 3: size(int(data))
        else: os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

interface Row {
  readonly cells: string[];
  /** The terminal went on in the next one by itself. */
  isFull: boolean;
}

export class Screen {
  raw = '';
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  /** from where in `raw` on the terminal has which width */
  readonly #widths: { readonly from: number; readonly columns: number }[] = [];
  #wake: () => void = () => {};

  /** @param command with its arguments; left out: the client alone */
  constructor(t: Test, args: readonly string[], env: NodeJS.ProcessEnv, command: readonly string[] = [launcher]) {
    this.#child = spawn('python3', ['-c', PTY, ...command, ...args], {
      env: { PATH: process.env['PATH'], TERM: 'xterm', ...env },
      stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.raw += text;
      this.#wake();
    });
    this.ended = new Promise((resolve) => this.#child.on('exit', resolve));
    t.teardown(() => void this.#child.kill());
  }
  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }
  /** When all is written that was for the width before: it stands in that one here. */
  async resize(columns: number): Promise<void> {
    for (let before = -1; before !== this.raw.length;) {
      before = this.raw.length;
      await sleep(QUIET_MS);
    }
    this.#widths.push({ from: this.raw.length, columns });
    (this.#child.stdio[3] as Writable).write(`${columns}`);
  }
  async sees(what: string): Promise<void> {
    await this.shows(() => this.raw.includes(what));
  }
  /** Resolves when it is so. */
  async shows(isSo: () => boolean): Promise<void> {
    while (!isSo()) await Promise.race([new Promise<void>((resolve) => (this.#wake = resolve)), sleep(100)]);
  }

  /** The rows as they stand, after all that was written: cursor keys, carriage returns and erasures obeyed, and broken anew when the width changes. */
  rows(): string[] {
    let rows: Row[] = [newRow()];
    let [row, column, columns, at] = [0, 0, COLUMNS, 0];
    const changes = [...this.#widths];
    for (const [token] of this.raw.matchAll(/\u001b\[(\d*)([A-Za-z])|[\u{1F1E6}-\u{1F1FF}]{2}|[^]/gu)) {
      for (; changes[0] !== undefined && changes[0].from <= at; changes.shift()) {
        columns = changes[0].columns;
        ({ rows, row, column } = brokenAnew(rows, row, column, columns));
      }
      at += token.length;
      const csi = /^\u001b\[(\d*)([A-Za-z])$/.exec(token);
      const n = Number(csi?.[1] || 1);
      if (csi?.[2] === 'A') row = Math.max(0, row - n);
      else if (csi?.[2] === 'B') row += n;
      else if (csi?.[2] === 'C') column += n;
      else if (csi?.[2] === 'D') column = Math.max(0, column - n);
      else if (csi?.[2] === 'G') column = n - 1;
      else if (csi?.[2] === 'J' || csi?.[2] === 'K') {
        if (csi[2] === 'J') rows.length = row + 1;
        rows[row] = { cells: rows[row]!.cells.slice(0, column), isFull: false };
      } else if (token === '\r') column = 0;
      else if (token === '\n') row++;
      else if (!csi) {
        if (column === columns) {
          rows[row]!.isFull = true;
          [row, column] = [row + 1, 0];
        }
        (rows[row] ??= newRow()).cells[column++] = token;
        if (token.length === 4) rows[row]!.cells[column++] = ''; // a flag takes two cells
      }
      while (rows.length <= row) rows.push(newRow());
    }
    return rows.map(({ cells }) => Array.from(cells, (cell) => cell ?? ' ').join(''));
  }
}

const newRow = (): Row => ({ cells: [], isFull: false });

/** What went on by itself is one line, and goes on where the new width ends; the cursor goes with its character. */
function brokenAnew(rows: readonly Row[], row: number, column: number, columns: number) {
  const anew: Row[] = [];
  let cursor = { row: 0, column: 0 };
  let line: string[] = [];
  for (const [index, { cells, isFull }] of rows.entries()) {
    const place = index === row ? line.length + column : null;
    line.push(...Array.from(cells, (cell) => cell ?? ' '));
    if (place !== null) cursor = { row: anew.length + Math.floor(place / columns), column: place % columns };
    if (isFull) continue;
    for (let at = 0; at === 0 || at < line.length; at += columns)
      anew.push({ cells: line.slice(at, at + columns), isFull: at + columns < line.length });
    line = [];
  }
  return { rows: anew, ...cursor };
}
