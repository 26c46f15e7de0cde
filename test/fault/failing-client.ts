/**
 * Loaded into a client process before it starts: it kills itself (SIGKILL) just before or just after its nth commit to the vault, as
 * CHAT_FAULT says: `before:N` or `after:N`; with a third word, `:later`, counted from the call of `beginFaults` on.
 */
import { substitute } from './substitute.ts';

const [side, count, later] = (process.env['CHAT_FAULT'] ?? '').split(':');
let left = Number(count);
let isCounting = later === undefined;
Object.assign(globalThis, { beginFaults: () => (isCounting = true) });

interface Committing {
  run(sql: string, ...parameters: never[]): number;
  transaction<T>(work: () => T): T;
}

export function dying<C extends { prototype: object }>(Database: C): C {
  const { run, transaction } = Database.prototype as Committing;
  let depth = 0;
  const counted = <T>(work: () => T): T => {
    if (depth > 0 || !isCounting) return work();
    if (--left === 0 && side === 'before') process.kill(process.pid, 'SIGKILL');
    depth++;
    try {
      const value = work();
      if (left === 0 && side === 'after') process.kill(process.pid, 'SIGKILL');
      return value;
    } finally {
      depth--;
    }
  };
  Object.assign(Database.prototype, {
    run(this: Committing, sql: string, ...parameters: never[]): number {
      return counted(() => run.call(this, sql, ...parameters));
    },
    transaction<T>(this: Committing, work: () => T): T {
      return counted(() => transaction.call(this, work) as T);
    },
  } satisfies Committing);
  return Database;
}

substitute('/client/database.ts', { Database: 'by.dying(real.Database)' }, import.meta.url);
