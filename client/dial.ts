/** From settings to a link: TLS and inner handshake with a server whose certificate is for the host that was dialled. */
import { connect } from 'node:tls';
import { ChatError } from '../base/errors.ts';
import { REPORTED } from '../protocol/hello.ts';
import { openClientLink } from '../runtime/link.ts';
import { clientTlsOptions, type Chain } from '../runtime/tls.ts';
import type { Certificate } from '../x509/certificate.ts';
import { validatePath } from '../x509/path.ts';
import type { Dial } from './connection.ts';
import type { ClientIdentity } from './identity.ts';
import { formatAddress, type Settings } from './settings.ts';

export function dialer({ host, port }: Pick<Settings, 'host' | 'port'>, identity: ClientIdentity): Dial {
  // That the certificate is for `host` was checked by TLS (clientTlsOptions), before this is asked.
  const admit = ([leaf, ...presented]: readonly [Certificate, ...Certificate[]]): Chain =>
    validatePath({
      leaf,
      intermediates: [...presented, ...identity.intermediates],
      roots: identity.roots,
      crls: [],
      at: Date.now(),
      purpose: 'serverAuth',
      revocation: 'live',
    });
  return async (signal) => {
    const socket = connect(clientTlsOptions(identity, identity, host, port));
    const abort = (): void => void socket.destroy();
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await openClientLink(socket, { own: identity, admit });
    } catch (error) {
      throw explained(ChatError.from(error), host, formatAddress(host, port));
    } finally {
      signal.removeEventListener('abort', abort);
    }
  };
}

/** What went wrong, whose fault it is, and what to do next. */
function explained(error: ChatError, host: string, address: string): ChatError {
  const { code, sub, field, retryAfterMs } = error;
  const sentence = (): string => {
    if (error.cause === REPORTED) {
      if (code === 'BAD_CERT') return `the server refused your certificate${HINTS[sub ?? ''] ?? ''}`;
      return `the server at ${address} ended the handshake`;
    }
    if (code === 'UNREACHABLE' && NO_SUCH_HOST.has(String((error.cause as NodeJS.ErrnoException | undefined)?.code)))
      return `no host is known here as ${host}: is the name right, and is there a network`;
    if (code === 'UNREACHABLE') return `nothing answers at ${address}: is the server running, and the address right`;
    if (code === 'BAD_CERT')
      return `the certificate of the server is refused: ${error.message}${SERVER_HINTS[sub ?? ''] ?? ''}`;
    if (code === 'HANDSHAKE_TIMEOUT') return `the server at ${address} did not answer in time`;
    if (code === 'CHANNEL_MISMATCH')
      return 'something between this machine and the server ends TLS: find it, and go round it';
    return error.message;
  };
  return new ChatError(code, sentence(), {
    cause: error.cause,
    ...(sub === undefined ? {} : { sub }),
    ...(field === undefined ? {} : { field }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

const HINTS: Readonly<Record<string, string>> = {
  revoked: ': it was revoked; ask your authority for a new one',
  expired: ': it has expired; ask your authority for a new one',
  untrusted: ': it is not of an authority that the server trusts',
  revocation_unknown: ': the server cannot tell whether it was revoked; tell its operator',
};

const SERVER_HINTS: Readonly<Record<string, string>> = {
  untrusted: '; is --ca the authority that issued it',
  expired: '; tell its operator',
  not_yet_valid: '; is the clock of this machine right',
};

/** What the resolver says of a name. */
const NO_SUCH_HOST: ReadonlySet<string> = new Set(['ENOTFOUND', 'EAI_AGAIN']);
