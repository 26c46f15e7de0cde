/** Lists of a time-stamping authority: one that is missing, or has ended, is said once, as that of any other CA. */
import t from 'tap';
import { parseCertificate } from '../../x509/certificate.ts';
import { parseCrl } from '../../x509/crl.ts';
import { Findings } from '../../verify/finding.ts';
import { OutsideAudit } from '../../verify/outside.ts';
import { tokenOver } from '../support/token-writer.ts';
import { list } from '../x509/maker.ts';
import { FROM, lastTime, newest, root, shape, UNTIL } from './outside-edits.ts';

const stampRoots = [parseCertificate(root.der)];
const outside = { witnesses: [], quorum: 0, stampRoots, requiresStamp: false };

t.test('lists of the authority', async (t) => {
  const judge = (crls: readonly Buffer[], at?: number) => {
    const findings = new Findings();
    const audit = new OutsideAudit({ roots: [], crls: crls.map(parseCrl), at, outside }, findings);
    for (const where of ['entry 1', 'entry 2'])
      t.ok(audit.stamped(where, newest, tokenOver(newest, shape(lastTime))), 'it counts all the same');
    return findings.kept.map(({ code, where }) => `${code} ${where}`);
  };
  t.same(judge([]), ['W_NO_CRL entry 1']);
  t.same(judge([list(root, { from: FROM, until: UNTIL })]), []);
  t.same(judge([list(root, { from: FROM, until: lastTime - 1000 })]), ['W_CRL_OLD entry 1']);
  t.same(judge([list(root, { from: FROM, until: lastTime + 1000 })], lastTime + 2000), ['W_CRL_OLD entry 1'], '--at');
});
