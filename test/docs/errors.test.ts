/** docs/ERRORS.md and base/errors.ts say the same. */
import { readFileSync } from 'node:fs';
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
