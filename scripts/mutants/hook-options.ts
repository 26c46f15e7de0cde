/** The environment in which a program that is started has one rule broken: `hook.ts` is loaded before it. */
import { join } from 'node:path';
import { root, type Mutant } from './mutant.ts';

export const HOOKED = (mutant: Mutant | null): Record<string, string> => ({
  CHAT_MUTANT: JSON.stringify(mutant),
  NODE_OPTIONS: mutant === null ? '' : `--import ${join(root, 'scripts/mutants/hook.ts')}`,
});
