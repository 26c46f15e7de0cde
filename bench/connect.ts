/** Everybody comes at once: TCP, TLS, the handshake inside it, and a login by resume token. */
import type { Sample } from './report.ts';
import { inParallel } from './bodies.ts';
import type { Target } from './target.ts';

const AT_ONCE = 32;

export async function connectStorm(target: Target, count: number): Promise<Sample> {
  await target.prepare(count);
  const cpu = target.server.cpuSeconds;
  const from = performance.now();
  const connections = await inParallel(count, AT_ONCE, (i) => target.connect(i));
  const wall = (performance.now() - from) / 1000;
  const used = target.server.cpuSeconds - cpu;
  await inParallel(count, AT_ONCE, (i) => connections[i]!.close());
  return { 'connections/s': count / wall, 'server CPU ms per connection': (used / count) * 1000 };
}
