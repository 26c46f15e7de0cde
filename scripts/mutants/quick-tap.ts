/**
 * As much of `tap` as the tests that are asked use, for they are run in a thread hundreds of times. The first thing that is not as it
 * should be ends the test. Comparisons are tap's own, from a package that comes with it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { match, same, strict } from 'tcompare';

class Failure extends Error {}

type Body = (t: QuickTest) => unknown;
interface Folder {
  readonly [name: string]: string | Uint8Array | Folder;
}

/** Of one run of one file: what has failed, also where the test itself caught that, and what comes at the end. */
class Run {
  failure: string | null = null;
  readonly teardowns: (() => unknown)[] = [];

  fail(message: string): never {
    this.failure ??= message;
    throw new Failure(message);
  }
}

export class QuickTest {
  readonly #run: Run;
  readonly #name: string;
  /** Subtests in order, each after the one before. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(run: Run, name: string) {
    this.#run = run;
    this.#name = name;
  }

  test(name: string, ...rest: readonly [Body] | readonly [{ readonly skip?: unknown }, Body]): Promise<unknown> {
    const [body, { skip = false }] = rest.length === 1 ? [rest[0], {}] : [rest[1], rest[0]];
    if (skip) return this.#queue;
    const child = new QuickTest(this.#run, `${this.#name} > ${name}`);
    this.#queue = this.#queue.then(async () => {
      if (this.#run.failure === null) await child.all(body);
    });
    return this.#queue;
  }

  /** Everything in it, and in its subtests. Never rejects. */
  async all(body: Body): Promise<void> {
    try {
      await body(this);
    } catch (error) {
      this.#run.failure ??= `${this.#name}: ${String(error)}`;
    }
    await this.settled();
  }

  async settled(): Promise<void> {
    for (let last: unknown = null; last !== this.#queue;) await (last = this.#queue);
  }

  end(): void {}
  setTimeout(): void {}
  comment(): void {}
  pass(): void {}
  teardown(work: () => unknown): void {
    this.#run.teardowns.push(work);
  }
  testdir(content: Folder = {}): string {
    const folder = mkdtempSync(join(tmpdir(), 'quick-tap-'));
    this.teardown(() => rmSync(folder, { recursive: true, force: true }));
    write(folder, content);
    return folder;
  }

  fail(message = 'failed'): never {
    return this.#run.fail(`${this.#name}: ${message}`);
  }
  ok(value: unknown, message?: string): void {
    if (!value) this.fail(message);
  }
  notOk(value: unknown, message?: string): void {
    if (value) this.fail(message);
  }
  equal(found: unknown, wanted: unknown, message?: string): void {
    if (!Object.is(found, wanted)) this.fail(message);
  }
  not(found: unknown, unwanted: unknown, message?: string): void {
    if (Object.is(found, unwanted)) this.fail(message);
  }
  same(found: unknown, wanted: unknown, message?: string): void {
    if (!same(found, wanted).match) this.fail(message);
  }
  notSame(found: unknown, unwanted: unknown, message?: string): void {
    if (same(found, unwanted).match) this.fail(message);
  }
  strictSame(found: unknown, wanted: unknown, message?: string): void {
    if (!strict(found, wanted).match) this.fail(message);
  }
  match(found: unknown, wanted: unknown, message?: string): void {
    if (!match(found, wanted).match) this.fail(message);
  }
  notMatch(found: unknown, unwanted: unknown, message?: string): void {
    if (match(found, unwanted).match) this.fail(message);
  }
  throws(work: () => unknown, wanted?: unknown, message?: string): void {
    try {
      work();
    } catch (error) {
      if (error instanceof Failure) throw error;
      if (typeof wanted === 'object' && wanted !== null) this.match(error, wanted, message);
      return;
    }
    this.fail(message);
  }
  doesNotThrow(work: () => unknown): void {
    work();
  }
  async rejects(work: Promise<unknown> | (() => Promise<unknown>), wanted?: unknown, message?: string): Promise<void> {
    const error = await (typeof work === 'function' ? work() : work).then(
      () => this.fail(message),
      (reason: unknown) => reason,
    );
    if (error instanceof Failure) throw error;
    if (typeof wanted === 'object' && wanted !== null) this.match(error, wanted, message);
  }
}

function write(folder: string, content: Folder): void {
  for (const [name, value] of Object.entries(content)) {
    const path = join(folder, name);
    if (typeof value === 'string' || value instanceof Uint8Array) writeFileSync(path, value);
    else {
      mkdirSync(path);
      write(path, value);
    }
  }
}

const roots = new Map<number, QuickTest>();
/** What `import t from 'tap'` gives to the file of a run. */
export const testOf = (number: number): QuickTest => roots.get(number)!;

/** Loads a test file, and runs what is in it. @returns what failed first; null: nothing did */
export async function runTest(number: number, load: () => Promise<unknown>): Promise<string | null> {
  const run = new Run();
  const root = new QuickTest(run, 'test');
  roots.set(number, root);
  const onError = (error: unknown): void => void (run.failure ??= String(error));
  process.on('uncaughtException', onError).on('unhandledRejection', onError);
  try {
    await root.all(() => load());
    for (const work of run.teardowns.toReversed()) await work();
  } catch (error) {
    run.failure ??= String(error);
  } finally {
    process.off('uncaughtException', onError).off('unhandledRejection', onError);
    roots.delete(number);
  }
  return run.failure;
}
