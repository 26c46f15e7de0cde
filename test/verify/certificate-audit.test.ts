/** Certificates that are judged against as many lists as a log may keep. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { CertificateAudit, MAX_INTERMEDIATES } from '../../verify/certificate-audit.ts';
import { Findings } from '../../verify/finding.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { parseCrls } from '../../x509/crl.ts';
import { authority, DAY_MS, type Authority } from '../support/pki.ts';

t.test('thousands of lists, and as many intermediates as are kept', async (t) => {
  const root = authority('Root');
  const list = parseCrls(Buffer.from(authority('Other').crl([])))[0]!;
  const others: Authority[] = Array.from({ length: MAX_INTERMEDIATES }, (_, i) => root.intermediate(`CA ${i}`));
  const own = parseCertificate(others[0]!.client('alice').der);
  const trust = { roots: [parseCertificate(root.der)], crls: Array.from({ length: 4096 }, () => list), at: undefined };
  const audit = new CertificateAudit(trust, new Findings());
  audit.add(
    own,
    others.map(({ der }) => parseCertificate(der)),
  );
  const at = Date.now();
  const { fault, from, until } = audit.judge('here', hex(own.fingerprint), at, 'clientAuth');
  t.equal(fault, null);
  t.ok(from <= at && at < until && Number.isFinite(from) && Number.isFinite(until));
});

t.test('who goes back and forth in time asks no question twice', async (t) => {
  const root = authority('Root');
  const now = Date.now();
  const audit = new CertificateAudit({ roots: [], crls: [] }, new Findings());
  const own = parseCertificate(root.client('alice').der);
  audit.add(own, [parseCertificate(root.intermediate('CA', { notBefore: now }).der)]);
  const judge = (at: number) => audit.judge('here', hex(own.fingerprint), at, 'clientAuth');
  const [before, after, expired] = [judge(now - DAY_MS / 48), judge(now + DAY_MS), judge(now + 900 * DAY_MS)];
  t.not(before, after);
  t.equal(judge(now - DAY_MS / 48 + 1), before);
  t.equal(judge(now + 2 * DAY_MS), after);
  t.equal(judge(now + 1000 * DAY_MS), expired);
  t.equal(judge(now - DAY_MS / 48), before);
});
