/** Closed loop: each pair has a window of messages on their way; what is delivered and durable makes room for the next. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sample } from './report.ts';
import type { Line, Target } from './target.ts';

const WARM_MS = 700;

const NOTHING = 'no message arrived in the time';

export interface Flow {
  readonly messages: number;
  /** seconds, as everything here */
  readonly wall: number;
  readonly server: number;
  readonly database: number | null;
  readonly generator: number;
}

/** A reason: nothing arrived in the time. */
export async function relay(target: Target, pairs: number, window: number, seconds: number): Promise<Sample | string> {
  const lines = await target.lines(pairs);
  const { messages, wall, server, database, generator } = await closedLoop(target, lines, window, seconds);
  await Promise.all(lines.map((line) => line.close()));
  if (messages === 0) return NOTHING;
  const each = (used: number): number => (used / messages) * 10_000;
  return {
    'messages/s': messages / wall,
    'server CPU s per 10,000': each(server),
    ...(database === null ? {} : { 'database CPU s per 10,000': each(database) }),
    'generator CPU s per 10,000': each(generator),
  };
}

/** One message to a room is as many deliveries as it has other members. A reason: this server has no such room, or as above. */
export async function fanout(
  target: Target,
  members: number,
  window: number,
  seconds: number,
): Promise<Sample | string> {
  const line = await target.room(members);
  if (typeof line === 'string') return line;
  const { messages, wall, server, generator } = await closedLoop(target, [line], window, seconds);
  await line.close();
  if (messages === 0) return NOTHING;
  const deliveries = messages * (members - 1);
  return {
    'deliveries/s': deliveries / wall,
    'server CPU s per 10,000 deliveries': (server / deliveries) * 10_000,
    'generator CPU s per 10,000 deliveries': (generator / deliveries) * 10_000,
  };
}

/** Resolves when everything that was sent has arrived; only what arrives between is counted. */
export async function closedLoop(
  { server, database }: Pick<Target, 'server' | 'database'>,
  lines: readonly Line[],
  window: number,
  seconds: number,
): Promise<Flow> {
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
  const now = () => ({
    messages: total(),
    server: server.cpuSeconds,
    database: database?.cpuSeconds ?? 0,
    own: process.cpuUsage(),
    at: performance.now(),
  });
  const from = now();
  await sleep(seconds * 1000);
  const to = now();
  isRunning = false;
  while (sent.some((count, i) => count > done(i))) await sleep(5);
  return {
    messages: to.messages - from.messages,
    wall: (to.at - from.at) / 1000,
    server: to.server - from.server,
    database: database === null ? null : to.database - from.database,
    generator: (to.own.user + to.own.system - from.own.user - from.own.system) / 1e6,
  };
}
