/** Why a certificate, a chain or a name in it is refused: `BAD_CERT` with one of these reasons as its `sub`. */
import { ChatError } from '../base/errors.ts';

/** Append only: programs, logs and the docs rely on these words. */
export const REASONS = [
  'malformed', // not DER, or not what RFC 5280 lets a certificate or CRL be
  'untrusted', // no path of valid signatures to a given root
  'expired',
  'not_yet_valid',
  'revoked',
  'revocation_unknown', // CRLs are in use, and the one that is needed is missing, stale or not properly signed
  'wrong_eku', // not issued for this purpose
  'wrong_usage', // a CA used as a leaf, a leaf used as a CA, a chain longer than its CAs allow
  'weak_key', // key type or size, or the hash of a signature
  'unsupported', // a critical extension that is not understood
  'name_constraints', // a name that one of its CAs may not vouch for
  'no_san', // no name in it can be a username
  'bad_name', // several names, contradicting names, or characters that deceive
  'wrong_host', // the server's certificate is for another host
] as const;
export type Reason = (typeof REASONS)[number];

export const refusal = (sub: Reason, message: string, cause?: unknown): ChatError =>
  new ChatError('BAD_CERT', message, cause === undefined ? { sub } : { sub, cause });
