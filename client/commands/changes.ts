/** `edit`, `delete`, `react`: what can be done to a message that was sent. */
import type { CommandModule } from 'yargs';
import { ChatError } from '../../base/errors.ts';
import { printable } from '../../runtime/printable.ts';
import type { App } from '../app.ts';
import type { GlobalArgs } from '../context.ts';
import { messageFields } from '../presentation.ts';
import type { Message } from '../message-table.ts';
import type { Run } from './account.ts';
import { bodyOf, type TextArgs } from './messages.ts';

interface ChangeArgs extends GlobalArgs {
  readonly peer: string;
  readonly id: string;
}
type EditArgs = ChangeArgs & TextArgs;
interface ReactArgs extends ChangeArgs {
  readonly sign?: string | undefined;
  readonly remove: boolean;
}

const PEER = { type: 'string', demandOption: true, describe: 'username, e-mail address, or #room' } as const;
const ID = {
  type: 'string',
  demandOption: true,
  describe: 'its place, or 8 digits of its id (history shows both)',
} as const;

export const editCommand = (run: Run): CommandModule<GlobalArgs, EditArgs> => ({
  command: 'edit <peer> <id> [message]',
  describe: 'Change one of your messages; others can see that it was edited',
  builder: (y) =>
    y
      .positional('peer', PEER)
      .positional('id', ID)
      .positional('message', { type: 'string', describe: '- or nothing: standard input' })
      .example('$0 edit bob 7 "stand down"', 'message number 7'),
  handler: (args) =>
    run(args, async (context) => {
      const body = await bodyOf(context, args);
      await context.withLogin((app) => change(app, context, args, (message) => app.edit(message, body)));
    }),
});

export const deleteCommand = (run: Run): CommandModule<GlobalArgs, ChangeArgs> => ({
  command: 'delete <peer> <id>',
  describe: 'Erase one of your messages, here and on all devices that have it; it remains proven that it was sent',
  builder: (y) => y.positional('peer', PEER).positional('id', ID).example('$0 delete bob 7', 'message number 7'),
  handler: (args) =>
    run(args, (context) => context.withLogin((app) => change(app, context, args, (message) => app.delete(message)))),
});

export const reactCommand = (run: Run): CommandModule<GlobalArgs, ReactArgs> => ({
  command: 'react <peer> <id> [sign]',
  describe: 'React to a message with one sign or word',
  builder: (y) =>
    y
      .positional('peer', PEER)
      .positional('id', ID)
      .positional('sign', { type: 'string', describe: 'such as 👍' })
      .option('remove', { type: 'boolean', default: false, describe: 'withdraw your reaction' })
      .example('$0 react bob 7 👍', 'to message number 7')
      .example('$0 react bob 7 --remove', 'withdraws the reaction'),
  handler: (args) =>
    run(args, async (context) => {
      const { sign, remove } = args;
      if ((sign === undefined) !== remove) throw new ChatError('USAGE', 'want a sign, or --remove');
      await context.withLogin((app) =>
        change(app, context, args, (message) =>
          sign === undefined ? app.delete(ownReaction(app, message)) : app.react(message, sign),
        ),
      );
    }),
});

/** @throws NOT_FOUND */
function ownReaction({ vault }: App, message: Message): Message {
  const own = vault.annotations.reading(message).reactions.findLast(({ direction }) => direction === 'out');
  if (own === undefined) throw new ChatError('NOT_FOUND', 'there is no reaction of yours to that message');
  return own;
}

async function change(
  app: App,
  context: Parameters<Parameters<Run>[1]>[0],
  { peer, id, json }: ChangeArgs,
  write: (message: Message) => number,
): Promise<void> {
  const conversation = await app.open(peer);
  const row = write(app.vault.annotations.find(conversation.id, id));
  const sent = await app.waitFor(row, 'accepted', context.timeoutMs);
  if (json) context.json('sent', messageFields(app.vault.annotations.reading(sent), conversation.peer));
  else context.out(`${printable(conversation.peer)} #${sent.seq} ${sent.state}`);
}
