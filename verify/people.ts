/** Who stands behind a certificate of a bundle, which names him in several places: whose a message is, the username says, and nothing else. */
import { ChatError } from '../base/errors.ts';
import type { Certificate } from '../x509/certificate.ts';
import { identityOf } from '../x509/identity.ts';
import { ATTRIBUTE, attributes } from '../x509/name.ts';
import type { CertificateAudit } from './certificate-audit.ts';

type Known = Pick<CertificateAudit, 'certificate'>;

/** The user; a certificate that is not here, or names nobody, is somebody by itself. @param fingerprint in hexadecimal */
export function userOf(certificates: Known, fingerprint: string): string {
  const certificate = certificates.certificate(fingerprint);
  return (certificate && usernameIn(certificate)) ?? fingerprint;
}

/** For people: the subject, behind the username unless it says that itself, for two persons may have one name. It has not passed shown(). */
export function nameOf(certificates: Known, fingerprint: string): string {
  const certificate = certificates.certificate(fingerprint);
  if (certificate === undefined) return `unknown certificate ${fingerprint.slice(0, 16)}…`;
  const { subject } = certificate;
  const username = usernameIn(certificate);
  const [commonName] = attributes(subject, ATTRIBUTE.commonName);
  return username === null || commonName?.text?.toLowerCase() === username
    ? subject.text
    : `${username} (${subject.text})`;
}

function usernameIn(certificate: Certificate): string | null {
  try {
    return identityOf(certificate).username;
  } catch (error) {
    if (ChatError.from(error).code === 'INTERNAL') throw error;
    return null;
  }
}
