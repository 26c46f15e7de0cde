/**
 * Whether a log directory or a bundle gets the verdict that its row of the tamper matrix asks for. Makes nothing itself, so it is quick:
 * `npm run mutants` judges each row hundreds of times.
 */
import { readFileSync, statSync } from 'node:fs';
import { parseWitness } from '../../transcript/cosignature.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { parseCrl } from '../../x509/crl.ts';
import { auditBundle } from '../../verify/bundle.ts';
import { compareBundles } from '../../verify/comparison.ts';
import { EXIT, Findings } from '../../verify/finding.ts';
import { auditEpochs } from '../../verify/epochs.ts';

/** Plain data. */
export interface Case {
  readonly name: string;
  /** A log directory, or a bundle. */
  readonly dir: string;
  /** Another party's bundle, to compare. */
  readonly other?: string | undefined;
  /** Unix ms, if not that of each signature. */
  readonly at?: number | undefined;
  readonly known: readonly Uint8Array[];
  /** DER */
  readonly roots: readonly Uint8Array[];
  readonly crls: readonly Uint8Array[];
  readonly outside?: OutsideCase | undefined;
  readonly exit: number;
  readonly code: string | undefined;
  readonly where: string | undefined;
  readonly isAlone: boolean;
}

/** Whose word counts beside that of the server. */
export interface OutsideCase {
  readonly witnesses?: readonly string[];
  readonly quorum?: number;
  /** DER */
  readonly stampRoots?: readonly Uint8Array[];
  readonly requiresStamp?: boolean;
}
const outsideOf = ({ witnesses = [], quorum, stampRoots = [], requiresStamp = false }: OutsideCase) => ({
  witnesses: witnesses.map(parseWitness),
  quorum: quorum ?? witnesses.length,
  stampRoots: stampRoots.map(parseCertificate),
  requiresStamp,
});

/** What was wanted and what was found, if they differ. */
export function fault(row: Case) {
  const { dir, other, known, roots, crls, at, exit: wantedExit, code, where, isAlone } = row;
  const findings = new Findings();
  const notes = known.map((note, i) => ({ name: `known ${i + 1}`, note }));
  const outside = outsideOf(row.outside ?? {});
  const trust = { roots: roots.map(parseCertificate), crls: crls.map(parseCrl), at, outside };
  if (statSync(dir).isDirectory()) auditEpochs(dir, trust, notes, findings);
  else {
    const own = auditBundle([readFileSync(dir)], trust, findings, { known: notes });
    if (other !== undefined)
      compareBundles(own, auditBundle([readFileSync(other)], trust, new Findings()), 'other', findings);
  }
  const exit = EXIT[findings.verdict(false)];
  const wanted = code === undefined ? [] : [`${code} ${where}`];
  const found = findings.kept.map((finding) => `${finding.code} ${finding.where}`);
  const others = new Set(found.filter((place) => !wanted.includes(place) && !place.startsWith('W_NO_CRL ')));
  const mayHaveOthers = code !== undefined && !isAlone;
  const isRight =
    exit === wantedExit && wanted.every((place) => found.includes(place)) && (mayHaveOthers || others.size === 0);
  return isRight ? null : { wanted: [wantedExit, ...wanted], found: [exit, ...findings.kept] };
}
