/**
 * Whether a certificate that the server meets for the first time is that of a device which it knows under another one, by what the device's
 * own key says (docs/PROTOCOL.md §5.3). That key was bound by the certificate before, so who answers for the one answers for the other.
 * What waits for the device goes with it: hence all of this is proven, or the login is refused.
 */
import { equal, type Fingerprint } from '../base/bytes.ts';
import { ChatError } from '../base/errors.ts';
import { CONTEXT, verify } from '../base/signature.ts';
import { decodeBinding, isContinued, type Continuity } from '../protocol/device-binding.ts';
import type { User } from '../store/contract/accounts.ts';
import type { Store } from '../store/store.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { splitChain } from './chain-bytes.ts';

/**
 * The device of this user that goes on under `next`; null: none that is left, for it is revoked, or this server has never had it.
 * @throws SIG_FAIL/continuity; BAD_FRAME naming the field
 */
export async function continuedDevice(
  store: Store,
  user: User,
  { binding, signature }: Continuity,
  next: Fingerprint,
): Promise<number | null> {
  const decoded = decodeBinding(binding);
  const { body, statement, certificateHash } = decoded;
  const device = await store.deviceByFingerprint(certificateHash as Fingerprint);
  if (device === null || device.revokedAt !== null || device.userId !== user.id) return null;
  const certificate = parseCertificate(splitChain(device.chain)[0]!);
  const isBound =
    statement.user === user.username &&
    equal(certificate.fingerprint, certificateHash) &&
    verify(certificate.publicKey, decoded.algorithm, CONTEXT.deviceBinding, body, decoded.signature);
  if (!isBound || !isContinued(decoded, signature, next))
    throw new ChatError('SIG_FAIL', 'the device that goes on is not shown to be this one', { sub: 'continuity' });
  return device.id;
}
