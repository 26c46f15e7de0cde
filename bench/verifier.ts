/** chat-verify over the transcript that the other scenarios have left behind, as a process of its own with its start. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fail } from './client.ts';
import type { Sample } from './report.ts';
import { root } from './server-process.ts';

/** @param folder of a server that has ended. `times` of sh (POSIX) tells what its children used: the second line. */
export function verifier(folder: string): Sample {
  const args = [
    join(root, 'bin/chat-verify'),
    join(folder, 'state/transcript'),
    '--ca',
    join(folder, 'ca.crt'),
    '--json',
  ];
  const script = '"$@"; status=$?; times >&2; exit $status';
  const from = performance.now();
  const run = spawnSync('sh', ['-c', script, 'sh', process.execPath, ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const wall = (performance.now() - from) / 1000;
  const { verdict, checked } = JSON.parse(run.stdout || '{}') as { verdict?: string; checked?: { size: number } };
  if (run.status !== 0 || !checked) fail(`chat-verify: ${verdict ?? run.stderr}`);
  const times = run.stderr.trim().split('\n').at(-1) ?? '';
  const cpu = [...times.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, m, s]) => sum + 60 * Number(m) + Number(s), 0);
  return {
    'entries in the log': checked.size,
    'entries/s': checked.size / wall,
    'CPU s per 10,000 entries': (cpu / checked.size) * 10_000,
  };
}
