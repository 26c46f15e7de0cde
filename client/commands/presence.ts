/** `presence`: what others are told of whether you are there. */
import type { CommandModule } from 'yargs';
import { ChatError } from '../../base/errors.ts';
import type { Context, GlobalArgs } from '../context.ts';
import { PRESENCE_STATES, shownChoice, type OwnPresence, type PresenceState } from '../presence.ts';
import type { Run } from './account.ts';

interface SetArgs extends GlobalArgs {
  readonly state?: PresenceState | undefined;
  readonly 'last-seen'?: 'on' | 'off' | undefined;
}

export const presenceCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'presence',
  describe: 'Show what others are told about your presence; set changes it',
  builder: (y) =>
    y
      .command({
        command: 'set [state]',
        describe: 'online, away, dnd (do not disturb), or invisible: as if you were not connected',
        builder: (z) =>
          z
            .positional('state', { choices: PRESENCE_STATES, describe: 'for all your devices, until it is set again' })
            .option('last-seen', {
              choices: ['on', 'off'] as const,
              describe: 'whether others may see when you were last there',
            }),
        handler: (args) => set(run, args as unknown as SetArgs),
      })
      .example('$0 presence set away', 'until: presence set online')
      .example('$0 presence set --last-seen off', 'nobody is told when you were last there'),
  handler: (args) => run(args, (context) => context.withLogin(async (app) => say(context, await app.presence({})))),
});

const set = (run: Run, args: SetArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const { state, 'last-seen': lastSeen } = args;
      if (state === undefined && lastSeen === undefined)
        throw new ChatError('USAGE', `want one of ${PRESENCE_STATES.join(', ')}, or --last-seen on or off`);
      const change = {
        ...(state === undefined ? {} : { state }),
        ...(lastSeen === undefined ? {} : { last_seen: lastSeen === 'on' }),
      };
      say(context, await app.presence(change));
    }),
  );

function say(context: Context, presence: OwnPresence): void {
  if (context.args.json) context.json('presence', { state: presence.state, last_seen: presence.last_seen });
  else context.out(shownChoice(presence));
}
