/** Loaded before a test (`--import`): one file is not read as it stands, but with one rule broken. CHAT_MUTANT: a mutant as JSON. */
import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { applied, root, sourceOf, type Mutant } from './mutant.ts';

const mutant = JSON.parse(process.env['CHAT_MUTANT'] ?? 'null') as Mutant | null;

if (mutant !== null) {
  const target = pathToFileURL(join(root, mutant.file)).href;
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      return url === target ? { ...loaded, source: applied(sourceOf(mutant.file), mutant) } : loaded;
    },
  });
}
