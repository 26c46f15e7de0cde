/** The same certificate in other bytes, which whoever has a copy can make without any key. */
import type { Certificate } from '../../x509/certificate.ts';
import { bits, seq, tlv } from '../x509/maker.ts';

/** DER of one that is signed by P-256, with (r, n - s) in place of (r, s): valid for the same message. */
export function malleated({ signed }: Certificate): Buffer {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const { tbs, signature, algorithm } = signed;
  const r = signature.subarray(2, 4 + (signature[3] ?? 0));
  const s = BigInt(`0x${Buffer.from(signature.subarray(r.length + 4)).toString('hex')}`);
  const digits = (order - s).toString(16);
  const even = digits.length % 2 === 1 ? `0${digits}` : digits;
  const other = tlv(2, Buffer.from(even >= '8' ? `00${even}` : even, 'hex'));
  return seq(tbs, algorithm.der, bits(seq(r, other)));
}
