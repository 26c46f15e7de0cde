/** What is asked for its usage tells it, and what is not understood is refused: nothing is run, and nothing is made. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import t from 'tap';
import { root } from '../support/system.ts';

const before = readdirSync(root);
const scripts = [
  ['sh', '.ci/run'],
  ['sh', 'scripts/pack.sh'],
  ['sh', 'scripts/test.sh'],
  [process.execPath, 'scripts/quickstart.ts'],
  [process.execPath, 'scripts/mutants.ts'],
] as const;
for (const [program, script] of scripts)
  for (const [option, status] of [
    ['--help', 0],
    ['-h', 0],
    ['--nonsense', 2],
  ] as const) {
    const ended = spawnSync(program, [script, option], { cwd: root, encoding: 'utf8', timeout: 20_000 });
    t.equal(ended.status, status, `${script} ${option}`);
    t.match(ended.stdout + ended.stderr, option === '--nonsense' ? /usage|unknown/ : /^usage: /, `${script} ${option}`);
  }
t.strictSame(readdirSync(root), before);
