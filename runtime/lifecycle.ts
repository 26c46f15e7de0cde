/**
 * How a process begins and ends: what it refuses to run under, which signals mean what, and a shutdown in order with one deadline.
 */
import { ChatError, CODES } from '../base/errors.ts';
import { errorFields, type Log } from './log.ts';

/**
 * Options of Node that hand out keys or memory: an inspector reads everything, a TLS key log decrypts everything, and heap snapshots
 * and core dumps hold both.
 */
const UNSAFE_OPTIONS = [
  /^--(inspect|debug-port)/,
  /^--tls-keylog/,
  /^--heapsnapshot-/,
  /^--heap-prof/,
  /^--abort-on-uncaught-exception/,
];

/**
 * @param execArgv the options that Node itself was started with
 * @throws UNSAFE_PROCESS with the variable or option as `field`
 */
export function refuseUnsafeProcess(
  env: Readonly<Record<string, string | undefined>>,
  execArgv: readonly string[],
): void {
  const refuse = (field: string, why: string): never => {
    throw new ChatError('UNSAFE_PROCESS', `${field} ${why}`, { field });
  };
  if (env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0')
    refuse('NODE_TLS_REJECT_UNAUTHORIZED', 'is 0, which accepts every certificate');
  // Node takes quotes and backslashes in the variable, and underscores for hyphens.
  const fromEnv = (env['NODE_OPTIONS'] ?? '').replaceAll(/["\\]/g, '').split(/\s+/);
  for (const option of [...execArgv, ...fromEnv]) {
    const name = option.replaceAll('_', '-');
    if (UNSAFE_OPTIONS.some((unsafe) => unsafe.test(name)))
      refuse(/^--[a-z-]+/.exec(name)?.[0] ?? name, 'gives away keys or memory; start without it');
  }
}

/**
 * Files of this process are its owner's alone, SIGUSR1 opens no inspector (Node's default action: any process of the same user could
 * read our memory), and no crash report, which would list the environment and the command line, is ever written. Call it first.
 */
export function hardenProcess(): void {
  process.on('SIGUSR1', () => {});
  process.umask(0o077);
  process.report.reportOnFatalError = false;
  process.report.reportOnSignal = false;
  process.report.reportOnUncaughtException = false;
  process.report.excludeEnv = true;
}

/** A step of the shutdown. Aborted: the deadline has passed; drop what is not finished. */
export type Stop = (signal: AbortSignal) => Promise<void> | void;
type Step = readonly [name: string, step: Stop];

/** The part of `process` that is used. */
export interface Signals {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  exit(status: number): void;
}

/**
 * SIGTERM and the first SIGINT: stop in order. The second SIGINT: exit with 130 at once. SIGHUP: reload.
 * Owns the exit status; whoever holds it awaits `stopped` and ends the process.
 */
export class Lifecycle {
  /** Resolves once: 0 if every step ended in time, 1 if one failed or was late. */
  readonly stopped: Promise<number>;
  readonly #resolve: (status: number) => void;
  readonly #signals: Signals;
  readonly #log: Log;
  readonly #deadlineMs: number;
  readonly #stops: Step[] = [];
  readonly #reloads: (() => Promise<void> | void)[] = [];
  #reloading: Promise<void> = Promise.resolve();
  #stopping = false;
  #starting: Promise<unknown> = Promise.resolve();

  /** @param deadlineMs for all steps together */
  constructor(log: Log, deadlineMs: number, signals: Signals = process) {
    ({ promise: this.stopped, resolve: this.#resolve } = Promise.withResolvers<number>());
    this.#log = log;
    this.#deadlineMs = deadlineMs;
    this.#signals = signals;
    signals.on('SIGTERM', this.#onTerminate);
    signals.on('SIGINT', this.#onInterrupt);
    signals.on('SIGHUP', this.#onHangup);
  }

  /** Runs what opens things. A stop that is asked for meanwhile waits for it: what is half open cannot be closed. */
  start(work: () => Promise<void>): Promise<void> {
    const started = work();
    this.#starting = started.catch(() => undefined);
    return started;
  }

  /** What was opened last is closed first, each step after the one before has ended. */
  onStop(name: string, step: Stop): void {
    this.#stops.push([name, step]);
  }

  /** In the order of registration. A reload that fails is logged, and what was in force stays in force. */
  onReload(reload: () => Promise<void> | void): void {
    this.#reloads.push(reload);
  }

  /** True once a stop has begun: nothing new should start. */
  get isStopping(): boolean {
    return this.#stopping;
  }

  /** As a SIGTERM. Again: the same promise. @param reason a word for the log */
  stop(reason: string): Promise<number> {
    if (!this.#stopping) {
      this.#stopping = true;
      this.#log.info('server.draining', { reason, ms: this.#deadlineMs });
      void this.#stopInOrder();
    }
    return this.stopped;
  }

  /** As a SIGHUP; one after the other, and after the start. Nothing is reloaded once a stop has begun. Resolves when this one is done. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(async () => {
      await this.#starting; // what it has read already may be what has changed
      if (this.#stopping) return;
      let failed = false;
      for (const reload of this.#reloads) {
        try {
          await reload();
        } catch (error) {
          failed = true;
          this.#log.warn('config.failed', errorFields(error));
        }
      }
      if (!failed) this.#log.info('server.reloaded');
    });
    return this.#reloading;
  }

  readonly #onTerminate = (signal: NodeJS.Signals): void => void this.stop(signal);
  readonly #onHangup = (): void => void this.reload();
  readonly #onInterrupt = (signal: NodeJS.Signals): void => {
    if (this.#stopping) this.#signals.exit(130);
    else void this.stop(signal);
  };

  async #stopInOrder(): Promise<void> {
    const deadline = new AbortController();
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      deadline.abort();
      late.resolve();
    }, this.#deadlineMs);
    let status = 0;
    await Promise.race([this.#starting, late.promise]);
    for (const [name, step] of this.#stops.reverse()) {
      const done = Promise.try(step, deadline.signal).then(
        () => true,
        (error: unknown) => {
          const line = CODES[ChatError.from(error).code].blame === 'us' ? this.#log.error : this.#log.warn;
          line('server.failed', { ...errorFields(error), reason: name });
          status = 1;
          return true;
        },
      );
      // Past the deadline every step is still begun, so that what can close at once does, but none is waited for beyond this tick.
      const ended = await Promise.race([
        done,
        late.promise.then(() => new Promise<false>((resolve) => setImmediate(resolve, false))),
      ]);
      if (ended) continue;
      this.#log.warn('server.failed', { code: 'INTERRUPTED', reason: name, ms: this.#deadlineMs });
      status = 1;
    }
    clearTimeout(timer);
    // SIGINT stays: until the process has ended, a second one still ends it.
    this.#signals.off('SIGTERM', this.#onTerminate);
    this.#signals.off('SIGHUP', this.#onHangup);
    this.#log.info('server.stopped');
    this.#resolve(status);
  }
}
