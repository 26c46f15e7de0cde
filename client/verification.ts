/**
 * What two people compare to know that no authority and no server has put somebody between them: a number over the certificate keys of
 * all their devices, and what the certificates say.
 */
import { equal, hex, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import { printable } from '../runtime/printable.ts';
import { safetyNumber } from './e2ee/safety-number.ts';
import type { ClientIdentity } from './identity.ts';
import type { Ledger } from './ledger.ts';
import type { Conversation } from './roster.ts';

export interface Verification {
  readonly peer: string;
  /** 60 digits, the same for both */
  readonly number: string;
  /** certificates of the other one's devices */
  readonly devices: readonly Certificate[];
}

/** @param conversation with every device checked. @throws NOT_FOUND for somebody without a device */
export function verificationOf(ledger: Ledger, own: ClientIdentity, { peer, members }: Conversation): Verification {
  const certificatesOf = (username: string): Certificate[] => {
    const { devices } = members.find((member) => member.username === username) ?? { devices: [] };
    return devices.flatMap((device) => {
      if (equal(device, own.fingerprint)) return [own.chain[0]];
      const chain = ledger.certificate(device as Fingerprint);
      return chain === null ? [] : [parseCertificate(chain[0]!)];
    });
  };
  const [ours, theirs] = [certificatesOf(own.username), certificatesOf(peer)];
  if (theirs.length === 0) throw new ChatError('NOT_FOUND', `${peer} has no device now: there is nothing to compare`);
  const holder = (user: string, certificates: readonly Certificate[]) => ({
    user,
    certificateKeyHashes: certificates.map(({ spkiHash }) => spkiHash),
  });
  return { peer, number: safetyNumber(holder(own.username, ours), holder(peer, theirs)), devices: theirs };
}

/** For a person, fit for a terminal. */
export function verificationLines({ peer, number, devices }: Verification): string[] {
  const groups = number.match(/\d{5}/g) ?? [];
  return [
    groups.slice(0, 6).join(' '),
    groups.slice(6).join(' '),
    `the same for ${printable(peer, 64)}: nobody is between you; compare it where you know each other`,
    ...devices.map(
      ({ subject, issuer, notAfter, fingerprint }) =>
        `device ${hex(fingerprint).slice(0, 16)}  ${printable(subject.text)}, issued by ${printable(issuer.text)}, ` +
        `valid until ${new Date(notAfter).toISOString()}`,
    ),
  ];
}
