/**
 * A server's log under load that kills itself: `node crash-driver.ts DIR POINT COUNT`. It dies when the named point is passed for the
 * COUNT-th time. On standard output, line by line: what it submits (`S`, before) and what was accepted (`A`, after).
 */
import { createPrivateKey } from 'node:crypto';
import { readFileSync, writeSync } from 'node:fs';
import { disk, type Files, type OpenFile } from '../../server/log/files.ts';
import { TranscriptLog } from '../../server/log/log.ts';
import { Sequencer } from '../../server/sequencer.ts';
import type { Submission } from '../../server/submission.ts';
import { openStore } from '../../store/open.ts';
import type { Device } from '../../store/contract/devices.ts';
import type { Store } from '../../store/store.ts';
import type { ConversationId, Fingerprint } from '../../base/bytes.ts';
import { NOW } from './store-world.ts';
import { logOptions, Sender, silent } from './transcript-world.ts';

/** In the order in which a batch passes them; those of publishing at the end. */
export const POINTS = [
  'wal.write',
  'wal.written',
  'wal.synced',
  'store.commit',
  'store.committed',
  'answer',
  'segment.new',
  'segment.free',
  'tile.rename',
  'state.rename',
  'checkpoint.rename',
] as const;
export type Point = (typeof POINTS)[number] | 'any';

/** What the parent writes to DIR/world.json. */
export interface CrashWorld {
  readonly server: { readonly key: string; readonly der: string };
  readonly conversation: string;
  readonly senders: readonly {
    readonly id: number;
    readonly userId: number;
    readonly key: string;
    readonly chain: string[];
    readonly fingerprint: string;
  }[];
}
/** The part of a submission that travels. */
export interface Line {
  readonly sender: number;
  readonly algorithm: number;
  readonly signature: string;
  readonly batch: string;
  readonly messages: readonly { readonly statement: string; readonly parts: string[] }[];
}

async function run(dir: string, point: Point, count: string): Promise<void> {
  let left = Number(count);
  const pass = (name: Point): void => {
    if ((name === point || point === 'any') && --left === 0) process.kill(process.pid, 'SIGKILL');
  };
  const world = JSON.parse(readFileSync(`${dir}/world.json`, 'utf8')) as CrashWorld;
  const bytes = (text: string) => Buffer.from(text, 'base64');
  const conversation = bytes(world.conversation) as Uint8Array as ConversationId;
  const senders = world.senders.map(
    ({ id, userId, key, chain, fingerprint }) =>
      new Sender(
        { id, userId, fingerprint: bytes(fingerprint) as Uint8Array as Fingerprint } as Device,
        chain.map(bytes),
        createPrivateKey(key),
      ),
  );
  const server = { key: createPrivateKey(world.server.key), der: bytes(world.server.der) };
  const store = await openStore(`sqlite:${dir}/chat.db`, null);
  const transcript = await TranscriptLog.open(logOptions(dir, server, { files: watched(pass) }));
  const slow: Store = Object.create(store, {
    commitWindow: {
      value: async (window: Parameters<Store['commitWindow']>[0]) => {
        pass('store.commit');
        const answer = await store.commitWindow(window);
        pass('store.committed');
        return answer;
      },
    },
  });
  const sequencer = new Sequencer({ transcript, store: slow, log: silent, now: () => NOW });
  await sequencer.recover();
  let text = 0;
  const converse = async (at: number): Promise<void> => {
    const sender = senders[at]!;
    const others = senders.filter((other) => other !== sender).map(({ device }) => device.id);
    // Many more than are wanted: what comes together passes a point once.
    for (let i = 0; i < 400; i++) {
      const batches = [1, 2].map((n) =>
        sender.batch(
          conversation,
          Array.from({ length: n }, () => `${++text}`),
          others,
        ),
      );
      for (const batch of batches) writeSync(1, `S ${JSON.stringify(lineOf(at, batch))}\n`);
      await Promise.all(
        batches.map(async (batch) => {
          const { firstIndex } = await sequencer.submit(batch);
          pass('answer');
          writeSync(1, `A ${Buffer.from(batch.batch).toString('base64')} ${firstIndex}\n`);
        }),
      );
      if (i % 4 === at) await transcript.publish();
    }
  };
  await Promise.all(senders.map((_, at) => converse(at)));
  await sequencer.drain();
  process.exit(3); // the point was not reached
}

const lineOf = (sender: number, { algorithm, signature, batch, messages }: Submission): Line => {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  return {
    sender,
    algorithm,
    signature: text(signature),
    batch: text(batch),
    messages: messages.map(({ statement, parts }) => ({ statement: text(statement), parts: parts.map(text) })),
  };
};

/** The real disk, with points before and after what matters. */
function watched(pass: (name: Point) => void): Files {
  const file = (inner: OpenFile, path: string): OpenFile => {
    let isSegment = path.endsWith('.wal');
    return {
      read: (into, position) => inner.read(into, position),
      write: async (bytes, position) => {
        isSegment ||= path.includes('/wal/') && bytes.length < 64 * 1024; // zeros come in whole segments
        if (isSegment) pass('wal.write');
        await inner.write(bytes, position);
        if (isSegment) pass('wal.written');
      },
      datasync: async () => {
        await inner.datasync();
        if (isSegment) pass('wal.synced');
      },
      close: () => inner.close(),
    };
  };
  const named = (path: string): Point | null => {
    if (path.includes('/tile/')) return 'tile.rename';
    if (path.endsWith('/state')) return 'state.rename';
    if (path.endsWith('/checkpoint')) return 'checkpoint.rename';
    if (path.includes('/wal/')) return path.endsWith('.wal') ? 'segment.new' : 'segment.free';
    return null;
  };
  return {
    ...disk,
    open: async (path, how) => file(await disk.open(path, how), path),
    rename: async (from, to) => {
      await disk.rename(from, to);
      const name = named(to);
      if (name !== null) pass(name);
    },
  };
}

if (import.meta.main) await run(...(process.argv.slice(2) as [string, Point, string]));
