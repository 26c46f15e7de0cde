/** Server and client links over real TLS on 127.0.0.1, with certificates of test/support/pki.ts. */
import { connect as tcpConnect, type Socket } from 'node:net';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { Test } from 'tap';
import { openClientLink, type ClientLink, type LinkOptions, type ServerLink } from '../../runtime/link.ts';
import { openLog, type Log } from '../../runtime/log.ts';
import { authoritiesOf, clientTlsOptions, type Authorities, type Chain, type Credentials } from '../../runtime/tls.ts';
import { Listener, type ListenerOptions } from '../../server/listener.ts';
import { parsePem } from '../../x509/certificate.ts';
import { validatePath, type Purpose } from '../../x509/path.ts';
import type { Crl } from '../../x509/crl.ts';
import { authority, type Issued } from './pki.ts';

type T = Pick<Test, 'teardown'>;

/** @param issuers certificates to send after the leaf */
export function credentials(issued: Issued, ...issuers: readonly Issued[]): Credentials {
  const certPem = [issued, ...issuers].map(({ pem }) => pem).join('');
  const [leaf, ...rest] = parsePem(certPem);
  return { chain: [leaf!, ...rest], certPem, privateKey: issued.key };
}
export const trusting = (...cas: readonly Issued[]): Authorities =>
  authoritiesOf(cas.flatMap(({ pem }) => parsePem(pem)));

/** As revocation.ts does it, without files. */
export const admitBy =
  ({ roots, intermediates }: Authorities, purpose: Purpose, crls: readonly Crl[] = []): LinkOptions['admit'] =>
  ([leaf, ...others]): Chain =>
    validatePath({
      leaf,
      intermediates: [...others, ...intermediates],
      roots,
      crls,
      at: Date.now(),
      purpose,
      revocation: 'live',
    });

export const NO_LIMITS = { connections: 10_000, connectionsPerAddress: 10_000, handshakesPerAddressPerSecond: 10_000 };

export interface TestServer {
  readonly port: number;
  readonly listener: Listener;
  /** links in the order in which they opened */
  readonly links: ServerLink[];
  /** resolves with the next one */
  nextLink(): Promise<ServerLink>;
  /** log lines as objects */
  readonly lines: { readonly event: string; readonly [field: string]: unknown }[];
  /** resolves with the first line of this event, also one that was written already */
  line(event: string): Promise<{ readonly [field: string]: unknown }>;
}

/** One authority for a test file: keys and signatures are made once. */
export const ca = authority('Test CA');
export const serverCertificate = ca.server();

export function memoryLog(): { log: Log; lines: TestServer['lines']; line: TestServer['line'] } {
  const lines: TestServer['lines'] = [];
  const waiting: { event: string; resolve: (line: TestServer['lines'][number]) => void }[] = [];
  const log = openLog({
    level: 'debug',
    format: 'json',
    to: {
      write: (text) => {
        const line = JSON.parse(text) as TestServer['lines'][number];
        lines.push(line);
        for (const w of waiting.filter(({ event }) => event === line.event)) {
          waiting.splice(waiting.indexOf(w), 1);
          w.resolve(line);
        }
      },
    },
  });
  const line: TestServer['line'] = (event) =>
    new Promise((resolve) => {
      const known = lines.find((l) => l.event === event);
      if (known) resolve(known);
      else waiting.push({ event, resolve });
    });
  return { log, lines, line };
}

/** A listener on a free port, closed at the end of the test. */
export async function startServer(t: T, options: Partial<ListenerOptions> = {}): Promise<TestServer> {
  const { log, lines, line } = memoryLog();
  const links: ServerLink[] = [];
  const waiting: ((link: ServerLink) => void)[] = [];
  const authorities = options.authorities ?? trusting(ca);
  const listener = await Listener.open({
    listen: [{ host: '127.0.0.1', port: 0 }],
    own: credentials(serverCertificate),
    authorities,
    admit: admitBy(authorities, 'clientAuth'),
    suites: [1, 2, 3],
    handshakeTimeoutMs: 10_000,
    limits: NO_LIMITS,
    log,
    ...options,
    onLink: (link) => {
      links.push(link);
      options.onLink?.(link);
      waiting.shift()?.(link);
    },
  });
  t.teardown(async () => {
    await listener.close();
    for (const link of links) link.close();
    await Promise.all(links.map((link) => link.closed));
  });
  const nextLink = () => new Promise<ServerLink>((resolve) => waiting.push(resolve));
  return { port: listener.endpoints[0]!.port, listener, links, nextLink, lines, line };
}

/** TLS and nothing more, as a client with these certificates. */
export function dialTls(
  port: number,
  own: Credentials,
  tls: ConnectionOptions = {},
  authorities = trusting(ca),
): TLSSocket {
  const socket = connect({ ...clientTlsOptions(own, authorities, '127.0.0.1', port), ...tls });
  socket.on('error', () => {});
  return socket;
}

export function dial(
  port: number,
  own: Credentials,
  options: Partial<LinkOptions> & { readonly tls?: ConnectionOptions; readonly authorities?: Authorities } = {},
): Promise<ClientLink> {
  const { tls = {}, authorities = trusting(ca), ...rest } = options;
  return openClientLink(dialTls(port, own, tls, authorities), {
    own,
    admit: admitBy(authorities, 'serverAuth'),
    ...rest,
  });
}

/** Connected, or refused already. */
export async function dialTcp(port: number): Promise<Socket> {
  const socket = tcpConnect(port, '127.0.0.1');
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.once('connect', resolve).once('close', () => resolve()));
  return socket;
}

/** Both ends of one open connection; closed at the end of the test. */
export async function pair(
  t: T,
  {
    server: forServer = {},
    client: forClient = {},
  }: { server?: Partial<ListenerOptions>; client?: Parameters<typeof dial>[2] } = {},
): Promise<{ server: ServerLink; client: ClientLink; host: TestServer }> {
  const host = await startServer(t, forServer);
  const [server, client] = await Promise.all([
    host.nextLink(),
    dial(host.port, credentials(ca.client('alice')), forClient),
  ]);
  t.teardown(() => client.close());
  return { server, client, host };
}

/** Frames as they arrive; next() waits for one. */
export function inbox<F>(link: { onFrame(handler: (frame: F) => void): void }): {
  next(): Promise<F>;
  readonly all: F[];
} {
  const all: F[] = [];
  const waiting: ((frame: F) => void)[] = [];
  let taken = 0;
  link.onFrame((frame) => {
    all.push(frame);
    if (waiting.length > 0) {
      taken++;
      waiting.shift()?.(frame);
    }
  });
  const next = (): Promise<F> =>
    taken < all.length ? Promise.resolve(all[taken++]!) : new Promise((resolve) => waiting.push(resolve));
  return { next, all };
}
