/** Revocation lists of a bundle: how much of them is read. */
import t from 'tap';
import { encodePem } from '../../x509/pem.ts';
import { BundleCrls } from '../../verify/bundle-crls.ts';
import { Findings } from '../../verify/finding.ts';
import { ext, int, octets, oid, seq, tlv } from '../x509/maker.ts';
import { ca } from './tamper.ts';

const MIB = 1024 * 1024;

t.test('more lists than fit into memory are not read', async (t) => {
  const algorithm = seq(oid('1.2.840.10045.4.3.2'));
  const list = (number: number): Buffer => {
    const extensions = [ext('2.5.29.20', int(number)), ext('1.2.3.4', octets(Buffer.alloc(15 * MIB)))];
    const times = ['260101000000Z', '270101000000Z'].map((text) => tlv(0x17, Buffer.from(text)));
    const tbs = seq(int(1), algorithm, Buffer.from(ca.subject.der), ...times, tlv(0xa0, seq(...extensions)));
    return seq(tbs, algorithm, tlv(0x03, Buffer.alloc(65)));
  };
  const findings = new Findings();
  const crls = new BundleCrls(findings);
  for (let number = 1; number <= 6; number++) {
    const bytes = number === 6 ? Buffer.from(encodePem(list(number), 'X509 CRL')) : list(number);
    crls.take(number, 'pem', `crl/0${number}.pem`, bytes);
  }
  t.equal(crls.names.size, 5, 'the one that comes when 60 MiB are there still is');
  t.match(findings.kept, [{ code: 'W_CRL_MISSING', where: 'crl/06.pem' }]);
  t.equal(findings.kept.length, 1);
});
