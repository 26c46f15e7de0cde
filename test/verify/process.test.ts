/** `chat-verify` as a process: what it needs of the machine, and what it writes to a terminal. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { pemOf } from '../support/log-writer.ts';
import { plain } from './bundle-edits.ts';
import { ca } from './tamper.ts';

t.setTimeout(300_000); // a busy machine is no failure

const main = fileURLToPath(new URL('../../verify/main.ts', import.meta.url));
const root = t.testdir({ ca: pemOf(ca.der), empty: {} });
const path = (name: string) => join(root, name);
writeFileSync(path('bundle.tar'), plain);
const command = [process.execPath, main, path('bundle.tar'), '--ca', path('ca')] as const;

function run(argv: readonly string[], options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {}) {
  const { status, stdout, stderr } = spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8', ...options });
  return { status, stdout, stderr };
}
const usual = run(command);

t.test('no environment, no home, no network', async (t) => {
  t.match(usual, { status: 0, stdout: /\nVALID .*\n$/, stderr: '' });
  const apart = ['unshare', '--user', '--map-root-user', '--net'];
  const hasNamespaces = run([...apart, 'true']).status === 0;
  if (!hasNamespaces) t.comment('no network namespaces here: it is not shown that it asks nobody');
  const alone = { env: { HOME: '/nonexistent' }, cwd: path('empty') };
  t.same(run([...(hasNamespaces ? apart : []), ...command], alone), usual, 'the same verdict, in the same words');
  t.same(readdirSync(path('empty')), [], 'and nothing is written');
});

t.test('whoever does not take what is said of it makes no verdict better', async (t) => {
  const programs = {
    'chat-verify': [main],
    'chat-server transcript verify': [join(main, '../../server/main.ts'), 'transcript', 'verify'],
    'chat-client transcript verify': [join(main, '../../client/main.ts'), 'transcript', 'verify'],
  };
  const altered = Buffer.from(plain);
  altered[altered.length >> 1]! ^= 1;
  writeFileSync(path('altered.tar'), altered);
  const env = { ...process.env, CHAT_CLIENT_HOME: path('home') };
  const hasFull = existsSync('/dev/full');
  for (const [name, words] of Object.entries(programs)) {
    const into = (bundle: string, redirection: string) => {
      const argv = [process.execPath, ...words, path(bundle), '--ca', path('ca')];
      const { stderr } = run(['sh', '-c', `{ "$@"; echo "status $?" >&2; } ${redirection}`, 'sh', ...argv], { env });
      return stderr;
    };
    t.equal(into('altered.tar', '| true'), 'status 10\n', `${name}, altered, and the reader has gone`);
    if (!hasFull) continue;
    t.match(into('bundle.tar', '> /dev/full'), /standard output.*\nstatus 3\n$/, `${name}, valid, on a full disk`);
    t.match(into('altered.tar', '> /dev/full'), /standard output.*\nstatus 10\n$/, `${name}, altered, on a full disk`);
  }
});

t.test('from a pipe that somebody has set to wait for nobody', async (t) => {
  // Whoever had the pipe before has left it so: here a program of Node that was killed while it looked at its input.
  const look = 'process.stdin.on("readable", () => {}); setImmediate(() => process.kill(process.pid, "SIGKILL"))';
  const script = `"$1" -e '${look}' 2>/dev/null; exec "$@"`;
  const argv = [process.execPath, main, '-', '--ca', path('ca'), '-q'];
  const child = spawn('sh', ['-c', script, 'sh', ...argv], { stdio: ['pipe', 'pipe', 'inherit'] });
  const said = child.stdout.toArray();
  child.stdin.on('error', () => {}); // it has gone, and says why
  await sleep(300);
  child.stdin.write(plain.subarray(0, 5000));
  await sleep(1500);
  child.stdin.end(plain.subarray(5000));
  const [status] = await once(child, 'close');
  t.match(Buffer.concat(await said).toString(), /^VALID /);
  t.equal(status, 0, 'it is waited for what comes later');
});

const hasScript = /util-linux/.test(run(['script', '--version']).stdout ?? '');
t.test('at a terminal', { skip: hasScript ? false : 'script of util-linux makes the pseudo-terminal' }, async (t) => {
  const typed = (more: string) => {
    const line = command.map((word) => `'${word}'`).join(' ');
    return run(['script', '--quiet', '--return', '--command', `${line} ${more}`, '/dev/null']);
  };
  const [out, clear] = [path('out'), '\r\u001b[K'];
  const bar = typed(`>'${out}'`);
  t.equal(bar.status, 0);
  t.match(bar.stdout, /^\r\[#*\.*\] +\d+ %, \d+ of 17 checked/, 'how far it is');
  t.match(bar.stdout, '100 %, 17 of 17 checked');
  t.ok(bar.stdout.endsWith(clear), 'of which nothing is left');
  t.equal(readFileSync(out, 'utf8'), usual.stdout, 'on standard error alone');
  const both = typed('').stdout;
  const end = both.lastIndexOf(clear) + clear.length;
  t.equal(both.slice(end).replaceAll('\r\n', '\n'), usual.stdout, 'before the first line');
  const file = path('err');
  t.equal(typed(`2>'${file}'`).stdout.replaceAll('\r\n', '\n'), usual.stdout);
  t.equal(readFileSync(file, 'utf8'), '', 'nobody watches a file');
});
