/** Who may import whom. Two tables and one loop; `npm run rooms` and the test suite run it. Exit 1 with one line for each breach. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A room may import itself and these. */
const ROOMS: Record<string, readonly string[]> = {
  base: [],
  x509: ['base'],
  protocol: ['base', 'x509'],
  transcript: ['base', 'x509'],
  verify: ['base', 'x509', 'transcript'],
  runtime: ['base', 'x509', 'protocol'],
  store: ['base'],
  server: ['base', 'x509', 'protocol', 'transcript', 'runtime', 'store', 'verify'],
  client: ['base', 'x509', 'protocol', 'transcript', 'runtime', 'verify'],
};
/** The one file through which each package comes in (a room that has its own process may have its own door). */
const DOORS: Record<string, readonly string[]> = {
  '@noble/hashes': ['base/hash.ts'],
  pino: ['runtime/log.ts'],
  'smol-toml': ['runtime/settings.ts', 'client/config-file.ts'],
  mysql2: ['store/mysql.ts', 'store/mysql-session.ts'],
  jose: ['server/tokens.ts'],
  yargs: ['server/main.ts', 'client/main.ts'],
  'node-forge': ['client/identity.ts'],
  'ts-mls': ['client/e2ee/mls.ts'],
};
/** Rooms without sockets, files, clocks, randomness, environment or logger, and what of node: they may use. */
const PURE = ['base', 'x509', 'protocol', 'transcript'];
const PURE_NODE = ['node:crypto', 'node:util', 'node:zlib', 'node:net'];
/** The place in pure rooms that draws randomness, on purpose (its file head says why). */
const IMPURE_FILES: readonly string[] = ['protocol/key-exchange.ts'];
const IMPURE =
  /\b(?:Date\.now|new Date\(\)|Math\.random|process\.(?:env|argv)|setTimeout|setInterval|random(?:Bytes|UUID|Fill\w*|Int)|performance\.now)\b/;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const breaches: string[] = [];
let files = 0;

for (const [room, allowed] of Object.entries(ROOMS)) {
  for (const entry of readdirSync(join(root, room), { recursive: true, encoding: 'utf8' })) {
    if (!entry.endsWith('.ts')) continue;
    files++;
    const file = normalize(join(room, entry)).split(sep).join('/');
    const source = readFileSync(join(root, file), 'utf8');
    const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '');
    for (const match of code.matchAll(
      /^\s*(import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)|^\s*import\s+'([^']+)'/gm,
    )) {
      const target = match[3] ?? match[4] ?? match[5] ?? '';
      if (target.startsWith('.')) {
        const to = normalize(join(dirname(file), target)).split(sep)[0] ?? '';
        if (to !== room && !allowed.includes(to)) breaches.push(`${file}: ${room} may not import ${to} (${target})`);
      } else if (target.startsWith('node:')) {
        if (PURE.includes(room) && !PURE_NODE.includes(target))
          breaches.push(`${file}: ${room} is pure and may not use ${target}`);
      } else if (match[2] === undefined) {
        const name = target
          .split('/')
          .slice(0, target.startsWith('@') ? 2 : 1)
          .join('/');
        if (!DOORS[name]?.includes(file)) breaches.push(`${file}: not the door to ${name}`);
      }
    }
    const impure = PURE.includes(room) && !IMPURE_FILES.includes(file) ? IMPURE.exec(code) : null;
    if (impure) breaches.push(`${file}: ${room} is pure and may not use ${impure[0]}`);
  }
}

for (const line of breaches) console.error(line);
console.log(`rooms: ${files} files, ${breaches.length} breaches`);
process.exitCode = breaches.length === 0 && files > 0 ? 0 : 1;
