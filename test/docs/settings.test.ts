/** The documents speak of no setting of the server, and of no variable for one, that there is not. */
import { globSync, readFileSync } from 'node:fs';
import t from 'tap';
import { EVENTS } from '../../runtime/log.ts';
import { SERVER_SETTINGS } from '../../runtime/server-settings.ts';
import { settingsOf } from '../../runtime/settings.ts';

const root = new URL('../../', import.meta.url);
const settings = settingsOf(SERVER_SETTINGS);
const keys = new Set(settings.map(({ key }) => key));
const sections = [...new Set([...keys].filter((key) => key.includes('.')).map((key) => key.split('.')[0]))];
const isOne = new RegExp(`\`((?:${sections.join('|')})\\.[a-z_]+)\``, 'g');
/** Files and events have names of the same form. */
const others = new Set<string>([...EVENTS, 'log.anchor', 'log.key', 'log.takeovers']);
for (const file of ['README.md', 'CHANGELOG.md', ...globSync('docs/**/*.md', { cwd: root })]) {
  const page = readFileSync(new URL(file, root), 'utf8');
  const named = [...page.matchAll(isOne)].map(([, key]) => key!);
  t.strictSame(
    named.filter((key) => !keys.has(key) && !others.has(key)),
    [],
    file,
  );
  const variables = [...page.matchAll(/\bCHAT_SERVER__([A-Z_]+)\b/g)].map(([, name]) => name!.toLowerCase());
  const meant = variables.map((name) => name.replaceAll('__', '.'));
  t.strictSame(
    meant.filter((key) => !keys.has(key)),
    [],
    `${file}: environment`,
  );
}
