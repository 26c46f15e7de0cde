/**
 * `chat-verify`: one program for an auditor who has no account, no configuration, no network and no database. The same code serves
 * `chat-client transcript verify` and `chat-server transcript verify`. Prints findings, then exactly one verdict line.
 */
import { statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ChatError, CODES } from '../base/errors.ts';
import { parseCertificate, parsePem, type Certificate } from '../x509/certificate.ts';
import { parseCrls } from '../x509/crl.ts';
import { readInput } from './capped-file.ts';
import { chainCommand } from './chain.ts';
import { EXIT, Findings, shown, type Verdict } from './finding.ts';
import { auditDirectory, type AuditedLog } from './log-directory.ts';

export interface Io {
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
  /** told how far it is, when a person watches; undefined otherwise */
  readonly progress?: (done: number, total: number) => void;
}

export const USAGE = `chat-verify: checks what chat-server's transcript proves, offline, trusting only the CA certificates you give

  chat-verify LOGDIR --ca FILE...            every entry, signature, certificate, counter and hash of a log directory
  chat-verify chain --ca FILE... --chain FILE   why a certificate chain is accepted or refused (chat-verify chain --help)

options
  --ca FILE       trusted CA certificates (PEM or DER); may be repeated; those inside a transcript are never trusted
  --crl FILE      revocation lists (PEM or DER); may be repeated; revocation counts from its date on
  --known FILE    a checkpoint that you hold from elsewhere (yours, or another person's): shows truncation and forks; may be repeated
  --strict        warnings count: exit 11
  --json          one JSON object instead of text
  -q, --quiet     the verdict line only
  --version, -h, --help
LOGDIR is the folder that holds checkpoint, key.stmt and tile; a server may be writing it. FILE may be - for standard input, once.

exit  0 VALID  10 TAMPERED  11 INCOMPLETE  12 UNTRUSTED  13 unreadable input  14 EQUIVOCATION (fork or rollback)  2 usage

examples
  chat-verify ./transcript --ca ca.crt
  chat-verify ./transcript --ca ca.crt --crl ca.crl --known alice.checkpoint --strict

It does not prove who sat at the keyboard, that nothing was said elsewhere, that what was said is true, or that no newer entries exist
beyond the checkpoint that it was shown.`;

const OPTIONS = {
  ca: { type: 'string', multiple: true },
  crl: { type: 'string', multiple: true },
  known: { type: 'string', multiple: true },
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
    return usage(io, (error as Error).message);
  }
  const { values, positionals } = parsed;
  if (values.help) return say(io, USAGE);
  if (values.version) return say(io, version);
  const [dir] = positionals;
  if (dir === undefined || positionals.length !== 1) return usage(io, 'want one log directory');
  if (dir === '-') return usage(io, 'want a log directory; a log is many files and cannot come from standard input');
  if (!values.ca?.length) return usage(io, 'want --ca: without it nothing can be trusted');
  const { ca, crl = [], known = [], strict = false, json = false, quiet = false } = values;
  if ([...ca, ...crl, ...known].filter((path) => path === '-').length > 1)
    return usage(io, 'standard input can be read only once');

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
  const roots = ca.flatMap(from(certificates));
  const crls = crl.flatMap(from(parseCrls));
  const notes = known.flatMap((path) => from((note) => [{ name: path, note }])(path));
  const fault = directoryFault(dir);
  if (fault) findings.add('E_INPUT', dir, fault);
  const isReadable = findings.count('E_INPUT') === 0;
  let audited: AuditedLog | null = null;
  try {
    if (isReadable) audited = auditDirectory(dir, { roots, crls }, notes, findings, io.progress);
  } catch (error) {
    io.err(`chat-verify: a defect of this software, nothing is proven: ${shown(String((error as Error).stack))}`);
    return CODES.INTERNAL.exit;
  }
  const verdict = findings.verdict(strict);
  if (json) io.out(asJson(verdict, findings, audited));
  else {
    if (!quiet) for (const line of report(findings, audited, ca)) io.out(shown(line));
    io.out(shown(`${verdict} ${summaryOf(verdict, findings, audited)}`));
  }
  return EXIT[verdict];
}

function report(findings: Findings, audited: AuditedLog | null, ca: readonly string[]): string[] {
  const lines = findings.kept.map(({ code, where, message }) => `${code} ${where}: ${message}`);
  const unlisted = unlistedOf(findings);
  if (unlisted > 0) lines.push(`… and ${unlisted} more`);
  if (audited) lines.push(`log ${audited.origin}, judged by the CA certificates in ${ca.join(', ')}`);
  return lines;
}

/** ASCII alone: what is not can't reach a terminal as it is. */
function asJson(verdict: Verdict, findings: Findings, audited: AuditedLog | null): string {
  const text = JSON.stringify({
    v: 1,
    type: 'verdict',
    verdict,
    exit: EXIT[verdict],
    errors: findings.errors,
    warnings: findings.warnings,
    findings: findings.kept,
    unlisted: unlistedOf(findings),
    checked: audited ? countersOf(audited) : null,
  });
  return text.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const unlistedOf = ({ errors, warnings, kept }: Findings): number => errors + warnings - kept.length;

function summaryOf(verdict: Verdict, findings: Findings, audited: AuditedLog | null): string {
  const reason = findings.reason(verdict);
  const where = reason ? `at ${reason.where}: ${reason.code} (${reason.message}); ` : '';
  if (!audited) return `${where}nothing could be checked`;
  const { tally } = audited;
  const time = tally.firstTime === null ? '' : `, ${iso(tally.firstTime)} to ${iso(tally.lastTime ?? tally.firstTime)}`;
  return (
    `${where}${counted(tally.messages, 'message')} in ${counted(tally.batches, 'batch', 'batches')}, ` +
    `${counted(tally.entries, 'entry', 'entries')}, ${counted(tally.senders.size, 'sender')}${time}, ` +
    `${counted(findings.errors, 'error')}, ${counted(findings.warnings, 'warning')}`
  );
}

const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;

function countersOf({ origin, checkpoint, tally }: AuditedLog) {
  return {
    origin,
    size: checkpoint?.size ?? null,
    entries: tally.entries,
    batches: tally.batches,
    messages: tally.messages,
    senders: [...tally.senders],
    first: tally.firstTime === null ? null : iso(tally.firstTime),
    last: tally.lastTime === null ? null : iso(tally.lastTime),
  };
}

/** A time beyond what a date can be is shown as its number: it comes from a file that may be hostile. */
const iso = (ms: number): string => (ms <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`);

/** A file that begins like a SEQUENCE is DER, any other is PEM. */
const certificates = (bytes: Buffer): Certificate[] =>
  bytes[0] === 0x30 ? [parseCertificate(bytes)] : parsePem(bytes.toString('latin1'));

/** Undefined for a directory. */
function directoryFault(path: string): string | undefined {
  try {
    if (statSync(path).isDirectory()) return undefined;
    return 'is not a directory: want the one that holds checkpoint, key.stmt and tile';
  } catch (error) {
    return `can't be read (${(error as NodeJS.ErrnoException).code})`;
  }
}

function say(io: Io, text: string): number {
  io.out(text);
  return 0;
}

function usage(io: Io, message: string): number {
  io.err(`chat-verify: ${message}; chat-verify --help shows how`);
  return 2;
}

function runChain(argv: readonly string[], io: Io): number {
  const { exit, lines } = chainCommand(argv);
  for (const line of lines) (exit === 2 ? io.err : io.out)(line);
  return exit;
}
