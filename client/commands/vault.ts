/** `vault passphrase set|change|remove`: what opens the records of this profile. */
import type { CommandModule } from 'yargs';
import { ChatError } from '../../base/errors.ts';
import type { Secret } from '../../base/secret.ts';
import type { Context, GlobalArgs } from '../context.ts';
import { isWrapped, keyPath, setPassphrase } from '../vault-key.ts';
import type { Run } from './account.ts';

interface ChangeArgs extends GlobalArgs {
  readonly 'new-passphrase-file'?: string | undefined;
}

export const vaultCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'vault <command>',
  describe: 'The records of this profile on this disk: passphrase',
  builder: (y) =>
    y
      .command({
        command: 'passphrase <command>',
        describe: 'What opens the records of this profile: set, change, remove',
        builder: (z) =>
          z
            .command({
              command: 'set',
              describe: 'Protect them with a passphrase, from --passphrase-file or from the terminal',
              handler: (args) => set(run, args as unknown as GlobalArgs),
            })
            .command({
              command: 'change',
              describe: 'Change the passphrase',
              builder: (w) =>
                w.option('new-passphrase-file', {
                  type: 'string',
                  requiresArg: true,
                  describe: 'file with the new one (default: ask on the terminal)',
                }),
              handler: (args) => change(run, args as unknown as ChangeArgs),
            })
            .command({
              command: 'remove',
              describe: 'Remove the passphrase: whoever can read the files of the profile can then read the records',
              handler: (args) => remove(run, args as unknown as GlobalArgs),
            })
            .example('$0 vault passphrase set', 'asks for it twice, and shows nothing')
            .example(
              '$0 vault passphrase change --passphrase-file old.txt --new-passphrase-file new.txt',
              'asks nothing',
            )
            .demandCommand(1, 'want set, change or remove'),
        handler: () => {},
      })
      .demandCommand(1, 'want passphrase'),
  handler: () => {},
});

const set = (run: Run, args: GlobalArgs): Promise<void> =>
  run(args, async (context) => {
    const path = keyPath(context.settings.folder);
    if (isWrapped(path))
      throw new ChatError('USAGE', 'the records of this profile take a passphrase already: use change');
    await context.withRecords(async () => {
      const after = await context.passwords.newPassphrase(context.settings.vaultPassphraseFile, '--passphrase-file');
      await put(context, path, null, after);
    });
    say(context, 'set', 'set: without it nobody can read the records of this profile, and nobody can bring it back');
  });

const change = (run: Run, args: ChangeArgs): Promise<void> =>
  run(args, async (context) => {
    const path = keyPath(context.settings.folder);
    const before = await known(context, path);
    const after = await context.passwords.newPassphrase(args['new-passphrase-file'], '--new-passphrase-file');
    await context.withVault(() => put(context, path, before, after), before);
    say(context, 'changed', 'changed');
  });

const remove = (run: Run, args: GlobalArgs): Promise<void> =>
  run(args, async (context) => {
    const path = keyPath(context.settings.folder);
    const before = await known(context, path);
    await context.withVault(() => put(context, path, before, null), before);
    say(context, 'removed', 'removed: whoever can read the files of this profile can read its records');
  });

/** @throws USAGE where there is none; NOT_FOUND for a profile that there is not */
function known(context: Context, path: string): Promise<Secret> {
  if (isWrapped(path)) return context.passwords.passphrase();
  return context.withRecords(() => {
    throw new ChatError('USAGE', 'the records of this profile take no passphrase; set gives them one');
  });
}

async function put(context: Context, path: string, before: Secret | null, after: Secret | null): Promise<void> {
  const isShared = await setPassphrase(path, before, after);
  if (isShared)
    context.note('another name leads to the key file of before (a backup?): remove it, for it opens what it opened');
}

const say = (context: Context, state: 'set' | 'changed' | 'removed', line: string): void =>
  context.args.json ? context.json('vault_passphrase', { state }) : context.out(`passphrase ${line}`);
