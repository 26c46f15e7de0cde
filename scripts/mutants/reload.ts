/**
 * Loads files of the project with one rule broken, in this thread, as often as wanted. What the broken file has no part in stays loaded and
 * warm; the file itself, and all that imports it, is loaded anew for each mutant. A test is loaded anew each time.
 */
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { applied, root, sourceOf, type Mutant } from './mutant.ts';
import { importsOf } from './sites.ts';

const fileOf = (url: string): string => relative(root, fileURLToPath(url));
const urlOf = (file: string): string => pathToFileURL(join(root, file)).href;
const QUICK_TAP = urlOf('scripts/mutants/quick-tap.ts');

let number = 0;
let runs = 0;
let broken: Mutant | null = null;
let anew: ReadonlySet<string> = new Set();
/** Run of the test that is being loaded. */
let test: { readonly run: number } | null = null;
const stripped = new Map<string, string>();

/** Files that each file imports, over however many others, and itself. */
const reaching = new Map<string, ReadonlySet<string>>();
function reachOf(entry: string): ReadonlySet<string> {
  const known = reaching.get(entry);
  if (known) return known;
  const files = new Set([entry]);
  for (const file of files) for (const imported of importsOf(file)) files.add(imported);
  reaching.set(entry, files);
  return files;
}

/** Tests, and what helps them. */
const usesTap = (file: string): boolean =>
  file.startsWith('test/') && /^import (?!type ).*'tap';/m.test(sourceOf(file));

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (specifier === 'tap' && test !== null) return { url: `tap:${test.run}`, shortCircuit: true };
    const resolved = nextResolve(specifier, context);
    if (!resolved.url.startsWith('file:') || resolved.url.includes('?')) return resolved;
    const file = fileOf(resolved.url);
    if (test !== null && usesTap(file)) return { ...resolved, url: `${resolved.url}?test-${test.run}` };
    return anew.has(file) ? { ...resolved, url: `${resolved.url}?${number}` } : resolved;
  },
  load(url, context, nextLoad) {
    if (url.startsWith('tap:')) {
      const source = `import { testOf } from '${QUICK_TAP}'; export default testOf(${url.slice('tap:'.length)});`;
      return { format: 'module', source, shortCircuit: true };
    }
    if (!url.includes('?')) return nextLoad(url, context);
    const file = fileOf(url.split('?')[0]!);
    let source = stripped.get(file);
    if (file === broken?.file) source = stripTypeScriptTypes(applied(sourceOf(file), broken));
    else if (source === undefined) stripped.set(file, (source = stripTypeScriptTypes(sourceOf(file))));
    return { format: 'module', source, shortCircuit: true };
  },
});

/** From now on this rule is broken. @param entries what will be loaded */
export function breakRule(mutant: Mutant | null, entries: readonly string[]): void {
  number++;
  broken = mutant;
  const all = new Set<string>();
  if (mutant !== null)
    for (const entry of entries) for (const file of reachOf(entry)) if (reachOf(file).has(mutant.file)) all.add(file);
  anew = all;
}

/** One for all rows and tests of a mutant. */
export const load = async <T>(file: string): Promise<T> => (await import(urlOf(file))) as T;

/** A test, by itself. @returns what to load it with, and the number of its run */
export function testRun(file: string): { readonly run: number; readonly load: () => Promise<unknown> } {
  const run = ++runs;
  return {
    run,
    load: async () => {
      test = { run };
      try {
        await import(urlOf(file));
      } finally {
        test = null;
      }
    },
  };
}
