/**
 * One connection to a MySQL server: steps of operations as prepared statements. What the driver throws carries statements and values, so that
 * nothing of it leaves this file but its error number.
 */
import mysql, { type PoolConnection } from 'mysql2/promise';
import { view } from '../base/bytes.ts';
import { ChatError, withoutTraces } from '../base/errors.ts';
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
import { recordMigration, type Migration } from './schema-version.ts';

/** 40 hexadecimal digits: names of locks end at 64 characters, and hold for all databases of a server. */
const LOCK = "CONCAT('securechat.', SHA1(DATABASE()))";
/** What has just ended may still have the lock for a moment. */
const LOCK_WAIT_S = 5;
/** A connection that was cut off without a word keeps its lock for so long; one that rests says something more often. */
const LOCK_IDLE_S = 30;
/** Longest wait for one statement: a database that hangs is one that does not answer. But a large table may take hours to change. */
const STATEMENT_TIMEOUT_MS = 15_000;
const NO_TIMEOUT = 0;
/** For who changes the schema already. */
const SCHEMA_WAIT_S = 12;
const MAX_INSERT_ROWS = 256;
const MAX_INSERT_BYTES = 2 * 2 ** 20;
/** Two limits above together, and what the protocol adds. */
const MIN_PACKET_BYTES = 8 * 2 ** 20;

// Server error numbers (MySQL 8.0 Error Message Reference)
const ER_DUP_ENTRY = 1062;
const ER_LOCK_WAIT_TIMEOUT = 1205;
const ER_LOCK_DEADLOCK = 1213;
const ER_NO_SUCH_TABLE = 1146;
const DISK_FULL_ERRORS: ReadonlySet<number> = new Set([1021, 1041, 1114]);

/** One connection, and what this file knows of its state. */
export class Session {
  readonly #connection: PoolConnection;
  /** Nothing more can be said over this connection, or what it would say is not known. */
  isLost = false;

  constructor(connection: PoolConnection) {
    this.#connection = connection;
  }

  /** Settings that the statements rely on, whatever the server's own are. */
  async prepare(): Promise<void> {
    await this.text('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
    await this.text(
      "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION innodb_lock_wait_timeout = 5, SESSION autocommit = 1",
    );
  }

  /** For as long as this connection lasts. @throws IN_USE */
  async lock(): Promise<void> {
    await this.text(`SET SESSION wait_timeout = ${LOCK_IDLE_S}`);
    const [row] = await this.#select(`SELECT GET_LOCK(${LOCK}, ?) AS held`, [LOCK_WAIT_S]);
    if (Number(row?.['held']) !== 1)
      throw new ChatError('IN_USE', 'another chat-server serves with this database; stop that one first');
  }

  /** For as long as this connection lasts: of two who migrate at once, the second finds nothing left to do. @throws IN_USE */
  async lockSchema(): Promise<void> {
    const [row] = await this.#select("SELECT GET_LOCK('securechat.migrate', ?) AS held", [SCHEMA_WAIT_S]);
    if (Number(row?.['held']) !== 1)
      throw new ChatError('IN_USE', 'another process is changing the schema; wait until it is done');
  }

  /** 0: no schema */
  async schemaVersion(database: string): Promise<number> {
    const exists = await this.#select(
      "SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_schema = ? AND table_name = 'schema_migrations'",
      [database],
    );
    if (Number(exists[0]?.['n']) === 0) return 0;
    const [row] = await this.#select('SELECT MAX(version) AS version FROM schema_migrations', []);
    return Number(row?.['version'] ?? 0);
  }

  async checkServer(): Promise<void> {
    const [row] = await this.#select(
      'SELECT @@GLOBAL.innodb_flush_log_at_trx_commit AS flush_log, @@GLOBAL.max_allowed_packet AS packet',
      [],
    );
    if (Number(row?.['flush_log']) !== 1)
      throw new ChatError('CONFIG_INVALID', 'the database server must run with innodb_flush_log_at_trx_commit = 1', {
        field: 'db.url',
      });
    if (Number(row?.['packet']) < MIN_PACKET_BYTES)
      throw new ChatError('CONFIG_INVALID', 'the database server must run with max_allowed_packet of 8 MiB or more', {
        field: 'db.url',
      });
  }

  async ping(): Promise<void> {
    await this.#select('SELECT COUNT(*) AS n FROM schema_migrations', []);
  }

  async migrate(migration: Migration, at: number): Promise<void> {
    // DDL commits by itself: a step that was cut short is run again from its start, and is written so that it may be.
    for (const statement of statementsOf(migration.sql)) await this.text(statement, NO_TIMEOUT);
    await this.transaction(recordMigration(migration, at));
  }

  /** @throws Retry when it was rolled back and may be run again */
  async transaction<T>(operation: Operation<T>): Promise<T> {
    await this.text('START TRANSACTION');
    try {
      const value = await this.run(operation);
      await this.text('COMMIT');
      return value;
    } catch (error) {
      if (!this.isLost) await this.text('ROLLBACK').catch(() => (this.isLost = true));
      throw error;
    }
  }

  async run<T>(operation: Operation<T>): Promise<T> {
    let next = operation.next();
    while (!next.done) {
      let rows: readonly Row[];
      try {
        rows = await this.#step(next.value);
      } catch (error) {
        // A deadlock has undone the whole transaction: the operation has nothing to say to that.
        if (!(error instanceof Conflict)) throw error;
        next = operation.throw(error);
        continue;
      }
      next = operation.next(rows);
    }
    return next.value;
  }

  async #step(step: Step): Promise<readonly Row[]> {
    if (step.do === 'insert') {
      for (const rows of chunks(step.rows, MAX_INSERT_ROWS, MAX_INSERT_BYTES))
        await this.#execute(insertSql(step.target, rows.length), rows.flat());
      return [];
    }
    const { sql, values } = expand(step.sql, step.args);
    if (step.do === 'select') return this.#select(sql, values);
    await this.#execute(sql, values);
    return [];
  }

  async #select(sql: string, values: readonly Scalar[]): Promise<Row[]> {
    return (await this.#execute(sql, values)) as Row[];
  }

  async #execute(sql: string, values: readonly Scalar[]): Promise<unknown> {
    const statement = { sql, values: values.map(parameter) };
    // The driver keeps the caller's stack for its errors, of which nothing is kept here but their numbers.
    const [rows] = await this.#answered(
      withoutTraces(() => this.#connection.execute(statement)),
      STATEMENT_TIMEOUT_MS,
    );
    return rows;
  }

  /** Statements that cannot be prepared, none of which holds a value. */
  async text(sql: string, timeout = STATEMENT_TIMEOUT_MS): Promise<void> {
    await this.#answered(
      withoutTraces(() => this.#connection.query(sql)),
      timeout,
    );
  }

  /** The driver has a limit of its own for what it executes, and none for what it prepares. */
  async #answered<T>(statement: Promise<T>, timeout: number): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = timeout === NO_TIMEOUT ? undefined : setTimeout(() => reject({ code: 'NO_ANSWER' }), timeout);
    try {
      return await Promise.race([statement, late]);
    } catch (error) {
      throw this.#named(error);
    } finally {
      clearTimeout(timer);
    }
  }

  #named(error: unknown): Error {
    const { errno, code, fatal, sqlMessage } = error as DriverError;
    // Without a number of the server's own it is the connection that failed: errno is then the system's, or missing.
    if (fatal === true || errno === undefined || errno < 1000) this.isLost = true;
    if (this.isLost || errno === undefined) return failed(code);
    // The value in the text may be anything; the key's name stands at its end. MySQL 8 puts the table before it.
    if (errno === ER_DUP_ENTRY) return new Conflict(/'(?:\w+\.)?(\w+)'$/.exec(sqlMessage ?? '')?.[1] ?? 'unknown');
    if (errno === ER_LOCK_DEADLOCK || errno === ER_LOCK_WAIT_TIMEOUT) return new Retry(code);
    if (errno === ER_NO_SUCH_TABLE)
      return new ChatError('STORE_SCHEMA', 'a table is missing from the database', { sub: 'missing' });
    if (DISK_FULL_ERRORS.has(errno)) return new ChatError('DISK_FULL', 'no space left for the database');
    return failed(code);
  }
}

interface DriverError {
  readonly errno?: number;
  readonly code?: string;
  readonly fatal?: boolean;
  readonly sqlMessage?: string;
}

/** The server undid the transaction for another's sake. */
export class Retry extends Error {
  readonly reason: string | undefined;
  constructor(reason: string | undefined) {
    super('the transaction was rolled back');
    this.reason = reason;
  }
}

/** @param reason the driver's or server's name for the error, `ER_…` or `ECONNREFUSED` */
export function failed(reason = 'no reason given'): ChatError {
  const hint = HINTS[reason];
  return new ChatError('STORE_FAILED', `the database failed (${reason})${hint === undefined ? '' : `: ${hint}`}`);
}
/** What somebody who has just set it up has to look at. */
const HINTS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing answers at its address; is it running, and db.url right',
  ENOTFOUND: 'there is no host of this name; is db.url right',
  ETIMEDOUT: 'nothing answers at its address; is db.url right, and no firewall between',
  HANDSHAKE_SSL_ERROR: 'TLS failed; is db.tls_ca its authority, and the host a name of its certificate',
  ER_ACCESS_DENIED_ERROR: 'it refuses this user from here with this password, or without TLS',
  ER_DBACCESS_DENIED_ERROR: 'this user has no rights in this database; see sql/grants.sql',
  NO_ANSWER: 'it took too long',
  ER_BAD_DB_ERROR: 'there is no database of this name',
};

/** The driver looks for the file of what is behind this name each time that it is asked for it. */
const { BIGINT } = mysql.TypedParameter;
/** Numbers go as integers: the driver would send a double, which LIMIT refuses and comparisons convert. */
function parameter(value: Scalar) {
  if (typeof value === 'number') return BIGINT(value);
  return value instanceof Uint8Array ? view(value) : value;
}

function insertSql(target: Target, rows: number): string {
  const { key, onConflict } = target;
  const text = insertText(target, rows);
  if (onConflict === 'fail') return text;
  const replaced =
    onConflict === 'keep' ? [`${key[0]} = ${key[0]}`] : onConflict.map((each) => `${each} = VALUES(${each})`);
  return `${text} ON DUPLICATE KEY UPDATE ${replaced.join(', ')}`;
}

/** The statements of one of our own files, each of which ends with a semicolon at the end of a line. */
const statementsOf = (sql: string): string[] =>
  sql
    .replace(/^--.*$/gm, '')
    .split(/;\s*$/m)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '');
