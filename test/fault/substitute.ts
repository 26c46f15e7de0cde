/**
 * For modules that a real program loads before itself (`node --import`): puts a wrapper around some of its exports, so that the program
 * on disk stays what it is and knows nothing of tests.
 */
import { registerHooks } from 'node:module';

/**
 * @param path end of the module's path
 * @param exports name → expression that makes the substitute; `real` is the module as it is, `with` what `helper` exports
 * @param helper URL of the module that has the wrappers
 */
export function substitute(path: string, exports: Readonly<Record<string, string>>, helper: string): void {
  registerHooks({
    load: (url, context, next) => {
      if (!url.endsWith(path)) return next(url, context);
      const own = JSON.stringify(`${url}?real`);
      const lines = [
        `export * from ${own};`,
        `import * as real from ${own};`,
        `import * as by from ${JSON.stringify(helper)};`,
        ...Object.entries(exports).map(([name, made]) => `export const ${name} = ${made};`),
      ];
      return { format: 'module', source: lines.join('\n'), shortCircuit: true };
    },
  });
}
