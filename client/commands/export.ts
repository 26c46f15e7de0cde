/** `transcript list` and `transcript export`: evidence of a conversation as a file, out of this profile's own records. */
import type { CommandModule } from 'yargs';
import { hex } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { printable } from '../../runtime/printable.ts';
import { writePieces } from '../../runtime/whole-file.ts';
import type { Profile } from '../../transcript/bundle.ts';
import { iso, parseTime } from '../../verify/time.ts';
import type { App } from '../app.ts';
import type { Context, GlobalArgs } from '../context.ts';
import { conversationBundle, type Attestation, type Range } from '../conversation-bundle.ts';
import { parseDisclosure, type Disclosure } from '../disclosure.ts';
import { provenMessages, type Proven } from '../evidence.ts';
import type { Run } from './account.ts';
import { conversationWith } from './messages.ts';

export const listCommand = (run: Run): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'list',
  describe:
    'List the conversations that can be exported, and how many of their messages are proven; contacts no server',
  builder: (y) => y.example('$0 transcript list --json', 'one object for each conversation'),
  handler: (args) =>
    run(args, (context) =>
      context.withRecords((vault) => {
        const proven = Map.groupBy(provenMessages(vault.ledger, null), ({ ms }) => hex(ms.conversation));
        for (const { id, peer } of vault.conversations()) {
          const messages = proven.get(hex(id)) ?? [];
          const [first, last] = [messages[0], messages.at(-1)].map((m) => m && timeOf(m));
          if (args.json)
            context.json('transcript', { conversation: hex(id), peer, messages: messages.length, first, last });
          else
            context.out(
              `${printable(peer)}  ${messages.length} messages${first === undefined ? '' : `, ${first} to ${last}`}`,
            );
        }
      }),
    ),
});

const timeOf = ({ batch }: Proven): string => iso(batch.ack.serverTime);

interface ExportArgs extends GlobalArgs {
  readonly peer: string;
  readonly out: string;
  readonly disclose: string;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly prove: boolean;
  readonly force: boolean;
}

export const exportCommand = (run: Run): CommandModule<GlobalArgs, ExportArgs> => ({
  command: 'export <peer>',
  describe: 'Write the evidence of a conversation to a file for chat-verify; contacts the server only with --prove',
  builder: (y) =>
    y
      .positional('peer', { type: 'string', demandOption: true, describe: 'username, e-mail address, or #room' })
      .option('out', { alias: 'o', type: 'string', demandOption: true, requiresArg: true, describe: 'the file, .tar' })
      .option('disclose', {
        type: 'string',
        default: 'none',
        requiresArg: true,
        describe: 'which texts are in it: none, mine, all, or places such as 3,7-9',
      })
      .option('since', {
        type: 'string',
        requiresArg: true,
        describe: 'from this time on, such as 2026-03-01T00:00:00Z',
      })
      .option('until', { type: 'string', requiresArg: true, describe: 'before this time' })
      .option('prove', {
        type: 'boolean',
        default: false,
        describe:
          'ask the server to prove that all checkpoints are of one history, and for revocation lists, cosignatures and time-stamps',
      })
      .option('force', { type: 'boolean', default: false, describe: 'replace the file' })
      .example('$0 transcript export bob -o bob.tar --disclose mine', 'then: chat-verify bob.tar --ca ca.crt')
      .example("$0 transcript export '#ops' -o ops.tar", 'a room')
      .example(
        '$0 transcript export bob -o bob.tar --disclose 3,7-9 --prove',
        'three or four texts, and proofs from the server',
      ),
  handler: (args) =>
    run(args, (context) => {
      const range = { from: timeFrom('--since', args.since), until: timeFrom('--until', args.until) };
      const disclosure = parseDisclosure(args.disclose);
      const work = (app: App) => exportBundle(context, app, args, range, disclosure);
      return args.prove ? context.withLogin(work) : context.withApp(work);
    }),
});

async function exportBundle(
  context: Context,
  app: App,
  { peer, out, prove, force }: ExportArgs,
  range: Range,
  disclosure: Disclosure,
): Promise<void> {
  const prepared = await conversationBundle(app, conversationWith(app.vault, peer), range, disclosure, prove);
  const { pieces, profile, messages, receipts, count, missing, seen, late, past } = prepared;
  writePieces(out, pieces, force);
  for (const name of missing) context.note(`the certificate ${name} is not here: its messages cannot be proven`);
  for (const origin of late)
    context.note(
      `witnesses or a time-stamp vouch for ${origin} only up to before the newest of these: export again later`,
    );
  for (const origin of past) context.note(`the server writes another log now, and proves nothing more of ${origin}`);
  report(context, out, peer, profile, { messages, disclosed: count.disclosed, receipts }, seen);
}

interface Figures {
  readonly messages: number;
  readonly disclosed: number;
  readonly receipts: number;
}

function report(
  context: Context,
  out: string,
  peer: string,
  profile: Profile,
  figures: Figures,
  { cosignatures, stamps }: Attestation,
): void {
  const seen = { ...(cosignatures > 0 && { cosignatures }), ...(stamps > 0 && { stamps }) };
  if (context.args.json) return context.json('exported', { peer, file: out, profile, ...figures, ...seen });
  const { messages, disclosed, receipts } = figures;
  const words = [
    `${messages} messages`,
    `${disclosed} disclosed`,
    `${receipts} receipts`,
    profile,
    ...(cosignatures > 0 ? [`${cosignatures} cosignatures`] : []),
    ...(stamps > 0 ? ['stamped'] : []),
  ];
  context.out(`${printable(out)}: ${words.join(', ')}`);
}

/** @throws USAGE */
export function timeFrom(flag: string, text: string | undefined): number | undefined {
  const at = text === undefined ? undefined : parseTime(text);
  if (at === null) throw new ChatError('USAGE', `${flag} wants a time such as 2026-03-01T12:00:00Z`);
  return at;
}
