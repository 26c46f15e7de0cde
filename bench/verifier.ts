/** chat-verify over the transcript that the other scenarios have left behind, and over a bundle, as a process of its own with its start. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fail } from './client.ts';
import { loneBundle } from './lone-bundle.ts';
import type { Sample } from './report.ts';
import { root } from './server-process.ts';

/** @param folder of a server that has ended */
export function verifier(folder: string): Sample {
  const { checked, wall, cpu } = timed<{ size: number }>(join(folder, 'state/transcript'), join(folder, 'ca.crt'));
  return {
    'entries in the log': checked.size,
    'entries/s': checked.size / wall,
    'CPU s per 10,000 entries': (cpu / checked.size) * 10_000,
  };
}

/** Each message signed by itself, and under a checkpoint of its own. */
export function bundleVerifier(folder: string, count: number): Sample {
  const { bundle, ca } = loneBundle(folder, count);
  const { checked, wall, cpu, peakMb } = timed<{ messages: number }>(bundle, ca);
  return { messages: checked.messages, 'wall s': wall, 'CPU s': cpu, 'peak RSS MB': peakMb };
}

/** Says at its end what the process has used. */
const PRELOAD = `data:text/javascript,${encodeURIComponent(
  "process.on('exit', () => process.stderr.write(`\n${JSON.stringify(process.resourceUsage())}\n`))",
)}`;

function timed<T>(target: string, ca: string): { checked: T; wall: number; cpu: number; peakMb: number } {
  const args = ['--import', PRELOAD, join(root, 'bin/chat-verify'), target, '--ca', ca, '--json'];
  const from = performance.now();
  const run = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  const wall = (performance.now() - from) / 1000;
  const { verdict, checked } = JSON.parse(run.stdout || '{}') as { verdict?: string; checked?: T };
  if (run.status !== 0 || !checked) fail(`chat-verify: ${verdict ?? run.stderr}`);
  const used = JSON.parse(run.stderr.trim().split('\n').at(-1)!) as NodeJS.ResourceUsage;
  return { checked, wall, cpu: (used.userCPUTime + used.systemCPUTime) / 1e6, peakMb: used.maxRSS / 1024 };
}
