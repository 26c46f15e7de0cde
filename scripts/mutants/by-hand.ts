/** The mutants that were written down: conditions, order and limits, which no call shows. */
import { BUNDLE_RULES } from './bundle-rules.ts';
import { CLIENT_RULES } from './client-rules.ts';
import { LOG_RULES } from './log-rules.ts';
import { mutantOf, type Mutant } from './mutant.ts';
import { OUTSIDE_RULES } from './outside-rules.ts';
import { SERVER_RULES } from './server-rules.ts';
import { TRANSCRIPT_RULES } from './transcript-rules.ts';
import { VERDICT_RULES } from './verdict-rules.ts';
import { X509_RULES } from './x509-rules.ts';

const ALL = [
  LOG_RULES,
  BUNDLE_RULES,
  OUTSIDE_RULES,
  VERDICT_RULES,
  TRANSCRIPT_RULES,
  SERVER_RULES,
  CLIENT_RULES,
  X509_RULES,
];

/** `stale`: what does not stand in its file exactly once. */
export function byHand(): { readonly mutants: readonly Mutant[]; readonly stale: readonly string[] } {
  const stale: string[] = [];
  const mutants = ALL.flatMap((rules) =>
    Object.entries(rules).flatMap(([file, all]) =>
      all.flatMap(([from, to]) => {
        const mutant = mutantOf(file, from, to);
        if (mutant === null) stale.push(`${file}: ${JSON.stringify(from)}`);
        return mutant ?? [];
      }),
    ),
  );
  return { mutants, stale };
}
