/**
 * A method of the store as a generator: it yields one statement after the other and is handed the rows. So its rules are written
 * once, and a backend only has to run the statements of one operation in one transaction, in place (SQLite) or over a connection
 * (MySQL). Nothing here knows which.
 *
 * The statements are what both dialects share. ` FOR UPDATE` at the end of a SELECT is for MySQL; a writer of SQLite has the whole
 * database to itself. `(?...)` stands for a list whose length is known only at run time.
 */
export type Scalar = number | string | Uint8Array | null;
/** A list takes the place of one `(?...)`. */
export type Argument = Scalar | readonly (number | Uint8Array)[];
export type Row = Readonly<Record<string, Scalar>>;

/** Where rows go, and what happens to one whose key is taken: `fail`, `keep` the old row, or replace these columns of it. */
export interface Target {
  readonly table: string;
  readonly columns: readonly string[];
  readonly key: readonly string[];
  readonly onConflict: 'fail' | 'keep' | readonly string[];
}

export type Step =
  | { readonly do: 'select'; readonly sql: string; readonly args: readonly Argument[] }
  | { readonly do: 'run'; readonly sql: string; readonly args: readonly Argument[] }
  | { readonly do: 'insert'; readonly target: Target; readonly rows: readonly (readonly Scalar[])[] };

export type Operation<T> = Generator<Step, T, readonly Row[]>;

/** A unique key refused a row. Backends throw it into the operation, which knows what the key means. */
export class Conflict extends Error {
  /** `table_column` of the key's first column */
  readonly key: string;
  constructor(key: string) {
    super('a unique key refused a row');
    this.key = key;
  }
}

export function* select(sql: string, ...args: readonly Argument[]): Operation<readonly Row[]> {
  // An empty list selects nothing, and neither dialect can say so.
  if (args.some((arg) => Array.isArray(arg) && arg.length === 0)) return [];
  return yield { do: 'select', sql, args };
}

export function* first(sql: string, ...args: readonly Argument[]): Operation<Row | null> {
  return (yield* select(sql, ...args))[0] ?? null;
}

export function* run(sql: string, ...args: readonly Argument[]): Operation<void> {
  if (args.some((arg) => Array.isArray(arg) && arg.length === 0)) return;
  yield { do: 'run', sql, args };
}

export function* insert(target: Target, rows: readonly (readonly Scalar[])[]): Operation<void> {
  if (rows.length > 0) yield { do: 'insert', target, rows };
}

/**
 * Fills the lists in: the text with as many placeholders as there are values, and the values flat. A list is padded with its last
 * value to a power of two, so that few texts exist and each stays prepared.
 */
export function expand(sql: string, args: readonly Argument[]): { sql: string; values: Scalar[] } {
  if (!args.some(Array.isArray)) return { sql, values: args as Scalar[] };
  const values: Scalar[] = [];
  const sizes: number[] = [];
  for (const arg of args) {
    if (!Array.isArray(arg)) {
      values.push(arg as Scalar);
      continue;
    }
    const size = 2 ** Math.ceil(Math.log2(arg.length));
    for (let i = 0; i < size; i++) values.push(arg[Math.min(i, arg.length - 1)] as Scalar);
    sizes.push(size);
  }
  let at = 0;
  return { sql: sql.replaceAll('(?...)', () => placeholders(sizes[at++] ?? 1)), values };
}

const placeholders = (count: number): string => '(' + '?,'.repeat(count - 1) + '?)';

/** `INSERT INTO table (columns) VALUES …` for so many rows, without what the dialects say differently. */
export const insertText = ({ table, columns }: Target, rows: number): string =>
  `INSERT INTO ${table} (${columns.join(', ')}) VALUES ${Array<string>(rows).fill(placeholders(columns.length)).join(', ')}`;

/** Pieces whose lengths are powers of two, so that few texts exist; none larger than the limits unless one row alone is. */
export function* chunks(
  rows: readonly (readonly Scalar[])[],
  maxRows: number,
  maxBytes: number,
): Generator<readonly (readonly Scalar[])[]> {
  for (let from = 0; from < rows.length;) {
    let fits = 0;
    for (let bytes = 0; from + fits < rows.length && fits < maxRows; fits++) {
      if (maxBytes < Infinity)
        for (const value of rows[from + fits] ?? []) bytes += value instanceof Uint8Array ? value.length : 16;
      if (fits > 0 && bytes > maxBytes) break;
    }
    const count = 2 ** Math.floor(Math.log2(fits));
    yield rows.slice(from, from + count);
    from += count;
  }
}
