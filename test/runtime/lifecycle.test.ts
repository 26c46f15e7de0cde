import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { ChatError } from '../../base/errors.ts';
import { Lifecycle, refuseUnsafeProcess, type Signals } from '../../runtime/lifecycle.ts';
import { openLog } from '../../runtime/log.ts';

const ROOM = new URL('../../runtime/', import.meta.url);

function machine(deadlineMs = 60_000) {
  const events: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const exits: number[] = [];
  const signals = Object.assign(new EventEmitter(), { exit: (status: number) => void exits.push(status) });
  const log = openLog({
    level: 'debug',
    format: 'json',
    to: { write: (line) => void lines.push(JSON.parse(line) as never) },
  });
  const life = new Lifecycle(log, deadlineMs, signals as Signals);
  const logged = () => lines.map(({ event }) => event);
  return { life, signals, events, exits, lines, logged };
}

t.test('what a process must not be started with', async (t) => {
  const cases: readonly (readonly [field: string | null, env: Record<string, string>, execArgv: string[]])[] = [
    [null, {}, []],
    [
      null,
      { NODE_TLS_REJECT_UNAUTHORIZED: '1', NODE_OPTIONS: '--max-old-space-size=512 --disable-sigusr1' },
      ['--disable-proto=throw'],
    ],
    [null, { NODE_OPTIONS: '--title=--inspect' }, ['--no-inspect-x']],
    [null, { NODE_EXTRA_CA_CERTS: '/x' }, []],
    ['NODE_TLS_REJECT_UNAUTHORIZED', { NODE_TLS_REJECT_UNAUTHORIZED: '0' }, []],
    ['--inspect', { NODE_OPTIONS: '--inspect' }, []],
    ['--inspect', { NODE_OPTIONS: '--inspect=0.0.0.0:9229' }, []],
    ['--inspect-brk', { NODE_OPTIONS: ' --trace-warnings\t--inspect-brk' }, []],
    ['--inspect-brk', { NODE_OPTIONS: '--inspect_brk' }, []],
    ['--inspect', { NODE_OPTIONS: '"--inspect"' }, []],
    ['--inspect', { NODE_OPTIONS: '--ins\\pect' }, []],
    ['--inspect-port', {}, ['--inspect-port=0']],
    ['--inspect-wait', {}, ['--inspect-wait']],
    ['--debug-port', {}, ['--debug-port=1']],
    ['--tls-keylog', { NODE_OPTIONS: '--tls-keylog=/tmp/k' }, []],
    ['--tls-keylog', {}, ['--tls-keylog=/tmp/k']],
    ['--tls-keylog', {}, ['--tls_keylog=/tmp/k']],
    ['--heapsnapshot-signal', {}, ['--heapsnapshot-signal=SIGUSR2']],
    ['--heapsnapshot-near-heap-limit', { NODE_OPTIONS: '--heapsnapshot-near-heap-limit=1' }, []],
    ['--heap-prof', {}, ['--heap-prof']],
    ['--abort-on-uncaught-exception', {}, ['--abort-on-uncaught-exception']],
  ];
  for (const [field, env, execArgv] of cases) {
    const name = JSON.stringify([env, execArgv]);
    if (field === null) t.doesNotThrow(() => refuseUnsafeProcess(env, execArgv), name);
    else t.throws(() => refuseUnsafeProcess(env, execArgv), { code: 'UNSAFE_PROCESS', field }, name);
  }
});

t.test('a stop in order: the last opened first, one after the other, once', async (t) => {
  const { life, signals, events, exits, logged, lines } = machine();
  life.onStop('store', () => void events.push('store'));
  life.onStop('sessions', async () => {
    events.push('sessions begin');
    await turn();
    events.push('sessions end');
  });
  life.onStop('listener', (signal) => void events.push(`listener ${signal.aborted}`));
  t.equal(life.isStopping, false);
  signals.emit('SIGTERM', 'SIGTERM');
  t.equal(life.isStopping, true);
  signals.emit('SIGTERM', 'SIGTERM');
  t.equal(life.stop('again'), life.stopped);
  t.equal(await life.stopped, 0);
  t.strictSame(events, ['listener false', 'sessions begin', 'sessions end', 'store']);
  t.strictSame(logged(), ['server.draining', 'server.stopped']);
  t.match(lines[0], { reason: 'SIGTERM' });
  t.strictSame(exits, []);
  t.strictSame([signals.listenerCount('SIGTERM'), signals.listenerCount('SIGHUP')], [0, 0]);
});

t.test('a step that fails does not keep the others', async (t) => {
  const { life, events, lines } = machine();
  life.onStop('store', () => void events.push('store'));
  life.onStop('disk', () => Promise.reject(new ChatError('LOG_FAILED', 'hunter2')));
  life.onStop('async', () => Promise.reject(new TypeError('hunter2')));
  life.onStop('sync', () => {
    throw new TypeError('hunter2');
  });
  t.equal(await life.stop('test'), 1);
  t.strictSame(events, ['store']);
  t.match(lines.slice(1, 4), [
    { level: 'error', event: 'server.failed', reason: 'sync', code: 'INTERNAL', kind: 'TypeError' },
    { level: 'error', event: 'server.failed', reason: 'async' },
    { level: 'warn', event: 'server.failed', reason: 'disk', code: 'LOG_FAILED' },
  ]);
  t.notMatch(JSON.stringify(lines), 'hunter2');
});

t.test('one deadline for all steps: late ones are told, and the rest is still begun', async (t) => {
  const { life, events, lines } = machine(20);
  let told: AbortSignal | undefined;
  life.onStop('store', (signal) => void events.push(`store ${signal.aborted}`));
  life.onStop('second stuck', () => new Promise(() => {}));
  life.onStop('stuck', (signal) => {
    told = signal;
    return new Promise(() => {});
  });
  t.equal(await life.stop('test'), 1);
  t.equal(told?.aborted, true);
  t.strictSame(events, ['store true']);
  t.match(lines.slice(1, 3), [
    { event: 'server.failed', reason: 'stuck' },
    { event: 'server.failed', reason: 'second stuck' },
  ]);
  t.equal(lines.at(-1)?.['event'], 'server.stopped');
});

t.test('SIGINT once stops, twice ends at once', async (t) => {
  const { life, signals, exits } = machine();
  const release = Promise.withResolvers<void>();
  life.onStop('slow', () => release.promise);
  signals.emit('SIGINT', 'SIGINT');
  t.equal(life.isStopping, true);
  t.strictSame(exits, []);
  signals.emit('SIGINT', 'SIGINT');
  t.strictSame(exits, [130]);
  release.resolve();
  t.equal(await life.stopped, 0);
  const other = machine();
  other.life.onStop('slow', () => release.promise);
  other.signals.emit('SIGTERM', 'SIGTERM');
  other.signals.emit('SIGINT', 'SIGINT');
  t.strictSame(other.exits, [130], 'also after a SIGTERM');
  await other.life.stopped;
});

t.test('SIGHUP reloads, one at a time, and a failure is only logged', async (t) => {
  const { life, signals, events, logged, lines } = machine();
  let fail = false;
  life.onReload(async () => {
    events.push('begin');
    await turn();
    events.push('end');
  });
  life.onReload(() => {
    if (fail) throw new Error('hunter2');
    events.push('second');
  });
  signals.emit('SIGHUP', 'SIGHUP');
  signals.emit('SIGHUP', 'SIGHUP');
  await life.reload();
  t.strictSame(events, ['begin', 'end', 'second', 'begin', 'end', 'second', 'begin', 'end', 'second']);
  t.strictSame(logged(), ['server.reloaded', 'server.reloaded', 'server.reloaded']);
  fail = true;
  await life.reload();
  t.match(lines.at(-1), { level: 'warn', event: 'config.failed', code: 'INTERNAL' });
  t.notMatch(JSON.stringify(lines), 'hunter2');
  events.length = 0;
  const stopped = life.stop('test');
  await life.reload();
  t.strictSame(events, [], 'not once a stop has begun');
  t.equal(await stopped, 0);
});

/** A process with `hardenProcess()` and a lifecycle, which says `ready` and then waits. */
async function child(t: Test, cwd: string) {
  const source = `
    import { writeFileSync } from 'node:fs';
    import { hardenProcess, Lifecycle } from ${JSON.stringify(new URL('lifecycle.ts', ROOM).href)};
    import { openLog } from ${JSON.stringify(new URL('log.ts', ROOM).href)};
    hardenProcess();
    const life = new Lifecycle(openLog({ level: 'info', format: 'text', to: 2 }), 5000);
    const keepAlive = setInterval(() => {}, 1e6);
    life.onStop('timer', () => clearInterval(keepAlive));
    life.onStop('wait', () => process.argv[1] === 'stuck' ? new Promise(() => {}) : undefined);
    life.onReload(() => process.stdout.write('reloaded\\n'));
    writeFileSync('made', '');
    process.on('SIGUSR2', () => { process.stdout.write('alive\\n'); });
    process.stdin.on('data', () => { throw new Error('crash'); });
    process.stdout.write('ready\\n');
    life.stopped.then((status) => { process.exitCode = status; process.stdin.destroy(); });
  `;
  const { NODE_V8_COVERAGE: _, ...env } = process.env;
  const node = spawn(
    process.execPath,
    ['--input-type=module', '--report-uncaught-exception', '-e', source, t.name.includes('SIGINT') ? 'stuck' : ''],
    { cwd, env },
  );
  t.teardown(() => node.kill('SIGKILL'));
  let stderr = '';
  let stdout = '';
  node.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  node.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  const says = async (word: string) => {
    while (!stdout.includes(word)) await once(node.stdout, 'data');
    stdout = '';
  };
  await says('ready');
  return { node, says, stderr: () => stderr, closed: once(node, 'close') as Promise<[number | null, string | null]> };
}
/** Local ports on which this process listens (proc_pid_fd(5), proc_pid_net(5)). */
function listening(pid: number): number[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]),
  );
  const rows = ['tcp', 'tcp6'].flatMap((name) =>
    readFileSync(`/proc/${pid}/net/${name}`, 'utf8').trim().split('\n').slice(1),
  );
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter((row) => row[3] === '0A' && inodes.has(row[9]))
    .map((row) => Number.parseInt(row[1]?.split(':')[1] ?? '', 16));
}
const noProc = !existsSync('/proc/self/net/tcp') && 'needs /proc';

t.test('SIGUSR1 opens no inspector', { skip: noProc }, async (t) => {
  const { node, says, stderr, closed } = await child(t, t.testdir());
  node.kill('SIGUSR1');
  node.kill('SIGUSR2');
  await says('alive');
  node.kill('SIGUSR1');
  node.kill('SIGHUP');
  await says('reloaded');
  t.strictSame(listening(node.pid ?? 0), []);
  node.kill('SIGTERM');
  t.strictSame(await closed, [0, null], 'and SIGTERM ends it in order');
  t.notMatch(stderr(), /Debugger|inspector/i);
  t.match(stderr(), /server\.draining[^\n]*\n[^\n]*server\.reloaded|server\.reloaded[^\n]*\n[^\n]*server\.draining/);
});

t.test(
  'the same signal does open one without hardenProcess(), so the test above can fail',
  { skip: noProc },
  async (t) => {
    const node = spawn(process.execPath, [
      '--inspect-port=0',
      '-e',
      `setInterval(() => {}, 1e6); console.log('ready')`,
    ]);
    t.teardown(() => node.kill('SIGKILL'));
    await once(node.stdout, 'data');
    node.kill('SIGUSR1');
    let stderr = '';
    while (!stderr.includes('Debugger listening')) stderr += String((await once(node.stderr, 'data'))[0]);
    t.equal(listening(node.pid ?? 0).length, 1);
  },
);

t.test('umask 077, and no report of a crash', async (t) => {
  const dir = t.testdir();
  const { node, closed, stderr } = await child(t, dir);
  t.equal(statSync(join(dir, 'made')).mode & 0o777, 0o600);
  node.stdin.write('x');
  t.notMatch((await closed)[0], 0);
  t.match(stderr(), /crash/);
  t.strictSame(readdirSync(dir), ['made'], '--report-uncaught-exception wrote nothing');
});

t.test('SIGINT twice: exit status 130', async (t) => {
  const { node, closed, stderr } = await child(t, t.testdir());
  node.kill('SIGINT');
  while (!stderr().includes('server.draining')) await once(node.stderr, 'data');
  node.kill('SIGINT');
  t.strictSame(await closed, [130, null]);
});
