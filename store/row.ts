/** Typed reading of a row: what the schema says a column holds, checked, because a database is a file that others can write to. */
import type { Row } from './operation.ts';
import { ChatError } from '../base/errors.ts';

function fault(column: string, want: string): never {
  throw new ChatError('STORE_FAILED', `the database holds something else than ${want} in ${column}`, { field: column });
}

/** @throws STORE_FAILED with the column as its field, as all of these */
export function integer(row: Row, column: string): number {
  const value = row[column];
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : fault(column, 'an integer');
}

export const integerOrNull = (row: Row, column: string): number | null =>
  row[column] === null ? null : integer(row, column);

export function text(row: Row, column: string): string {
  const value = row[column];
  return typeof value === 'string' ? value : fault(column, 'text');
}

export const textOrNull = (row: Row, column: string): string | null =>
  row[column] === null ? null : text(row, column);

/** @param T brand of the bytes */
export function blob<T extends Uint8Array = Uint8Array>(row: Row, column: string): T {
  const value = row[column];
  return value instanceof Uint8Array ? (value as T) : fault(column, 'bytes');
}

export const blobOrNull = (row: Row, column: string): Uint8Array | null =>
  row[column] === null ? null : blob(row, column);
