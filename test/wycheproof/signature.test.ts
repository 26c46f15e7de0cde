/** Ed25519, ECDSA P-256 and RSA-PSS through base/signature, with the keys read from DER as from a certificate. */
import { createPublicKey } from 'node:crypto';
import { ALGORITHM, verifyRaw, type Algorithm } from '../../base/signature.ts';
import { bytes, named, wycheproof } from './vectors.ts';

const files: readonly (readonly [string, Algorithm])[] = [
  ['ed25519_test', ALGORITHM.ed25519],
  ['ecdsa_secp256r1_sha256_test', ALGORITHM.ecdsaP256],
  ['rsa_pss_2048_sha256_mgf1_32_test', ALGORITHM.rsaPss],
];

for (const [file, algorithm] of files)
  wycheproof(file, (t, groups) => {
    const count = { valid: 0, invalid: 0, acceptable: 0 };
    for (const group of groups) {
      const key = createPublicKey({ key: bytes(group, 'publicKeyDer'), format: 'der', type: 'spki' });
      for (const c of group.tests) {
        let isVerified: boolean;
        try {
          isVerified = verifyRaw(key, algorithm, bytes(c, 'msg'), bytes(c, 'sig'));
        } catch (error) {
          t.fail(`${named(c)} threw ${String(error)}`);
          continue;
        }
        t.equal(isVerified, c.result === 'valid', named(c));
        count[c.result]++;
      }
    }
    t.ok(count.valid > 0 && count.invalid > 0, JSON.stringify(count));
    t.equal(count.acceptable, 0, 'no case is left to taste');
    return count.valid + count.invalid;
  });
