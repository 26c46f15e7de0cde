/** What a connection costs that does nothing: resident memory of the server before and after many have logged in. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sample } from './report.ts';
import { inParallel, type Target } from './target.ts';

const AT_ONCE = 16;
const SETTLE_MS = 1500;

/** For a server that was just started: accounts are made in the same run, for memory that was used before would hide what is used now. */
export async function idle(target: Target, count: number): Promise<Sample> {
  await target.prepare(8);
  await sleep(SETTLE_MS);
  const before = target.server.rssBytes;
  await target.prepare(count);
  const connections = await inParallel(count, AT_ONCE, (i) => target.connect(i));
  await sleep(SETTLE_MS);
  const after = target.server.rssBytes;
  await inParallel(count, AT_ONCE, (i) => connections[i]!.close());
  return { 'RSS kB per connection': (after - before) / count / 1000, 'RSS MB before': before / 1e6 };
}
