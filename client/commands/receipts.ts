/** `receipts [on|off]`: whether others are told what was read here. */
import type { CommandModule } from 'yargs';
import type { GlobalArgs } from '../context.ts';
import type { Run } from './account.ts';

interface ReceiptsArgs extends GlobalArgs {
  readonly state?: 'on' | 'off' | undefined;
}

export const receiptsCommand = (run: Run): CommandModule<GlobalArgs, ReceiptsArgs> => ({
  command: 'receipts [state]',
  describe: 'Whether others are told what you have read (off at first); that a message came is always told',
  builder: (y) =>
    y
      .positional('state', { choices: ['on', 'off'] as const, describe: 'nothing: say what is so now' })
      .example('$0 receipts on', 'from now on, for what is shown by any command or in the interactive mode'),
  handler: (args) =>
    run(args, (context) =>
      context.withVault((vault) => {
        if (args.state !== undefined) vault.profile.setSendsRead(args.state === 'on');
        const state = vault.profile.sendsRead() ? 'on' : 'off';
        if (args.json) context.json('receipts', { read: state });
        else context.out(`read receipts: ${state}`);
      }),
    ),
});
