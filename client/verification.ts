/**
 * What two people compare to know that no authority and no server has put somebody between them: a number over the certificate keys of
 * all their devices, and what the certificates say.
 */
import { equal, hex, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import { printable } from '../runtime/printable.ts';
import { iso } from '../verify/time.ts';
import { safetyNumber } from './e2ee/safety-number.ts';
import type { ClientIdentity } from './identity.ts';
import { standingOf, type Standing } from './marks.ts';
import type { Conversation } from './roster.ts';
import type { Vault } from './vault.ts';

export interface Verification {
  readonly peer: string;
  /** 60 digits, the same for both */
  readonly number: string;
  /** certificates of the other one's devices */
  readonly devices: readonly Certificate[];
  /** what this user has said of it */
  readonly standing: Standing;
}

/** @param conversation with every device checked. @throws NOT_FOUND for somebody without a device */
export function verificationOf(vault: Vault, own: ClientIdentity, { peer, members }: Conversation): Verification {
  const certificatesOf = (username: string): Certificate[] => {
    const { devices } = members.find((member) => member.username === username) ?? { devices: [] };
    return devices.flatMap((device) => {
      if (equal(device, own.fingerprint)) return [own.chain[0]];
      const chain = vault.ledger.certificate(device as Fingerprint);
      return chain === null ? [] : [parseCertificate(chain[0]!)];
    });
  };
  const [ours, theirs] = [certificatesOf(own.username), certificatesOf(peer)];
  if (theirs.length === 0) throw new ChatError('NOT_FOUND', `${peer} has no device now: there is nothing to compare`);
  const holder = (user: string, certificates: readonly Certificate[]) => ({
    user,
    certificateKeyHashes: certificates.map(({ spkiHash }) => spkiHash),
  });
  const number = safetyNumber(holder(own.username, ours), holder(peer, theirs));
  return { peer, number, devices: theirs, standing: standingOf(vault, peer) };
}

/** For a person, fit for a terminal. */
export function verificationLines({ peer, number, devices, standing }: Verification): string[] {
  const groups = number.match(/\d{5}/g) ?? [];
  return [
    groups.slice(0, 6).join(' '),
    groups.slice(6).join(' '),
    `the same for ${printable(peer, 64)}: nobody is between you; compare it where you know each other`,
    ...devices.map(
      ({ subject, issuer, notAfter, fingerprint }) =>
        `device ${hex(fingerprint).slice(0, 16)}  ${printable(subject.text)}, issued by ${printable(issuer.text)}, ` +
        `valid until ${iso(notAfter)}`,
    ),
    standingLine(peer, standing),
  ];
}

/** @param peer as it is typed in a command */
function standingLine(peer: string, standing: Standing): string {
  const name = printable(peer, 64);
  switch (standing.is) {
    case 'verified':
      return `verified since ${date(standing.at)}${standing.on === null ? '' : `, on your device ${hex(standing.on).slice(0, 16)}`}`;
    case 'told':
      return `not verified: your device ${hex(standing.on!).slice(0, 16)} says it is; device approve ${hex(standing.on!).slice(0, 16)} takes its word`;
    case 'ended':
      return `not verified any more: it was from ${date(standing.at)} to ${date(standing.ended)}`;
    case 'unverified':
      return `not verified: if it was the same, contact verify ${name} --confirm, or /trust ${name} in the interactive mode`;
  }
}
const date = (at: number): string => iso(at).slice(0, 10);
