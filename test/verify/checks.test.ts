/** The line of a check says `ok` only if it was made, of everything that is here. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import type { BundleContent } from '../../transcript/bundle-writer.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { auditBundle } from '../../verify/bundle.ts';
import type { JudgedMessage } from '../../verify/bundle-messages.ts';
import { Findings } from '../../verify/finding.ts';
import { bundleOutcome } from '../../verify/outcome.ts';
import { bundleOf, certificateFile, credentialOf } from '../support/bundle-writer.ts';
import { fingerprintOf } from '../support/log-writer.ts';
import { tokenOver } from '../support/token-writer.ts';
import { root, shape } from './outside-edits.ts';
import { ca, leaves, world } from './tamper.ts';

type Files = Map<string, Buffer>;
const NONE = new Set(['witnesses', 'trusted time', 'receipts', 'comparison']);

/** Names of the checks that failed; each other one is `ok` or has nothing to look at. */
function failed(files: (files: Files) => void): string {
  const findings = new Findings();
  const audited = auditBundle([bundleOf(world, leaves, 'ab', { files })], { roots: [ca], crls: [] }, findings);
  const { checks = [] } = bundleOutcome(audited, findings, null, [], undefined);
  return checks
    .filter(({ name, result }) => result !== (NONE.has(name) ? 'none' : 'ok') && result !== 'warned')
    .map(({ name, result }) => `${name} ${result}`)
    .join(', ');
}
const all = (...names: string[]): string => names.map((name) => `${name} failed`).join(', ');
const without = (name: string) => (files: Files) => void files.delete(name);
const torn = (name: string) => (files: Files) => void files.set(name, Buffer.from('?'));

t.test('what is malformed or missing was not checked', async (t) => {
  t.equal(
    failed(() => {}),
    '',
  );
  t.equal(failed(torn('BUNDLE')), all('form', 'seal', 'certificates'), 'nobody is named who could have sealed it');
  t.equal(failed(torn('log/01/checkpoint')), all('form', 'checkpoints'));
  t.equal(failed(without('log/01/key-01.sig')), all('form', 'log key'));
  t.equal(failed(torn('log/01/key-01.stmt')), all('form', 'log key', 'checkpoints', 'inclusion', 'order'));
  for (const spoil of [torn, without]) {
    t.equal(failed(spoil('msg/000002/batch.path')), all('form', 'signatures'));
    t.equal(failed(spoil('msg/000002/batch.tbs')), all('form', 'certificates', 'signatures', 'order'));
    t.equal(failed(spoil('msg/000002/log.tlog-proof')), all('form', 'log key', 'checkpoints', 'inclusion', 'order'));
  }
  t.equal(
    failed((files) => {
      const name = 'msg/000002/log.tlog-proof';
      files.set(name, files.get(name)!.subarray(0, -1));
    }),
    all('form', 'checkpoints', 'inclusion'),
    'a checkpoint without its last line feed',
  );
  t.equal(failed(without('msg/000002/batch.sig')), all('form', 'certificates', 'signatures'));
  t.equal(
    failed(torn('msg/000002/entry')),
    all('form', 'certificates', 'log key', 'inclusion', 'signatures', 'order', 'disclosure'),
  );
});

t.test('who is not known has signed nothing that anybody could see', async (t) => {
  const [alice, bob] = [credentialOf(world, 'alice'), credentialOf(world, 'bob')];
  t.equal(failed(without(certificateFile(bob))), all('certificates', 'signatures'));
  t.equal(failed(without(certificateFile(alice))), all('seal', 'certificates', 'signatures'), 'the exporter');
  t.equal(
    failed((files) => {
      const head = files.get('BUNDLE')!.toString();
      files.set('BUNDLE', Buffer.from(head.replace(hex(fingerprintOf(alice)), '00'.repeat(32))));
    }),
    all('seal', 'certificates'),
  );
});

t.test('what is found once of a checkpoint speaks against all messages that are proven under it', async (t) => {
  const good: number[] = [];
  const unsigned = (files: Files): void => {
    for (const number of [2, 3]) {
      const name = `msg/00000${number}/log.tlog-proof`;
      const proof = files.get(name)!.toString();
      const [at, letter] = [proof.length - 20, proof.at(-20)];
      files.set(name, Buffer.from(`${proof.slice(0, at)}${letter === 'A' ? 'B' : 'A'}${proof.slice(at + 1)}`));
    }
  };
  const findings = new Findings();
  const archive = bundleOf(world, leaves, 'ab', { files: unsigned, messages: (all) => all.slice(0, 4) });
  const onMessage = ({ number, isGood }: JudgedMessage) => isGood && good.push(number);
  auditBundle([archive], { roots: [ca], crls: [] }, findings, { onMessage });
  t.equal(findings.count('E_CKPT_SIG'), 1);
  t.same(good, [1, 4]);
});

t.test('a message that is not proven to be in the log was seen by nobody outside', async (t) => {
  const result = (files: (files: Files) => void) => {
    const findings = new Findings();
    const content = (made: BundleContent): BundleContent => ({
      ...made,
      logs: made.logs.map((log) => ({ ...log, token: tokenOver(log.checkpoint, shape(world.begin + 100_000)) })),
    });
    const outside = { witnesses: [], quorum: 0, stampRoots: [parseCertificate(root.der)], requiresStamp: false };
    const archive = bundleOf(world, leaves, 'ab', { content, files });
    const audited = auditBundle([archive], { roots: [ca], crls: [], outside }, findings);
    const { checks = [] } = bundleOutcome(audited, findings, null, [], undefined);
    return checks.find(({ name }) => name === 'trusted time')?.result;
  };
  t.equal(
    result(() => {}),
    'ok',
  );
  t.equal(result(torn('msg/000001/log.tlog-proof')), 'warned');
  t.equal(
    result((files) => {
      const [name, bytes] = [...files].find(([path]) => path.startsWith('log/01/consistency/'))!;
      files.set(name, Buffer.from(bytes.toString().replace(/\n[A-Za-z0-9]/, (all) => (all === '\nA' ? '\nB' : '\nA'))));
    }),
    'warned',
    'a proof of consistency that leads elsewhere ties nothing',
  );
});
