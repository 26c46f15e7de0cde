/**
 * The embedded database. `node:sqlite` is synchronous, so that it runs in a worker thread of its own (sqlite-worker.ts); this file
 * is the near end: it hands calls over and answers back, and names what went wrong. The calls of one turn of the event loop travel
 * together, and so do the answers of one transaction: each crossing wakes a thread, and what arrives together commits together.
 */
import { Worker } from 'node:worker_threads';
import { ChatError, type Code } from '../base/errors.ts';
import { methods, type Arguments, type Call, type Method, type Result } from './operations.ts';
import { decodePage, type EncodedPage } from './page.ts';
import { pack } from './parcel.ts';
import type { Store } from './store.ts';

export type Request =
  | { readonly id: number; readonly method: Method; readonly args: unknown }
  | { readonly id: number; readonly method: 'ping' | 'close' };
export type Reply =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | { readonly id: number; readonly ok: false; readonly error: Failure };
/** A ChatError without its cause: what is known of a driver's error stays in its message, which holds no values. */
export interface Failure {
  readonly code: Code;
  readonly message: string;
  readonly field: string | undefined;
  readonly sub: string | undefined;
}

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: ChatError) => void;
}

/**
 * Opens the database file, which `migrate` has made, and holds it open until close().
 * @param onLost the thread has died, and nothing brings it back: every call from now on fails. Called at most once, never after close()
 * @throws STORE_SCHEMA, STORE_FAILED
 */
export async function openSqlite(path: string, onLost: (error: ChatError) => void = () => {}): Promise<Store> {
  // Beside this file, in the form that this file has: source or built.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const worker = new Worker(new URL(`./sqlite-worker.${extension}`, import.meta.url), { workerData: { path } });
  const waiting = new Map<number, Waiting>();
  let lastId = 0;
  let end: ChatError | null = null;

  worker.on('message', (replies: readonly Reply[]) => {
    for (const reply of replies) {
      const call = waiting.get(reply.id);
      if (!call) continue;
      waiting.delete(reply.id);
      if (reply.ok) call.resolve(reply.value as never);
      else call.reject(revive(reply.error));
    }
    if (waiting.size === 0) worker.unref();
  });
  const fail = (error: ChatError): boolean => {
    const isFirst = end === null;
    end ??= error;
    for (const { reject } of waiting.values()) reject(end);
    waiting.clear();
    return isFirst;
  };
  const lost = (cause: unknown): void => {
    const error = new ChatError('STORE_FAILED', 'the thread of the database has died', { cause });
    if (fail(error)) onLost(error);
  };
  worker.on('error', lost);
  worker.on('exit', lost);

  let gathered: Request[] = [];
  let blocks: ArrayBuffer[] = [];
  const post = (request: Request): void => {
    if (gathered.push(request) > 1) return;
    setImmediate(() => {
      worker.postMessage(gathered, blocks);
      gathered = [];
      blocks = [];
    });
  };
  const send = <T>(method: Method | 'ping' | 'close', args?: unknown): Promise<T> =>
    new Promise((resolve, reject) => {
      if (end) return reject(end);
      const id = ++lastId;
      waiting.set(id, { resolve, reject });
      worker.ref();
      if (args === undefined) return post({ id, method } as Request);
      const parcel = pack(args); // now, for the caller may use its buffers again
      blocks.push(parcel.block);
      post({ id, method, args: parcel.value } as Request);
    });

  await send('ping');
  const call: Call = <M extends Method>(method: M, args: Arguments<M>) => send<Result<M>>(method, args);
  return {
    kind: 'sqlite',
    ...methods(call),
    backlog: async (...args) => decodePage(await send<EncodedPage>('backlog', args)),
    ping: () => send('ping'),
    relief: () => null,
    close: async () => {
      if (end) return;
      await send('close');
      fail(new ChatError('STORE_FAILED', 'the database is closed'));
      await worker.terminate();
    },
  };
}

const revive = ({ code, message, field, sub }: Failure): ChatError =>
  new ChatError(code, message, { ...(field !== undefined && { field }), ...(sub !== undefined && { sub }) });
