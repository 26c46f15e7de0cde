/** The process of `chat-verify`: arguments, standard output, exit status. Everything else is in program.ts. */
import { readFileSync } from 'node:fs';
import { CODES } from '../base/errors.ts';
import { verifyProgram } from './program.ts';
import { ProgressBar } from './progress-bar.ts';

const manifest = new URL(import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json', import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
const bar = process.stderr.isTTY ? new ProgressBar((text) => process.stderr.write(text)) : null;

// A reader that has gone (chat-verify … | head) changes no verdict. What a full disk did not take is not there to be read: not even a good one.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') {
    process.stderr.write(`chat-verify: the standard output did not take everything (${error.code})\n`);
    process.exitCode ||= CODES.DISK_FULL.exit;
  }
  process.exit();
});
process.stderr.on('error', () => {}); // there is nowhere to say it
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
