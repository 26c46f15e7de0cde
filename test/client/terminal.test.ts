/** On a pseudo-terminal: what arrives does not destroy the line being typed, passwords are not shown, and the keys do what they do. */
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { resolveSettings } from '../../client/settings.ts';
import { decodeContent } from '../../transcript/content.ts';
import { meaningOf } from '../../transcript/content-meaning.ts';
import { KIND } from '../../transcript/statement.ts';
import { Listener } from './listener.ts';
import { equip } from './side.ts';

const launcher = fileURLToPath(new URL('../../bin/chat-client', import.meta.url));
const python = spawnSync('python3', ['-c', 'import pty']).status === 0;
const skip = python ? false : 'python3 makes the pseudo-terminal, and is not here';
/** Copies between our pipes and a pseudo-terminal of 40 columns; ends with the status of the program. */
const PTY = `
import fcntl, os, pty, select, struct, sys, termios
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 40, 0, 0))
inputs = [0, fd]
while fd in inputs:
    for ready in select.select(inputs, [], [])[0]:
        try: data = os.read(ready, 65536)
        except OSError: data = b''
        if not data: inputs.remove(ready)
        elif ready == 0: os.write(fd, data)
        else: os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;
import { testFolder } from '../support/folder.ts';

class Screen {
  raw = '';
  readonly #child;
  readonly ended: Promise<number | null>;
  #wake: () => void = () => {};

  constructor(t: Test, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#child = spawn('python3', ['-c', PTY, launcher, ...args], {
      env: { ...env, PATH: process.env['PATH'], TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.raw += text;
      this.#wake();
    });
    this.ended = new Promise((resolve) => this.#child.on('exit', resolve));
    t.teardown(() => void this.#child.kill());
  }
  type(keys: string): void {
    this.#child.stdin.write(keys);
  }
  async sees(what: string): Promise<void> {
    while (!this.raw.includes(what)) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
  /** The rows as they stand, after all that was written: cursor keys, carriage returns and erasures obeyed. */
  rows(columns = 40): string[] {
    const rows: string[][] = [[]];
    let row = 0;
    let column = 0;
    for (const [token] of this.raw.matchAll(/\u001b\[(\d*)([A-Za-z])|[^]/gu)) {
      const csi = /^\u001b\[(\d*)([A-Za-z])$/.exec(token);
      const n = Number(csi?.[1] || 1);
      if (csi?.[2] === 'A') row = Math.max(0, row - n);
      else if (csi?.[2] === 'B') row += n;
      else if (csi?.[2] === 'C') column += n;
      else if (csi?.[2] === 'D') column = Math.max(0, column - n);
      else if (csi?.[2] === 'G') column = n - 1;
      else if (csi?.[2] === 'J') {
        rows[row] = (rows[row] ?? []).slice(0, column);
        rows.length = row + 1;
      } else if (csi?.[2] === 'K') rows[row] = (rows[row] ?? []).slice(0, column);
      else if (token === '\r') column = 0;
      else if (token === '\n') row++;
      else if (!csi) {
        if (column === columns) [row, column] = [row + 1, 0];
        (rows[row] ??= [])[column++] = token;
      }
      rows[row] ??= [];
    }
    return Array.from(rows, (cells) => Array.from(cells ?? [], (cell) => cell ?? ' ').join(''));
  }
}

t.test('a conversation on a terminal', { skip }, async (t) => {
  testFolder(t);
  const server = new Listener();
  const address = await server.listen(t);
  const env = { CHAT_CLIENT_HOME: join(t.testdirName, 'home'), CHAT_SERVER: address, ...server.files(t, 'alice') };
  await equip(server, resolveSettings({}, env).folder);
  const screen = new Screen(t, [], env);
  await screen.sees('Register or login? [register]: ');
  screen.type('\r');
  await screen.sees('E-mail');
  screen.type('\r');
  await screen.sees('Username');
  screen.type('\r');
  await screen.sees('Password: ');
  screen.type('s3cret-one\r');
  await screen.sees('Repeat password: ');
  screen.type('s3cret-two\r');
  await screen.sees('once more');
  screen.raw = screen.raw.replace('Password: ', '').replace('Repeat password: ', '');
  await screen.sees('Password: ');
  screen.type('s3cret-one\r');
  await screen.sees('Repeat password: ');
  screen.type('s3cret-one\r');
  await screen.sees('Chat with: ');
  screen.type('bob\r');
  await screen.sees('You: ');
  screen.type('half of a long line that takes two rows');
  await screen.sees('two rows');
  await server.say(server.latest, 'bob', ['hello \u001b[2Jalice']);
  await screen.sees('bob: hello');
  await screen.sees('hello \\u{1b}[2Jalice');
  screen.type(', whole');
  await screen.sees('whole');
  await new Promise((resolve) => setTimeout(resolve, 50));
  const rows = screen.rows();
  const at = rows.findIndex((row) => row.startsWith('bob: hello \\u{1b}[2Jalice'));
  t.ok(at > 0, 'the message has a row of its own');
  t.strictSame(
    rows.slice(at + 1, at + 3),
    ['You: half of a long line that takes two ', 'rows, whole'],
    'the typed line is whole',
  );
  t.equal(rows.filter((row) => row.startsWith('You: half')).length, 1, 'and is there once');

  screen.type('\u0003'); // Ctrl+C clears the line
  screen.type('sent instead\r');
  while (server.written.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const [session] = server.frames('msg_send')[0]!.messages; // of what is written, or of a receipt for what came before it
  t.equal(session!.statement[8], KIND.open, 'the first batch opens the session');
  const opening = await (await server.peer).open(server.written[0]!.messages.at(-1)!);
  t.match(meaningOf(decodeContent(opening.subarray(32))), { text: 'sent instead' });
  screen.type('\u001b[A\u001b[A\u001b[A\u001b[A\u001b[A\u001b[A\u0015'); // the arrow keys bring back lines, not passwords
  screen.type('/quit\r');
  t.equal(await screen.ended, 0);
  t.notMatch(screen.raw, /s3cret/, 'passwords are never shown');
});

t.test('Ctrl+C on an empty line leaves', { skip }, async (t) => {
  testFolder(t);
  const server = new Listener();
  const address = await server.listen(t);
  const env = { CHAT_CLIENT_HOME: join(t.testdirName, 'home'), CHAT_SERVER: address, ...server.files(t, 'alice') };
  const screen = new Screen(t, [], env);
  await screen.sees('Register or login?');
  screen.type('\u0003');
  t.equal(await screen.ended, 130);
  t.ok(screen.rows().includes('chat: interrupted [INTERRUPTED]'), 'what is said of it has a row of its own');
});

t.test('passwd asks for the password, and for the new one until it is typed the same twice', { skip }, async (t) => {
  testFolder(t);
  const server = new Listener();
  const address = await server.listen(t);
  const env = { CHAT_CLIENT_HOME: join(t.testdirName, 'home'), CHAT_SERVER: address, ...server.files(t, 'alice') };
  const typed = async (screen: Screen, ...answers: readonly (readonly [string, string])[]): Promise<void> => {
    for (const [question, answer] of answers) {
      await screen.sees(question);
      screen.raw = '';
      screen.type(`${answer}\r`);
    }
  };
  const first = new Screen(t, ['register'], env);
  await typed(first, ['Password: ', 's3cret one'], ['Repeat password: ', 's3cret one']);
  t.equal(await first.ended, 0);
  let set = 0;
  server.script = (frame, link) => {
    if (frame.type !== 'password_set') return false;
    set++;
    link.send({ type: 'password_ok', id: frame.id, token: 't', token_expires: Date.now() + 60_000 });
    return true;
  };
  const screen = new Screen(t, ['passwd'], env);
  const wrong = ['Repeat new password: ', 's3cret too'] as const;
  await typed(screen, ['Password: ', 's3cret one'], ['New password: ', 's3cret two'], wrong);
  await screen.sees('once more');
  await typed(screen, ['New password: ', 's3cret two'], ['Repeat new password: ', 's3cret two']);
  t.equal(await screen.ended, 0);
  t.match(screen.raw, 'alice has another password');
  t.equal(set, 1);
  t.notMatch(screen.raw, /s3cret/);
});
