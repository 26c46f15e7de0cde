import { ChatError } from '../../base/errors.ts';
import { parsePem } from '../../x509/certificate.ts';
import { parseCrls } from '../../x509/crl.ts';
import { REASONS } from '../../x509/refusal.ts';
import { validatePath } from '../../x509/path.ts';
import { chainCases } from './chain-cases.ts';

chainCases('chains of x509-limbo and BetterTLS, through validatePath', (c, at, settings) => {
  try {
    const [leaf, ...intermediates] = parsePem(c.chain.join(''));
    const path = validatePath({
      leaf: leaf!,
      intermediates,
      roots: parsePem(c.ca.join('')),
      crls: c.crls.flatMap((crl) => parseCrls(Buffer.from(crl))),
      at: Date.parse(at),
      purpose: 'clientAuth',
      revocation: 'live',
      ...settings,
    });
    return { isAccepted: true, said: `${path.length} elements` };
  } catch (error) {
    const { code, sub, message } = ChatError.from(error);
    if (code !== 'BAD_CERT' || !REASONS.some((reason) => reason === sub)) throw error;
    return { isAccepted: false, said: message };
  }
});
