/**
 * Opens the client's SQLite file: private, locked for one process, durable at every commit. What is in the tables: vault.ts.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync, type SQLOutputValue, type StatementSync } from 'node:sqlite';
import { ChatError } from '../base/errors.ts';
import { assertPrivate, makePrivateFolder } from './private-file.ts';
import { MIGRATIONS } from './schema.ts';

export type Row = Record<string, SQLOutputValue>;
type Parameter = null | number | string | Uint8Array;

export class Database {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #depth = 0;
  #isForgetting = false;

  private constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /**
   * @param folder of the profile; made with mode 0700
   * @throws IN_USE naming the process that has it, UNSAFE_FILE, STORE_SCHEMA for a file of a later version, DISK_FULL, STORE_FAILED
   */
  static open(folder: string): Database {
    makePrivateFolder(folder);
    const file = join(folder, 'vault.db');
    const pidFile = join(folder, 'vault.pid');
    const umask = process.umask(0o077); // SQLite gives the journal the mode of the database, and the database that of the umask
    let db: DatabaseSync | null = null;
    try {
      db = new DatabaseSync(file);
      // The lock is the operating system's: it goes with the process, however that ends. 16 MB hold what a message touches of some ten thousand.
      db.exec(
        'PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA cache_size = -16000;',
      );
      db.exec('BEGIN EXCLUSIVE');
      const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version']);
      if (version > MIGRATIONS.length)
        throw new ChatError('STORE_SCHEMA', 'the local store was written by a later version of this program');
      // Nothing is written to a database that is what it should be, so that a full disk can be read.
      if (version < MIGRATIONS.length)
        db.exec(`${MIGRATIONS.slice(version).join('')} PRAGMA user_version = ${MIGRATIONS.length};`);
      db.exec('COMMIT');
      emptyJournal(db);
      note(pidFile);
      const synchronous = db.prepare('PRAGMA synchronous').get()?.['synchronous'];
      const journal = db.prepare('PRAGMA journal_mode').get()?.['journal_mode'];
      if (synchronous !== 2 || journal !== 'wal')
        throw new ChatError('STORE_FAILED', 'the local store cannot be opened so that it survives a power cut');
      assertPrivate(file);
      return new Database(db);
    } catch (error) {
      db?.close();
      if (isBusy(error)) throw new ChatError('IN_USE', `another process${holder(pidFile)} uses this profile`);
      throw named(error);
    } finally {
      process.umask(umask);
    }
  }

  all(sql: string, ...parameters: readonly Parameter[]): Row[] {
    return guarded(() => this.#prepare(sql).all(...parameters) as Row[]);
  }
  one(sql: string, ...parameters: readonly Parameter[]): Row | undefined {
    return guarded(() => this.#prepare(sql).get(...parameters) as Row | undefined);
  }
  /** Answers the number of rows changed. */
  run(sql: string, ...parameters: readonly Parameter[]): number {
    return guarded(() => Number(this.#prepare(sql).run(...parameters).changes));
  }

  /** All or nothing, and durable when it returns. Inside another transaction it is part of that one. */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    guarded(() => this.#db.exec('BEGIN IMMEDIATE'));
    this.#depth++;
    try {
      const result = work();
      guarded(() => this.#db.exec('COMMIT'));
      if (this.#isForgetting) this.#emptyJournal();
      return result;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    } finally {
      this.#depth--;
    }
  }

  /** What this transaction takes away is gone from the journal as well when it returns; the file itself has zeros there. */
  forgetting(): void {
    this.#isForgetting = true;
  }
  #emptyJournal(): void {
    if (!emptyJournal(this.#db))
      throw new ChatError('STORE_FAILED', 'the journal of the local store cannot be emptied of what was deleted');
    this.#isForgetting = false;
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw named(error);
  }
}

/** Moves all of it into the database, and cuts it to nothing. At the start it may hold what a process deleted that was killed then. */
function emptyJournal(db: DatabaseSync): boolean {
  try {
    return db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.['busy'] === 0;
  } catch {
    return false; // a full disk can still be read
  }
}

const SQLITE = { busy: 5, full: 13 } as const;
const errcode = (error: unknown): number => Number((error as { errcode?: number }).errcode ?? 0) & 0xff;
const isBusy = (error: unknown): boolean => errcode(error) === SQLITE.busy;

function named(error: unknown): ChatError {
  if (error instanceof ChatError) return error;
  if (errcode(error) === SQLITE.full)
    return new ChatError('DISK_FULL', 'no space left for the local store', { cause: error });
  return new ChatError('STORE_FAILED', 'the local store failed', { cause: error });
}

/** Says who has the profile, for the message to others; on a full disk that message must do without. */
function note(pidFile: string): void {
  try {
    writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  } catch {
    // what is kept can still be read
  }
}

function holder(pidFile: string): string {
  try {
    const pid = /^[1-9]\d{0,9}\n$/.exec(readFileSync(pidFile, 'latin1'));
    return pid ? ` (pid ${pid[0].trim()})` : '';
  } catch {
    return '';
  }
}
