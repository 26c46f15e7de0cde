/**
 * `chat-verify`: one program for an auditor who has no account, no configuration, no network and no database. The same code serves
 * `chat-server transcript verify`. Prints findings, then exactly one verdict line.
 */
import { statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ChatError, CODES } from '../base/errors.ts';
import { parseCertificate, parsePem, type Certificate } from '../x509/certificate.ts';
import { parseCrls } from '../x509/crl.ts';
import { auditBundle, type AuditedBundle, type BundleOptions } from './bundle.ts';
import type { JudgedMessage } from './bundle-messages.ts';
import { inputChunks, readInput } from './capped-file.ts';
import type { Trust } from './certificate-audit.ts';
import { chainCommand } from './chain.ts';
import { compareBundles } from './comparison.ts';
import { Sayings, type Saying } from './saying.ts';
import { EXIT, Findings, shown, type Verdict } from './finding.ts';
import { auditEpochs } from './epochs.ts';
import { asciiJson } from './json.ts';
import type { KnownCheckpoint } from './log-directory.ts';
import { FlagFault, outsideOf, requirementsOf, witnessesIn } from './outside-flags.ts';
import type { Outside } from './outside.ts';
import { bundleOutcome, logOutcome, type Outcome, type ReportKind } from './outcome.ts';
import { reportRow, type ReportRow } from './report.ts';
import { parseTime } from './time.ts';
import { faultOf, USAGE } from './usage.ts';

export interface Io {
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
  /** told how far it is, when a person watches; undefined otherwise */
  readonly progress?: (done: number, total: number) => void;
}

const OPTIONS = {
  ca: { type: 'string', multiple: true },
  crl: { type: 'string', multiple: true },
  known: { type: 'string', multiple: true },
  at: { type: 'string' },
  compare: { type: 'string' },
  report: { type: 'string' },
  witness: { type: 'string', multiple: true },
  quorum: { type: 'string' },
  tsa: { type: 'string', multiple: true },
  require: { type: 'string', multiple: true },
  strict: { type: 'boolean' },
  json: { type: 'boolean' },
  quiet: { type: 'boolean', short: 'q' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const;

/** Runs the program. @returns exit status */
export function verifyProgram(argv: readonly string[], version: string, io: Io): number {
  if (argv[0] === 'chain') return runChain(argv.slice(1), io);
  let parsed;
  try {
    parsed = parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    return usage(io, faultOf(error as Error));
  }
  const { values, positionals } = parsed;
  if (values.help) return say(io, USAGE);
  if (values.version) return say(io, version);
  const [target] = positionals;
  if (target === undefined || positionals.length !== 1) return usage(io, 'want one bundle, or one log directory');
  if (!values.ca?.length) return usage(io, 'want --ca: without it nothing can be trusted');
  const { ca, crl = [], known = [], compare, report, strict = false, json = false, quiet = false } = values;
  const inputs = [
    target,
    ...ca,
    ...crl,
    ...known,
    ...(values.witness ?? []),
    ...(values.tsa ?? []),
    ...(compare === undefined ? [] : [compare]),
  ];
  if (inputs.filter((path) => path === '-').length > 1) return usage(io, 'standard input can be read only once');
  const at = values.at === undefined ? undefined : parseTime(values.at);
  if (at === null) return usage(io, '--at: want a time such as 2026-03-01T12:00:00Z');
  if (report !== undefined && report !== 'html' && report !== 'md') return usage(io, '--report: want html or md');
  if (report !== undefined && json) return usage(io, 'want --report or --json');
  const isLog = isDirectory(target);

  const findings = new Findings();
  const from =
    <T>(parse: (bytes: Buffer) => readonly T[]) =>
    (path: string): readonly T[] => {
      try {
        return parse(readInput(path));
      } catch (error) {
        findings.add('E_INPUT', path, ChatError.from(error).message);
        return [];
      }
    };
  let requiresReceipts: boolean;
  let outside: Outside;
  try {
    requiresReceipts = requirementsOf(values.require).has('recipient-receipt');
    if (isLog && (compare !== undefined || report !== undefined || requiresReceipts))
      return usage(io, '--compare, --report and --require recipient-receipt are for bundles, and this is a directory');
    outside = outsideOf(values, from(witnessesIn), from(certificates));
  } catch (error) {
    if (error instanceof FlagFault) return usage(io, error.message);
    throw error;
  }
  const roots = ca.flatMap(from(certificates));
  const trust = { roots, crls: crl.flatMap(from(parseCrls)), at, outside };
  const notes = known.flatMap((path) => from((note) => [{ name: path, note }])(path));
  const isReadable = findings.count('E_INPUT') === 0;
  let outcome: Outcome | null = null;
  try {
    if (isReadable && isLog) outcome = logOutcome(auditEpochs(target, trust, notes, findings, io.progress));
    else if (isReadable)
      outcome = judgeBundle(
        { target, compare, report, requiresReceipts, hasTexts: json || !quiet },
        trust,
        notes,
        findings,
        io,
      );
  } catch (error) {
    io.err(`chat-verify: a defect of this software, nothing is proven: ${shown(String((error as Error).stack))}`);
    return CODES.INTERNAL.exit;
  }
  const verdict = findings.verdict(strict);
  const summary = `${reasonOf(verdict, findings)}${outcome?.summary(findings) ?? 'nothing could be checked'}`;
  if (json) io.out(asJson(verdict, findings, outcome));
  else if (outcome?.page) io.out(outcome.page(verdict, summary, { ...trust, at, version }));
  else {
    if (!quiet) for (const line of linesOf(findings, outcome, ca)) io.out(shown(line));
    io.out(shown(`${verdict} ${summary}`));
  }
  return EXIT[verdict];
}

interface BundleRequest {
  readonly target: string;
  readonly compare: string | undefined;
  readonly report: ReportKind | undefined;
  readonly requiresReceipts: boolean;
  /** What is disclosed is printed. */
  readonly hasTexts: boolean;
}

/** Null if there is nothing to read. */
function judgeBundle(
  { target, compare, report, requiresReceipts, hasTexts }: BundleRequest,
  trust: Trust,
  known: readonly KnownCheckpoint[],
  findings: Findings,
  io: Io,
): Outcome | null {
  const rows: ReportRow[] = [];
  const said: Saying[] = [];
  const sayings = new Sayings();
  const onMessage = (message: JudgedMessage): void => {
    if (report !== undefined) return void rows.push(reportRow(message, sayings));
    const saying = hasTexts ? sayings.of(message) : null;
    if (saying !== null && message.isGood) said.push(saying);
  };
  const read = (path: string, into: Findings, options: BundleOptions): AuditedBundle | null => {
    try {
      return auditBundle(inputChunks(path), trust, into, options);
    } catch (error) {
      const failure = ChatError.from(error);
      if (failure.code === 'INTERNAL') throw error;
      findings.add('E_INPUT', path, failure.message);
      return null;
    }
  };
  const { progress } = io;
  const own = read(target, findings, {
    known,
    requiresReceipts,
    onMessage,
    ...(progress && { onProgress: progress }),
  });
  if (own === null) return null;
  let between: Findings | null = null;
  let judged = own;
  if (compare !== undefined) {
    const others = new Findings();
    const other = read(compare, others, {});
    findings.include(others, `${compare}: `);
    if (other) {
      between = new Findings();
      compareBundles(own, other, compare, between);
      findings.include(between, '');
      judged = { ...own, unmade: own.unmade.union(other.unmade) };
    }
  }
  return bundleOutcome(judged, findings, between, said, report && { kind: report, rows });
}

function linesOf(findings: Findings, outcome: Outcome | null, ca: readonly string[]): string[] {
  const lines = findings.kept.map(({ code, where, message }) => `${code} ${where}: ${message}`);
  const unlisted = unlistedOf(findings);
  if (unlisted > 0) lines.push(`… and ${unlisted} more`);
  lines.push(...(outcome?.texts?.() ?? []));
  for (const { name, claim, result } of outcome?.checks ?? []) lines.push(`${result.padEnd(6)} ${name}: ${claim}`);
  for (const log of outcome?.logs ?? []) lines.push(`log ${log}, judged by the CA certificates in ${ca.join(', ')}`);
  return lines;
}

function asJson(verdict: Verdict, findings: Findings, outcome: Outcome | null): string {
  return asciiJson({
    v: 1,
    type: 'verdict',
    verdict,
    exit: EXIT[verdict],
    errors: findings.errors,
    warnings: findings.warnings,
    findings: findings.kept,
    unlisted: unlistedOf(findings),
    checked: outcome?.checked ?? null,
    ...(outcome?.said && { texts: outcome.said() }),
    ...(outcome?.checks && { checks: outcome.checks.map(({ name, result }) => ({ check: name, result })) }),
  });
}

const unlistedOf = ({ errors, warnings, kept }: Findings): number => errors + warnings - kept.length;

function reasonOf(verdict: Verdict, findings: Findings): string {
  const reason = findings.reason(verdict);
  return reason ? `at ${reason.where}: ${reason.code} (${reason.message}); ` : '';
}

/** A file that begins like a SEQUENCE is DER, any other is PEM. */
const certificates = (bytes: Buffer): Certificate[] =>
  bytes[0] === 0x30 ? [parseCertificate(bytes)] : parsePem(bytes.toString('latin1'));

/** What is not there, or can't be reached, is read as a bundle, and then said to be that. */
function isDirectory(path: string): boolean {
  try {
    return path !== '-' && statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function say(io: Io, text: string): number {
  io.out(text);
  return 0;
}

function usage(io: Io, message: string): number {
  io.err(shown(`chat-verify: ${message}; chat-verify --help shows how`)); // a name that begins with - is an option
  return 2;
}

function runChain(argv: readonly string[], io: Io): number {
  const { exit, lines } = chainCommand(argv);
  for (const line of lines) (exit === 2 ? io.err : io.out)(line);
  return exit;
}
