/** The whole tamper matrix: who has altered something, and the rows of what they have. */
import type { BundleRow } from './bundle-edits.ts';
import { BUNDLE_OUTSIDER } from './tamper-bundle-archive.ts';
import { BUNDLE_EVIDENCE } from './tamper-bundle-evidence.ts';
import { BUNDLE_KEYS } from './tamper-bundle-keys.ts';
import { BUNDLE_KNOWN } from './tamper-bundle-known.ts';
import { BUNDLE_OUTSIDE } from './tamper-bundle-outside.ts';
import { BUNDLE_SELECTION } from './tamper-bundle-selection.ts';
import { BUNDLE_SERVER } from './tamper-bundle-server.ts';
import { BUNDLE_TAKEOVERS } from './tamper-bundle-takeovers.ts';
import { BUNDLE_TRUST } from './tamper-bundle-trust.ts';
import { CERTIFICATES, REVOCATION } from './tamper-certificates.ts';
import { ARCHIVE, BUNDLE_CRLS } from './tamper-crls.ts';
import { KNOWN, OUTSIDER } from './tamper-files.ts';
import { FORM } from './tamper-log-form.ts';
import { LOG_KEY } from './tamper-log-key.ts';
import { LOG_OUTSIDE } from './tamper-log-outside.ts';
import { SENDERS } from './tamper-log-senders.ts';
import { SERVER } from './tamper-log-server.ts';
import { SESSION_ROWS } from './tamper-sessions.ts';
import type { Row } from './tamper.ts';

/** Of log directories. */
export const LOG_MATRIX: Readonly<Record<string, readonly Row[]>> = {
  'somebody without a key': OUTSIDER,
  'checkpoints kept elsewhere': KNOWN,
  'a server with the log key': SERVER,
  'senders that lie': SENDERS,
  'sessions that follow each other': SESSION_ROWS,
  'malformed entries, and entries that are no messages': FORM,
  'the key of the log': LOG_KEY,
  certificates: CERTIFICATES,
  revocation: REVOCATION,
  'lists that the server has kept': ARCHIVE,
  'witnesses and time-stamps': LOG_OUTSIDE,
};

export const BUNDLE_MATRIX: Readonly<Record<string, readonly BundleRow[]>> = {
  'somebody without a key': BUNDLE_OUTSIDER,
  'an exporter who alters the evidence': BUNDLE_EVIDENCE,
  'an exporter who leaves out': BUNDLE_SELECTION,
  'an exporter who alters certificates and keys': BUNDLE_KEYS,
  'keys that took over, and one that did not': BUNDLE_TAKEOVERS,
  'a server with the log key, and senders that lie': BUNDLE_SERVER,
  'certificates and revocation': BUNDLE_TRUST,
  'lists that the server has logged': BUNDLE_CRLS,
  'checkpoints and bundles from elsewhere': BUNDLE_KNOWN,
  'witnesses and time-stamps': BUNDLE_OUTSIDE,
};
