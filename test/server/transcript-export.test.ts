/** What the operator exports: of a batch that two logs have, and of a log in which the server has had many certificates. */
import { join } from 'node:path';
import t from 'tap';
import { exportConversation } from '../../server/transcript-export.ts';
import { auditBundle } from '../../verify/bundle.ts';
import { auditEpochs } from '../../verify/epochs.ts';
import { Findings } from '../../verify/finding.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { conversationOf } from '../support/bundle-writer.ts';
import type { KeyStatement } from '../../transcript/key-statement.ts';
import type { Leaf } from '../../transcript/leaf.ts';
import { compose, genCerts, keyLeaves, seal, writeFiles, type Step } from '../support/log-writer.ts';
import { after, before, ca, first, second } from '../support/signed-again.ts';
import { root } from '../verify/bundle-edits.ts';
import { DAY, dns, ec, eku, EKU, keyUsage, make, named, san } from '../x509/maker.ts';

const HOST = 'chat.example.org';
const MINUTE = 60_000;

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

t.test('a server that often has another certificate', async (t) => {
  const { ca: authority, world } = genCerts();
  const { begin } = world;
  const shape = { from: begin - DAY, until: begin + DAY, extensions: [keyUsage(0), eku(EKU.server), san(dns(HOST))] };
  const keyLeavesAt = (minute: number, isLast = false): Leaf[] => {
    const { der, pair } = make(root, { ...shape, pair: ec(), subject: named(HOST) });
    const times = { notBefore: begin + (minute - 1) * MINUTE, notAfter: begin + (minute + (isLast ? 99 : 0)) * MINUTE };
    const by = { chain: [der], key: pair.privateKey };
    return keyLeaves(world, begin + minute * MINUTE - 1, { keyStatement: (s) => ({ ...s, ...times }) }, by);
  };
  const count = 110;
  const certificates = Array.from({ length: count }, (_, i) => keyLeavesAt(i + 2, i === count - 1));
  const story: readonly Step[] = [
    { sender: 'alice', conversations: ['ab'], at: 1000 },
    ...certificates.flat().map((leaf) => {
      const { serverTime } = leaf;
      return { leaf: () => leaf, at: serverTime - begin };
    }),
    { sender: 'bob', conversations: ['ab'], at: (count + 1) * MINUTE },
  ];
  const dir = t.testdir();
  const first = { keyStatement: (s: KeyStatement) => ({ ...s, notAfter: begin + MINUTE }) };
  writeFiles(dir, seal(world, compose(world, story, first)));
  const ofLog = new Findings();
  auditEpochs(dir, { roots: [authority], crls: [] }, [], ofLog);
  t.equal(ofLog.errors, 0, `the log is right: ${JSON.stringify(ofLog.kept)}`);
  const [own, ...more] = world.server.chain.map((der) => parseCertificate(der));
  const { pieces } = await exportConversation({
    dir,
    conversation: conversationOf('ab'),
    from: -Infinity,
    until: Infinity,
    own: { chain: [own!, ...more], certPem: '', privateKey: world.server.key },
    now: begin + 10_000,
  });
  const findings = new Findings();
  const { messages } = auditBundle(pieces, { roots: [authority], crls: [] }, findings);
  t.same([findings.errors, messages], [0, 2], JSON.stringify(findings.kept));
});
