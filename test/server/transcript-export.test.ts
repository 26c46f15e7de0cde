/** What the operator exports of a batch that two logs have: its acknowledgement was lost, and the device signed it again for the next epoch. */
import { join } from 'node:path';
import t from 'tap';
import { exportConversation } from '../../server/transcript-export.ts';
import { auditBundle } from '../../verify/bundle.ts';
import { auditEpochs } from '../../verify/epochs.ts';
import { Findings } from '../../verify/finding.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { conversationOf } from '../support/bundle-writer.ts';
import { seal, writeFiles } from '../support/log-writer.ts';
import { after, before, ca, first, second } from '../support/signed-again.ts';

t.test('a batch that was signed again, and what follows it', async (t) => {
  const dir = t.testdir();
  writeFiles(dir, seal(first, before));
  writeFiles(join(dir, 'e2'), seal(second, after));
  const ofLog = new Findings();
  auditEpochs(dir, { roots: [ca], crls: [] }, [], ofLog);
  t.equal(ofLog.errors, 0, `the logs are right: ${JSON.stringify(ofLog.kept)}`);

  const [own, ...more] = first.server.chain.map((der) => parseCertificate(der));
  const { pieces, head } = await exportConversation({
    dir,
    conversation: conversationOf('ab'),
    from: -Infinity,
    until: Infinity,
    own: { chain: [own!, ...more], certPem: '', privateKey: first.server.key },
    now: first.begin + 10_000,
  });
  t.match(head, { messages: 5, profile: 'complete' });
  const findings = new Findings();
  const places: string[] = [];
  auditBundle(pieces, { roots: [ca], crls: [] }, findings, {
    onMessage: ({ log, ms }) => void places.push(`${log?.origin === second.origin ? 'e2' : 'e1'} ${ms?.sessionCtr}`),
  });
  t.equal(findings.errors, 0, JSON.stringify(findings.kept));
  t.same(places, ['e1 1', 'e1 1', 'e2 2', 'e2 3', 'e2 4'], 'in the log that its successor stands in');
});
