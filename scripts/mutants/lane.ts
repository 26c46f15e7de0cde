/** Asks rows and tests about one mutant at a time, in a thread of its own. As many lanes as there are processors. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { HOOKED } from './hook-options.ts';
import { lastWitness } from './memory.ts';
import { root, sourceOf, type Mutant } from './mutant.ts';
import { codesNear } from './sites.ts';
import { witnessesOf } from './witnesses.ts';
import type { Survey } from './survey.ts';
import type { Answer, Order, RowData } from './witness-thread.ts';

/** A mutant that never ends is noticed as well. */
const PATIENCE_MS = 300_000;
/** In a thread, where nothing has to be started. */
const THREAD_PATIENCE_MS = 60_000;

/** What is no program with the rule broken tells nothing. */
export class Unloadable extends Error {}

/** Tests that start threads of their own: those would not have the broken file. Of what sets the umask, which no thread may; and of what tap alone intercepts. */
const IN_A_PROCESS: readonly string[] = [
  'test/verify/signatures-ahead.test.ts',
  'test/client/vault-messages.test.ts',
  'test/server/session.test.ts',
];
/** Without it a pipe is waited for, for ever: what hangs in a system call can only be killed, and a thread can't be. */
const NEVER_ENDS = { file: 'verify/capped-file.ts', rule: 'O_NONBLOCK', test: 'test/verify/live-directory.test.ts' };
const HANGS_AFTER_MS = 15_000;
/** Takes no thread of a lane and no processor, but time. */
export const isWaitedFor = ({ file, start, end }: Mutant): boolean =>
  file === NEVER_ENDS.file && sourceOf(file).slice(start, end).includes(NEVER_ENDS.rule);

/** A test's own folder has the name of the test: one of each at a time. */
const turns = new Map<string, Promise<unknown>>();

/** Runs a test as a process. */
export function fails(mutant: Mutant | null, test: string, patienceMs = PATIENCE_MS): Promise<boolean> {
  const turn = (turns.get(test) ?? Promise.resolve()).then(() => run(mutant, test, patienceMs));
  turns.set(test, turn);
  return turn;
}

async function run(mutant: Mutant | null, test: string, patienceMs: number): Promise<boolean> {
  const child = spawn(process.execPath, [test], {
    cwd: root,
    timeout: patienceMs,
    killSignal: 'SIGKILL',
    stdio: 'ignore',
    env: { ...process.env, TAP_BAIL: '1', TAP_TIMEOUT: String(PATIENCE_MS / 1000), ...HOOKED(mutant) },
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return status !== 0;
}

/** Tests that were looked at without a mutant: a kill means something only if they pass then. */
const healthy = new Map<string, Promise<void>>();

export class Lane {
  readonly #data: RowData;
  readonly #survey: () => Promise<Survey>;
  #thread: Worker | null = null;
  #isSurveyed = false;

  /** @param survey of the rows, for the first mutant that is not noticed by whom it was the last time */
  constructor(data: RowData, survey: () => Promise<Survey>) {
    this.#data = data;
    this.#survey = survey;
  }

  /** Who notices; null: nobody. Who noticed the last time is asked first, then the quickest. @throws Unloadable */
  async noticedBy(mutant: Mutant): Promise<string | null> {
    if (isWaitedFor(mutant)) return (await fails(mutant, NEVER_ENDS.test, HANGS_AFTER_MS)) ? NEVER_ENDS.test : null;
    const { own, isOwnFirst, others } = witnessesOf(mutant.file);
    const all = [...own, ...others];
    await this.#ask({ ask: 'begin', mutant, tests: all });
    const likely = async () => {
      if (!this.#isSurveyed) await this.#ask({ ask: 'survey', survey: await this.#survey() });
      this.#isSurveyed = true;
      return named(await this.#ask({ ask: 'likely', codes: codesNear(mutant) }));
    };
    const tests = (which: readonly string[]) => this.#tests(mutant, which);
    const last = lastWitness(mutant);
    return (
      (last === null
        ? null
        : await (all.includes(last) ? tests([last]) : this.#ask({ ask: 'row', name: rowOf(last) }).then(named))) ??
      (isOwnFirst ? await tests(own) : null) ??
      (await likely()) ??
      (isOwnFirst ? null : await tests(own)) ??
      named(await this.#ask({ ask: 'rest' })) ??
      (await tests(others))
    );
  }

  async end(): Promise<void> {
    await this.#thread?.terminate();
  }

  async #tests(mutant: Mutant, tests: readonly string[]): Promise<string | null> {
    for (const test of tests) {
      if (!(await this.#fails(mutant, test))) continue;
      const health = healthy.get(test) ?? this.#checkHealth(test);
      healthy.set(test, health);
      await health;
      return test;
    }
    return null;
  }

  async #fails(mutant: Mutant | null, test: string): Promise<boolean> {
    if (IN_A_PROCESS.includes(test)) return await fails(mutant, test);
    return (await this.#ask({ ask: 'test', test })) !== null;
  }

  async #ask(order: Order): Promise<string | null> {
    this.#thread ??= new Worker(join(root, 'scripts/mutants/witness-thread.ts'), { workerData: this.#data });
    const thread = this.#thread;
    const patience = AbortSignal.timeout(THREAD_PATIENCE_MS);
    thread.postMessage(order);
    const answer = await once(thread, 'message', { signal: patience }).then(
      ([name]) => name as Answer,
      async (error: unknown): Promise<Answer> => {
        this.#thread = null;
        this.#isSurveyed = false;
        await thread.terminate();
        return patience.aborted ? 'one that never ends' : `a thread that ends: ${String(error)}`;
      },
    );
    if (answer !== null && typeof answer !== 'string') throw new Unloadable(answer.error);
    return answer;
  }

  /** A test that speaks must be right without any mutant. What others have left running in the thread is not there in a new one. */
  async #checkHealth(test: string): Promise<void> {
    if (IN_A_PROCESS.includes(test)) {
      if (await fails(null, test)) throw new Error(`${test} fails without any mutant`);
      return;
    }
    const failure = async (): Promise<Answer> => {
      await this.#ask({ ask: 'begin', mutant: null, tests: [test] });
      return this.#ask({ ask: 'test', test });
    };
    if ((await failure()) === null) return;
    await this.end();
    this.#thread = null;
    this.#isSurveyed = false;
    const again = await failure();
    if (again !== null) throw new Error(`${test} fails without any mutant: ${String(again)}`);
  }
}

const named = (row: string | null): string | null => (row === null ? null : `row "${row}"`);
const rowOf = (witness: string): string => /^row "(.*)"$/.exec(witness)?.[1] ?? '';
