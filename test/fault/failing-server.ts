/**
 * Loaded into a real chat-server before it starts: its disk forgets at the end of the process what was not synced, as at a power cut;
 * segments of the write-ahead log are small, so that they fill and are used again; and it kills itself (SIGKILL) at the point named in
 * CHAT_FAULT, when it comes there for the nth time: `POINT:N`; with a third word, `:later`, counted from SIGUSR2 on.
 */
import { basename } from 'node:path';
import type { Files, OpenFile } from '../../server/log/files.ts';
import type { Store } from '../../store/store.ts';
import { substitute } from './substitute.ts';

/** In the order in which a message meets them; those of the publication are met beside that. */
export type Point =
  /** nothing of the window is on the disk */
  | 'log.before-write'
  /** half of its record is */
  | 'log.torn-write'
  /** written, and forgotten */
  | 'log.before-sync'
  /** the store has the window; the log's record is written, and its sync takes for ever */
  | 'log.never-synced'
  /** the log has the window, the store has not */
  | 'log.without-store'
  | 'store.without-log'
  /** both have it, and nobody was told */
  | 'both.before-ack'
  /** delivered, and still in the queue */
  | 'acknowledge.before'
  /** out of the queue, and the sender was not told */
  | 'acknowledge.after'
  /** the next segment has its name, which is not durable */
  | 'segment.prepared'
  /** its records are published, and it is about to be used again */
  | 'segment.before-free'
  /** some tiles of the new tree are there */
  | 'publish.tile'
  | 'publish.before-state'
  /** the new tiles and state are there, and the old checkpoint */
  | 'publish.before-checkpoint'
  | 'publish.after-checkpoint';

export const SEGMENT_BYTES = 64 * 1024;

const [point, count, later] = (process.env['CHAT_FAULT'] ?? '').split(':');
let left = Number(count);
let isCounting = later === undefined;
if (!isCounting) process.once('SIGUSR2', () => (isCounting = true));

const isDue = (name: Point): boolean => isCounting && name === point && --left <= 0;
function die(): never {
  process.kill(process.pid, 'SIGKILL');
  // The signal ends every thread before this is left.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
/** Time enough for an acknowledgement that should not be to get out. */
const TOO_EARLY_MS = 150;
function dieLater(): Promise<never> {
  setTimeout(die, TOO_EARLY_MS);
  return new Promise(() => undefined);
}
function at(name: Point): void {
  if (isDue(name)) die();
}

/** Set in the window in which one half of it shall come alone, or both and no answer. */
let splitting: Point | null = null;
let logged = Promise.withResolvers<void>();
const stored = Promise.withResolvers<void>();

/** What waits for the end must not be collected before it. */
const kept: OpenFile[] = [];

export function faultyDisk(real: Files): Files {
  return {
    ...real,
    open: async (path, how) => {
      const file = await real.open(path, how);
      kept.push(file);
      return path.endsWith('.wal') || path.endsWith('.tmp') ? new FaultyFile(file, path) : file;
    },
    rename: async (from, to) => {
      const name = basename(to);
      if (to.includes('/tile/')) at('publish.tile');
      if (name === 'state') at('publish.before-state');
      if (name === 'checkpoint') at('publish.before-checkpoint');
      if (from.endsWith('.wal')) at('segment.before-free');
      await real.rename(from, to);
      if (name === 'checkpoint') at('publish.after-checkpoint');
      if (name.endsWith('.wal')) at('segment.prepared');
    },
  };
}

/** Writes reach the real file when they are synced, and not before. */
class FaultyFile implements OpenFile {
  readonly #file: OpenFile;
  readonly #isLog: boolean;
  #held: { readonly bytes: Buffer; readonly position: number }[] = [];
  constructor(file: OpenFile, path: string) {
    this.#file = file;
    this.#isLog = path.endsWith('.wal') || path.endsWith('.new.tmp') || /\/\d+\.tmp$/.test(path);
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#file.read(into, position);
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    if (this.#isRecord(bytes)) {
      at('log.before-write');
      if (isDue('log.torn-write')) {
        const half = Math.max(512, Math.floor(bytes.length / 1024) * 512);
        await this.#file.write(bytes.subarray(0, half), position);
        await this.#file.datasync();
        die();
      }
      if (splitting === 'store.without-log') {
        await stored.promise;
        return await dieLater();
      }
    }
    this.#held.push({ bytes: Buffer.from(bytes), position });
  }

  async datasync(): Promise<void> {
    const isRecord = this.#held.some(({ bytes }) => this.#isRecord(bytes));
    if (isRecord) at('log.before-sync');
    if (isRecord && splitting === 'log.never-synced') {
      await stored.promise;
      return await dieLater();
    }
    for (const { bytes, position } of this.#held.splice(0)) await this.#file.write(bytes, position);
    await this.#file.datasync();
    if (isRecord && splitting === 'log.without-store') await dieLater();
    if (isRecord) logged.resolve();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** Not the zeros of a new segment. */
  #isRecord(bytes: Uint8Array): boolean {
    return this.#isLog && bytes.length > 0 && bytes[0] !== 0;
  }
}

export function faultyStore(open: (...args: never[]) => Promise<Store>): (...args: never[]) => Promise<Store> {
  return async (...args) => {
    const real = await open(...args);
    return {
      ...real,
      // Called in the tick in which the log begins with the same window, and before that writes anything.
      commitWindow: async (window) => {
        logged = Promise.withResolvers();
        for (const name of ['log.never-synced', 'log.without-store', 'store.without-log', 'both.before-ack'] as const)
          if (isDue(name)) splitting = name;
        if (splitting === 'log.without-store') await new Promise(() => undefined);
        const answers = await real.commitWindow(window);
        stored.resolve();
        if (splitting === 'both.before-ack') {
          await logged.promise;
          die();
        }
        return answers;
      },
      acknowledge: async (...given) => {
        at('acknowledge.before');
        const receipts = await real.acknowledge(...given);
        at('acknowledge.after');
        return receipts;
      },
    };
  };
}

substitute('/server/log/files.ts', { disk: 'by.faultyDisk(real.disk)' }, import.meta.url);
substitute('/server/log/segments.ts', { SEGMENT_BYTES: 'by.SEGMENT_BYTES' }, import.meta.url);
substitute('/store/open.ts', { openStore: 'by.faultyStore(real.openStore)' }, import.meta.url);
