/**
 * A recipient who is away: messages are stored until the last is acknowledged, a while later the recipient comes back and takes all of them.
 * The time ends with the last acknowledgement and the last delivery; what it costs, when nothing of it is left to do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sample } from './report.ts';
import type { Target } from './target.ts';

/** Messages under one signature, and batches on their way. */
const BATCH = 64;
const BATCHES = 4;
/** What was acknowledged may still have to be put where it is to stay: our database is told twice a second. That is a cost of storing. */
const REST_MS = 1_500;

/** A reason: this server stores nothing. */
export async function offline(target: Target, count: number): Promise<Sample | string> {
  const mailbox = await target.mailbox();
  if (typeof mailbox === 'string') return mailbox;
  const { sender } = mailbox;
  const before = sender.accepted;
  const store = await measured(target, (finish) => {
    let sent = 0;
    sender.onProgress = () => {
      const accepted = sender.accepted - before;
      while (sent < count && sent - accepted <= (BATCHES - 1) * BATCH) {
        const size = Math.min(BATCH, count - sent);
        sent += size;
        sender.send(size);
      }
      if (accepted >= count) finish(REST_MS);
    };
    sender.onProgress();
  });
  await sender.close();

  const from = performance.now();
  let last = 0;
  const drain = await measured(target, async (finish) => {
    const inbox = await mailbox.open();
    inbox.onProgress = () => {
      if (inbox.delivered < count || last > 0) return;
      last = performance.now();
      void inbox.settle().then(() => finish(0, () => inbox.close()));
    };
    inbox.onProgress();
  });
  return {
    'stored messages/s': count / store.wall,
    'store: server CPU s per 10,000': (store.cpu / count) * 10_000,
    'drained messages/s': (count / (last - from)) * 1000,
    'drain: server CPU s per 10,000': (drain.cpu / count) * 10_000,
  };
}

/** @param restMs until the processor time is taken */
type Finish = (restMs: number, close?: () => Promise<void>) => void;

async function measured(
  { server }: Target,
  work: (finish: Finish) => void | Promise<void>,
): Promise<{ wall: number; cpu: number }> {
  const cpu = server.cpuSeconds;
  const from = performance.now();
  const { promise, resolve } = Promise.withResolvers<Parameters<Finish>>();
  void work((...last) => resolve(last));
  const [restMs, close] = await promise;
  const wall = (performance.now() - from) / 1000;
  await sleep(restMs);
  const result = { wall, cpu: server.cpuSeconds - cpu };
  await close?.();
  return result;
}
