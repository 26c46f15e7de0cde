/** docs/OPERATING.md lists every event that the server logs, and every event of the list is logged somewhere. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { EVENTS } from '../../runtime/log.ts';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/OPERATING.md'), 'utf8');
const table = page.slice(page.indexOf('\n| event | what happened |'));
const isOne = /`([a-z]+\.[a-z]+)`/g;

const documented = [...table.matchAll(isOne)].map(([, event]) => event!);
t.strictSame(documented.toSorted(), EVENTS.toSorted(), 'every event once, and no other');

const mentioned = [...page.matchAll(/`((?:store|timestamp|witness|message|register|server|certificate)\.[a-z]+)`/g)];
t.strictSame(
  mentioned.map(([, event]) => event!).filter((event) => !EVENTS.some((known) => known === event)),
  [],
  'the page speaks of no event that there is not',
);

const sources = ['server', 'server/log', 'runtime', 'store'].flatMap((room) =>
  readdirSync(join(root, room))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(root, room, name), 'utf8')),
);
const code = sources.join('\n').replace(/export const EVENTS = \[[^]*?\] as const;/, '');
t.strictSame(
  EVENTS.filter((event) => !code.includes(`'${event}'`)),
  [],
  'each is logged',
);
