/** Which tests may notice that a rule of a file is broken, beside the rows of the tamper matrix: those that are quick and near come first. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './mutant.ts';

const server = (...names: readonly string[]): string[] => names.map((name) => `test/server/${name}.test.ts`);
const verify = (...names: readonly string[]): string[] => names.map((name) => `test/verify/${name}.test.ts`);

/** What some test sees that is not in the matrix. */
const BESIDE: readonly (readonly [file: RegExp, tests: readonly string[]])[] = [
  [/^verify\/(?:log-audit|attestations)\.ts$/, verify('takeover', 'epochs', 'program')],
  [/^verify\/(?:log-directory|capped-file|tile-file|hash-tiles|crl-files)\.ts$/, verify('live-directory', 'program')],
  [
    /^verify\/(?:bundle-(?:lineage|messages?|log)|message-files|consistency-files|hash-column|places)\.ts$/,
    verify('bundle-receipts', 'bundle', 'signatures-ahead'),
  ],
  [
    /^verify\/(?:bundle|bundle-audit|certificate-audit|comparison)\.ts$/,
    verify('bundle-receipts', 'program', 'bundle'),
  ],
  [/^transcript\/(?:lineage|key-statement)\.ts$/, verify('epochs')],
];
/** What the matrix hardly sees, or not at all: these are asked first. */
const OWN: Readonly<Record<string, readonly string[]>> = {
  'verify/finding.ts': verify('finding'),
  'verify/program.ts': verify('program', 'bundle'),
  'verify/bundle-message.ts': verify('checks', 'bundle-messages'),
  'verify/certificate-audit.ts': verify('stretches', 'certificate-audit'),
  'verify/checks.ts': verify('checks', 'bundle', 'bundle-attestation'),
  'verify/json.ts': verify('program', 'chain'),
  'verify/outcome.ts': verify('checks', 'bundle-attestation', 'bundle', 'program'),
  'verify/outside-flags.ts': verify('program'),
  'verify/usage.ts': verify('program'),
  'verify/report.ts': verify('bundle'),
  'verify/saying.ts': verify('saying'),
  'verify/chain.ts': verify('chain'),
  'verify/epochs.ts': verify('epochs', 'takeover'),
  'verify/bundle-receipts.ts': verify('bundle-receipts'),
  'verify/signatures-ahead.ts': verify('signatures-ahead'),
  'verify/signature-slots.ts': verify('signature-slots'),
  'server/accounts.ts': server('accounts'),
  'server/endings.ts': server('hub'),
  'server/guesses.ts': server('accounts'),
  'server/registration.ts': server('accounts'),
  'server/admission.ts': server('hub'),
  'server/admitted.ts': ['test/server/admitted.test.ts', 'test/server/revocation.test.ts'],
  'server/charges.ts': server('charges'),
  'server/configuration.ts': server('configuration'),
  'server/contacts.ts': server('contacts'),
  'server/crl-history.ts': server('crl-history'),
  'server/hub.ts': server('hub', 'session'),
  'server/in-flight.ts': server('outlet'),
  'server/incomplete.ts': server('incomplete'),
  'server/not-logged-in.ts': server('not-logged-in'),
  'server/outlet.ts': server('outlet'),
  'server/presence.ts': server('hub'),
  'server/rate-limit.ts': [...server('charges'), ...server('rate-limit')],
  'server/repetitions.ts': server('sequencer-admission'),
  'server/requests.ts': server('session'),
  'server/revocation.ts': server('revocation'),
  'server/rooms.ts': server('rooms'),
  'server/sequencer-lineage.ts': server('sequencer-lineage'),
  'server/sequencer.ts': server('sequencer-admission'),
  'server/tokens.ts': server('tokens'),
  'store/ahead.ts': ['test/store/ahead-alone.test.ts', 'test/store/ahead-turns.test.ts'],
  'store/numbering.ts': ['test/store/waiting.test.ts'],
  'store/waiting.ts': ['test/store/waiting.test.ts'],
  'store/write-behind.ts': ['test/store/ahead-alone.test.ts', 'test/store/ahead-turns.test.ts'],
  'client/e2ee/guard.ts': ['test/e2ee/guard.test.ts'],
  'client/e2ee/judge.ts': ['test/e2ee/guard.test.ts'],
  'client/e2ee/sender-data.ts': ['test/e2ee/guard.test.ts'],
  'client/outgoing.ts': ['test/client/vault-messages.test.ts'],
  'client/pauses.ts': ['test/client/pauses.test.ts'],
  'client/refusals.ts': ['test/client/refusals.test.ts'],
  'client/vault.ts': ['test/client/vault-messages.test.ts'],
  'protocol/channel.ts': ['test/protocol/channel.test.ts'],
  'protocol/device-binding.ts': ['test/protocol/device-binding.test.ts'],
  'protocol/scram.ts': ['test/protocol/scram.test.ts'],
  'x509/constraints.ts': ['test/x509/path.test.ts'],
  'x509/path.ts': ['test/x509/path.test.ts'],
  'x509/certificate.ts': ['test/x509/certificate-octets.test.ts'],
  'x509/crl.ts': ['test/x509/crl.test.ts', 'test/x509/revocation.test.ts'],
  'x509/identity.ts': ['test/x509/identity.test.ts'],
  'x509/revocation.ts': ['test/x509/revocation.test.ts', 'test/x509/crl.test.ts'],
  'transcript/statement.ts': ['test/transcript/statement.test.ts', 'test/transcript/receipt.test.ts'],
};

export interface Witnesses {
  /** Asked after the likeliest rows of the matrix, or before them. */
  readonly own: readonly string[];
  readonly isOwnFirst: boolean;
  /** Asked when all rows have noticed nothing. */
  readonly others: readonly string[];
}

export function witnessesOf(file: string): Witnesses {
  const unit = `test/${file.replace(/\.ts$/, '.test.ts')}`;
  const own = OWN[file] ?? (existsSync(join(root, unit)) ? [unit] : []);
  const others = BESIDE.flatMap(([files, tests]) => (files.test(file) ? tests : []));
  return { own, isOwnFirst: Object.hasOwn(OWN, file), others: others.filter((test) => !own.includes(test)) };
}
