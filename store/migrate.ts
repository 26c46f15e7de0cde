/** Bringing a database to today's schema, one numbered step after the other. */
import { type Dialect, type Migration, migrations, newerSchema, SCHEMA_VERSION } from './schema-version.ts';

/** A database whose schema may be any. */
export interface SchemaTarget {
  readonly dialect: Dialect;
  /** 0: no schema */
  version(): Promise<number>;
  /** Applies one step and records it, together where the engine can (SQLite); MySQL's steps may be repeated instead. */
  apply(migration: Migration, at: number): Promise<void>;
  close(): Promise<void>;
}

export interface SchemaStatus {
  /** 0: no schema */
  readonly version: number;
  readonly wanted: number;
  readonly pending: readonly Pick<Migration, 'version' | 'name'>[];
}

/** What a migration would do. @throws STORE_SCHEMA/newer */
export async function schemaStatus(target: SchemaTarget): Promise<SchemaStatus> {
  const version = await target.version();
  if (version > SCHEMA_VERSION) throw newerSchema(version);
  const pending = migrations(target.dialect)
    .filter((migration) => migration.version > version)
    .map(({ version, name }) => ({ version, name }));
  return { version, wanted: SCHEMA_VERSION, pending };
}

/**
 * Applies what is missing; a database of today's schema is left as it is.
 * @param now Unix ms, kept beside each step
 * @throws STORE_SCHEMA/newer, STORE_FAILED
 */
export async function migrateSchema(target: SchemaTarget, now: number): Promise<SchemaStatus> {
  const status = await schemaStatus(target);
  for (const migration of migrations(target.dialect))
    if (migration.version > status.version) await target.apply(migration, now);
  return status;
}
