/** The checks of a bundle under names that a person asks for, each with the findings that speak against it. */
import type { FindingCode, Findings } from './finding.ts';

export type CheckName =
  | 'form'
  | 'seal'
  | 'certificates'
  | 'log key'
  | 'checkpoints'
  | 'witnesses'
  | 'trusted time'
  | 'inclusion'
  | 'signatures'
  | 'order'
  | 'disclosure'
  | 'receipts'
  | 'comparison';

interface Check {
  readonly name: CheckName;
  /** What is true when nothing was found. */
  readonly claim: string;
  readonly codes: readonly FindingCode[];
}

export const CHECKS: readonly Check[] = [
  {
    name: 'form',
    claim: 'the bundle is well-formed and whole',
    codes: ['E_INPUT', 'E_FORMAT', 'E_TRUNCATED', 'W_EMPTY'],
  },
  { name: 'seal', claim: 'the files are those that the exporter signed', codes: ['E_SUMS', 'E_BUNDLE_SIG'] },
  {
    name: 'certificates',
    claim: 'every certificate comes from a given CA and was good when it was used',
    codes: [
      'E_CERT_UNKNOWN',
      'E_CERT_CHAIN',
      'E_CERT_EXPIRED',
      'E_CERT_REVOKED',
      'E_CERT_USAGE',
      'E_CERT_WEAK',
      'E_CRL',
      'W_NO_CRL',
      'W_CRL_OLD',
      'W_CRL_LATE',
      'W_CRL_MISSING',
    ],
  },
  { name: 'log key', claim: "the server's certificate vouches for the log's key", codes: ['E_KEYBIND'] },
  {
    name: 'checkpoints',
    claim: 'the log signed every checkpoint, and all are of one history',
    codes: ['E_FORK', 'E_ROLLBACK', 'E_CKPT_SIG', 'E_CONSISTENCY', 'W_UNLINKED'],
  },
  {
    name: 'witnesses',
    claim: 'as many witnesses as were asked for have seen the same log',
    codes: ['E_COSIG', 'W_NO_QUORUM', 'W_UNWITNESSED'],
  },
  {
    name: 'trusted time',
    claim: 'a given authority has stamped the log, or witnesses have, and no message is younger than that',
    codes: ['E_STAMP', 'E_TIME_BOUND', 'W_NO_STAMP', 'W_STAMP', 'W_UNSTAMPED'],
  },
  { name: 'inclusion', claim: 'every message stands in the log', codes: ['E_INCLUSION'] },
  {
    name: 'signatures',
    claim: 'every message was signed by its sender, for this log',
    codes: ['E_BATCH_SIG', 'E_BATCH_PATH', 'E_AUDIENCE', 'E_LEAF'],
  },
  {
    name: 'order',
    claim: 'counters, links and times fit together, and nothing is missing between',
    codes: [
      'E_DOUBLE',
      'E_ORDER',
      'E_CTR_REGRESS',
      'E_CTR_GAP',
      'E_BATCH_CHAIN',
      'E_CLOSED',
      'E_SESSION_LINK',
      'E_CONV_GAP',
      'E_CONV_LINK',
      'E_TIME_ORDER',
      'W_GAP',
      'W_SKEW',
      'W_CONV_RESTART',
      'W_CONV_ELSEWHERE',
      'W_SESSION_ELSEWHERE',
      'W_SESSION_RESTART',
    ],
  },
  { name: 'disclosure', claim: 'every disclosed text is the one that its sender signed', codes: ['E_COMMIT'] },
  {
    name: 'receipts',
    claim: 'every receipt was signed by somebody else than the author, for messages that were there',
    codes: ['E_RECEIPT', 'W_NO_RECEIPT', 'W_RECEIPT'],
  },
  { name: 'comparison', claim: 'the other bundle holds the same messages', codes: ['W_MISSING'] },
];

/** For lists of which a part holds only sometimes. */
export const checksIf = (isSo: boolean, ...names: readonly CheckName[]): readonly CheckName[] => (isSo ? names : []);

export interface CheckResult {
  readonly name: CheckName;
  readonly claim: string;
  /** failed also: of something that is here it could not be made; none: there was nothing to check */
  readonly result: 'ok' | 'warned' | 'failed' | 'none';
}

/**
 * @param skipped names of checks for which there was nothing @param partial of those that only a part of the bundle stands
 * @param broken of those that fell, or could not be made, for findings that are listed under others
 */
export const resultsOf = (
  findings: Findings,
  skipped: ReadonlySet<CheckName>,
  partial: ReadonlySet<CheckName>,
  broken: ReadonlySet<CheckName>,
): CheckResult[] =>
  CHECKS.map(({ name, claim, codes }) => {
    const found = codes.filter((code) => findings.count(code) > 0);
    const isBroken = broken.has(name) || found.some((code) => code.startsWith('E_'));
    const worst = isBroken ? 'failed' : found.length > 0 ? 'warned' : null;
    const best = partial.has(name) ? 'warned' : 'ok';
    return { name, claim, result: worst ?? (skipped.has(name) ? 'none' : best) };
  });
