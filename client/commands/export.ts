/** `transcript list` and `transcript export`: evidence of a conversation as a file, out of this profile's own records. */
import type { CommandModule } from 'yargs';
import { hex, type Hash } from '../../base/bytes.ts';
import { ChatError } from '../../base/errors.ts';
import { printable } from '../../runtime/printable.ts';
import type { BundleHead, Profile } from '../../transcript/bundle.ts';
import { writeBundle, type BundleCrl, type BundleLog } from '../../transcript/bundle-writer.ts';
import { peekCheckpoint } from '../../transcript/checkpoint.ts';
import { parseNote } from '../../transcript/note.ts';
import { BundleLineage } from '../../verify/bundle-lineage.ts';
import { Findings } from '../../verify/finding.ts';
import { iso, parseTime } from '../../verify/time.ts';
import type { App } from '../app.ts';
import type { Context, GlobalArgs } from '../context.ts';
import {
  assertFits,
  authoritiesOf,
  bundleLogs,
  bundleMessages,
  inOrder,
  provenMessages,
  receiptsAbout,
  type Attest,
  type Proven,
  type Prove,
} from '../evidence.ts';
import { writePieces } from '../../runtime/whole-file.ts';
import { loggedCrls, type AskCrl } from '../revocations.ts';
import type { Conversation } from '../roster.ts';
import type { Vault } from '../vault.ts';
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

export interface Range {
  readonly from: number | undefined;
  readonly until: number | undefined;
}

async function exportBundle(
  context: Context,
  app: App,
  { peer, out, prove, force }: ExportArgs,
  range: Range,
  disclosure: Disclosure,
): Promise<void> {
  const prepared = await bundleWith(app, peer, range, disclosure, prove);
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

interface Prepared {
  readonly pieces: Iterable<Buffer>;
  readonly profile: Profile;
  readonly messages: number;
  readonly receipts: number;
  /** how many texts are in it, once all pieces have been taken */
  readonly count: { readonly disclosed: number };
  /** certificates of signers that this profile does not have */
  readonly missing: readonly string[];
  readonly seen: Attestation;
  /** logs of which others vouch for something, and not for all that is in the bundle */
  readonly late: readonly string[];
  /** logs that the server does not write any more: their checkpoints are not tied to each other */
  readonly past: readonly string[];
}

/** What others have said of the checkpoints in a bundle. */
interface Attestation {
  readonly cosignatures: number;
  readonly stamps: number;
}
const attestationOf = (logs: readonly BundleLog[]): Attestation => ({
  cosignatures: logs.reduce((sum, { checkpoint }) => sum + parseNote(checkpoint).signatures.length - 1, 0),
  stamps: logs.filter(({ token }) => token).length,
});

/** @throws NOT_FOUND; with `prove`, what the server answers */
export async function bundleWith(
  app: App,
  peer: string,
  { from = -Infinity, until = Infinity }: Range,
  disclosure: Disclosure,
  prove: boolean,
): Promise<Prepared> {
  const { vault, identity } = app;
  const { ledger } = vault;
  const conversation = conversationWith(vault, peer);
  const all = provenMessages(ledger, conversation.id);
  const messages = all.filter(({ batch }) => from <= batch.ack.serverTime && batch.ack.serverTime < until);
  if (messages.length === 0)
    throw new ChatError('NOT_FOUND', 'no message to prove: not in this conversation at this time');
  const parts = new Map(vault.receipts.in(conversation.id).map(({ hash, part }) => [hex(hash), part]));
  const receipts = receiptsAbout(ledger, conversation.id, messages, parts);
  const statements = inOrder([...messages, ...receipts]);
  assertFits(statements);
  const isDisclosed = disclosed(vault, conversation, messages, disclosure);
  const own = identity.chain.map(({ der }) => der);
  const { certificates, intermediates, missing } = authoritiesOf(ledger, statements, own);
  const past = new Set<string>();
  const ask: Prove = async (origin, older, newer) => {
    const proof = await app.inquiries.consistency(origin, older, newer);
    if (proof === null) past.add(origin);
    return proof;
  };
  if (prove) await app.inquiries.newestCheckpoint(); // it covers lists that were logged after the last message
  const late: string[] = [];
  const attest: Attest = async (origin, size) => {
    const found = await app.inquiries.attested(origin, size);
    if (found !== null && found.size < size) late.push(origin);
    return found;
  };
  const logs = await bundleLogs(ledger, statements, prove ? ask : null, prove ? attest : null);
  const profile = messages.length === all.length && isWhole(messages) ? 'complete' : 'selective';
  const head: BundleHead = {
    profile,
    created: Date.now(),
    conversation: conversation.id,
    messages: statements.length,
    exporter: identity.fingerprint,
  };
  const crls = prove ? await crlsOf(app, logs, messages, [...certificates, ...intermediates]) : [];
  const content = { head, certificates, intermediates, crls, logs };
  const count = { disclosed: 0 };
  const pieces = writeBundle(
    { ...content, messages: () => counting(bundleMessages(ledger, statements, isDisclosed, parts), count) },
    identity.privateKey,
  );
  const seen = attestationOf(logs);
  return {
    pieces,
    profile,
    messages: messages.length,
    receipts: receipts.length,
    count,
    missing,
    seen,
    late,
    past: [...past],
  };
}

/** What the log that the server writes now knows of revocations. */
async function crlsOf(
  app: App,
  logs: readonly BundleLog[],
  messages: readonly Proven[],
  ders: readonly Uint8Array[],
): Promise<BundleCrl[]> {
  const origin = app.vault.ledger.lastOrigin();
  const own = logs.find(({ checkpoint }) => peekCheckpoint(checkpoint).origin === origin);
  if (own === undefined || origin === null) return [];
  const times = messages.map(({ batch }) => batch.ack.serverTime);
  const span = { first: times[0]!, last: times.at(-1)! };
  const ask: AskCrl = (...query) => app.inquiries.crl(origin, ...query);
  return await loggedCrls(ders, span, own.checkpoint, ask);
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

/** The messages are asked for twice, so what is disclosed is counted anew each time. */
function* counting<T extends { readonly opening: unknown }>(messages: Iterable<T>, count: { disclosed: number }) {
  count.disclosed = 0;
  for (const message of messages) {
    if (message.opening !== null) count.disclosed++;
    yield message;
  }
}

/** Whether the verifier would find nothing missing between them: else the bundle must not say that it is complete. */
function isWhole(messages: readonly Proven[]): boolean {
  const findings = new Findings();
  const lineage = new BundleLineage('complete', findings);
  for (const { ms, leaf, index, position, batch } of messages) {
    const { bs, bsLeaf, ack } = batch;
    const batchIndex = index - position;
    lineage.add({ number: 0, ms, msLeaf: leaf, bs, bsLeaf, batchIndex, serverTime: ack.serverTime, isSigned: true });
  }
  return findings.errors === 0;
}

export type Disclosure = 'none' | 'mine' | 'all' | readonly (readonly [first: number, last: number])[];

/** @throws USAGE */
function parseDisclosure(text: string): Disclosure {
  if (text === 'none' || text === 'mine' || text === 'all') return text;
  return text.split(',').map((part) => {
    const [, first, last = first] = /^([1-9]\d{0,14})(?:-([1-9]\d{0,14}))?$/.exec(part) ?? [];
    if (first === undefined || Number(last) < Number(first))
      throw new ChatError('USAGE', '--disclose wants none, mine, all, or places such as 3,7-9');
    return [Number(first), Number(last)];
  });
}

/** @throws NOT_FOUND for a place at which nothing is that could be disclosed */
function disclosed(
  vault: Vault,
  { id }: Conversation,
  messages: readonly Proven[],
  disclosure: Disclosure,
): (leaf: Hash) => boolean {
  if (disclosure === 'none') return () => false;
  if (disclosure === 'all') return () => true;
  const rows = vault.placed(id).filter(({ hash, gone }) => hash !== null && gone === null);
  if (disclosure === 'mine') {
    const mine = new Set(rows.filter(({ direction }) => direction === 'out').map(({ hash }) => hex(hash!)));
    return (leaf) => mine.has(hex(leaf));
  }
  const proven = new Set(messages.map(({ leaf }) => hex(leaf)));
  const wanted = new Set<string>();
  for (const [first, last] of disclosure) {
    const within = rows.filter(
      ({ seq, hash }) => seq !== null && first <= seq && seq <= last && proven.has(hex(hash!)),
    );
    if (within.length === 0)
      throw new ChatError('NOT_FOUND', `nothing to disclose at ${first === last ? first : `${first}-${last}`}`);
    for (const { hash } of within) wanted.add(hex(hash!));
  }
  return (leaf) => wanted.has(hex(leaf));
}

/** @throws USAGE */
export function timeFrom(flag: string, text: string | undefined): number | undefined {
  const at = text === undefined ? undefined : parseTime(text);
  if (at === null) throw new ChatError('USAGE', `${flag} wants a time such as 2026-03-01T12:00:00Z`);
  return at;
}
