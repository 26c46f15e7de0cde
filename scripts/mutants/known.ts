/**
 * Mutants that are known to survive, each with its reason: another rule refuses the same, or no row makes the case yet. One that is noticed
 * after all fails the check, so that nothing stays here longer than it must.
 */
import { sourceOf, type Mutant } from './mutant.ts';

/** file, what begins at the place (once in the file), and why nothing notices. */
const KNOWN: readonly (readonly [file: string, from: string, why: string])[] = [
  [
    'verify/bundle-receipts.ts',
    `this.#findings.add('E_FORMAT', \`\${where}/entry\`, 'is not of a conversation')`,
    'no row has the opening or the close of a session in a bundle',
  ],
  [
    'verify/bundle.ts',
    `throw new ChatError('BAD_FRAME', \`more than \${MAX_CERTIFICATES} certificates\`)`,
    'a limit of memory: no row has 4,096 certificates',
  ],
  ['verify/crl-files.ts', "findings.add('W_CRL_MISSING', where, message)", 'a limit of memory: no row has 4,096 lists'],
  ['verify/capped-file.ts', "throw new ChatError('USAGE', 'is a directory')", 'reading a folder fails as well'],
  [
    'verify/certificate-audit.ts',
    "throw new ChatError('INTERNAL', 'a certificate is judged",
    'a defect of this software, which nobody can bring about',
  ],
  [
    'verify/log-audit.ts',
    "this.#find('E_KEYBIND', where, 'the log has no certificate of the server that",
    'the entry has no coverage then, which is E_KEYBIND at the same place',
  ],
  [
    'verify/log-audit.ts',
    "this.#find('E_KEYBIND', where, 'the statement is for another log than that",
    'the entry has no coverage then, which is E_KEYBIND at the same place',
  ],
  [
    'verify/log-audit.ts',
    "this.#find('E_KEYBIND', where, 'the server certificate is for another host",
    'the entry has no coverage then, which is E_KEYBIND at the same place',
  ],
  [
    'verify/log-audit.ts',
    `this.#find('E_KEYBIND', where, failure.message)`,
    'the entry has no coverage then, which is E_KEYBIND at the same place',
  ],
  [
    'verify/tree-root.ts',
    "throw new ChatError('LOG_CORRUPT', file.fault);\n    return decodeTile(",
    'what is not there can not be decoded either',
  ],
  [
    'verify/tree-root.ts',
    "throw new ChatError('LOG_CORRUPT', file.fault);\n    return decodeLeaf(",
    'what is not there can not be decoded either',
  ],
];

/** Why a mutant survives; null: it must be noticed. */
export function reasonOf({ file, start }: Mutant): string | null {
  const found = KNOWN.find(([of, from]) => of === file && sourceOf(file).startsWith(from, start));
  return found?.[2] ?? null;
}

/** Of entries that do not stand in their file once. */
export const staleReasons = (): string[] =>
  KNOWN.filter(([file, from]) => sourceOf(file).split(from).length !== 2).map(([file, from]) => `${file}: ${from}`);
