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

/** What is found of the lists where a certificate that one of two CAs of one name issued is judged at one time after another. */
function foundOf(
  lists: (own: Authority, namesake: Authority) => readonly string[],
  notAfter: number,
  times: readonly number[],
): string[] {
  const [own, namesake] = [authority('Root'), authority('Root')];
  const findings = new Findings();
  const trust = {
    roots: [own, namesake].map(({ der }) => parseCertificate(der)),
    crls: lists(own, namesake).flatMap((pem) => parseCrls(Buffer.from(pem))),
  };
  const audit = new CertificateAudit(trust, findings);
  const alice = parseCertificate(own.client('alice', { notAfter }).der);
  audit.add(alice, []);
  for (const at of times) audit.judge(`${at}`, hex(alice.fingerprint), at, 'clientAuth');
  return findings.kept.map(({ code, where }) => `${code} ${where}`);
}

t.test('whatever was asked before, a list that has ended is found', async (t) => {
  const now = Date.now();
  const [soon, later] = [now + 10 * DAY_MS, now + 20 * DAY_MS];
  const odd = { thisUpdate: now + 40 * DAY_MS, nextUpdate: now + 15 * DAY_MS };
  t.same(
    foundOf((own) => [own.crl([], { nextUpdate: now + DAY_MS }), own.crl([], odd)], now + 30 * DAY_MS, [soon, later]),
    [`W_CRL_LATE ${soon}`, `W_CRL_OLD ${later}`],
    'also one that ended before it began, after the certificate',
  );
  t.same(
    foundOf(
      (own, namesake) => [
        own.crl([], { nextUpdate: now + 15 * DAY_MS }),
        namesake.crl([], { nextUpdate: now + 30 * DAY_MS }),
      ],
      now + 60 * DAY_MS,
      [soon, later],
    ),
    [`W_CRL_OLD ${later}`],
    'also where another CA of its name, or the same with another key, has younger ones',
  );
  const young = { thisUpdate: now + 70 * DAY_MS, nextUpdate: now + 80 * DAY_MS };
  t.same(
    foundOf((own) => [own.crl([], { nextUpdate: now + 15 * DAY_MS }), own.crl([], young)], now + 60 * DAY_MS, [
      soon,
      later,
    ]),
    [`W_CRL_LATE ${later}`],
    'also where the next one is of a time when the certificate had expired',
  );
});
