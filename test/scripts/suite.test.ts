/** What runs the suite: each file in a process of its own that is as the programs', and one that fails is told. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';

const root = join(import.meta.dirname, '../..');

t.test('what fails, what dies and what passes', (t) => {
  const dir = t.testdir({
    'good.test.ts': `import t from 'tap'; t.equal(process.env.NODE_OPTIONS, '--no-deprecation'); t.strictSame(process.execArgv, []);`,
    'bad.test.ts': `import t from 'tap'; t.test('inside', (t) => { t.fail('on purpose'); t.end(); });`,
    'dead.test.ts': `import t from 'tap'; t.pass('so far'); process.kill(process.pid, 'SIGKILL');`,
  });
  const files = ['good', 'bad', 'dead'].map((name) => join(dir, `${name}.test.ts`));
  // As from a shell: this test may itself be run by tap.
  const ours = Object.entries(process.env).filter(([name]) => !name.startsWith('TAP'));
  const env = { ...Object.fromEntries(ours), NODE_OPTIONS: '--no-deprecation' };
  const { status, stdout } = spawnSync(process.execPath, ['scripts/suite.ts', ...files], {
    cwd: root,
    env,
    encoding: 'utf8',
  });
  t.not(status, 0);
  t.match(stdout, /^ok 1 - .*good\.test\.ts/m);
  t.match(stdout, /^not ok 2 - .*bad\.test\.ts/m);
  t.match(stdout, /^not ok 3 - .*dead\.test\.ts/m);
  t.match(stdout, /^ {8}not ok 1 - on purpose/m, 'with the reason');
  t.match(stdout, /^# \{ total: \d+, pass: \d+, fail: \d+ \}/m, 'and the closing line');
  t.end();
});
