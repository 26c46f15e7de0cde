/** `chat-server`: argv → configuration → work → exit status. The only place of the server that words an error. */
import { readFileSync } from 'node:fs';
import { hideBin } from 'yargs/helpers';
import yargs from 'yargs';
import { ChatError, CODES } from '../base/errors.ts';
import { hardenProcess, refuseUnsafeProcess } from '../runtime/lifecycle.ts';
import { printable } from '../runtime/printable.ts';
import { verifyProgram } from '../verify/program.ts';
import { askAdmin } from './admin.ts';
import { describeServerConfig, serverConfigSchema } from '../runtime/config.ts';
import { checkConfig, configOf, effectiveConfig, type GlobalFlags } from './configuration.ts';
import { changeContacts, listUsers, migrateDatabase, databaseStatus } from './maintenance.ts';
import { runDaemon } from './daemon.ts';
import { beginEpoch, rotateKey } from './recover-log.ts';
import { readPasswords } from '../runtime/secret-file.ts';
import { resumeUser, setUserPassword, showUser, suspendUser } from './user-commands.ts';
import { exportTranscript, listTranscript, showCheckpoint } from './transcript-commands.ts';

hardenProcess();
const manifest = new URL(import.meta.url.endsWith('.ts') ? '../package.json' : '../../package.json', import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
const out = (line: string): void => void process.stdout.write(`${line}\n`);
// A reader that has gone (chat-server user list | head) has seen enough. Neither it nor a full disk makes a verdict on a transcript better.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') {
    const code = error.code === 'ENOSPC' || error.code === 'EDQUOT' ? 'DISK_FULL' : 'STORE_FAILED';
    complain(`chat-server: the standard output did not take everything (${error.code}) [${code}]`);
    process.exitCode ||= CODES[code].exit;
  }
  process.exit();
});
process.stderr.on('error', () => {}); // there is nowhere to say it

/** What may be given more than once; of anything else the last counts, as with chat-client. */
const LISTS: ReadonlySet<string> = new Set(['_', 'args', 'listen', 'known']);

/** A command without flags of its own still has the global ones. */
const noFlags = <T>(y: T): T => y;

const cli = yargs(hideBin(process.argv))
  .scriptName('chat-server')
  .locale('en') // messages are matched by programs
  .middleware((argv) => {
    for (const [name, value] of Object.entries(argv))
      if (Array.isArray(value) && !LISTS.has(name)) argv[name] = value.at(-1);
  }, true)
  .usage('$0 <command>\n\nA chat server that uses your own certificate authority.')
  .option('config', {
    alias: 'c',
    type: 'string',
    requiresArg: true,
    describe: 'configuration file (TOML)',
    global: true,
  })
  .option('verbose', { alias: 'v', type: 'count', describe: 'log more', global: true })
  .option('quiet', { alias: 'q', type: 'boolean', describe: 'log warnings and errors only', global: true })
  .option('log-format', {
    choices: ['text', 'json'] as const,
    describe: 'format of the log on standard error',
    global: true,
  })
  .command(
    ['run', '$0'],
    'start in the foreground',
    (y) =>
      y
        .option('listen', { type: 'string', array: true, requiresArg: true, describe: 'HOST:PORT; may be repeated' })
        .example('$0 run -c /etc/chat-server/config.toml', 'with a configuration file')
        .example('DB_PASS_FILE=/run/secrets/db chat-server run', 'with settings from the environment'),
    // Whatever is still open when the shutdown has had its time must not keep the process.
    (argv) => finish(async () => process.exit(await runDaemon(configOf(argv, true), version))),
  )
  .command('config', 'check or show settings', (y) =>
    y
      .command('check', 'check the settings and the files they name; report every fault', noFlags, (argv) =>
        finish(() => checkConfig(argv, out, Date.now())),
      )
      .command(
        'show',
        'print the settings in force, and where each value comes from',
        (s) => s.option('redact', { type: 'boolean', default: true, describe: 'hide the locations of secrets' }),
        (argv) => finish(() => effectiveConfig(argv, argv.redact).forEach(out)),
      )
      .command('defaults', 'print an annotated example of the configuration file', noFlags, () =>
        finish(() => out(describeServerConfig())),
      )
      .command('schema', 'print the JSON Schema of the configuration file', noFlags, () =>
        finish(() => out(JSON.stringify(serverConfigSchema(), null, 2))),
      )
      .demandCommand(1, 'want check, show, defaults or schema'),
  )
  .command('db', 'the database and its schema', (y) =>
    y
      .command('init', 'create the schema in an empty database', noFlags, (argv) =>
        finish(() => migrateDatabase(configOf(argv), 'init', out)),
      )
      .command(
        'migrate',
        'bring the schema up to date',
        (s) => s.option('dry-run', { type: 'boolean', default: false, describe: 'only print what would be done' }),
        (argv) =>
          finish(() =>
            argv.dryRun ? databaseStatus(configOf(argv), out) : migrateDatabase(configOf(argv), 'migrate', out),
          ),
      )
      .command('status', 'show the version of the schema', noFlags, (argv) =>
        finish(() => databaseStatus(configOf(argv), out)),
      )
      .demandCommand(1, 'want init, migrate or status'),
  )
  .command('user', 'accounts', (y) => {
    const account = (z: typeof y) =>
      z.positional('account', { type: 'string', demandOption: true, describe: 'username or e-mail address' });
    return y
      .command(
        'list',
        'list all accounts',
        (s) => s.option('json', { type: 'boolean', default: false, describe: 'one JSON object per line' }),
        (argv) => finish(() => listUsers(configOf(argv), argv.json, out)),
      )
      .command(
        'show <account>',
        'show an account and its devices',
        (s) => account(s as typeof y).option('json', { type: 'boolean', default: false, describe: 'one JSON object' }),
        (argv) => finish(() => showUser(configOf(argv), argv.account, argv.json, Date.now(), out)),
      )
      .command(
        'suspend <account>',
        'end its connections and refuse its logins; what is sent to it waits',
        (s) => account(s as typeof y).option('reason', { type: 'string', requiresArg: true, describe: 'for the log' }),
        (argv) => finish(() => suspendUser(configOf(argv), argv.account, argv.reason, out)),
      )
      .command(
        'resume <account>',
        'let it log in again',
        (s) => account(s as typeof y),
        (argv) => finish(() => resumeUser(configOf(argv), argv.account, out)),
      )
      .command(
        'passwd <account>',
        'set another password, and end all logins with the old one',
        (s) =>
          account(s as typeof y)
            .option('password-stdin', {
              type: 'boolean',
              demandOption: true,
              describe: 'read the password from standard input, one line',
            })
            .example(
              '$0 user passwd alice --password-stdin < new.txt',
              'the password appears in no process list and in no log',
            ),
        (argv) =>
          finish(async () => {
            if (!argv.passwordStdin) throw new ChatError('USAGE', 'the password comes with --password-stdin');
            const config = configOf(argv);
            const [password] = await readPasswords(process.stdin, 1);
            await setUserPassword(config, argv.account, password!, out);
          }),
      )
      .demandCommand(1, 'want list, show, suspend, resume or passwd');
  })
  .command('contact', 'who is in contact with whom', (y) => {
    const pair = (z: typeof y) =>
      z
        .positional('person', { type: 'string', demandOption: true, describe: 'username or e-mail address' })
        .positional('other', { type: 'string', demandOption: true, describe: 'username or e-mail address' });
    return y
      .command(
        'add <person> <other>',
        'make two people contacts, without asking them',
        (z) => pair(z as typeof y),
        (argv) => finish(() => changeContacts(configOf(argv), 'add', [argv.person, argv.other], out)),
      )
      .command(
        'remove <person> <other>',
        'end the contact of two people',
        (z) => pair(z as typeof y),
        (argv) => finish(() => changeContacts(configOf(argv), 'remove', [argv.person, argv.other], out)),
      )
      .demandCommand(1, 'want add or remove');
  })
  .command(
    'status',
    'show the state of the running daemon',
    (y) => y.option('json', { type: 'boolean', default: false, describe: 'one JSON object' }),
    (argv) => finish(() => printStatus(argv, argv.json)),
  )
  .command('transcript', 'the signed log', (y) =>
    y
      .command(
        'list',
        'list the conversations in the log: how many messages, when, and by whom',
        (s) => s.option('json', { type: 'boolean', default: false, describe: 'one JSON object per line' }),
        (argv) => finish(() => listTranscript(configOf(argv), argv.json, out)),
      )
      .command(
        'checkpoint',
        'print the newest published checkpoint, for chat-verify --known',
        (s) => s.option('json', { type: 'boolean', default: false, describe: 'one JSON object' }),
        (argv) => finish(() => showCheckpoint(configOf(argv), argv.json, out)),
      )
      .command(
        'export',
        'write the evidence of a conversation to a file for chat-verify: who wrote when, but no content',
        (s) =>
          s
            .option('room', { type: 'string', requiresArg: true, describe: 'name of a room' })
            .option('conversation', { type: 'string', requiresArg: true, describe: 'id, as transcript list shows it' })
            .option('since', {
              type: 'string',
              requiresArg: true,
              describe: 'from this time on, such as 2026-03-01T00:00:00Z',
            })
            .option('until', { type: 'string', requiresArg: true, describe: 'before this time' })
            .option('out', {
              alias: 'o',
              type: 'string',
              demandOption: true,
              requiresArg: true,
              describe: 'the file, .tar',
            })
            .option('force', { type: 'boolean', default: false, describe: 'replace the file' })
            .example("$0 transcript export --room '#ops' -o ops.tar", 'then: chat-verify ops.tar --ca ca.crt'),
        (argv) => finish(() => exportTranscript(configOf(argv), argv, out)),
      )
      .command(
        'verify [args..]',
        'check a bundle or a log directory (as chat-verify)',
        (s) => s.parserConfiguration({ 'unknown-options-as-args': true }).strict(false).help(false).version(false),
        () => {
          const args = process.argv.slice(process.argv.indexOf('verify') + 1);
          process.exitCode = verifyProgram(args, version, { out, err: complain });
        },
      )
      .command('rotate', 'create another key for the log, which takes over at the next start', noFlags, (argv) =>
        finish(() => rotateKey(configOf(argv), out)),
      )
      .command(
        'recover',
        'after entries were lost for good: begin a new log at the next start, which states the loss',
        (s) =>
          s.option('known', {
            type: 'string',
            array: true,
            requiresArg: true,
            describe: 'a checkpoint of the log that somebody holds (chat-client transcript anchors); may be repeated',
          }),
        (argv) => finish(() => beginEpoch(configOf(argv), argv.known ?? [], out, Date.now())),
      )
      .demandCommand(1, 'want list, checkpoint, export, verify, rotate or recover'),
  )
  // A command like the others: that of yargs prints the script and goes on, to the default command and a usage error.
  .command(
    'completion',
    'print a completion script for your shell',
    noFlags,
    (): void => void cli.showCompletionScript(),
  )
  .strict()
  .recommendCommands()
  .help()
  .alias('h', 'help')
  .version(version)
  .epilogue(
    'Exit status: 0 done, 1 failure, 2 usage or configuration, 3 unreachable or I/O, 8 not found or a migration is pending; docs/ERRORS.md lists all.',
  )
  .wrap(110)
  .exitProcess(false)
  .fail((message: string | null, error: unknown) => {
    // yargs brings usage faults as a message, and whatever a handler threw as an error. Thrown, for else it would go on and run.
    throw message === null || error instanceof ChatError
      ? error
      : new ChatError('USAGE', `${lowerFirst(message)}; see --help`);
  });

try {
  refuseUnsafeProcess(process.env, process.execArgv);
  await cli.parseAsync();
} catch (error) {
  fail(error);
}

/** Runs a command; what it throws becomes one line and an exit status. */
async function finish(work: () => Promise<number | void> | number | void): Promise<void> {
  try {
    const status = await work();
    if (typeof status === 'number') process.exitCode = status;
  } catch (error) {
    fail(error);
  }
}

async function printStatus(flags: GlobalFlags, asJson: boolean): Promise<void> {
  const status = (await askAdmin(configOf(flags).values.admin.socket, 'status')) as Record<string, unknown>;
  if (asJson) return out(JSON.stringify({ v: 1, type: 'status', ...status }));
  for (const [key, value] of Object.entries(status)) out(`${key.padEnd(21)} ${printable(String(value))}`);
}

function fail(error: unknown): void {
  if (process.exitCode !== undefined && process.exitCode !== 0) return;
  const failure = ChatError.from(error);
  process.exitCode = CODES[failure.code].exit;
  const sub = failure.sub === undefined ? '' : `/${failure.sub}`;
  complain(`chat-server: ${failure.message} [${failure.code}${sub}]`);
  if (CODES[failure.code].blame === 'us' && failure.cause instanceof Error) complain(failure.cause.stack ?? '');
}

function complain(line: string): void {
  process.stderr.write(
    `${line
      .split('\n')
      .map((part) => printable(part))
      .join('\n')}\n`,
  );
}

/** One line, and no sentence of its own. */
function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1).replaceAll(/\s*\n\s*/g, ' ');
}
