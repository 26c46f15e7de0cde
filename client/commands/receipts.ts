/** `receipts [on|off|default] [PEER]`: whether others are told what was read here, by default and one by one. */
import type { CommandModule } from 'yargs';
import type { GlobalArgs } from '../context.ts';
import { READ_CHOICES, setReadReceipts, shownReadReceipts, word, type ReadChoice } from '../read-receipts.ts';
import type { Run } from './account.ts';

interface ReceiptsArgs extends GlobalArgs {
  readonly state?: ReadChoice | undefined;
  readonly peer?: string | undefined;
}

export const receiptsCommand = (run: Run): CommandModule<GlobalArgs, ReceiptsArgs> => ({
  command: 'receipts [state] [peer]',
  describe:
    'Show or choose whether others are told what you have read (off by default); they are always told what has arrived',
  builder: (y) =>
    y
      .positional('state', {
        choices: READ_CHOICES,
        describe: 'left out: show the present choice; default: end an exception',
      })
      .positional('peer', {
        type: 'string',
        describe: 'username, e-mail address, or #room, known here; left out: everybody who is no exception',
      })
      .example('$0 receipts on', 'from now on, for what is shown by any command or in the interactive mode')
      .example('$0 receipts off bob', 'whatever the others are told'),
  handler: (args) =>
    run(args, (context) =>
      context.withRecords((vault) => {
        setReadReceipts(vault, args.state, args.peer);
        if (!args.json) return shownReadReceipts(vault).forEach((line) => context.out(line));
        const exceptions = vault.profile.readExceptions().map(({ peer, read }) => ({ peer, read: word(read) }));
        context.json('receipts', { read: word(vault.profile.sendsRead()), exceptions });
      }),
    ),
});
