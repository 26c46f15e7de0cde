/**
 * Two bundles of one conversation, each judged by itself before: whether both can be true, and what one has and the other
 * has not. Only what is proven in both is held against a sender or a server: what is not could have been made by either party.
 */
import { equal, hex } from '../base/bytes.ts';
import type { AuditedBundle } from './bundle.ts';
import type { Statement } from './bundle-lineage.ts';
import type { Findings } from './finding.ts';

/** @param name of the other bundle, as the user gave it */
export function compareBundles(own: AuditedBundle, other: AuditedBundle, name: string, findings: Findings): void {
  if (own.head && other.head && !equal(own.head.conversation, other.head.conversation))
    return findings.add('E_INPUT', name, 'is of another conversation');
  for (const [place, { leaf, where }] of both(own.stated, other.stated))
    if (other.stated.get(place)!.leaf !== leaf)
      findings.add('E_DOUBLE', where, `the sender signed another message for ${name}`);
  for (const [place, { leaf, where }] of both(own.placed, other.placed))
    if (other.placed.get(place)!.leaf !== leaf)
      findings.add('E_FORK', where, `the server showed another entry at this place to ${name}`);
  for (const log of own.logs) {
    const roots = other.logs.find(({ origin, isVouched }) => origin === log.origin && isVouched)?.roots;
    if (log.isVouched)
      for (const [size, root] of log.roots) {
        const rival = roots?.get(size);
        if (rival && !equal(rival, root))
          findings.add(
            'E_FORK',
            log.origin,
            `the server signed another history of ${size} entries for ${name}: ${hex(rival)}`,
          );
      }
  }
  missing(own.stated, other.stated, name, 'of this bundle are not in the other', findings);
  missing(other.stated, own.stated, name, 'of the other bundle are not in this one', findings);
}

const both = (own: ReadonlyMap<string, Statement>, other: ReadonlyMap<string, Statement>) =>
  [...own].filter(([place]) => other.has(place));

function missing(
  own: ReadonlyMap<string, Statement>,
  other: ReadonlyMap<string, Statement>,
  name: string,
  what: string,
  findings: Findings,
): void {
  const lost = [...own].filter(([place, { isReceipt }]) => !isReceipt && !other.has(place));
  if (lost.length > 0)
    findings.add('W_MISSING', name, `${lost.length} messages ${what}, the first of them ${lost[0]![1].where}`);
}
