/** Values reach a database as parameters only. What cannot be one (names of tables and columns) comes from constants of this room. */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { chunks, expand } from '../../store/operation.ts';

const ROOM = new URL('../../store/', import.meta.url);
/** The functions that build the text of an INSERT from a `Target`, a constant. */
const BUILDERS = new Set(['insertText', 'insertSql']);

t.test('no statement is put together from values', async (t) => {
  for (const file of readdirSync(ROOM, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue;
    const text = readFileSync(new URL(file, ROOM), 'utf8');
    let inside = '';
    for (const [i, line] of text.split('\n').entries()) {
      inside = /^(?:export )?(?:async )?(?:function\*?|const) (\w+)/.exec(line)?.[1] ?? inside;
      const isSql = /\b(SELECT|INSERT|UPDATE|DELETE|WHERE|FROM|VALUES|SET|PRAGMA|CREATE|DROP|ALTER|IN|ON)\b/.test(line);
      // Literals may be joined with literals and with constants, whose names are in capitals.
      const isBuilt =
        /\$\{(?![A-Z][A-Z_]*\})/.test(line) ||
        /['"`] \+ (?!['"`A-Z]|$)|[^'"`A-Z_] \+ ['"`]|\.(concat|join)\(/.test(line);
      if (isSql && isBuilt && !BUILDERS.has(inside)) t.fail(`${file}:${i + 1}: ${line.trim()}`);
    }
  }
  t.pass('looked at every line');
});

t.test('lists become placeholders, padded to a power of two', async (t) => {
  const sql = 'SELECT a FROM b WHERE c = ? AND d IN (?...) AND e IN (?...) AND f = ?';
  t.strictSame(expand(sql, [1, [2, 3, 4], [5], 'x']), {
    sql: 'SELECT a FROM b WHERE c = ? AND d IN (?,?,?,?) AND e IN (?) AND f = ?',
    values: [1, 2, 3, 4, 4, 5, 'x'],
  });
  t.strictSame(expand('SELECT ?', ['(?...)']), { sql: 'SELECT ?', values: ['(?...)'] });
});

t.test('rows are cut into pieces by powers of two and by size', async (t) => {
  const rows = (n: number, bytes: number) => Array.from({ length: n }, () => [new Uint8Array(bytes)]);
  const sizes = (n: number, bytes: number) => [...chunks(rows(n, bytes), 16, 100)].map((piece) => piece.length);
  t.strictSame(sizes(0, 1), []);
  t.strictSame(sizes(45, 1), [16, 16, 8, 4, 1]);
  t.strictSame(sizes(3, 100), [1, 1, 1]);
  t.strictSame(sizes(3, 500), [1, 1, 1], 'a row alone is larger');
  t.strictSame(sizes(5, 30), [2, 2, 1]);
});
