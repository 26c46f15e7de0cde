/** The archive for machines without a network: what is in it, and that the quickstart runs there with nothing else. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { root } from '../support/system.ts';

t.setTimeout(450_000);

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const NAME = `securechat-${version}-${process.platform}-${process.arch}`;
/** Where a machine has openssl and a shell, and no Node. */
const SYSTEM = '/usr/sbin:/usr/bin:/sbin:/bin';

const folder = mkdtempSync(join(tmpdir(), 'chat-pack-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const run = (file: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) => {
  const { status, stdout, stderr } = spawnSync(file, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });
  return { status, stdout, stderr };
};
const pack = (archive: string) => run('sh', [join(root, 'scripts/pack.sh'), archive]);
const digest = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');

const archive = join(folder, 'one.tar.gz');
t.test('the programs, their packages and Node; the same bytes each time', async (t) => {
  const { status, stdout, stderr } = pack(archive);
  t.equal(status, 0, stderr);
  t.equal(stdout, `${digest(archive)}  ${archive}\n`);
  const names = run('tar', ['--list', '--file', archive]).stdout.split('\n').slice(0, -1);
  t.ok(
    names.every((name) => name.startsWith(`${NAME}/`)),
    'all in one folder',
  );
  const within = new Set(names.map((name) => name.slice(NAME.length + 1)));
  for (const name of [
    'bin/chat-server',
    'bin/chat-verify',
    'node_modules/node/bin/node',
    'node_modules/ts-mls/package.json',
  ])
    t.ok(within.has(name), name);
  t.strictSame(
    [...within].filter((name) => name.startsWith('certs')),
    ['certs/README.md'],
    'and nobody’s keys',
  );
  t.notOk([...within].some((name) => /^(?:data|test|bench|node_modules\/(?:tap|typescript|prettier))\//.test(name)));

  t.match(pack(archive), { status: 2, stderr: /one\.tar\.gz exists/ }, 'nothing is overwritten');
  const again = join(folder, 'two.tar.gz');
  t.equal(pack(again).status, 0);
  t.equal(digest(again), digest(archive));
});

t.test('unpacked where nothing is, and nothing can be fetched', async (t) => {
  const there = join(folder, 'there');
  run('mkdir', [there]);
  t.equal(run('tar', ['--extract', '--file', archive, '--directory', there]).status, 0);
  const cwd = join(there, NAME);
  const alone = ['-rn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
  const isAlone = run('unshare', [...alone, 'true']).status === 0;
  if (!isAlone) t.comment('no network namespaces here: the network is not shut off');
  const words = ['sh', 'scripts/quickstart.sh', '--exit'];
  const env = { HOME: there, PATH: `${cwd}/node_modules/node/bin:${SYSTEM}` };
  const [file, args] = isAlone ? ['unshare', [...alone, ...words]] : ['sh', words.slice(1)];
  const { status, stdout, stderr } = run(file as string, args as string[], { cwd, env });
  t.equal(status, 0, stderr);
  t.match(stdout, /^bob +│ .*Hello Bob, can you read this\?/m);
  t.match(stdout, /^VALID /m);
  t.notMatch(stdout, 'installing');
  t.match(run('bin/chat-server', ['--version'], { cwd, env }), { status: 0, stdout: `${version}\n` });
});
