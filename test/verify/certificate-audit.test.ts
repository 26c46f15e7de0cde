/** Certificates that are judged against as many lists as a log may keep. */
import t from 'tap';
import { hex } from '../../base/bytes.ts';
import { CertificateAudit, MAX_INTERMEDIATES } from '../../verify/certificate-audit.ts';
import { Findings } from '../../verify/finding.ts';
import { parseCertificate } from '../../x509/certificate.ts';
import { parseCrls } from '../../x509/crl.ts';
import { authority, type Authority } from '../support/pki.ts';

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
