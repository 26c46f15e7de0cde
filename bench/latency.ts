/** Open loop: so many messages a second in all, one on its way in each pair; the time from before the signature to the delivery. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sample } from './report.ts';
import type { Target } from './target.ts';

const WARM_MS = 700;

export async function latency(target: Target, pairs: number, perSecond: number, seconds: number): Promise<Sample> {
  const lines = await target.lines(pairs);
  const periodMs = (pairs / perSecond) * 1000;
  const start = performance.now();
  const state = lines.map((line, i) => ({
    line,
    due: start + (periodMs * i) / pairs,
    sentAt: 0,
    sent: line.delivered,
  }));
  const delivered: number[] = [];
  let isMeasuring = false;
  let skipped = 0;
  for (const each of state) {
    const { line } = each;
    line.onProgress = () => {
      if (each.sentAt === 0 || line.delivered < each.sent) return;
      if (isMeasuring) delivered.push(performance.now() - each.sentAt);
      each.sentAt = 0;
    };
  }
  const timer = setInterval(() => {
    for (const each of state) {
      if (performance.now() < each.due) continue;
      each.due += periodMs;
      if (each.line.delivered < each.sent || each.line.accepted < each.sent) {
        if (isMeasuring) skipped++;
        continue;
      }
      each.sent++;
      each.sentAt = performance.now();
      each.line.send(1);
    }
  }, 1);
  await sleep(WARM_MS);
  isMeasuring = true;
  const cpu = target.server.cpuSeconds;
  await sleep(seconds * 1000);
  const used = target.server.cpuSeconds - cpu;
  isMeasuring = false;
  clearInterval(timer);
  while (state.some(({ line, sent }) => line.delivered < sent || line.accepted < sent)) await sleep(5);
  await Promise.all(lines.map((line) => line.close()));
  const sorted = delivered.toSorted((a, b) => a - b);
  const quantile = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN;
  return {
    'p50 ms': quantile(0.5),
    'p95 ms': quantile(0.95),
    'p99 ms': quantile(0.99),
    'max ms': quantile(1),
    'skipped (still on its way)': skipped,
    'server CPU s per 10,000': (used / sorted.length) * 10_000,
  };
}
