/**
 * Many connections that do nothing: what each takes of the server's memory, and whether messages of a few pairs among them cost what they
 * cost without the crowd. For a server that was just started: memory that was used before would hide what is used now.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { inParallel } from './bodies.ts';
import { closedLoop } from './relay.ts';
import type { Sample } from './report.ts';
import type { Target } from './target.ts';

const AT_ONCE = 16;
const SETTLE_MS = 1500;
/** Of the ten connections that there are in any case. */
const PAIRS = 5;
const WINDOW = 32;
const ROUNDS = 3;

export async function idle(target: Target, count: number): Promise<Sample> {
  const { sample, close } = await gather(target, count);
  await close();
  return sample;
}

/** @param seconds of each measurement: with the crowd, and without it, by turns */
export async function crowd(target: Target, count: number, seconds: number): Promise<Sample> {
  const first = await gather(target, count);
  let { close } = first;
  const cost = async (): Promise<number> => {
    const lines = await target.lines(PAIRS);
    const { messages, server } = await closedLoop(target, lines, WINDOW, seconds);
    await Promise.all(lines.map((line) => line.close()));
    return (server / messages) * 10_000;
  };
  await cost(); // compiled
  const [among, alone]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    among.push(await cost());
    await close();
    alone.push(await cost());
    if (round < ROUNDS - 1) close = await connectAll(target, count);
  }
  const [few, many] = [median(alone), median(among)];
  return {
    ...first.sample,
    [`10 connections: server CPU s per 10,000`]: few,
    [`${(count + 2 * PAIRS).toLocaleString('en-US')} connections: server CPU s per 10,000`]: many,
    'the latter over the former': many / few,
  };
}

async function gather(target: Target, count: number): Promise<{ sample: Sample; close: () => Promise<void> }> {
  await target.prepare(2 * PAIRS);
  await sleep(SETTLE_MS);
  const before = target.server.rssBytes;
  await target.prepare(2 * PAIRS + count);
  const close = await connectAll(target, count);
  await sleep(SETTLE_MS);
  const after = target.server.rssBytes;
  return {
    sample: { 'RSS kB per connection': (after - before) / count / 1000, 'RSS MB before': before / 1e6 },
    close,
  };
}

/** Users behind those of the pairs. */
async function connectAll(target: Target, count: number): Promise<() => Promise<void>> {
  const connections = await inParallel(count, AT_ONCE, (i) => target.connect(2 * PAIRS + i));
  return async () => void (await inParallel(count, AT_ONCE, (i) => connections[i]!.close()));
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
