/** From findings to a verdict, and which of very many are listed. */
import t from 'tap';
import { EXIT, Findings, FINDINGS, shown, type FindingCode } from '../../verify/finding.ts';

const of = (...codes: FindingCode[]): Findings => {
  const findings = new Findings();
  for (const [i, code] of codes.entries()) findings.add(code, `entry ${i}`, 'why');
  return findings;
};

t.test('verdicts', async (t) => {
  for (const [codes, verdict, exit, strict = verdict] of [
    [[], 'VALID', 0],
    [['W_SKEW'], 'VALID', 0, 'INCOMPLETE'],
    [['W_EMPTY', 'W_SKEW'], 'INCOMPLETE', 11],
    [['W_EMPTY', 'E_CRL'], 'UNTRUSTED', 12],
    [['E_CERT_REVOKED', 'E_TILE'], 'TAMPERED', 10],
    [['E_TILE', 'E_KEYBIND', 'E_INPUT'], 'UNREADABLE', 13],
    [['E_INPUT', 'E_ROOT', 'E_FORK'], 'EQUIVOCATION', 14],
    [['E_ROLLBACK'], 'EQUIVOCATION', 14],
  ] as const) {
    const findings = of(...codes);
    t.equal(findings.verdict(false), verdict, codes.join(' '));
    t.equal(findings.verdict(true), strict, `${codes.join(' ')}, strict`);
    t.equal(EXIT[verdict], exit);
  }
  for (const [code, verdict] of Object.entries(FINDINGS))
    t.equal(of(code as FindingCode).verdict(false), verdict, `${code} alone`);
});

t.test('the reason is the one that says most, not the one that came first', async (t) => {
  t.equal(of('E_ROOT', 'E_BATCH_ROOT', 'E_LEAF').reason('TAMPERED')?.code, 'E_LEAF');
  t.equal(of('E_LEAF', 'E_KEYBIND', 'E_LEAF').reason('TAMPERED')?.where, 'entry 0', 'the first of its kind');
  t.equal(of('E_TILE', 'E_FORK').reason('EQUIVOCATION')?.code, 'E_FORK');
  t.equal(of('W_SKEW').reason('INCOMPLETE')?.code, 'W_SKEW', 'strict');
  t.equal(of('W_SKEW').reason('VALID'), undefined);
});

t.test('all are counted, few are kept, and no code is hidden', async (t) => {
  const codes = Object.keys(FINDINGS) as FindingCode[];
  const findings = new Findings();
  for (const code of codes.slice(0, 7)) for (let i = 0; i < 100; i++) findings.add(code, `entry ${i}`, '');
  const kept = (code: FindingCode) => findings.kept.filter((finding) => finding.code === code).length;
  t.equal(kept(codes[0]!), 10, 'ten of a code');
  t.equal(findings.count(codes[0]!), 100);
  t.equal(findings.errors, 700);
  t.equal(findings.kept.length, 52, 'fifty, and the first of the codes that came after them');
  findings.add('W_SKEW', 'entry 1', '');
  findings.add('W_SKEW', 'entry 2', '');
  t.equal(kept('W_SKEW'), 1);
  t.equal(findings.warnings, 2);
});

t.test('once for each subject and code', async (t) => {
  const findings = new Findings();
  for (const subject of ['a', 'b', 'a']) findings.addOnce(subject, 'E_CERT_EXPIRED', `entry of ${subject}`, '');
  findings.addOnce('a', 'E_CERT_REVOKED', 'entry of a', '');
  t.same([findings.count('E_CERT_EXPIRED'), findings.count('E_CERT_REVOKED')], [2, 1]);
});

t.test('what is shown', async (t) => {
  t.equal(
    shown('Zoë \u001b[2K\u202eabc\u200b\r\n\ud800\u2028'),
    'Zoë \\u{1b}[2K\\u{202e}abc\\u{200b}\\u{d}\\u{a}\\u{d800}\\u{2028}',
  );
});
