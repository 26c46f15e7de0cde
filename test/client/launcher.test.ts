/** bin/: any Node starts them; one that is too old finds a newer one beside it, or says so and stops. */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync, chmodSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { testFolder } from '../support/folder.ts';

const bin = fileURLToPath(new URL('../../bin', import.meta.url));

/** A copy of bin/ beside a program that says how it was started. */
function installed(t: Test, program: string, folder = 'client', name = 'main.ts'): string {
  const root = testFolder(t);
  cpSync(bin, join(root, 'bin'), { recursive: true });
  mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  writeFileSync(join(root, folder, name), program);
  return root;
}
/** An executable that says that it is Node 12: the launcher's own check, and a real Node behind it. */
function old(t: Test): string {
  const path = join(t.testdirName, 'old-node.cjs');
  writeFileSync(path, "Object.defineProperty(process.versions, 'node', { value: '12.22.0' });");
  return `--require=${path}`;
}
const REPORT = 'console.log(JSON.stringify(process.argv.slice(1))); process.exitCode = 7;';

t.test('on a Node that is new enough, in this process', (t) => {
  const root = installed(t, `${REPORT} console.error(process.ppid);`);
  const run = spawnSync(process.execPath, [join(root, 'bin/chat-client'), 'a b', '--c'], { encoding: 'utf8' });
  t.strictSame([run.status, JSON.parse(run.stdout)], [7, [join(root, 'client/main.ts'), 'a b', '--c']]);
  t.equal(run.stderr, `${process.pid}\n`, 'no process in between');
  t.end();
});

t.test('what was built comes before the sources', (t) => {
  const root = installed(t, 'console.log("source");');
  mkdirSync(join(root, 'dist/client'), { recursive: true });
  writeFileSync(join(root, 'dist/client/main.js'), 'console.log("built");');
  t.equal(spawnSync(process.execPath, [join(root, 'bin/chat-client')], { encoding: 'utf8' }).stdout, 'built\n');
  t.end();
});

t.test('on an old Node, with the newer one beside it: arguments, streams and status are kept', (t) => {
  const root = installed(t, `${REPORT} process.stdin.pipe(process.stdout);`);
  mkdirSync(join(root, 'node_modules/node/bin'), { recursive: true });
  symlinkSync(process.execPath, join(root, 'node_modules/node/bin/node'));
  const args = [old(t), join(root, 'bin/chat-client'), 'x', ''];
  const run = spawnSync(process.execPath, args, { encoding: 'utf8', input: 'through' });
  t.equal(run.status, 7);
  t.equal(run.stdout, `${JSON.stringify([join(root, 'client/main.ts'), 'x', ''])}\nthrough`);
  t.end();
});

t.test('signals reach it, and its death by one is ours', async (t) => {
  const program =
    "process.on('SIGTERM', () => { console.log('told'); process.removeAllListeners('SIGTERM'); process.kill(process.pid, 'SIGTERM'); }); setInterval(() => {}, 1000); console.log('ready');";
  const root = installed(t, program);
  mkdirSync(join(root, 'node_modules/.bin'), { recursive: true });
  symlinkSync(process.execPath, join(root, 'node_modules/.bin/node'));
  // A test runner puts handlers of its own into every Node that it starts: `env` takes them out again.
  const command = ['-u', 'NODE_OPTIONS', process.execPath, old(t), join(root, 'bin/chat-client')];
  const child = spawn('env', command, { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    if (out === 'ready\n') child.kill('SIGTERM');
  });
  const signal = await new Promise((resolve) => child.on('exit', (_, s) => resolve(s)));
  t.strictSame([out, signal], ['ready\ntold\n', 'SIGTERM']);
});

t.test('on an old Node alone: one clear sentence, status 2', (t) => {
  const root = installed(t, REPORT, 'verify');
  const run = spawnSync(process.execPath, [old(t), join(root, 'bin/chat-verify')], { encoding: 'utf8' });
  t.strictSame(
    [run.status, run.stdout, run.stderr],
    [2, '', 'chat-verify: needs Node.js 24 or later, and this is 12.22.0\n'],
  );
  t.end();
});

t.test('started through a link, as npm installs it; and incomplete', (t) => {
  const root = installed(t, REPORT, 'server');
  const link = join(root, 'linked');
  symlinkSync(join(root, 'bin/chat-server'), link);
  chmodSync(join(root, 'bin/chat-server'), 0o755);
  t.equal(spawnSync(process.execPath, [link], { encoding: 'utf8' }).status, 7);
  t.match(spawnSync(process.execPath, [join(root, 'bin/chat-verify')], { encoding: 'utf8' }), {
    status: 2,
    stderr: /program is missing/,
  });
  t.end();
});

t.test('compiled code is kept beside the packages, by whoever owns these', (t) => {
  const root = installed(t, REPORT, 'server');
  const cache = join(root, 'node_modules/.cache/compile');
  const { NODE_COMPILE_CACHE: _, ...env } = process.env;
  const start = (more: NodeJS.ProcessEnv = {}) =>
    spawnSync(process.execPath, [join(root, 'bin/chat-server')], { encoding: 'utf8', env: { ...env, ...more } }).status;
  t.equal(start(), 7, 'no packages, and nothing is made');
  t.notOk(existsSync(join(root, 'node_modules')));
  mkdirSync(join(root, 'node_modules'));
  t.equal(start({ NODE_COMPILE_CACHE: join(root, 'elsewhere') }), 7);
  t.notOk(existsSync(cache), 'somebody has said where');
  t.equal(start(), 7);
  t.ok(existsSync(cache));
  t.equal(start(), 7);
  t.end();
});

t.test('plain old JavaScript', (t) => {
  for (const file of ['launch.cjs', 'chat-client', 'chat-server', 'chat-verify']) {
    const text = spawnSync('cat', [join(bin, file)], { encoding: 'utf8' }).stdout;
    t.notMatch(
      text.replace(/\/\/.*$/gm, ''),
      /\?\.|\?\?|#[a-z]+\(|\?\?=|\bstatic\b|\d_\d/,
      `${file}: nothing that Node 12 does not parse`,
    );
  }
  t.end();
});
