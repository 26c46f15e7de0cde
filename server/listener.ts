/**
 * Accepts connections on several addresses and hands over links: who is admitted, and how a link works, is decided elsewhere. The
 * limits come before any expensive work: what is refused here has cost one accept() and nothing more.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { TLSSocket, type SecureContext } from 'node:tls';
import { ChatError } from '../base/errors.ts';
import type { Suite } from '../protocol/key-exchange.ts';
import { firstBytes, openServerLink, type LinkOptions, type ServerLink } from '../runtime/link.ts';
import { errorFields, isReported, levelOf, type Log, type LogEvent } from '../runtime/log.ts';
import { serverContext, serverTlsOptions, type Authorities, type Credentials } from '../runtime/tls.ts';
import { identityOf } from '../x509/identity.ts';
import { ConnectionLimits, type AddressLimits } from './connection-limits.ts';

export interface ListenerOptions {
  readonly listen: readonly { readonly host: string; readonly port: number }[];
  readonly own: Credentials;
  readonly authorities: Authorities;
  /** revocation.ts. @throws BAD_CERT */
  readonly admit: LinkOptions['admit'];
  readonly parse?: LinkOptions['parse'];
  readonly suites: readonly Suite[];
  readonly handshakeTimeoutMs: number;
  readonly idleMs?: number;
  readonly maxRecordBytes?: number;
  readonly limits: ListenerLimits;
  readonly log: Log;
  readonly onLink: (link: ServerLink) => void;
  /** only differences count; by default a clock that does not go back */
  readonly monotonicMs?: () => number;
}

export interface ListenerLimits extends AddressLimits {
  /** Connections that are not open yet. At the limit the oldest makes room: an honest one is done in a fraction of a second. */
  readonly unfinishedHandshakes?: number;
}

const UNFINISHED_HANDSHAKES = 1024;
/**
 * What a handshake that came to nothing brought behind its first bytes costs its address, each so many bytes as much as a connection. OpenSSL
 * verifies the certificates that it is shown by each other, before anybody asks whether they lead anywhere: with keys that were made for it
 * a stranger's 512 bytes take it 3 ms, and 80 kB nearly half a second.
 */
const BYTES_OF_A_HANDSHAKE = 512;
const BACKLOG = 1024;

export class Listener {
  readonly #o: ListenerOptions;
  readonly #servers: Server[] = [];
  readonly #limits: ConnectionLimits;
  /** not open yet, oldest first */
  readonly #unfinished = new Set<Socket>();
  #own: Credentials;
  #context: SecureContext;

  /** @throws CONFIG_INVALID for the certificate; UNAVAILABLE/listen when an address cannot be listened on */
  static async open(options: ListenerOptions): Promise<Listener> {
    const listener = new Listener(options);
    try {
      for (const { host, port } of options.listen) await listener.#listen(host, port);
    } catch (error) {
      await listener.close();
      throw error;
    }
    return listener;
  }

  private constructor(options: ListenerOptions) {
    this.#o = options;
    this.#own = options.own;
    this.#context = serverContext(options.own, options.authorities);
    this.#limits = new ConnectionLimits(options.limits, options.monotonicMs ?? (() => performance.now()));
  }

  /** What is listened on; the port is the real one when 0 was asked. */
  get endpoints(): readonly { readonly address: string; readonly port: number }[] {
    return this.#servers.map((server) => server.address() as AddressInfo);
  }
  get connections(): number {
    return this.#limits.connections;
  }
  get unfinishedHandshakes(): number {
    return this.#unfinished.size;
  }

  /** From the next connection on. @throws CONFIG_INVALID; then the old certificate stays in use */
  renew(own: Credentials, authorities: Authorities): void {
    this.#context = serverContext(own, authorities);
    this.#own = own;
  }

  /** Accepts nobody any more and drops who is not open yet; links live on. Resolves when the addresses are free. */
  async close(): Promise<void> {
    const closed = this.#servers.map(
      (server) =>
        new Promise<void>((resolve) => {
          // close() calls back after the last connection; links are not waited for.
          server.once('close', resolve);
          server.close();
          resolve();
        }),
    );
    for (const socket of this.#unfinished) socket.destroy();
    await Promise.all(closed);
  }

  async #listen(host: string, port: number): Promise<void> {
    // pauseOnConnect: not a byte is read before somebody waits for it. allowHalfOpen is for TLS to decide.
    const server = createServer({ pauseOnConnect: true, noDelay: true, keepAlive: true });
    server.on('connection', (socket: Socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => {
        const why = WHY_NOT[cause.code ?? ''] ?? cause.code;
        reject(new ChatError('UNAVAILABLE', `cannot listen on ${host} port ${port}: ${why}`, { sub: 'listen', cause }));
      });
      server.listen({ host, port, backlog: BACKLOG }, resolve);
    });
    server.removeAllListeners('error');
    // accept() failed, as with EMFILE: this connection is lost, and the next may succeed.
    server.on('error', (cause) =>
      this.#o.log.warn('connection.refused', errorFields(new ChatError('UNAVAILABLE', 'accept failed', { cause }))),
    );
    this.#servers.push(server);
    const { address, port: real } = server.address() as AddressInfo;
    this.#o.log.info('server.listening', { address, port: real });
  }

  #accept(accepted: Socket): void {
    accepted.on('error', () => {}); // also of a socket that is refused in the next line
    const address = accepted.remoteAddress;
    if (address === undefined) return void accepted.destroy(); // gone already
    const refused = this.#limits.enter(address);
    if (refused !== null) {
      accepted.resetAndDestroy(); // nothing lingers in TIME_WAIT on our side
      return this.#o.log.info('connection.refused', { address, ...errorFields(refused) });
    }
    accepted.once('close', () => this.#limits.leave(address));
    this.#makeRoom();
    this.#awaitEnd(accepted);
    void this.#open(accepted, address, accepted.remotePort);
  }

  #makeRoom(): void {
    const limit = this.#o.limits.unfinishedHandshakes ?? UNFINISHED_HANDSHAKES;
    const [oldest] = this.#unfinished;
    if (oldest === undefined || this.#unfinished.size < limit) return;
    this.#unfinished.delete(oldest);
    oldest.destroy();
  }

  /** Until then, or until it is open, it counts as unfinished. */
  #awaitEnd(socket: Socket): void {
    this.#unfinished.add(socket);
    socket.once('close', () => this.#unfinished.delete(socket));
  }

  async #open(accepted: Socket, address: string, port: number | undefined): Promise<void> {
    const { suites, parse, handshakeTimeoutMs, idleMs, maxRecordBytes, log, onLink } = this.#o;
    let subject: string | undefined;
    let firstCount = 0;
    let isSuperfluous = false;
    const charge = (): void =>
      this.#limits.charge(address, Math.floor((accepted.bytesRead - firstCount) / BYTES_OF_A_HANDSHAKE));
    try {
      const untilMs = performance.now() + handshakeTimeoutMs;
      await firstBytes(accepted, handshakeTimeoutMs);
      firstCount = accepted.bytesRead;
      const timeoutMs = Math.max(0, untilMs - performance.now());
      const socket = new TLSSocket(accepted, serverTlsOptions(this.#context));
      this.#unfinished.delete(accepted);
      this.#awaitEnd(socket);
      const link = await openServerLink(socket, {
        own: this.#own,
        admit: (presented) => {
          subject = presented[0].subject.text;
          const chain = this.#o.admit(presented);
          isSuperfluous = presented.length > chain.length;
          return chain;
        },
        ...(parse === undefined ? {} : { parse }),
        suites,
        timeoutMs,
        ...(idleMs === undefined ? {} : { idleMs }),
        ...(maxRecordBytes === undefined ? {} : { maxRecordBytes }),
      });
      this.#unfinished.delete(socket);
      if (isSuperfluous) charge();
      const [leaf] = link.peerChain;
      log.info('connection.accepted', { address, port });
      log.info('certificate.validated', { address, user: identityOf(leaf).username, subject: leaf.subject.text });
      log.info('handshake.done', { address, suite: link.suite, fingerprint: link.confirmation });
      onLink(link);
    } catch (error) {
      charge();
      const failure = ChatError.from(error);
      log[levelOf(failure)](eventOf(failure), { address, subject, ...errorFields(failure) });
    }
  }
}

function eventOf(failure: ChatError): LogEvent {
  if (isReported(failure)) return 'handshake.refused';
  if (failure.field === 'tls') return 'tls.refused';
  return failure.code === 'BAD_CERT' ? 'certificate.refused' : 'handshake.refused';
}

/** What keeps a server from an address. */
const WHY_NOT: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'this user may not take it; ports below 1024 are for root and CAP_NET_BIND_SERVICE',
  ENOTFOUND: 'no host is known here by this name',
};
