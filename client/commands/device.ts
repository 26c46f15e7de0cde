/** `device list`, `device approve`, `device revoke`: the devices of one's own account. */
import type { CommandModule } from 'yargs';
import { equal, hex, type Fingerprint } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { iso, parseTime } from '../../verify/time.ts';
import type { App } from '../app.ts';
import type { GlobalArgs } from '../context.ts';
import type { Reply } from '../../protocol/messages.ts';
import type { Run } from './account.ts';

type Device = Reply<'devices'>['devices'][number];

interface RevokeArgs extends GlobalArgs {
  readonly fingerprint: string;
}

interface ApproveArgs extends RevokeArgs {
  readonly history: string;
}

/** Hex digits of a fingerprint that are enough to mean one. */
const MIN_DIGITS = 8;

export const deviceCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'device <command>',
  describe: 'Devices of your account: list, approve, revoke',
  builder: (y) =>
    y
      .command({
        command: 'list',
        describe: 'List every certificate that your account was ever used with',
        handler: (args) => list(run, args as unknown as GlobalArgs),
      })
      .command({
        command: 'approve <fingerprint>',
        describe: 'Confirm that a device is yours, and hand over the history to it, encrypted for it alone',
        builder: (z) =>
          z
            .positional('fingerprint', {
              type: 'string',
              describe: `first ${MIN_DIGITS} or more hex digits of its certificate's SHA-256, as that device shows it with whoami`,
            })
            .option('history', {
              type: 'string',
              requiresArg: true,
              default: 'all',
              describe: 'all, none, or a time (2026-11-20T12:00:00Z): what was said since then',
            }),
        handler: (args) => approve(run, args as unknown as ApproveArgs),
      })
      .command({
        command: 'revoke <fingerprint>',
        describe: 'Revoke a device for good: it is cut off, and cannot read what is written from then on',
        builder: (z) =>
          z.positional('fingerprint', {
            type: 'string',
            describe: `first ${MIN_DIGITS} or more hex digits of its certificate's SHA-256`,
          }),
        handler: (args) => revoke(run, args as unknown as RevokeArgs),
      })
      .example('$0 device approve 3cc14118', 'the new laptop, with the whole history')
      .example('$0 device revoke 3cc14118', 'the laptop that was stolen')
      .demandCommand(1, 'want list, approve or revoke'),
  handler: () => {},
});

const list = (run: Run, args: GlobalArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const approved = app.ownDevices.approved();
      for (const device of await app.ownDevices.list()) {
        const isThis = equal(device.fingerprint, app.identity.fingerprint);
        const isApproved = approved.has(hex(device.fingerprint));
        if (args.json) context.json('device', { ...fieldsOf(device, isThis), approved: isApproved });
        else
          context.out(
            `${hex(device.fingerprint)}  ${wordsOf(device, isThis)}${isApproved ? ', approved on this device' : ''}`,
          );
      }
    }),
  );

const revoke = (run: Run, args: RevokeArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const device = await deviceNamed(app, args.fingerprint);
      await app.ownDevices.revoke(device.fingerprint);
      if (args.json) context.json('device_revoked', { sha256: hex(device.fingerprint) });
      else context.out(`revoked ${hex(device.fingerprint)}`);
    }),
  );

const approve = (run: Run, args: ApproveArgs): Promise<void> =>
  run(args, (context) =>
    context.withLogin(async (app) => {
      const since = sinceOf(args.history);
      const { fingerprint, revoked_at } = await deviceNamed(app, args.fingerprint);
      if (equal(fingerprint, app.identity.fingerprint))
        throw new ChatError('NOT_ALLOWED', 'that is this device: approve another', { sub: 'this_device' });
      if (revoked_at !== undefined) throw new ChatError('NOT_FOUND', 'that device is revoked');
      await app.ownDevices.approve(fingerprint as Fingerprint, since);
      const what = since === null ? 'no history was handed over' : 'the history is on its way to it';
      if (args.json) context.json('device_approved', { sha256: hex(fingerprint), history: args.history });
      else context.out(`approved ${hex(fingerprint)}: ${what}`);
    }),
  );

/** Unix ms; null: none. @throws USAGE */
function sinceOf(history: string): number | null {
  if (history === 'all') return 0;
  if (history === 'none') return null;
  const since = parseTime(history);
  if (since === null) throw new ChatError('USAGE', '--history: want all, none or a time such as 2026-11-20T12:00:00Z');
  return since;
}

/** @throws USAGE, NOT_FOUND */
async function deviceNamed(app: App, fingerprint: string): Promise<Device> {
  const digits = fingerprint.toLowerCase().replaceAll(':', '');
  if (!/^[0-9a-f]{8,64}$/.test(digits))
    throw new ChatError('USAGE', `want ${MIN_DIGITS} to 64 hex digits of a fingerprint; see device list`);
  const [device, another] = (await app.ownDevices.list()).filter((each) => hex(each.fingerprint).startsWith(digits));
  if (device === undefined) throw new ChatError('NOT_FOUND', 'you have no such device');
  if (another !== undefined) throw new ChatError('USAGE', 'several devices begin so: give more digits');
  return device;
}

const fieldsOf = (device: Device, isThis: boolean): Record<string, unknown> => ({
  sha256: hex(device.fingerprint),
  this: isThis,
  online: device.online,
  first_seen: iso(device.first_seen),
  not_after: iso(device.not_after),
  revoked_at: device.revoked_at === undefined ? null : iso(device.revoked_at),
});

function wordsOf(device: Device, isThis: boolean): string {
  const since = `since ${iso(device.first_seen)}`;
  if (device.revoked_at !== undefined) return `${since}, REVOKED ${iso(device.revoked_at)}`;
  const state = isThis ? 'this device' : device.online ? 'connected' : 'not connected';
  return `${since}, valid until ${iso(device.not_after)}, ${state}`;
}
