/** Options that every command has: in the help of the program, and in that of a command only when they are asked for. */
import type { Argv, CommandModule } from 'yargs';
import type { GlobalArgs } from './context.ts';

/** In the help of a command they would hide its own. Those that change what it prints or how long it takes are not among them. */
const COMMON = [
  'profile',
  'config',
  'server',
  'ca',
  'cert',
  'key',
  'p12',
  'key-passphrase-file',
  'password-file',
  'password-stdin',
  'passphrase-file',
  'no-input',
  'quiet',
  'verbose',
  'version',
] as const;

/** The command, whose help shows its own options. @param argv whole: `--all-options` shows the others as well */
export function brief<A>(argv: readonly string[], command: CommandModule<GlobalArgs, A>): CommandModule<GlobalArgs, A> {
  const { builder } = command;
  if (typeof builder !== 'function' || argv.includes('--all-options')) return command;
  return {
    ...command,
    builder: (y: Argv<GlobalArgs>) => {
      for (const name of COMMON) y.hide(name);
      return builder(y) as Argv<A>;
    },
  };
}

export const withCommonOptions = (y: Argv) =>
  y
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
      describe: 'opens the records of this profile, if they have a passphrase [CHAT_VAULT_PASSPHRASE_FILE]',
    })
    .option('json', { type: 'boolean', describe: 'one JSON object per line' })
    .option('no-input', { type: 'boolean', describe: 'ask nothing: fail instead' })
    .option('timeout', {
      type: 'string',
      requiresArg: true,
      describe: 'how long to wait, such as 10s or 5m (default 30s)',
    })
    .option('quiet', { alias: 'q', type: 'boolean', describe: 'exit status only' })
    .option('verbose', { alias: 'v', type: 'count', describe: 'say more on standard error' })
    .option('all-options', { type: 'boolean', describe: 'with --help: also show the options that every command has' });
