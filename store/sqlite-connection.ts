/** One connection to a database file: the only door to `node:sqlite`. It runs operations in place, step by step. */
import { chmodSync, closeSync, existsSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { ChatError } from '../base/errors.ts';
import {
  chunks,
  Conflict,
  expand,
  insertText,
  type Operation,
  type Row,
  type Scalar,
  type Step,
  type Target,
} from './operation.ts';
import { checkSchema } from './schema-version.ts';

/** How long to wait for another process that writes (`chat-server user list` and the like are quick). */
const BUSY_TIMEOUT_MS = 5000;
/** Statements kept prepared. The texts are few; lists make some more, by powers of two. */
const MAX_STATEMENTS = 512;
/** Rows in one statement: halves what a row costs, and more gain nothing. */
const MAX_INSERT_ROWS = 16;

// SQLite's primary result codes (https://www.sqlite.org/rescode.html)
const SQLITE_FULL = 13;
const SQLITE_CONSTRAINT_UNIQUE = 2067;
const SQLITE_CONSTRAINT_PRIMARYKEY = 1555;
const SQLITE_CONSTRAINT_ROWID = 2579;

export class SqliteConnection {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #inserts = new Map<Target, Map<number, StatementSync>>();
  #isInTransaction = false;
  #isEager = true;

  private constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /** The database as `migrate` left it. @throws STORE_SCHEMA, STORE_FAILED, DISK_FULL */
  static open(path: string): SqliteConnection {
    if (!existsSync(path))
      throw new ChatError('STORE_SCHEMA', 'the database does not exist yet; run `chat-server db init`', {
        sub: 'missing',
      });
    const connection = SqliteConnection.openAnySchema(path);
    try {
      checkSchema(connection.schemaVersion());
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  /** For migrations: a file that is missing is created. Only its owner may read it, and SQLite gives its companions the same mode. */
  static openAnySchema(path: string): SqliteConnection {
    return named(() => {
      closeSync(openSync(path, 'a', 0o600));
      chmodSync(path, 0o600);
      const db = new DatabaseSync(path, {
        timeout: BUSY_TIMEOUT_MS,
        enableForeignKeyConstraints: true,
        enableDoubleQuotedStringLiterals: false,
        allowExtension: false,
      });
      try {
        db.exec('PRAGMA journal_mode = WAL');
        // With NORMAL a power cut takes what was committed since the last checkpoint. The setting is not kept in the file.
        db.exec('PRAGMA synchronous = FULL');
        db.exec('PRAGMA trusted_schema = OFF');
        // What is deleted is overwritten: a message that was delivered must not stay in free pages of the file.
        db.exec('PRAGMA secure_delete = ON');
        // 32 MiB: the pages that commits touch stay in memory when the file is large.
        db.exec('PRAGMA cache_size = -32768');
        // What a statement would undo is kept in files of /var/tmp otherwise: pages with messages, outside the state directory, where
        // nothing overwrites them.
        db.exec('PRAGMA temp_store = MEMORY');
      } catch (error) {
        db.close();
        throw error;
      }
      return new SqliteConnection(db);
    });
  }

  /** 0: no schema */
  schemaVersion(): number {
    return named(() => {
      const table = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'";
      if (!this.#db.prepare(table).get()) return 0;
      return Number(this.#db.prepare('SELECT MAX(version) AS version FROM schema_migrations').get()?.['version'] ?? 0);
    });
  }

  /** Several statements, as a file of the schema holds them. */
  script(sql: string): void {
    named(() => this.#db.exec(sql));
  }

  ping(): void {
    named(() => this.#prepare('SELECT COUNT(*) AS n FROM schema_migrations').get());
  }

  /**
   * Brings everything into the database file and empties the write-ahead log, where old pages, deleted contents among them, would stay
   * until they are written over. Waits for nobody.
   * @returns false when somebody else was reading or writing
   */
  emptyLog(): boolean {
    return named(() => {
      this.#db.exec('PRAGMA busy_timeout = 0');
      try {
        return Number(this.#db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.['busy']) === 0;
      } finally {
        this.#db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      }
    });
  }

  close(): void {
    this.#statements.clear();
    this.#inserts.clear();
    this.#db.close();
  }

  /** True once SQLite has given up the transaction that is being worked in. */
  get isBroken(): boolean {
    return this.#isInTransaction && !this.#db.isTransaction;
  }

  /**
   * Whether the transactions that follow are on the disk when they are committed. If not, they are there after the next one that is: a
   * power cut, but not the end of this process, may take them back.
   */
  set isEager(isEager: boolean) {
    if (isEager === this.#isEager) return;
    this.#db.exec(isEager ? 'PRAGMA synchronous = FULL' : 'PRAGMA synchronous = NORMAL');
    this.#isEager = isEager;
  }

  /** Rows changed since the connection was opened, undone changes included. */
  get changes(): number {
    return Number(this.#prepare('SELECT total_changes() AS n').get()?.['n']);
  }

  transaction<T>(work: () => T): T {
    return named(() => {
      this.#db.exec('BEGIN IMMEDIATE');
      this.#isInTransaction = true;
      try {
        const value = work();
        this.#db.exec('COMMIT');
        return value;
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
        throw error;
      } finally {
        this.#isInTransaction = false;
      }
    });
  }

  savepoint<T>(work: () => T): T {
    this.#prepare('SAVEPOINT one').run();
    try {
      const value = work();
      this.#prepare('RELEASE one').run();
      return value;
    } catch (error) {
      if (this.#db.isTransaction) {
        this.#prepare('ROLLBACK TO one').run();
        this.#prepare('RELEASE one').run();
      }
      throw error;
    }
  }

  run<T>(operation: Operation<T>): T {
    let next = operation.next();
    while (!next.done) {
      let rows: readonly Row[];
      try {
        rows = this.#step(next.value);
      } catch (error) {
        const key = conflictOf(error);
        next = operation.throw(key === null ? nameOf(error) : new Conflict(key));
        continue;
      }
      next = operation.next(rows);
    }
    return next.value;
  }

  #step(step: Step): readonly Row[] {
    if (step.do === 'insert') {
      for (const rows of chunks(step.rows, MAX_INSERT_ROWS, Infinity)) this.#insert(step.target, rows);
      return [];
    }
    const { sql, values } = expand(step.sql, step.args);
    if (step.do === 'select') return this.#prepare(sql).all(...values) as unknown as Row[];
    this.#prepare(sql).run(...values);
    return [];
  }

  #insert(target: Target, rows: readonly (readonly Scalar[])[]): void {
    let byLength = this.#inserts.get(target);
    if (!byLength) this.#inserts.set(target, (byLength = new Map()));
    let statement = byLength.get(rows.length);
    if (!statement) byLength.set(rows.length, (statement = this.#db.prepare(insertSql(target, rows.length))));
    statement.run(...rows.flat());
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      if (this.#statements.size >= MAX_STATEMENTS) this.#statements.clear();
      statement = this.#db.prepare(dialect(sql));
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

/** SQLite plans for the number behind LIMIT and prepares the statement anew each time that one is bound, unless it is an expression. */
const dialect = (sql: string): string => sql.replace(/ FOR UPDATE$/, '').replaceAll(' LIMIT ?', ' LIMIT +?');

function insertSql(target: Target, rows: number): string {
  const { key, onConflict } = target;
  const text = insertText(target, rows);
  if (onConflict === 'fail') return text;
  const replaced = onConflict === 'keep' ? [] : onConflict.map((each) => `${each} = excluded.${each}`);
  return `${text} ON CONFLICT (${key.join(', ')}) DO ${replaced.length > 0 ? `UPDATE SET ${replaced.join(', ')}` : 'NOTHING'}`;
}

/** `UNIQUE constraint failed: users.email, …` → `users_email` */
function conflictOf(error: unknown): string | null {
  const { errcode, message } = error as { errcode?: number; message?: string };
  const isUnique =
    errcode === SQLITE_CONSTRAINT_UNIQUE ||
    errcode === SQLITE_CONSTRAINT_PRIMARYKEY ||
    errcode === SQLITE_CONSTRAINT_ROWID;
  return isUnique
    ? (/: (\w+)\.(\w+)/
        .exec(message ?? '')
        ?.slice(1)
        .join('_') ?? 'unknown')
    : null;
}

function named<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw nameOf(error);
  }
}

/** SQLite's own text says which table or file it was, never a value. */
function nameOf(error: unknown): unknown {
  if (error instanceof ChatError || error instanceof Conflict) return error;
  const { errcode, message, code } = error as { errcode?: number; message?: string; code?: string };
  if (code === 'ENOSPC' || (errcode !== undefined && (errcode & 0xff) === SQLITE_FULL))
    return new ChatError('DISK_FULL', 'no space left for the database', { cause: error });
  return new ChatError('STORE_FAILED', `the database failed: ${message ?? 'no reason given'}`, { cause: error });
}
