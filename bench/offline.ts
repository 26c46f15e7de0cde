/** A recipient who is away: messages are stored until the last is acknowledged, then the recipient comes back and takes all of them. */
import type { Sample } from './report.ts';
import { BODY_BYTES, bodiesOf, type ChatTarget } from './target.ts';

/** Messages under one signature, and batches on their way. */
const BATCH = 64;
const BATCHES = 4;

export async function offline(target: ChatTarget, count: number): Promise<Sample> {
  await target.prepare(2);
  const sender = await target.connect(0);
  const author = await target.author(0, sender);
  const bodies = bodiesOf(BODY_BYTES + 32);
  const store = await measured(target, (finish) => {
    let sent = 0;
    sender.onProgress = () => {
      while (sent < count && sent - sender.accepted <= (BATCHES - 1) * BATCH) {
        const size = Math.min(BATCH, count - sent);
        sent += size;
        sender.send(author.batch(bodies(size)));
      }
      if (sender.accepted >= count) finish();
    };
    sender.onProgress();
  });
  await sender.close();

  const drain = await measured(target, async (finish) => {
    const recipient = await target.connect(1);
    recipient.onProgress = () => {
      if (recipient.delivered < count || recipient.owed > 0) return;
      // A frame later everything is acknowledged; when the pong comes, it is deleted as well.
      setImmediate(() => void recipient.request({ type: 'ping' }, 'pong').then(() => finish(() => recipient.close())));
    };
    recipient.onProgress();
  });
  return {
    'stored messages/s': count / store.wall,
    'store: server CPU s per 10,000': (store.cpu / count) * 10_000,
    'drained messages/s': count / drain.wall,
    'drain: server CPU s per 10,000': (drain.cpu / count) * 10_000,
  };
}

type Finish = (then?: () => Promise<void>) => void;

async function measured(
  { server }: ChatTarget,
  work: (finish: Finish) => void | Promise<void>,
): Promise<{ wall: number; cpu: number }> {
  const cpu = server.cpuSeconds;
  const from = performance.now();
  const then = await new Promise<(() => Promise<void>) | undefined>((resolve) => void work(resolve));
  const result = { wall: (performance.now() - from) / 1000, cpu: server.cpuSeconds - cpu };
  await then?.();
  return result;
}
