/** `transcript verify` and `transcript show`: chat-verify, over a file of anybody's, and over what this profile itself can prove. */
import type { CommandModule } from 'yargs';
import { auditBundle } from '../../verify/bundle.ts';
import type { JudgedMessage } from '../../verify/bundle-messages.ts';
import { EXIT, Findings } from '../../verify/finding.ts';
import { bundleOutcome, type ReportKind } from '../../verify/outcome.ts';
import { verifyProgram } from '../../verify/program.ts';
import { reportRow, type ReportRow } from '../../verify/report.ts';
import { Sayings } from '../../verify/saying.ts';
import type { Context, GlobalArgs } from '../context.ts';
import { conversationBundle } from '../conversation-bundle.ts';
import type { Run } from './account.ts';
import { timeFrom } from './export.ts';
import { conversationWith } from './messages.ts';

/** What main gives to commands that end with a verdict. */
export interface Verifier {
  readonly argv: readonly string[];
  readonly version: string;
  readonly exit: (status: number) => void;
}

/** Every argument behind it is chat-verify's own. */
export const verifyCommand = (run: Run, { argv, version, exit }: Verifier): CommandModule<GlobalArgs, GlobalArgs> => ({
  command: 'verify [args..]',
  describe: 'Check a bundle or a log directory (as chat-verify), by default with the CA of this profile',
  builder: (y) =>
    y
      .parserConfiguration({ 'unknown-options-as-args': true, 'populate--': true })
      .strict(false)
      .help(false)
      .version(false)
      .example('$0 transcript verify bob.tar', 'what chat-verify bob.tar --ca ca.crt says'),
  handler: (args) =>
    run(args, async (context) => {
      const own = argv.slice(argv.indexOf('verify') + 1);
      const { caFile } = context.settings;
      const isGiven = own.some((word) => word === '--ca' || word.startsWith('--ca=') || word === '--help');
      const words = isGiven || caFile === undefined ? own : [...own, '--ca', caFile];
      exit(verifyProgram(words, version, linesOf(context)));
    }),
});

interface ShowArgs extends GlobalArgs {
  readonly peer: string;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly report: string;
}

export const showCommand = (run: Run, { version, exit }: Verifier): CommandModule<GlobalArgs, ShowArgs> => ({
  command: 'show <peer>',
  describe: 'Show what this profile can prove of a conversation, with a verdict and all texts; contacts no server',
  builder: (y) =>
    y
      .positional('peer', { type: 'string', demandOption: true, describe: 'username, e-mail address, or #room' })
      .option('since', { type: 'string', requiresArg: true, describe: 'from this time on' })
      .option('until', { type: 'string', requiresArg: true, describe: 'before this time' })
      .option('report', { choices: ['md', 'html'] as const, default: 'md', describe: 'as Markdown, or as HTML' })
      .example('$0 transcript show bob', 'a page for a person, and the exit status of the verdict'),
  handler: (args) =>
    run(args, (context) =>
      context.withApp(async (app) => {
        const range = { from: timeFrom('--since', args.since), until: timeFrom('--until', args.until) };
        const { pieces } = await conversationBundle(app, conversationWith(app.vault, args.peer), range, 'all', false);
        const { roots } = app.identity;
        const findings = new Findings();
        const rows: ReportRow[] = [];
        const sayings = new Sayings();
        const onMessage = (message: JudgedMessage): void => void rows.push(reportRow(message, sayings));
        const audited = auditBundle(pieces, { roots, crls: [] }, findings, { onMessage });
        const kind = args.report as ReportKind;
        const outcome = bundleOutcome(audited, findings, null, [], { kind, rows });
        const verdict = findings.verdict(false);
        const summary = outcome.summary(findings);
        if (args.json) context.json('verdict', { verdict, exit: EXIT[verdict], checked: outcome.checked });
        else linesOf(context).out(outcome.page!(verdict, summary, { roots, crls: [], at: undefined, version }));
        exit(EXIT[verdict]);
      }),
    ),
});

/** What it prints is fit for a terminal already: verify/finding.ts `shown`. */
const linesOf = ({ streams }: Context) => ({
  out: (line: string): void => void streams.stdout.write(`${line}\n`),
  err: (line: string): void => void streams.stderr.write(`${line}\n`),
});
