/**
 * The near end of the thread that works on large groups (group-worker.ts): what takes a tenth of a second and more is done there, so that this
 * one goes on answering pings and showing messages. Started with the first task; it keeps nothing that is not on disk.
 */
import { Worker } from 'node:worker_threads';
import { ChatError } from '../base/errors.ts';
import { compact, type Answers, type Failure, type Made, type Reply, type Request, type Task } from './group-task.ts';
import type { AuthorityOptions } from './e2ee/binding.ts';
import { Distant, nextHandle } from './e2ee/held.ts';
import { MissingBindings } from './e2ee/judge.ts';

/** Then a snapshot takes the place of the deltas. */
const MAX_DELTAS = 200;
/** Of one task; a thousand devices take seconds. Meanwhile nothing is done in any conversation. */
const TASK_MS = 120_000;
/** What is too large when a task takes longer than that: it will the next time, too. */
export const GROUP_WORK = 'group_work';

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
}

export class GroupThread {
  readonly #options: AuthorityOptions;
  readonly #taskMs: number;
  #running: Running | null = null;
  #lastId = 0;
  /** of the thread that did the last task; 0: none was done yet */
  threadId = 0;

  /** @param taskMs a task that takes longer is over, and the thread with it */
  constructor(options: AuthorityOptions, taskMs = TASK_MS) {
    this.#options = options;
    this.#taskMs = taskMs;
  }

  /** Does something that leaves states as they are. @throws as the engine; TOO_LARGE/group_work */
  async ask<T extends Task>(task: T, of: Distant | null): Promise<Answers[T['do']]> {
    return (await this.#run(task, of, 0, false)).value as Answers[T['do']];
  }

  /** Does something that may make another state. @throws as the engine; TOO_LARGE/group_work */
  async make<T extends Task>(
    task: T,
    of: Distant | null,
  ): Promise<{ readonly value: Answers[T['do']]; readonly made: Distant | null }> {
    const into = nextHandle();
    const { value, made } = await this.#run(task, of, into, (of?.deltaCount ?? 0) >= MAX_DELTAS);
    return { value: value as Answers[T['do']], made: made && this.#distant(into, of, made) };
  }

  /**
   * These states are needed from now on, and no others.
   * @param current are on disk as the states of their groups
   * @param besides are not
   */
  keep(current: readonly Distant[], besides: readonly Distant[]): void {
    const running = this.#running;
    if (running === null) return;
    const kept = new Set([...current, ...besides].map(({ handle }) => handle));
    for (const handle of running.has) if (!kept.has(handle)) running.has.delete(handle);
    for (const each of current) if (running.has.has(each.handle)) each.settle();
    running.worker.postMessage({ keep: [...kept] });
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
    if (of !== null && give === null && !running.has.has(of.handle))
      throw new ChatError('INTERNAL', 'the thread that had the state of a group has died');
    if (of !== null) running.has.add(of.handle);
    const id = ++this.#lastId;
    const request: Request = { id, task, of: of?.handle ?? 0, give, into, isFull, bindings: fresh };
    const { promise, resolve, reject } = Promise.withResolvers<Extract<Reply, { readonly value: unknown }>>();
    running.waiting.set(id, { resolve, reject });
    running.worker.ref();
    running.worker.postMessage(compact(request));
    const timer = setTimeout(() => this.#overdue(running), this.#taskMs);
    const reply = await promise.finally(() => clearTimeout(timer));
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
    });
    const running: Running = { worker, waiting: new Map(), has: new Set(), bindings: 0 };
    worker.on('message', (reply: Reply) => {
      const waiting = running.waiting.get(reply.id);
      running.waiting.delete(reply.id);
      if (running.waiting.size === 0) worker.unref();
      if ('error' in reply) waiting?.reject(revive(reply.error));
      else waiting?.resolve(reply);
    });
    const lost = (cause: unknown): void => {
      if (this.#running === running) this.#running = null;
      this.#end(running, new ChatError('INTERNAL', 'the thread that works on large groups has died', { cause }));
    };
    worker.on('error', lost);
    worker.on('exit', lost);
    return running;
  }

  /** What was begun first is what the thread is at. */
  #overdue(running: Running): void {
    if (this.#running === running) this.#running = null;
    const [id, first] = running.waiting.entries().next().value!;
    running.waiting.delete(id);
    first.reject(
      new ChatError('TOO_LARGE', `work on a group was not done after ${this.#taskMs / 1000} s`, { field: GROUP_WORK }),
    );
    this.#end(running, new ChatError('INTERNAL', 'the thread that works on large groups has died'));
    void running.worker.terminate();
  }

  #end({ waiting }: Running, error: ChatError): void {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  }
}

function revive({ code, message, field, sub, missing }: Failure): ChatError {
  if (missing !== null) return new MissingBindings(missing);
  return new ChatError(code, message, { ...(field !== undefined && { field }), ...(sub !== undefined && { sub }) });
}
