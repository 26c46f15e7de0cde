/**
 * When a certificate of one's own device takes the place of another: what was decided about the device stays so. With the same key the
 * certificates show it; with another one the device's MLS key does, once it is in a group under the new one (acquaintances.ts).
 */
import { equal, type Fingerprint } from '../base/bytes.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';
import { sameName } from '../x509/name.ts';
import type { Vault } from './vault.ts';

/** Of devices of this user, as the server lists them, each checked; inside a transaction. */
export function followRenewals({ handovers, ledger }: Vault, certificates: readonly Certificate[], now: number): void {
  for (const certificate of certificates) {
    const isEarlier = (approved: Uint8Array): boolean => {
      const [der] = ledger.certificate(approved as Fingerprint) ?? [];
      return der !== undefined && isSameHolder(parseCertificate(der), certificate);
    };
    handovers.inherit(certificate.fingerprint, isEarlier, now);
  }
}

/** One key, one person, one authority. */
const isSameHolder = (a: Certificate, b: Certificate): boolean => equal(a.spkiHash, b.spkiHash) && isSameIdentity(a, b);
/** One person, one authority. */
export const isSameIdentity = (a: Certificate, b: Certificate): boolean =>
  sameName(a.issuer, b.issuer) && identityOf(a).username === identityOf(b).username;
