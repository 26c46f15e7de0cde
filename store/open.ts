/** A URL and a password → a store, or its schema. `sqlite:PATH`, `mysql://user@host:port/name?tls=…`. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Secret } from '../base/secret.ts';
import { ChatError } from '../base/errors.ts';
import { openAhead } from './ahead.ts';
import { migrateSchema, schemaStatus, type SchemaStatus, type SchemaTarget } from './migrate.ts';
import type { MysqlLocation } from './mysql.ts';
import { sqliteSchema } from './sqlite-schema.ts';
import { openSqlite } from './sqlite.ts';
import type { Store } from './store.ts';

/** Given by the process that serves, of which a database has one: it keeps a journal, and the database is told later (ahead.ts). */
export interface Serving {
  /** where the journal of a MySQL database lies; that of an embedded one is beside it */
  readonly stateDir: string;
  /**
   * Called when the store is gone for good, and only another process can open it again: SQLite's thread has died, or somebody else has
   * written what only this process may. A MySQL server comes back, and its pool connects again
   */
  readonly onLost: (error: ChatError) => void;
}

/** @throws CONFIG_INVALID for the URL; STORE_SCHEMA, STORE_FAILED, DISK_FULL; IN_USE */
export async function openStore(url: string, password: Secret | null, serving?: Serving): Promise<Store> {
  const location = parse(url);
  const database =
    location.kind === 'mysql'
      ? await (await mysql()).openMysql(location, password, serving !== undefined)
      : await openSqlite(location.path, serving?.onLost);
  if (serving === undefined) return database;
  const journal = location.kind === 'mysql' ? join(serving.stateDir, 'mysql') : location.path;
  try {
    return await openAhead(journal, database, serving.onLost);
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Whether openStore() would know where to look; asks nobody. @throws CONFIG_INVALID */
export const checkStoreUrl = (url: string): void => void parse(url);

/** What `migrateStore` would do; creates nothing. @throws CONFIG_INVALID, STORE_SCHEMA/newer, STORE_FAILED */
export const storeStatus = (url: string, password: Secret | null): Promise<SchemaStatus> =>
  withSchema(url, password, schemaStatus);

/** Makes the database or brings it to today's schema. @param now Unix ms @throws CONFIG_INVALID, STORE_SCHEMA/newer, STORE_FAILED, IN_USE */
export const migrateStore = (url: string, password: Secret | null, now: number): Promise<SchemaStatus> =>
  withSchema(url, password, (target) => migrateSchema(target, now));

async function withSchema<T>(
  url: string,
  password: Secret | null,
  work: (target: SchemaTarget) => Promise<T>,
): Promise<T> {
  const location = parse(url);
  const target =
    location.kind === 'sqlite' ? sqliteSchema(location.path) : await (await mysql()).mysqlSchema(location, password);
  try {
    return await work(target);
  } finally {
    await target.close();
  }
}

/** Loaded where it is wanted: the driver is as much code as all the rest of the server. */
const mysql = () => import('./mysql.ts');

type Location = { readonly kind: 'sqlite'; readonly path: string } | ({ readonly kind: 'mysql' } & MysqlLocation);

function parse(url: string): Location {
  if (url.startsWith('sqlite:')) {
    const path = url.slice('sqlite:'.length);
    // `:memory:` would forget everything that was acknowledged.
    if (path === '' || path.startsWith(':') || path.startsWith('file:') || path.includes('\0'))
      throw invalid('sqlite: wants the path of a file');
    return { kind: 'sqlite', path };
  }
  if (!URL.canParse(url) || !url.startsWith('mysql://'))
    throw invalid('want sqlite:PATH or mysql://user@host:port/name');
  return mysqlLocation(new URL(url));
}

function mysqlLocation(url: URL): Location {
  if (url.password !== '')
    throw invalid('the password does not belong into the URL, which logs and process lists show');
  const database = decode(url.pathname.slice(1));
  if (url.hostname === '' || url.username === '' || database === '' || database.includes('/') || url.hash !== '')
    throw invalid('want mysql://user@host:port/name');
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  for (const key of url.searchParams.keys())
    if (key !== 'tls' && key !== 'ca') throw invalid('only tls and ca may follow the question mark');
  const tls = url.searchParams.get('tls') ?? (LOOPBACK.test(host) ? 'off' : 'on');
  if (tls !== 'on' && tls !== 'off') throw invalid('tls: want on or off');
  const ca = url.searchParams.get('ca');
  if (ca !== null && tls === 'off') throw invalid('ca goes with tls=on');
  // The driver compares a certificate with names alone: for an address it would accept any server that calls itself localhost.
  if (tls === 'on' && isIP(host) !== 0)
    throw invalid('TLS to MySQL wants a host name that its certificate has, and no address');
  return {
    kind: 'mysql',
    host,
    port: url.port === '' ? 3306 : Number(url.port),
    user: decode(url.username),
    database,
    tls: tls === 'on' ? { ca: ca === null ? null : caOf(ca) } : null,
  };
}

/** Where nobody can listen between the two: TLS is off unless asked for; anywhere else it is on unless refused. */
const LOOPBACK = /^(localhost|127(\.\d+){3}|::1)$/;

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid('a percent sign that escapes nothing');
  }
}

function caOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ChatError('CONFIG_INVALID', `the CA file for the database, ${path}, cannot be read`, {
      field: 'db.url',
      cause,
    });
  }
}

const invalid = (message: string): ChatError => new ChatError('CONFIG_INVALID', message, { field: 'db.url' });
