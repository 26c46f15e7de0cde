/**
 * argv → command → exit status. The only place that words an error, picks an exit status, or handles a signal; the client's only
 * door to yargs.
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import yargs from 'yargs';
import { ChatError, CODES } from '../base/errors.ts';
import { hardenProcess, refuseUnsafeProcess } from '../runtime/lifecycle.ts';
import { printable } from '../runtime/printable.ts';
import {
  loginCommand,
  logoutCommand,
  passwdCommand,
  registerCommand,
  whoamiCommand,
  type Run,
} from './commands/account.ts';
import { deleteCommand, editCommand, reactCommand } from './commands/changes.ts';
import { contactCommand } from './commands/contacts.ts';
import { deviceCommand } from './commands/device.ts';
import { historyCommand, recvCommand, sendCommand, STDIN_ARGUMENT } from './commands/messages.ts';
import { presenceCommand } from './commands/presence.ts';
import { receiptsCommand } from './commands/receipts.ts';
import { roomCommand } from './commands/rooms.ts';
import { statusCommand } from './commands/status.ts';
import { transcriptCommand } from './commands/transcript.ts';
import { vaultCommand } from './commands/vault.ts';
import { brief, withCommonOptions } from './common-options.ts';
import { Context, type GlobalArgs, type Streams } from './context.ts';
import { dialer } from './dial.ts';
import { interactive } from './interactive.ts';
import { isUnread, outputFailure, written } from './output.ts';

/** What they are given behind `--` is what they send. */
const TAKE_TEXT: ReadonlySet<string> = new Set(['send', 'edit']);

/** Answers the exit status; never rejects. */
export async function main(argv: readonly string[], env: NodeJS.ProcessEnv, streams: Streams): Promise<number> {
  let running: Context | null = null;
  let interrupts = 0;
  const interrupted = new ChatError('INTERRUPTED', 'interrupted');
  const onSignal = (): void => {
    if (++interrupts > 1) process.exit(CODES.INTERRUPTED.exit);
    cancel(interrupted);
  };
  let cancel: (error: ChatError) => void = () => {};
  const cancelled = new Promise<never>((_, reject) => (cancel = reject));
  cancelled.catch(() => {}); // it may be nobody's business any more
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  // Nobody takes these off: what fails may come to light behind the end.
  streams.stdout.on('error', (error) => cancel(outputFailure(error)));
  streams.stderr.on('error', () => {}); // there is nowhere to say it

  const run: Run = async (args, work) => {
    refuseUnsafeProcess(env, process.execArgv);
    running = new Context(args, env, streams, dialer);
    await Promise.race([work(running), cancelled]);
  };
  let status = 0; // of a verdict, which stands whoever reads what is said of it
  try {
    await parse(argv, run, streams, (verdict) => (status = verdict));
    await written(streams.stdout);
    return status;
  } catch (cause) {
    if (isUnread(cause)) return status;
    const error = ChatError.from(cause);
    (running as Context | null)?.leaveTerminal();
    streams.stderr.write(
      `chat: ${printable(error.message)} [${error.code}${error.sub === undefined ? '' : `/${printable(error.sub)}`}]\n`,
    );
    if (error.code === 'INTERNAL' && argv.includes('-v'))
      streams.stderr.write(`${printable(String((error.cause as Error)?.stack))}\n`);
    return status || CODES[error.code].exit;
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    await (running as Context | null)?.close().catch(() => {});
  }
}

async function parse(
  argv: readonly string[],
  run: Run,
  streams: Streams,
  exit: (status: number) => void,
): Promise<void> {
  const parser = withCommonOptions(yargs())
    .scriptName('chat-client')
    .usage('$0 [command]\n\nWithout a command: connect, register or log in, and chat.')
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'duplicate-arguments-array': false,
      'populate--': true,
      'parse-positional-numbers': false,
    })
    .locale('en') // messages are matched by programs
    .command({
      command: '$0',
      describe: false,
      handler: (args) => run(args as unknown as GlobalArgs, interactive),
    })
    .command(brief(argv, registerCommand(run)))
    .command(brief(argv, loginCommand(run)))
    .command(brief(argv, logoutCommand(run)))
    .command(brief(argv, passwdCommand(run)))
    .command(brief(argv, whoamiCommand(run)))
    .command(brief(argv, statusCommand(run)))
    .command(brief(argv, sendCommand(run)))
    .command(brief(argv, editCommand(run)))
    .command(brief(argv, deleteCommand(run)))
    .command(brief(argv, reactCommand(run)))
    .command(brief(argv, recvCommand(run)))
    .command(brief(argv, historyCommand(run)))
    .command(brief(argv, receiptsCommand(run)))
    .command(brief(argv, transcriptCommand(run, { argv, version: version(), exit })))
    .command(brief(argv, contactCommand(run)))
    .command(brief(argv, roomCommand(run)))
    .command(brief(argv, deviceCommand(run)))
    .command(brief(argv, presenceCommand(run)))
    .command(brief(argv, vaultCommand(run)))
    .example(
      '$0 -P alice --ca ca.crt --cert alice.crt --key alice.key',
      'first time: registers and remembers the files',
    )
    .example('$0 -P alice send bob "stand by" --wait delivered', 'from a script')
    .epilogue(
      'Exit status: 0 done, 1 failure, 2 usage, 3 no connection, 4 refused, 5 wait, 6 certificate, 7 not reached, 8 not found, ' +
        '10 to 14 verdicts on a transcript (14 also: fork), 130 interrupted.',
    )
    .strict()
    .check(({ _: [command = ''], '--': behind = [] }) => {
      const isTaken = (behind as string[]).length === 0 || TAKE_TEXT.has(String(command));
      return isTaken || `Unknown argument: ${(behind as string[]).join(' ')}`;
    })
    .exitProcess(false)
    .help()
    .alias('help', 'h')
    .version(version())
    .wrap(110)
    .fail((message, error) => {
      throw message ? new ChatError('USAGE', `${lowerFirst(message)}; see --help`) : error;
    });
  // yargs makes nothing of a lone dash, so it gets what no argument of a process can be.
  const words = argv.map((word) => (word === '-' ? STDIN_ARGUMENT : word));
  await parser.parseAsync(words, {}, (_error, _args, output) => {
    if (output !== '') streams.stdout.write(`${output}\n`); // help and version
  });
}

function version(): string {
  for (const path of ['../package.json', '../../package.json'])
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as {
        name: string;
        version: string;
      };
      if (name === 'securechat') return version;
    } catch {
      // looked for in the next place
    }
  return 'unknown';
}

/** One line, and no sentence of its own. */
const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1).replaceAll(/\s*\n\s*/g, ' ');

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  hardenProcess();
  const { stdin, stdout, stderr } = process;
  process.exitCode = await main(process.argv.slice(2), process.env, { stdin, stdout, stderr });
  stdin.destroy(); // a terminal that is still being read would keep the process alive
}
