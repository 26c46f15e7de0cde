/**
 * The near end of the thread that works on large groups (group-worker.ts): what takes a tenth of a second and more is done there, so that this
 * one goes on answering pings and showing messages. Started with the first task; it keeps nothing that is not on disk.
 *
 * Tasks of several groups may wait for it, and it does them in turn. What takes too long, or more memory than there is for it, ends the thread:
 * that is said of the task that it was at (it will end it the next time, too), and the others may begin anew.
 */
import { Worker } from 'node:worker_threads';
import { ChatError } from '../base/errors.ts';
import { compact, type Answers, type Failure, type Made, type Reply, type Request, type Task } from './group-task.ts';
import type { AuthorityOptions } from './e2ee/binding.ts';
import { Distant, nextHandle } from './e2ee/held.ts';
import { MissingBindings } from './e2ee/judge.ts';

/** Then a snapshot takes the place of the deltas. */
const MAX_DELTAS = 200;
/** What is too large when a task takes longer, or more memory, than it may. */
export const GROUP_WORK = 'group_work';

export interface Limits {
  /** of one task; a thousand devices take seconds */
  readonly taskMs: number;
  /** of the thread's heap: the states of all large groups, and what is made of one meanwhile */
  readonly heapMb: number;
}
const LIMITS: Limits = { taskMs: 120_000, heapMb: 2048 };

/** The thread has ended while a task waited that was not the cause: nothing was done, and what was in the thread is on disk. */
export class ThreadLost extends ChatError {
  constructor(cause?: unknown) {
    super('INTERNAL', 'the thread that works on large groups has died', { cause });
  }
}

export interface Done<T extends Task> {
  readonly value: Answers[T['do']];
  readonly made: Distant | null;
}

interface Waiting {
  readonly resolve: (reply: Extract<Reply, { readonly value: unknown }>) => void;
  readonly reject: (error: ChatError) => void;
}
interface Running {
  readonly worker: Worker;
  readonly waiting: Map<number, Waiting>;
  /** handles of states that it has */
  readonly has: Set<number>;
  bindings: number;
  /** of the task that it is at */
  timer: NodeJS.Timeout | undefined;
}

export class GroupThread {
  readonly #options: AuthorityOptions;
  readonly #limits: Limits;
  #running: Running | null = null;
  #lastId = 0;
  /** of the thread that did the last task; 0: none was done yet */
  threadId = 0;

  constructor(options: AuthorityOptions, limits: Partial<Limits> = {}) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...limits };
  }

  /** Does something that leaves states as they are. @throws as the engine; TOO_LARGE/group_work */
  async ask<T extends Task>(task: T, of: Distant | null): Promise<Answers[T['do']]> {
    try {
      return (await this.#run(task, of, 0, false)).value as Answers[T['do']];
    } catch (error) {
      if (!(error instanceof ThreadLost) || of !== null) throw error;
      return (await this.#run(task, of, 0, false)).value as Answers[T['do']]; // it was at something else
    }
  }

  /** Does something that may make another state. @throws as the engine; TOO_LARGE/group_work */
  async make<T extends Task>(task: T, of: Distant | null): Promise<Done<T>> {
    const into = nextHandle();
    const { value, made } = await this.#run(task, of, into, (of?.deltaCount ?? 0) >= MAX_DELTAS);
    return { value: value as Answers[T['do']], made: made && this.#distant(into, of, made) };
  }

  /**
   * Of these states some are needed from now on, and the others are not.
   * @param current are needed, and on disk as the states of their groups
   * @param besides are needed, and are not on disk as that
   */
  keep(touched: Iterable<number>, current: readonly Distant[], besides: readonly Distant[]): void {
    const running = this.#running;
    if (running === null) return;
    const kept = new Set([...current, ...besides].map(({ handle }) => handle));
    const forget = [...touched].filter((handle) => !kept.has(handle) && running.has.delete(handle));
    for (const each of current) if (running.has.has(each.handle)) each.settle();
    running.worker.postMessage({ keep: [...kept], forget });
  }

  async close(): Promise<void> {
    const running = this.#running;
    this.#running = null;
    if (running === null) return;
    this.#end(running, new ChatError('SHUTTING_DOWN', 'this client is ending'));
    await running.worker.terminate();
  }

  #distant(handle: number, of: Distant | null, made: Made): Distant {
    if ('snapshot' in made) return new Distant(handle, made.sketch, { snapshot: made.snapshot, deltas: [] });
    if (of === null) throw new TypeError('a delta of nothing');
    return new Distant(handle, of.sketch, { before: of, delta: made.delta });
  }

  async #run(task: Task, of: Distant | null, into: number, isFull: boolean) {
    const running = (this.#running ??= this.#start());
    const { bindings } = this.#options;
    const fresh = running.bindings === bindings.size ? [] : [...bindings.values()].slice(running.bindings);
    running.bindings = bindings.size;
    const give = of === null || running.has.has(of.handle) ? null : of.bytes;
    if (of !== null && give === null && !running.has.has(of.handle)) throw new ThreadLost();
    if (of !== null) running.has.add(of.handle);
    const id = ++this.#lastId;
    const request: Request = { id, task, of: of?.handle ?? 0, give, into, isFull, bindings: fresh };
    const { promise, resolve, reject } = Promise.withResolvers<Extract<Reply, { readonly value: unknown }>>();
    running.waiting.set(id, { resolve, reject });
    running.worker.ref();
    running.worker.postMessage(compact(request));
    if (running.waiting.size === 1) this.#watch(running);
    const reply = await promise;
    this.threadId = reply.thread;
    if (reply.made !== null) running.has.add(into);
    return reply;
  }

  #start(): Running {
    const { organisation, roots, intermediates = [] } = this.#options;
    // Beside this file, in the form that this file has: source or built.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const worker = new Worker(new URL(`./group-worker.${extension}`, import.meta.url), {
      workerData: compact({
        organisation,
        roots: roots.map(({ der }) => der),
        intermediates: intermediates.map(({ der }) => der),
      }),
      resourceLimits: { maxOldGenerationSizeMb: this.#limits.heapMb },
    });
    const running: Running = { worker, waiting: new Map(), has: new Set(), bindings: 0, timer: undefined };
    worker.on('message', (reply: Reply) => {
      const waiting = running.waiting.get(reply.id);
      running.waiting.delete(reply.id);
      this.#watch(running);
      if (running.waiting.size === 0) worker.unref();
      if ('error' in reply) waiting?.reject(revive(reply.error));
      else waiting?.resolve(reply);
    });
    worker.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ERR_WORKER_OUT_OF_MEMORY')
        this.#spent(running, `took more than ${this.#limits.heapMb} MB of memory`, cause);
      else this.#lost(running, cause);
    });
    worker.on('exit', (status) => this.#lost(running, status));
    return running;
  }

  /** Tasks are done in the order in which they came: the first is what the thread is at. */
  #watch(running: Running): void {
    clearTimeout(running.timer);
    if (running.waiting.size === 0) return;
    const { taskMs } = this.#limits;
    running.timer = setTimeout(() => {
      this.#spent(running, `was not done after ${taskMs / 1000} s`);
      void running.worker.terminate();
    }, taskMs);
  }

  /** The task that it is at was too much for it. */
  #spent(running: Running, what: string, cause?: unknown): void {
    const [id, first] = running.waiting.entries().next().value ?? [];
    if (id !== undefined) running.waiting.delete(id);
    first?.reject(new ChatError('TOO_LARGE', `work on a group ${what}`, { field: GROUP_WORK, cause }));
    this.#lost(running);
  }
  #lost(running: Running, cause?: unknown): void {
    if (this.#running === running) this.#running = null;
    this.#end(running, new ThreadLost(cause));
  }

  #end({ waiting, timer }: Running, error: ChatError): void {
    clearTimeout(timer);
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  }
}

function revive({ code, message, field, sub, missing }: Failure): ChatError {
  if (missing !== null) return new MissingBindings(missing);
  return new ChatError(code, message, { ...(field !== undefined && { field }), ...(sub !== undefined && { sub }) });
}
