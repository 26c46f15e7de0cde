/** The process of `chat-verify`: arguments, standard output, exit status. Everything else is in program.ts. */
import { readFileSync } from 'node:fs';
import { verifyProgram } from './program.ts';
import { ProgressBar } from './progress-bar.ts';

const manifest = new URL(import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json', import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
const bar = process.stderr.isTTY ? new ProgressBar((text) => process.stderr.write(text)) : null;

process.stdout.on('error', () => process.exit()); // the reader has gone (chat-verify … | head): with the status of the verdict
process.exitCode = verifyProgram(process.argv.slice(2), version, {
  out: (line) => {
    bar?.end();
    process.stdout.write(`${line}\n`);
  },
  err: (line) => {
    bar?.end();
    process.stderr.write(`${line}\n`);
  },
  ...(bar && { progress: (done: number, total: number) => bar.show(done, total) }),
});
bar?.end();
