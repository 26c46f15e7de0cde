/** Asks rows and tests about one mutant at a time: a thread for the rows, a process for each test. As many lanes as there are processors. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { root, type Mutant } from './mutant.ts';
import type { Answer, Order, RowData } from './row-thread.ts';
import { codesNear } from './sites.ts';
import { witnessesOf } from './witnesses.ts';

/** A mutant that never ends is noticed as well. */
const PATIENCE_MS = 300_000;

/** What is no program with the rule broken tells nothing. */
export class Unloadable extends Error {}

/** A test's own folder has the name of the test: one of each at a time. */
const turns = new Map<string, Promise<unknown>>();

/** Runs a test. @param folder where the rows of the matrix are kept */
export function fails(mutant: Mutant | null, test: string, folder: string): Promise<boolean> {
  const turn = (turns.get(test) ?? Promise.resolve()).then(() => run(mutant, test, folder));
  turns.set(test, turn);
  return turn;
}

async function run(mutant: Mutant | null, test: string, folder: string): Promise<boolean> {
  const child = spawn(process.execPath, [test], {
    cwd: root,
    timeout: PATIENCE_MS,
    stdio: 'ignore',
    env: {
      ...process.env,
      TAP_BAIL: '1',
      TAP_TIMEOUT: String(PATIENCE_MS / 1000),
      CHAT_FEW_FLIPS: '1',
      CHAT_TAMPER_CASES: folder,
      CHAT_MUTANT: JSON.stringify(mutant),
      // What a test starts is to have the broken file as well.
      NODE_OPTIONS: `--import ${join(root, 'scripts/mutants/hook.ts')}`,
    },
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return status !== 0;
}

/** Tests that were looked at without a mutant: a kill means something only if they pass then. */
const healthy = new Map<string, Promise<void>>();

export class Lane {
  readonly #folder: string;
  readonly #data: RowData;
  #thread: Worker | null = null;

  constructor(folder: string, data: RowData) {
    this.#folder = folder;
    this.#data = data;
  }

  /** Who notices; null: nobody. The quickest is asked first. @throws Unloadable */
  async noticedBy(mutant: Mutant): Promise<string | null> {
    const { own, isOwnFirst, others } = witnessesOf(mutant.file);
    const codes = codesNear(mutant);
    const rows = async (which: Order['rows']) => {
      const name = await this.#rows({ mutant, codes, rows: which });
      return name === null ? null : `row "${name}"`;
    };
    const before = isOwnFirst ? await this.#tests(mutant, own) : null;
    const likely = before ?? (await rows('likely')) ?? (isOwnFirst ? null : await this.#tests(mutant, own));
    return likely ?? (await rows('all')) ?? (await this.#tests(mutant, others));
  }

  async end(): Promise<void> {
    await this.#thread?.terminate();
  }

  async #tests(mutant: Mutant, tests: readonly string[]): Promise<string | null> {
    for (const test of tests) {
      if (!(await fails(mutant, test, this.#folder))) continue;
      const health = healthy.get(test) ?? checkHealth(test, this.#folder);
      healthy.set(test, health);
      await health;
      return test;
    }
    return null;
  }

  async #rows(order: Order): Promise<string | null> {
    this.#thread ??= new Worker(join(root, 'scripts/mutants/row-thread.ts'), { workerData: this.#data });
    const thread = this.#thread;
    const patience = AbortSignal.timeout(PATIENCE_MS);
    thread.postMessage(order);
    const answer = await once(thread, 'message', { signal: patience }).then(
      ([name]) => name as Answer,
      async (error: unknown): Promise<Answer> => {
        this.#thread = null;
        await thread.terminate();
        return patience.aborted ? 'one that never ends' : { error: String(error) };
      },
    );
    if (answer !== null && typeof answer !== 'string') throw new Unloadable(answer.error);
    return answer;
  }
}

async function checkHealth(test: string, folder: string): Promise<void> {
  if (await fails(null, test, folder)) throw new Error(`${test} fails without any mutant`);
}
