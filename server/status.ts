/** What the daemon says of itself over the admin socket. */
import type { Credentials } from '../runtime/tls.ts';
import type { Store } from '../store/store.ts';
import type { Hub } from './hub.ts';
import type { Listener } from './listener.ts';
import type { TranscriptLog } from './log/log.ts';
import type { Revocation } from './revocation.ts';

export interface StatusSources {
  readonly version: string;
  /** undefined: nobody can connect yet */
  readonly listener: Pick<Listener, 'endpoints' | 'connections' | 'unfinishedHandshakes'> | undefined;
  readonly hub: Pick<Hub, 'userCount' | 'memberCount'>;
  readonly store: Pick<Store, 'kind'>;
  readonly transcript: Pick<TranscriptLog, 'origin' | 'size' | 'publishedSize'>;
  readonly revocation: Pick<Revocation, 'status'>;
  readonly own: Credentials;
}

export const statusOf = ({ version, listener, hub, store, transcript, revocation, own }: StatusSources): object => ({
  version,
  pid: process.pid,
  listen: (listener?.endpoints ?? []).map(({ address, port }) =>
    address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
  ),
  uptime_s: Math.floor(process.uptime()),
  connections: listener?.connections ?? 0,
  unfinished_handshakes: listener?.unfinishedHandshakes ?? 0,
  users_online: hub.userCount,
  devices_online: hub.memberCount,
  store: store.kind,
  log_origin: transcript.origin,
  log_size: transcript.size,
  published_size: transcript.publishedSize,
  revocation: revocation.status.state,
  certificate_expires: new Date(own.chain[0].notAfter).toISOString(),
});
