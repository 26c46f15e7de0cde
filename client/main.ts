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
import { loginCommand, logoutCommand, registerCommand, whoamiCommand, type Run } from './commands/account.ts';
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
import { Context, type GlobalArgs, type Streams } from './context.ts';
import { dialer } from './dial.ts';
import { interactive } from './interactive.ts';

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

  const run: Run = async (args, work) => {
    refuseUnsafeProcess(env, process.execArgv);
    running = new Context(args, env, streams, dialer);
    await Promise.race([work(running), cancelled]);
  };
  try {
    let status = 0;
    await parse(argv, run, streams, (verdict) => (status = verdict));
    return status;
  } catch (cause) {
    const error = ChatError.from(cause);
    streams.stderr.write(
      `chat: ${printable(error.message)} [${error.code}${error.sub === undefined ? '' : `/${printable(error.sub)}`}]\n`,
    );
    if (error.code === 'INTERNAL' && argv.includes('-v'))
      streams.stderr.write(`${printable(String((error.cause as Error)?.stack))}\n`);
    return CODES[error.code].exit;
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
  const parser = yargs()
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
    .option('profile', {
      alias: 'P',
      type: 'string',
      requiresArg: true,
      describe: 'which account of this machine [CHAT_PROFILE]',
    })
    .option('config', {
      alias: 'c',
      type: 'string',
      requiresArg: true,
      describe: 'configuration file [CHAT_CLIENT_CONFIG]',
    })
    .option('server', {
      type: 'string',
      requiresArg: true,
      describe: 'HOST or HOST:PORT, default 127.0.0.1:6000 [CHAT_SERVER]',
    })
    .option('ca', { type: 'string', requiresArg: true, describe: 'certificate of the authority, PEM [CHAT_CA_FILE]' })
    .option('cert', { type: 'string', requiresArg: true, describe: 'your certificate, PEM [CHAT_CERT_FILE]' })
    .option('key', {
      type: 'string',
      requiresArg: true,
      describe: 'its private key, PEM, may be encrypted [CHAT_KEY_FILE]',
    })
    .option('p12', { type: 'string', requiresArg: true, describe: 'both in one PKCS#12 file [CHAT_P12_FILE]' })
    .option('key-passphrase-file', {
      type: 'string',
      requiresArg: true,
      describe: 'opens the key [CHAT_KEY_PASSPHRASE_FILE]',
    })
    .option('password-file', {
      type: 'string',
      requiresArg: true,
      describe: 'password of the account [CHAT_PASSWORD_FILE]',
    })
    .option('password-stdin', { type: 'boolean', describe: 'the same, from standard input' })
    .option('passphrase-file', {
      type: 'string',
      requiresArg: true,
      describe: 'opens the records of this profile, if they take a passphrase [CHAT_VAULT_PASSPHRASE_FILE]',
    })
    .option('json', { type: 'boolean', describe: 'one JSON object a line' })
    .option('no-input', { type: 'boolean', describe: 'ask nothing: fail instead' })
    .option('timeout', {
      type: 'string',
      requiresArg: true,
      describe: 'how long to wait, such as 10s or 5m (default 30s)',
    })
    .option('quiet', { alias: 'q', type: 'boolean', describe: 'exit status only' })
    .option('verbose', { alias: 'v', type: 'count', describe: 'say more on standard error' })
    .command({
      command: '$0',
      describe: false,
      handler: (args) => run(args as unknown as GlobalArgs, interactive),
    })
    .command(registerCommand(run))
    .command(loginCommand(run))
    .command(logoutCommand(run))
    .command(whoamiCommand(run))
    .command(statusCommand(run))
    .command(sendCommand(run))
    .command(editCommand(run))
    .command(deleteCommand(run))
    .command(reactCommand(run))
    .command(recvCommand(run))
    .command(historyCommand(run))
    .command(receiptsCommand(run))
    .command(transcriptCommand(run, { argv, version: version(), exit }))
    .command(contactCommand(run))
    .command(roomCommand(run))
    .command(deviceCommand(run))
    .command(presenceCommand(run))
    .command(vaultCommand(run))
    .example(
      '$0 -P alice --ca ca.crt --cert alice.crt --key alice.key',
      'first time: registers and remembers the files',
    )
    .example('$0 -P alice send bob "stand by" --wait delivered', 'from a script')
    .epilogue(
      'Exit status: 0 done, 2 usage, 3 no connection, 4 refused, 5 wait, 6 certificate, 7 not reached, 8 not found, 14 fork.',
    )
    .strict()
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

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  hardenProcess();
  // A reader that has seen enough closes its end: no reason to complain.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const { stdin, stdout, stderr } = process;
  process.exitCode = await main(process.argv.slice(2), process.env, { stdin, stdout, stderr });
  stdin.destroy(); // a terminal that is still being read would keep the process alive
}
