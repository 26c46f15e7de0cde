/** The process of `chat-verify`: arguments, standard output, exit status. Everything else is in program.ts. */
import { readFileSync } from 'node:fs';
import { verifyProgram } from './program.ts';

const manifest = new URL(import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json', import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
const isWatched = process.stderr.isTTY;

process.stdout.on('error', () => process.exit()); // the reader has gone (chat-verify … | head): with the status of the verdict
process.exitCode = verifyProgram(process.argv.slice(2), version, {
  out: (line) => process.stdout.write(`${line}\n`),
  err: (line) => process.stderr.write(`${line}\n`),
  ...(isWatched && {
    progress: (done: number, total: number) =>
      process.stderr.write(done === total ? '\r\u001b[K' : `\rchecked ${done} of ${total} entries`),
  }),
});
