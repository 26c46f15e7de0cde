/** The schema of a database file. Short work at start or from the command line, on the calling thread. */
import { existsSync } from 'node:fs';
import { acquireServingLock } from './lock.ts';
import type { SchemaTarget } from './migrate.ts';
import { recordMigration } from './schema-version.ts';
import { SqliteConnection } from './sqlite-connection.ts';

/**
 * The file is created with the first step.
 * @throws STORE_FAILED, DISK_FULL, as the target's methods do; IN_USE instead of changing what a process serves with, which knows its own
 *   schema and no other
 */
export function sqliteSchema(path: string): SchemaTarget {
  let connection = existsSync(path) ? SqliteConnection.openAnySchema(path) : null;
  return {
    dialect: 'sqlite',
    version: async () => connection?.schemaVersion() ?? 0,
    apply: async (migration, at) => {
      const db = (connection ??= SqliteConnection.openAnySchema(path));
      const lock = acquireServingLock(path);
      try {
        db.transaction(() => {
          // Somebody else may have been quicker.
          if (db.schemaVersion() >= migration.version) return;
          db.script(migration.sql);
          db.run(recordMigration(migration, at));
        });
      } finally {
        lock.release();
      }
    },
    close: async () => connection?.close(),
  };
}
