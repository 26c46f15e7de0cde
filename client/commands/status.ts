/** `status`: connection, account, certificate, queue, record. */
import type { CommandModule } from 'yargs';
import { ChatError } from '../../base/errors.ts';
import { printable } from '../../runtime/printable.ts';
import type { GlobalArgs } from '../context.ts';
import type { Run } from './account.ts';

export const statusCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'status',
  describe:
    'Show connection, account, certificate, queue and record; the exit status says whether the server can be used',
  builder: (y) => y.example('$0 status --json', 'one object, for scripts'),
  handler: (args) =>
    run(args, (context) =>
      context.withApp(async (app) => {
        let failure: ChatError | null = null;
        try {
          await app.connect();
          await app.login(null);
          await app.settled();
        } catch (error) {
          failure = ChatError.from(error);
        }
        const status = app.status();
        if (args.json)
          context.json('status', {
            profile: context.settings.profile,
            server: status.server,
            connected: status.suite !== null,
            logged_in: status.isConnected,
            ...(failure === null ? {} : { error: failure.code, sub: failure.sub }),
            account: status.account?.username ?? null,
            certificate_days_left: status.certificateDaysLeft,
            suite: status.suite,
            channel: status.confirmation,
            pending: status.pending,
            undelivered: status.undelivered,
            log:
              status.log === null
                ? null
                : { origin: status.log.origin, size: status.log.size, proven_size: status.log.provenSize },
            alarms: status.alarms,
            skew_ms: status.skewMs,
          });
        else {
          const state = status.isConnected
            ? 'logged in'
            : status.suite !== null
              ? 'connected, not logged in'
              : 'not connected';
          const why = failure === null || status.isConnected ? '' : `: ${printable(failure.message)}`;
          context.out(`server       ${printable(status.server)}: ${state}${why}`);
          context.out(`account      ${printable(status.account?.username ?? 'none yet')}`);
          context.out(`certificate  ${status.certificateDaysLeft} days left`);
          if (status.suite !== null) context.out(`channel      suite ${status.suite}, ${status.confirmation}`);
          context.out(`queue        ${status.pending} not sent, ${status.undelivered} without word of delivery`);
          if (status.log !== null)
            context.out(
              `record       ${printable(status.log.origin)}: ${status.log.size} entries, proven to ${status.log.provenSize}`,
            );
          if (status.alarms > 0)
            context.out(
              `ALARMS       ${status.alarms}: something false was shown; the evidence is kept: transcript alarms`,
            );
        }
        if (failure !== null) throw failure;
      }),
    ),
});
