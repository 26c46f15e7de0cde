/** `transcript`, and `transcript anchors`: what this profile can hold a server to, in the form that `chat-verify --known` reads. */
import type { CommandModule } from 'yargs';
import { hex } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { printable } from '../../runtime/printable.ts';
import type { Context, GlobalArgs } from '../context.ts';
import { writePieces } from '../../runtime/whole-file.ts';
import type { Vault } from '../vault.ts';
import type { Run } from './account.ts';
import { alarmsCommand } from './alarms.ts';
import { exportCommand, listCommand } from './export.ts';
import { showCommand, verifyCommand, type Verifier } from './verify.ts';

interface AnchorArgs extends GlobalArgs {
  readonly out?: string | undefined;
}

export const transcriptCommand = (run: Run, verifier: Verifier): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'transcript',
  describe: 'The signed record, as far as this profile can vouch for it',
  builder: (y) =>
    y
      .command(listCommand(run))
      .command(exportCommand(run))
      .command(showCommand(run, verifier))
      .command(verifyCommand(run, verifier))
      .command(anchorsCommand(run))
      .command(alarmsCommand(run))
      .demandCommand(1, 'want list, show, export, verify, anchors or alarms'),
  handler: () => {},
});

const anchorsCommand = (run: Run): CommandModule<GlobalArgs, AnchorArgs> => ({
  command: 'anchors',
  describe:
    'Show the newest verified checkpoint and the counters of this device: a record that lacks them was truncated',
  builder: (y) =>
    y
      .option('out', { type: 'string', requiresArg: true, describe: 'write the checkpoint to this file' })
      .example(
        '$0 transcript anchors --out alice.checkpoint',
        'then: chat-verify LOGDIR --ca ca.crt --known alice.checkpoint',
      )
      .example('$0 transcript anchors --json', 'one object for each log that this profile has seen'),
  handler: (args) =>
    run(args, (context) =>
      context.withRecords((vault) => {
        const anchors = anchorsOf(vault);
        const newest = anchors.at(-1);
        if (newest === undefined)
          throw new ChatError('NOT_FOUND', 'this profile has verified no checkpoint yet: log in first');
        if (args.out !== undefined) writePieces(args.out, [Buffer.from(newest.note)], true);
        const counters = sessionsOf(vault);
        if (args.json)
          for (const { origin, size, root, note } of anchors)
            context.json('anchor', { origin, size, root: hex(root), note, sessions: counters });
        else if (args.out !== undefined)
          context.out(`${printable(newest.origin)}: ${newest.size} entries, in ${printable(args.out)}`);
        else for (const line of newest.note.replace(/\n$/, '').split('\n')) context.out(shownLine(context, line));
        if (!args.json)
          for (const { session, last_ctr: count } of counters)
            context.note(`session ${session} of this device: ${count} statements acknowledged`);
      }),
    ),
});

/** Of a signed note, exactly: it may go into a file. On a terminal the names of others who have signed it are not obeyed. */
const shownLine = ({ streams }: Context, line: string): string =>
  streams.stdout.isTTY === true ? printable(line) : line;

/** The newest of each log that is proven to continue all before it; that of the log that was seen last comes last. */
function anchorsOf({ ledger }: Vault) {
  const last = ledger.lastOrigin();
  const origins = ledger.origins().filter((origin) => origin !== last);
  return [...origins, ...(last === null ? [] : [last])].flatMap((origin) => ledger.head(origin) ?? []);
}

const sessionsOf = (vault: Vault) =>
  vault.sessions
    .all()
    .filter(({ lastCtr }) => lastCtr > 0)
    .map(({ fingerprint, id, lastCtr }) => ({ certificate: hex(fingerprint), session: hex(id), last_ctr: lastCtr }));
