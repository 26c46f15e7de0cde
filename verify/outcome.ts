/** What was checked, in figures and words: of a log directory, and of a bundle. */
import { hex } from '../base/bytes.ts';
import type { AuditedBundle } from './bundle.ts';
import { checksIf, resultsOf, type CheckResult } from './checks.ts';
import type { Findings, Verdict } from './finding.ts';
import type { AuditedLog } from './log-directory.ts';
import { KIND } from '../transcript/statement.ts';
import { nameOf, userOf } from './people.ts';
import { bundleReport, type Basis, type ReportRow } from './report.ts';
import { fieldsOf, wordsOf, type Saying } from './saying.ts';
import { iso } from './time.ts';

export type ReportKind = 'html' | 'md';

export interface Outcome {
  /** Origins. */
  readonly logs: readonly string[];
  /** One line, without the verdict. */
  readonly summary: (findings: Findings) => string;
  /** For programs. */
  readonly checked: Readonly<Record<string, unknown>>;
  readonly checks?: readonly CheckResult[];
  /** What is disclosed and without fault, in the order of the bundle; as lines, and as it is. */
  readonly texts?: () => string[];
  readonly said?: () => ReturnType<typeof fieldsOf>[];
  /** In place of lines. */
  readonly page?: (verdict: Verdict, summary: string, basis: Basis) => string;
}

/** @param all of one node, the newest last; none: nothing could be checked */
export function logOutcome(all: readonly AuditedLog[]): Outcome | null {
  const outcomes = all.map(oneLog);
  const newest = outcomes.at(-1);
  if (newest === undefined || outcomes.length === 1) return newest ?? null;
  return {
    logs: outcomes.flatMap(({ logs }) => logs),
    summary: (findings) => `${all.map(tallied).join('; ')}, ${faults(findings)}`,
    checked: { ...newest.checked, before: outcomes.slice(0, -1).map(({ checked }) => checked) },
  };
}

function oneLog(audited: AuditedLog): Outcome {
  const { origin, checkpoint, tally } = audited;
  return {
    logs: [origin],
    summary: (findings) => `${tallied(audited)}, ${faults(findings)}`,
    checked: {
      origin,
      size: checkpoint?.size ?? null,
      entries: tally.entries,
      batches: tally.batches,
      messages: tally.messages,
      senders: [...tally.senders],
      ...times(tally.firstTime, tally.lastTime),
    },
  };
}

const tallied = ({ tally }: AuditedLog): string =>
  `${counted(tally.messages, 'message')} in ${counted(tally.batches, 'batch', 'batches')}, ` +
  `${counted(tally.entries, 'entry', 'entries')}, ${counted(tally.senders.size, 'sender')}` +
  span(tally.firstTime, tally.lastTime);

/** @param between what was found where both bundles were held against each other; null: they were not
 * @param said what is disclosed and without fault
 * @param report kind of page, and what of each message is on it */
export function bundleOutcome(
  audited: AuditedBundle,
  findings: Findings,
  between: Findings | null,
  said: readonly Saying[],
  report: { readonly kind: ReportKind; readonly rows: readonly ReportRow[] } | undefined,
): Outcome {
  const { head, logs, messages, receipts, receiptsOf, disclosed, batches, senders, firstTime, lastTime } = audited;
  const read = [...receiptsOf.values()].filter((all) => all.some(({ kind }) => kind === KIND.read));
  const attested = logs.map((log) => log.attested);
  const skipped = new Set([
    ...checksIf(messages === 0, 'inclusion', 'signatures', 'order', 'checkpoints', 'log key'),
    ...checksIf(disclosed === 0, 'disclosure'),
    ...checksIf(receipts === 0, 'receipts'),
    ...checksIf(!attested.some(({ isCosigned }) => isCosigned), 'witnesses'),
    ...checksIf(!attested.some(({ isCosigned, isStamped }) => isCosigned || isStamped), 'trusted time'),
    ...checksIf(between === null, 'comparison'),
  ]);
  const isTied = findings.count('E_CONSISTENCY') + findings.count('E_FORK') === 0 && !audited.unmade.has('inclusion');
  const isDated = isTied && attested.every((each) => each.isDated);
  const partial = new Set(checksIf(!isDated, 'trusted time'));
  // What is not proven was not compared.
  const isCompared = between?.errors === 0 && PROOF.every((check) => !audited.unmade.has(check));
  const broken = new Set([...audited.unmade, ...checksIf(between !== null && !isCompared, 'comparison')]);
  const checks = resultsOf(findings, skipped, partial, broken);
  const { certificates } = audited;
  const userBehind = (fingerprint: string): string => userOf(certificates, fingerprint);
  return {
    logs: logs.map(({ origin }) => origin),
    checks,
    summary: (found) =>
      `${counted(messages, 'message')}, ${disclosed} disclosed, ${receipts > 0 ? `${receiptsOf.size} delivered, ` : ''}${counted(senders.size, 'sender')}` +
      `${span(firstTime, lastTime)}, ${head?.profile ?? 'unknown profile'}, ${faults(found)}`,
    checked: {
      conversation: head ? hex(head.conversation) : null,
      profile: head?.profile ?? null,
      exporter: head ? hex(head.exporter) : null,
      exporter_role: head ? audited.exporterRole : null,
      created: head ? iso(head.created) : null,
      logs: logs.map(({ origin, checkpoint }) => ({ origin, size: checkpoint?.size ?? null })),
      messages,
      receipts,
      delivered: receiptsOf.size,
      read: read.length,
      disclosed,
      batches,
      senders: [...senders],
      ...times(firstTime, lastTime),
    },
    said: () => said.map((saying) => fieldsOf(saying, userBehind)),
    texts: () =>
      said.map(
        (saying) =>
          `message ${saying.number}, ${iso(saying.time)}, ${nameOf(certificates, saying.sender)}: ` +
          wordsOf(saying, userBehind),
      ),
    ...(report && {
      page: (verdict, summary, basis) =>
        bundleReport(report.kind, { audited, rows: report.rows, findings, checks, verdict, summary, basis }),
    }),
  };
}

/** Checks without which a message is not proven. */
const PROOF = ['certificates', 'log key', 'inclusion', 'signatures'] as const;

const times = (first: number | null, last: number | null) => ({
  first: first === null ? null : iso(first),
  last: last === null ? null : iso(last),
});
const span = (first: number | null, last: number | null): string =>
  first === null ? '' : `, ${iso(first)} to ${iso(last ?? first)}`;
const faults = (findings: Findings): string =>
  `${counted(findings.errors, 'error')}, ${counted(findings.warnings, 'warning')}`;
const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;
