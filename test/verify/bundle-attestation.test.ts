/** When the line of a bundle says that somebody outside vouches for its times: only if that is so of every message. */
import t from 'tap';
import type { Hash } from '../../base/bytes.ts';
import type { BundleContent } from '../../transcript/bundle-writer.ts';
import { signCheckpoint } from '../../transcript/checkpoint.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { auditBundle } from '../../verify/bundle.ts';
import { Findings } from '../../verify/finding.ts';
import { bundleOutcome } from '../../verify/outcome.ts';
import { bundleOf, contentOf } from '../support/bundle-writer.ts';
import { after, before, ca, first, second } from '../support/signed-again.ts';
import { tokenOver } from '../support/token-writer.ts';
import { root, shape } from './outside-edits.ts';

const outside = { witnesses: [], quorum: 0, stampRoots: [parseCertificate(root.der)], requiresStamp: false };
const [old, later] = [contentOf(first, before, 'ab'), contentOf(second, after, 'ab')];
type Log = BundleContent['logs'][number];
const stamped = (log: Log): Log => ({
  ...log,
  token: tokenOver(log.checkpoint, shape(first.begin + 10_000)),
});
const untied = (log: Log): Log => ({ ...log, consistency: new Map([...log.consistency].slice(1)) });

/** Bundles of what was written in the first log, and of this much of the second. */
function judge(logs: readonly Log[], more = 0, known: readonly Uint8Array[] = []) {
  const archive = bundleOf(first, before, 'ab', {
    content: (content) => ({ ...content, logs }),
    messages: () => [...[...old.messages()].slice(0, 2), ...[...later.messages()].slice(0, more)],
  });
  const findings = new Findings();
  const options = { known: known.map((note) => ({ name: 'known', note })) };
  const audited = auditBundle([archive], { roots: [ca], crls: [], outside }, findings, options);
  const { checks } = bundleOutcome(audited, findings, null, [], undefined);
  return `${findings.verdict(false)} ${checks?.find(({ name }) => name === 'trusted time')?.result}`;
}
const [one, two] = [old.logs[0]!, later.logs[0]!];
const otherRoot = Buffer.alloc(32, 1) as Uint8Array as Hash;
const fork = signCheckpoint({ origin: first.origin, size: before.length, root: otherRoot }, first.logKey);

t.test('trusted time', async (t) => {
  t.equal(judge([one]), 'VALID none');
  t.equal(judge([stamped(one)]), 'VALID ok');
  t.equal(judge([stamped(untied(one))]), 'VALID warned', 'a message that nothing ties to what was stamped');
  t.equal(judge([stamped(one), two], 2), 'VALID warned', 'messages of another log');
  t.equal(judge([stamped(one), two]), 'VALID ok', 'another log without messages');
  t.equal(judge([stamped(one), stamped(two)], 2), 'VALID ok');
  t.equal(judge([stamped(one)], 0, [one.checkpoint]), 'VALID ok', 'which somebody knows');
  t.equal(judge([stamped(one)], 0, [fork]), 'EQUIVOCATION warned', 'a log that has signed another history as well');
});
