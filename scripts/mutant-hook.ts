/** Loaded before a test (`--import`): one file is not read as it stands, but with one rule broken. CHAT_MUTANT: JSON of [file, from, to]. */
import { registerHooks } from 'node:module';

const [file, from, to] = JSON.parse(process.env['CHAT_MUTANT'] ?? '[]') as [string?, string?, string?];

if (file !== undefined && from !== undefined && to !== undefined) {
  const target = new URL(`../${file}`, import.meta.url).href;
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      if (url !== target) return loaded;
      const source = Buffer.from(loaded.source as Uint8Array).toString('utf8');
      return { ...loaded, source: source.replace(from, () => to) };
    },
  });
}
