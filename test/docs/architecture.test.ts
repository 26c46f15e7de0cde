/** docs/ARCHITECTURE.md: its rooms are those that scripts/check-rooms.ts enforces, and every file that it names is there. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/ARCHITECTURE.md'), 'utf8');
const script = readFileSync(join(root, 'scripts/check-rooms.ts'), 'utf8');
const rules = /const ROOMS[^]*?^};/m.exec(script)?.[0] ?? '';

const enforced = [...rules.matchAll(/^  (\w+): \[(.*)\],$/gm)].map(
  ([, room, may]) => [room!, [...may!.matchAll(/'(\w+)'/g)].map(([, other]) => other!).sort()] as const,
);
const before: string[] = [];
const described = [...page.matchAll(/^\| `(\w+)\/` \| ([^|]+) \|/gm)].map(([, room, may]) => {
  const others = may === 'all above' ? [...before] : may === '–' ? [] : may!.split(', ');
  before.push(room!);
  return [room!, others.sort()] as const;
});
t.ok(described.length > 8);
t.strictSame(described.toSorted(), enforced.toSorted(), 'every room, and what it may import');

const named = [...page.matchAll(/\b((?:\w+\/)+[\w-]+)(\.ts)?\b/g)]
  .map(([, path, end]) => `${path}${end ?? ''}`)
  .filter((path) => before.includes(path.split('/')[0]!));
t.ok(named.length > 40);
t.strictSame(
  named.filter((path) => !existsSync(join(root, path)) && !existsSync(join(root, `${path}.ts`))),
  [],
  'every file that it names is there',
);
