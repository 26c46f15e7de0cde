/** Which schema this program speaks, and the numbered files that lead to it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { ChatError } from '../base/errors.ts';
import { insert, type Operation, type Target } from './operation.ts';

export type Dialect = 'mysql' | 'sqlite';

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

/** The schema that the statements in this room are written for. */
export const SCHEMA_VERSION = 9;

/** `sql/` stands beside the sources, and one step higher than the built files. */
const SQL_DIR = ['../sql/', '../../sql/'].map((path) => new URL(path, import.meta.url)).find((url) => existsSync(url));

function sqlFile(name: string): URL {
  if (!SQL_DIR) throw new ChatError('STORE_SCHEMA', 'the directory sql/ is missing from this installation');
  return new URL(name, SQL_DIR);
}

/** By ascending version, without a gap. */
export function migrations(dialect: Dialect): Migration[] {
  const dir = sqlFile('migrations/');
  return readdirSync(dir)
    .map((file) => ({ file, match: /^(\d{4})-([a-z0-9-]+)\.(mysql|sqlite)\.sql$/.exec(file) }))
    .filter(({ match }) => match?.[3] === dialect)
    .map(({ file, match }) => ({
      version: Number(match?.[1]),
      name: match?.[2] ?? '',
      sql: readFileSync(new URL(file, dir), 'utf8'),
    }))
    .sort((a, b) => a.version - b.version);
}

/** Today's schema as one file. */
export const schemaText = (dialect: Dialect): string =>
  readFileSync(sqlFile(dialect === 'mysql' ? 'schema.sql' : 'schema.sqlite.sql'), 'utf8');

/** @throws STORE_SCHEMA with sub `missing`, `older` or `newer` */
export function checkSchema(version: number): void {
  if (version === SCHEMA_VERSION) return;
  if (version === 0)
    throw new ChatError('STORE_SCHEMA', 'the database has no schema yet; run `chat-server db init`', {
      sub: 'missing',
    });
  if (version < SCHEMA_VERSION)
    throw new ChatError(
      'STORE_SCHEMA',
      `the schema is version ${version}, this program needs ${SCHEMA_VERSION}; run \`chat-server db migrate\``,
      { sub: 'older' },
    );
  throw newerSchema(version);
}

export const newerSchema = (version: number): ChatError =>
  new ChatError(
    'STORE_SCHEMA',
    `the schema is version ${version}, from a newer program than this one, which knows ${SCHEMA_VERSION}`,
    { sub: 'newer' },
  );

const MIGRATIONS: Target = {
  table: 'schema_migrations',
  columns: ['version', 'name', 'applied_at'],
  key: ['version'],
  onConflict: 'keep',
};

/** @param at Unix ms */
export function* recordMigration({ version, name }: Migration, at: number): Operation<void> {
  yield* insert(MIGRATIONS, [[version, name, at]]);
}
