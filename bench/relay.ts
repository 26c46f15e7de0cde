/** Closed loop: each pair has a window of messages on their way; what is delivered and durable makes room for the next. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sample } from './report.ts';
import type { Target } from './target.ts';

const WARM_MS = 700;

export async function relay(target: Target, pairs: number, window: number, seconds: number): Promise<Sample> {
  const lines = await target.lines(pairs);
  let isRunning = true;
  const sent = lines.map(() => 0);
  const bases = lines.map(({ delivered, accepted }) => Math.min(delivered, accepted));
  const done = (i: number): number => Math.min(lines[i]!.delivered, lines[i]!.accepted) - bases[i]!;
  const total = (): number => lines.reduce((sum, _, i) => sum + done(i), 0);
  for (const [i, line] of lines.entries()) {
    line.onProgress = () => {
      const room = window - (sent[i]! - done(i));
      if (!isRunning || room <= 0) return;
      sent[i]! += room;
      line.send(room);
    };
    line.onProgress();
  }
  await sleep(WARM_MS);
  const from = { messages: total(), cpu: target.server.cpuSeconds, own: process.cpuUsage(), at: performance.now() };
  await sleep(seconds * 1000);
  const wall = (performance.now() - from.at) / 1000;
  const messages = total() - from.messages;
  const serverCpu = target.server.cpuSeconds - from.cpu;
  const own = process.cpuUsage(from.own);
  isRunning = false;
  while (sent.some((count, i) => count > done(i))) await sleep(5);
  await Promise.all(lines.map((line) => line.close()));
  return {
    'messages/s': messages / wall,
    'server CPU s per 10,000': (serverCpu / messages) * 10_000,
    'generator CPU s per 10,000': ((own.user + own.system) / 1e6 / messages) * 10_000,
  };
}
