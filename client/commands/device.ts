/** `device list`, `device revoke`: the devices of one's own account. */
import type { CommandModule } from 'yargs';
import { equal, hex } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import type { GlobalArgs } from '../context.ts';
import type { Reply } from '../../protocol/messages.ts';
import type { Run } from './account.ts';

type Device = Reply<'devices'>['devices'][number];

interface RevokeArgs extends GlobalArgs {
  readonly fingerprint: string;
}

/** Hex digits of a fingerprint that are enough to mean one. */
const MIN_DIGITS = 8;

export const deviceCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'device <command>',
  describe: 'Devices of your account: list, revoke',
  builder: (y) =>
    y
      .command({
        command: 'list',
        describe: 'Every certificate that your account was ever used with',
        handler: (args) => list(run, args as unknown as GlobalArgs),
      })
      .command({
        command: 'revoke <fingerprint>',
        describe: 'End a device for good: it is cut off, and reads nothing that is written from then on',
        builder: (z) =>
          z.positional('fingerprint', {
            type: 'string',
            describe: `first ${MIN_DIGITS} or more hex digits of its certificate's SHA-256`,
          }),
        handler: (args) => revoke(run, args as unknown as RevokeArgs),
      })
      .example('$0 device revoke 3cc14118', 'the laptop that was stolen')
      .demandCommand(1, 'want list or revoke'),
  handler: () => {},
});

const list = (run: Run, args: GlobalArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      for (const device of await app.devices()) {
        const isThis = equal(device.fingerprint, app.identity.fingerprint);
        if (args.json) context.json('device', fieldsOf(device, isThis));
        else context.out(`${hex(device.fingerprint)}  ${wordsOf(device, isThis)}`);
      }
    }),
  );

const revoke = (run: Run, args: RevokeArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const digits = args.fingerprint.toLowerCase().replaceAll(':', '');
      if (!/^[0-9a-f]{8,64}$/.test(digits))
        throw new ChatError('USAGE', `want ${MIN_DIGITS} to 64 hex digits of a fingerprint; see device list`);
      const fits = (await app.devices()).filter(({ fingerprint }) => hex(fingerprint).startsWith(digits));
      const [device, another] = fits;
      if (device === undefined) throw new ChatError('NOT_FOUND', 'you have no such device');
      if (another !== undefined) throw new ChatError('USAGE', 'several devices begin so: give more digits');
      await app.revokeDevice(device.fingerprint);
      if (args.json) context.json('device_revoked', { sha256: hex(device.fingerprint) });
      else context.out(`revoked ${hex(device.fingerprint)}`);
    }),
  );

const fieldsOf = (device: Device, isThis: boolean): Record<string, unknown> => ({
  sha256: hex(device.fingerprint),
  this: isThis,
  online: device.online,
  first_seen: new Date(device.first_seen).toISOString(),
  not_after: new Date(device.not_after).toISOString(),
  revoked_at: device.revoked_at === undefined ? null : new Date(device.revoked_at).toISOString(),
});

function wordsOf(device: Device, isThis: boolean): string {
  const since = `since ${new Date(device.first_seen).toISOString()}`;
  if (device.revoked_at !== undefined) return `${since}, REVOKED ${new Date(device.revoked_at).toISOString()}`;
  const state = isThis ? 'this device' : device.online ? 'connected' : 'not connected';
  return `${since}, valid until ${new Date(device.not_after).toISOString()}, ${state}`;
}
