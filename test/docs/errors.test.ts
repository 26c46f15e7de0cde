/** docs/ERRORS.md and base/errors.ts say the same. */
import { globSync, readFileSync } from 'node:fs';
import t from 'tap';
import { CODES } from '../../base/errors.ts';
import { REASONS } from '../../x509/refusal.ts';

const page = readFileSync(new URL('../../docs/ERRORS.md', import.meta.url), 'utf8');
const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (\w+) \| (\d+) \| (.+) \| (.*) \|$/gm)];
const documented = Object.fromEntries(rows.map(([, code, blame, exit]) => [code, { blame, exit: Number(exit) }]));

t.strictSame(documented, CODES, 'every code once, with its blame and exit status');
t.equal(rows.length, Object.keys(CODES).length, 'no code twice');
t.ok(
  rows.every(([, , , , what]) => (what ?? '').length > 10),
  'every code is explained',
);

const subs = [...page.matchAll(/^\| `([a-z_]+)` \|/gm)].map(([, sub]) => sub);
t.strictSame(subs, [...REASONS, 'no_certificate', 'resumed', 'key_mismatch'], 'every reason of BAD_CERT');

const root = new URL('../../', import.meta.url);
const codeOf = (pattern: string): string =>
  globSync(pattern, { cwd: root })
    .map((file) => readFileSync(new URL(file, root), 'utf8'))
    .join('\n');
const code = codeOf('{base,x509,protocol,transcript,runtime,store,server,client}/**/*.ts');
const subsIn = (source: string, written: RegExp): string[] => [...source.matchAll(written)].map(([, sub]) => sub!);
const given = new Set([
  ...subsIn(code, /\bsub: '([a-z_]+)'/g),
  ...subsIn(codeOf('client/e2ee/*.ts'), /\brefuse\(\s*'([a-z_]+)',/g),
  ...subsIn(codeOf('protocol/scram.ts'), /\bweak\('([a-z_]+)',/g),
  ...subsIn(codeOf('transcript/wal.ts'), /\bcorrupt\('([a-z_]+)',/g),
]);
given.delete('string'); // the type of a field of the server's log
t.ok(given.size > 60, `${given.size} finer reasons`);
t.strictSame([...given].filter((sub) => !page.includes(`\`${sub}\``)).sort(), [], 'every finer reason is explained');
const finer = page.slice(page.indexOf('## Finer reasons'));
const explained = [...finer.matchAll(/^\| `[A-Z_]+`[^|]*\| (.+) \|$/gm)].flatMap(([, cell]) =>
  [...cell!.matchAll(/`([a-z_]+)`/g)].map(([, sub]) => sub!),
);
t.strictSame(
  explained.filter((sub) => !code.includes(`'${sub}'`)),
  [],
  'and there is none that nothing gives',
);
