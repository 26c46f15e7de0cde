/**
 * Every place of the verifier that finds or refuses something, read from the sources: each is a mutant that keeps silent. Where a finding's
 * code is chosen apart from the call, another code is one. So no rule is without a mutant, also one that is written tomorrow.
 */
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, sourceOf, type Mutant } from './mutant.ts';

/** Calls that find or refuse; `this.#x(` only of methods that do nothing else. */
const CALLS =
  /(?<![\w.#])(?:(?:this\.)?#?(?:\w+\.)*#?[fF]indings\.(?:add|addOnce)|this\.#(?:find|gap|missing|malformed)|faults\.push|(?:this|c)\.refuse|(?<!function )(?:find|bad|refuse)|throw (?:new ChatError|wrong))\(/g;
/** A method of such a name. */
const DEFINITION = /^ *\w+\(.*\{$/;
const lineOf = (text: string, at: number): string =>
  text.slice(text.lastIndexOf('\n', at) + 1, (text.indexOf('\n', at) + 1 || text.length + 1) - 1);
const CODE = /'([EW]_[A-Z_]+)'/g;
/** Tables of codes: what stands in them is no choice. */
const TABLES: readonly string[] = ['verify/finding.ts', 'verify/checks.ts'];

/** What a message says in words, which nothing is proven by; `test/transcript/content.test.ts`. */
const CONTENT = /\/content.*\.ts$/;

/** All of `verify/`, and what of `transcript/` it imports. */
export function filesOfVerifier(): string[] {
  const files = new Set(readdirSync(join(root, 'verify'), { encoding: 'utf8' }).map((name) => `verify/${name}`));
  for (const file of files)
    for (const imported of importsOf(file))
      if (/^(?:(?:verify|transcript)\/|base\/cursor)/.test(imported) && !CONTENT.test(imported)) files.add(imported);
  return [...files].sort();
}

/** Files of the project that a file imports, types left out. */
export const importsOf = (file: string): string[] =>
  [...sourceOf(file).matchAll(/^(?:import|export) (?!type )[^;]*?from '(\.[^']+)';/gm)].map(([, path]) =>
    join(dirname(file), path!),
  );

/** A mutant for each site of a file, in order. */
export function sitesOf(file: string): Mutant[] {
  const source = sourceOf(file);
  const code = blanked(source, /\/\*[\s\S]*?\*\/|\/\/.*/);
  const plain = blanked(code, /'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`/);
  const calls = [...plain.matchAll(CALLS)]
    .map(({ index, 0: call }) => ({ index, open: index + call.length, call }))
    .filter(({ index }) => !DEFINITION.test(lineOf(plain, index)));
  const silent = calls.map(({ index, open, call }): Mutant => {
    const to = call.startsWith('throw') ? call.replace('throw', 'void') : '(() => undefined)(';
    return { file, start: index, end: open, to };
  });
  if (TABLES.includes(file)) return silent;
  const others = [...code.matchAll(CODE)].flatMap(({ index, 0: text, 1: name }): Mutant[] => {
    const end = index + text.length;
    const isType = /\|\s*$/.test(code.slice(0, index)) || /^\s*\|(?!\|)/.test(code.slice(end));
    const isFirst = calls.some(({ open }) => code.slice(open, index).trim() === '' && open <= index);
    if (isType || isFirst) return [];
    return [{ file, start: index, end, to: name === 'E_FORMAT' ? "'E_LEAF'" : "'E_FORMAT'" }];
  });
  return [...silent, ...others].sort((a, b) => a.start - b.start);
}

/** Codes that are named near a place, the nearest first: rows that are judged so are the likeliest to notice. */
export function codesNear({ file, start, end }: Mutant): string[] {
  const [from, until] = [Math.max(0, start - 400), end + 900];
  const found = [...sourceOf(file).slice(from, until).matchAll(CODE)].map(({ index, 1: name }) => {
    const at = from + index;
    return { name: name!, distance: at < start ? 2 * (start - at) : at - start };
  });
  return [...new Set(found.sort((a, b) => a.distance - b.distance).map(({ name }) => name))];
}

/** The same length, with spaces in place of what matches. Strings are kept from being taken for comments, and the other way round. */
function blanked(source: string, pattern: RegExp): string {
  const token = /'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|\/\/.*/g;
  return source.replace(token, (text) => (text.match(pattern)?.index === 0 ? text.replace(/[^\n]/g, ' ') : text));
}
