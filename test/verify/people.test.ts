/** Two persons of one name: what one says of a message of the other, and how people are told apart. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { concat, hex, type Hash } from '../../base/bytes.ts';
import { encodeContent } from '../../transcript/content.ts';
import { editContent, textContent } from '../../transcript/content-meaning.ts';
import { leafHash } from '../../transcript/merkle.ts';
import { commitment, encodeMs, type MessageStatement } from '../../transcript/statement.ts';
import { auditBundle } from '../../verify/bundle.ts';
import { Findings } from '../../verify/finding.ts';
import { bundleOutcome } from '../../verify/outcome.ts';
import { nameOf, userOf } from '../../verify/people.ts';
import { reportRow, type ReportRow } from '../../verify/report.ts';
import { Sayings, type Saying } from '../../verify/saying.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { bundleOf, type BundleAlterations } from '../support/bundle-writer.ts';
import { compose, fingerprintOf, type Credential } from '../support/log-writer.ts';
import { authority, DAY_MS } from '../support/pki.ts';
import { ca, world } from './tamper.ts';

const times = { notBefore: world.begin - DAY_MS, notAfter: world.begin + DAY_MS };
const own = authority('People', times);
const person = (username: string, cn: string): Credential => {
  const { der, key } = own.client(username, { ...times, cn });
  return { chain: [der], key };
};
const people = {
  john: person('jsmith', 'John Smith'),
  other: person('jsmith2', 'John Smith'),
  again: person('jsmith', 'J. Smith'),
};
const world2 = { ...world, people };
const roots = [ca, parseCertificate(own.der)];

/** The first writes, the second changes that, and all is disclosed. */
function shown(editor: 'other' | 'again') {
  const kf = randomBytes(32);
  const frame = { salt: Buffer.alloc(16, 7) };
  let target: Hash | null = null;
  const contents: Uint8Array[] = [];
  const said = (ms: MessageStatement): MessageStatement => {
    const content = target ? editContent(frame, 'I did', target, null) : textContent(frame, 'I did not');
    contents.push(encodeContent(content));
    const stated = { ...ms, commitment: commitment(kf, encodeMs(ms), contents.at(-1)!) };
    target = leafHash(encodeMs(stated));
    return stated;
  };
  const step = (sender: string, at: number) => ({ sender, conversations: ['ab'], at });
  const leaves = compose(world2, [step('john', 0), step(editor, 1000)], { ms: said });
  const disclosed: BundleAlterations = {
    messages: (all) => all.map((each, i) => ({ ...each, opening: concat(kf, contents[i]!) })),
  };
  const archive = bundleOf(world2, leaves, 'ab', disclosed, 'john');
  const findings = new Findings();
  const sayings = new Sayings();
  const texts: Saying[] = [];
  const rows: ReportRow[] = [];
  const audited = auditBundle([archive], { roots, crls: [], at: undefined }, findings, {
    onMessage: (message) => {
      const row = reportRow(message, sayings);
      rows.push(row);
      if (row.saying) texts.push(row.saying);
    },
  });
  t.equal(findings.errors, 0);
  const outcome = bundleOutcome(audited, findings, null, texts, { kind: 'md', rows });
  const basis = { roots, crls: [], at: undefined, version: '1' };
  return { lines: outcome.texts?.() ?? [], page: outcome.page?.('VALID', '', basis) ?? '' };
}

t.test('a person is known by the username', async (t) => {
  const all = new Map(Object.values(people).map((one) => [hex(fingerprintOf(one)), parseCertificate(one.chain[0]!)]));
  const known = { certificate: (fingerprint: string) => all.get(fingerprint) };
  const [john, other, again] = [...all.keys()] as [string, string, string];
  t.equal(nameOf(known, john), 'jsmith (CN=John Smith)');
  t.equal(nameOf(known, other), 'jsmith2 (CN=John Smith)');
  t.equal(userOf(known, john), userOf(known, again));
  const alice = { certificate: () => parseCertificate(own.client('alice').der) };
  t.equal(nameOf(alice, 'ff'), 'CN=alice', 'nothing is said twice');
  const nobody = { certificate: () => parseCertificate(own.server().der) };
  t.equal(nameOf(nobody, 'ff'), 'CN=localhost');
  t.equal(userOf(nobody, 'ff'), 'ff');
  t.equal(nameOf({ certificate: () => undefined }, 'ab'.repeat(32)), 'unknown certificate abababababababab…');
});

t.test('nobody changes what a namesake has said, and everybody what he said under another certificate', async (t) => {
  const without = '[which another has sent: without effect]';
  const { lines, page } = shown('other');
  t.match(lines[1], `jsmith2 (CN=John Smith): [message 1 is changed to] ${without} I did`);
  t.match(page, 'which another has sent: without effect');
  t.match(shown('again').lines[1], /: \[message 1 is changed to\] I did$/);
});
