/**
 * MySQL 8 and MariaDB. Each operation runs on one connection (mysql-session.ts), writers in a transaction of READ COMMITTED with the rows
 * they change held; a deadlock rolls back and runs the operation again. Of those that serve with a database there is one, which holds a
 * lock in it (docs/decisions/0029).
 */
import mysql, { type Connection, type Pool, type PoolOptions } from 'mysql2/promise';
import { ChatError } from '../base/errors.ts';
import type { Secret } from '../base/secret.ts';
import type { SchemaTarget } from './migrate.ts';
import { failed, Retry, Session } from './mysql-session.ts';
import type { Operation } from './operation.ts';
import { isRead, methods, OPERATIONS, type Arguments, type Call, type Method, type Result } from './operations.ts';
import { checkSchema } from './schema-version.ts';
import type { Store } from './store.ts';

export interface MysqlLocation {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  /** null: plain TCP. A server certificate is always checked, against these CAs (PEM) or, without them, Node's own. */
  readonly tls: { readonly ca: string | null } | null;
}

const CONNECTIONS = 10;
/**
 * What only the process that serves may write: it gives out places in its memory (ahead.ts). Over one connection, which has the lock for
 * as long as it lasts: a process that has lost that writes nothing that another does not expect.
 */
const OWN: ReadonlySet<Method> = new Set<Method>([
  'commitWindow',
  'commitRecords',
  'complete',
  'rewind',
  'expire',
  // What is asked after a failure: a commit of a connection that was given up may still come about, until another one has its lock.
  'logSize',
]);
const LOCK_PING_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** Calls that may wait for a connection. More fail at once: whoever sent them is told so and repeats. */
const MAX_WAITING_CALLS = 4096;
/** Runs of an operation that keeps meeting deadlocks. */
export const MAX_RUNS = 8;
/** After that no other one begins: of one that waits for rows which somebody holds each takes as long as the one before. */
const RUNS_BEGIN_MS = 15_000;

/**
 * @param isServing no other process may write windows meanwhile
 * @throws STORE_SCHEMA, STORE_FAILED; CONFIG_INVALID when the server does not keep what it commits through a power cut; IN_USE
 */
export async function openMysql(location: MysqlLocation, password: Secret | null, isServing = false): Promise<Store> {
  const connections = new Connections(createPool(location, password, CONNECTIONS), (session) => session.prepare());
  const own = !isServing
    ? null
    : new Connections(createPool(location, password, 1), async (session) => {
        await session.prepare();
        await session.lock();
      });
  const call: Call = async <M extends Method>(method: M, args: Arguments<M>): Promise<Result<M>> => {
    const operation = (): Operation<Result<M>> => OPERATIONS[method](...args);
    const over = OWN.has(method) ? (own ?? connections) : connections;
    const latestMs = performance.now() + RUNS_BEGIN_MS;
    for (let run = 1; ; run++) {
      try {
        return await over.use((session) =>
          isRead(method) ? session.run(operation()) : session.transaction(operation()),
        );
      } catch (error) {
        // Of one's own, perhaps, that was cut off: the database will notice.
        if (error instanceof ChatError && error.code === 'IN_USE') throw failed('locked by another connection');
        if (!(error instanceof Retry)) throw ChatError.from(error);
        if (run === MAX_RUNS || performance.now() > latestMs) throw failed(error.reason);
      }
    }
  };
  const close = async (): Promise<void> => {
    clearInterval(pinging);
    await Promise.all([connections.end(), own?.end()]);
  };
  let pinging: NodeJS.Timeout | undefined;
  try {
    await connections.use(async (session) => {
      checkSchema(await session.schemaVersion(location.database));
      await session.checkServer();
    });
    if (own) {
      await own.use((session) => session.ping());
      const ping = (): void => void own.use((session) => session.ping()).catch(() => undefined);
      pinging = setInterval(ping, LOCK_PING_MS).unref();
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    kind: 'mysql',
    ...methods(call),
    ping: () => connections.use((session) => session.ping()),
    relief: () => null,
    close,
  };
}

/** Some connections, each prepared when it is new. */
class Connections {
  readonly #pool: Pool;
  readonly #prepare: (session: Session) => Promise<void>;
  /** By what the pool hands out in a new wrapper each time. */
  readonly #sessions = new WeakMap<Connection, Session>();

  constructor(pool: Pool, prepare: (session: Session) => Promise<void>) {
    this.#pool = pool;
    this.#prepare = prepare;
  }

  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const handle = await reached(this.#pool.getConnection());
    let session = this.#sessions.get(handle.connection);
    try {
      if (session === undefined) {
        const fresh = new Session(handle);
        await this.#prepare(fresh);
        session = fresh;
        this.#sessions.set(handle.connection, session);
      }
      return await work(session);
    } finally {
      if (session === undefined || session.isLost) handle.destroy();
      else handle.release();
    }
  }

  async end(): Promise<void> {
    await this.#pool.end().catch(() => undefined); // the server may be gone already
  }
}

/** Nobody else changes the schema until it is closed. @throws STORE_FAILED, IN_USE */
export async function mysqlSchema(location: MysqlLocation, password: Secret | null): Promise<SchemaTarget> {
  const pool = createPool(location, password, 1);
  let session: Session;
  try {
    session = new Session(await reached(pool.getConnection()));
    await session.prepare();
    await session.lockSchema();
  } catch (error) {
    await pool.end();
    throw error;
  }
  return {
    dialect: 'mysql',
    version: () => session.schemaVersion(location.database),
    apply: (migration, at) => session.migrate(migration, at),
    close: async () => {
      await pool.end().catch(() => undefined);
    },
  };
}

function createPool({ host, port, user, database, tls }: MysqlLocation, password: Secret | null, size: number): Pool {
  const options: PoolOptions = {
    host,
    port,
    user,
    database,
    charset: 'utf8mb4_bin',
    connectionLimit: size,
    queueLimit: MAX_WAITING_CALLS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    enableKeepAlive: true,
    multipleStatements: false,
    namedPlaceholders: false,
    dateStrings: true,
    supportBigNumbers: true,
    bigNumberStrings: false,
    maxPreparedStatements: 256,
    // Local files are for the server to ask for: never.
    flags: ['-LOCAL_FILES'],
    ...(password && { password: password.use((bytes) => bytes.toString('utf8')) }),
    ...(tls && {
      ssl: {
        minVersion: 'TLSv1.2',
        rejectUnauthorized: true,
        verifyIdentity: true,
        ...(tls.ca !== null && { ca: tls.ca }),
      },
    }),
  };
  return mysql.createPool(options);
}

async function reached<T>(attempt: Promise<T>): Promise<T> {
  try {
    return await attempt;
  } catch (error) {
    throw failed((error as { readonly code?: string }).code);
  }
}
